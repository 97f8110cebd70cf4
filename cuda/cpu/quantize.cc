// quantize: y = the row of the codebook nearest to x, Σ_c (x_c − e_c)² least; the first of equals.
// arXiv:1711.00937. x, y [..., C]; codebook [V, C]. The differences are squared as they are, not expanded
// into products, which cancel where it matters: near ties. Bound by arithmetic.
#include "../ops/quantize.h"

#include <limits>

#include "gemm.h"
#include "kernels.h"

namespace latent_edge {
namespace {

struct Quantize : QuantizeOp {
  std::shared_ptr<const PackedWeight> codebook;

  Quantize(const OpDesc& op, BindContext& context)
      : QuantizeOp(op), codebook(context.weights.raw(op.weight("codebook"))) {}
  void write(float* y, int64_t row, int64_t entry) const {
    std::memcpy(y + row * channels, codebook->data + entry * channels, channels * sizeof(float));
  }
};

class Fast : public Step {
 public:
  Fast(const OpDesc& op, BindContext& context) : p_(op, context) {
    const int64_t channels = p_.channels, entries = p_.entries, blocks = ceil_div(entries, kEntries);
    columns_ = context.weights.get(op.weight("codebook"), "codebook", blocks * kEntries * channels,
                                   [=](const float* from, float* to) {
                                     for (int64_t b = 0; b < blocks; b++)
                                       for (int64_t c = 0; c < channels; c++)
                                         for (int64_t j = 0; j < kEntries; j++) {
                                           const int64_t entry = std::min(entries - 1, b * kEntries + j);
                                           *to++ = from[entry * channels + c];
                                         }
                                   });
  }

  void run(char* arena, char*, ThreadPool& pool) const override {
    const float* x = floats(arena, p_.x);
    float* y = floats(arena, p_.out);
    constexpr int64_t kRows = 16;
    pool.parallel_for(ceil_div(p_.rows, kRows), [&](int64_t block, int) {
      const int64_t end = std::min(p_.rows, (block + 1) * kRows);
      for (int64_t i = block * kRows; i < end; i++) p_.write(y, i, nearest(x + i * p_.channels));
    });
  }

 private:
  static constexpr int64_t kEntries = 16;  // of a block, [C][kEntries]; the last block repeats the last entry

  int64_t nearest(const float* x) const {
    float least = std::numeric_limits<float>::infinity();
    int64_t best = 0;
    const float* column = columns_->data;
    for (int64_t first = 0; first < p_.entries; first += kEntries) {
      float distance[kEntries] = {};
      for (int64_t c = 0; c < p_.channels; c++, column += kEntries)
        for (int64_t j = 0; j < kEntries; j++) distance[j] += (x[c] - column[j]) * (x[c] - column[j]);
      for (int64_t j = 0; j < kEntries; j++)
        if (distance[j] < least) least = distance[j], best = first + j;
    }
    return best;
  }

  Quantize p_;
  std::shared_ptr<const PackedWeight> columns_;
};

class Reference : public Step {
 public:
  Reference(const OpDesc& op, BindContext& context) : p_(op, context) {}
  void run(char* arena, char*, ThreadPool&) const override {
    const float* x = floats(arena, p_.x);
    float* y = floats(arena, p_.out);
    for (int64_t i = 0; i < p_.rows; i++) {
      double least = std::numeric_limits<double>::infinity();
      int64_t best = 0;
      for (int64_t e = 0; e < p_.entries; e++) {
        double distance = 0;
        for (int64_t c = 0; c < p_.channels; c++) {
          const double d =
              static_cast<double>(x[i * p_.channels + c]) - p_.codebook->data[e * p_.channels + c];
          distance += d * d;
        }
        if (distance < least) least = distance, best = e;
      }
      p_.write(y, i, best);
    }
  }

 private:
  Quantize p_;
};

}  // namespace

const Kernel kQuantize = kernel_of<Fast, Reference>();

}  // namespace latent_edge
