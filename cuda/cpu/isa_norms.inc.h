// Sums over channels and positions, and what the norms make of them: part of isa_kernels.inc.h.

void channel_sums(const float* x, int64_t ld, int64_t positions, int64_t channels, const float* origin,
                  float* sums, float* squares) {
  int64_t c = 0;
  for (; c + kLanes <= channels; c += kLanes) {
    const Vec o = load(origin + c);
    Vec s = {}, q = {};
    for (int64_t p = 0; p < positions; p++) {
      const Vec d = load(x + p * ld + c) - o;
      s += d;
      q += d * d;
    }
    store(sums + c, load(sums + c) + s);
    store(squares + c, load(squares + c) + q);
  }
  for (; c < channels; c++) {
    float s = 0, q = 0;
    for (int64_t p = 0; p < positions; p++) {
      const float d = x[p * ld + c] - origin[c];
      s += d;
      q += d * d;
    }
    sums[c] += s;
    squares[c] += q;
  }
}

void normalize(const float* x, int64_t ld_x, float* y, int64_t ld_y, int64_t positions, int64_t channels,
               const float* mean, const float* scale, const float* shift, bool with_silu) {
  for (int64_t p = 0; p < positions; p++) {
    const float* from = x + p * ld_x;
    float* to = y + p * ld_y;
    int64_t c = 0;
    for (; c + kLanes <= channels; c += kLanes) {
      const Vec v = (load(from + c) - load(mean + c)) * load(scale + c) + load(shift + c);
      store(to + c, with_silu ? silu(v) : v);
    }
    if (c < channels) {
      const int64_t left = channels - c;
      const Vec centred = load_part(from + c, left) - load_part(mean + c, left);
      const Vec v = centred * load_part(scale + c, left) + load_part(shift + c, left);
      store_part(to + c, with_silu ? silu(v) : v, left);
    }
  }
}

void layer_norm_row(const float* x, float* y, int64_t channels, const float* weight, const float* bias,
                    float eps) {
  Vec s = {};
  float tail = 0;
  int64_t c = 0;
  for (; c + kLanes <= channels; c += kLanes) s += load(x + c);
  for (; c < channels; c++) tail += x[c];
  const float mean = (sum(s) + tail) / static_cast<float>(channels);
  Vec q = {};
  tail = 0;
  for (c = 0; c + kLanes <= channels; c += kLanes) {
    const Vec d = load(x + c) - mean;
    q += d * d;
  }
  for (; c < channels; c++) tail += (x[c] - mean) * (x[c] - mean);
  const float scale = 1.0f / sqrtf((sum(q) + tail) / static_cast<float>(channels) + eps);
  for (c = 0; c + kLanes <= channels; c += kLanes)
    store(y + c, (load(x + c) - mean) * scale * load(weight + c) + load(bias + c));
  for (; c < channels; c++) y[c] = (x[c] - mean) * scale * weight[c] + bias[c];
}
