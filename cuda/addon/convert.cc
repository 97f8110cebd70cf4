#include "convert.h"

#include <algorithm>
#include <bit>
#include <cstring>

#if defined(__x86_64__)
#include <cpuid.h>
#include <immintrin.h>
#endif

namespace latent_edge {

namespace {

template <class T>
T load(const char* p) {
  T v;
  std::memcpy(&v, p, sizeof v);
  return v;
}

// Without a branch, so that it vectorizes; subnormals by subtraction, which holds in any rounding or flush
// mode.
float half_to_float(uint16_t h) {
  const uint32_t magnitude = static_cast<uint32_t>(h & 0x7fff) << 13;
  const uint32_t exponent = magnitude & (0x1fu << 23);
  const uint32_t subnormal = std::bit_cast<uint32_t>(std::bit_cast<float>(magnitude + (113u << 23)) -
                                                     std::bit_cast<float>(113u << 23));
  const uint32_t normal = magnitude + ((exponent == (0x1fu << 23) ? 224u : 112u) << 23);
  const uint32_t sign = static_cast<uint32_t>(h & 0x8000) << 16;
  return std::bit_cast<float>((exponent == 0 ? subnormal : normal) | sign);
}

void half_plain(const char* source, float* to, size_t n) {
  for (size_t i = 0; i < n; i++) to[i] = half_to_float(load<uint16_t>(source + 2 * i));
}

#if defined(__x86_64__)
__attribute__((target("avx,f16c"))) void half_f16c(const char* source, float* to, size_t n) {
  size_t i = 0;
  for (; i + 8 <= n; i += 8)
    _mm256_storeu_ps(to + i,
                     _mm256_cvtph_ps(_mm_loadu_si128(reinterpret_cast<const __m128i*>(source + 2 * i))));
  half_plain(source + 2 * i, to + i, n - i);
}
#endif

using Convert = void (*)(const char*, float*, size_t);

Convert choose_half() {
#if defined(__x86_64__)
  if (__builtin_cpu_supports("avx") && has_f16c()) return half_f16c;
#endif
  return half_plain;
}

void brain(const char* source, float* to, size_t n) {
  for (size_t i = 0; i < n; i++)
    to[i] = std::bit_cast<float>(static_cast<uint32_t>(load<uint16_t>(source + 2 * i)) << 16);
}

// To 10 bits after the point, by adding half of the last one; below 2^-14 to multiples of 2^-24, which is the
// last bit of what lies in 0.5…1. Without a branch, so that it vectorizes.
float round_to_half(float v) {
  const uint32_t bits = std::bit_cast<uint32_t>(v);
  const uint32_t sign = bits & 0x80000000u, magnitude = bits & 0x7fffffffu;
  const uint32_t rounded = (magnitude + 0xfffu + ((magnitude >> 13) & 1)) & ~0x1fffu;
  const uint32_t normal = rounded >= 0x47800000u ? 0x7f800000u : rounded;
  const uint32_t small = std::bit_cast<uint32_t>((std::bit_cast<float>(magnitude) + 0.5f) - 0.5f);
  const uint32_t number = magnitude < 0x38800000u ? small : normal;
  return std::bit_cast<float>(sign | (magnitude > 0x7f800000u ? magnitude : number));
}

float round_to_brain(float v) {
  const uint32_t bits = std::bit_cast<uint32_t>(v);
  const uint32_t rounded = (bits + 0x7fffu + ((bits >> 16) & 1)) & 0xffff0000u;
  return std::bit_cast<float>((bits & 0x7fffffffu) > 0x7f800000u ? bits : rounded);
}

bool is_finite(float v) {
  return (std::bit_cast<uint32_t>(v) & 0x7f800000u) != 0x7f800000u;
}

}  // namespace

bool all_finite(const float* v, size_t n) {
  uint32_t bad = 0;
  for (size_t i = 0; i < n; i++) bad |= (std::bit_cast<uint32_t>(v[i]) & 0x7f800000u) == 0x7f800000u;
  return bad == 0;
}

void round_to(Element to, float* v, size_t n) {
  if (to == Element::f16)
    for (size_t i = 0; i < n; i++) v[i] = round_to_half(v[i]);
  else if (to == Element::bf16)
    for (size_t i = 0; i < n; i++) v[i] = round_to_brain(v[i]);
}

namespace {

// The index of the first whose exponent is all ones.
template <class Bits>
size_t first_not_finite(const Bits* v, Bits exponent, size_t n) {
  unsigned bad = 0;
  for (size_t i = 0; i < n; i++) bad |= (v[i] & exponent) == exponent;
  if (!bad) return n;
  return static_cast<size_t>(std::find_if(v, v + n, [=](Bits b) { return (b & exponent) == exponent; }) - v);
}

}  // namespace

#if defined(__x86_64__)
bool has_f16c() {
  unsigned a, b, c = 0, d;
  return __get_cpuid(1, &a, &b, &c, &d) && (c & bit_F16C);
}
#endif

size_t copy_finite(Element type, const void* source, void* to, size_t n) {
  constexpr size_t kBlock = 4096;  // stays in the first-level cache for the check
  const size_t size = element_bytes(type);
  for (size_t i = 0; i < n; i += kBlock) {
    const size_t m = std::min(kBlock, n - i);
    char* block = static_cast<char*>(to) + i * size;
    std::memcpy(block, static_cast<const char*>(source) + i * size, m * size);
    const size_t finite =
        type == Element::f32
            ? first_not_finite<uint32_t>(reinterpret_cast<const uint32_t*>(block), 0x7f800000u, m)
            : first_not_finite<uint16_t>(reinterpret_cast<const uint16_t*>(block),
                                         type == Element::f16 ? 0x7c00 : 0x7f80, m);
    if (finite < m) return i + finite;
  }
  return n;
}

size_t to_float32(Element from, const void* source, float* to, size_t n) {
  static const Convert half = choose_half();
  constexpr size_t kBlock = 4096;  // stays in the first-level cache for the check
  const char* bytes = static_cast<const char*>(source);
  for (size_t i = 0; i < n; i += kBlock) {
    const size_t m = std::min(kBlock, n - i);
    const char* block = bytes + i * element_bytes(from);
    if (from == Element::f16)
      half(block, to + i, m);
    else if (from == Element::bf16)
      brain(block, to + i, m);
    else
      std::memcpy(to + i, block, 4 * m);
    if (!all_finite(to + i, m))
      return i + static_cast<size_t>(std::find_if_not(to + i, to + i + m, is_finite) - (to + i));
  }
  return n;
}

}  // namespace latent_edge
