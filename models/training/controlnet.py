"""
ControlNet on Canny edges (arXiv:2302.05543): a copy of the base's encoder, joined by convolutions that start at zero;
the base is frozen. --joint gaussian starts them as ordinary convolutions, the paper's ablation.
    python controlnet.py [--smoke]
"""
import copy

import numpy as np
import torch
from diffusers import ControlNetModel

from common import Base, Pictures, Run, Schedule, arguments, canny, grid, turn_hue


def batch(pictures, size, rng):
    """Pictures in −1…1, their edges 0 or 1, and captions; 15 % are of the base's own words."""
    own = rng.random(size) < 0.15
    indices = np.where(own, rng.choice(pictures.words, size), rng.choice(pictures.train, size, p=pictures.weight))
    colour, alpha = pictures.load(indices)
    turned = rng.random(size) < 0.2
    angle = torch.from_numpy(np.where(turned, rng.uniform(0.5, 5.8, size), 0)).float()
    colour = torch.minimum(turn_hue(colour, angle).clamp(min=0), alpha)
    background = torch.ones(size, 3, 1, 1)
    tinted = torch.from_numpy(rng.random(size) < 0.1)
    background[tinted] = torch.from_numpy(rng.random((int(tinted.sum()), 3, 1, 1))).float()
    if rng.random() < 0.5:
        dy, dx = rng.integers(-4, 5, 2)
        colour, alpha = (each.roll((int(dy), int(dx)), (2, 3)) for each in (colour, alpha))
    x = (colour + (1 - alpha) * background) * 2 - 1
    low = rng.uniform(60, 120, size)
    edges = canny(x, low, low * rng.uniform(1.5, 2.0, size))
    for i in range(size):
        if rng.random() < 0.15:  # the outline alone
            edges[i] = canny((alpha[i : i + 1] > 0.5).float().expand(-1, 3, -1, -1) * 2 - 1)[0]
        if rng.random() < 0.15:  # a part is missing
            y, x0, h, w = rng.integers(0, 48), rng.integers(0, 48), *rng.integers(8, 32, 2)
            edges[i, :, y : y + h, x0 : x0 + w] = 0
    empty = (rng.random(size) < 0.4) | turned
    return x, edges, ["" if empty[i] else pictures.label(indices[i]) for i in range(size)]


def joints(controlnet):
    """The convolutions that begin at zero: those after each block, and the last of the hint's."""
    return [*controlnet.controlnet_down_blocks, controlnet.controlnet_mid_block, controlnet.controlnet_cond_embedding.conv_out]


@torch.no_grad()
def sample(base, controlnet, schedule, prompts, edges, steps=15, guidance=3.0, seed=0, scale=1.0):
    """DDIM with trailing timesteps, as the service samples."""
    n = len(prompts)
    x = torch.randn(n, 4, 16, 16, generator=torch.Generator().manual_seed(seed))
    text = base.text(list(prompts) + [""] * n)[0]
    hint = edges.expand(-1, 3, -1, -1).repeat(2, 1, 1, 1)
    times = [round(1000 - i * 1000 / steps) - 1 for i in range(steps)]
    for t, after in zip(times, times[1:] + [None]):
        both, tt = x.repeat(2, 1, 1, 1), torch.full((2 * n,), t)
        down, mid = controlnet(both, tt, text, hint, conditioning_scale=scale, return_dict=False)
        v = base.unet(both, tt, text, down_block_additional_residuals=down, mid_block_additional_residual=mid).sample
        told, free = v.chunk(2)
        v, tt = free + guidance * (told - free), tt[:n]
        x0 = schedule.x0(x, v, tt)
        noise = schedule.noise(tt) * x + schedule.signal(tt) * v
        x = x0 if after is None else schedule.add_noise(x0, noise, torch.full((n,), after))
    return base.decode(x)


def main():
    args = arguments(__doc__, steps=2600, batch=16, rate=3e-4, joint="zero", decay=0.995)
    base, schedule, pictures = Base(), Schedule(), Pictures()
    torch.manual_seed(args.seed)
    model = ControlNetModel.from_unet(base.unet, conditioning_embedding_out_channels=(16, 32, 64)).requires_grad_(True)
    if args.joint == "gaussian":
        for each in joints(model):
            each.reset_parameters()
    optimizer = torch.optim.AdamW(model.parameters(), args.rate, betas=(0.9, 0.99), weight_decay=1e-3)
    run = Run(f"controlnet-{args.joint}", args, model, [optimizer], decay=args.decay)
    shown = (pictures.held_out[:: max(1, len(pictures.held_out) // 8)][:8] + pictures.words)[:12]
    truth = pictures.on_white(shown)

    def show():
        prompts, edges = [pictures.label(i) for i in shown], canny(truth)
        guided = run.averaged(copy.deepcopy(model))
        rows = [truth, edges.expand(-1, 3, -1, -1) * 2 - 1]
        rows.append(sample(base, guided, schedule, prompts, edges, steps=10))
        grid(torch.cat(rows), run.folder / f"samples-{run.step}.png", columns=12)

    for step in run:
        x, edges, captions = batch(pictures, args.batch, run.rng)
        x0, text = base.encode(x), base.text(captions)[0]
        t = (1000 * torch.rand(args.batch).sqrt()).long().clamp(max=999)  # more of the noisy ones: shapes are set there
        noise = torch.randn_like(x0)
        xt = schedule.add_noise(x0, noise, t)
        down, mid = model(xt, t, text, edges.expand(-1, 3, -1, -1), return_dict=False)
        v = base.unet(xt, t, text, down_block_additional_residuals=down, mid_block_additional_residual=mid).sample
        loss = (v - schedule.velocity(x0, noise, t)).square().mean()
        optimizer.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        run.log(every=50, loss=loss)
        if (step + 1) % 500 == 0:
            show()
    show()
    run.averaged(model).half().save_pretrained(run.folder / "model")


if __name__ == "__main__":
    main()
