#!/usr/bin/env python3
"""Time torch on the CPU over the same checkpoint, float32, as the yardstick of `npm run bench`. Not part of the service.

usage: torch_reference.py MODEL_DIR [--cases unet,controlnet,vae-decode,text] [--runs 5] [--threads 2] [--size 512] [--channels-last]

Needs torch, diffusers and transformers. Attention is torch's scaled_dot_product_attention. Prints one JSON object;
each case runs in a process of its own, so that peak memory is its own.
"""
import argparse
import json
import os
import resource
import statistics
import subprocess
import sys
import time

parser = argparse.ArgumentParser()
parser.add_argument("model")
parser.add_argument("--cases", default="unet,vae-decode,text")
parser.add_argument("--runs", type=int, default=5)
parser.add_argument("--threads", type=int, default=2)
parser.add_argument("--size", type=int, default=512, help="pixels")
parser.add_argument("--batch", type=int, default=2, help="of all but the decode")
parser.add_argument("--channels-last", action="store_true")
parser.add_argument("--inside", help=argparse.SUPPRESS)
args = parser.parse_args()


def measure(case):
    import torch
    from diffusers import AutoencoderKL, ControlNetModel, UNet2DConditionModel
    from transformers import CLIPTextModel

    torch.set_num_threads(args.threads)
    side = args.size // 8
    start = time.perf_counter()
    if case == "unet":
        net = UNet2DConditionModel.from_pretrained(args.model, subfolder="unet", dtype=torch.float32)
        context = torch.randn(args.batch, 77, net.config.cross_attention_dim)
        sample = torch.randn(args.batch, net.config.in_channels, side, side)
        run = lambda: net(sample, torch.full((args.batch,), 501), context).sample
        name = f"unet-b{args.batch}"
    elif case == "controlnet":
        net = ControlNetModel.from_pretrained(args.model, subfolder="controlnet", dtype=torch.float32)
        context = torch.randn(args.batch, 77, net.config.cross_attention_dim)
        sample = torch.randn(args.batch, net.config.in_channels, side, side)
        hint = torch.rand(args.batch, 3, args.size, args.size)
        run = lambda: net(sample, torch.full((args.batch,), 501), context, hint).mid_block_res_sample
        name = f"controlnet-b{args.batch}"
    elif case == "vae-decode":
        net = AutoencoderKL.from_pretrained(args.model, subfolder="vae", dtype=torch.float32)
        latents = torch.randn(1, net.config.latent_channels, side, side)
        run = lambda: net.decode(latents).sample
        name = f"vae-decode-{args.size}"
    else:
        net = CLIPTextModel.from_pretrained(args.model, subfolder="text_encoder", dtype=torch.float32)
        ids = torch.randint(0, net.config.vocab_size, (args.batch, 77))
        run = lambda: net(ids).last_hidden_state
        name = f"text-b{args.batch}"
    net.eval()
    if args.channels_last:
        net.to(memory_format=torch.channels_last)
    load = time.perf_counter() - start
    seconds = []
    with torch.inference_mode():
        finite = bool(torch.isfinite(run()).all())
        for _ in range(args.runs):
            start = time.perf_counter()
            run()
            seconds.append(time.perf_counter() - start)
    return {
        "case": name,
        "seconds": statistics.median(seconds),
        "runs": seconds,
        "loadSeconds": load,
        "peakRssBytes": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024,
        "finite": finite,
        "torch": torch.__version__,
        "capability": torch.backends.cpu.get_cpu_capability(),
    }


if args.inside:
    print(json.dumps(measure(args.inside)))
    sys.exit()

# Settings that work around faults of old OpenBLAS builds would slow a current one.
env = {k: v for k, v in os.environ.items() if not k.startswith("OPENBLAS_")}
results = []
for case in args.cases.split(","):
    out = subprocess.run([sys.executable, *sys.argv, "--inside", case], env=env, check=True, stdout=subprocess.PIPE, text=True)
    results.append(json.loads(out.stdout.splitlines()[-1]))
print(json.dumps({"backend": "torch", "threads": args.threads, "channelsLast": args.channels_last, "cases": results}, indent=2))
