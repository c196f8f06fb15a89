"""The four networks of the default pack: Encoder, Speaker (L-TDNN), Spoof (spectral + SSL fusion) and Vad.

Everything that the daemon must not have to know (normalisation of the fbank, L2 norm, sigmoid) is inside the graph.
Convolutions have explicit symmetric padding, so that the export needs no auto_pad.
"""
import torch
import torch.nn.functional as F
from torch import nn

LAYERS, DIM = 6, 192


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


class Layer(nn.Module):
    """A pre-LN transformer layer."""

    def __init__(self, dim, heads, ffn, dropout=0.0):
        super().__init__()
        self.n1, self.n2, self.att = nn.LayerNorm(dim), nn.LayerNorm(dim), Attention(dim, heads)
        self.ff = nn.Sequential(nn.Linear(dim, ffn), nn.GELU(), nn.Linear(ffn, dim))
        self.drop = nn.Dropout(dropout) if dropout else nn.Identity()

    def forward(self, x, mask=None):
        y = self.n1(x)
        x = x + self.drop(self.att(y, y, mask))
        return x + self.drop(self.ff(self.n2(x)))


class Encoder(nn.Module):
    """fbank [B, T, 80] -> hidden states [B, 7, T/2, 192]; index 0 enters layer 1, index 6 leaves layer 6."""

    def __init__(self, dim=DIM, layers=LAYERS, heads=4, ffn=768):
        super().__init__()
        self.norm = FbankNorm()
        self.conv = nn.Conv1d(80, dim, 3, stride=2, padding=1)
        self.proj = nn.Linear(dim, dim)
        self.pos = nn.Conv1d(dim, dim, 31, padding=15, groups=dim)
        self.ln = nn.LayerNorm(dim)
        self.layers = nn.ModuleList(Layer(dim, heads, ffn) for _ in range(layers))
        self.mask_emb = nn.Parameter(torch.randn(dim) * 0.1)

    def forward(self, fbank, masked=None, attention_mask=None):
        x = F.gelu(self.conv(self.norm(fbank).transpose(1, 2))).transpose(1, 2)
        x = self.proj(x)
        if masked is not None:
            x = torch.where(masked[..., None], self.mask_emb.to(x.dtype), x)
        x = self.ln(x + F.gelu(self.pos(x.transpose(1, 2))).transpose(1, 2))
        states = [x]
        for layer in self.layers:
            x = layer(x, attention_mask)
            states.append(x)
        return torch.stack(states, 1)


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


