// A 3×3 convolution of stride 1 by Winograd's F(4×4, 3×3), arXiv:1509.09308: a tile of 4×4 outputs takes 36 products for
// each pair of channels, where the sums themselves take 144.
// Y = Aᵀ[(G g Gᵀ) ⊙ (Bᵀ d B)]A
// A task is a block of tiles by a block of output channels: for each panel of it the weights g are transformed, and each
// of the 36 points is a matrix product over channels. Where several tasks want the same tiles, their patches d are
// transformed once before.
//
// The weights are transformed anew for each task, out of the panels that the other ways use too: that is 4 % of the time
// from 64 tiles on, 16 % with 16, 40 % with the 4 of an image of 8×8, where F(2×2, 3×3) was no faster for one image and
// slower for several. It waits for the stores of 36 numbers for nine; to transform a third of the points at a time, so that
// patches stay in L2, made products of 64 tiles 4 % faster and those of fewer up to 20 % slower. Keeping them transformed
// would take 8 times the memory of fp16 weights. Transforming them once a run into the scratch was no faster, measured when
// tasks had the patches to themselves: 113 ms for 86 with 512 channels at 128×128, 84 for 83 with 128 at 512×512.
//
// After doubling by nearest neighbours 4×4 outputs see 4×4 pixels alone, and take 25 products (isa_winograd.inc.h) where sums
// over those pixels take 64.
#include "conv2d.h"

namespace latent_edge {
namespace {

constexpr int64_t kMost = 36;  // points, and numbers that a patch becomes
constexpr int64_t kTaps = 9;
constexpr int64_t kPanelLines = 8;   // of a point's weights, that are asked for ahead
constexpr int64_t kApart = 16;       // floats between points, lest all of them fall on the same cache sets
constexpr int64_t kSideBySide = 2;   // numbers of a patch that share a row of the left operand
constexpr int64_t kLineFloats = 16;  // of a cache line
constexpr int64_t kTiles = 84, kColumns = 128;  // of a task, at most
// Bytes of patches that are transformed before the tasks that share them, unless all threads have work with more alone.
constexpr size_t kTransformed = 8 << 20;

// So many cache lines, their beginnings `apart` floats apart, before they are wanted.
void ask_for_lines(const float* from, int64_t lines, int64_t apart) {
  for (int64_t i = 0; i < lines; i++) __builtin_prefetch(from + i * apart);
}

class Winograd : public Step {
 public:
  Winograd(const OpDesc& op, BindContext& context, const WinogradLoops& loops)
      : p_(op), loops_(loops), weight_(conv_panels(op, p_, context)), bias_(conv_bias(op, context)) {
    const int64_t mr = isa().mr, nr = isa().nr, threads = context.pool.threads();
    const int64_t room = isa().depth / kSideBySide;
    m_ = loops_.outputs, side_ = loops_.inputs, points_ = loops_.points * loops_.points,
    apart_ = m_ >> p_.shift;
    tiles_x_ = ceil_div(p_.out_width, m_), tiles_y_ = ceil_div(p_.out_height, m_);
    tiles_ = p_.images * tiles_x_ * tiles_y_;
    columns_ = packed_columns(p_.out_channels);
    const int64_t most = std::max<int64_t>(1, kTiles / mr) * mr;
    rows_ = round_up(ceil_div(tiles_, ceil_div(tiles_, most)), mr);
    blocks_ = ceil_div(tiles_, rows_);
    nc_ = std::min(columns_, std::max(nr, kColumns / nr * nr));
    depths_ = ceil_div(p_.channels, room);
    kc_ = round_up(ceil_div(p_.channels, depths_), 16);  // whole vectors
    while (threads > 1 && blocks_ * column_tiles() < 4 * threads && nc_ > nr) nc_ = round_up(nc_ / 2, nr);
    threads_ = threads;
    const int64_t left_rows = ceil_div(side_ * side_, kSideBySide) * rows_;
    left_floats_ = lines(left_rows * kRowStride);
    const int64_t fit = kTransformed / (depths_ * left_floats_ * sizeof(float));
    const int64_t busy = ceil_div(2 * threads, column_tiles());
    const int64_t rounds = ceil_div(blocks_, std::max(fit, busy));
    at_once_ = column_tiles() == 1 ? 0 : ceil_div(blocks_, rounds);
    for (int64_t i = 0; i < side_ * side_; i++)
      places_[i] = i / kSideBySide * rows_ * kRowStride + i % kSideBySide * room;
    for (int64_t i = 0; i < points_; i++)
      left_at_[i] = places_[loops_.value_at[i / loops_.points] * side_ + loops_.value_at[i % loops_.points]];
  }

