// What the launchers of the GPU ops share.
#pragma once

#include "../gpu/kernel.h"
#include "device.h"

namespace latent_edge::gpu {

// f.operator()<T>() with the storage's type.
template <class F>
auto with_storage(Storage s, F f) {
  switch (s) {
    case Storage::f16:
      return f.template operator()<f16>();
    case Storage::bf16:
      return f.template operator()<bf16>();
    default:
      return f.template operator()<float>();
  }
}

template <class T>
std::string form_of(const std::string& layout) {
  return layout + (std::is_same_v<T, float> ? ".f32" : std::is_same_v<T, f16> ? ".f16" : ".bf16");
}

// The tensor as it is, in T. Null where there is none.
template <class T>
std::shared_ptr<const T> raw_weight(BindContext& context, const WeightRef* ref) {
  if (!ref) return nullptr;
  const size_t n = static_cast<size_t>(elements(ref->shape));
  auto packed = context.weights.get(*ref, form_of<T>("raw"), n * sizeof(T), [&](const float* from, void* to) {
    constexpr size_t kChunk = 1 << 16;
    context.pool.parallel_for(ceil_div(n, kChunk), [=](int64_t chunk, int) {
      const size_t begin = static_cast<size_t>(chunk) * kChunk, end = begin + kChunk < n ? begin + kChunk : n;
      for (size_t i = begin; i < end; i++) static_cast<T*>(to)[i] = from_float<T>(from[i]);
    });
  });
  const T* data = static_cast<const T*>(packed.get());
  return {std::move(packed), data};
}
template <class T>
std::shared_ptr<const T> raw_weight(BindContext& context, const WeightRef& ref) {
  return raw_weight<T>(context, &ref);
}

}  // namespace latent_edge::gpu
