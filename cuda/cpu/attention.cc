// attention: y = softmax(scale·q·kᵀ + mask)·v for each image and head, without the matrix of scores in memory:
// blocks of keys, an online softmax (arXiv:1805.02867, arXiv:2205.14135), or none where no score can be large
// self: q [B,T,3C] holds q, k, v side by side; cross: q [B,T,C], kv [B,S,2C]; y [B,T,C], C = heads·head_size
// attrs: heads, head_size, causal (key j only for j ≤ i), scale (absent: 1/√head_size)
// Keys and values are packed once per (image, head). Bound by arithmetic; by exp at small head sizes.
#include "../ops/attention.h"

#include <cmath>
#include <cstring>
#include <limits>
#include <numbers>

#include "gemm.h"
#include "kernels.h"

namespace latent_edge {
namespace {

struct Attention : AttentionOp {
  using AttentionOp::AttentionOp;
  // The first token's q, k and v of one image and head.
  const float* query(char* arena, int64_t image, int64_t head) const {
    return floats(arena, q) + image * queries * ld_q + head * size;
  }
  const float* key(char* arena, int64_t image, int64_t head) const {
    return kv ? floats(arena, *kv) + image * keys * ld_kv + head * size
              : query(arena, image, head) + channels;
  }
  const float* value(char* arena, int64_t image, int64_t head) const {
    return key(arena, image, head) + channels;
  }
  float* output(char* arena, int64_t image, int64_t head) const {
    return floats(arena, out) + image * queries * channels + head * size;
  }
};

// Queries stand side by side in vectors: scoresᵀ = k·qᵀ, then outᵀ = vᵀ·scoresᵀ. So a query's softmax goes down a column
// of vectors, its scores are already a panel of the second product, and no head size leaves lanes empty.
class Fast : public Step {
 public:
  Fast(const OpDesc& op, BindContext& context)
      : p_(op), scale_(static_cast<float>(p_.scale * std::numbers::log2e)), threads_(context.pool.threads()) {
    const int64_t mr = isa().mr, most = isa().depth;
    block_ = most / mr * mr;
    depth_blocks_ = ceil_div(p_.size, most);
    depth_ = ceil_div(p_.size, depth_blocks_);
    side_by_side_ = most / depth_;
    key_floats_ = round_up(ceil_div(ceil_div(p_.keys, mr), side_by_side_) * mr * kRowStride, 16);
  }

  size_t scratch_bytes() const override {
    return (p_.images * p_.heads * head_floats() + threads_ * thread_floats()) * sizeof(float);
  }

  void run(char* arena, char* scratch, ThreadPool& pool) const override {
    float* packed = reinterpret_cast<float*>(scratch);
    float* own = packed + p_.images * p_.heads * head_floats();
    pool.parallel_for(p_.images * p_.heads, [&](int64_t h, int) {
      pack(arena, h / p_.heads, h % p_.heads, packed + h * head_floats());
    });
    const int64_t blocks = ceil_div(p_.queries, kQueries);
    pool.parallel_for(p_.images * p_.heads * blocks, [&](int64_t task, int thread) {
      const int64_t h = task / blocks;
      attend(arena, h / p_.heads, h % p_.heads, task % blocks * kQueries, packed + h * head_floats(),
             own + thread * thread_floats());
    });
  }

 private:
  static constexpr int64_t kQueries = 64;  // of a task
  // Scores within ±80, by powers of two, are raised as they come, with no maximum to wait for: sums of 2⁸⁰ are far from
  // float's end, times values of up to 2⁴⁷ over the number of keys, and 2⁻⁸⁰ is far from its beginning.
  static constexpr float kSmall = 80;

  // Keys, values, the longest key's length.
  int64_t head_floats() const { return length_at() + lines(1); }
  int64_t length_at() const {
    return depth_blocks_ * key_floats_ + ceil_div(p_.keys, block_) * p_.size * kRowStride;
  }
  int64_t thread_floats() const { return 2 * kQueries * (p_.size + 1) + lines(block_ * isa().nr); }

