// What Hopper adds to device.h's primitives, as PTX (sm_90a): products of warpgroups, and signals between warps.
#pragma once

#include "device_cuda.h"

namespace latent_edge::gpu {

// Warpgroup products: four warps in a row, the first one's index a multiple of four, compute d += left·right of 64 rows
// and N columns, 16 deep. Products run while the threads go on: what they read and write is free once warpgroup_wait
// says so.
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
// A warpgroup gives registers back, or takes some that others have given back: a thread has kCount from here on.
template <int kCount>
__device__ __forceinline__ void keep_registers() {
#ifdef __CUDA_ARCH_FEAT_SM90_ALL
  asm volatile("setmaxnreg.dec.sync.aligned.u32 %0;" ::"n"(kCount));
#endif
}
template <int kCount>
__device__ __forceinline__ void take_registers() {
#ifdef __CUDA_ARCH_FEAT_SM90_ALL
  asm volatile("setmaxnreg.inc.sync.aligned.u32 %0;" ::"n"(kCount));
#endif
}
// Sums of products that have been waited for: none is read before this.
template <int kCount>
__device__ __forceinline__ void take(float (&d)[kCount][4]) {
#pragma unroll
  for (int n = 0; n < kCount; n++)
    asm volatile("" : "+f"(d[n][0]), "+f"(d[n][1]), "+f"(d[n][2]), "+f"(d[n][3])::"memory");
}

// Operands in shared memory lie in rows of 64 bytes, eight rows to a piece, chunk c of row r at place c ^ (r/2 mod 4), or
// of 128 bytes, chunk c at place c ^ (r mod 8) (PTX ISA, matrix-descriptor format, 64- and 128-byte swizzles). Steps are
// in bytes, of rows from a multiple of a piece on.
namespace detail {
constexpr uint64_t kSwizzle64 = 2, kSwizzle128 = 1;
__device__ __forceinline__ uint64_t descriptor(SharedAddress rows, uint64_t leading, uint64_t row_bytes) {
  return (rows >> 4 & 0x3fff) | leading << 16 | row_bytes / 2 << 32 |
         (row_bytes == 128 ? kSwizzle128 : kSwizzle64) << 62;
}
}  // namespace detail

// A row or a column of the product each, whose 32 or 64 channels are summed over.
struct Operand {
  uint64_t bits;
  __device__ __forceinline__ explicit Operand(SharedAddress rows, int row_bytes = 64)
      : bits(detail::descriptor(rows, 1, row_bytes)) {}
  __device__ __forceinline__ Operand rows(int bytes) const {
    Operand moved = *this;
    moved.bits += static_cast<uint32_t>(bytes) >> 4;
    return moved;
  }
  // The hardware swizzles addresses, so that a step along the channels is one of addresses too.
  __device__ __forceinline__ Operand channels(int bytes) const { return rows(bytes); }
};

// The right operand the other way round ("MN-major"): rows are summed over, a row has 32 columns of the product, and
// the next 32 lie slab_bytes further on.
struct Turned {
  uint64_t bits;
  __device__ __forceinline__ Turned(SharedAddress rows, int slab_bytes)
      : bits(detail::descriptor(rows, static_cast<uint32_t>(slab_bytes) >> 4, 64)) {}
  __device__ __forceinline__ Turned rows(int bytes) const {
    Turned moved = *this;
    moved.bits += static_cast<uint32_t>(bytes) >> 4;
    return moved;
  }
};

#define LE_D4(n) "+f"(d[n][0]), "+f"(d[n][1]), "+f"(d[n][2]), "+f"(d[n][3])
#define LE_D8(n) LE_D4(n), LE_D4(n + 1)
#define LE_D16(n) LE_D8(n), LE_D8(n + 2)
#define LE_D32(n) LE_D16(n), LE_D16(n + 4)
#define LE_D64(n) LE_D32(n), LE_D32(n + 8)
#define LE_R20 "%0,%1,%2,%3,%4,%5,%6,%7,%8,%9,%10,%11,%12,%13,%14,%15,%16,%17,%18,%19"
#define LE_R32 LE_R20 ",%20,%21,%22,%23,%24,%25,%26,%27,%28,%29,%30,%31"
#define LE_R40 LE_R32 ",%32,%33,%34,%35,%36,%37,%38,%39"
#define LE_R64 \
  LE_R40 ",%40,%41,%42,%43,%44,%45,%46,%47,%48,%49,%50,%51,%52,%53,%54,%55,%56,%57,%58,%59,%60,%61,%62,%63"
#define LE_R80 LE_R64 ",%64,%65,%66,%67,%68,%69,%70,%71,%72,%73,%74,%75,%76,%77,%78,%79"
#define LE_R128                                                                                          \
  LE_R80                                                                                                 \
  ",%80,%81,%82,%83,%84,%85,%86,%87,%88,%89,%90,%91,%92,%93,%94,%95,%96,%97,%98,%99,%100,%101,%102,"     \
  "%103,%104,%105,%106,%107,%108,%109,%110,%111,%112,%113,%114,%115,%116,%117,%118,%119,%120,%121,%122," \
  "%123,%124,%125,%126,%127"
#define LE_WGMMA(columns, type, registers, left, right, onto, rest)                             \
  "{.reg .pred onto; setp.ne.u32 onto, " onto ", 0; wgmma.mma_async.sync.aligned.m64n" #columns \
  "k16.f32." type "." type " {" registers "}, " left ", " right ", onto, 1, 1" rest ";}"
// A product of so many columns by whichever LE_ONE the function has defined.
#define LE_BY_COLUMNS                                                          \
  if constexpr (kColumns == 40)                                                \
    LE_ONE(40, LE_R20, 20, 21, 22, 23, 24, 25, LE_D16(0), LE_D4(4));           \
  else if constexpr (kColumns == 64)                                           \
    LE_ONE(64, LE_R32, 32, 33, 34, 35, 36, 37, LE_D32(0));                     \
  else if constexpr (kColumns == 80)                                           \
    LE_ONE(80, LE_R40, 40, 41, 42, 43, 44, 45, LE_D32(0), LE_D8(8));           \
  else if constexpr (kColumns == 128)                                          \
    LE_ONE(128, LE_R64, 64, 65, 66, 67, 68, 69, LE_D64(0));                    \
  else if constexpr (kColumns == 160)                                          \
    LE_ONE(160, LE_R80, 80, 81, 82, 83, 84, 85, LE_D64(0), LE_D16(16));        \
  else {                                                                       \
    static_assert(kColumns == 256);                                            \
    LE_ONE(256, LE_R128, 128, 129, 130, 131, 132, 133, LE_D64(0), LE_D64(16)); \
  }

// 16 channels of 64 rows and of kColumns. d is laid out as mma's, eight columns after eight, warp w of the four has the
// rows from 16·w on. Without kOnto d is the product alone.
template <class T, int kColumns, bool kOnto = true>
__device__ __forceinline__ void warpgroup_mma(float (&d)[kColumns / 8][4], const Operand& left,
                                              const Operand& right) {
#ifdef __CUDA_ARCH_FEAT_SM90_ALL
#define LE_TYPE(type, columns, registers, i, j, k, ...)                             \
  asm volatile(LE_WGMMA(columns, type, registers, "%" #i, "%" #j, "%" #k, ", 0, 0") \
               : __VA_ARGS__                                                        \
               : "l"(left.bits), "l"(right.bits), "n"(kOnto ? 1 : 0))
#define LE_ONE(columns, registers, i, j, k, l, m, n, ...)     \
  if constexpr (std::is_same_v<T, f16>)                       \
    LE_TYPE("f16", columns, registers, i, j, k, __VA_ARGS__); \
  else                                                        \
    LE_TYPE("bf16", columns, registers, i, j, k, __VA_ARGS__)
  LE_BY_COLUMNS
#undef LE_ONE
#undef LE_TYPE
#endif
}

// The same with the left operand in registers, laid out as mma's, and the right one turned; registers are free once the
// product has been waited for.
template <class T, int kColumns, bool kOnto = true>
__device__ __forceinline__ void warpgroup_mma(float (&d)[kColumns / 8][4], const uint32_t (&left)[4],
                                              const Turned& right) {
#ifdef __CUDA_ARCH_FEAT_SM90_ALL
#define LE_TYPE(type, columns, registers, i, j, k, l, m, n, ...)                                     \
  asm volatile(                                                                                      \
      LE_WGMMA(columns, type, registers, "{%" #i ",%" #j ",%" #k ",%" #l "}", "%" #m, "%" #n, ", 1") \
      : __VA_ARGS__                                                                                  \
      : "r"(left[0]), "r"(left[1]), "r"(left[2]), "r"(left[3]), "l"(right.bits), "n"(kOnto ? 1 : 0))
#define LE_ONE(columns, registers, i, j, k, l, m, n, ...)              \
  if constexpr (std::is_same_v<T, f16>)                                \
    LE_TYPE("f16", columns, registers, i, j, k, l, m, n, __VA_ARGS__); \
  else                                                                 \
    LE_TYPE("bf16", columns, registers, i, j, k, l, m, n, __VA_ARGS__)
  LE_BY_COLUMNS
#undef LE_ONE
#undef LE_TYPE
#endif
}

#undef LE_BY_COLUMNS
#undef LE_WGMMA
#undef LE_R128
#undef LE_R80
#undef LE_R64
#undef LE_R40
#undef LE_R32
#undef LE_R20
#undef LE_D64
#undef LE_D32
#undef LE_D16
#undef LE_D8
#undef LE_D4

// In shared memory: rises each time that `arrivals` threads have raised it, so that some warps can wait for others.
struct alignas(8) Signal {
  uint64_t bits;

  // By one thread, before a barrier of the block.
  __device__ __forceinline__ void begin(int arrivals) {
    asm volatile("mbarrier.init.shared.b64 [%0], %1;" ::"r"(shared_address(this)), "r"(arrivals) : "memory");
  }
  // Has risen once so many bytes have been copied too that a copy counts here.
  __device__ __forceinline__ void raise(int bytes) {
#ifdef __CUDA_ARCH_FEAT_SM90_ALL
    asm volatile("mbarrier.arrive.expect_tx.shared::cta.b64 _, [%0], %1;" ::"r"(shared_address(this)),
                 "r"(bytes)
                 : "memory");
#endif
  }
  // What this thread did before is done for those that wait.
  __device__ __forceinline__ void raise() {
#ifdef __CUDA_ARCH_FEAT_SM90_ALL
    asm volatile("mbarrier.arrive.shared::cta.b64 _, [%0];" ::"r"(shared_address(this)) : "memory");
#endif
  }
  // Until it has risen for the first (0), second (1), third (0) … time.
  __device__ __forceinline__ void await(uint32_t parity) const {
#ifdef __CUDA_ARCH_FEAT_SM90_ALL
    asm volatile(
        "{.reg .pred risen;\n"
        "again:\n"
        "mbarrier.try_wait.parity.shared::cta.b64 risen, [%0], %1;\n"
        "@risen bra done;\n"
        "bra again;\n"
        "done:}" ::"r"(shared_address(this)),
        "r"(parity)
        : "memory");
#endif
  }
};

}  // namespace latent_edge::gpu
