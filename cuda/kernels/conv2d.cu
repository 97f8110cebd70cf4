// conv2d: y = conv(upsample?(x ⊕ x2), W) + bias + temb + residual, an implicit product of [N·Ho·Wo, kh·kw·C] and
// [kh·kw·C, Cout]; ⊕ joins channels (a U-Net's skip connection) without a copy
// x [N,H,W,C1], x2 [N,H,W,C2], temb [N,Cout], y and residual [N,Ho,Wo,Cout] in the storage's type;
// weight [Cout,C1+C2,kh,kw], packed to slabs in the storage's type, bias [Cout] float32
// attrs: stride; padding [top,left,bottom,right]; upsample [H',W']: x first resized (nearest), H' in {2H−1, 2H}
// A product of gemm.h: bound by arithmetic; at the lowest resolution by reading W.
#include "../ops/conv2d.h"
#include "gemm.h"
#include "kernels.h"

namespace latent_edge::gpu {
namespace {

Step bind(const OpDesc& op, BindContext& context) {
  const Conv2dOp p(op);
  return with_storage(context.storage, [&]<class T>() -> Step {
    const auto i = [](int64_t v) { return static_cast<int>(v); };
    Product<T> product;
    product.left = {context.at<T>(p.x),
                    context.at<T>(p.x2),
                    i(p.c1),
                    i(p.c2),
                    i(p.height),
                    i(p.width),
                    i(p.shift),
                    i(p.in_height),
                    i(p.in_width),
                    i(p.kh),
                    i(p.kw),
                    i(p.stride),
                    i(p.top),
                    i(p.left),
                    i(p.out_height),
                    i(p.out_width),
                    p.images * p.pixels()};
    const Columns columns(p.out_channels, Activation::none);
    const auto weight = pack_weight(context, op.weight("weight"), product.left, columns);
    const auto bias = pack_bias(context, op.find_weight("bias"), columns);
    product.weight = weight.get();
    product.packed = columns.count;
    product.finish.bias = bias.get();
    product.finish.temb = context.at<T>(p.temb);
    product.finish.residual = context.at<T>(p.residual);
    product.finish.y = context.at<T>(p.out);
    product.finish.columns = columns.count;
    product.finish.pixels = i(p.pixels());
    return product_step(product, context, {weight, bias});
  });
}

}  // namespace

const Kernel kConv2d = {bind};

}  // namespace latent_edge::gpu
