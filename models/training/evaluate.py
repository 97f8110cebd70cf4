"""
Figures of the shipped models → ../metrics.json. The pictures are those of a running service (npm start).
    python evaluate.py [--url http://127.0.0.1:8787] [--smoke]
The ControlNet without zero convolutions is measured too where the service has it: copied from
out/controlnet-gaussian/model to a folder of models, as tiny-emoji-controlnet-gaussian.
"""
import base64
import io
import json
import urllib.request
import zlib
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import torch
from PIL import Image
from torch.nn import functional as F

import features
from autoencoder import psnr
from common import HERE, OUT, Base, Pictures, Schedule, arguments, canny, grid

MODELS = HERE.parent


def drawn(url, folder, requests):
    """Pictures [N, 3, 64, 64] in −1…1 of requests to a service, eight at a time; kept in a folder."""
    folder.mkdir(parents=True, exist_ok=True)

    def one(request):
        words = [str(request[key]) for key in sorted(request) if key != "control"]
        words += [f"{zlib.crc32(json.dumps(each).encode()):08x}" for each in request.get("control", [])]
        file = folder / (" ".join(words) + ".png")
        if not file.exists():
            headers = {"content-type": "application/json", "accept": "image/png"}
            asked = urllib.request.Request(f"{url}/v1/images/generations", json.dumps(request).encode(), headers)
            with urllib.request.urlopen(asked) as reply:
                file.write_bytes(reply.read())
        pixels = np.array(Image.open(io.BytesIO(file.read_bytes())).convert("RGB"))
        return torch.from_numpy(pixels).permute(2, 0, 1).float() / 127.5 - 1

    with ThreadPoolExecutor(8) as pool:
        return torch.stack(list(pool.map(one, requests)))


def frechet(a, b):
    """Between the Gaussians of two sets of features [N, D]: |μ₁ − μ₂|² + tr(Σ₁ + Σ₂ − 2 (Σ₁ Σ₂)^½)"""
    a, b = a.double(), b.double()
    both = torch.linalg.eigvals(torch.cov(a.T) @ torch.cov(b.T)).real.clamp(min=0).sqrt().sum()
    spread = torch.cov(a.T).trace() + torch.cov(b.T).trace() - 2 * both
    return ((a.mean(0) - b.mean(0)).square().sum() + spread).item()


def edge_f1(made, wanted):
    """Mean over pictures of the F1 score of edges [N, 1, H, W], where one pixel beside counts."""
    near = lambda edges: F.max_pool2d(edges, 3, 1, 1)
    share = lambda a, b: (a * near(b)).sum((1, 2, 3)) / a.sum((1, 2, 3)).clamp(min=1)
    precision, recall = share(made, wanted), share(wanted, made)
    return (2 * precision * recall / (precision + recall).clamp(min=1e-6)).mean().item()


def autoencoder_figures(base, pictures, n):
    """PSNR of all held-out pictures, of those of each set, and of the base's words: of n each, where n is given."""
    near = {"": pictures.held_out, "_of_the_words": pictures.words}
    for name in dict.fromkeys(each["set"] for each in pictures.about):
        near[f"_of_{name}"] = [i for i in pictures.held_out if pictures.about[i]["set"] == name]
    figures = {"held_out": len(pictures.held_out)}
    for name, indices in near.items():
        x = pictures.on_white(indices[:n])
        figures[f"autoencoder_psnr_db{name}"] = psnr(base.decode(base.encode(x)), x).mean().item()
    return figures


def picture_figures(looks, made, words, labels, wanted):
    """Of pictures [N, 3, 64, 64], one for each of the words wanted."""
    found, true = looks(made), looks(words)
    small = lambda x: F.avg_pool2d(x, 2).flatten(1)
    near = torch.cdist(small(made), small(words))
    score = looks.embed(made) @ labels.T
    own = torch.tensor(wanted)
    return {
        "frechet": frechet(found, true),
        "concept_accuracy": (near.argmin(1) == own).float().mean().item(),
        "retrieval_accuracy": (score.argmax(1) == own).float().mean().item(),
        "retrieval_score": score[torch.arange(len(own)), own].mean().item(),
        "nearest_training_picture_rmse": (near.min(1).values / small(made).shape[1] ** 0.5).mean().item(),
    }


def diversity(looks, pictures, seeds):
    """Distance of features between seeds of a word, over that between words: pictures in the order word, seed."""
    found = looks(pictures).view(-1, seeds, 64)
    return (torch.cdist(found, found).sum() / (len(found) * seeds * (seeds - 1))).item() / torch.pdist(found[:, 0]).mean().item()


def hint(edges):
    """Edges [1, H, W] as a picture in base64."""
    file = io.BytesIO()
    Image.fromarray((edges[0] * 255).byte().numpy()).convert("RGB").save(file, "PNG")
    return base64.b64encode(file.getvalue()).decode()


