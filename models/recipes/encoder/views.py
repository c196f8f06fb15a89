"""An auxiliary loss after "Learning Without Augmenting" (frame projections): the same clip seen in three frames, contrasted instead of augmented.

The views are projections of the waveform itself: as it is, on Fourier atoms (STFT) and on wavelets (constant-Q). Each has a small encoder; a clip's
views, and what the student makes of the clip through its channel, must find each other among those of the other clips of the batch.
"""
import numpy as np
import torch
import torch.nn.functional as F
from torch import nn

from ..common import torch_features


class Views(nn.Module):
    """Waves [B, N] and the student's mean states [B, D] -> mean contrastive loss over all pairs of views."""

    def __init__(self, dim, out=128, temperature=0.1):
        super().__init__()
        self.temperature = temperature
        act = lambda i, o, k, s: nn.Sequential(nn.Conv1d(i, o, k, s, k // 2), nn.GELU(), nn.GroupNorm(1, o))
        tail = lambda: nn.Sequential(nn.AdaptiveAvgPool1d(1), nn.Flatten(), nn.Linear(128, out))
        self.waveform = nn.Sequential(act(1, 48, 32, 16), act(48, 96, 16, 8), act(96, 128, 5, 2), tail())
        self.fourier = nn.Sequential(act(257, 128, 3, 2), act(128, 128, 3, 2), tail())
        self.wavelet = nn.Sequential(act(96, 128, 3, 2), act(128, 128, 3, 2), tail())
        self.student = nn.Linear(dim, out)

    def forward(self, wave, student):
        with torch.no_grad():
            x = wave / (wave.square().mean(1, keepdim=True).sqrt() + 1e-4)
            seen = torch_features.power(x).clamp_min(1e-6).log().transpose(1, 2), torch_features.cq_power(x).clamp_min(1e-6).log().transpose(1, 2)
        z = [F.normalize(v.float(), dim=1) for v in (self.waveform(x[:, None]), self.fourier(seen[0]), self.wavelet(seen[1]), self.student(student))]
        y, loss = torch.arange(len(wave)), 0
        for i in range(len(z)):
            for j in range(i + 1, len(z)):
                s = z[i] @ z[j].T / self.temperature
                loss = loss + (F.cross_entropy(s, y) + F.cross_entropy(s.T, y)) / 2
        return loss / 6


def waves(corpus, bank, rows, starts, frames):
    """The waveforms of bank crops: rows must be clips as they were recorded (variant 0)."""
    n = frames * 160
    return torch.tensor(np.stack([np.resize(corpus.audio(str(bank.path[i]), 160 * s, n), n) for i, s in zip(rows, starts)]))
