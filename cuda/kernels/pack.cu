// pack: weights in the order that the products of gemm.h read them in, from the checkpoint's, when a plan is bound
// raw [rows][C][taps] of any type → packed [columns][taps][slabs of x ⊕ slabs of x2] in T, zeros where nothing belongs;
// bias [rows] → [columns] float32. One thread an element of the result: run once for each weight.
#include "gemm.h"

namespace latent_edge::gpu {
namespace {

constexpr int kThreads = 256;

struct Order {
  Columns columns;
  int taps, c1, channels;  // channels: of both sources
  int pad1, per_tap;       // where x2 begins within a tap, and the next tap
};

template <class From, class To>
__global__ void __launch_bounds__(kThreads) pack(const From* raw, To* packed, Order order, int64_t n) {
  const int64_t i = static_cast<int64_t>(blockIdx.x) * kThreads + threadIdx.x;
  if (i >= n) return;
  const int64_t row = static_cast<int64_t>(order.taps) * order.per_tap;
  const int column = static_cast<int>(i / row), at = static_cast<int>(i - column * row);
  const int tap = at / order.per_tap, place = at - tap * order.per_tap;
  const int c = place < order.pad1 ? place : order.c1 + place - order.pad1;
  const bool used = c < (place < order.pad1 ? order.c1 : order.channels);
  const int source = order.columns.source(column);
  packed[i] = from_float<To>(
      used && source >= 0
          ? to_float(raw[(static_cast<int64_t>(source) * order.channels + c) * order.taps + tap])
          : 0);
}

template <class T>
std::shared_ptr<const T> packed(BindContext& context, const WeightRef& ref, const std::string& form,
                                const Order& order) {
  const int64_t n = static_cast<int64_t>(order.columns.count) * order.taps * order.per_tap;
  auto memory = context.weights.get(
      ref, form, static_cast<size_t>(n) * sizeof(T),
      [=](Stream stream, const void* raw, Scalar type, void* to) {
        with_scalar(type, [&]<class From>() {
          launch(stream, pack<From, T>, {static_cast<unsigned>(ceil_div(n, kThreads)), 1, 1}, kThreads, 0,
                 static_cast<const From*>(raw), static_cast<T*>(to), order, n);
        });
      });
  const T* data = static_cast<const T*>(memory.get());
  return {std::move(memory), data};
}

}  // namespace

template <class T>
std::shared_ptr<const T> pack_weight(BindContext& context, const WeightRef& ref, const Patches<T>& left,
                                     const Columns& columns) {
  const Order order{columns,           left.kh * left.kw,     left.c1,
                    left.c1 + left.c2, left.slabs1() * kSlab, left.slabs_of_tap() * kSlab};
  // Where x ends and x2 begins matters only where there is padding between them.
  const std::string split = order.pad1 != left.c1 && left.c2 ? "." + std::to_string(left.c1) : "";
  return packed<T>(context, ref, form_of<T>((columns.half ? "slabs.geglu" : "slabs") + split), order);
}

template std::shared_ptr<const f16> pack_weight(BindContext&, const WeightRef&, const Patches<f16>&,
                                                const Columns&);
template std::shared_ptr<const bf16> pack_weight(BindContext&, const WeightRef&, const Patches<bf16>&,
                                                 const Columns&);
template std::shared_ptr<const float> pack_weight(BindContext&, const WeightRef&, const Patches<float>&,
                                                  const Columns&);

std::shared_ptr<const float> pack_bias(BindContext& context, const WeightRef* ref, const Columns& columns) {
  if (!ref) return nullptr;
  return packed<float>(context, *ref, columns.half ? "bias.geglu" : "raw.f32", {columns, 1, 1, 1, 1, 1});
}

}  // namespace latent_edge::gpu
