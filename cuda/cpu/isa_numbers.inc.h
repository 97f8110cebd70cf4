// A weight's numbers, of 32, 16 or 8 bits, as vectors of floats: part of isa_kernels.inc.h.

// Numbers of 16 bits as they lie in memory.
struct Half {
  uint16_t bits;
};
struct Brain {
  uint16_t bits;
};

typedef uint16_t Bits __attribute__((vector_size(2 * LE_LANES), aligned(2), may_alias));
typedef int8_t Bytes __attribute__((vector_size(LE_LANES), aligned(1), may_alias));

inline Vec load_number(const float* p) {
  return load(p);
}
// Finite ones.
inline Vec load_number(const Half* p) {
#if LE_LANES == 16
  return (Vec)_mm512_maskz_cvtph_ps(0xffff, _mm256_loadu_si256(reinterpret_cast<const __m256i*>(p)));
#elif LE_LANES == 8
  return (Vec)_mm256_cvtph_ps(_mm_loadu_si128(reinterpret_cast<const __m128i*>(p)));
#else
  const Int bits = __builtin_convertvector(*reinterpret_cast<const Bits*>(p), Int);
  const Int magnitude = (bits & 0x7fff) << 13, one = Int{} + (113 << 23);
  // Subnormals by subtraction, which holds in any rounding or flush mode.
  const Int small = (Int)((Vec)(magnitude + one) - (Vec)one), normal = magnitude + (112 << 23);
  return (Vec)((magnitude < (1 << 23) ? small : normal) | ((bits & 0x8000) << 16));
#endif
}
inline Vec load_number(const Brain* p) {
  return (Vec)(__builtin_convertvector(*reinterpret_cast<const Bits*>(p), Int) << 16);
}
inline Vec load_number(const int8_t* p) {
#if LE_LANES == 16
  const Int q = (Int)_mm512_maskz_cvtepi8_epi32(0xffff, _mm_loadu_si128(reinterpret_cast<const __m128i*>(p)));
#elif LE_LANES == 8
  const Int q = (Int)_mm256_cvtepi8_epi32(_mm_loadl_epi64(reinterpret_cast<const __m128i*>(p)));
#else
  const Int q = __builtin_convertvector(*reinterpret_cast<const Bytes*>(p), Int);
#endif
  return __builtin_convertvector(q, Vec);
}

template <class Number>
void widen_of(const Number* from, float* to, int64_t n) {
  for (int64_t i = 0; i < n; i += kLanes) store(to + i, load_number(from + i));
}
void widen(Element element, const void* from, float* to, int64_t n) {
  switch (element) {
    case Element::f16:
      return widen_of(static_cast<const Half*>(from), to, n);
    case Element::bf16:
      return widen_of(static_cast<const Brain*>(from), to, n);
    case Element::i8:
      return widen_of(static_cast<const int8_t*>(from), to, n);
    default:
      return widen_of(static_cast<const float*>(from), to, n);
  }
}

template <class Number>
void widen_sum_of(const Number* a, const Number* b, int sign, float* to, int64_t n) {
  if (sign == 0) return widen_of(a, to, n);
  const Vec s = all(static_cast<float>(sign));
  for (int64_t i = 0; i < n; i += kLanes) store(to + i, load_number(a + i) + s * load_number(b + i));
}
void widen_sum(Element element, const void* a, const void* b, int sign, float* to, int64_t n) {
  switch (element) {
    case Element::f16:
      return widen_sum_of(static_cast<const Half*>(a), static_cast<const Half*>(b), sign, to, n);
    case Element::bf16:
      return widen_sum_of(static_cast<const Brain*>(a), static_cast<const Brain*>(b), sign, to, n);
    case Element::i8:
      return widen_sum_of(static_cast<const int8_t*>(a), static_cast<const int8_t*>(b), sign, to, n);
    default:
      return widen_sum_of(static_cast<const float*>(a), static_cast<const float*>(b), sign, to, n);
  }
}
