"""Zipformer (icefall's Zipformer2, not causal) for export, with SPEAR's state-dict names: what is only for training is left out.

Stacks run at fractions of the frame rate. `states` gives everything that SPEAR's own code may call a hidden state, by name; spear.py picks.
"""
import math

import torch
from torch import nn

QUERY, VALUE, POSITION = 32, 12, 4  # dimensions a head, the same in all published models


def swoosh(x, shift, offset):
    """log(1 + exp(x − shift)) − 0.08 x − offset."""
    y = x - shift
    return y.clamp_min(0) + torch.log1p(torch.exp(-y.abs())) - 0.08 * x - offset


def swoosh_left(x):
    return swoosh(x, 4.0, 0.035)


def swoosh_right(x):
    return swoosh(x, 1.0, 0.313261687)


class BiasNorm(nn.Module):
    def __init__(self, dim):
        super().__init__()
        self.log_scale, self.bias = nn.Parameter(torch.tensor(1.0)), nn.Parameter(torch.zeros(dim))

    def forward(self, x):
        return x * ((x - self.bias) ** 2).mean(-1, keepdim=True) ** -0.5 * self.log_scale.exp()


class Bypass(nn.Module):
    def __init__(self, dim):
        super().__init__()
        self.bypass_scale = nn.Parameter(torch.full((dim,), 0.5))

    def forward(self, before, x):
        return before + (x - before) * self.bypass_scale


class Weights(nn.Module):
    """Attention weights of all heads, used by three modules of a layer; positions are relative."""

    def __init__(self, dim, heads, pos_dim):
        super().__init__()
        self.heads = heads
        self.in_proj = nn.Linear(dim, heads * (2 * QUERY + POSITION))
        self.linear_pos = nn.Linear(pos_dim, heads * POSITION, bias=False)

    def forward(self, x, positions):
        b, t, _ = x.shape
        h = self.heads
        q, k, p = self.in_proj(x).split([h * QUERY, h * QUERY, h * POSITION], -1)
        head = lambda y, d: y.reshape(b, t, h, d).transpose(1, 2)
        scores = head(q, QUERY) @ head(k, QUERY).transpose(2, 3)
        r = self.linear_pos(positions).reshape(-1, h, POSITION).permute(1, 2, 0)  # [heads, 4, 2 t - 1]
        r = head(p, POSITION) @ r[None]
        # row i of r holds the positions from i - (t - 1) on; shift it so that column j holds j - i
        r = torch.cat([torch.zeros_like(r[..., :1]), r], -1).reshape(b, h, 2 * t, t)[:, :, 1:].reshape(b, h, t, 2 * t - 1)[..., :t]
        return torch.softmax(scores + r, -1)


class Attend(nn.Module):
    def __init__(self, dim, heads):
        super().__init__()
        self.heads, self.in_proj, self.out_proj = heads, nn.Linear(dim, heads * VALUE), nn.Linear(heads * VALUE, dim)

    def forward(self, x, weights):
        b, t, _ = x.shape
        v = self.in_proj(x).reshape(b, t, self.heads, VALUE).transpose(1, 2)
        return self.out_proj((weights @ v).transpose(1, 2).reshape(b, t, self.heads * VALUE))


