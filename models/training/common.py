"""What every stage shares: pictures and captions, the noise schedule, the base model, runs that can be resumed."""
import argparse
import json
import math
import time
import zlib
from pathlib import Path

import cv2
import numpy as np
import torch
from diffusers import AutoencoderKL, UNet2DConditionModel
from PIL import Image
from transformers import CLIPTextModel, CLIPTokenizer

HERE = Path(__file__).resolve().parent
OUT = HERE / "out"
BASE = HERE.parent / "tiny-emoji-ldm"
SIDE = 64


class Pictures:
    """The emoji that data.mjs drew, and 5 % of them (by set and label) that no stage here trains on."""

    def __init__(self):
        folder = next((each for each in (OUT / "data", OUT / "smoke" / "data") if each.exists()), OUT / "data")
        self.about = [json.loads(line) for line in open(folder / "pictures.jsonl")]
        self.rgba = np.memmap(folder / "pictures.rgba", np.uint8, "r").reshape(-1, SIDE, SIDE, 4)
        names = json.loads((BASE / "words.json").read_text())
        held = [zlib.crc32(f"{a['set']} {a['label']}".encode()) % 20 == 0 for a in self.about]
        indices = range(len(self.about))
        flat = {a["label"]: i for i, a in enumerate(self.about) if a["set"] == "fluent-emoji-flat" and not a["tone"]}
        self.words = [flat[name] for name in names if name in flat]  # what the base was trained on
        self.train = [i for i in indices if not held[i] or i in self.words]
        self.held_out = [i for i in indices if held[i] and i not in self.words and not self.about[i]["tone"]]
        self.weight = np.array([0.3 if self.about[i]["tone"] else 1.0 for i in self.train])
        self.weight /= self.weight.sum()

    def label(self, index):
        return self.about[index]["label"]

    def load(self, indices):
        """→ colours [N, 3, 64, 64], premultiplied, and alpha [N, 1, 64, 64], both 0…1"""
        batch = torch.from_numpy(self.rgba[indices]).permute(0, 3, 1, 2).float() / 255
        return batch[:, :3], batch[:, 3:]

    def on_white(self, indices):
        """→ [N, 3, 64, 64] in −1…1"""
        colour, alpha = self.load(indices)
        return (colour + 1 - alpha) * 2 - 1


def turn_hue(colour, angle):
    """Turns colours [N, 3, H, W] about the grey axis, each picture by its own angle in radians."""
    c, s = angle.cos(), angle.sin() / 3**0.5
    k = (1 - c) / 3
    rows = [c + k, k - s, k + s, k + s, c + k, k - s, k - s, k + s, c + k]
    matrix = torch.stack(rows, 1).view(-1, 3, 3)
    return torch.einsum("nij,njhw->nihw", matrix, colour)


def canny(pictures, low=100, high=200):
    """Edges of pictures in −1…1 → [N, 1, H, W], 0 or 1; thresholds as numbers or one for each picture."""
    pixels = ((pictures.clamp(-1, 1) + 1) * 127.5).round().byte().permute(0, 2, 3, 1).contiguous().numpy()
    low, high = np.broadcast_to(low, len(pixels)), np.broadcast_to(high, len(pixels))
    edges = [cv2.Canny(each, float(a), float(b)) for each, a, b in zip(pixels, low, high)]
    return torch.from_numpy(np.stack(edges)).float()[:, None] / 255


class Schedule:
    """Stable Diffusion's noise: x_t = a_t x_0 + s_t ε, scaled-linear betas, v = a_t ε − s_t x_0."""

    def __init__(self):
        betas = torch.linspace(0.00085**0.5, 0.012**0.5, 1000, dtype=torch.float64) ** 2
        self.alphas_cumprod = torch.cumprod(1 - betas, 0).float()

    def signal(self, t):
        return self.alphas_cumprod[t].sqrt()[:, None, None, None]

    def noise(self, t):
        return (1 - self.alphas_cumprod[t]).sqrt()[:, None, None, None]

    def add_noise(self, x0, noise, t):
        return self.signal(t) * x0 + self.noise(t) * noise

    def velocity(self, x0, noise, t):
        return self.signal(t) * noise - self.noise(t) * x0

    def x0(self, xt, v, t):
        return self.signal(t) * xt - self.noise(t) * v


class Base:
    """The frozen base model; text is encoded at 77 tokens, as it is served, and remembered."""

    def __init__(self, folder=BASE):
        self.vae = AutoencoderKL.from_pretrained(folder / "vae", torch_dtype=torch.float32).eval().requires_grad_(False)
        self.unet = UNet2DConditionModel.from_pretrained(folder / "unet", torch_dtype=torch.float32)
        self.unet.eval().requires_grad_(False)
        self.encoder = CLIPTextModel.from_pretrained(folder / "text_encoder", dtype=torch.float32)
        self.encoder.eval().requires_grad_(False)
        self.tokenizer = CLIPTokenizer.from_pretrained(folder / "tokenizer")
        self.known = {}

    @torch.no_grad()
    def text(self, prompts):
        """→ hidden states [N, 77, 192] and the last token's [N, 192]"""
        new = sorted({p for p in prompts if p not in self.known})
        for start in range(0, len(new), 64):
            part = new[start : start + 64]
            ids = self.tokenizer(part, padding="max_length", max_length=77, truncation=True, return_tensors="pt")
            out = self.encoder(ids.input_ids)
            self.known.update(zip(part, zip(out.last_hidden_state, out.pooler_output)))
        states, pooled = zip(*(self.known[p] for p in prompts))
        return torch.stack(states), torch.stack(pooled)

    @torch.no_grad()
    def encode(self, pictures):
        return torch.cat([self.vae.encode(part).latent_dist.mean for part in pictures.split(64)])

    @torch.no_grad()
    def decode(self, latents):
        return torch.cat([self.vae.decode(part).sample.clamp(-1, 1) for part in latents.split(64)])


