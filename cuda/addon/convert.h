// Checkpoint element types to float32, and float32 rounded as they would.
#pragma once

#include <cstddef>
#include <cstdint>

namespace latent_edge {

enum class Element { f32, f16, bf16, i8 };  // i8: of packed weights alone (cpu/eight_bits.h)

inline size_t element_bytes(Element e) {
  return e == Element::f32 ? 4 : e == Element::i8 ? 1 : 2;
}

// Converts n elements at any alignment; exact. Returns the index of the first NaN or infinity, n where none
// is.
size_t to_float32(Element from, const void* source, float* to, size_t n);

// Replaces each value by the nearest that `to` can hold, ties to even; what is too large becomes infinite, and
// NaN stays NaN.
void round_to(Element to, float* values, size_t n);

bool all_finite(const float* values, size_t n);

// Copies n elements as they are, from any alignment. Returns the index of the first NaN or infinity, n where none is.
size_t copy_finite(Element type, const void* source, void* to, size_t n);

// Whether this x86-64 machine converts halves; not every compiler's __builtin_cpu_supports knows it by name.
bool has_f16c();

}  // namespace latent_edge
