// repeat: y[i·times + j] = x[i], j in [0, times): each image side by side with its copies
// x [N,..,C], y [N·times,..,C]. Bound by bandwidth.
#include "../ops/repeat.h"

#include <cstring>

#include "gemm.h"
#include "kernels.h"

namespace latent_edge {
namespace {

class Repeat : public Step {
 public:
  Repeat(const OpDesc& op, BindContext&) : p_(op) {}

  void run(char* arena, char*, ThreadPool& pool) const override {
    const float* x = floats(arena, p_.x);
    float* y = floats(arena, p_.out);
    const int64_t blocks = ceil_div(p_.size, kBlock);
    pool.parallel_for(p_.images * p_.times * blocks, [&](int64_t task, int) {
      const int64_t image = task / blocks, first = task % blocks * kBlock;
      std::memcpy(y + image * p_.size + first, x + image / p_.times * p_.size + first,
                  std::min(kBlock, p_.size - first) * sizeof(float));
    });
  }

 private:
  static constexpr int64_t kBlock = 1 << 15;  // floats
  RepeatOp p_;
};

}  // namespace

const Kernel kRepeat = kernel_of<Repeat, Repeat>();

}  // namespace latent_edge
