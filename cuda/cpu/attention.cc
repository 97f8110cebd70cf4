// attention: y = softmax(scale·q·kᵀ + mask)·v for each image and head, without the matrix of scores in memory:
// blocks of keys, an online softmax (arXiv:1805.02867, arXiv:2205.14135)
// self: q [B,T,3C] holds q, k, v side by side; cross: q [B,T,C], kv [B,S,2C]; y [B,T,C], C = heads·head_size
// attrs: heads, head_size, causal (key j only for j ≤ i), scale (absent: 1/√head_size)
// Keys and values are packed into panels once per (image, head). Bound by arithmetic; by exp at small head sizes.
#include "../ops/attention.h"

#include <cmath>
#include <limits>

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

class Fast : public Step {
 public:
  Fast(const OpDesc& op, BindContext& context) : p_(op), threads_(context.pool.threads()) {
    rows_ = isa().mr * std::max(1, 56 / isa().mr);
    depth_blocks_ = ceil_div(p_.size, kMaxDepth);
    depth_ = ceil_div(p_.size, depth_blocks_);
    padded_keys_ = round_up(p_.keys, isa().nr);
    padded_size_ = round_up(p_.size, isa().nr);
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
    const int64_t blocks = ceil_div(p_.queries, rows_);
    pool.parallel_for(p_.images * p_.heads * blocks, [&](int64_t task, int thread) {
      const int64_t h = task / blocks;
      attend(arena, h / p_.heads, h % p_.heads, task % blocks * rows_, packed + h * head_floats(),
             own + thread * thread_floats());
    });
  }

 private:
  static constexpr int64_t kKeys = kMaxDepth;  // keys of a block: the depth of its product with the values

  int64_t head_floats() const { return lines(padded_keys_ * p_.size) + lines(p_.keys * padded_size_); }
  int64_t thread_floats() const {
    return rows_ * kRowStride * (depth_blocks_ + 1) + lines(rows_ * padded_size_) + 3 * lines(rows_);
  }

  // kᵀ as panels of keys [size][nr], then v as panels of channels [keys][nr].
  void pack(char* arena, int64_t image, int64_t head, float* to) const {
    const float *k = p_.key(arena, image, head), *v = p_.value(arena, image, head);
    const int64_t ld = p_.ld_kv, nr = isa().nr;
    float* values = to + lines(padded_keys_ * p_.size);
    for (int64_t j = 0; j < p_.keys; j += nr)
      pack_panel(j, p_.keys, p_.size, 1, to + j * p_.size,
                 [=](int64_t key, int64_t d, int64_t) { return k[key * ld + d]; });
    for (int64_t j = 0; j < p_.size; j += nr)
      pack_panel(j, p_.size, p_.keys, 1, values + j * p_.keys,
                 [=](int64_t d, int64_t key, int64_t) { return v[key * ld + d]; });
  }

  void attend(char* arena, int64_t image, int64_t head, int64_t first, const float* packed,
              float* own) const {
    const Isa& isa = latent_edge::isa();
    const int64_t rows = std::min(rows_, p_.queries - first);
    const float* values = packed + lines(padded_keys_ * p_.size);
    float* q = own;                                             // [depth_blocks][rows][kRowStride], scaled
    float* scores = q + rows_ * kRowStride * depth_blocks_;     // [rows][kRowStride]
    float* sum_values = scores + rows_ * kRowStride;            // [rows][padded_size]
    float* maximum = sum_values + lines(rows_ * padded_size_);  // [rows]
    float* total = maximum + lines(rows_);                      // [rows]

    const float* from = p_.query(arena, image, head) + first * p_.ld_q;
    for (int64_t i = 0; i < rows; i++) {
      for (int64_t d = 0; d < p_.size; d++)
        q[(d / depth_ * rows_ + i) * kRowStride + d % depth_] = from[i * p_.ld_q + d] * p_.scale;
      maximum[i] = -std::numeric_limits<float>::infinity(), total[i] = 0;
    }
    const int64_t end =
        p_.causal ? std::min(p_.keys, first + rows) : p_.keys;  // later keys are masked for all
    for (int64_t k0 = 0; k0 < end; k0 += kKeys) {
      const int64_t keys = std::min(kKeys, end - k0);
      score(q, rows, packed, k0, keys, scores);
      for (int64_t i = 0; i < rows; i++) {
        float* s = scores + i * kRowStride;
        if (p_.causal)
          for (int64_t j = std::max<int64_t>(0, first + i + 1 - k0); j < keys; j++)
            s[j] = -std::numeric_limits<float>::infinity();
        const float highest = std::max(maximum[i], isa.max_row(s, keys));
        const float correction = k0 > 0 ? std::exp(maximum[i] - highest) : 0;
        if (k0 > 0 && correction != 1)
          isa.scale_row(sum_values + i * padded_size_, round_up(p_.size, isa.lanes), correction);
        total[i] = total[i] * correction + isa.exp_row(s, keys, highest);
        maximum[i] = highest;
      }
      for (int64_t j = 0; j < p_.size; j += isa.nr)
        for (int64_t i = 0; i < rows; i += isa.mr)
          (p_.size - j <= isa.lanes ? isa.half_tile : isa.tile)(
              static_cast<int>(std::min<int64_t>(isa.mr, rows - i)), keys, scores + i * kRowStride,
              values + j * p_.keys + k0 * isa.nr, sum_values + i * padded_size_ + j, padded_size_, k0 > 0);
    }
    float* y = p_.output(arena, image, head) + first * p_.channels;
    for (int64_t i = 0; i < rows; i++) {
      const float inverse = 1 / total[i];
      for (int64_t d = 0; d < p_.size; d++)
        y[i * p_.channels + d] = sum_values[i * padded_size_ + d] * inverse;
    }
  }

  // scores[i][j] = q_i · k_(k0+j); the row is written to a whole number of panels.
  void score(const float* q, int64_t rows, const float* packed, int64_t k0, int64_t keys,
             float* scores) const {
    const Isa& isa = latent_edge::isa();
    for (int64_t j = 0; j < keys; j += isa.nr)
      for (int64_t b = 0; b < depth_blocks_; b++)
        for (int64_t i = 0; i < rows; i += isa.mr)
          isa.tile(static_cast<int>(std::min<int64_t>(isa.mr, rows - i)),
                   std::min(depth_, p_.size - b * depth_), q + (b * rows_ + i) * kRowStride,
                   packed + (k0 + j) * p_.size + b * depth_ * isa.nr, scores + i * kRowStride + j, kRowStride,
                   b > 0);
  }

  Attention p_;
  int threads_;
  int64_t rows_;                  // queries of a task
  int64_t depth_blocks_, depth_;  // the head's channels, in blocks of at most kMaxDepth
  int64_t padded_keys_, padded_size_;
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
