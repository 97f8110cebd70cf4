// What kernels are written in: the same sources for nvcc and, by g++, for the emulator. Blocks are one-dimensional
// and of whole warps; shared memory is one struct that the kernel declares and the launch sizes.
#pragma once

#ifdef __CUDACC__
#include "device_cuda.h"
#include "tensor_maps_cuda.h"
#include "warpgroups_cuda.h"
#else
#include "../emulator/device.h"
#include "../emulator/tensor_maps.h"
#include "../emulator/warpgroups.h"
#endif

#include "../ops/check.h"

namespace latent_edge::gpu {

constexpr int kLanes = 32;

// N elements that move in one access.
template <class T, int N>
struct alignas(sizeof(T) * N) Vec {
  T at[N];
};

// The widest vector of T that rows of `channels` elements can be read in.
template <class T>
constexpr int kWide = 16 / sizeof(T);

__device__ __forceinline__ int lane() {
  return static_cast<int>(threadIdx.x) % kLanes;
}
__device__ __forceinline__ int warp() {
  return static_cast<int>(threadIdx.x) / kLanes;
}

// Over the lanes of a warp; every lane has the result.
__device__ __forceinline__ float warp_sum(float v) {
  for (int mask = kLanes / 2; mask > 0; mask /= 2) v += shuffle_xor(v, mask);
  return v;
}
__device__ __forceinline__ float warp_max(float v) {
  for (int mask = kLanes / 2; mask > 0; mask /= 2) v = fmaxf(v, shuffle_xor(v, mask));
  return v;
}

__device__ __forceinline__ float silu(float x) {
  return divide_fast(x, 1 + exp2_fast(-1.4426950408889634f * x));
}
__device__ __forceinline__ float gelu(float x) {
  return 0.5f * x * (1 + erff(x * 0.70710678118654752f));
}
// Within 2e-7·|x| of gelu, at a third of its instructions: erf by Abramowitz and Stegun 7.1.26.
__device__ __forceinline__ float gelu_fast(float x) {
  const float a = fabsf(x) * 0.70710678118654752f, t = divide_fast(1, 1 + 0.3275911f * a);
  const float series =
      t * (0.254829592f + t * (-0.284496736f + t * (1.421413741f + t * (-1.453152027f + t * 1.061405429f))));
  const float tail = 0.5f * x * series * exp2_fast(-1.4426950408889634f * a * a);
  return x < 0 ? tail : x - tail;
}
__device__ __forceinline__ float quick_gelu(float x) {
  return divide_fast(x, 1 + exp2_fast(-1.702f * 1.4426950408889634f * x));
}
__device__ __forceinline__ float activate(float x, Activation a) {
  switch (a) {
    case Activation::silu:
      return silu(x);
    case Activation::gelu:
    case Activation::geglu:
      return gelu(x);
    case Activation::quick_gelu:
      return quick_gelu(x);
    case Activation::relu:
      return x < 0 ? 0 : x;
    case Activation::tanh:
      return tanhf(x);
    case Activation::none:
      return x;
  }
  return x;
}

constexpr int64_t ceil_div(int64_t a, int64_t b) {
  return (a + b - 1) / b;
}

}  // namespace latent_edge::gpu
