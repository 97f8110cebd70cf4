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
constexpr Storage storage_of = std::is_same_v<T, float> ? Storage::f32
                               : std::is_same_v<T, f16> ? Storage::f16
                                                        : Storage::bf16;

// f.operator()<T>() with a floating-point type.
template <class F>
auto with_scalar(Scalar e, F f) {
  switch (e) {
    case Scalar::f16:
      return f.template operator()<f16>();
    case Scalar::bf16:
      return f.template operator()<bf16>();
    case Scalar::f32:
      return f.template operator()<float>();
    default:
      throw std::runtime_error("expected values of a floating-point type, received int32");
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
  auto packed = context.weights.get(*ref, form_of<T>("raw"), n * sizeof(T),
                                    [n](Stream stream, const void* raw, Scalar type, void* to) {
                                      convert(stream, raw, type, to, scalar_of(storage_of<T>), n);
                                    });
  const T* data = static_cast<const T*>(packed.get());
  return {std::move(packed), data};
}
template <class T>
std::shared_ptr<const T> raw_weight(BindContext& context, const WeightRef& ref) {
  return raw_weight<T>(context, &ref);
}

}  // namespace latent_edge::gpu
