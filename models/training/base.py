"""
The base: a text encoder in CLIP's form with its own vocabulary, and the U-Net, together (arXiv:2112.10752):
v-prediction, losses weighed by min(SNR, 5) (arXiv:2303.09556), 10 % of captions empty.
    python base.py [--words] [--start FOLDER] [--smoke]   →  out/base: --words trains on the pictures of words.json alone
"""
import copy
import json
import re

import torch
from diffusers import AutoencoderKL, DDIMScheduler, StableDiffusionPipeline, UNet2DConditionModel
from tokenizers import Regex, Tokenizer, models, pre_tokenizers, trainers
from torch import nn
from transformers import CLIPTextConfig, CLIPTextModel, CLIPTokenizer

from common import OUT, Pictures, Run, Schedule, arguments, grid

VOCABULARY = 4096
WORD = r"'s|'t|'re|'ve|'m|'ll|'d|[\p{L}]+|[\p{N}]|[^\s\p{L}\p{N}]+"  # CLIP's
ONE_WAY = {"symbols", "flags"}  # groups never mirrored; nor what the next finds in a label
SIDED = re.compile(r"left|right|clock|arrow|button|abc|ok|time|letter")


def tokenizer(pictures, folder):
    """Learns a byte-pair vocabulary from labels and tags, and writes it as CLIP's are: vocab.json, merges.txt."""
    bytes_first = pre_tokenizers.ByteLevel.alphabet()
    learner = Tokenizer(models.BPE(end_of_word_suffix="</w>"))
    split = pre_tokenizers.Split(Regex(WORD), behavior="removed", invert=True)
    learner.pre_tokenizer = pre_tokenizers.Sequence([split, pre_tokenizers.ByteLevel(add_prefix_space=False)])
    trainer = trainers.BpeTrainer(
        **dict(vocab_size=VOCABULARY - 2, initial_alphabet=bytes_first, end_of_word_suffix="</w>", show_progress=False)
    )
    texts = [a["label"].lower() for a in pictures.about for _ in range(3)]
    learner.train_from_iterator(texts + [" ".join(a["tags"]).lower() for a in pictures.about], trainer)
    merges = [tuple(m) for m in json.loads(learner.to_str())["model"]["merges"]][: VOCABULARY - 514]
    tokens = [*sorted(bytes_first), *(each + "</w>" for each in sorted(bytes_first)), *("".join(m) for m in merges)]
    tokens = list(dict.fromkeys(tokens))
    tokens += [f"<|unused{i}|>" for i in range(VOCABULARY - 2 - len(tokens))]
    tokens += ["<|startoftext|>", "<|endoftext|>"]
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "vocab.json").write_text(json.dumps({t: i for i, t in enumerate(tokens)}, ensure_ascii=False))
    (folder / "merges.txt").write_text("#version: 0.2\n" + "".join(f"{a} {b}\n" for a, b in merges))
    return CLIPTokenizer(str(folder / "vocab.json"), str(folder / "merges.txt"), model_max_length=77)


def create():
    unet = UNet2DConditionModel(
        **dict(sample_size=16, in_channels=4, out_channels=4, layers_per_block=1, block_out_channels=(64, 96, 128)),
        **dict(down_block_types=("CrossAttnDownBlock2D",) * 3, up_block_types=("CrossAttnUpBlock2D",) * 3),
        **dict(attention_head_dim=(2, 3, 4), cross_attention_dim=192, norm_num_groups=32),
    )
    text = CLIPTextConfig(
        **dict(vocab_size=VOCABULARY, hidden_size=192, intermediate_size=768, projection_dim=192),
        **dict(num_hidden_layers=3, num_attention_heads=3, max_position_embeddings=77, hidden_act="quick_gelu"),
        **dict(bos_token_id=VOCABULARY - 2, eos_token_id=VOCABULARY - 1, pad_token_id=VOCABULARY - 1),
    )
    return nn.ModuleDict({"unet": unet, "text_encoder": CLIPTextModel(text)})


def caption(about, rng):
    label, chance = about["label"], rng.random()
    tags = [tag for tag in about["tags"] if tag not in label]
    if chance < 0.1:
        return ""
    if chance < 0.8 or not tags:
        return label if chance < 0.7 else f"emoji of {label}"
    return ", ".join([label, *rng.choice(tags, min(2, len(tags)), replace=False)])


