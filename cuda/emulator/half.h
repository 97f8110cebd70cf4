// 16-bit floats, as the device has them: storage, and conversions that round to nearest, ties to even.
#pragma once

#include <bit>
#include <cstdint>

namespace latent_edge::gpu {

struct f16 {
  uint16_t bits;
};
struct bf16 {
  uint16_t bits;
};

inline float to_float(float v) {
  return v;
}
inline float to_float(bf16 v) {
  return std::bit_cast<float>(static_cast<uint32_t>(v.bits) << 16);
}
// Subnormals by subtraction, without a branch.
inline float to_float(f16 v) {
  const uint32_t magnitude = static_cast<uint32_t>(v.bits & 0x7fff) << 13;
  const uint32_t exponent = magnitude & (0x1fu << 23);
  const uint32_t subnormal = std::bit_cast<uint32_t>(std::bit_cast<float>(magnitude + (113u << 23)) -
                                                     std::bit_cast<float>(113u << 23));
  const uint32_t normal = magnitude + ((exponent == (0x1fu << 23) ? 224u : 112u) << 23);
  const uint32_t sign = static_cast<uint32_t>(v.bits & 0x8000) << 16;
  return std::bit_cast<float>((exponent == 0 ? subnormal : normal) | sign);
}

template <class T>
T from_float(float v);
template <>
inline float from_float<float>(float v) {
  return v;
}
template <>
inline bf16 from_float<bf16>(float v) {
  const uint32_t bits = std::bit_cast<uint32_t>(v);
  if ((bits & 0x7fffffffu) > 0x7f800000u) return {0x7fff};
  return {static_cast<uint16_t>((bits + 0x7fffu + (bits >> 16 & 1)) >> 16)};
}
template <>
inline f16 from_float<f16>(float v) {
  const uint32_t bits = std::bit_cast<uint32_t>(v), sign = bits >> 16 & 0x8000,
                 magnitude = bits & 0x7fffffffu;
  if (magnitude > 0x7f800000u) return {0x7fff};
  if (magnitude >= 0x477ff000u) return {static_cast<uint16_t>(sign | 0x7c00)};  // 65520 and above: infinity
  if (magnitude < 0x38800000u) {  // subnormal: the addition rounds at the last bit that there is
    const float shifted = std::bit_cast<float>(magnitude) + 0.5f;
    return {static_cast<uint16_t>(sign | (std::bit_cast<uint32_t>(shifted) - 0x3f000000u))};
  }
  const uint32_t rounded = magnitude + 0xfffu + (magnitude >> 13 & 1) - (112u << 23);
  return {static_cast<uint16_t>(sign | rounded >> 13)};
}

}  // namespace latent_edge::gpu