class Speaker(nn.Module):
    """L-TDNN D3, small: hidden [B, L, T, D] -> embedding [B, 192] of norm 1."""

    def __init__(self, dim=DIM, layers=LAYERS + 1, channels=64, blocks=2, heads=8, wide=256, out=192):
        super().__init__()
        self.heads = heads
        self.bn_in = nn.BatchNorm2d(dim)
        self.first = unit(dim, channels, (1, 5), stride=2)  # 25 frames a second inside: half the cost
        self.blocks = nn.ModuleList(DenseBlock(channels) for _ in range(blocks))
        cat = blocks * channels
        self.fuse = nn.Sequential(nn.Conv2d(cat, cat, 1), nn.ReLU(), nn.BatchNorm2d(cat), nn.Conv2d(cat, wide, 1, bias=False))
        self.gate = nn.Parameter(torch.randn(heads, layers, layers // 2) * 0.3)
        self.gate2 = nn.Parameter(torch.randn(heads, layers // 2, layers) * 0.3)
        self.after = nn.Sequential(nn.Conv1d(wide, wide, 1), nn.BatchNorm1d(wide))
        self.att = nn.Sequential(nn.Conv1d(3 * wide, 128, 1), nn.ReLU(), nn.BatchNorm1d(128), nn.Conv1d(128, wide, 1))
        self.last = nn.Sequential(nn.BatchNorm1d(2 * wide), nn.Linear(2 * wide, out), nn.BatchNorm1d(out))
        self.register_buffer("shift", torch.zeros(out))  # centre and linear discriminants: speaker/discriminant.py
        self.register_buffer("turn", torch.eye(out))

    def aggregate(self, x):
        """Frame-adaptive layer aggregation: [B, C, L, T] -> [B, C, T]."""
        b, c, l, t = x.shape
        h = x.reshape(b, self.heads, c // self.heads, l, t)
        s = 0
        for pooled in (h.mean(2), h.amax(2)):  # [B, H, L, T]
            y = torch.relu(torch.matmul(self.gate.transpose(1, 2), pooled))
            s = s + torch.matmul(self.gate2.transpose(1, 2), y)
        h = h * torch.sigmoid(s)[:, :, None]
        return h.amax(3).reshape(b, c, t)

    def forward(self, hidden):
        x = self.first(self.bn_in(hidden.permute(0, 3, 1, 2)))
        outs = []
        for block in self.blocks:
            x = block(x)
            outs.append(x)
        x = self.after(self.aggregate(self.fuse(torch.cat(outs, 1))))
        z = F.normalize(self.last(attentive_stats(x, self.att)).float(), dim=1)
        return z if self.training else F.normalize((z - self.shift) @ self.turn, dim=1)


def attentive_stats(x, att):
    """[B, C, T] -> weighted mean and deviation [B, 2C]; the weights see the global mean and deviation."""
    mean = x.mean(2, keepdim=True)
    std = ((x - mean).square().mean(2, keepdim=True) + 1e-4).sqrt()
    w = torch.softmax(att(torch.cat([x, mean.expand_as(x), std.expand_as(x)], 1)), 2)
    mu = (w * x).sum(2)
    return torch.cat([mu, ((w * x.square()).sum(2) - mu.square()).clamp_min(1e-4).sqrt()], 1)


def fine_statistics(fine):
    """[B, T, 225] -> mean and deviation of the 224 measures over the frames within 40 dB of the loudest, [B, 448]."""
    loud = (fine[:, :, -1:] > -9.21).to(fine.dtype)
    n, f = loud.sum(1).clamp_min(1.0), fine[:, :, :-1]
    mean = (f * loud).sum(1) / n
    return torch.cat([mean, (((f - mean[:, None]).square() * loud).sum(1) / n + 1e-6).sqrt()], 1)


class Spoof(nn.Module):
    """hidden [B, L, T/2, D], spectral [B, T, 405] -> score [B], a weighted sum of two opinions.

    One is the fusion: the SSL view asks the cepstra (cross-attention), then attentive statistics. The other hears only statistics of
    the fine structure that cepstra smooth away: without a sense of time it cannot learn voices and words.
    """

    WEIGHT = 0.2  # of the fusion; chosen on dev, where 0.1 to 0.5 differ by two points at most

    def __init__(self, dim=DIM, lower=5, d=96, heads=4, cepstra=180, fine=448, wide=256, fine_heads=3):
        super().__init__()
        self.lower, self.cepstra = lower, cepstra
        self.mix = nn.Parameter(torch.zeros(lower))
        self.ln_x, self.proj_x = nn.LayerNorm(dim), nn.Linear(dim, d)
        self.conv_s = nn.Sequential(nn.Conv1d(cepstra, d, 3, stride=2, padding=1), nn.ReLU(), nn.BatchNorm1d(d),
                                    nn.Conv1d(d, d, 3, padding=1), nn.ReLU(), nn.BatchNorm1d(d))
        self.att, self.ln = Attention(d, heads), nn.LayerNorm(d)
        self.conv = nn.Sequential(nn.Conv1d(2 * d, d, 3, padding=1), nn.ReLU(), nn.BatchNorm1d(d))
        self.pool = nn.Sequential(nn.Conv1d(3 * d, 64, 1), nn.Tanh(), nn.Conv1d(64, d, 1))
        self.head = nn.Sequential(nn.BatchNorm1d(2 * d), nn.Dropout(0.3), nn.Linear(2 * d, 48), nn.ReLU(), nn.Linear(48, 1))
        self.register_buffer("fine_mean", torch.zeros(fine))
        self.register_buffer("fine_std", torch.ones(fine))
        self.fine_heads = nn.ModuleList(nn.Sequential(nn.Dropout(0.2), nn.Linear(fine, wide), nn.ReLU(), nn.Dropout(0.4), nn.Linear(wide, 1))
                                        for _ in range(fine_heads))

    def fusion(self, hidden, cepstra):
        w = torch.softmax(self.mix, 0)
        x = self.proj_x(self.ln_x((hidden[:, : self.lower] * w[:, None, None]).sum(1)))
        s = self.conv_s(cepstra.transpose(1, 2)).transpose(1, 2)
        y = self.ln(x + self.att(x, s))
        y = self.conv(torch.cat([y, s], 2).transpose(1, 2))
        return self.head(attentive_stats(y, self.pool))[:, 0]

    def scaled(self, statistics):
        return ((statistics - self.fine_mean) / self.fine_std).clamp(-5.0, 5.0)

    def fine(self, statistics):
        x = self.scaled(statistics)
        return sum(head(x) for head in self.fine_heads)[:, 0] / len(self.fine_heads)

    def opinions(self, hidden, spectral):
        """(fusion, fine structure), [B] each."""
        return self.fusion(hidden, spectral[:, :, : self.cepstra]), self.fine(fine_statistics(spectral[:, :, self.cepstra :]))

    def forward(self, hidden, spectral):
        fusion, fine = self.opinions(hidden, spectral)
        return self.WEIGHT * fusion + fine


class Vad(nn.Module):
    """fbank [B, T, 80] -> speech probability of each 20 ms frame [B, T/2]."""

    def __init__(self, d=64, k=15, blocks=4):
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


# The size of the L-TDNN in the default pack. Multiples of 64 only: with widths that are no multiple of 16 (such as 36) the bfloat16
# weight gradient of a dilated convolution is garbage on the CPU (PyTorch 2.15).
SPEAKER = dict(channels=64)
