"""Stable Diffusion's modules in plain torch, for a machine without diffusers: the yardstick of bench/torch_gpu.py.

Parameters have diffusers' names, so that its weights can be loaded. What the configs of test/fixtures/configs use is
here, no more. References: arXiv:2112.10752, arXiv:2307.01952, arXiv:2302.05543.
"""
import math

import torch
from torch import nn
from torch.nn import functional as F


class Resnet(nn.Module):
    def __init__(self, cin, cout, temb=None, groups=32, eps=1e-5):
        super().__init__()
        self.norm1 = nn.GroupNorm(groups, cin, eps)
        self.conv1 = nn.Conv2d(cin, cout, 3, padding=1)
        self.time_emb_proj = nn.Linear(temb, cout) if temb else None
        self.norm2 = nn.GroupNorm(groups, cout, eps)
        self.conv2 = nn.Conv2d(cout, cout, 3, padding=1)
        self.conv_shortcut = nn.Conv2d(cin, cout, 1) if cin != cout else None

    def forward(self, x, temb=None):
        h = self.conv1(F.silu(self.norm1(x)))
        if self.time_emb_proj is not None:
            h = h + self.time_emb_proj(F.silu(temb))[:, :, None, None]
        h = self.conv2(F.silu(self.norm2(h)))
        return h + (x if self.conv_shortcut is None else self.conv_shortcut(x))


class Attention(nn.Module):
    """[B, T, C], with the context's S tokens or its own."""

    def __init__(self, c, heads, context=None, bias=False, norm=None):
        super().__init__()
        self.heads = heads
        self.group_norm = norm
        self.to_q = nn.Linear(c, c, bias)
        self.to_k, self.to_v = (nn.Linear(context or c, c, bias) for _ in range(2))
        self.to_out = nn.ModuleList([nn.Linear(c, c)])

    def forward(self, x, context=None):
        context = x if context is None else context
        split = lambda t: t.unflatten(-1, (self.heads, -1)).transpose(1, 2)
        q, k, v = split(self.to_q(x)), split(self.to_k(context)), split(self.to_v(context))
        return self.to_out[0](F.scaled_dot_product_attention(q, k, v).transpose(1, 2).flatten(2))


class GEGLU(nn.Module):
    def __init__(self, c, inner):
        super().__init__()
        self.proj = nn.Linear(c, 2 * inner)

    def forward(self, x):
        x, gate = self.proj(x).chunk(2, -1)
        return x * F.gelu(gate)


class FeedForward(nn.Module):
    def __init__(self, c):
        super().__init__()
        self.net = nn.ModuleList([GEGLU(c, 4 * c), nn.Identity(), nn.Linear(4 * c, c)])

    def forward(self, x):
        return self.net[2](self.net[0](x))


class Block(nn.Module):
    def __init__(self, c, heads, context):
        super().__init__()
        self.norm1, self.norm2, self.norm3 = (nn.LayerNorm(c) for _ in range(3))
        self.attn1 = Attention(c, heads)
        self.attn2 = Attention(c, heads, context)
        self.ff = FeedForward(c)

    def forward(self, x, context):
        x = x + self.attn1(self.norm1(x))
        x = x + self.attn2(self.norm2(x), context)
        return x + self.ff(self.norm3(x))


class Transformer(nn.Module):
    def __init__(self, c, heads, depth, context, linear, groups):
        super().__init__()
        self.linear = linear
        self.norm = nn.GroupNorm(groups, c, 1e-6)
        make = (lambda: nn.Linear(c, c)) if linear else (lambda: nn.Conv2d(c, c, 1))
        self.proj_in, self.proj_out = make(), make()
        self.transformer_blocks = nn.ModuleList([Block(c, heads, context) for _ in range(depth)])

    def forward(self, x, context):
        tokens = lambda t: t.permute(0, 2, 3, 1).flatten(1, 2)
        pixels = lambda t: t.unflatten(1, x.shape[2:]).permute(0, 3, 1, 2)
        h = self.norm(x)
        h = self.proj_in(tokens(h)) if self.linear else tokens(self.proj_in(h))
        for block in self.transformer_blocks:
            h = block(h, context)
        return x + (pixels(self.proj_out(h)) if self.linear else self.proj_out(pixels(h)))


class Resample(nn.Module):
    def __init__(self, c, down):
        super().__init__()
        self.down = down
        self.conv = nn.Conv2d(c, c, 3, stride=2 if down else 1, padding=1)

    def forward(self, x):
        return self.conv(x if self.down else F.interpolate(x, scale_factor=2.0, mode="nearest"))


