// The named primitives of kernels/device.h on the emulator. Each does what the PTX instruction of the same name does,
// its fragments laid out as the PTX ISA lays them out; sums are in float32 in order of k.
#pragma once

#include <cmath>
#include <cstring>
#include <functional>
#include <tuple>

#include "../gpu/kernel.h"
#include "grid.h"
#include "half.h"
#include "memory.h"
#include "stream.h"

#define __global__
#define __device__
#define __host__
#define __forceinline__ inline
#define __launch_bounds__(...)
#define __grid_constant__
#define threadIdx (::latent_edge::emulator::current.thread)
#define blockIdx (::latent_edge::emulator::current.block)
#define blockDim (::latent_edge::emulator::current.block_size)
#define gridDim (::latent_edge::emulator::current.grid_size)

namespace latent_edge::gpu {

using Dim3 = emulator::Dim3;

namespace detail {

inline void check_aligned(const void* p, size_t bytes, const char* what) {
  if (reinterpret_cast<uintptr_t>(p) % bytes)
    emulator::fault(std::string(what) + " of " + std::to_string(bytes) +
                    " bytes at an address that is not aligned");
}

// One value of each lane; take(lanes, i) gives lane i's result.
template <class V, class Take>
V exchange(V value, int argument, Take) {
  struct Operand {
    V value;
    int argument;
    V result;
  } mine{value, argument, {}};
  emulator::meet_warp(&mine, [](void* const* operands) {
    V values[emulator::kWarp];
    for (int i = 0; i < emulator::kWarp; i++) values[i] = static_cast<Operand*>(operands[i])->value;
    for (int i = 0; i < emulator::kWarp; i++) {
      auto* lane = static_cast<Operand*>(operands[i]);
      lane->result = Take()(values, i, lane->argument);
    }
  });
  return mine.result;
}

template <class T>
float half_of(uint32_t pair, int which) {
  return to_float(T{static_cast<uint16_t>(pair >> (16 * which))});
}

inline void run_copies(size_t pending_groups) {
  auto& groups = *emulator::current.copies;
  // The last group is open: not yet committed.
  while (groups.size() - 1 > pending_groups) {
    for (const emulator::PendingCopy& copy : groups.front()) {
      if (copy.valid > 0) std::memcpy(copy.to, copy.from, copy.valid);
      std::memset(static_cast<char*>(copy.to) + copy.valid, 0, copy.bytes - copy.valid);
    }
    groups.erase(groups.begin());
  }
}

}  // namespace detail

inline void sync_block() {
  emulator::meet_block();
}
inline void sync_warp() {
  char none;
  emulator::meet_warp(&none, [](void* const*) {});
}

template <class V>
V shuffle_xor(V value, int mask) {
  return detail::exchange(value, mask,
                          [](const V* values, int lane, int mask) { return values[lane ^ mask]; });
}
template <class V>
V shuffle(V value, int lane) {
  return detail::exchange(value, lane, [](const V* values, int, int from) { return values[from]; });
}
// Whether it is so for a lane of the warp.
inline bool any_lane(bool value) {
  return detail::exchange(value, 0, [](const bool* values, int, int) {
    for (int i = 0; i < emulator::kWarp; i++)
      if (values[i]) return true;
    return false;
  });
}

template <class S>
S& shared_memory() {
  if (sizeof(S) > emulator::current.shared_bytes)
    emulator::fault("expected " + std::to_string(sizeof(S)) + " bytes of shared memory, the launch gives " +
                    std::to_string(emulator::current.shared_bytes));
  return *reinterpret_cast<S*>(emulator::current.shared);
}

using SharedAddress = char*;

inline SharedAddress shared_address(const void* p) {
  return static_cast<char*>(const_cast<void*>(p));
}
template <class V>
V kept(V v) {
  return v;
}

// V of 4, 8 or 16 bytes in one access.
template <class V>
V load(const void* from) {
  detail::check_aligned(from, sizeof(V), "a load");
  V v;
  std::memcpy(&v, from, sizeof v);
  return v;
}
template <class V>
void store(void* to, const V& v) {
  detail::check_aligned(to, sizeof(V), "a store");
  std::memcpy(to, &v, sizeof v);
}

template <int kBytes>
void cp_async(void* to, const void* from, bool valid) {
  detail::check_aligned(to, kBytes, "an asynchronous copy");
  if (valid) detail::check_aligned(from, kBytes, "an asynchronous copy");
  std::memset(to, 0xff, kBytes);  // until it is waited for
  emulator::current.copies->back().push_back({to, from, kBytes, valid ? kBytes : 0u});
}
template <bool kCached>
void cp_async_16(SharedAddress to, const void* from, bool valid) {
  cp_async<16>(to, from, valid);
}
inline void cp_async_commit() {
  emulator::current.copies->emplace_back();
}
template <int kPending>
void cp_async_wait() {
  detail::run_copies(kPending);
}

// kCount 8×8 matrices of 16-bit elements from shared memory; lane i gives the address of row i % 8 of matrix i / 8.
template <int kCount, bool kTransposed = false>
void ldmatrix(uint32_t (&to)[kCount], const void* row) {
  detail::check_aligned(row, 16, "ldmatrix");
  struct Operand {
    const void* row;
    uint32_t* to;
  } mine{row, to};
  emulator::meet_warp(&mine, [](void* const* operands) {
    for (int m = 0; m < kCount; m++) {
      uint16_t matrix[8][8];
      for (int r = 0; r < 8; r++) std::memcpy(matrix[r], static_cast<Operand*>(operands[m * 8 + r])->row, 16);
      for (int lane = 0; lane < emulator::kWarp; lane++) {
        const int r = lane / 4, c = lane % 4 * 2;
        const uint32_t low = kTransposed ? matrix[c][r] : matrix[r][c];
        const uint32_t high = kTransposed ? matrix[c + 1][r] : matrix[r][c + 1];
        static_cast<Operand*>(operands[lane])->to[m] = low | high << 16;
      }
    }
  });
}

// d += a·b: mma.sync.aligned.m16n8k16.row.col.f32.T.T.f32.
template <class T>
void mma(float (&d)[4], const uint32_t (&a)[4], const uint32_t (&b)[2]) {
  struct Operand {
    float* d;
    const uint32_t *a, *b;
  } mine{d, a, b};
  emulator::meet_warp(&mine, [](void* const* operands) {
    float left[16][16], right[16][8], sum[16][8];  // right [k][n]
    for (int lane = 0; lane < emulator::kWarp; lane++) {
      const auto& o = *static_cast<Operand*>(operands[lane]);
      const int row = lane / 4, pair = lane % 4 * 2;
      for (int i = 0; i < 4; i++)
        for (int h = 0; h < 2; h++)
          left[row + i % 2 * 8][pair + h + i / 2 * 8] = detail::half_of<T>(o.a[i], h);
      for (int i = 0; i < 2; i++)
        for (int h = 0; h < 2; h++) right[pair + h + i * 8][row] = detail::half_of<T>(o.b[i], h);
      for (int i = 0; i < 4; i++) sum[row + i / 2 * 8][pair + i % 2] = o.d[i];
    }
    for (int m = 0; m < 16; m++)
      for (int k = 0; k < 16; k++)
        for (int n = 0; n < 8; n++) sum[m][n] += left[m][k] * right[k][n];
    for (int lane = 0; lane < emulator::kWarp; lane++) {
      const auto& o = *static_cast<Operand*>(operands[lane]);
      const int row = lane / 4, pair = lane % 4 * 2;
      for (int i = 0; i < 4; i++) o.d[i] = sum[row + i / 2 * 8][pair + i % 2];
    }
  });
}

// The same of eight channels: mma.sync.aligned.m16n8k8.row.col.f32.T.T.f32.
template <class T>
void mma8(float (&d)[4], const uint32_t (&a)[2], uint32_t b) {
  struct Operand {
    float* d;
    const uint32_t* a;
    uint32_t b;
  } mine{d, a, b};
  emulator::meet_warp(&mine, [](void* const* operands) {
    float left[16][8], right[8][8];  // right [k][n]
    for (int lane = 0; lane < emulator::kWarp; lane++) {
      const auto& o = *static_cast<Operand*>(operands[lane]);
      const int row = lane / 4, pair = lane % 4 * 2;
      for (int h = 0; h < 2; h++) {
        for (int i = 0; i < 2; i++) left[row + i * 8][pair + h] = detail::half_of<T>(o.a[i], h);
        right[pair + h][row] = detail::half_of<T>(o.b, h);
      }
    }
    for (int lane = 0; lane < emulator::kWarp; lane++) {
      const auto& o = *static_cast<Operand*>(operands[lane]);
      for (int i = 0; i < 4; i++)
        for (int k = 0; k < 8; k++) o.d[i] += left[lane / 4 + i / 2 * 8][k] * right[k][lane % 4 * 2 + i % 2];
    }
  });
}

template <class T>
uint32_t pack2(float low, float high) {
  return from_float<T>(low).bits | static_cast<uint32_t>(from_float<T>(high).bits) << 16;
}
template <class T>
void unpack2(uint32_t pair, float& low, float& high) {
  low = detail::half_of<T>(pair, 0), high = detail::half_of<T>(pair, 1);
}

inline float exp2_fast(float x) {
  return std::exp2(x);
}
inline float divide_fast(float a, float b) {
  return a / b;
}
inline float rsqrtf(float x) {
  return 1 / std::sqrt(x);
}

inline float atomic_add(float* to, float v) {
  const float before = *to;
  *to += v;
  return before;
}
inline int atomic_add(int* to, int v) {
  const int before = *to;
  *to += v;
  return before;
}
// Earlier writes of this thread are seen before later ones, by all blocks.
inline void fence_device() {}

// Enqueues the kernel. Its arguments are converted to its parameters' types.
template <class... P, class... A>
void launch(Stream stream, void (*kernel)(P...), Dim3 grid, unsigned threads, size_t shared_bytes,
            A... arguments) {
  auto* const to = reinterpret_cast<emulator::Stream*>(stream);
  to->enqueue([=, limits = to->limits, parameters = std::tuple<P...>(static_cast<P>(arguments)...)] {
    emulator::run_grid(grid, threads, shared_bytes, limits, [&] { std::apply(kernel, parameters); });
  });
}

}  // namespace latent_edge::gpu
