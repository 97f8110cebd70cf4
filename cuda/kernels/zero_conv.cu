// zero_conv: y = onto + scale[level][n]·(x·Wᵀ + bias), a 1×1 convolution of a ControlNet's activation, added straight
// to a U-Net's skip connection; without `onto` the residual itself. arXiv:2302.05543, section 3.1
// x [N,H,W,C], y and onto [N,H,W,O] in the storage's type; scale [R,N] float32; weight [O,C], bias [O] float32
// Where the scale or the residual is zero y is `onto`, bit for bit. A product of gemm.h.
#include "../ops/zero_conv.h"
#include "gemm.h"
#include "kernels.h"

namespace latent_edge::gpu {
namespace {

Step bind(const OpDesc& op, BindContext& context) {
  const ZeroConvOp p(op);
  return with_storage(context.storage, [&]<class T>() -> Step {
    Product<T> product;
    product.left.x = context.at<T>(p.x);
    product.left.c1 = static_cast<int>(p.channels);
    product.left.rows = p.images * p.pixels;
    const Columns columns(p.out_channels, Activation::none);
    const auto weight = pack_weight(context, op.weight("weight"), product.left, columns);
    const auto bias = pack_bias(context, &op.weight("bias"), columns);
    product.weight = weight.get();
    product.packed = columns.count;
    product.finish.bias = bias.get();
    product.finish.residual = context.at<T>(p.onto);
    product.finish.scale = context.at<float>(p.scale) + p.level * p.images;
    product.finish.y = context.at<T>(p.out);
    product.finish.columns = static_cast<int>(p.out_channels);
    product.finish.pixels = static_cast<int>(p.pixels);
    return product_step(product, context, {weight, bias});
  });
}

}  // namespace

const Kernel kZeroConv = {bind, {"scale"}};

}  // namespace latent_edge::gpu
