"""
Adversarial diffusion distillation (arXiv:2311.17042): a copy of the base that draws in 1 to 4 steps without guidance.
A hinge loss on features of the frozen base, whose heads are told the text, with R1; and 2.5 times the distance to what
the base, guided, makes of the student's picture once it is noisy again.
    python student.py [--smoke]
"""
import copy

import numpy as np
import torch
from torch import nn
from torch.nn import functional as F

from common import Base, Pictures, Run, Schedule, arguments, grid

TIMES = torch.tensor([999, 749, 499, 249])  # of 4 trailing steps; 999 is pure noise
ONE_WAY = {"guitar", "key", "rocket", "airplane", "hammer", "camera", "locomotive"}  # never mirrored


class Head(nn.Module):
    """Judges one feature map of the base: real above 1, made below −1, at every place."""

    def __init__(self, channels, text, width=96):
        super().__init__()
        self.body = nn.Sequential(
            *[nn.Conv2d(channels, width, 3, padding=1), nn.GroupNorm(8, width), nn.LeakyReLU(0.2)],
            *[nn.Conv2d(width, width, 3, padding=1), nn.GroupNorm(8, width), nn.LeakyReLU(0.2)],
        )
        self.judge = nn.Conv2d(width, 1, 1)
        self.text = nn.Linear(text, width)

    def forward(self, features, text):
        """[N, C, H, W], [N, D] → [N, H·W]"""
        y = self.body(features)
        fits = torch.einsum("nchw,nc->nhw", y, self.text(text)) / y.shape[1] ** 0.5
        return (self.judge(y)[:, 0] + fits).flatten(1)


def features(unet, x, t, text):
    """The outputs of the frozen U-Net's downward blocks and of its middle; what comes after is not computed."""
    temb = unet.time_embedding(unet.time_proj(t).to(x.dtype))
    x, found = unet.conv_in(x), []
    for block in unet.down_blocks:
        x, _ = block(x, temb, encoder_hidden_states=text)
        found.append(x)
    return [*found, unet.mid_block(x, temb, encoder_hidden_states=text)]


@torch.no_grad()
def sample(base, student, schedule, prompts, steps, seed=0):
    """Euler's method on trailing timesteps, without guidance, as the service samples."""
    x = torch.randn(len(prompts), 4, 16, 16, generator=torch.Generator().manual_seed(seed))
    text = base.text(prompts)[0]
    times = [1000 - i * 1000 // steps - 1 for i in range(steps)]
    for t, after in zip(times, times[1:] + [None]):
        tt = torch.full((len(prompts),), t)
        v = student(x, tt, text).sample
        x0 = schedule.x0(x, v, tt)
        noise = schedule.noise(tt) * x + schedule.signal(tt) * v
        x = x0 if after is None else schedule.add_noise(x0, noise, torch.full_like(tt, after))
    return base.decode(x)


def main():
    args = arguments(__doc__, steps=3000, batch=12, rate=1e-4, weight=2.5, guidance=3.0, r1=1e-4, decay=0.99)
    base, schedule, pictures = Base(), Schedule(), Pictures()
    torch.manual_seed(args.seed)
    student = copy.deepcopy(base.unet).train().requires_grad_(True)
    heads = nn.ModuleList(Head(c, 192) for c in (*base.unet.config.block_out_channels, 128))
    optimizer = torch.optim.AdamW(student.parameters(), args.rate, betas=(0.5, 0.99))
    judging = torch.optim.AdamW(heads.parameters(), 4 * args.rate, betas=(0.5, 0.99))
    run = Run("student", args, student, [optimizer, judging], [heads], decay=args.decay)

    labels = [pictures.label(i) for i in pictures.words]
    real = pictures.on_white(pictures.words)
    latents = torch.stack([base.encode(real), base.encode(real.flip(3))])
    mirrored = np.array([label not in ONE_WAY for label in labels])
    shown = labels[:: max(1, len(labels) // 12)][:12]

    def show():
        ready = run.averaged(copy.deepcopy(student))
        rows = [sample(base, base.unet, schedule, shown, 1)] + [sample(base, ready, schedule, shown, n) for n in (1, 2, 4)]
        grid(torch.cat(rows), run.folder / f"samples-{run.step}.png")

    n = args.batch
    for step in run:
        index = run.rng.integers(len(labels), size=n)
        flip = (run.rng.random(n) < 0.3) & mirrored[index]
        x0 = latents[flip.astype(int), index]
        captions = [labels[i] if run.rng.random() < 0.8 else f"emoji of {labels[i]}" for i in index]
        text, told = base.text(captions)
        free = base.text([""])[0].expand(n, -1, -1)

        s = TIMES[torch.randint(0, 4, (n,))]
        noise = torch.randn_like(x0)
        xs = torch.where((s == 999)[:, None, None, None], noise, schedule.add_noise(x0, noise, s))
        made = schedule.x0(xs, student(xs, s, text).sample, s)

        t, noise = torch.randint(0, 400, (n,)), torch.randn_like(x0)
        with torch.no_grad():
            theirs = features(base.unet, schedule.add_noise(x0, noise, t), t, text)
        ours = features(base.unet, schedule.add_noise(made, noise, t), t, text)

        theirs = [each.requires_grad_(True) for each in theirs]
        true = [head(each, told) for head, each in zip(heads, theirs)]
        false = [head(each.detach(), told) for head, each in zip(heads, ours)]
        judged = sum(F.relu(1 - a).mean() + F.relu(1 + b).mean() for a, b in zip(true, false)) / len(heads)
        penalty = 0.0
        if step % 4 == 0:
            slopes = torch.autograd.grad([each.sum() for each in true], theirs, create_graph=True)
            penalty = args.r1 * sum(each.square().sum((1, 2, 3)).mean() for each in slopes)
        judging.zero_grad()
        (judged + penalty).backward()
        judging.step()

        heads.requires_grad_(False)
        fooled = -sum(head(each, told).mean() for head, each in zip(heads, ours)) / len(heads)
        heads.requires_grad_(True)
        t = torch.randint(20, 980, (n,))
        with torch.no_grad():
            xt = schedule.add_noise(made, torch.randn_like(x0), t)
            v = base.unet(xt.repeat(2, 1, 1, 1), t.repeat(2), torch.cat([text, free])).sample
            v = v[n:] + args.guidance * (v[:n] - v[n:])
            target = schedule.x0(xt, v, t)
        distance = (schedule.signal(t) * (made - target).square()).mean()
        optimizer.zero_grad()
        (fooled + args.weight * distance).backward()
        torch.nn.utils.clip_grad_norm_(student.parameters(), 1.0)
        optimizer.step()
        run.log(every=20, judged=judged, fooled=fooled, distance=distance)
        if (step + 1) % 500 == 0:
            show()
    show()
    run.averaged(student).half().save_pretrained(run.folder / "unet")


if __name__ == "__main__":
    main()
