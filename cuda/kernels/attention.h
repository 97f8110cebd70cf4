// What the kernels of attention share: attention.cu's and attention_hopper.cu's for heads of up to 160 channels,
// attention_wide.cu's for up to 512.
#pragma once

#include "bind.h"

namespace latent_edge::gpu {

constexpr int kWideSize = 512;

template <class T>
struct Heads {
  const T *q, *k, *v;  // of the first token, image and head
  T* y;
  int64_t ld_q, ld_kv, ld_y;  // elements from one token to the next
  int queries, keys, size;
  bool causal, aligned;  // aligned: every token of a head begins at a multiple of 16 bytes
  float scale;           // times log2(e)

  // Moves to an image and a head.
  __device__ void begin(int64_t image, int64_t number) {
    const int64_t head = number * size;
    q += image * queries * ld_q + head;
    k += image * keys * ld_kv + head;
    v += image * keys * ld_kv + head;
    y += image * queries * ld_y + head;
  }
  __device__ __forceinline__ void write(int query, int d, float low, float high) const {
    if (query >= queries || d >= size) return;
    T* to = y + query * ld_y + d;
    if (aligned)
      store(to, pack2<T>(low, high));
    else {
      to[0] = from_float<T>(low);
      if (d + 1 < size) to[1] = from_float<T>(high);
    }
  }
  // Channels d … d+8 of a token to shared memory, zeros from `size` on.
  __device__ __forceinline__ void fetch(T* to, const T* from, int d, bool inside) const {
    if (aligned) {
      const bool valid = inside && d < size;
      cp_async<16>(to, valid ? from + d : q, valid);
      return;
    }
    Vec<T, 8> vector;
    for (int j = 0; j < 8; j++) vector.at[j] = inside && d + j < size ? from[d + j] : from_float<T>(0);
    store(to, vector);
  }
  __device__ __forceinline__ bool masked(int query, int key) const {
    return key >= keys || (causal && key > query);
  }
  // Keys that a query below `queries_end` may see; later ones are masked for all.
  __device__ __forceinline__ int keys_until(int queries_end) const {
    return causal && queries_end < keys ? queries_end : keys;
  }
};

// Over the four lanes that share a row of a fragment.
__device__ __forceinline__ float row_max(float v) {
  v = fmaxf(v, shuffle_xor(v, 1));
  return fmaxf(v, shuffle_xor(v, 2));
}
__device__ __forceinline__ float row_sum(float v) {
  v += shuffle_xor(v, 1);
  return v + shuffle_xor(v, 2);
}

// The highest score so far, from which exponents are counted, may lag behind by this much in powers of two: a
// probability is then at most 256 before its row's sum divides it, and sums are rescaled seldom.
constexpr float kSlack = 8;
// The highest score of no keys: finite, so that differences from it are numbers.
constexpr float kNone = -1e30f;

// One head of any size up to kWideSize a block, 16-bit types. attention_wide.cu
template <class T>
Step wide_step(const Heads<T>& h, unsigned heads, unsigned images, const Chip& chip);

// Heads of up to 160 channels where warpgroups, if the chip has them, are faster; 16-bit types. attention_hopper.cu
template <class T>
std::optional<Step> warpgroup_step(const Heads<T>& h, unsigned heads, unsigned images, const Chip& chip);

}  // namespace latent_edge::gpu
