"""The four networks of the default pack: Encoder, Speaker (L-TDNN), Spoof (spectral + SSL fusion) and Vad.

Everything that the daemon must not have to know (normalisation of the fbank, L2 norm, sigmoid) is inside the graph.
Convolutions have explicit symmetric padding, so that the export needs no auto_pad.
"""
import copy

import torch
import torch.nn.functional as F
from torch import nn

from . import features as ref

RATES = (1, 1, 2, 2, 4, 4, 4, 2, 2)  # of the encoder's layers: 50, 25 and 12.5 frames a second
LAYERS, DIM = len(RATES), 256
GROUP = max(RATES)  # frames of 50 Hz that the slowest layer takes together
TAIL = 8  # frames that a layer's convolution looks back on
LEFT = 28  # frames that a stream's next ones look back on, beside their own: 16, 28 and 52 verified voices alike on dev


class FbankNorm(nn.Module):
    """Makes log-mel independent of gain, then applies the global mean and deviation of each mel band.

    The level is the log of the mean energy of the window; what is 14 nepers (61 dB) below it is clamped, so that digital silence, the
    coder's noise floor and padding look alike.
    """

    FLOOR = -14.0

    def __init__(self, mels=80):
        super().__init__()
        self.register_buffer("mean", torch.zeros(mels))
        self.register_buffer("std", torch.ones(mels))

    def level(self, x):
        return x - torch.log(torch.exp(x).mean((1, 2), keepdim=True))

    def forward(self, x):
        return (self.level(x).clamp_min(self.FLOOR) - self.mean) / self.std

    @torch.no_grad()
    def fit(self, x):
        y = self.level(x).clamp_min(self.FLOOR).flatten(0, 1)
        self.mean.copy_(y.mean(0))
        self.std.copy_(y.std(0))


