"""SPEAR for export: samples to Kaldi's log-mel inside the graph, Zipformer, and the states that the checkpoint's own code calls hidden.

The log-mel is in the graph because SPEAR's mirrors the samples at the clip's ends, where the daemon's Kaldi front end starts within the clip.
"""
import math
import re

import numpy as np
import torch
from torch import nn

from .zipformer import Zipformer

RATE, WINDOW, HOP, N_FFT = 16000, 400, 160, 512
# frames: (samples + 80) / 160 of log-mel, (that − 7) / 2 hidden
FRONT = {"kind": "waveform", "sample_rate": RATE, "normalise": False, "receptive_field": 1360, "hop": 320}


def mel_filters(mels, low, high):
    """Kaldi's triangles, linear in mel, [mels, 257]."""
    mel = lambda f: 1127.0 * np.log(1.0 + np.asarray(f, np.float64) / 700.0)
    e = np.linspace(mel(low), mel(high), mels + 2)[:, None]
    f = mel(np.arange(N_FFT // 2) * RATE / N_FFT)
    w = np.maximum(0, np.minimum((f - e[:-2]) / (e[1:-1] - e[:-2]), (e[2:] - f) / (e[2:] - e[1:-1])))
    return np.pad(w, ((0, 0), (0, 1)))


def kernels():
    """What a window does to 400 samples, as one matrix [2 · 257, 400]: mean off, pre-emphasis, Povey's window, Fourier transform."""
    n = np.arange(WINDOW)
    centre = np.eye(WINDOW) - 1.0 / WINDOW
    emphasis = np.eye(WINDOW) - 0.97 * np.eye(WINDOW, k=-1)
    emphasis[0, 0] = 1 - 0.97
    window = np.diag((0.5 - 0.5 * np.cos(2 * np.pi * n / (WINDOW - 1))) ** 0.85)
    turn = 2 * np.pi * np.outer(np.arange(N_FFT // 2 + 1), n) / N_FFT
    return np.concatenate([np.cos(turn), -np.sin(turn)]) @ window @ emphasis @ centre


class KaldiFbank(nn.Module):
    """waveform [B, n] -> log-mel [B, (n + 80) / 160, mels]; the samples are mirrored at the ends (Kaldi's snip_edges = false)."""

    FLOOR = 1.1920928955078125e-07

    def __init__(self, mels=128, low=20.0, high=7600.0, scale=1.0):
        super().__init__()
        self.register_buffer("kernel", torch.tensor(scale * kernels(), dtype=torch.float32)[:, None])
        self.register_buffer("mel", torch.tensor(mel_filters(mels, low, high).T, dtype=torch.float32))

    def forward(self, x):
        x = torch.cat([x[:, :120].flip(1), x, x[:, -200:].flip(1)], 1)[:, None]
        s = nn.functional.conv1d(x, self.kernel, stride=HOP)
        power = (s * s).reshape(s.shape[0], 2, N_FFT // 2 + 1, -1).sum(1)
        return torch.log((power.transpose(1, 2) @ self.mel).clamp_min(self.FLOOR))


FRONT_ENDS = [{"high": high, "scale": scale} for high in (7600.0, 8000.0) for scale in (1.0, 32768.0)]


class Spear(nn.Module):
    """waveform [B, samples] -> hidden [B, layers, frames, dim]."""

    def __init__(self, fbank, net, names):
        super().__init__()
        self.fbank, self.net, self.names = fbank, net, names

    def forward(self, waveform):
        s = self.net.states(self.fbank(waveform))
        return torch.stack([s[n] for n in self.names], 1)


def sizes(c):
    """Zipformer's arguments from a SPEAR configuration, whose lists are strings."""
    ints = lambda v: [int(i) for i in v.split(",")] if isinstance(v, str) else list(v)
    return {"mels": c["num_mel_bins"], "pos_dim": c["pos_dim"], "downsampling": ints(c["downsampling_factor"]), "layers": ints(c["num_encoder_layers"]),
            "dims": ints(c["encoder_dim"]), "wides": ints(c["feedforward_dim"]), "kernels": ints(c["cnn_module_kernel"]), "heads": ints(c["num_heads"])}


def network(c, weights):
    """Zipformer with the weights of a SPEAR state dict, wherever in it the encoder sits."""
    net = Zipformer(**sizes(c))
    mark = "encoder_embed.conv.0.weight"
    at = [k[: -len(mark)] for k in weights if k.endswith(mark)]
    if len(at) != 1:
        raise KeyError(f"expected one {mark}, found {len(at)}")
    told = net.load_state_dict({k[len(at[0]):]: v.float() for k, v in weights.items() if k.startswith(at[0])}, strict=False)
    unused = lambda k: k.endswith("downsample_output.bias") or re.search(r"layers\.\d+\.bypass_scale$", k)  # the latter is left over in icefall, too
    unread = [k for k in told.unexpected_keys if k.startswith("encoder") and not unused(k)]
    if told.missing_keys or unread:
        raise KeyError(f"missing {told.missing_keys[:3]}, unknown {unread[:3]}")
    return net.eval()


def closest(candidates, wanted):
    """(name, difference relative to the size of what is wanted) of the state nearest to it."""
    scale = max(1.0, float(wanted.abs().max()))
    found = [(float((v - wanted).abs().max()) / scale, k) for k, v in candidates.items() if v.shape == wanted.shape]
    difference, name = min(found, default=(math.inf, ""))
    return name, difference