def grid(pictures, file, columns=12, scale=2):
    """Writes pictures [N, 3, H, W] in −1…1 as one PNG."""
    pixels = ((pictures.clamp(-1, 1).permute(0, 2, 3, 1) + 1) * 127.5).round().byte().numpy()
    n, h, w, _ = pixels.shape
    sheet = np.full((math.ceil(n / columns) * h, columns * w, 3), 255, np.uint8)
    for i, each in enumerate(pixels):
        y, x = i // columns * h, i % columns * w
        sheet[y : y + h, x : x + w] = each
    image = Image.fromarray(sheet)
    image.resize((image.width * scale, image.height * scale), Image.NEAREST).save(file)


def arguments(description, steps, batch, rate, **more):
    """--steps, --batch, --rate, --threads, --smoke and what a stage adds; --smoke: 3 steps of 4, in out/smoke."""
    parser = argparse.ArgumentParser(description=description)
    parser.add_argument("--steps", type=int, default=steps)
    parser.add_argument("--batch", type=int, default=batch)
    parser.add_argument("--rate", type=float, default=rate)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--smoke", action="store_true")
    for name, value in more.items():
        kind = {"action": "store_true"} if value is False else {"type": type(value), "default": value}
        parser.add_argument(f"--{name.replace('_', '-')}", **kind)
    args = parser.parse_args()
    if args.smoke:
        args.steps, args.batch = 3, 4
    torch.set_num_threads(args.threads)
    torch.backends.nnpack.set_flags(False)
    return args


class Run:
    """
    One training: out/NAME/{run.pt, log.jsonl, *.png}. Counts steps, follows the weights with an average, sets the
    learning rate (warm-up, then a cosine to zero), and goes on from run.pt where that is.
    """

    def __init__(self, name, args, model, optimizers, others=(), decay=0.998):
        self.folder = OUT / ("smoke" if args.smoke else "") / name
        self.folder.mkdir(parents=True, exist_ok=True)
        self.args, self.model, self.optimizers, self.others, self.decay = args, model, optimizers, others, decay
        self.average = {key: value.clone() for key, value in model.state_dict().items()}
        self.step, self.seconds, self.sums = 0, 0.0, {}
        self.rates = [group["lr"] for each in optimizers for group in each.param_groups]
        if not args.smoke and (self.folder / "run.pt").exists():
            state = torch.load(self.folder / "run.pt", weights_only=True)
            self.step, self.seconds, self.average = state["step"], state["seconds"], state["average"]
            for part, saved in zip([model, *others, *optimizers], state["parts"]):
                part.load_state_dict(saved)
        self.rng = np.random.default_rng(args.seed + self.step)
        torch.manual_seed(args.seed + self.step)

    def __iter__(self):
        while self.step < self.args.steps:
            scale = min(1, (self.step + 1) / 100) * (0.5 + 0.5 * math.cos(math.pi * self.step / self.args.steps))
            groups = [group for each in self.optimizers for group in each.param_groups]
            for group, rate in zip(groups, self.rates):
                group["lr"] = rate * scale
            start = time.time()
            yield self.step
            self.step += 1
            self.follow()
            self.seconds += time.time() - start
            if self.step % 50 == 0 or self.step == self.args.steps:
                self.save()

    @torch.no_grad()
    def follow(self):
        keep = min(self.decay, (self.step + 1) / (self.step + 10))
        for key, value in self.model.state_dict().items():
            if value.is_floating_point():
                self.average[key].lerp_(value, 1 - keep)

    def log(self, every=100, **values):
        """Adds up what a step measured and prints the means from time to time."""
        for key, value in values.items():
            self.sums.setdefault(key, []).append(float(torch.as_tensor(value).detach()))
        if (self.step + 1) % every == 0 or self.args.smoke:
            line = {key: round(float(np.mean(each)), 4) for key, each in self.sums.items()}
            self.write(line | {"minutes": round(self.seconds / 60, 1)})
            self.sums = {}

    def write(self, line):
        line = {"step": self.step + 1, **line}
        print(line, flush=True)
        with open(self.folder / "log.jsonl", "a") as file:
            file.write(json.dumps(line) + "\n")

    def save(self):
        parts = [part.state_dict() for part in [self.model, *self.others, *self.optimizers]]
        state = {"step": self.step, "seconds": self.seconds, "average": self.average, "parts": parts}
        torch.save(state, self.folder / "run.tmp")
        (self.folder / "run.tmp").replace(self.folder / "run.pt")

    def averaged(self, copy):
        """Puts the average into a copy of the model, ready to use."""
        copy.load_state_dict(self.average)
        return copy.eval().requires_grad_(False)