class Stage(nn.Module):
    """Resnets, each perhaps with a transformer after it, then perhaps a change of size."""

    def __init__(self, channels, temb, groups, eps, transformer=None, down=None):
        super().__init__()
        self.resnets = nn.ModuleList([Resnet(i, o, temb, groups, eps) for i, o in channels])
        self.attentions = nn.ModuleList([transformer() for _ in channels] if transformer else [])
        last = channels[-1][1]
        if down is not None:
            setattr(self, "downsamplers" if down else "upsamplers", nn.ModuleList([Resample(last, down)]))
        self.resampled = down

    def resample(self, x):
        return (self.downsamplers if self.resampled else self.upsamplers)[0](x)


class Mid(nn.Module):
    def __init__(self, c, temb, groups, eps, attention):
        super().__init__()
        self.resnets = nn.ModuleList([Resnet(c, c, temb, groups, eps) for _ in range(2)])
        self.attentions = nn.ModuleList([attention])


class TimeEmbedding(nn.Module):
    def __init__(self, cin, c):
        super().__init__()
        self.linear_1, self.linear_2 = nn.Linear(cin, c), nn.Linear(c, c)

    def forward(self, x):
        return self.linear_2(F.silu(self.linear_1(x)))


def sinusoids(t, dim):
    """Cosines first, as flip_sin_to_cos has it."""
    frequencies = torch.exp(-math.log(10000) * torch.arange(dim // 2, device=t.device) / (dim // 2))
    phases = t.float()[:, None] * frequencies
    return torch.cat([phases.cos(), phases.sin()], -1)


class Encoder(nn.Module):
    """What a U-Net and its ControlNet share: time, the way down and the middle."""

    def __init__(self, c):
        super().__init__()
        chs = c["block_out_channels"]
        n, per = len(chs), c.get("layers_per_block", 2)
        every = lambda v: v if isinstance(v, list) else [v] * n
        self.heads = every(c["attention_head_dim"])
        self.depth = every(c.get("transformer_layers_per_block", 1))
        self.context, self.linear = c["cross_attention_dim"], c.get("use_linear_projection", False)
        self.groups, self.eps, self.temb = c["norm_num_groups"], c["norm_eps"], 4 * chs[0]
        self.conv_in = nn.Conv2d(c["in_channels"], chs[0], 3, padding=1)
        self.time_embedding = TimeEmbedding(chs[0], self.temb)
        self.time_dim, self.added_dim = chs[0], None
        if c.get("addition_embed_type") == "text_time":
            self.added_dim = c["addition_time_embed_dim"]
            self.add_embedding = TimeEmbedding(c["projection_class_embeddings_input_dim"], self.temb)
        self.down_blocks = nn.ModuleList()
        cin = chs[0]
        for i, (kind, ch) in enumerate(zip(c["down_block_types"], chs)):
            channels = [(cin if j == 0 else ch, ch) for j in range(per)]
            transformer = self.transformer(ch, i) if "Attn" in kind else None
            self.down_blocks.append(self.stage(channels, transformer, True if i < n - 1 else None))
            cin = ch
        self.mid_block = Mid(cin, self.temb, self.groups, self.eps, self.transformer(cin, n - 1)())

    def transformer(self, ch, level):
        heads, depth = self.heads[level], self.depth[level]
        return lambda: Transformer(ch, heads, depth, self.context, self.linear, self.groups)

    def stage(self, channels, transformer, down):
        return Stage(channels, self.temb, self.groups, self.eps, transformer, down)

    def time(self, t, like, added):
        temb = self.time_embedding(sinusoids(t, self.time_dim).to(like))
        if self.added_dim:
            ids = added["time_ids"]
            features = sinusoids(ids.flatten(), self.added_dim).reshape(len(ids), -1).to(like)
            temb = temb + self.add_embedding(torch.cat([added["text_embeds"], features], -1))
        return temb

    def encode(self, x, temb, context):
        skips = [x]
        for stage in self.down_blocks:
            for j, resnet in enumerate(stage.resnets):
                x = resnet(x, temb)
                if len(stage.attentions):
                    x = stage.attentions[j](x, context)
                skips.append(x)
            if stage.resampled is not None:
                x = stage.resample(x)
                skips.append(x)
        mid = self.mid_block
        return mid.resnets[1](mid.attentions[0](mid.resnets[0](x, temb), context), temb), skips


class UNet(Encoder):
    def __init__(self, c):
        super().__init__(c)
        chs, per = c["block_out_channels"], c.get("layers_per_block", 2)
        n = len(chs)
        skips = [chs[0]]
        for i, ch in enumerate(chs):
            skips += [ch] * (per + (i < n - 1))
        self.up_blocks = nn.ModuleList()
        x = chs[-1]
        for i, kind in enumerate(c["up_block_types"]):
            ch, channels = chs[n - 1 - i], []
            for _ in range(per + 1):
                channels.append((x + skips.pop(), ch))
                x = ch
            transformer = self.transformer(ch, n - 1 - i) if "Attn" in kind else None
            self.up_blocks.append(self.stage(channels, transformer, False if i < n - 1 else None))
        self.conv_norm_out = nn.GroupNorm(self.groups, chs[0], self.eps)
        self.conv_out = nn.Conv2d(chs[0], c["out_channels"], 3, padding=1)

    def forward(self, sample, t, context, added=None):
        temb = self.time(t, sample, added)
        x, skips = self.encode(self.conv_in(sample), temb, context)
        for stage in self.up_blocks:
            for j, resnet in enumerate(stage.resnets):
                x = resnet(torch.cat([x, skips.pop()], 1), temb)
                if len(stage.attentions):
                    x = stage.attentions[j](x, context)
            if stage.resampled is not None:
                x = stage.resample(x)
        return self.conv_out(F.silu(self.conv_norm_out(x)))


class HintEmbedding(nn.Module):
    def __init__(self, channels, out):
        super().__init__()
        self.conv_in = nn.Conv2d(3, channels[0], 3, padding=1)
        self.blocks = nn.ModuleList()
        for a, b in zip(channels, channels[1:]):
            self.blocks.append(nn.Conv2d(a, a, 3, padding=1))
            self.blocks.append(nn.Conv2d(a, b, 3, padding=1, stride=2))
        self.conv_out = nn.Conv2d(channels[-1], out, 3, padding=1)

    def forward(self, hint):
        x = F.silu(self.conv_in(hint))
        for block in self.blocks:
            x = F.silu(block(x))
        return self.conv_out(x)


class ControlNet(Encoder):
    def __init__(self, c):
        super().__init__(c)
        chs, per = c["block_out_channels"], c.get("layers_per_block", 2)
        self.controlnet_cond_embedding = HintEmbedding(c["conditioning_embedding_out_channels"], chs[0])
        skips = [chs[0]]
        for i, ch in enumerate(chs):
            skips += [ch] * (per + (i < len(chs) - 1))
        self.controlnet_down_blocks = nn.ModuleList([nn.Conv2d(ch, ch, 1) for ch in skips])
        self.controlnet_mid_block = nn.Conv2d(chs[-1], chs[-1], 1)

    def forward(self, sample, t, context, hint, added=None):
        temb = self.time(t, sample, added)
        x, skips = self.encode(self.conv_in(sample) + self.controlnet_cond_embedding(hint), temb, context)
        return [f(skip) for f, skip in zip(self.controlnet_down_blocks, skips)] + [self.controlnet_mid_block(x)]


class Decoder(nn.Module):
    def __init__(self, c):
        super().__init__()
        chs, groups = c["block_out_channels"][::-1], c["norm_num_groups"]
        self.conv_in = nn.Conv2d(c["latent_channels"], chs[0], 3, padding=1)
        norm = nn.GroupNorm(groups, chs[0], 1e-6)
        attention = Attention(chs[0], 1, bias=True, norm=norm)
        self.mid_block = Mid(chs[0], None, groups, 1e-6, attention)
        self.up_blocks = nn.ModuleList()
        x = chs[0]
        for i, ch in enumerate(chs):
            channels = [(x if j == 0 else ch, ch) for j in range(c["layers_per_block"] + 1)]
            self.up_blocks.append(Stage(channels, None, groups, 1e-6, None, False if i < len(chs) - 1 else None))
            x = ch
        self.conv_norm_out = nn.GroupNorm(groups, x, 1e-6)
        self.conv_out = nn.Conv2d(x, c["out_channels"], 3, padding=1)

    def forward(self, z):
        x = self.mid_block.resnets[0](self.conv_in(z))
        attention = self.mid_block.attentions[0]
        h = attention.group_norm(x).permute(0, 2, 3, 1).flatten(1, 2)
        x = x + attention(h).unflatten(1, x.shape[2:]).permute(0, 3, 1, 2)
        x = self.mid_block.resnets[1](x)
        for stage in self.up_blocks:
            for resnet in stage.resnets:
                x = resnet(x)
            if stage.resampled is not None:
                x = stage.resample(x)
        return self.conv_out(F.silu(self.conv_norm_out(x)))


class Vae(nn.Module):
    """latents → image: the decoder's half."""

    def __init__(self, c):
        super().__init__()
        self.post_quant_conv = nn.Conv2d(c["latent_channels"], c["latent_channels"], 1)
        self.decoder = Decoder(c)

    def forward(self, latents):
        return self.decoder(self.post_quant_conv(latents))


MODULES = {"unet": UNet, "controlnet": ControlNet, "vae": Vae}
