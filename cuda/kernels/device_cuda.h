// The named primitives of device.h as CUDA and PTX (sm_80 and up).
#pragma once

#include <cuda_bf16.h>
#include <cuda_fp16.h>
#include <cuda_runtime.h>

#include <cstdint>
#include <stdexcept>
#include <string>
#include <tuple>

#include "../gpu/kernel.h"

namespace latent_edge::gpu {

using f16 = __half;
using bf16 = __nv_bfloat16;
using Dim3 = dim3;

__host__ __device__ __forceinline__ float to_float(float v) {
  return v;
}
__host__ __device__ __forceinline__ float to_float(f16 v) {
  return __half2float(v);
}
__host__ __device__ __forceinline__ float to_float(bf16 v) {
  return __bfloat162float(v);
}
template <class T>
__host__ __device__ __forceinline__ T from_float(float v);
template <>
__host__ __device__ __forceinline__ float from_float<float>(float v) {
  return v;
}
template <>
__host__ __device__ __forceinline__ f16 from_float<f16>(float v) {
  return __float2half_rn(v);
}
template <>
__host__ __device__ __forceinline__ bf16 from_float<bf16>(float v) {
  return __float2bfloat16_rn(v);
}

__device__ __forceinline__ void sync_block() {
  __syncthreads();
}
__device__ __forceinline__ void sync_warp() {
  __syncwarp();
}
template <class V>
__device__ __forceinline__ V shuffle_xor(V value, int mask) {
  return __shfl_xor_sync(0xffffffffu, value, mask);
}
template <class V>
__device__ __forceinline__ V shuffle(V value, int lane) {
  return __shfl_sync(0xffffffffu, value, lane);
}
__device__ __forceinline__ bool any_lane(bool value) {
  return __any_sync(0xffffffffu, value);
}

template <class S>
__device__ __forceinline__ S& shared_memory() {
  extern __shared__ __align__(1024) char bytes[];
  return *reinterpret_cast<S*>(bytes);
}
__device__ __forceinline__ uint32_t shared_address(const void* p) {
  return static_cast<uint32_t>(__cvta_generic_to_shared(p));
}

// Where in shared memory something is; bytes can be added.
using SharedAddress = uint32_t;

// The value itself, which the compiler does not fetch or compute again.
template <class V>
__device__ __forceinline__ V kept(V v) {
  if constexpr (sizeof(V) == 8)
    asm volatile("" : "+l"(v));
  else
    asm volatile("" : "+r"(v));
  return v;
}

template <class V>
__device__ __forceinline__ V load(const void* from) {
  return *static_cast<const V*>(from);
}
template <class V>
__device__ __forceinline__ void store(void* to, const V& v) {
  *static_cast<V*>(to) = v;
}

template <int kBytes>
__device__ __forceinline__ void cp_async(void* to, const void* from, bool valid) {
  const int size = valid ? kBytes : 0;
  if constexpr (kBytes == 16)
    asm volatile("cp.async.cg.shared.global [%0], [%1], 16, %2;" ::"r"(shared_address(to)), "l"(from),
                 "r"(size)
                 : "memory");
  else
    asm volatile("cp.async.ca.shared.global [%0], [%1], %3, %2;" ::"r"(shared_address(to)), "l"(from),
                 "r"(size), "n"(kBytes)
                 : "memory");
}
// 16 bytes, or zeros: `from` is not looked at then. kCached: kept in the multiprocessor's cache, for those that read
// them again.
template <bool kCached>
__device__ __forceinline__ void cp_async_16(SharedAddress to, const void* from, bool valid) {
  if constexpr (kCached)
    asm volatile("cp.async.ca.shared.global [%0], [%1], 16, %2;" ::"r"(to), "l"(from), "r"(valid ? 16 : 0)
                 : "memory");
  else
    asm volatile("cp.async.cg.shared.global [%0], [%1], 16, %2;" ::"r"(to), "l"(from), "r"(valid ? 16 : 0)
                 : "memory");
}
__device__ __forceinline__ void cp_async_commit() {
  asm volatile("cp.async.commit_group;" ::: "memory");
}
template <int kPending>
__device__ __forceinline__ void cp_async_wait() {
  asm volatile("cp.async.wait_group %0;" ::"n"(kPending) : "memory");
}

template <int kCount, bool kTransposed = false>
__device__ __forceinline__ void ldmatrix(uint32_t (&to)[kCount], const void* row) {
  static_assert(kCount == 2 || kCount == 4);
  const uint32_t at = shared_address(row);
  if constexpr (kCount == 4 && !kTransposed)
    asm volatile("ldmatrix.sync.aligned.m8n8.x4.shared.b16 {%0,%1,%2,%3}, [%4];"
                 : "=r"(to[0]), "=r"(to[1]), "=r"(to[2]), "=r"(to[3])
                 : "r"(at)
                 : "memory");
  else if constexpr (kCount == 4)
    asm volatile("ldmatrix.sync.aligned.m8n8.x4.trans.shared.b16 {%0,%1,%2,%3}, [%4];"
                 : "=r"(to[0]), "=r"(to[1]), "=r"(to[2]), "=r"(to[3])
                 : "r"(at)
                 : "memory");
  else if constexpr (!kTransposed)
    asm volatile("ldmatrix.sync.aligned.m8n8.x2.shared.b16 {%0,%1}, [%2];"
                 : "=r"(to[0]), "=r"(to[1])
                 : "r"(at)
                 : "memory");
  else
    asm volatile("ldmatrix.sync.aligned.m8n8.x2.trans.shared.b16 {%0,%1}, [%2];"
                 : "=r"(to[0]), "=r"(to[1])
                 : "r"(at)
                 : "memory");
}

template <class T>
__device__ __forceinline__ void mma(float (&d)[4], const uint32_t (&a)[4], const uint32_t (&b)[2]) {
  if constexpr (std::is_same_v<T, f16>)
    asm volatile(
        "mma.sync.aligned.m16n8k16.row.col.f32.f16.f16.f32 {%0,%1,%2,%3}, {%4,%5,%6,%7}, {%8,%9}, "
        "{%0,%1,%2,%3};"
        : "+f"(d[0]), "+f"(d[1]), "+f"(d[2]), "+f"(d[3])
        : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "r"(b[0]), "r"(b[1]));
  else
    asm volatile(
        "mma.sync.aligned.m16n8k16.row.col.f32.bf16.bf16.f32 {%0,%1,%2,%3}, {%4,%5,%6,%7}, {%8,%9}, "
        "{%0,%1,%2,%3};"
        : "+f"(d[0]), "+f"(d[1]), "+f"(d[2]), "+f"(d[3])
        : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "r"(b[0]), "r"(b[1]));
}

template <class T>
__device__ __forceinline__ void mma8(float (&d)[4], const uint32_t (&a)[2], uint32_t b) {
  if constexpr (std::is_same_v<T, f16>)
    asm volatile(
        "mma.sync.aligned.m16n8k8.row.col.f32.f16.f16.f32 {%0,%1,%2,%3}, {%4,%5}, {%6}, {%0,%1,%2,%3};"
        : "+f"(d[0]), "+f"(d[1]), "+f"(d[2]), "+f"(d[3])
        : "r"(a[0]), "r"(a[1]), "r"(b));
  else
    asm volatile(
        "mma.sync.aligned.m16n8k8.row.col.f32.bf16.bf16.f32 {%0,%1,%2,%3}, {%4,%5}, {%6}, {%0,%1,%2,%3};"
        : "+f"(d[0]), "+f"(d[1]), "+f"(d[2]), "+f"(d[3])
        : "r"(a[0]), "r"(a[1]), "r"(b));
}

// Warpgroup products (sm_90a): four warps in a row, the first one's index a multiple of four, compute
// d += left·rightᵀ of 64 rows and N columns, 16 channels deep. Both operands lie in shared memory in rows of 64
// bytes, chunk c of row r at place c ^ (r/2 mod 4). Products run while the threads go on: what they read
// and write is free once warpgroup_wait says so.
#ifdef __CUDA_ARCH_FEAT_SM90_ALL
constexpr bool kHasWarpgroups = true;
#else
constexpr bool kHasWarpgroups = false;
#endif

// What this thread wrote or copied to shared memory is there for products after the next barrier.
__device__ __forceinline__ void fence_products() {
  asm volatile("fence.proxy.async.shared::cta;" ::: "memory");
}
// Before the first product of a group: registers are as the threads left them.
__device__ __forceinline__ void warpgroup_arrive() {
#ifdef __CUDA_ARCH_FEAT_SM90_ALL
  asm volatile("wgmma.fence.sync.aligned;" ::: "memory");
#endif
}
__device__ __forceinline__ void warpgroup_commit() {
#ifdef __CUDA_ARCH_FEAT_SM90_ALL
  asm volatile("wgmma.commit_group.sync.aligned;" ::: "memory");
#endif
}
// Until at most kPending groups are under way.
template <int kPending>
__device__ __forceinline__ void warpgroup_wait() {
#ifdef __CUDA_ARCH_FEAT_SM90_ALL
  asm volatile("wgmma.wait_group.sync.aligned %0;" ::"n"(kPending) : "memory");
#endif
}
// Sums of products that have been waited for: none is read before this.
template <int kCount>
__device__ __forceinline__ void take(float (&d)[kCount][4]) {
#pragma unroll
  for (int n = 0; n < kCount; n++)
    asm volatile("" : "+f"(d[n][0]), "+f"(d[n][1]), "+f"(d[n][2]), "+f"(d[n][3])::"memory");
}

// Rows of 64 bytes in shared memory as products read them (PTX ISA, matrix-descriptor format, 64-byte swizzle): rows
// follow each other, eight of them are a piece, channels are contiguous. Steps are in bytes, of rows from a multiple of
// 512 on.
struct Operand {
  uint64_t bits;
  __device__ __forceinline__ explicit Operand(SharedAddress rows) {
    constexpr uint64_t kPiece = 8 * 64 / 16, kSwizzle = 2;
    bits = (rows >> 4 & 0x3fff) | uint64_t{1} << 16 | kPiece << 32 | kSwizzle << 62;
  }
  __device__ __forceinline__ Operand rows(int bytes) const {
    Operand moved = *this;
    moved.bits += static_cast<uint32_t>(bytes) >> 4;
    return moved;
  }
  // The hardware swizzles addresses, so that a step along the channels is one of addresses too.
  __device__ __forceinline__ Operand channels(int bytes) const { return rows(bytes); }
};

// 16 channels of 64 rows and of kColumns. d is laid out as mma's, eight columns after eight, warp w of the four has the
// rows from 16·w on.
template <class T, int kColumns>
__device__ __forceinline__ void warpgroup_mma(float (&d)[kColumns / 8][4], const Operand& left,
                                              const Operand& right) {
#ifdef __CUDA_ARCH_FEAT_SM90_ALL
  const uint64_t a = left.bits, b = right.bits;
#define LE_D4(n) "+f"(d[n][0]), "+f"(d[n][1]), "+f"(d[n][2]), "+f"(d[n][3])
#define LE_D16(n) LE_D4(n), LE_D4(n + 1), LE_D4(n + 2), LE_D4(n + 3)
#define LE_D64(n) LE_D16(n), LE_D16(n + 4), LE_D16(n + 8), LE_D16(n + 12)
#define LE_R64                                                                                             \
  "%0,%1,%2,%3,%4,%5,%6,%7,%8,%9,%10,%11,%12,%13,%14,%15,%16,%17,%18,%19,%20,%21,%22,%23,%24,%25,%26,%27," \
  "%28,%29,%30,%31,%32,%33,%34,%35,%36,%37,%38,%39,%40,%41,%42,%43,%44,%45,%46,%47,%48,%49,%50,%51,%52,"   \
  "%53,%54,%55,%56,%57,%58,%59,%60,%61,%62,%63"
#define LE_R80 LE_R64 ",%64,%65,%66,%67,%68,%69,%70,%71,%72,%73,%74,%75,%76,%77,%78,%79"
#define LE_WGMMA(columns, type, registers, a_at, b_at)                                                   \
  "{.reg .pred onto; setp.eq.u32 onto, 0, 0; wgmma.mma_async.sync.aligned.m64n" #columns "k16.f32." type \
  "." type " {" registers "}, " a_at ", " b_at ", onto, 1, 1, 0, 0;}"
  if constexpr (kColumns == 128 && std::is_same_v<T, f16>)
    asm volatile(LE_WGMMA(128, "f16", LE_R64, "%64", "%65") : LE_D64(0) : "l"(a), "l"(b));
  else if constexpr (kColumns == 128)
    asm volatile(LE_WGMMA(128, "bf16", LE_R64, "%64", "%65") : LE_D64(0) : "l"(a), "l"(b));
  else if constexpr (kColumns == 160 && std::is_same_v<T, f16>)
    asm volatile(LE_WGMMA(160, "f16", LE_R80, "%80", "%81") : LE_D64(0), LE_D16(16) : "l"(a), "l"(b));
  else {
    static_assert(kColumns == 160);
    asm volatile(LE_WGMMA(160, "bf16", LE_R80, "%80", "%81") : LE_D64(0), LE_D16(16) : "l"(a), "l"(b));
  }
#undef LE_D4
#undef LE_D16
#undef LE_D64
#undef LE_R64
#undef LE_R80
#undef LE_WGMMA
#endif
}

template <class T>
__device__ __forceinline__ uint32_t pack2(float low, float high) {
  if constexpr (std::is_same_v<T, f16>) {
    const __half2 pair = __floats2half2_rn(low, high);
    return *reinterpret_cast<const uint32_t*>(&pair);
  } else {
    const __nv_bfloat162 pair = __floats2bfloat162_rn(low, high);
    return *reinterpret_cast<const uint32_t*>(&pair);
  }
}
template <class T>
__device__ __forceinline__ void unpack2(uint32_t pair, float& low, float& high) {
  if constexpr (std::is_same_v<T, f16>) {
    const float2 both = __half22float2(*reinterpret_cast<const __half2*>(&pair));
    low = both.x, high = both.y;
  } else {
    low = __uint_as_float(pair << 16), high = __uint_as_float(pair & 0xffff0000u);
  }
}

__device__ __forceinline__ float exp2_fast(float x) {
  float y;
  asm("ex2.approx.ftz.f32 %0, %1;" : "=f"(y) : "f"(x));
  return y;
}
__device__ __forceinline__ float divide_fast(float a, float b) {
  return __fdividef(a, b);
}
template <class V>
__device__ __forceinline__ V atomic_add(V* to, V v) {
  return atomicAdd(to, v);
}
__device__ __forceinline__ void fence_device() {
  __threadfence();
}

// Enqueues the kernel. Its arguments are converted to its parameters' types.
template <class... P, class... A>
void launch(Stream stream, void (*kernel)(P...), Dim3 grid, unsigned threads, size_t shared_bytes,
            A... arguments) {
  std::tuple<P...> parameters(static_cast<P>(arguments)...);
  cudaError_t error = cudaSuccess;
  if (shared_bytes > (48u << 10))
    error = cudaFuncSetAttribute(reinterpret_cast<const void*>(kernel),
                                 cudaFuncAttributeMaxDynamicSharedMemorySize, static_cast<int>(shared_bytes));
  if (error == cudaSuccess)
    error = std::apply(
        [&](auto&... p) {
          void* pointers[] = {const_cast<void*>(static_cast<const void*>(&p))...};
          return cudaLaunchKernel(reinterpret_cast<const void*>(kernel), grid, dim3(threads), pointers,
                                  shared_bytes, reinterpret_cast<cudaStream_t>(stream));
        },
        parameters);
  if (error != cudaSuccess) {
    cudaGetLastError();
    throw std::runtime_error("cannot launch the kernel: " + std::string(cudaGetErrorString(error)));
  }
}

}  // namespace latent_edge::gpu
