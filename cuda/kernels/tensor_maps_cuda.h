// Copies by tensor maps (TMA, sm_90): one thread asks for a tile of rows, or of a window's pixels, in one instruction, and
// a signal rises when it is there. Rows of 64 channels lie as the tensor cores' 128-byte swizzle has them; what is outside
// of the tensor is 0.
#pragma once

#include <cuda.h>

#include "warpgroups_cuda.h"
#include "window_grid.h"

namespace latent_edge::gpu {

using TensorMap = CUtensorMap;

constexpr int kMapChannels = 64;  // of a row of a tile, of 16-bit types

namespace detail {

// The driver's function: it is not linked against.
template <class F>
F driver_function(const char* name) {
  void* function = nullptr;
  cudaDriverEntryPointQueryResult found{};
#if CUDART_VERSION >= 12050
  const auto result = cudaGetDriverEntryPointByVersion(name, &function, 12000, cudaEnableDefault, &found);
#else
  const auto result = cudaGetDriverEntryPoint(name, &function, cudaEnableDefault, &found);
#endif
  if (result != cudaSuccess || found != cudaDriverEntryPointSuccess)
    throw std::runtime_error("the NVIDIA driver has no " + std::string(name));
  return reinterpret_cast<F>(function);
}

inline void check_map(CUresult result) {
  if (result != CUDA_SUCCESS)
    throw std::runtime_error("cannot encode a tensor map: " + std::to_string(result));
}

template <class T>
constexpr CUtensorMapDataType kMapType =
    std::is_same_v<T, f16> ? CU_TENSOR_MAP_DATA_TYPE_FLOAT16 : CU_TENSOR_MAP_DATA_TYPE_BFLOAT16;

}  // namespace detail

// Of a matrix, in tiles of so many rows.
template <class T>
TensorMap map_rows(const T* data, int64_t rows, int64_t channels, int tile) {
  static const auto encode =
      detail::driver_function<decltype(&cuTensorMapEncodeTiled)>("cuTensorMapEncodeTiled");
  TensorMap map;
  const cuuint64_t size[] = {static_cast<cuuint64_t>(channels), static_cast<cuuint64_t>(rows)},
                   step[] = {static_cast<cuuint64_t>(channels) * sizeof(T)};
  const cuuint32_t box[] = {kMapChannels, static_cast<cuuint32_t>(tile)}, one[] = {1, 1};
  detail::check_map(encode(&map, detail::kMapType<T>, 2, const_cast<T*>(data), size, step, box, one,
                           CU_TENSOR_MAP_INTERLEAVE_NONE, CU_TENSOR_MAP_SWIZZLE_128B,
                           CU_TENSOR_MAP_L2_PROMOTION_L2_256B, CU_TENSOR_MAP_FLOAT_OOB_FILL_NONE));
  return map;
}

// Of images, in tiles of so many windows' pixels ("im2col"): from line to line, from image to image.
template <class T>
TensorMap map_windows(const T* data, int channels, const WindowGrid& grid, int tile) {
  static const auto encode =
      detail::driver_function<decltype(&cuTensorMapEncodeIm2col)>("cuTensorMapEncodeIm2col");
  TensorMap map;
  const auto big = [](int64_t v) { return static_cast<cuuint64_t>(v); };
  const int64_t pixel = int64_t{channels} * static_cast<int64_t>(sizeof(T));
  const cuuint64_t size[] = {big(channels), big(grid.width), big(grid.height), big(grid.images)},
                   step[] = {big(pixel), big(pixel * grid.width), big(pixel * grid.width * grid.height)};
  const int first[] = {grid.x, grid.y}, last[] = {grid.last_x(), grid.last_y()};
  const auto stride = static_cast<cuuint32_t>(grid.stride);
  const cuuint32_t strides[] = {1, stride, stride, 1};
  detail::check_map(encode(&map, detail::kMapType<T>, 4, const_cast<T*>(data), size, step, first, last,
                           kMapChannels, static_cast<cuuint32_t>(tile), strides,
                           CU_TENSOR_MAP_INTERLEAVE_NONE, CU_TENSOR_MAP_SWIZZLE_128B,
                           CU_TENSOR_MAP_L2_PROMOTION_L2_256B, CU_TENSOR_MAP_FLOAT_OOB_FILL_NONE));
  return map;
}

// `to` is a multiple of 1024. Counts its bytes at `arrived`.
__device__ __forceinline__ void copy_rows(SharedAddress to, const TensorMap& map, int channel, int row,
                                          Signal& arrived) {
#ifdef __CUDA_ARCH_FEAT_SM90_ALL
  asm volatile(
      "cp.async.bulk.tensor.2d.shared::cluster.global.tile.mbarrier::complete_tx::bytes [%0], [%1, {%2, "
      "%3}], [%4];" ::"r"(to),
      "l"(&map), "r"(channel), "r"(row), "r"(shared_address(&arrived))
      : "memory");
#endif
}
// From the window on that begins at (x, y) of an image: the pixel so many to the right of and below where windows begin.
__device__ __forceinline__ void copy_windows(SharedAddress to, const TensorMap& map, int channel, int x,
                                             int y, int image, int right, int below, Signal& arrived) {
#ifdef __CUDA_ARCH_FEAT_SM90_ALL
  asm volatile(
      "cp.async.bulk.tensor.4d.shared::cluster.global.im2col.mbarrier::complete_tx::bytes [%0], "
      "[%1, {%2, %3, %4, %5}], [%6], {%7, %8};" ::"r"(to),
      "l"(&map), "r"(channel), "r"(x), "r"(y), "r"(image), "r"(shared_address(&arrived)),
      "h"(static_cast<uint16_t>(right)), "h"(static_cast<uint16_t>(below))
      : "memory");
#endif
}
__device__ __forceinline__ void prefetch_map(const TensorMap& map) {
#ifdef __CUDA_ARCH_FEAT_SM90_ALL
  asm volatile("prefetch.tensormap [%0];" ::"l"(&map) : "memory");
#endif
}

}  // namespace latent_edge::gpu
