#!/usr/bin/env python3
"""Time torch over one module with random weights: the yardstick of `npm run bench:gpu`.

usage: torch_gpu.py unet|controlnet|vae CONFIG.json SAMPLE_SHAPE f16|bf16|f32 RUNS cuda:0 eager|reduce-overhead|max-autotune

Needs torch alone: the modules are torch_modules.py's. channels_last, torch's own scaled_dot_product_attention; as it is,
or through torch.compile in one of its modes. Inputs lie on the device; times are the device's. Prints {"ms": median}.
"""
import json
import statistics
import sys
import time

import torch
from torch_modules import MODULES

kind, config, shape, dtype, runs, device, mode = sys.argv[1:]
shape, runs = [int(n) for n in shape.split(",")], int(runs)
dtype = {"f16": torch.float16, "bf16": torch.bfloat16, "f32": torch.float32}[dtype]
torch.manual_seed(0)
config = json.load(open(config))
with torch.device(device):
    net = MODULES[kind](config).eval().to(dtype).to(memory_format=torch.channels_last)
    batch, side = shape[0], shape[2]
    inputs = [torch.randn(shape).to(dtype).to(memory_format=torch.channels_last)]
    if kind != "vae":
        inputs.append(torch.full((batch,), 501))
        inputs.append(torch.randn(batch, 77, config["cross_attention_dim"]).to(dtype))
    if kind == "controlnet":
        hint = torch.randn(batch, 3, 8 * side, 8 * side).to(dtype)
        inputs.append(hint.to(memory_format=torch.channels_last))
    if config.get("addition_embed_type") == "text_time":
        pooled = config["projection_class_embeddings_input_dim"] - 6 * config["addition_time_embed_dim"]
        inputs.append(
            {"text_embeds": torch.randn(batch, pooled).to(dtype), "time_ids": torch.full((batch, 6), 1024.0).to(dtype)}
        )


def milliseconds(f):
    if device == "cpu":
        begin = time.perf_counter()
        f()
        return (time.perf_counter() - begin) * 1000
    begin, end = torch.cuda.Event(enable_timing=True), torch.cuda.Event(enable_timing=True)
    begin.record()
    f()
    end.record()
    torch.cuda.synchronize()
    return begin.elapsed_time(end)


with torch.inference_mode():
    run = net if mode == "eager" else torch.compile(net, mode=mode)
    times = [milliseconds(lambda: run(*inputs)) for _ in range(runs + 5)]
print(json.dumps({"ms": statistics.median(times[5:])}))