  size_t scratch_bytes() const override {
    const int64_t left = shared() ? at_once_ * depths_ : threads_;
    return (left * left_floats_ + threads_ * own_floats()) * sizeof(float);
  }

  void run(char* arena, char* scratch, ThreadPool& pool) const override {
    float* const left = reinterpret_cast<float*>(scratch);
    if (!shared()) {
      float* const own = left + threads_ * left_floats_;
      pool.parallel_for(blocks_ * column_tiles(), [&](int64_t task, int thread) {
        const Task t = this->task(task, 0);
        multiply(arena, t, own + thread * own_floats(), [&](int64_t depth) {
          float* to = left + thread * left_floats_;
          for (int64_t i = 0; i < t.tiles; i++) patch(arena, t.first + i, depth, to + i * kRowStride);
          return to;
        });
      });
      return;
    }
    float* const own = left + at_once_ * depths_ * left_floats_;
    for (int64_t block = 0; block < blocks_; block += at_once_) {
      const int64_t blocks = std::min(at_once_, blocks_ - block), first = block * rows_;
      const int64_t tiles = std::min(blocks * rows_, tiles_ - first);
      pool.parallel_for(tiles * depths_, [&](int64_t i, int) {
        const int64_t tile = i / depths_, depth = i % depths_;
        patch(arena, first + tile, depth,
              left + (tile / rows_ * depths_ + depth) * left_floats_ + tile % rows_ * kRowStride);
      });
      pool.parallel_for(blocks * column_tiles(), [&](int64_t task, int thread) {
        const float* of_block = left + task / column_tiles() * depths_ * left_floats_;
        multiply(arena, this->task(task, block), own + thread * own_floats(),
                 [&](int64_t depth) { return of_block + depth * left_floats_; });
      });
    }
  }

 private:
  struct Tile {
    int64_t image, y, x;
  };
  Tile tile(int64_t i) const { return {i / (tiles_x_ * tiles_y_), i / tiles_x_ % tiles_y_, i % tiles_x_}; }

  int64_t column_tiles() const { return ceil_div(columns_, nc_); }
  bool shared() const { return at_once_ > 0; }
  int64_t right_step() const { return lines(kc_ * isa().nr) + kApart; }
  int64_t sums_step() const { return lines(rows_ * nc_) + kApart; }
  // Of one thread: the weights of a panel by points, sums by points and panels, a tile's outputs.
  int64_t own_floats() const { return points_ * (right_step() + sums_step()) + lines(m_ * m_ * nc_); }

  struct Task {
    int64_t first, tiles, col, cols;
  };
  Task task(int64_t i, int64_t block) const {
    const int64_t first = (block + i / column_tiles()) * rows_, col = i % column_tiles() * nc_;
    return {first, std::min(rows_, tiles_ - first), col, std::min(nc_, columns_ - col)};
  }

