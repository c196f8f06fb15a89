"""Copy-synthesis: real train speech taken apart and put together again by WORLD, Griffin-Lim (mel or linear), LPC, disturbed
phases and our neural vocoders (vocoders.py; those found in the work folder).

Made once into `<work>/copies.npz` (int16; copy k of row n is as long as the original and in step with it, so that training can
put both through one channel). The settings of each copy are drawn at random, so that the detector does not learn one of them.
"""
from pathlib import Path

import numpy as np
import torch

from ..common.corpus import RATE, arguments, to_i16
from . import vocoders
from .originals import joined

SECONDS = 8


def world(x, rng):
    import pyworld

    y = x.astype(np.float64)
    f0, t = pyworld.dio(y, RATE)
    f0 = pyworld.stonemask(y, f0, t, RATE)
    sp, ap = pyworld.cheaptrick(y, f0, t, RATE), pyworld.d4c(y, f0, t, RATE)
    if rng.random() < 0.5:  # a coarser envelope, as statistical systems have
        n = int(rng.choice([25, 40, 60]))
        sp = pyworld.decode_spectral_envelope(pyworld.code_spectral_envelope(sp, RATE, n), RATE, (sp.shape[1] - 1) * 2)
    if rng.random() < 0.4:
        f0 = f0 * 2 ** rng.uniform(-0.3, 0.3)
    return pyworld.synthesize(f0, sp, ap, RATE)


def mel_matrix(n_fft, mels):
    from librosa.filters import mel

    return torch.tensor(mel(sr=RATE, n_fft=n_fft, n_mels=mels), dtype=torch.float32)


def griffin_lim(x, rng, mels=True):
    n_fft = int(rng.choice([512, 1024]))
    hop, iters = n_fft // 4, int(rng.choice([4, 16, 32, 60]))
    w, x = torch.hann_window(n_fft), torch.tensor(x)
    spec = torch.stft(x, n_fft, hop, window=w, return_complex=True)
    mag = spec.abs()
    if mels:
        m = mel_matrix(n_fft, int(rng.choice([40, 64, 80, 100])))
        mag = (torch.linalg.pinv(m) @ (m @ mag)).clamp_min(1e-6)
    ang = torch.exp(2j * np.pi * torch.rand(mag.shape, generator=torch.Generator().manual_seed(int(rng.integers(2**31)))))
    prev = torch.zeros_like(ang)
    for _ in range(iters):  # the fast variant, momentum 0.9
        y = torch.istft(mag * ang, n_fft, hop, window=w, length=len(x))
        s = torch.stft(y, n_fft, hop, window=w, return_complex=True)
        a = s + 0.9 * (s - prev)
        prev, ang = s, a / a.abs().clamp_min(1e-8)
    return torch.istft(mag * ang, n_fft, hop, window=w, length=len(x)).numpy()


def lpc(x, rng, n=480, hop=160):
    """LPC analysis, and a pulse train mixed with noise through the synthesis filter."""
    import pyworld
    from scipy.linalg import solve_toeplitz
    from scipy.signal import lfilter

    order = int(rng.choice([12, 16, 20, 24]))
    y = x.astype(np.float64)
    f0, _ = pyworld.dio(y, RATE, frame_period=10.0)
    y = np.concatenate([y, np.zeros(n)])
    w, out, phase = np.hanning(n), np.zeros(len(y)), 0.0
    for t, s in enumerate(range(0, len(x) - n, hop)):
        seg = y[s : s + n] * w
        r = np.correlate(seg, seg, "full")[n - 1 : n + order]
        if r[0] < 1e-7:
            continue
        r[0] *= 1.0001
        a = np.concatenate([[1.0], -solve_toeplitz(r[:order], r[1 : order + 1])])
        gain = np.sqrt(max(1e-12, a @ r[: order + 1]) / (w**2).sum())
        f = f0[min(t, len(f0) - 1)]
        e = rng.standard_normal(n)
        if f > 0:
            p = np.floor(phase + np.arange(n + 1) * f / RATE)
            e = np.diff(p) * np.sqrt(RATE / f) + rng.uniform(0, 0.3) * e
            phase = (phase + hop * f / RATE) % 1.0
        out[s : s + n] += lfilter([gain], a, e) * w
    return out[: len(x)]


