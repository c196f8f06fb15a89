"""The heads as they are attached to an encoder of any size, out of the networks of common/nets.py."""
import torch
import torch.nn.functional as F
from torch import nn

from ..common import features, nets
from ..published.probes import Probe

KINDS = ("d3", "ecapa", "pooling")
FUSIONS = ("concat", "cross", "mutual", "gate")


class Folded(nn.Module):
    """A head on frames in front of an encoder that gives several vectors a frame (BEATs' bands): it gets their mean."""

    def __init__(self, net, tokens):
        super().__init__()
        self.net, self.tokens = net, tokens

    def forward(self, hidden, *more):
        if self.tokens > 1:
            b, layers, _, d = hidden.shape
            hidden = hidden.reshape(b, layers, -1, self.tokens, d).mean(3)
        return self.net(hidden, *more)


def speaker(kind, size, encoder):
    """L-TDNN: full as published, or small with about 25 frames a second inside; tiny is for tests."""
    of = {"dim": encoder.dim, "layers": encoder.layers}
    slow = max(1, round(encoder.frame_rate / 25))
    if kind == "pooling":
        sizes = {"small": {"slow": slow}, "full": {"wide": 768, "slow": 1, "asks": 256}, "tiny": {"slow": slow, "wide": 16, "out": 16, "asks": 16}}
        return nets.LayerPooling(**of, **sizes[size])
    sizes = {"small": {"stride": slow}, "full": nets.Speaker.FULL, "tiny": {"stride": slow, "wide": 16, "out": 16, "blocks": 1, "asks": 16}}
    return nets.Speaker(kind, **of, **sizes[size])


class Fusion(nets.Fusion):
    """The fusions for an encoder whose frames do not fall on the spectral view's: the one that asks takes any length, the others interpolate."""

    def fuse(self, x, s):
        if self.kind != "cross":
            x = F.interpolate(x.transpose(1, 2), size=s.shape[1], mode="linear").transpose(1, 2)
        return super().fuse(x, s)


def lower(layers):
    """How many hidden states the spoof head reads: the upper half knows words, not vocoders."""
    return min(layers, max(4, (layers + 1) // 2))


class Spoof(nn.Module):
    """hidden, spectral -> score [B], higher = bona fide: what the fusion of both views says, and what the statistics of the fine structure say.

    No listener: what that hears was learnt with the default pack.
    """

    def __init__(self, kind, size, encoder):
        super().__init__()
        fusion, experts = {"small": ({}, {}), "full": ({"d": 192, "heads": 8}, {}), "tiny": ({"d": 8, "heads": 2}, {"wide": 4, "heads": 1})}[size]
        self.fusion = Fusion(kind, encoder.dim, lower=lower(encoder.layers), heard=0, **fusion)
        self.fine = nets.Experts(self.measures(), **experts)
        self.register_buffer("weights", torch.ones(2))  # one over the deviation of each opinion on held-out windows, so that both count alike

    @staticmethod
    def views(spectral):
        """Cepstra over time, and statistics of the fine structure and the synchrony of bands."""
        cepstra, _, *apart = nets.Spoof.views(spectral)
        return cepstra, torch.cat(apart, 1)

    @classmethod
    def measures(cls):
        return cls.views(torch.zeros(1, 4, features.SPECTRAL_DIM))[1].shape[1]

    def opinions(self, hidden, cepstra, fine):
        return self.fusion(hidden, cepstra), self.fine(fine)

    def forward(self, hidden, spectral):
        a, b = self.opinions(hidden, *self.views(spectral))
        return self.weights[0] * a + self.weights[1] * b


class ScaledProbe(Probe):
    """A probe on states of mean 0 and deviation 1 over the training clips, since the layers of published encoders differ in scale a hundredfold."""

    def __init__(self, kind, layers, dim, labels, wide=0):
        super().__init__(kind, layers, dim, labels, wide)
        self.register_buffer("mean", torch.zeros(layers, dim))
        self.register_buffer("std", torch.ones(layers, dim))

    def fit(self, means):
        """means [clips, layers, dim]."""
        self.mean.copy_(means.mean(0)), self.std.copy_(means.std(0) + 1e-4)

    def logits(self, hidden):
        x = (hidden.mean(2) - self.mean) / self.std
        return self.net((x * torch.softmax(self.weights, 0)[:, None]).sum(1))