def controlnet_figures(url, base, pictures, folder, n, steps):
    """Edges of what was drawn against those asked for, of held-out pictures and of the base's words."""
    with urllib.request.urlopen(f"{url}/v1/models") as reply:
        served = {each["id"] for each in json.load(reply)["data"]}
    figures = {}
    for name, indices in {"": pictures.held_out, "_of_the_words": pictures.words}.items():
        indices = [indices[i * len(indices) // n] for i in range(n)]
        truth = pictures.on_white(indices)
        wanted = canny(truth)
        ceiling = edge_f1(canny(base.decode(base.encode(truth))), wanted)
        figures[f"controlnet_ceiling_edge_f1{name}"] = ceiling
        rows = [truth, wanted.expand(-1, 3, -1, -1) * 2 - 1]
        for kind, model in {
            "controlnet": "tiny-emoji-controlnet-canny",
            "controlnet_without_zero_convolutions": "tiny-emoji-controlnet-gaussian",
            "without_control": "",
        }.items():
            if model and model not in served:
                continue
            asked = [{"prompt": pictures.label(i), "seed": i, "steps": steps} for i in indices]
            for request, edges in zip(asked, wanted):
                if model:
                    request["control"] = [{"model": model, "image": hint(edges)}]
            rows.append(drawn(url, folder / "pictures", asked))
            found = canny(rows[-1])
            figures[f"{kind}_edge_f1{name}"] = edge_f1(found, wanted)
            figures[f"{kind}_edge_f1_of_ceiling{name}"] = edge_f1(found, wanted) / ceiling
            figures[f"{kind}_edge_f1_shuffled{name}"] = edge_f1(found, wanted.roll(1, 0))
        grid(torch.cat(rows), folder / f"controlnet{name}.png", columns=n)
    return figures


def gates(m):
    """What the models were meant to reach."""
    ratio, free = m["student4_frechet_over_base50"], m["student1_frechet_over_base1"]
    rows = [
        ("autoencoder_psnr_db", ">= 26", m["autoencoder_psnr_db"], m["autoencoder_psnr_db"] >= 26),
        ("concept_accuracy", ">= 0.6", m["concept_accuracy"], m["concept_accuracy"] >= 0.6),
        ("student4_frechet_over_base50", "<= 1.5", ratio, ratio <= 1.5),
        ("student1_frechet_over_base1", "< 0.8", free, free < 0.8),
    ]
    if "controlnet_edge_f1" in m:
        kept, gap = m["controlnet_edge_f1_of_ceiling"], m["controlnet_edge_f1"] - m["controlnet_edge_f1_shuffled"]
        rows.append(("controlnet_edge_f1_of_ceiling", ">= 0.75", kept, kept >= 0.75))
        rows.append(("controlnet_edge_f1 over shuffled", ">= 0.2", gap, gap >= 0.2))
    return [{"name": name, "wanted": wanted, "value": value, "reached": reached} for name, wanted, value, reached in rows]


def rounded(value):
    if isinstance(value, dict):
        return {key: rounded(each) for key, each in value.items()}
    if isinstance(value, list):
        return [rounded(each) for each in value]
    return round(value, 6) if isinstance(value, float) else value


@torch.no_grad()
def main():
    args = arguments(__doc__, steps=0, batch=0, rate=0.0, url="http://127.0.0.1:8787", base_steps="1,2,4,8,25,50", student_steps="1,2,4", pictures=12, control_steps=20)
    out = OUT / ("smoke" if args.smoke else "") / "evaluation"
    base, pictures, looks = Base(), Pictures(), features.load()
    n, indices = (4, pictures.words[:4]) if args.smoke else (args.pictures, pictures.words)
    names = [pictures.label(i) for i in indices]
    words = pictures.on_white(indices)
    labels = looks.embed_text(base.text(names)[1])

    metrics = {"words": len(names), **autoencoder_figures(base, pictures, 8 if args.smoke else None)}
    table, rows = {}, []
    for model, counts, more in (
        ("tiny-emoji-ldm", args.base_steps, {"sampler": "dpmpp-2m", "guidance_scale": 3}),
        ("tiny-emoji-turbo", args.student_steps, {"guidance_scale": 1}),
    ):
        for steps in [1, 2] if args.smoke else map(int, counts.split(",")):
            asked = [{"model": model, "prompt": name, "seed": i, "steps": steps, **more} for i, name in enumerate(names)]
            made = drawn(args.url, out / "pictures", asked)
            rows.append(made[:: max(1, len(made) // 12)][:12])
            table[f"{model}, {steps} steps"] = picture_figures(looks, made, words, labels, list(range(len(names))))
    grid(torch.cat(rows), out / "steps.png")
    metrics["steps"] = table
    metrics["concept_accuracy"] = table["tiny-emoji-ldm, 2 steps" if args.smoke else "tiny-emoji-ldm, 50 steps"]["concept_accuracy"]
    ratio = lambda a, b: table[a]["frechet"] / table[b]["frechet"]
    last = ("2", "2") if args.smoke else ("4", "50")
    metrics["student4_frechet_over_base50"] = ratio(f"tiny-emoji-turbo, {last[0]} steps", f"tiny-emoji-ldm, {last[1]} steps")
    metrics["student1_frechet_over_base1"] = ratio("tiny-emoji-turbo, 1 steps", "tiny-emoji-ldm, 1 steps")

    some, seeds = names[:: max(1, len(names) // 12)][:12], range(100, 104)
    for model, more in (("tiny-emoji-ldm", {"steps": 8, "sampler": "dpmpp-2m"}), ("tiny-emoji-turbo", {"steps": 4})):
        asked = [{"model": model, "prompt": name, "seed": seed, **more} for name in some for seed in seeds]
        metrics[f"diversity_{model}"] = diversity(looks, drawn(args.url, out / "pictures", asked), len(seeds))
    metrics.update(controlnet_figures(args.url, base, pictures, out, n, 2 if args.smoke else args.control_steps))
    metrics["gates"] = gates(metrics)
    text = json.dumps(rounded(metrics), indent=2, ensure_ascii=False) + "\n"
    (out / "metrics.json" if args.smoke else MODELS / "metrics.json").write_text(text)
    print(text)


if __name__ == "__main__":
    main()
