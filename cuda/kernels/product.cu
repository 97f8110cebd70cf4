// Who computes a product: gemm.cu's kernels, or a library that measured faster.
#include "../gpu/providers.h"
#include "gemm.h"

namespace latent_edge::gpu {
namespace {

const char* name_of(Activation a) {
  switch (a) {
    case Activation::silu:
      return " silu";
    case Activation::gelu:
      return " gelu";
    case Activation::geglu:
      return " geglu";
    case Activation::quick_gelu:
      return " quick_gelu";
    case Activation::relu:
      return " relu";
    case Activation::tanh:
      return " tanh";
    case Activation::none:
      return "";
  }
  return "";
}

// The product as a library has it, where it is one: of one source, with a weight whose slabs lie as the library's rows
// do. What becomes of a sum beyond bias and residual is ours to do.
template <class T>
std::optional<Work> work_of(const Product<T>& p) {
  const Patches<T>& l = p.left;
  const Finish<T>& f = p.finish;
  if (l.c2 || l.shift || l.c1 % kSlab) return std::nullopt;
  Work work;
  work.storage = storage_of<T>;
  work.x = l.x, work.weight = p.weight;
  work.rows = l.rows, work.columns = p.packed, work.channels = l.c1;
  if (f.temb || f.scale || f.activation != Activation::none) {
    work.finish = [p](Stream stream, const float* sums) { launch_finish(stream, p, sums, 1); };
    work.finished_by = std::string(f.temb    ? " temb"
                                   : f.scale ? " scale"
                                             : "") +
                       name_of(f.activation) + (f.residual ? " onto" : "");
  } else {
    work.residual = f.residual, work.bias = f.bias, work.y = f.y;
  }
  work.convolution = l.kh * l.kw != 1 || l.stride != 1 || l.top || l.left || l.out_height != l.height ||
                     l.out_width != l.width;
  if (work.convolution) {
    work.images = static_cast<int>(l.rows / (int64_t{l.out_height} * l.out_width));
    work.height = l.height, work.width = l.width;
    work.kh = l.kh, work.kw = l.kw, work.stride = l.stride, work.top = l.top, work.left = l.left;
    work.out_height = l.out_height, work.out_width = l.out_width;
  }
  return work;
}

}  // namespace

template <class T>
Step product_step(const Product<T>& p, BindContext& context, std::vector<std::shared_ptr<const void>> held) {
  expect(p.left.rows <= INT32_MAX, "at most 2³¹ rows", {p.left.rows});
  Step step = hand_step(p, context.chip);
  if constexpr (!std::is_same_v<T, float>)
    if (const auto work = work_of(p)) step = context.choice.pick(*work, std::move(step));
  step.launch = [launch = std::move(step.launch), held = std::move(held)](Stream stream, char* scratch) {
    launch(stream, scratch);
  };
  return step;
}

template Step product_step(const Product<f16>&, BindContext&, std::vector<std::shared_ptr<const void>>);
template Step product_step(const Product<bf16>&, BindContext&, std::vector<std::shared_ptr<const void>>);
template Step product_step(const Product<float>&, BindContext&, std::vector<std::shared_ptr<const void>>);

}  // namespace latent_edge::gpu
