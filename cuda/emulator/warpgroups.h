// What Hopper adds to the primitives of kernels/device.h, on the emulator: products of warpgroups, and signals.
//
// Products are computed when they are waited for, by each warp for itself: until then their sums are what they were, and
// operands, registers too, that are overwritten too early show.
#pragma once

#include "device.h"

namespace latent_edge::gpu {

constexpr bool kHasWarpgroups = true;

inline void fence_products() {}
inline void warpgroup_arrive() {
  sync_warp();
}
inline void warpgroup_commit() {
  emulator::current.products->emplace_back();
}
template <int kPending>
void warpgroup_wait() {
  emulator::meet_warp(emulator::current.products, [](void* const* operands) {
    using Groups = std::vector<std::vector<emulator::PendingProduct>>;
    const auto groups = [&](int lane) -> Groups& { return *static_cast<Groups*>(operands[lane]); };
    while (groups(0).size() - 1 > kPending) {
      for (size_t i = 0; i < groups(0).front().size(); i++) {
        const emulator::PendingProduct* lanes[emulator::kWarp];
        for (int lane = 0; lane < emulator::kWarp; lane++) lanes[lane] = &groups(lane).front()[i];
        lanes[0]->run(lanes);
      }
      for (int lane = 0; lane < emulator::kWarp; lane++) groups(lane).erase(groups(lane).begin());
    }
  });
}
template <int kCount>
void keep_registers() {}
template <int kCount>
void take_registers() {}
template <int kCount>
void take(float (&)[kCount][4]) {}

// Rows of 64 or 128 bytes from a piece of eight on, and the first of their channels.
struct Operand {
  SharedAddress row;
  int row_bytes, channel = 0;  // channel: in bytes
  explicit Operand(SharedAddress rows, int row_bytes = 64) : row(rows), row_bytes(row_bytes) {}
  Operand rows(int bytes) const {
    Operand moved = *this;
    moved.row += bytes;
    return moved;
  }
  Operand channels(int bytes) const {
    Operand moved = *this;
    moved.channel += bytes;
    return moved;
  }
};

// The other way round: rows are summed over, columns go on in the next slab after 32.
struct Turned {
  SharedAddress row;
  int slab_bytes;
  Turned(SharedAddress rows, int slab_bytes) : row(rows), slab_bytes(slab_bytes) {}
  Turned rows(int bytes) const { return {row + bytes, slab_bytes}; }
};

namespace detail {

constexpr int kRowBytes = 64;

// Element c from channel `channel` (in bytes) on of a row, chunks swizzled.
template <class T>
float swizzled_at(const void* rows, int channel, int row, int c, int row_bytes = kRowBytes) {
  const int chunk = channel / 16 + c / 8,
            to = row_bytes == 128 ? (chunk ^ row) & 7 : (chunk ^ (row >> 1)) & 3;
  return to_float(static_cast<const T*>(rows)[row * (row_bytes / 2) + to * 8 + c % 8]);
}

inline void check_product(SharedAddress rows, int row_bytes = kRowBytes) {
  if (!emulator::current.warpgroups) emulator::fault("the device has no products of warpgroups");
  if (reinterpret_cast<uintptr_t>(rows) % (8 * row_bytes))
    emulator::fault("the rows of a product do not begin at a piece of eight rows");
}

// A warp's 16 rows of the left operand: from shared memory, or from the lanes' registers, laid out as mma's.
template <class T>
void read_left(float (&a)[16][16], const emulator::PendingProduct* const (&lanes)[emulator::kWarp],
               bool in_registers) {
  if (in_registers) {
    for (int lane = 0; lane < emulator::kWarp; lane++)
      for (int i = 0; i < 4; i++)
        for (int h = 0; h < 2; h++)
          a[lane / 4 + i % 2 * 8][lane % 4 * 2 + h + i / 2 * 8] =
              half_of<T>(static_cast<const uint32_t*>(lanes[lane]->left)[i], h);
    return;
  }
  const emulator::PendingProduct& p = *lanes[0];
  for (int r = 0; r < 16; r++)
    for (int c = 0; c < 16; c++)
      a[r][c] = swizzled_at<T>(p.left, p.left_channel, p.warp * 16 + r, c, p.row_bytes);
}

// kTurned: the right operand, and the left one is in registers.
template <class T, int kColumns, bool kOnto, bool kTurned>
void run_product(const emulator::PendingProduct* const (&lanes)[emulator::kWarp]) {
  const emulator::PendingProduct& p = *lanes[0];
  float a[16][16], b[kColumns][16];
  read_left<T>(a, lanes, kTurned);
  for (int n = 0; n < kColumns; n++)
    for (int c = 0; c < 16; c++)
      b[n][c] = kTurned
                    ? swizzled_at<T>(static_cast<const char*>(p.right) + n / 32 * p.slab_bytes, 0, c, n % 32)
                    : swizzled_at<T>(p.right, p.right_channel, n, c, p.row_bytes);
  for (int lane = 0; lane < emulator::kWarp; lane++)
    for (int i = 0; i < kColumns / 2; i++) {
      const int row = lane / 4 + i % 4 / 2 * 8, column = i / 4 * 8 + lane % 4 * 2 + i % 2;
      float sum = kOnto ? lanes[lane]->sums[i] : 0;
      for (int c = 0; c < 16; c++) sum += a[row][c] * b[column][c];
      lanes[lane]->sums[i] = sum;
    }
}

inline void add_product(const emulator::PendingProduct& product) {
  emulator::current.products->back().push_back(product);
}

inline int warp_of_group() {
  return static_cast<int>(threadIdx.x) / emulator::kWarp % 4;
}

}  // namespace detail

template <class T, int kColumns, bool kOnto = true>
void warpgroup_mma(float (&d)[kColumns / 8][4], const Operand& left, const Operand& right) {
  detail::check_product(left.row, left.row_bytes);
  detail::check_product(right.row, right.row_bytes);
  if (left.row_bytes != right.row_bytes) emulator::fault("the rows of a product's operands differ in size");
  detail::add_product({&d[0][0], left.row, right.row, left.channel, right.channel, 0, left.row_bytes,
                       detail::warp_of_group(), detail::run_product<T, kColumns, kOnto, false>});
}
template <class T, int kColumns, bool kOnto = true>
void warpgroup_mma(float (&d)[kColumns / 8][4], const uint32_t (&left)[4], const Turned& right) {
  detail::check_product(right.row);
  detail::add_product({&d[0][0], left, right.row, 0, 0, right.slab_bytes, detail::kRowBytes,
                       detail::warp_of_group(), detail::run_product<T, kColumns, kOnto, true>});
}

struct alignas(8) Signal {
  uint16_t arrivals, missing;
  uint32_t risen;  // how often
  int32_t bytes;   // that copies will bring

  void begin(int count) { arrivals = missing = static_cast<uint16_t>(count), risen = 0, bytes = 0; }
  void raise(int expected = 0) {
    missing--;
    arrive(-expected);
  }
  // So many bytes have been copied.
  void arrive(int copied) {
    bytes -= copied;
    if (missing || bytes) return;
    missing = arrivals;
    risen++;
  }
  void await(uint32_t parity) const {
    const auto is = [](uint32_t parity) {
      return parity ? [](const void* s) { return static_cast<const Signal*>(s)->risen % 2 == 0; }
                    : [](const void* s) { return static_cast<const Signal*>(s)->risen % 2 == 1; };
    };
    emulator::wait_until(is(parity), this);
  }
};

}  // namespace latent_edge::gpu
