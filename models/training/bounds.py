"""
What keeps the shipped autoencoder from its gate, on held-out pictures: PSNR in dB with the encoder's mean and with a
draw; the shares of the error that are brightness, and coarser than the latents; PSNR with the latents that suit its
decoder best, found by descent; and with its last convolution fitted to the pictures trained on, by least squares.
    python bounds.py [--smoke]
"""
import numpy as np
import torch
from torch.nn import functional as F

from autoencoder import psnr
from common import Base, Pictures, arguments


def best_latents(vae, x, steps, rate):
    """The latents from which the decoder comes nearest to pictures x: Adam from the encoder's, rate falling to 0."""
    z = vae.encode(x).latent_dist.mean.detach().requires_grad_(True)
    optimizer = torch.optim.Adam([z], rate)
    for step in range(steps):
        optimizer.param_groups[0]["lr"] = rate * (1 - step / steps)
        optimizer.zero_grad()
        (vae.decode(z).sample - x).square().mean().backward()
        optimizer.step()
    return z.detach()


@torch.no_grad()
def fit_last(vae, batches):
    """Solves for the decoder's last convolution."""
    last, seen = vae.decoder.conv_out, {}
    hook = last.register_forward_pre_hook(lambda _, inputs: seen.update(x=inputs[0]))
    side = last.in_channels * 9 + 1
    squares, products = torch.zeros(side, side).double(), torch.zeros(side, 3).double()
    for x in batches:
        vae.decode(vae.encode(x).latent_dist.mean)
        columns = F.unfold(seen["x"].contiguous(), 3, padding=1).transpose(1, 2).flatten(0, 1)
        columns = F.pad(columns, (0, 1), value=1.0)
        squares += (columns.T @ columns).double()
        products += (columns.T @ x.permute(0, 2, 3, 1).reshape(-1, 3)).double()
    hook.remove()
    squares += 1e-6 * squares.trace() / side * torch.eye(side).double()
    found = torch.linalg.solve(squares, products).float()
    last.weight.copy_(found[:-1].T.reshape(last.weight.shape))
    last.bias.copy_(found[-1])


def main():
    args = arguments(__doc__, steps=150, batch=16, rate=0.03)
    base, pictures = Base(), Pictures()
    rng = np.random.default_rng(args.seed)
    x = pictures.on_white(pictures.held_out[:: -(-len(pictures.held_out) // args.batch)])
    with torch.no_grad():
        latents = base.vae.encode(x).latent_dist
        plain, drawn = base.decode(latents.mean), base.decode(latents.sample())
    error = plain - x
    figures = {
        "pictures": len(x),
        "mean": psnr(plain, x).mean(),
        "drawn": psnr(drawn, x).mean(),
        "brightness": error.mean(1).square().mean() / error.square().mean(),
        "coarse": F.avg_pool2d(error, 4).square().mean() / error.square().mean(),
        "best_latents": psnr(base.decode(best_latents(base.vae, x, args.steps, args.rate)), x).mean(),
    }
    chosen = rng.choice(pictures.train, (2 if args.smoke else 20, args.batch))
    fit_last(base.vae, (pictures.on_white(each) for each in chosen))
    figures["last_fitted"] = psnr(base.decode(base.encode(x)), x).mean()
    print({name: round(float(value), 3) for name, value in figures.items()})


if __name__ == "__main__":
    main()
