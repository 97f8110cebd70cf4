// A 3×3 convolution of stride 1 by Winograd's F(m×m, 3×3), arXiv:1509.09308: a tile of m×m outputs takes (m+2)² products
// for each pair of channels, where the sums themselves take 9·m²: 16 for 36 with m = 2, 36 for 144 with m = 4.
// Y = Aᵀ[(G g Gᵀ) ⊙ (Bᵀ d B)]A
// A task is a block of tiles by a block of output channels: its patches d are transformed, for each panel the weights
// g, and each of the (m+2)² points is a matrix product over channels.
// m = 4 for large images alone, which are an autoencoder's: its rounding is three times that of m = 2.
//
// After doubling by nearest neighbours the 2×2 outputs over a pixel see that pixel and its neighbours alone, of which an
// even output takes a·d₀ + (b + c)·d₁ = a·(d₀ − d₁) + (a + b + c)·d₁ in each direction, and an odd one likewise: 9
// products for 36. With 8 channels, too, that takes about half the time of the direct sum. Its rounding is a little below
// that of m = 2 (2.5e-7 and 2.6e-7, relative, 128 channels).
//
// The weights are transformed anew for each task, out of the panels that the other ways use too: that costs 3 to 7 %
// with m = 2, keeping them transformed would take 16/9 of their memory, in float32. Transforming them once a run into the
// scratch was no faster with m = 4: 113 ms for 86 with 512 channels at 128×128, 84 for 83 with 128 at 512×512.
#include "conv2d.h"

namespace latent_edge {
namespace {

constexpr int64_t kMaxPoints = 36;
constexpr int64_t kLarge = 128 * 128;  // outputs of an image from which on tiles have 4×4
constexpr int64_t kApart = 16;         // floats between points, lest all of them fall on the same cache sets

// Points that share a row of the left operand, and one task's most tiles and columns, by the side of a tile's outputs.
struct Blocks {
  int64_t side_by_side, tiles, columns;
};
constexpr Blocks kBlocks2 = {2, 56, 128}, kBlocks4 = {2, 84, 128}, kBlocksDoubled = {2, 84, 256};

class Winograd : public Step {
 public:
  Winograd(const OpDesc& op, BindContext& context, const WinogradLoops& loops, const Blocks& blocks)
      : p_(op), loops_(loops), weight_(conv_panels(op, p_, context)), bias_(conv_bias(op, context)) {
    const int64_t mr = isa().mr, nr = isa().nr, threads = context.pool.threads();
    m_ = loops_.outputs, side_ = loops_.points, points_ = side_ * side_, apart_ = m_ >> p_.shift;
    tiles_x_ = ceil_div(p_.out_width, m_), tiles_y_ = ceil_div(p_.out_height, m_);
    tiles_ = p_.images * tiles_x_ * tiles_y_;
    columns_ = packed_columns(p_.out_channels);
    const int64_t most = std::max<int64_t>(1, blocks.tiles / mr) * mr;
    rows_ = round_up(ceil_div(tiles_, ceil_div(tiles_, most)), mr);
    nc_ = std::min(columns_, std::max(nr, blocks.columns / nr * nr));
    const int64_t share = kRowStride / blocks.side_by_side / 16 * 16;
    kc_ = round_up(ceil_div(p_.channels, ceil_div(p_.channels, share)), 16);  // whole vectors
    while (threads > 1 && tasks() < 4 * threads && nc_ > nr) nc_ = round_up(nc_ / 2, nr);
    threads_ = threads;
    left_rows_ = ceil_div(points_, blocks.side_by_side) * rows_;
    for (int64_t i = 0; i < points_; i++)
      places_[i] = i / blocks.side_by_side * rows_ * kRowStride + i % blocks.side_by_side * share;
  }

  size_t scratch_bytes() const override { return threads_ * thread_floats() * sizeof(float); }

  void run(char* arena, char* scratch, ThreadPool& pool) const override {
    const Isa& v = isa();
    const int64_t column_tiles = ceil_div(columns_, nc_);
    pool.parallel_for(tasks(), [&](int64_t task, int thread) {
      float* left = reinterpret_cast<float*>(scratch) + thread * thread_floats();
      float* right = left + left_floats();
      float* sums = right + points_ * right_step();
      const int64_t first = task / column_tiles * rows_, tiles = std::min(rows_, tiles_ - first);
      const int64_t col = task % column_tiles * nc_, cols = std::min(nc_, columns_ - col);
      for (int64_t c0 = 0; c0 < p_.channels; c0 += kc_) {
        const int64_t depth = std::min(kc_, p_.channels - c0);
        for (int64_t i = 0; i < tiles; i++) patch(arena, first + i, c0, depth, left + i * kRowStride);
        for (int64_t j = 0; j < cols; j += v.nr) {
          loops_.weights(weight_.element(), weight_.at(col + j, c0), p_.channels * v.nr, depth, right,
                         right_step());
          for (int64_t point = 0; point < points_; point++)
            for (int64_t i = 0; i < tiles; i += v.mr)
              v.tile(static_cast<int>(std::min<int64_t>(v.mr, tiles - i)), depth,
                     left + places_[point] + i * kRowStride, right + point * right_step(),
                     sums + point * sums_step() + i * nc_ + j, nc_, c0 > 0);
        }
      }
      for (int64_t i = 0; i < tiles; i++) finish(arena, first + i, col, cols, sums + i * nc_);
    });
  }

