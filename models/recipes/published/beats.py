"""BEATs' network for export: patches of a Kaldi log-mel, a post-norm transformer with gated relative positions; state-dict names as published.

The published code subtracts the scores' maximum and scales by 32 on both sides against overflow in half precision; softmax does not see that, so
it is left out here. Weight norm of the position convolution is applied when the weights are read.
"""
import math

import torch
import torch.nn.functional as F
from torch import nn

FRONT = {"kind": "kaldi_fbank", "sample_rate": 16000, "mels": 128, "low_hz": 20.0, "high_hz": 8000.0, "scale": 32768.0, "mean": 15.41663,
         "deviation": 13.11164, "stride": 16, "tokens": 8}
DEFAULTS = {"input_patch_size": 16, "embed_dim": 512, "conv_bias": False, "encoder_layers": 12, "encoder_embed_dim": 768, "encoder_ffn_embed_dim": 3072,
            "encoder_attention_heads": 12, "activation_fn": "gelu", "layer_norm_first": False, "deep_norm": False, "conv_pos": 128, "conv_pos_groups": 16,
            "relative_position_embedding": False, "num_buckets": 320, "max_distance": 1280, "gru_rel_pos": False, "finetuned_model": False,
            "predictor_class": 527}


def buckets(n, count, farthest, device):
    """Bucket of each relative position key − query, [n, n]: half of them for each sign, exact near by, logarithmic up to the farthest."""
    at = torch.arange(n, device=device)
    d = at[None] - at[:, None]
    half = count // 2
    exact = half // 2
    a = d.abs()
    far = exact + (torch.log(a.clamp_min(1).float() / exact) / math.log(farthest / exact) * (half - exact)).to(torch.long)
    return (d > 0).to(torch.long) * half + torch.where(a < exact, a, far.clamp_max(half - 1))