  // left(depth): the tiles' patches, transformed, for that block of channels.
  template <class Left>
  void multiply(char* arena, const Task& t, float* right, Left left) const {
    const Isa& v = isa();
    const int64_t nr = v.nr, right_step = this->right_step(), sums_step = this->sums_step();
    float* sums = right + points_ * right_step;
    const Strips strips(t.tiles);
    for (int64_t d = 0; d < depths_; d++) {
      const int64_t c0 = d * kc_, depth = std::min(kc_, p_.channels - c0), next_c0 = c0 + depth;
      const float* rows = left(d);
      for (int64_t j = 0; j < t.cols; j += nr) {
        loops_.weights(weight_.element(), weight_.at(t.col + j, c0), p_.channels * nr, depth, right,
                       right_step);
        Ahead ahead;
        if (j + nr < t.cols)
          ahead = weight_.ahead(t.col + j + nr, c0, depth, kTaps, p_.channels);
        else if (next_c0 < p_.channels)
          ahead = weight_.ahead(t.col, next_c0, std::min(kc_, p_.channels - next_c0), kTaps, p_.channels);
        const int64_t share = ahead.share(points_ * strips.count);
        for (int64_t point = 0; point < points_; point++) {
          const float *of_point = rows + left_at_[point], *panel = right + point * right_step;
          const int64_t next = (point + 1) % points_;
          float* to = sums + point * sums_step + j * rows_;
          strips.each([&](int64_t i, int m) {
            ahead.next(share);
            // The beginnings of what the next tile reads, after which the machine goes on by itself: 2 to 6 % of a U-Net's
            // convolutions (AVX2, two threads). To ask for all of it at once was slower than for nothing.
            const bool more = i + m < t.tiles;
            ask_for_lines(more ? of_point + (i + m) * kRowStride : rows + left_at_[next], m, kRowStride);
            if (!more) ask_for_lines(right + next * right_step, kPanelLines, kLineFloats);
            v.tile(m, depth, of_point + i * kRowStride, panel, to + i * nr, nr, d > 0);
          });
        }
      }
    }
    float* outputs = sums + points_ * sums_step;
    for (int64_t i = 0; i < t.tiles; i++) {
      for (int64_t j = 0; j < t.cols; j += nr)
        loops_.output(sums + j * rows_ + i * nr, sums_step, outputs + j, nc_);
      finish(arena, t.first + i, t.col, t.cols, outputs);
    }
  }

  // A block of channels of a tile's patch, transformed; zeros outside of the image.
  void patch(char* arena, int64_t index, int64_t block, float* to) const {
    static const float zeros[kRowStride] = {};
    const float *x = floats(arena, p_.x), *x2 = floats(arena, p_.x2);
    const Tile t = tile(index);
    const int64_t c0 = block * kc_, end = std::min(c0 + kc_, p_.channels);
    const float* pixels[kMost];
    for (int64_t c = c0; c < end;) {
      const bool first = c < p_.c1;
      const int64_t n = std::min(end, first ? p_.c1 : p_.channels) - c;
      for (int64_t i = 0; i < side_ * side_; i++) {
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

  // A tile's outputs [m·m][nc] to where they are within the image.
  void finish(char* arena, int64_t index, int64_t col, int64_t cols, const float* outputs) const {
    const Tile t = tile(index);
    const int64_t ld = p_.out_channels;
    const float *temb = floats(arena, p_.temb), *residual = floats(arena, p_.residual);
    for (int64_t i = 0; i < m_ * m_; i++) {
      const int64_t oy = m_ * t.y + i / m_, ox = m_ * t.x + i % m_;
      if (oy >= p_.out_height || ox >= p_.out_width) continue;
      const int64_t at = ((t.image * p_.out_height + oy) * p_.out_width + ox) * ld + col;
      Epilogue e;
      e.scale = weight_.scales(col);
      e.bias = bias_ ? bias_->data + col : nullptr;
      e.shift = temb ? temb + t.image * ld + col : nullptr;
      e.residual = residual ? residual + at : nullptr;
      isa().finish(outputs + i * nc_, nc_, 1, std::min(cols, ld - col), floats(arena, p_.out) + at, ld, e);
    }
  }

  Conv2dOp p_;
  const WinogradLoops& loops_;
  Panels weight_;
  std::shared_ptr<const PackedWeight> bias_;
  int64_t m_, side_, points_;          // of a tile: outputs and inputs across, and all of its products
  int64_t apart_;                      // inputs from one tile to the next
  int64_t tiles_x_, tiles_y_, tiles_;  // of an image, of an image, of all
  int64_t columns_;
  int64_t rows_, nc_, kc_;   // one task's tiles and columns, and the channels it takes at a time
  int64_t blocks_, depths_;  // of tiles, and of channels
  int64_t at_once_;  // blocks of tiles that are transformed before their tasks; 0: tasks do it themselves
  int64_t threads_;
  int64_t left_floats_;     // of a block of tiles and of channels
  int64_t places_[kMost];   // of each number of a patch in the left operand
  int64_t left_at_[kMost];  // where what is multiplied at each point lies there
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
  const bool doubled = Conv2dOp(op).shift == 1;
  if (doubled) return std::make_unique<Winograd>(op, context, isa().doubled);
  return std::make_unique<Winograd>(op, context, isa().winograd);
}

}  // namespace latent_edge