  // Where the group of mr keys that key `j` begins lies, for the first block of channels: groups of a few channels share
  // rows.
  int64_t group(int64_t j) const {
    const int64_t mr = isa().mr, g = j / mr;
    return g / side_by_side_ * mr * kRowStride + g % side_by_side_ * depth_;
  }

  // Both as left operands: k by blocks of channels [keys][channels], then vᵀ by blocks of keys [channels][keys].
  void pack(char* arena, int64_t image, int64_t head, float* to) const {
    const float *k = p_.key(arena, image, head), *v = p_.value(arena, image, head);
    float* values = to + depth_blocks_ * key_floats_;
    float longest = 0;
    for (int64_t j = 0; j < p_.keys; j++) {
      longest = std::max(longest, squared_length(k + j * p_.ld_kv));
      float* row = to + group(j) + j % isa().mr * kRowStride;
      for (int64_t b = 0; b < depth_blocks_; b++)
        std::memcpy(row + b * key_floats_, k + j * p_.ld_kv + b * depth_,
                    std::min(depth_, p_.size - b * depth_) * sizeof(float));
      float* column = values + j / block_ * p_.size * kRowStride + j % block_;
      for (int64_t d = 0; d < p_.size; d++) column[d * kRowStride] = v[j * p_.ld_kv + d];
    }
    to[length_at()] = std::sqrt(longest);
  }

  // Of a query or a key. By eighths, that it may go by vectors.
  float squared_length(const float* x) const {
    float sums[8] = {};
    int64_t d = 0;
    for (; d + 8 <= p_.size; d += 8)
      for (int i = 0; i < 8; i++) sums[i] += x[d + i] * x[d + i];
    for (; d < p_.size; d++) sums[0] += x[d] * x[d];
    return ((sums[0] + sums[1]) + (sums[2] + sums[3])) + ((sums[4] + sums[5]) + (sums[6] + sums[7]));
  }

  void attend(char* arena, int64_t image, int64_t head, int64_t first, const float* packed,
              float* own) const {
    const Isa& isa = latent_edge::isa();
    const int64_t nr = isa.nr, size = p_.size, rows = std::min(kQueries, p_.queries - first);
    const float* values = packed + depth_blocks_ * key_floats_;
    float* q = own;                          // panels of queries [channels][nr], scaled
    float* out = q + kQueries * size;        // likewise
    float* maximum = out + kQueries * size;  // of each query
    float* total = maximum + kQueries;
    float* scores = total + kQueries;  // [keys][nr]

    const Strips strips(size);
    const float* from = p_.query(arena, image, head) + first * p_.ld_q;
    float longest = 0;
    for (int64_t i = 0; i < rows; i++) longest = std::max(longest, squared_length(from + i * p_.ld_q));
    // |q·k| ≤ |q|·|k|. Masks are made of infinite scores.
    const bool small = !p_.causal && std::sqrt(longest) * std::abs(scale_) * packed[length_at()] <= kSmall;
    for (int64_t i = 0; i < round_up(rows, nr); i++) {
      float* column = q + i / nr * nr * size + i % nr;
      for (int64_t d = 0; d < size; d++) column[d * nr] = i < rows ? from[i * p_.ld_q + d] * scale_ : 0;
      maximum[i] = -std::numeric_limits<float>::infinity(), total[i] = 0;
    }
    const int64_t end =
        p_.causal ? std::min(p_.keys, first + rows) : p_.keys;  // later keys are masked for all
    for (int64_t k0 = 0; k0 < end; k0 += block_) {
      const int64_t keys = std::min(block_, end - k0);
      const float* block = values + k0 / block_ * size * kRowStride;
      for (int64_t i = 0; i < rows; i += nr) {
        score(packed, q + i * size, k0, keys, scores, small ? total + i : nullptr);
        if (p_.causal) mask(scores, keys, first + i - k0);
        if (!small) isa.softmax_columns(scores, keys, maximum + i, total + i, out + i * size, size, k0 == 0);
        strips.each([&](int64_t d, int m) {
          isa.tile(m, keys, block + d * kRowStride, scores, out + i * size + d * nr, nr, k0 > 0);
        });
      }
    }
    float* y = p_.output(arena, image, head) + first * p_.channels;
    for (int64_t i = 0; i < rows; i++) {
      const float inverse = 1 / total[i];
      const float* column = out + i / nr * nr * size + i % nr;
      for (int64_t d = 0; d < size; d++) y[i * p_.channels + d] = column[d * nr] * inverse;
    }
  }

