// Matrix products with an implicit left operand: y[m][n] = finish(Σ_k patch(m)[k]·weight[n][k]).
//
// A linear layer's rows, or the patches of a convolution read where they lie. k runs over slabs of 32 channels of one
// tap and one source, so that a slab's addresses differ by row alone; channel counts are padded to whole slabs, by
// zeros in the weight and by predication in the input. gemm.cu has the kernels; the ops describe and launch.
#pragma once

#include "bind.h"

namespace latent_edge::gpu {

constexpr int kSlab = 32;

// The left operand: x ⊕ x2, maybe upsampled, under a window.
template <class T>
struct Patches {
  const T *x = nullptr, *x2 = nullptr;
  int c1 = 0, c2 = 0;         // channels of each
  int height = 1, width = 1;  // of the sources
  int shift = 0;              // 1: upsampled to in_height × in_width, source position = position >> 1
  int in_height = 1, in_width = 1;
  int kh = 1, kw = 1, stride = 1, top = 0, left = 0;
  int out_height = 1, out_width = 1;
  int64_t rows = 0;  // images × out_height × out_width

  __host__ __device__ int slabs1() const { return (c1 + kSlab - 1) / kSlab; }
  __host__ __device__ int slabs_of_tap() const { return slabs1() + (c2 + kSlab - 1) / kSlab; }
  __host__ __device__ int slabs() const { return kh * kw * slabs_of_tap(); }
};

// What becomes of a sum: y = act(sum + bias) + temb + residual, or with `scale` a zero convolution's
// y = residual + scale·(sum + bias).
template <class T>
struct Finish {
  const float* bias = nullptr;   // [packed columns]
  const T* temb = nullptr;       // [images][columns]
  const T* residual = nullptr;   // [rows][columns]
  const float* scale = nullptr;  // [images]: y is the residual, bit for bit, where this or the product is 0
  T* y = nullptr;                // [rows][columns]
  int columns = 0, pixels = 1;   // of the output; rows of an image
  Activation activation = Activation::none;

  // The image that a row is of, where that matters. Rows are fewer than 2³¹: a division of 64 bits would cost registers.
  __device__ __forceinline__ int image(int64_t row) const {
    return temb || scale ? static_cast<int>(row) / pixels : 0;
  }
  // `v` and with geglu its gate have their biases; `before`: the residual's value there, 0 without one.
  __device__ __forceinline__ T operator()(int image, int column, float v, float gate, T before) const {
    if (!scale)
      v = activation == Activation::geglu  ? v * gelu_of(gate)
          : activation == Activation::none ? v
                                           : activate(v, activation);
    return join(v, temb ? temb[static_cast<int64_t>(image) * columns + column] : from_float<T>(0),
                scale ? scale[image] : 0, before);
  }
  // The same of `count` columns of a row from `column` on: 8, or those that are left where columns are no multiple of 8.
  // What activations are is compiled once, around the eight.
  __device__ __forceinline__ void eight(int64_t row, int column, int count, float (&v)[8],
                                        const float (&gate)[8], const Vec<T, 8>& before) const {
    if (!scale && activation != Activation::none) switch (activation) {
#define LE_EIGHT(name, value)                                   \
  case Activation::name:                                        \
    _Pragma("unroll") for (int j = 0; j < 8; j++) v[j] = value; \
    break
        LE_EIGHT(silu, silu(v[j]));
        LE_EIGHT(gelu, gelu_of(v[j]));
        LE_EIGHT(geglu, v[j] * gelu_of(gate[j]));
        default:
#pragma unroll
          for (int j = 0; j < 8; j++) v[j] = activate(v[j], activation);
#undef LE_EIGHT
      }
    const int n = image(row);
    const float factor = scale ? scale[n] : 0;
    Vec<T, 8> add{}, out;
    if (temb) add = read(temb + static_cast<int64_t>(n) * columns + column, count);
#pragma unroll
    for (int j = 0; j < 8; j++) out.at[j] = join(v[j], add.at[j], factor, before.at[j]);
    T* to = y + row * columns + column;
    if (columns % 8 == 0)
      store(to, out);
    else
      for (int j = 0; j < 8; j++)
        if (j < count) to[j] = out.at[j];
  }
  __device__ __forceinline__ Vec<T, 8> read(const T* from, int count) const {
    if (columns % 8 == 0) return load<Vec<T, 8>>(from);
    Vec<T, 8> some{};
    for (int j = 0; j < 8; j++)
      if (j < count) some.at[j] = from[j];
    return some;
  }

 private:
  static __device__ __forceinline__ float gelu_of(float x) {
    return sizeof(T) == 2 ? gelu_fast(x) : gelu(x);
  }
  __device__ __forceinline__ T join(float v, T add, float factor, T before) const {
    if (scale) {
      v *= factor;
      if (factor == 0 || v == 0) return before;
    }
    if (temb) v += to_float(add);
    if (residual) v += to_float(before);
    return from_float<T>(v);
  }
};

template <class T>
struct Product {
  Patches<T> left;
  const T* weight = nullptr;  // [packed columns][slabs·32]
  int packed = 0;             // columns of the product; with geglu eight values, their eight gates, and so on
  Finish<T> finish;
};

// The weight's columns in the order that a product wants: row r of the packed weight is row source(r) of the
// checkpoint's, or none (zeros).
struct Columns {
  int count;  // packed
  int half;   // geglu: values; 0 otherwise
  Columns(int64_t rows, Activation activation) {
    half = activation == Activation::geglu ? static_cast<int>(rows / 2) : 0;
    count = half ? (half + 7) / 8 * 16 : static_cast<int>(rows);
  }
  __host__ __device__ int source(int r) const {
    if (!half) return r;
    const int unit = r / 16 * 8 + r % 8;
    return unit >= half ? -1 : r % 16 < 8 ? unit : half + unit;
  }
};

// Weight [rows][C][kh][kw] of the checkpoint as a product wants it. pack.cu
template <class T>
std::shared_ptr<const T> pack_weight(BindContext& context, const WeightRef& ref, const Patches<T>& left,
                                     const Columns& columns);

// Bias [rows] in the order of the packed columns. pack.cu
std::shared_ptr<const float> pack_bias(BindContext& context, const WeightRef* ref, const Columns& columns);

// How a product is cut over the chip.
struct Cut {
  int rows, columns;  // of a tile
  int splits;         // of the depth; more than 1: partial sums in scratch, finished by a second kernel
};

// The step of a product by our kernels. gemm.cu; where the chip has warpgroups and the shape suits them gemm_tma.cu, or
// gemm_hopper.cu
template <class T>
Step hand_step(const Product<T>& product, const Chip& chip);

template <class T>
std::optional<Step> hopper_step(const Product<T>& product, const Chip& chip);

// The same with copies by tensor maps. gemm_tma.cu
template <class T>
std::optional<Step> mapped_step(const Product<T>& product, const Chip& chip);

// y out of sums in float32, [splits][rows][packed], that are added up in order. finish.cu
template <class T>
void launch_finish(Stream stream, const Product<T>& product, const float* sums, int splits);

// The step of a product, whoever computes it. `held`: the weights it reads. product.cu
template <class T>
Step product_step(const Product<T>& product, BindContext& context,
                  std::vector<std::shared_ptr<const void>> held);

}  // namespace latent_edge::gpu
