#!/usr/bin/env python3
"""Time torch on a GPU over one module with random weights: the yardstick of `npm run bench:gpu`.

usage: torch_gpu.py unet|controlnet|vae CONFIG.json SAMPLE_SHAPE f16|bf16 RUNS cuda:0

Needs torch and diffusers. channels_last, torch's own scaled_dot_product_attention; eager, and torch.compile with
max-autotune. Prints {"torch_eager_ms", "torch_compile_ms"}: medians after warm-up, by device events.
"""
import json
import statistics
import sys

import torch
from diffusers import AutoencoderKL, ControlNetModel, UNet2DConditionModel

kind, config, shape, dtype, runs, device = sys.argv[1:]
shape, runs = [int(n) for n in shape.split(",")], int(runs)
dtype = {"f16": torch.float16, "bf16": torch.bfloat16}[dtype]
torch.manual_seed(0)
cls = {"unet": UNet2DConditionModel, "controlnet": ControlNetModel, "vae": AutoencoderKL}[kind]
config = json.load(open(config))
net = cls.from_config(config).eval().to(device, dtype).to(memory_format=torch.channels_last)
batch, side = shape[0], shape[2]
sample = torch.randn(shape, device=device, dtype=dtype).to(memory_format=torch.channels_last)
time = torch.full((batch,), 501, device=device)


def call(net):
    if kind == "vae":
        return net.decode(sample).sample
    text = torch.randn(batch, 77, net.config.cross_attention_dim, device=device, dtype=dtype)
    extra = {}
    if net.config.addition_embed_type == "text_time":
        pooled = net.config.projection_class_embeddings_input_dim - 6 * net.config.addition_time_embed_dim
        extra["added_cond_kwargs"] = {
            "text_embeds": torch.randn(batch, pooled, device=device, dtype=dtype),
            "time_ids": torch.full((batch, 6), 1024.0, device=device, dtype=dtype),
        }
    if kind == "controlnet":
        hint = torch.randn(batch, 3, 8 * side, 8 * side, device=device, dtype=dtype)
        return net(sample, time, text, hint, return_dict=False, **extra)
    return net(sample, time, text, return_dict=False, **extra)


def milliseconds(f):
    times = []
    for i in range(runs + 5):
        begin, end = torch.cuda.Event(enable_timing=True), torch.cuda.Event(enable_timing=True)
        begin.record()
        f()
        end.record()
        torch.cuda.synchronize()
        if i >= 5:
            times.append(begin.elapsed_time(end))
    return statistics.median(times)


with torch.inference_mode():
    eager = milliseconds(lambda: call(net))
    if kind == "vae":
        net.decoder = torch.compile(net.decoder, mode="max-autotune")
        compiled = net
    else:
        compiled = torch.compile(net, mode="max-autotune")
    print(json.dumps({"torch_eager_ms": eager, "torch_compile_ms": milliseconds(lambda: call(compiled))}))
