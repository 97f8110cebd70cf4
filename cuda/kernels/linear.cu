// linear: y = act(x·Wᵀ + bias) + residual;  geglu: y = (x·Vᵀ + b)·gelu(x·Gᵀ + c), arXiv:2002.05202
// x [..., K], y and residual [..., N] in the storage's type (geglu: N counts values and gates, y has N/2); weight [N,K]
// in the storage's type, packed to slabs, with geglu eight values and their gates in turn; bias [N] float32
// A product of gemm.h: bound by arithmetic from some hundred rows on, below by reading W.
#include "../ops/linear.h"
#include "gemm.h"
#include "kernels.h"

namespace latent_edge::gpu {
namespace {

Step bind(const OpDesc& op, BindContext& context) {
  const LinearOp p(op);
  return with_storage(context.storage, [&]<class T>() -> Step {
    Product<T> product;
    product.left.x = context.at<T>(p.x);
    product.left.c1 = static_cast<int>(p.k);
    product.left.rows = p.m;
    const Columns columns(p.n, p.activation);
    const auto weight = pack_weight(context, op.weight("weight"), product.left, columns);
    const auto bias = pack_bias(context, op.find_weight("bias"), columns);
    product.weight = weight.get();
    product.packed = columns.count;
    product.finish.bias = bias.get();
    product.finish.residual = context.at<T>(p.residual);
    product.finish.y = context.at<T>(p.out);
    product.finish.columns = static_cast<int>(p.out_columns);
    product.finish.activation = p.activation;
    return product_step(product, context, {weight, bias});
  });
}

}  // namespace

const Kernel kLinear = {bind};

}  // namespace latent_edge::gpu