 private:
  struct Tile {
    int64_t image, y, x;
  };
  Tile tile(int64_t i) const { return {i / (tiles_x_ * tiles_y_), i / tiles_x_ % tiles_y_, i % tiles_x_}; }

  int64_t tasks() const { return ceil_div(tiles_, rows_) * ceil_div(columns_, nc_); }
  int64_t left_floats() const { return lines(left_rows_ * kRowStride); }
  int64_t right_step() const { return lines(kc_ * isa().nr) + kApart; }
  int64_t sums_step() const { return lines(rows_ * nc_) + kApart; }
  int64_t thread_floats() const { return left_floats() + points_ * (right_step() + sums_step()); }

  // Channels c0 … c0+depth of a tile's patch, transformed; zeros outside of the image.
  void patch(char* arena, int64_t index, int64_t c0, int64_t depth, float* to) const {
    static const float zeros[kRowStride] = {};
    const float *x = floats(arena, p_.x), *x2 = floats(arena, p_.x2);
    const Tile t = tile(index);
    const float* pixels[kMaxPoints];
    for (int64_t c = c0; c < c0 + depth;) {
      const bool first = c < p_.c1;
      const int64_t n = std::min(c0 + depth, first ? p_.c1 : p_.channels) - c;
      for (int64_t i = 0; i < points_; i++) {
        const int64_t iy = apart_ * t.y - p_.top + i / side_;
        const int64_t ix = apart_ * t.x - p_.left + i % side_;
        const bool inside = iy >= 0 && iy < p_.height && ix >= 0 && ix < p_.width;
        const int64_t pixel = (t.image * p_.height + iy) * p_.width + ix;
        pixels[i] = !inside ? zeros : first ? x + pixel * p_.c1 + c : x2 + pixel * p_.c2 + (c - p_.c1);
      }
      loops_.input(pixels, n, to + (c - c0), places_);
      c += n;
    }
  }

  // The points' sums to the tile's outputs that lie within the image.
  void finish(char* arena, int64_t index, int64_t col, int64_t cols, float* sums) const {
    const Tile t = tile(index);
    const int64_t ld = p_.out_channels, step = sums_step();
    const float *temb = floats(arena, p_.temb), *residual = floats(arena, p_.residual);
    loops_.output(sums, step, cols);
    for (int64_t i = 0; i < m_ * m_; i++) {
      const int64_t oy = m_ * t.y + i / m_, ox = m_ * t.x + i % m_;
      if (oy >= p_.out_height || ox >= p_.out_width) continue;
      const int64_t at = ((t.image * p_.out_height + oy) * p_.out_width + ox) * ld + col;
      Epilogue e;
      e.scale = weight_.scales(col);
      e.bias = bias_ ? bias_->data + col : nullptr;
      e.shift = temb ? temb + t.image * ld + col : nullptr;
      e.residual = residual ? residual + at : nullptr;
      isa().finish(sums + i * step, nc_, 1, std::min(cols, ld - col), floats(arena, p_.out) + at, ld, e);
    }
  }

  Conv2dOp p_;
  const WinogradLoops& loops_;
  Panels weight_;
  std::shared_ptr<const PackedWeight> bias_;
  int64_t m_, side_, points_;          // of a tile: outputs and inputs across, and their products
  int64_t apart_;                      // inputs from one tile to the next
  int64_t tiles_x_, tiles_y_, tiles_;  // of an image, of an image, of all
  int64_t columns_;
  int64_t rows_, nc_, kc_;  // one task's tiles and columns, and the channels it takes at a time
  int64_t threads_;
  int64_t left_rows_;
  int64_t places_[kMaxPoints];  // of each point in the left operand
};

// To exactly twice the size: the last row of an odd one has a tap that falls outside.
bool doubles(const Conv2dOp& p) {
  return p.shift == 1 && p.in_height == 2 * p.height && p.in_width == 2 * p.width;
}

}  // namespace

// By what an image's size and the weight are alone: an image's result must not depend on how many are in the batch.
bool winograd_fits(const Conv2dOp& p) {
  if (p.kh != 3 || p.kw != 3 || p.stride != 1) return false;
  if (p.shift == 1) return doubles(p) && p.top == 1 && p.left == 1 && !p.x2;
  return p.channels >= 32 && p.pixels() >= 64;
}

std::unique_ptr<Step> bind_winograd(const OpDesc& op, BindContext& context) {
  const Conv2dOp p(op);
  if (p.shift == 1) return std::make_unique<Winograd>(op, context, isa().doubled, kBlocksDoubled);
  if (p.pixels() >= kLarge) return std::make_unique<Winograd>(op, context, isa().winograd4, kBlocks4);
  return std::make_unique<Winograd>(op, context, isa().winograd2, kBlocks2);
}

}  // namespace latent_edge