  // scores[j][i] = k_(k0+j) · q_i; with `total`, 2 to the power of that, whose sums over j are added to it.
  void score(const float* packed, const float* q, int64_t k0, int64_t keys, float* scores,
             float* total) const {
    const Isa& isa = latent_edge::isa();
    const int64_t mr = isa.mr, nr = isa.nr, place = k0 / mr % side_by_side_;
    const float* at = packed + group(k0);
    int64_t left = side_by_side_ - place;  // groups in these rows, from this one on
    for (int64_t j = 0; j < keys; j += mr) {
      const int m = static_cast<int>(std::min(mr, keys - j));
      for (int64_t b = 0; b < depth_blocks_; b++) {
        const int64_t depth = std::min(depth_, p_.size - b * depth_);
        const float *of_keys = at + b * key_floats_, *of_queries = q + b * depth_ * nr;
        if (total && b == depth_blocks_ - 1)
          isa.power_tile(m, depth, of_keys, of_queries, scores + j * nr, b > 0, total);
        else
          isa.tile(m, depth, of_keys, of_queries, scores + j * nr, nr, b > 0);
      }
      at += depth_;
      if (--left == 0) at += mr * kRowStride - side_by_side_ * depth_, left = side_by_side_;
    }
  }

  // Query i, which stands `at` + i keys into the block, sees no later ones.
  void mask(float* scores, int64_t keys, int64_t at) const {
    const int64_t nr = isa().nr;
    for (int64_t j = std::max<int64_t>(0, at + 1); j < keys; j++)
      for (int64_t i = 0; i < std::min(nr, j - at); i++)
        scores[j * nr + i] = -std::numeric_limits<float>::infinity();
  }

  Attention p_;
  float scale_;  // with log₂e, since the softmax goes by powers of two
  int threads_;
  int64_t block_;                 // keys at a time: groups of mr
  int64_t depth_blocks_, depth_;  // the head's channels, in blocks
  int64_t side_by_side_;          // groups of keys that share rows
  int64_t key_floats_;            // of one block of channels
};

class Reference : public Step {
 public:
  Reference(const OpDesc& op, BindContext&) : p_(op) {}
  void run(char* arena, char*, ThreadPool&) const override {
    std::vector<double> s(p_.keys);
    for (int64_t n = 0; n < p_.images; n++)
      for (int64_t h = 0; h < p_.heads; h++)
        for (int64_t i = 0; i < p_.queries; i++) {
          const float *q = p_.query(arena, n, h) + i * p_.ld_q, *k = p_.key(arena, n, h),
                      *v = p_.value(arena, n, h);
          const int64_t keys = p_.causal ? std::min(p_.keys, i + 1) : p_.keys;
          double highest = -std::numeric_limits<double>::infinity(), total = 0;
          for (int64_t j = 0; j < keys; j++) {
            s[j] = 0;
            for (int64_t d = 0; d < p_.size; d++) s[j] += static_cast<double>(q[d]) * k[j * p_.ld_kv + d];
            s[j] *= p_.scale;
            highest = std::max(highest, s[j]);
          }
          for (int64_t j = 0; j < keys; j++) total += s[j] = std::exp(s[j] - highest);
          for (int64_t d = 0; d < p_.size; d++) {
            double y = 0;
            for (int64_t j = 0; j < keys; j++) y += s[j] * v[j * p_.ld_kv + d];
            p_.output(arena, n, h)[i * p_.channels + d] = static_cast<float>(y / total);
          }
        }
  }

 private:
  Attention p_;
};

}  // namespace

const Kernel kAttention = kernel_of<Fast, Reference>();

}  // namespace latent_edge
