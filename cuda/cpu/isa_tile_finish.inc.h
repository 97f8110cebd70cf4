// What happens to a finished tile on its way out: part of isa_kernels.inc.h.

void finish_geglu(const float* c, int64_t ldc, int64_t rows, int64_t cols, float* out, int64_t ld_out,
                  const Epilogue& e) {
  for (int64_t i = 0; i < rows; i++) {
    for (int64_t j = 0; j < cols; j += kColumns) {
      const float* p = c + i * ldc + j;
      Vec value = load(p), gate = load(p + kLanes);
      if (e.scale) value *= load(e.scale + j), gate *= load(e.scale + j + kLanes);
      if (e.bias) value += load(e.bias + j), gate += load(e.bias + j + kLanes);
      Vec y = value * gelu(gate);
      const int64_t left = (cols - j) / 2;
      float* o = out + i * ld_out + j / 2;
      if (left >= kLanes) {
        if (e.residual) y += load(e.residual + i * ld_out + j / 2);
        store(o, y);
      } else {
        if (e.residual) y += load_part(e.residual + i * ld_out + j / 2, left);
        store_part(o, y, left);
      }
    }
  }
}

void finish(const float* c, int64_t ldc, int64_t rows, int64_t cols, float* out, int64_t ld_out,
            const Epilogue& e) {
  if (e.activation == Activation::geglu) return finish_geglu(c, ldc, rows, cols, out, ld_out, e);
  for (int64_t i = 0; i < rows; i++) {
    for (int64_t j = 0; j < cols; j += kLanes) {
      const int64_t left = cols - j;
      Vec y = load(c + i * ldc + j);
      if (e.scale) y *= load(e.scale + j);
      if (left >= kLanes) {
        if (e.bias) y += load(e.bias + j);
        if (e.shift) y += load(e.shift + j);
        y = apply(y, e.activation);
        if (e.residual) y += load(e.residual + i * ld_out + j);
        store(out + i * ld_out + j, y);
      } else {
        if (e.bias) y += load_part(e.bias + j, left);
        if (e.shift) y += load_part(e.shift + j, left);
        y = apply(y, e.activation);
        if (e.residual) y += load_part(e.residual + i * ld_out + j, left);
        store_part(out + i * ld_out + j, y, left);
      }
    }
  }
}