def phases(x, rng):
    """Amplitudes nearly kept, phases disturbed more and more towards high frequencies, a little noise in the shape of the speech. At 4 kHz they are off by
    half a radian or more: what is disturbed less is the recording, and nobody's forgery."""
    n_fft = int(rng.choice([256, 512, 1024]))
    w, x = torch.hann_window(n_fft), torch.tensor(x)
    spec = torch.stft(x, n_fft, n_fft // 4, window=w, return_complex=True)
    g = torch.Generator().manual_seed(int(rng.integers(2**31)))
    f = torch.linspace(0, 1, spec.shape[0])[:, None]
    start, depth = rng.uniform(0, 0.25), rng.uniform(2.0, 6.0)
    spec = spec * torch.exp(1j * ((f - start).clamp_min(0) * depth * torch.randn(spec.shape, generator=g)))
    smooth = torch.nn.functional.avg_pool2d(spec.abs()[None], (9, 3), 1, (4, 1), count_include_pad=False)[0]
    noise = torch.complex(torch.randn(spec.shape, generator=g), torch.randn(spec.shape, generator=g))
    return torch.istft(spec + smooth * noise * 10 ** (-rng.uniform(12, 30) / 20), n_fft, n_fft // 4, window=w, length=len(x)).numpy()


def neural(net, codec):
    """A vocoder run at its own rate or, as demo pages do, at 22.05 or 24 kHz (its marks then lie elsewhere in the spectrum)."""
    import soxr

    @torch.no_grad()
    def make(x, rng):
        rate = RATE if rng.random() < 0.5 else float(rng.choice([22050, 24000]))
        peak = np.abs(x).max() + 1e-9
        y = (x if rate == RATE else soxr.resample(x, RATE, rate)) / peak * 0.9
        y = torch.tensor(y[: len(y) // vocoders.HOP * vocoders.HOP], dtype=torch.float32)[None]
        z = net(y if codec else vocoders.log_mel(y))[0].numpy()
        z = z if rate == RATE else soxr.resample(z, rate, RATE)
        return np.pad(z, (0, max(0, len(x) - len(z))))[: len(x)]

    return make


def kinds(work):
    out = {"world": world, "gl_mel": griffin_lim, "gl_linear": lambda x, r: griffin_lim(x, r, False), "lpc": lpc, "phases": phases}
    for kind in ("melgan", "hifigan", "istft", "codec"):
        at = Path(work) / f"vocoder_{kind}.pt"
        if at.exists():
            net = vocoders.build(kind)
            net.load_state_dict(torch.load(at))
            out[kind] = neural(net.eval(), kind == "codec")
    return out


def source_rows(corpus, speech, originals):
    """`speech` rows of that kind beside all of `bonafide`, and so many of each voice of the originals."""
    rows = corpus.select("train", "speech", 3.0)
    pick = np.random.default_rng(77).choice(len(rows), speech, replace=False)
    studios = [r for r in corpus.select("train", "original", 1.2) if int(r["path"][-4:]) < originals]  # numbered within a voice, in an order that was drawn
    return corpus.select("train", "bonafide", 1.0) + [rows[i] for i in sorted(pick)] + studios


_S = {}


def _start(args, work):
    torch.set_num_threads(1)
    _S.update(c=joined(args), kinds=kinds(work))


def _copy(job):
    n, row = job
    x, out = _S["c"].audio(row)[: SECONDS * RATE], []
    for i, (kind, make) in enumerate(_S["kinds"].items()):
        try:
            y = np.asarray(make(x, np.random.default_rng([n, i])))
        except Exception as e:
            print("skipped", kind, row["path"], e)
            continue
        y = np.pad(y, (0, max(0, len(x) - len(y))))[: len(x)] * np.sqrt((x**2).mean() / ((y**2).mean() + 1e-12))
        if np.isfinite(y).all():
            out.append((f"{kind} {row['path']}", to_i16(y)))
    return out


def main():
    from multiprocessing import get_context

    a = arguments(__doc__, speech=250, originals=40)
    rows, names, audio = source_rows(joined(a), a.speech, a.originals), [], []
    with get_context("spawn").Pool(2, _start, (a, a.work)) as pool:
        for n, out in enumerate(pool.imap(_copy, enumerate(rows), chunksize=4)):
            names += [name for name, _ in out]
            audio += [y for _, y in out]
            if n % 50 == 0:
                print(n, flush=True)
    np.savez(Path(a.work) / "copies.npz", names=np.array(names), lengths=np.array([len(y) for y in audio]), audio=np.concatenate(audio))


if __name__ == "__main__":
    main()