class Attention(nn.Module):
    def __init__(self, dim, heads):
        super().__init__()
        self.heads, self.q, self.kv, self.out = heads, nn.Linear(dim, dim), nn.Linear(dim, 2 * dim), nn.Linear(dim, dim)

    def forward(self, x, s, mask=None):
        b, t, d = x.shape
        q = self.q(x).reshape(b, t, self.heads, d // self.heads).transpose(1, 2)
        k, v = self.kv(s).reshape(b, s.shape[1], 2, self.heads, d // self.heads).permute(2, 0, 3, 1, 4).unbind(0)
        # written out: PyTorch's fused CPU attention is several times slower backwards in bfloat16
        a = (q * (d // self.heads) ** -0.5) @ k.transpose(2, 3)
        if mask is not None:
            a = a + mask.to(a.dtype)
        a = torch.softmax(a, -1) @ v
        return self.out(a.transpose(1, 2).reshape(b, t, d))


class Reshape(torch.autograd.Function):
    """`reshape` whose sizes stand in the ONNX graph as they are: 0 keeps a dimension, so that nothing has to be computed of it at run time."""

    @staticmethod
    def forward(ctx, x, *sizes):
        ctx.shape, ctx.sizes = x.shape, len(sizes)
        return x.reshape([int(n) if s == 0 else s for s, n in zip(sizes, (*x.shape, *[1] * len(sizes)))])

    @staticmethod
    def backward(ctx, gradient):
        return gradient.reshape(ctx.shape), *[None] * ctx.sizes

    @staticmethod
    def symbolic(g, x, *sizes):
        return g.op("Reshape", x, g.op("Constant", value_t=torch.tensor(sizes)))


reshape = Reshape.apply


class FlatAttention(nn.Module):
    """A trained `Attention` written for ONNX on a CPU: no shapes to compute, queries, keys and values with weights of their own."""

    def __init__(self, trained):
        super().__init__()
        self.heads, self.out, d = trained.heads, trained.out, trained.out.in_features
        scale, self.q, self.k, self.v = (d // trained.heads) ** -0.5, nn.Linear(d, d), nn.Linear(d, d), nn.Linear(d, d)
        (wk, wv), (bk, bv) = trained.kv.weight.data.split(d), trained.kv.bias.data.split(d)
        for net, w, b in ((self.q, trained.q.weight.data * scale, trained.q.bias.data * scale), (self.k, wk, bk), (self.v, wv, bv)):
            net.weight.data, net.bias.data = w.clone(), b.clone()

    def forward(self, x, s):
        d = self.out.in_features
        q, k, v = (reshape(y, 0, -1, self.heads, d // self.heads).transpose(1, 2) for y in (self.q(x), self.k(s), self.v(s)))
        a = torch.softmax(q @ k.transpose(2, 3), -1) @ v
        return self.out(reshape(a.transpose(1, 2), 0, -1, d))


def slow_down(x, n):
    """Means of n frames, [B, T, D] -> [B, ceil(T/n), D]; the last frame is repeated where n does not divide T."""
    if n == 1:
        return x
    return F.avg_pool2d(F.pad(x[:, None], (0, 0, 0, n - 1), mode="replicate"), (n, 1))[:, 0]


def speed_up(x, n, t):
    """Repeats each frame n times, [B, S, D] -> [B, t, D]."""
    if n == 1:
        return x
    return reshape(torch.stack([x] * n, 2), 0, -1, int(x.shape[2]))[:, :t]


class Past(nn.Module):
    """A depthwise convolution that looks back only, so that a chunk needs no frame from the next one."""

    def __init__(self, dim, kernel):
        super().__init__()
        self.conv = nn.Conv2d(dim, dim, (1, kernel), groups=dim)
        self.back = kernel - 1

    def forward(self, x):
        return self.after(F.pad(x, (0, 0, self.back, 0)))

    def after(self, x):  # as a picture of height 1 in channels-last order, which trains twice as fast on the CPU
        """The same of frames that have what the first of them looks back on before them: `back` frames fewer come out."""
        return self.conv(x.transpose(1, 2)[:, :, None])[:, :, 0].transpose(1, 2)


class Layer(nn.Module):
    """A pre-LN transformer layer with a depthwise convolution, at 1/rate of the frame rate.

    The slower layers of a Zipformer: what changes slowly (voice, scene) is computed on fewer frames, and added to the stream of 50 Hz.
    """

    def __init__(self, dim, heads, ffn, rate, kernel=TAIL + 1):
        super().__init__()
        self.rate = rate
        self.n1, self.n2, self.n3 = nn.LayerNorm(dim), nn.LayerNorm(dim), nn.LayerNorm(dim)
        self.att, self.past = Attention(dim, heads), Past(dim, kernel)
        self.ff = nn.Sequential(nn.Linear(dim, ffn), nn.ReLU(), nn.Linear(ffn, dim))

    def forward(self, x, mask=None):
        first = slow_down(x, self.rate)
        y = self.n1(first)
        z = first + self.att(y, y, None if mask is None else mask[:: self.rate, :: self.rate])
        z = z + F.gelu(self.past(self.n2(z)))
        z = z + self.ff(self.n3(z))
        return z if self.rate == 1 else x + speed_up(z - first, self.rate, x.shape[1])

    def go_on(self, x, past, tail, kept):
        """The same for the frames x [B, T, D] that follow `past` [B, P, D], P a multiple of the rate; `tail` [B, 8, D] is what the convolution
        looks back on. Also returns the tail after the first `kept` frames of x. `flat` is set by `Streaming`."""
        r, first = self.rate, slow_down(x, self.rate)
        before = sum(past[:, i::r] for i in range(r)) / r  # not pooled: in ONNX no part of an empty tensor can be
        y = self.n1(first)
        z = first + self.flat(y, torch.cat([self.n1(before), y], 1))
        c = torch.cat([tail, self.n2(z)], 1)
        z = z + F.gelu(self.past.after(c))
        z = z + self.ff(self.n3(z))
        tail = c[:, kept // r : kept // r + tail.shape[1]]
        return (z if r == 1 else x + speed_up(z - first, r, x.shape[1])), tail


class Encoder(nn.Module):
    """fbank [B, T, 80] -> hidden states [B, 10, T/2, 256] at 50 Hz; index 0 enters layer 1, index 9 leaves layer 9."""

    def __init__(self, dim=DIM, rates=RATES, heads=4, ffn=1024):
        super().__init__()
        self.norm = FbankNorm()
        self.conv = nn.Linear(3 * 80, dim)
        self.proj = nn.Linear(dim, dim)
        self.pos = Past(dim, 31)
        self.ln = nn.LayerNorm(dim)
        self.layers = nn.ModuleList(Layer(dim, heads, ffn, r) for r in rates)
        self.mask_emb = nn.Parameter(torch.randn(dim) * 0.1)

    @staticmethod
    def triples(x):
        """Three frames each second frame, [B, T, 80] -> [B, ceil(T/2), 240]: a strided convolution as one matrix product, 30 times faster to train."""
        t = (x.shape[1] + 1) // 2
        x = F.pad(x, (0, 0, 1, 2))
        return torch.cat([x[:, i : i + 2 * t : 2] for i in range(3)], 2)

    def forward(self, fbank, masked=None, attention_mask=None):
        x = self.proj(F.gelu(self.conv(self.triples(self.norm(fbank)))))
        if masked is not None:
            x = torch.where(masked[..., None], self.mask_emb.to(x.dtype), x)
        x = self.ln(x + F.gelu(self.pos(x)))
        states = [x]
        for layer in self.layers:
            x = layer(x, attention_mask)
            states.append(x)
        return torch.stack(states, 1)

    def fresh(self):
        """(past, tails) of a stream that begins, for any batch."""
        d = self.ln.normalized_shape[0]
        return torch.zeros(1, len(self.layers) + 1, 0, d), torch.zeros(1, len(self.layers), TAIL, d)

    def go_on(self, fbank, past, tails):
        """Hidden states of the last frames of a stretch fbank [B, F, 80] whose first P frames of 50 Hz were heard before, P a multiple of GROUP:
        `past` [B, 10, P, 256] are their hidden states, `tails` [B, 9, 8, 256] what the layers' convolutions look back on. Also returns the tails
        after the last whole group. On what `fresh` gives it is `forward`.
        """
        b, p = fbank.shape[0], past.shape[2]
        past, tails = past.expand(b, -1, -1, -1), tails.expand(b, -1, -1, -1)
        x = self.proj(F.gelu(self.conv(self.triples(self.norm(fbank)))))
        x = self.ln(x + F.gelu(self.pos(x)))[:, p:]
        kept = x.shape[1] // GROUP * GROUP
        states, ends = [x], []
        for n, layer in enumerate(self.layers):
            x, tail = layer.go_on(x, past[:, n], tails[:, n], kept)
            states.append(x)
            ends.append(tail)
        return torch.stack(states, 1), torch.stack(ends, 1)


class Streaming(nn.Module):
    """`Encoder.go_on` as a module of its own, for the export. What it changes of a trained encoder it changes of a copy."""

    def __init__(self, encoder):
        super().__init__()
        self.encoder = copy.deepcopy(encoder)
        for layer in self.encoder.layers:
            layer.flat, layer.att = FlatAttention(layer.att), None

    def forward(self, fbank, past, tails):
        return self.encoder.go_on(fbank, past, tails)


def unit(i, o, k, dilation=1, stride=1):
    """Conv -> ReLU -> BN with explicit "same" padding."""
    k = (k, k) if isinstance(k, int) else k
    pad = tuple(dilation * (n - 1) // 2 for n in k)
    return nn.Sequential(nn.Conv2d(i, o, k, (1, stride), pad, dilation), nn.ReLU(), nn.BatchNorm2d(o))


class DenseBlock(nn.Module):
    """Four dilated 3x3 units over (layer, time); each emits its last quarter, the rest goes on; then squeeze-excite."""

    def __init__(self, c):
        super().__init__()
        self.g = c // 4
        self.units = nn.ModuleList(unit(c - i * self.g, c - i * self.g, 3, 2**i) for i in range(4))
        self.se = nn.Sequential(nn.Linear(c, c // 2), nn.ReLU(), nn.Linear(c // 2, c), nn.Sigmoid())

    def forward(self, x):
        out = []
        for u in self.units:
            x = x + u(x)
            keep = x.shape[1] - self.g
            out.append(x[:, keep:])
            x = x[:, :keep]
        y = torch.cat(out, 1)
        return y * self.se(y.mean((2, 3)))[:, :, None, None]


class VoiceTail(nn.Module):
    """Frames [B, C, T] -> embedding [B, out] of norm 1: attentive statistics, a linear map, then centre and linear discriminants."""

    def __init__(self, c, out, asks=128):
        super().__init__()
        self.att = nn.Sequential(nn.Conv1d(3 * c, asks, 1), nn.ReLU(), nn.BatchNorm1d(asks), nn.Conv1d(asks, c, 1))
        self.last = nn.Sequential(nn.BatchNorm1d(2 * c), nn.Linear(2 * c, out), nn.BatchNorm1d(out))
        self.register_buffer("shift", torch.zeros(out))  # fitted after training: speaker/discriminant.py
        self.register_buffer("turn", torch.eye(out))

    def forward(self, x):
        z = F.normalize(self.last(attentive_stats(x, self.att)).float(), dim=1)
        return z if self.training else F.normalize((z - self.shift) @ self.turn, dim=1)


class LayerGate(nn.Module):
    """Frame-adaptive layer aggregation: [B, C, L, T] -> [B, C, T]."""

    def __init__(self, layers, heads=8):
        super().__init__()
        self.heads, half = heads, max(1, layers // 2)
        self.a = nn.Parameter(torch.randn(heads, layers, half) * 0.3)
        self.b = nn.Parameter(torch.randn(heads, half, layers) * 0.3)

    def forward(self, x):
        b, c, l, t = x.shape
        h = x.reshape(b, self.heads, c // self.heads, l, t)
        s = 0
        for pooled in (h.mean(2), h.amax(2)):  # [B, H, L, T]
            s = s + torch.matmul(self.b.transpose(1, 2), torch.relu(torch.matmul(self.a.transpose(1, 2), pooled)))
        return (h * torch.sigmoid(s)[:, :, None]).amax(3).reshape(b, c, t)


class LayerPooling(nn.Module):
    """The lighter L-TDNN (layer aggregation straight on the hidden states, then attentive statistics): [B, L, T, D] -> [B, out].

    25 frames a second are enough for a voice: `slow` frames become one.
    """

    def __init__(self, dim=DIM, layers=LAYERS + 1, wide=384, out=192, slow=2, asks=128):
        super().__init__()
        self.out, self.slow, self.norm = out, slow, nn.LayerNorm(dim)
        self.scale, self.gate = nn.Parameter(torch.ones(layers, 1, dim)), LayerGate(layers)
        self.wide = nn.Sequential(nn.Conv1d(dim, wide, 1), nn.ReLU(), nn.BatchNorm1d(wide))
        self.tail = VoiceTail(wide, out, asks)

    def forward(self, hidden):
        b, l, t, d = hidden.shape
        x = slow_down(hidden.reshape(b * l, t, d), self.slow).reshape(b, l, -1, d)
        return self.tail(self.wide(self.gate((self.norm(x) * self.scale).permute(0, 3, 1, 2))))


class Res2Block(nn.Module):
    """ECAPA's block over (layer, time): groups of channels, each fed with the one before, squeeze-excite, residual."""

    def __init__(self, c, dilation, scale=4):
        super().__init__()
        self.into, self.out, self.w = unit(c, c, 1), unit(c, c, 1), c // scale
        self.convs = nn.ModuleList(unit(self.w, self.w, 3, dilation) for _ in range(scale - 1))
        self.se = nn.Sequential(nn.Linear(c, c // 2), nn.ReLU(), nn.Linear(c // 2, c), nn.Sigmoid())

    def forward(self, x):
        first, *rest = self.into(x).split(self.w, 1)
        outs, y = [first], 0
        for part, conv in zip(rest, self.convs):
            y = conv(part + y)
            outs.append(y)
        y = self.out(torch.cat(outs, 1))
        return x + y * self.se(y.mean((2, 3)))[:, :, None, None]


class Speaker(nn.Module):
    """L-TDNN (arXiv 2409.07770): hidden [B, L, T, D] -> embedding [B, 192] of norm 1. `kind` d3 (dense blocks) or ecapa (Res2 blocks).

    As it stands it is small, with two dense blocks and 25 frames a second inside; the published size is `FULL`. `channels` is a multiple of 64:
    with widths that are no multiple of 16 the bfloat16 weight gradient of a dilated convolution is garbage on the CPU (PyTorch 2.15).
    """

    FULL = {"channels": 256, "wide": 512, "blocks": 3, "scale": 8, "stride": 1, "asks": 256}

    def __init__(self, kind="d3", dim=DIM, layers=LAYERS + 1, channels=64, wide=256, out=192, blocks=2, scale=4, stride=2, asks=128):
        super().__init__()
        self.out, self.bn_in = out, nn.BatchNorm2d(dim)
        self.first = unit(dim, channels, (1, 5) if kind == "d3" else (5, 3), stride=stride)
        self.blocks = nn.ModuleList([DenseBlock(channels) for _ in range(blocks)] if kind == "d3" else [Res2Block(channels, d, scale) for d in (2, 3, 4)])
        cat = len(self.blocks) * channels
        self.fuse = nn.Sequential(nn.Conv2d(cat, cat, 1), nn.ReLU(), nn.BatchNorm2d(cat), nn.Conv2d(cat, wide, 1, bias=False))
        self.gate = LayerGate(layers)
        self.after = nn.Sequential(nn.Conv1d(wide, wide, 1), nn.BatchNorm1d(wide))
        self.tail = VoiceTail(wide, out, asks)

    def forward(self, hidden):
        x = self.first(self.bn_in(hidden.permute(0, 3, 1, 2)))
        outs = []
        for block in self.blocks:
            x = block(x)
            outs.append(x)
        return self.tail(self.after(self.gate(self.fuse(torch.cat(outs, 1)))))


class LogMelSpeaker(nn.Module):
    """The control without an encoder: fbank [B, T, 80] -> embedding [B, 192], residual TDNN and attentive statistics."""

    def __init__(self, wide=256, out=192):
        super().__init__()
        self.out, self.norm = out, FbankNorm()
        layer = lambda i, k, s, d: nn.Sequential(nn.Conv1d(i, wide, k, s, d * (k // 2), d), nn.ReLU(), nn.BatchNorm1d(wide))
        self.first = layer(80, 5, 2, 1)
        self.blocks = nn.ModuleList(layer(wide, 3, 1, d) for d in (1, 2, 3, 4))
        self.after = nn.Sequential(nn.Conv1d(4 * wide, 384, 1), nn.ReLU(), nn.BatchNorm1d(384))
        self.tail = VoiceTail(384, out)

    def forward(self, fbank):
        x, outs = self.first(self.norm(fbank).transpose(1, 2)), []
        for block in self.blocks:
            x = x + block(x)
            outs.append(x)
        return self.tail(self.after(torch.cat(outs, 1)))


def attentive_stats(x, att):
    """[B, C, T] -> weighted mean and deviation [B, 2C]; the weights see the global mean and deviation."""
    mean = x.mean(2, keepdim=True)
    std = ((x - mean).square().mean(2, keepdim=True) + 1e-4).sqrt()
    w = torch.softmax(att(torch.cat([x, mean.expand_as(x), std.expand_as(x)], 1)), 2)
    mu = (w * x).sum(2)
    return torch.cat([mu, ((w * x.square()).sum(2) - mu.square()).clamp_min(1e-4).sqrt()], 1)


FINE, SYNCHRONY = 3 * (ref.FINE_DIM - 1), 3 * ref.SYNCHRONY_DIM  # statistics of each


def fine_statistics(fine, level):
    """Measures [B, T, D] of frames of that level [B, T, 1] -> mean and deviation over the frames within 40 dB of the loudest, and the mean over
    those within 20 dB, [B, 3D]."""
    loud, louder = ((level > ln).to(fine.dtype) for ln in (-9.21, -4.605))
    over = lambda v, w: (v * w).sum(1) / w.sum(1).clamp_min(1.0)
    mean = over(fine, loud)
    return torch.cat([mean, (over((fine - mean[:, None]).square(), loud) + 1e-6).sqrt(), over(fine, louder)], 1)


HEARD = 192


def frame_statistics(x):
    """[B, T, D] -> mean and deviation, [B, 2D]."""
    mean = x.mean(1)
    return torch.cat([mean, ((x - mean[:, None]).square().mean(1) + 1e-6).sqrt()], 1)


class Listener(nn.Module):
    """Spectrum and phase turns [B, 3, T, 256] -> what the teacher of spoof/bank.py hears, [B, T/2, 192]."""

    def __init__(self, dim=192):
        super().__init__()
        conv = lambda i, o, k, s: nn.Sequential(nn.Conv2d(i, o, k, s, (k[0] // 2, k[1] // 2)), nn.ReLU(), nn.BatchNorm2d(o))
        self.front = nn.Sequential(conv(3, 24, (3, 5), (1, 2)), conv(24, 48, (3, 3), (2, 2)), conv(48, 64, (3, 3), (1, 2)),
                                   conv(64, 96, (3, 3), (1, 2)), conv(96, 128, (3, 3), (1, 2)))
        self.proj = nn.Sequential(nn.Linear(8 * 128, dim), nn.LayerNorm(dim))
        self.layers = nn.ModuleList(Layer(dim, 4, 512, r) for r in (1, 2))
        self.out = nn.Linear(dim, HEARD)

    def forward(self, x):
        x = self.front(x.contiguous(memory_format=torch.channels_last) if self.training else x)
        x = self.proj(x.permute(0, 2, 3, 1).flatten(2))
        for layer in self.layers:
            x = layer(x)
        return self.out(x)


class Fusion(nn.Module):
    """SSL view (lower hidden states) and spectral view (cepstra, what the listener hears) -> score [B].

    `kind`: concat, cross (the SSL view asks the spectral one), mutual (both ask), gate; or ssl, spectral: one view alone. The formulas are those
    of "Two Views, One Truth" (arXiv 2507.20417). With `heard` 0 there is no listener.
    """

    KINDS = ("ssl", "spectral", "concat", "cross", "mutual", "gate")
    LOWER, CEPSTRA = 4, 180

    def __init__(self, kind="cross", dim=DIM, d=96, heads=4, lower=LOWER, heard=HEARD):
        super().__init__()
        self.kind, self.lower, self.mix = kind, lower, nn.Parameter(torch.zeros(lower))
        self.ln_x, self.proj_x = nn.LayerNorm(dim), nn.Linear(dim, d)
        self.conv_s = nn.Sequential(nn.Conv1d(self.CEPSTRA, d, 3, stride=2, padding=1), nn.ReLU(), nn.BatchNorm1d(d))
        self.proj_s = nn.Linear(heard + d, d)
        if kind in ("cross", "mutual"):
            self.ask, self.ln = Attention(d, heads), nn.LayerNorm(d)
        if kind == "mutual":
            self.ask_back, self.ln_back = Attention(d, heads), nn.LayerNorm(d)
        if kind in ("concat", "mutual", "gate"):
            self.join = nn.Linear(2 * d, d)
        self.conv = nn.Sequential(nn.Conv1d(d, d, 3, padding=1), nn.ReLU(), nn.BatchNorm1d(d))
        self.pool = nn.Sequential(nn.Conv1d(3 * d, 64, 1), nn.Tanh(), nn.Conv1d(64, d, 1))
        self.head = nn.Sequential(nn.BatchNorm1d(2 * d), nn.Dropout(0.3), nn.Linear(2 * d, 48), nn.ReLU(), nn.Linear(48, 1))

    def fuse(self, x, s):
        if self.kind == "ssl":
            return x
        if self.kind == "spectral":
            return s
        if self.kind == "concat":
            return self.join(torch.cat([x, s], 2))
        if self.kind == "gate":
            g = torch.sigmoid(self.join(torch.cat([x, s], 2)))
            return g * x + (1 - g) * s
        y = self.ln(x + self.ask(x, s))
        return y if self.kind == "cross" else self.join(torch.cat([y, self.ln_back(s + self.ask_back(s, x))], 2))

    def forward(self, hidden, cepstra, heard=None):
        w = torch.softmax(self.mix, 0)
        x = self.proj_x(self.ln_x((hidden[:, : self.lower] * w[:, None, None]).sum(1)))
        s = self.conv_s(cepstra.transpose(1, 2)).transpose(1, 2)
        s = self.proj_s(s if heard is None else torch.cat([s, heard], 2))
        y = self.conv(self.fuse(x, s).transpose(1, 2))
        return self.head(attentive_stats(y, self.pool))[:, 0]


class Experts(nn.Module):
    """Small heads on one vector of statistics, each from its own start; their mean is steadier than any of them: [B, D] -> [B]."""

    def __init__(self, dim, wide=48, heads=8, drop=0.2):
        super().__init__()
        self.register_buffer("mean", torch.zeros(dim))
        self.register_buffer("std", torch.ones(dim))
        self.heads = nn.ModuleList(nn.Sequential(nn.Dropout(drop), nn.Linear(dim, wide), nn.ReLU(), nn.Dropout(0.4), nn.Linear(wide, 1)) for _ in range(heads))

    def scaled(self, x):
        return ((x - self.mean) / self.std).clamp(-5.0, 5.0)

    def forward(self, x):
        x = self.scaled(x)
        return sum(head(x) for head in self.heads)[:, 0] / len(self.heads)


class Opinions(nn.Module):
    """One spoof head's three opinions, [B] each: `fusion` weighs the SSL and the spectral view over time; `fine` judges the statistics of the fine structure
    that cepstra smooth away, `synchrony` those of how the bands move together, both without a sense of time: they cannot learn voices and words."""

    EACH = 3

    def __init__(self, kind="concat"):
        super().__init__()
        self.fusion, self.fine, self.synchrony = Fusion(kind), Experts(FINE), Experts(SYNCHRONY)

    def forward(self, hidden, cepstra, heard, fine, synchrony):
        return [self.fusion(hidden, cepstra, heard), self.fine(fine), self.synchrony(synchrony)]


class Spoof(nn.Module):
    """hidden [B, L, T/2, D], spectral [B, T, 1351] -> score [B]: the weighted sum of the opinions of heads that were trained apart and share a listener,
    higher = bona fide. `kinds`: of each head's fusion."""

    def __init__(self, *kinds):
        super().__init__()
        self.listener, self.members = Listener(), nn.ModuleList(Opinions(kind) for kind in kinds or ("concat",))
        self.register_buffer("weights", torch.ones(Opinions.EACH * len(self.members)))

    @staticmethod
    def views(spectral):
        """Cepstra [B, T, 180], picture [B, 3, T, 256] (log power on the scale of its loudest point), statistics of fine structure and synchrony."""
        b, t, _ = spectral.shape
        cepstra, fine, level, synchrony, picture = spectral.split([ref.CEPSTRAL_DIM, ref.FINE_DIM - 1, 1, ref.SYNCHRONY_DIM, ref.PICTURE_DIM], 2)
        picture = picture.reshape(b, t, 3, 256).permute(0, 2, 1, 3)
        log = picture[:, :1]
        log = (log - log.amax((1, 2, 3), keepdim=True)).clamp_min(-16.0) / 4 + 2
        return cepstra, torch.cat([log, picture[:, 1:]], 1), fine_statistics(fine, level), fine_statistics(synchrony, level)

    def opinions(self, hidden, spectral):
        cepstra, picture, fine, synchrony = self.views(spectral)
        heard = self.listener(picture)
        return torch.stack([o for member in self.members for o in member(hidden, cepstra, heard, fine, synchrony)])

    def forward(self, hidden, spectral):
        return (self.weights[:, None] * self.opinions(hidden, spectral)).sum(0)


class Tagger(nn.Module):
    """hidden [B, L, T, D] -> probability of each class [B, classes], independent of each other.

    Side heads on the states below (training only) teach each other: nets of the same task at several depths.
    """

    SIDES = (3, 6)

    def __init__(self, classes, dim=DIM, layers=LAYERS + 1, wide=192):
        super().__init__()
        self.norm, self.mix = nn.LayerNorm(dim), nn.Parameter(torch.zeros(layers))
        self.conv = nn.Sequential(nn.Conv1d(dim, wide, 3, padding=1), nn.ReLU(), nn.BatchNorm1d(wide))
        self.att = nn.Sequential(nn.Conv1d(3 * wide, 64, 1), nn.Tanh(), nn.Conv1d(64, wide, 1))
        self.narrow = nn.Sequential(nn.BatchNorm1d(2 * wide), nn.Dropout(0.3), nn.Linear(2 * wide, 128), nn.ReLU())
        self.out = nn.Linear(128, classes)
        self.side_narrow = nn.ModuleList(nn.Sequential(nn.LayerNorm(2 * dim), nn.Dropout(0.3), nn.Linear(2 * dim, 128), nn.ReLU()) for _ in self.SIDES)
        self.side_out = nn.ModuleList(nn.Linear(128, classes) for _ in self.SIDES)

    def features(self, hidden):
        x = (self.norm(hidden) * torch.softmax(self.mix, 0)[:, None, None]).sum(1)
        return self.narrow(attentive_stats(self.conv(x.transpose(1, 2)).float(), self.att))

    def sides(self, hidden):
        """(features, logits) of each side head."""
        f = [n(frame_statistics(hidden[:, l])) for l, n in zip(self.SIDES, self.side_narrow)]
        return f, [o(x) for x, o in zip(f, self.side_out)]

    def forward(self, hidden):
        return torch.sigmoid(self.out(self.features(hidden)))


class Vad(nn.Module):
    """fbank [B, T, 80] -> speech probability of each 20 ms frame [B, T/2]."""

    def __init__(self, d=80, k=15, blocks=5):
        super().__init__()
        self.norm = FbankNorm()
        self.conv = nn.Sequential(nn.Conv1d(80, d, 3, stride=2, padding=1), nn.ReLU(), nn.BatchNorm1d(d))
        self.blocks = nn.ModuleList(
            nn.Sequential(nn.Conv1d(d, d, k, padding=k // 2, groups=d), nn.Conv1d(d, d, 1), nn.ReLU(), nn.BatchNorm1d(d))
            for _ in range(blocks))
        self.out = nn.Conv1d(d, 1, 1)

    def logits(self, fbank):
        x = self.conv(self.norm(fbank).transpose(1, 2))
        for b in self.blocks:
            x = x + b(x)
        return self.out(x)[:, 0]

    def forward(self, fbank):
        return torch.sigmoid(self.logits(fbank))


def parameters(m):
    return sum(p.numel() for p in m.parameters())

