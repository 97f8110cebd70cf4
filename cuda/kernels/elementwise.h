// y[i] = f(x[i]) over n elements, 16 bytes at a time; the last few, and what is not aligned, one by one. Bound by
// bandwidth.
#pragma once

#include "bind.h"

namespace latent_edge::gpu {

template <class From, class To, int kCount, class F>
__global__ void elementwise(const From* x, To* y, int64_t n, F f) {
  const int64_t i = (static_cast<int64_t>(blockIdx.x) * blockDim.x + threadIdx.x) * kCount;
  if (i + kCount <= n) {
    const auto from = load<Vec<From, kCount>>(x + i);
    Vec<To, kCount> to;
    for (int j = 0; j < kCount; j++) to.at[j] = from_float<To>(f(to_float(from.at[j])));
    store(y + i, to);
  } else {
    for (int64_t j = i; j < n; j++) y[j] = from_float<To>(f(to_float(x[j])));
  }
}

// F: a copyable function object with __device__ float operator()(float).
template <class From, class To, class F>
void launch_elementwise(Stream stream, const From* x, To* y, int64_t n, F f) {
  constexpr int kThreads = 256, kCount = 16 / (sizeof(From) > sizeof(To) ? sizeof(From) : sizeof(To));
  const bool aligned = reinterpret_cast<uintptr_t>(x) % sizeof(Vec<From, kCount>) == 0 &&
                       reinterpret_cast<uintptr_t>(y) % sizeof(Vec<To, kCount>) == 0;
  const auto blocks = static_cast<unsigned>(ceil_div(n, kThreads * (aligned ? kCount : 1)));
  launch(stream, aligned ? elementwise<From, To, kCount, F> : elementwise<From, To, 1, F>, {blocks, 1, 1},
         kThreads, 0, x, y, n, f);
}

}  // namespace latent_edge::gpu
