// A 3×3 convolution of an image that is doubled by nearest neighbours: of the three rows that an output reads two are
// the same, and so for columns. Outputs of one parity in y and x are a 2×2 convolution of the image as it is, whose
// weights are sums of the nine: 4/9 of the products. The sums are made when a block of a panel is used.
#include "conv2d.h"

namespace latent_edge {
namespace {

// The taps of one parity: in y and in x the even outputs add up the last two, the odd ones the first two.
struct ParityPanels {
  const Panels& weight;
  int64_t channels;
  int64_t dy, dx;

  // Which of three taps the two are that count as tap `t`.
  static std::pair<int64_t, int64_t> taps(int64_t parity, int64_t t) {
    return parity == 0 ? (t == 0 ? std::pair{0, 1} : std::pair{1, 3})
                       : (t == 0 ? std::pair{0, 2} : std::pair{2, 3});
  }

  const float* block(int64_t column, int64_t k0, int64_t depth, float* space) const {
    float* to = space;
    for (int64_t k = k0; k < k0 + depth;) {
      const int64_t tap = k / channels, c = k % channels, n = std::min(k0 + depth - k, channels - c);
      const auto [y, y_end] = taps(dy, tap / 2);
      const auto [x, x_end] = taps(dx, tap % 2);
      const void* from[4];
      int count = 0;
      for (int64_t i = y; i < y_end; i++)
        for (int64_t j = x; j < x_end; j++) from[count++] = weight.at(column, (i * 3 + j) * channels + c);
      isa().add_up(weight.element(), from, count, to, n * isa().nr);
      to += n * isa().nr, k += n;
    }
    return space;
  }
};

class Doubled : public Step {
 public:
  Doubled(const OpDesc& op, BindContext& context)
      : p_(op),
        tiling_(p_.images * p_.height * p_.width, packed_columns(p_.out_channels), 4 * p_.channels,
                context.pool.threads()),
        threads_(context.pool.threads()),
        weight_(conv_panels(op, p_, context)),
        bias_(conv_bias(op, context)) {}

  size_t scratch_bytes() const override { return threads_ * tiling_.scratch_floats() * sizeof(float); }

  void run(char* arena, char* scratch, ThreadPool& pool) const override {
    for (int64_t parity = 0; parity < 4; parity++) {
      const int64_t dy = parity / 2, dx = parity % 2;
      gemm(
          tiling_, ParityPanels{weight_, p_.channels, dy, dx}, scratch, pool,
          [&](int64_t row, int64_t rows, int64_t k0, int64_t depth, float* to) {
            for (int64_t i = 0; i < rows; i++) copy(arena, row + i, dy, dx, k0, depth, to + i * kRowStride);
          },
          [&](int64_t row, int64_t rows, int64_t col, int64_t cols, const float* tile, int64_t ldc) {
            finish(arena, dy, dx, row, rows, col, cols, tile, ldc);
          });
    }
  }

 private:
  // Depths k0 … k0+depth of the patch of pixel `row` for one parity; zeros outside of the image.
  void copy(char* arena, int64_t row, int64_t dy, int64_t dx, int64_t k0, int64_t depth, float* to) const {
    const float* x = floats(arena, p_.x);
    const int64_t px = row % p_.width, py = row / p_.width % p_.height, image = row / (p_.width * p_.height);
    for (int64_t k = k0; k < k0 + depth;) {
      const int64_t tap = k / p_.channels, c = k % p_.channels;
      const int64_t n = std::min(k0 + depth - k, p_.channels - c);
      const int64_t iy = py + dy - 1 + tap / 2, ix = px + dx - 1 + tap % 2;
      if (iy < 0 || iy >= p_.height || ix < 0 || ix >= p_.width)
        std::memset(to, 0, n * sizeof(float));
      else
        std::memcpy(to, x + ((image * p_.height + iy) * p_.width + ix) * p_.channels + c, n * sizeof(float));
      to += n, k += n;
    }
  }

  void finish(char* arena, int64_t dy, int64_t dx, int64_t row, int64_t rows, int64_t col, int64_t cols,
              const float* tile, int64_t ldc) const {
    const float *temb = floats(arena, p_.temb), *residual = floats(arena, p_.residual);
    float* y = floats(arena, p_.out);
    const int64_t ld = p_.out_channels;
    // Pixels of one row of the image at a time: theirs are every other of one row of the output.
    for (int64_t done = 0; done < rows;) {
      const int64_t first = row + done, px = first % p_.width, line = first / p_.width;
      const int64_t count = std::min(rows - done, p_.width - px), image = line / p_.height;
      const int64_t oy = 2 * (line % p_.height) + dy, ox = 2 * px + dx;
      const int64_t at = ((image * p_.out_height + oy) * p_.out_width + ox) * ld + col;
      Epilogue e;
      e.bias = bias_ ? bias_->data + col : nullptr;
      e.shift = temb ? temb + image * ld + col : nullptr;
      e.residual = residual ? residual + at : nullptr;
      isa().finish(tile + done * ldc, ldc, count, std::min(cols, ld - col), y + at, 2 * ld, e);
      done += count;
    }
  }

  Conv2dOp p_;
  GemmTiling tiling_;
  int threads_;
  Panels weight_;
  std::shared_ptr<const PackedWeight> bias_;
};

}  // namespace

// To exactly twice the size: the last row of an odd one has a tap that falls outside.
bool doubled_fits(const Conv2dOp& p) {
  return p.shift == 1 && p.kh == 3 && p.kw == 3 && p.stride == 1 && p.top == 1 && p.left == 1 && !p.x2 &&
         p.in_height == 2 * p.height && p.in_width == 2 * p.width && p.out_height == p.in_height &&
         p.out_width == p.in_width;
}

std::unique_ptr<Step> bind_doubled(const OpDesc& op, BindContext& context) {
  return std::make_unique<Doubled>(op, context);
}

}  // namespace latent_edge
