"""
The autoencoder (AutoencoderKL, factor 4, 4 channels). Colour is weighed in opponent axes: an absolute difference alone
lets colours fade. Latents leave with mean 0 and deviation 1, so that the scaling factor is 1.
    python autoencoder.py [--smoke]               →  out/autoencoder/vae
    python autoencoder.py --polish [--start FOLDER] [--smoke]
                                                  →  out/polish/vae: its decoder alone, 30 % on the pictures of words.json
"""
import copy

import numpy as np
import torch
from diffusers import AutoencoderKL
from torch.nn import functional as F

from common import OUT, SIDE, Pictures, Run, arguments, grid

OPPONENT = torch.tensor([[0.577, 0.577, 0.577], [1.555, -1.555, 0], [0.898, 0.898, -1.796]])  # grey; colours, × 2.2


def create():
    return AutoencoderKL(
        **dict(in_channels=3, out_channels=3, latent_channels=4, block_out_channels=(32, 64, 96)),
        **dict(down_block_types=("DownEncoderBlock2D",) * 3, up_block_types=("UpDecoderBlock2D",) * 3),
        **dict(layers_per_block=1, norm_num_groups=32, sample_size=SIDE, scaling_factor=1.0),
    )


def batch(pictures, indices, rng):
    """Pictures in −1…1: on white or a colour, mirrored, moved, some with their colour channels exchanged."""
    colour, alpha = pictures.load(indices)
    background = torch.ones(len(indices), 3, 1, 1)
    tinted = torch.from_numpy(rng.random(len(indices)) < 0.3)
    background[tinted] = torch.from_numpy(rng.random((int(tinted.sum()), 3, 1, 1))).float()
    x = (colour + (1 - alpha) * background) * 2 - 1
    for i in range(len(x)):
        x[i] = x[i].flip(2) if rng.random() < 0.5 else x[i]
        x[i] = x[i][rng.permutation(3)] if rng.random() < 0.5 else x[i]
    dy, dx = rng.integers(-8, 9, 2)
    return x.roll((int(dy), int(dx)), (2, 3)) if rng.random() < 0.3 else x


def difference(made, true):
    d = torch.einsum("oc,nchw->nohw", OPPONENT, made - true)
    slopes = lambda x: (x[..., 1:] - x[..., :-1]).abs().mean() + (x[..., 1:, :] - x[..., :-1, :]).abs().mean()
    near, far = d.square().mean() + 0.5 * d.abs().mean(), F.avg_pool2d(d, 4).square().mean()
    return near + 2 * far + 0.25 * (slopes(d) + slopes(F.avg_pool2d(d, 2)))


def psnr(made, true):
    """Decibels of each picture in −1…1, against the span of 2."""
    return -10 * ((made - true).square().mean((1, 2, 3)) / 4).log10()


@torch.no_grad()
def normalise(vae, latents):
    """Folds each channel's mean and deviation into the 1×1 convolutions on both sides of the latents."""
    mean, std = latents.mean((0, 2, 3)), latents.std((0, 2, 3))
    q, p = vae.quant_conv, vae.post_quant_conv
    p.bias += p.weight[:, :, 0, 0] @ mean
    p.weight *= std[None, :, None, None]
    q.weight[:4] /= std[:, None, None, None]
    q.bias[:4] = (q.bias[:4] - mean) / std
    q.bias[4:] -= 2 * std.log()


def main():
    args = arguments(__doc__, steps=12000, batch=32, rate=1e-3, polish=False, start="", decay=0.998)
    pictures = Pictures()
    torch.manual_seed(args.seed)
    model = create().train()
    if args.polish:
        folder = args.start or OUT / ("smoke" if args.smoke else "") / "autoencoder" / "vae"
        model = AutoencoderKL.from_pretrained(folder, torch_dtype=torch.float32).train()
        model.encoder.requires_grad_(False)
        model.quant_conv.requires_grad_(False)
    model.to(memory_format=torch.channels_last)  # nearly twice as fast on a CPU
    trained = [each for each in model.parameters() if each.requires_grad]
    optimizer = torch.optim.AdamW(trained, args.rate, betas=(0.9, 0.95), weight_decay=1e-4)
    run = Run("polish" if args.polish else "autoencoder", args, model, [optimizer], decay=args.decay)
    held = pictures.on_white(pictures.held_out[::3])

    def show():
        ready = run.averaged(copy.deepcopy(model))
        with torch.no_grad():
            made = ready.decode(ready.encode(held).latent_dist.mean).sample.clamp(-1, 1)
        run.write({"psnr_db": round(psnr(made, held).mean().item(), 2)})
        grid(torch.cat([held[::3][:24], made[::3][:24]]), run.folder / f"samples-{run.step}.png")

    for step in run:
        indices = run.rng.choice(pictures.train, args.batch)
        if args.polish:
            own = run.rng.random(args.batch) < 0.3
            indices = np.where(own, run.rng.choice(pictures.words, args.batch), indices)
        x = pictures.on_white(indices) if args.polish else batch(pictures, indices, run.rng)
        x = x.contiguous(memory_format=torch.channels_last)
        latents = model.encode(x).latent_dist
        z = latents.mean + 0.05 * torch.randn_like(latents.mean) if args.polish else latents.sample()
        loss = difference(model.decode(z).sample, x) + (0 if args.polish else 1e-6 * latents.kl().mean())
        optimizer.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(trained, 1.0)
        optimizer.step()
        run.log(loss=loss)
        if (step + 1) % 500 == 0:
            show()
    show()
    ready = run.averaged(model)
    if not args.polish:
        some = np.random.default_rng(0).choice(pictures.train, 64 if args.smoke else 1024)
        with torch.no_grad():
            normalise(ready, torch.cat([ready.encode(x).latent_dist.mean for x in pictures.on_white(some).split(64)]))
    ready.half().save_pretrained(run.folder / "vae")


if __name__ == "__main__":
    main()
