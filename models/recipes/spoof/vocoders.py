"""Small neural vocoders of our own, so that the detector sees what their upsampling leaves behind on speech of which it also knows the original.

Four families, each trained for a few minutes on real train speech (mel -> waveform, or waveform -> code -> waveform for `codec`):
`melgan` and `hifigan` (transposed convolutions, adversarial), `istft` (frame-wise amplitude and phase) and `codec` (strided
encoder and decoder with a narrow middle). `python -m models.recipes.spoof.vocoders --kind melgan` trains one into `<work>/vocoder_<kind>.pt`.
"""
import json
import time
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from torch import nn

from ..common.corpus import RATE, arguments, open_corpus
from ..common.device import DEVICE, save

HOP, FFT, MELS, SEGMENT = 256, 1024, 80, 8192
_C = {}


def log_mel(x, rate=RATE, fft=FFT, hop=HOP):
    """[B, N] -> [B, 80, N / hop], 0 to 8 kHz."""
    if (x.device, rate, fft) not in _C:
        from librosa.filters import mel

        _C[x.device, rate, fft] = torch.hann_window(fft, device=x.device), torch.tensor(mel(sr=rate, n_fft=fft, n_mels=MELS, fmax=8000), dtype=torch.float32, device=x.device)
    window, m = _C[x.device, rate, fft]
    x = F.pad(x[:, None], ((fft - hop) // 2,) * 2, mode="reflect")[:, 0]
    s = torch.stft(x, fft, hop, window=window, center=False, return_complex=True).abs()
    return (m @ s).clamp_min(1e-5).log()


class Residual(nn.Module):
    def __init__(self, c, k, dilations):
        super().__init__()
        self.a = nn.ModuleList(nn.Conv1d(c, c, k, padding=d * (k - 1) // 2, dilation=d) for d in dilations)
        self.b = nn.ModuleList(nn.Conv1d(c, c, 1) for _ in dilations)

    def forward(self, x):
        for a, b in zip(self.a, self.b):
            x = x + b(F.leaky_relu(a(F.leaky_relu(x, 0.1)), 0.1))
        return x


class Upsampler(nn.Module):
    """`strides` multiply to the hop; each halves the channels and is followed by residual convolutions (several kernels: HiFi-GAN)."""

    def __init__(self, strides, width=160, kernels=(3,), inputs=MELS):
        super().__init__()
        self.first, self.up, self.res = nn.Conv1d(inputs, width, 7, padding=3), nn.ModuleList(), nn.ModuleList()
        for s in strides:
            out = max(12, width // 2)
            self.up.append(nn.ConvTranspose1d(width, out, 2 * s, s, padding=s // 2 + s % 2, output_padding=s % 2))
            self.res.append(nn.ModuleList(Residual(out, k, (1, 3, 9) if len(kernels) == 1 else (1, 3)) for k in kernels))
            width = out
        self.last = nn.Conv1d(width, 1, 7, padding=3)

    def forward(self, x):
        x = self.first(x)
        for up, res in zip(self.up, self.res):
            x = up(F.leaky_relu(x, 0.1))
            x = sum(r(x) for r in res) / len(res)
        return torch.tanh(self.last(F.leaky_relu(x, 0.1)))[:, 0]


class Istft(nn.Module):
    """Amplitude and phase of each frame, then the inverse transform (after Vocos)."""

    def __init__(self, width=192, blocks=5):
        super().__init__()
        self.first = nn.Conv1d(MELS, width, 7, padding=3)
        self.blocks = nn.ModuleList(
            nn.Sequential(nn.Conv1d(width, width, 7, padding=3, groups=width), nn.Conv1d(width, 2 * width, 1), nn.GELU(), nn.Conv1d(2 * width, width, 1))
            for _ in range(blocks))
        self.last = nn.Conv1d(width, FFT + 2, 1)

    def forward(self, x):
        x = self.first(x)
        for b in self.blocks:
            x = x + b(x)
        a, p = self.last(x).chunk(2, 1)
        spec = torch.polar(a.clamp(max=6).exp(), p)
        y = torch.istft(F.pad(spec, (0, 1)), FFT, HOP, window=torch.hann_window(FFT, device=x.device), length=x.shape[2] * HOP + HOP)
        return y[:, HOP // 2 : HOP // 2 + x.shape[2] * HOP].clamp(-1, 1)


class Codec(nn.Module):
    """Waveform in, 50 to 125 coarse vectors a second in the middle, waveform out."""

    def __init__(self, strides=(4, 4, 8), middle=24):
        super().__init__()
        c, enc = 16, [nn.Conv1d(1, 16, 7, padding=3)]
        for s in strides:
            enc += [Residual(c, 3, (1, 3)), nn.LeakyReLU(0.1), nn.Conv1d(c, 2 * c, 2 * s, s, padding=s // 2)]
            c *= 2
        self.encoder = nn.Sequential(*enc, nn.Conv1d(c, middle, 3, padding=1), nn.Tanh())
        self.decoder = Upsampler(tuple(reversed(strides)), c, inputs=middle)

    def forward(self, wave):
        z = self.encoder(wave[:, None])
        return self.decoder(z + (torch.round(z * 4) / 4 - z).detach())


def build(kind):
    return {"melgan": lambda: Upsampler((8, 8, 4)), "hifigan": lambda: Upsampler((8, 4, 4, 2), 128, (3, 7)), "istft": Istft, "codec": Codec}[kind]()


class Discriminator(nn.Module):
    """Judges complex spectrograms of two resolutions; returns the scores and the maps between."""

    def __init__(self, sizes=(256, 1024), c=16):
        super().__init__()
        self.sizes = sizes
        self.nets = nn.ModuleList(
            nn.ModuleList([nn.Conv2d(2, c, (7, 5), (2, 1), (3, 2)), nn.Conv2d(c, c, (5, 5), (2, 2), (2, 2)), nn.Conv2d(c, 2 * c, (5, 3), (2, 1), (2, 1)),
                           nn.Conv2d(2 * c, 2 * c, 3, 1, 1), nn.Conv2d(2 * c, 1, 3, 1, 1)]) for _ in sizes)

    def forward(self, x):
        scores, maps = [], []
        for n, net in zip(self.sizes, self.nets):
            s = torch.stft(x, n, n // 4, window=torch.hann_window(n, device=x.device), return_complex=True)
            h = torch.view_as_real(s * (s.abs() + 1e-4) ** -0.7).permute(0, 3, 1, 2)  # compressed: a loud vowel must not hide the rest
            for layer in net[:-1]:
                h = F.leaky_relu(layer(h), 0.1)
                maps.append(h)
            scores.append(net[-1](h))
        return scores, maps


def stft_loss(y, x):
    """Log-magnitude and spectral convergence at three resolutions (Parallel WaveGAN)."""
    loss = 0
    for n in (256, 512, 1024):
        w = torch.hann_window(n, device=x.device)
        a, b = (torch.stft(v, n, n // 4, window=w, return_complex=True).abs() for v in (y, x))
        loss = loss + (a.clamp_min(1e-4).log() - b.clamp_min(1e-4).log()).abs().mean() + (a - b).norm() / (b.norm() + 1e-3)
    return loss / 3


def main():
    a = arguments(__doc__, kind="melgan", minutes=7.0, batch=8, threads=1)
    torch.set_num_threads(a.threads)
    torch.manual_seed(5)
    rng, c = np.random.default_rng(5), open_corpus(a)
    rows = [(r, 3.0 if k == "bonafide" else 1.0) for k in ("bonafide", "speech") for r in c.select("train", k, 1.0)]
    p = np.array([w * r["length"] for r, w in rows])
    p /= p.sum()

    def batch():
        out = []
        while len(out) < a.batch:
            r = rows[rng.choice(len(rows), p=p)][0]
            x = c.audio(r, int(rng.integers(0, r["length"] - SEGMENT)), SEGMENT)
            if np.abs(x).max() > 0.01:
                out.append(x / np.abs(x).max() * rng.uniform(0.2, 0.95))
        return torch.tensor(np.stack(out)).to(DEVICE)

    net, judge = build(a.kind).to(DEVICE), Discriminator().to(DEVICE)
    og = torch.optim.AdamW(net.parameters(), lr=1e-3, betas=(0.8, 0.99))
    oj = torch.optim.AdamW(judge.parameters(), lr=5e-4, betas=(0.8, 0.99))
    began, step, run = time.time(), 0, None
    while (done := (time.time() - began) / 60 / a.minutes) < 1:
        for g in og.param_groups:
            g["lr"] = 1e-3 * min(1, step / 100) * (1 - 0.9 * done)
        x = batch()
        y = net(x if a.kind == "codec" else log_mel(x))[:, :SEGMENT]
        loss = rec = stft_loss(y, x)
        if done > 0.3:  # the judge joins when there is something to judge
            (sx, _), (sy, _) = judge(x), judge(y.detach())
            lj = sum((u - 1).square().mean() + v.square().mean() for u, v in zip(sx, sy))
            oj.zero_grad(), lj.backward(), oj.step()
            with torch.no_grad():
                _, fx = judge(x)
            sy, fy = judge(y)
            loss = rec + 0.15 * sum((v - 1).square().mean() for v in sy) + 0.5 * sum((u - v).abs().mean() for u, v in zip(fx, fy)) / len(fx)
        og.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(net.parameters(), 5.0)
        og.step()
        step, run = step + 1, float(rec.detach()) if run is None else 0.98 * run + 0.02 * float(rec.detach())
        if step % 100 == 0:
            print(step, round(run, 3), round(done, 2), flush=True)
    save(net.state_dict(), Path(a.work) / f"vocoder_{a.kind}.pt")
    (Path(a.work) / f"vocoder_{a.kind}.json").write_text(json.dumps({"steps": step, "stft_loss": round(run, 3), "minutes": a.minutes}))


if __name__ == "__main__":
    main()