class Attention(nn.Module):
    def __init__(self, c):
        super().__init__()
        dim, self.heads = c["encoder_embed_dim"], c["encoder_attention_heads"]
        self.q_proj, self.k_proj, self.v_proj, self.out_proj = (nn.Linear(dim, dim) for _ in range(4))
        self.gated = c["gru_rel_pos"]
        if c["relative_position_embedding"]:
            self.relative_attention_bias = nn.Embedding(c["num_buckets"], self.heads)
        if self.gated:
            self.grep_linear = nn.Linear(dim // self.heads, 8)
            self.grep_a = nn.Parameter(torch.ones(1, self.heads, 1, 1))

    def forward(self, x, bias):
        b, t, d = x.shape
        split = lambda y: y.reshape(b, t, self.heads, d // self.heads).transpose(1, 2)
        q, k, v = split(self.q_proj(x)), split(self.k_proj(x)), split(self.v_proj(x))
        scores = (q * (d // self.heads) ** -0.5) @ k.transpose(2, 3)
        if bias is not None:
            if self.gated:
                update, reset = torch.sigmoid(self.grep_linear(q).reshape(b, self.heads, t, 2, 4).sum(-1)).chunk(2, -1)
                bias = (update * (reset * self.grep_a - 1.0) + 2.0) * bias
            scores = scores + bias
        return self.out_proj((torch.softmax(scores, -1) @ v).transpose(1, 2).reshape(b, t, d))


class Layer(nn.Module):
    def __init__(self, c):
        super().__init__()
        dim, wide = c["encoder_embed_dim"], c["encoder_ffn_embed_dim"]
        self.self_attn, self.self_attn_layer_norm = Attention(c), nn.LayerNorm(dim)
        self.fc1, self.fc2, self.final_layer_norm = nn.Linear(dim, wide), nn.Linear(wide, dim), nn.LayerNorm(dim)
        self.alpha = (2.0 * c["encoder_layers"]) ** 0.25 if c["deep_norm"] else 1.0
        self.before = c["layer_norm_first"]

    def forward(self, x, bias):
        wide = lambda y: self.fc2(F.gelu(self.fc1(y)))
        if self.before:
            x = x + self.self_attn(self.self_attn_layer_norm(x), bias)
            return x + wide(self.final_layer_norm(x))
        x = self.self_attn_layer_norm(self.alpha * x + self.self_attn(x, bias))
        return self.final_layer_norm(self.alpha * x + wide(x))


class Transformer(nn.Module):
    def __init__(self, c):
        super().__init__()
        dim, self.even, self.before = c["encoder_embed_dim"], c["conv_pos"] % 2 == 0, c["layer_norm_first"]
        self.pos_conv = nn.Sequential(nn.Conv1d(dim, dim, c["conv_pos"], padding=c["conv_pos"] // 2, groups=c["conv_pos_groups"]))
        self.layers = nn.ModuleList(Layer(c) for _ in range(c["encoder_layers"]))
        self.layer_norm = nn.LayerNorm(dim)
        self.buckets = (c["num_buckets"], c["max_distance"]) if c["relative_position_embedding"] else None
        for layer in self.layers if self.buckets else ():  # one table for all, under each layer's name
            layer.self_attn.relative_attention_bias = self.layers[0].self_attn.relative_attention_bias

    def forward(self, x):
        p = self.pos_conv(x.transpose(1, 2))
        x = x + F.gelu(p[:, :, :-1] if self.even else p).transpose(1, 2)
        if not self.before:
            x = self.layer_norm(x)
        states, bias = [x], None
        if self.buckets:
            bias = self.layers[0].self_attn.relative_attention_bias(buckets(x.shape[1], *self.buckets, x.device)).permute(2, 0, 1)[None]
        for layer in self.layers:
            states.append(layer(states[-1], bias))
        return torch.stack(states, 1)


class Beats(nn.Module):
    """fbank [B, T, 128], normalised -> hidden [B, layers, T/16 · 8, dim]; the eight frequencies of a time step follow each other."""

    def __init__(self, c):
        super().__init__()
        size, dim, wide = c["input_patch_size"], c["embed_dim"], c["encoder_embed_dim"]
        self.patch_embedding = nn.Conv2d(1, dim, size, size, bias=c["conv_bias"])
        self.layer_norm = nn.LayerNorm(dim)
        self.post_extract_proj = nn.Linear(dim, wide) if dim != wide else nn.Identity()
        self.encoder = Transformer(c)

    def forward(self, fbank):
        x = self.patch_embedding(fbank[:, None]).flatten(2).transpose(1, 2)
        return self.encoder(self.post_extract_proj(self.layer_norm(x)))


class Tags(nn.Module):
    """hidden -> probability of each class: the mean over the last state, as the published fine-tuned models judge."""

    def __init__(self, dim, classes):
        super().__init__()
        self.predictor = nn.Linear(dim, classes)

    def forward(self, hidden):
        return torch.sigmoid(self.predictor(hidden[:, -1].mean(1)))


def plain(weights):
    """The state dict with weight norm (over all but the kernel's axis) multiplied out."""
    w = dict(weights)
    for g, v in (("weight_g", "weight_v"), ("parametrizations.weight.original0", "parametrizations.weight.original1")):
        if f"encoder.pos_conv.0.{g}" in w:
            gain, direction = w.pop(f"encoder.pos_conv.0.{g}"), w.pop(f"encoder.pos_conv.0.{v}")
            w["encoder.pos_conv.0.weight"] = gain * direction / direction.norm(dim=(0, 1), keepdim=True)
    return w


def load(c, weights):
    """(encoder, head or None) with these weights; KeyError text says what does not fit."""
    c = {**DEFAULTS, **c}
    w = {k: v.float() for k, v in plain(weights).items()}
    tags = None
    if c["finetuned_model"]:
        tags = Tags(c["encoder_embed_dim"], c["predictor_class"])
        tags.load_state_dict({k: w.pop(k) for k in ("predictor.weight", "predictor.bias")})
    net = Beats(c)
    net.load_state_dict(w)
    return net.eval(), tags
