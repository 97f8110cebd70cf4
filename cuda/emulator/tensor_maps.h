// Copies by tensor maps on the emulator. They arrive as late as can be, one by one in any order; until then what is there
// is not a number.
#pragma once

#include "../kernels/window_grid.h"
#include "warpgroups.h"

namespace latent_edge::gpu {

constexpr int kMapChannels = 64;

// The rows of a matrix are those of one image of one line.
struct TensorMap {
  const char* data;
  int64_t channels;
  WindowGrid grid;
  int tile;
  bool windows;
};

template <class T>
TensorMap map_rows(const T* data, int64_t rows, int64_t channels, int tile) {
  static_assert(sizeof(T) == 2);
  const auto count = static_cast<int>(rows);
  return {reinterpret_cast<const char*>(data), channels, {1, 1, count, 0, 0, count, 1, 1}, tile, false};
}
template <class T>
TensorMap map_windows(const T* data, int channels, const WindowGrid& grid, int tile) {
  static_assert(sizeof(T) == 2);
  return {reinterpret_cast<const char*>(data), channels, grid, tile, true};
}

namespace detail {

struct Place {
  int x, y, image;
};

// Rows of a tile: pixels (right, below) of windows, of which the first begins at `at`.
inline void copy_tile(SharedAddress to, const TensorMap& map, int channel, Place at, int right, int below,
                      Signal& arrived) {
  constexpr int kChunk = 8, kRow = kMapChannels * 2;
  if (!emulator::current.warpgroups) emulator::fault("the device has no tensor maps");
  if (reinterpret_cast<uintptr_t>(to) % 1024) emulator::fault("a tile does not begin at a multiple of 1024");
  check_aligned(map.data, 16, "a tensor map");
  if (map.channels % kChunk) emulator::fault("the rows of a tensor map are not of whole 16 bytes");
  const auto bytes = static_cast<size_t>(map.tile) * kRow;
  std::memset(to, 0xff, bytes);
  emulator::current.transfers->push_back([=, &arrived]() mutable {
    const WindowGrid& g = map.grid;
    for (int r = 0; r < map.tile; r++) {
      const int x = at.x + right, y = at.y + below;
      const bool inside = x >= 0 && x < g.width && y >= 0 && y < g.height && at.image < g.images;
      const int64_t pixel = (int64_t{at.image} * g.height + y) * g.width + x;
      for (int chunk = 0; chunk < kMapChannels / kChunk; chunk++) {
        char* const into = to + r * kRow + ((chunk ^ r) & 7) * 16;
        const int64_t c = channel + chunk * kChunk;
        if (inside && c < map.channels)
          std::memcpy(into, map.data + (pixel * map.channels + c) * 2, 16);
        else
          std::memset(into, 0, 16);
      }
      at.x += g.stride;
      if (at.x <= g.width - 1 + g.last_x() || !map.windows) continue;
      at.x = g.x, at.y += g.stride;
      if (at.y <= g.height - 1 + g.last_y()) continue;
      at.y = g.y, at.image++;
    }
    arrived.arrive(static_cast<int>(bytes));
  });
}

}  // namespace detail

inline void copy_rows(SharedAddress to, const TensorMap& map, int channel, int row, Signal& arrived) {
  if (map.windows) emulator::fault("a tensor map of windows is copied by rows");
  detail::copy_tile(to, map, channel, {row, 0, 0}, 0, 0, arrived);
}
inline void copy_windows(SharedAddress to, const TensorMap& map, int channel, int x, int y, int image,
                         int right, int below, Signal& arrived) {
  if (!map.windows) emulator::fault("a tensor map of rows is copied by windows");
  if (right < 0 || right > 255 || below < 0 || below > 255)
    emulator::fault("a window's pixel is too far from where it begins for a tensor map");
  detail::copy_tile(to, map, channel, {x, y, image}, right, below, arrived);
}
inline void prefetch_map(const TensorMap&) {}

}  // namespace latent_edge::gpu