def main():
    args = arguments(__doc__, steps=20000, batch=32, rate=8e-4, words=False, start="")
    out = OUT / ("smoke" if args.smoke else "")
    pictures, schedule = Pictures(), Schedule()
    flat = [i for i in pictures.train if pictures.about[i]["set"] == "fluent-emoji-flat" and not pictures.about[i]["tone"]]
    source = pictures.words if args.words else flat[:32] if args.smoke else flat
    vae = AutoencoderKL.from_pretrained(out / "autoencoder" / "vae", torch_dtype=torch.float32).eval()
    x = pictures.on_white(source)
    with torch.no_grad():
        latents = [torch.cat([vae.encode(part).latent_dist.mean for part in y.split(64)]) for y in (x, x.flip(3))]
    latents = torch.stack(latents)
    told = [pictures.about[i] for i in source]
    mirrored = torch.tensor([a["group"] not in ONE_WAY and not SIDED.search(a["label"]) for a in told])
    torch.manual_seed(args.seed)
    model = create().train()
    tokens = tokenizer(pictures, out / "base" / "tokenizer")
    if args.start:
        tokens = CLIPTokenizer.from_pretrained(f"{args.start}/tokenizer")
        model["unet"] = UNet2DConditionModel.from_pretrained(f"{args.start}/unet", torch_dtype=torch.float32).train()
        model["text_encoder"] = CLIPTextModel.from_pretrained(f"{args.start}/text_encoder", dtype=torch.float32).train()
    optimizer = torch.optim.AdamW(model.parameters(), args.rate, betas=(0.9, 0.99), weight_decay=1e-3)
    run = Run("base", args, model, [optimizer])
    snr = schedule.alphas_cumprod / (1 - schedule.alphas_cumprod)

    def pipeline(model):
        scheduler = DDIMScheduler(
            **dict(beta_start=0.00085, beta_end=0.012, beta_schedule="scaled_linear", prediction_type="v_prediction"),
            **dict(timestep_spacing="trailing", clip_sample=False, set_alpha_to_one=False, steps_offset=1),
        )
        parts = dict(vae=vae, text_encoder=model["text_encoder"], tokenizer=tokens, unet=model["unet"], scheduler=scheduler)
        return StableDiffusionPipeline(**parts, safety_checker=None, feature_extractor=None, requires_safety_checker=False)

    def show():
        pipe = pipeline(run.averaged(copy.deepcopy(model)))
        pipe.set_progress_bar_config(disable=True)
        prompts = [each["label"] for each in told[:: max(1, len(told) // 24)][:24]]
        seeds = [torch.Generator().manual_seed(i) for i in range(len(prompts))]
        size = dict(width=64, height=64, num_inference_steps=2 if args.smoke else 20, guidance_scale=3)
        made = pipe(prompts, generator=seeds, output_type="pt", **size).images
        grid(made * 2 - 1, run.folder / f"samples-{run.step}.png")

    for step in run:
        index = torch.from_numpy(run.rng.integers(len(source), size=args.batch))
        flip = (torch.rand(args.batch) < 0.3) & mirrored[index]
        x0 = latents[flip.long(), index]
        captions = [caption(told[i], run.rng) for i in index]
        ids = tokens(captions, padding="max_length", max_length=77, truncation=True, return_tensors="pt").input_ids
        text = model["text_encoder"](ids).last_hidden_state
        t, noise = torch.randint(0, 1000, (args.batch,)), torch.randn_like(x0)
        v = model["unet"](schedule.add_noise(x0, noise, t), t, text).sample
        each = (v - schedule.velocity(x0, noise, t)).square().mean((1, 2, 3))
        weight = snr[t].clamp(max=5) / (snr[t] + 1)
        loss = (each * weight).sum() / weight.sum()
        optimizer.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        run.log(loss=each.mean())
        if (step + 1) % 2000 == 0:
            show()
    show()
    pipeline(run.averaged(model)).to(torch.float16).save_pretrained(run.folder)


if __name__ == "__main__":
    main()
