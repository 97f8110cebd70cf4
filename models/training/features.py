"""
A small network that looks at pictures for the evaluation: 64 features for Fréchet distances, and an embedding beside
the text encoder's, so that pictures and prompts can be compared as CLIP does (arXiv:2103.00020).
    python features.py [--smoke]   →  features/{config.json, model.safetensors}
"""
import json

import numpy as np
import torch
from safetensors.torch import load_file, save_file
from torch import nn
from torch.nn import functional as F

from common import HERE, Base, Pictures, Run, arguments, turn_hue

CHANNELS = [(3, 32, 2), (32, 64, 2), (64, 96, 1), (96, 96, 2), (96, 64, 1)]  # in, out, stride
WIDTH = 64


class Features(nn.Module):
    """3×3 convolutions, each with group normalisation and SiLU; the mean over all places is a picture's features."""

    def __init__(self):
        super().__init__()
        self.convs = nn.ModuleList(nn.Conv2d(a, b, 3, stride=s, padding=1) for a, b, s in CHANNELS)
        self.norms = nn.ModuleList(nn.GroupNorm(8, b) for _, b, _ in CHANNELS)
        self.image_projection = nn.Linear(CHANNELS[-1][1], WIDTH, bias=False)
        self.text_projection = nn.Linear(192, WIDTH, bias=False)
        self.logit_scale = nn.Parameter(torch.tensor(2.5))

    def forward(self, x):
        """Pictures [N, 3, 64, 64] in −1…1 → features [N, 64]"""
        for conv, norm in zip(self.convs, self.norms):
            x = F.silu(norm(conv(x)))
        return x.mean((2, 3))

    def embed(self, x):
        """→ [N, 64], of length 1"""
        return F.normalize(self.image_projection(self(x)), dim=1)

    def embed_text(self, pooled):
        """The text encoder's output at the end token [N, 192] → [N, 64], of length 1"""
        return F.normalize(self.text_projection(pooled), dim=1)


def load(folder=HERE / "features"):
    model = Features()
    model.load_state_dict(load_file(folder / "model.safetensors"))
    return model.eval().requires_grad_(False)


def save(model, folder, figures):
    layers = []
    for i, (a, b, stride) in enumerate(CHANNELS):
        layers.append({"conv2d": f"convs.{i}", "in": a, "out": b, "kernel": 3, "stride": stride, "padding": 1})
        layers.append({"group_norm": f"norms.{i}", "groups": 8, "eps": 1e-5})
        layers.append("silu")
    config = {
        "input": {"width": 64, "height": 64, "channels": "rgb", "range": [-1, 1], "layout": "nchw"},
        "layers": [*layers, "mean over height and width"],
        "features": 64,
        "image_projection": {"linear": "image_projection", "bias": False, "then": "divide by the Euclidean length"},
        "text_projection": {
            "of": "the text encoder's last hidden state, after its final layer normalisation, at the first end token",
            **{"linear": "text_projection", "bias": False, "then": "divide by the Euclidean length"},
        },
        "logit_scale": "score = exp(logit_scale) · image · text; the largest over all words is the class",
        "figures": figures,
    }
    folder.mkdir(parents=True, exist_ok=True)
    save_file({key: value.contiguous() for key, value in model.state_dict().items()}, folder / "model.safetensors")
    (folder / "config.json").write_text(json.dumps(config, indent=2, ensure_ascii=False) + "\n")


def batch(pictures, size, rng):
    """Pictures with what a generator may do to them: shifts, blur, noise, a little colour; and their indices."""
    own = rng.random(size) < 0.3
    indices = np.where(own, rng.choice(pictures.words, size), rng.choice(pictures.train, size, p=pictures.weight))
    colour, alpha = pictures.load(indices)
    colour = torch.minimum(turn_hue(colour, torch.from_numpy(rng.normal(0, 0.08, size)).float()).clamp(min=0), alpha)
    x = (colour + 1 - alpha) * 2 - 1
    for i in range(size):
        dy, dx = rng.integers(-3, 4, 2)
        x[i] = x[i].roll((int(dy), int(dx)), (1, 2))
    blurred = torch.from_numpy(rng.random(size) < 0.4)
    x[blurred] = F.avg_pool2d(F.pad(x[blurred], (1, 1, 1, 1), "replicate"), 3, 1)
    return x + torch.from_numpy(rng.uniform(0, 0.08, (size, 1, 1, 1))).float() * torch.randn_like(x), indices


def main():
    args = arguments(__doc__, steps=2500, batch=64, rate=2e-3)
    base, pictures = Base(), Pictures()
    labels = sorted({pictures.label(i) for i in pictures.train})
    place = {label: i for i, label in enumerate(labels)}
    pooled = base.text(labels)[1]
    torch.manual_seed(args.seed)
    model = Features()
    optimizer = torch.optim.AdamW(model.parameters(), args.rate, betas=(0.9, 0.99), weight_decay=1e-2)
    run = Run("features", args, model, [optimizer], decay=0.99)
    for _ in run:
        x, indices = batch(pictures, args.batch, run.rng)
        target = torch.tensor([place[pictures.label(i)] for i in indices])
        logits = model.logit_scale.exp() * model.embed(x) @ model.embed_text(pooled).T
        loss = F.cross_entropy(logits, target)
        optimizer.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        run.log(loss=loss, right=(logits.argmax(1) == target).float().mean())
    ready = run.averaged(model)

    def right(indices, among):
        """The share of pictures whose own label is the nearest, and is among the nearest five."""
        names = sorted({pictures.label(i) for i in among})
        scores = ready.embed(pictures.on_white(indices)) @ ready.embed_text(base.text(names)[1]).T
        own = torch.tensor([names.index(pictures.label(i)) for i in indices])
        near = scores.topk(5, 1).indices == own[:, None]
        return round(near[:, 0].float().mean().item(), 3), round(near.any(1).float().mean().item(), 3)

    held = [i for i in pictures.held_out if pictures.label(i) in place]
    words, unseen = right(pictures.words, pictures.words), right(held, range(len(pictures.about)))
    figures = {
        "steps": run.step,
        "batch": args.batch,
        "right_of_the_base_words": words[0],
        "right_of_held_out_pictures": unseen[0],
        "in_five_of_held_out_pictures": unseen[1],
        "labels": len(labels),
    }
    print(figures)
    save(ready, run.folder / "model" if args.smoke else HERE / "features", figures)


if __name__ == "__main__":
    main()