class GatedMean(nn.Module):
    """The first head's weights over a gated projection, gated again."""

    def __init__(self, dim):
        super().__init__()
        self.in_proj, self.out_proj = nn.Linear(dim, 3 * (3 * dim // 4)), nn.Linear(3 * dim // 4, dim)

    def forward(self, x, weights):
        s, v, y = self.in_proj(x).chunk(3, -1)
        return self.out_proj((weights[:, 0] @ (v * torch.tanh(s))) * y)


class FeedForward(nn.Module):
    def __init__(self, dim, wide):
        super().__init__()
        self.in_proj, self.out_proj = nn.Linear(dim, wide), nn.Linear(wide, dim)

    def forward(self, x):
        return self.out_proj(swoosh_left(self.in_proj(x)))


class Convolution(nn.Module):
    def __init__(self, dim, kernel):
        super().__init__()
        self.in_proj, self.out_proj = nn.Linear(dim, 2 * dim), nn.Linear(dim, dim)
        self.depthwise_conv = nn.Conv1d(dim, dim, kernel, padding=kernel // 2, groups=dim)

    def forward(self, x):
        v, gate = self.in_proj(x).chunk(2, -1)
        v = self.depthwise_conv((v * torch.sigmoid(gate)).transpose(1, 2)).transpose(1, 2)
        return self.out_proj(swoosh_right(v))


class Layer(nn.Module):
    def __init__(self, dim, heads, wide, kernel, pos_dim):
        super().__init__()
        self.bypass, self.bypass_mid, self.norm = Bypass(dim), Bypass(dim), BiasNorm(dim)
        self.self_attn_weights = Weights(dim, heads, pos_dim)
        self.self_attn1, self.self_attn2, self.nonlin_attention = Attend(dim, heads), Attend(dim, heads), GatedMean(dim)
        self.feed_forward1, self.feed_forward2, self.feed_forward3 = (FeedForward(dim, wide * n // 4) for n in (3, 4, 5))
        self.conv_module1, self.conv_module2 = Convolution(dim, kernel), Convolution(dim, kernel)

    def forward(self, before, positions):
        w = self.self_attn_weights(before, positions)
        x = before + self.feed_forward1(before)
        x = x + self.nonlin_attention(x, w)
        x = x + self.self_attn1(x, w)
        x = x + self.conv_module1(x)
        x = x + self.feed_forward2(x)
        x = self.bypass_mid(before, x)
        x = x + self.self_attn2(x, w)
        x = x + self.conv_module2(x)
        x = x + self.feed_forward3(x)
        return self.bypass(before, self.norm(x))


def positions(t, dim, device):
    """Relative positions −(t − 1) … t − 1 as Fourier features of their arc tangent, far ones compressed: [2 t − 1, dim]."""
    x = torch.arange(2 * t - 1, device=device).float() - (t - 1)
    root = dim**0.5
    x = root * torch.sign(x) * (torch.log(x.abs() + root) - math.log(root))
    angle = torch.atan(x / (dim / (2 * math.pi)))[:, None] * torch.arange(1, dim // 2 + 1, device=device)
    p = torch.stack([torch.cos(angle), torch.sin(angle)], -1).flatten(1)
    return torch.cat([p[:, :-1], torch.ones_like(p[:, :1])], -1)


class Downsample(nn.Module):
    """Weighted mean of so many frames; the last frame is repeated where they do not divide the length."""

    def __init__(self, factor):
        super().__init__()
        self.factor, self.bias = factor, nn.Parameter(torch.zeros(factor))

    def forward(self, x):
        n = self.factor
        x = torch.cat([x, x[:, -1:].expand(-1, n - 1, -1)], 1)
        t = x.shape[1] // n
        return (x[:, : t * n].reshape(x.shape[0], t, n, x.shape[2]) * torch.softmax(self.bias, 0)[:, None]).sum(2)


class Encoder(nn.Module):
    def __init__(self, layers):
        super().__init__()
        self.layers = nn.ModuleList(layers)


class Stack(nn.Module):
    """Layers at a fraction of the frame rate. factor 1: `layers` alone, as the state dict has them."""

    def __init__(self, dim, factor, count, pos_dim, **layer):
        super().__init__()
        layers = [Layer(dim, pos_dim=pos_dim, **layer) for _ in range(count)]
        self.factor, self.pos_dim = factor, pos_dim
        if factor == 1:
            self.layers = nn.ModuleList(layers)
        else:
            self.downsample, self.encoder, self.out_combiner = Downsample(factor), Encoder(layers), Bypass(dim)

    def forward(self, x):
        """(output of each layer at the full rate, the same combined with the stack's input); the last of the second is the stack's output."""
        before, raw, combined = x, [], []
        if self.factor > 1:
            x = self.downsample(x)
        p = positions(x.shape[1], self.pos_dim, x.device)
        for layer in self.layers if self.factor == 1 else self.encoder.layers:
            x = layer(x, p)
            y = x
            if self.factor > 1:
                b, t, d = x.shape
                y = x[:, :, None].expand(b, t, self.factor, d).reshape(b, t * self.factor, d)[:, : before.shape[1]]
            raw.append(y)
            combined.append(self.out_combiner(before, y) if self.factor > 1 else y)
        return raw, combined


class Embed(nn.Module):
    """fbank [B, T, mels] -> [B, (T − 7) / 2, dim]."""

    def __init__(self, mels, dim):
        super().__init__()
        self.conv = nn.ModuleDict({"0": nn.Conv2d(1, 8, 3, padding=(0, 1)), "4": nn.Conv2d(8, 32, 3, stride=2), "7": nn.Conv2d(32, 128, 3, stride=(1, 2))})
        self.convnext = nn.ModuleDict({"depthwise_conv": nn.Conv2d(128, 128, 7, padding=3, groups=128), "pointwise_conv1": nn.Conv2d(128, 384, 1),
                                       "pointwise_conv2": nn.Conv2d(384, 128, 1)})
        self.out = nn.Linear(128 * (((mels - 1) // 2 - 1) // 2), dim)
        self.out_norm = BiasNorm(dim)

    def forward(self, fbank):
        x = fbank[:, None]
        for c in self.conv.values():
            x = swoosh_right(c(x))
        y = self.convnext["pointwise_conv1"](self.convnext["depthwise_conv"](x))
        x = x + self.convnext["pointwise_conv2"](swoosh_left(y))
        return self.out_norm(self.out(x.transpose(1, 2).flatten(2)))


class Zipformer(nn.Module):
    def __init__(self, mels, pos_dim, downsampling, layers, dims, wides, kernels, heads):
        super().__init__()
        self.dims = dims
        self.encoder_embed = Embed(mels, dims[0])
        stacks = zip(dims, downsampling, layers, heads, wides, kernels)
        self.encoder = nn.ModuleDict({"encoders": nn.ModuleList(Stack(d, f, n, pos_dim, heads=h, wide=w, kernel=k) for d, f, n, h, w, k in stacks)})

    def states(self, fbank):
        """{name: [B, frames, dim]}: what enters, each layer (raw and combined with its stack's input), each stack, the output."""
        x = self.encoder_embed(fbank)
        out, ends, have = {"embed": x}, [], self.dims[0]
        for i, (d, stack) in enumerate(zip(self.dims, self.encoder["encoders"])):
            x = x[..., :d] if d <= have else torch.cat([x, torch.zeros_like(x[..., :1]).expand(-1, -1, d - have)], -1)
            have = d
            raw, combined = stack(x)
            out |= {f"layer {i}.{j} combined": y for j, y in enumerate(combined)} | {f"layer {i}.{j}": y for j, y in enumerate(raw)}
            x = combined[-1]
            ends.append(x)
        pieces = [ends[-1]]  # a dimension that the last stack lacks comes from the last stack that has it
        for d, y in reversed(list(zip(self.dims, ends))):
            if d > have:
                pieces.append(y[..., have:])
                have = d
        return out | {"output": torch.cat(pieces, -1)}
