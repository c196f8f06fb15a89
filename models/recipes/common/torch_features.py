"""The same features in PyTorch, float32 and batched, for training. `python -m models.recipes.common.test_features` compares.

They become a graph, too, with which a GPU makes them (spectral_graph.py). ONNX knows no complex numbers and has its Fourier transform on few devices, so there
spectra are pairs of real tensors, and come out of a matrix product.
"""
import numpy as np
import torch
import torch.nn.functional as F

from . import features as ref

_T = {}


class Pair:
    """Complex numbers, as far as they are needed here, in two real tensors."""

    def __init__(self, real, imag):
        self.real, self.imag = real, imag

    def __mul__(self, other):
        return Pair(self.real * other.real - self.imag * other.imag, self.real * other.imag + self.imag * other.real)

    def __pow__(self, two):
        return self * self

    def __truediv__(self, real):
        return Pair(self.real / real, self.imag / real)

    def __getitem__(self, at):
        return Pair(self.real[at], self.imag[at])

    def conj(self):
        return Pair(self.real, -self.imag)

    def abs(self):
        return (self.real.square() + self.imag.square()).sqrt()


def _const(name, make, device="cpu"):
    key = name, str(device)
    if key not in _T:
        _T[key] = torch.tensor(make(), dtype=torch.float32, device=device)
    return _T[key]


def _frames(x, length, hop):
    """[B, N, …] -> [B, T, length, …]."""
    if not torch.onnx.is_in_onnx_export():
        return x.unfold(1, length, hop).movedim(-1, 2)
    # Blocks of a hop beside those that follow: an index to gather by would be made by the host at each run.
    count, blocks = (x.shape[1] - length) // hop + 1, -(-length // hop)
    x = torch.cat([x, x[:, :hop]], 1)[:, : (count + blocks - 1) * hop].unflatten(1, (-1, hop))
    return torch.cat([x[:, i : i + count] for i in range(blocks)], 2)[:, :, :length]


def _rfft(x, n):
    """[…, length] -> […, n / 2 + 1], complex."""
    if not torch.onnx.is_in_onnx_export():
        return torch.fft.rfft(x, n)
    turns = lambda: 2 * np.pi * (np.arange(x.shape[-1])[:, None] * np.arange(n // 2 + 1) % n) / n
    return Pair(x @ _const(f"cos{n}", lambda: np.cos(turns()), x.device), x @ _const(f"sin{n}", lambda: -np.sin(turns()), x.device))


def _count(x):
    """Frames of a clip that has one at least."""
    return (x.shape[1] - ref.WINDOW) // ref.HOP + 1


def stft(x):
    """[B, N] -> [B, T, 257], complex."""
    return _rfft(_frames(x, ref.WINDOW, ref.HOP) * _const("hann", ref.hann, x.device), ref.N_FFT)


def power(x):
    return stft(x).abs().square()


def _log(e):
    return e.clamp_min(ref.FLOOR).log()


def fbank_of(p):
    return _log(p @ _const("mel80", lambda: ref.filters(80, "mel", ref.LOW, ref.HIGH).T, p.device))


def fbank(x):
    return fbank_of(power(x))


def _cepstra(p, count, scale, low, high):
    w = _const(f"{scale}{count}", lambda: ref.filters(count, scale, low, high).T, p.device)
    return _log(p @ w) @ _const(f"dct{count}", lambda: ref.dct_matrix(count).T, p.device)


def _halving():
    j = np.arange(-15, 16)
    h = 0.5 * np.sinc(j / 2) * (0.54 + 0.46 * np.cos(np.pi * j / 15))
    return (h / h.sum())[None, None]


def _kernels(octave):
    """Real and imaginary kernels of one octave aligned on their centres: ([24, 1, span], samples left of the centre)."""
    ks = ref.cq_kernels()[octave]
    left = max(len(k) // 2 for k in ks)
    m = np.zeros((24, 1, left + max(len(k) - len(k) // 2 for k in ks)))
    for i, k in enumerate(ks):
        a = left - len(k) // 2
        m[i, 0, a : a + len(k)], m[12 + i, 0, a : a + len(k)] = k.real, k.imag
    return m, left


def cq_power(x):
    t, out, x = _count(x), [], x[:, None]
    for octave in range(8):
        m, left = _kernels(octave)
        kernel = _const(f"octave{octave}", lambda: m, x.device)
        shift = max(octave - 1, 0)
        if octave > 1:
            x = F.conv1d(x, _const("halve", _halving, x.device), stride=2, padding=15)
        # The middle of frame t is sample (160 t + 200) / 2^shift, rounded: of the lowest octave every other one lies five samples after that before it.
        each = 2 if shift == 6 else 1
        middles = [(160 * i + 200 + (2**shift >> 1)) >> shift for i in range(each)]
        padded = F.pad(x, (left, m.shape[2] + 8))
        y = [F.conv1d(padded[:, :, c:], kernel, stride=160 * each >> shift).square()[:, :, : (t + each - 1) // each] for c in middles]
        y = torch.stack(y, 3).flatten(2)[:, :, :t]
        out.insert(0, y[:, :12] + y[:, 12:])
    return torch.cat(out, 1).transpose(1, 2)


def delta(c):
    c = torch.cat([c[:, :1], c[:, :1], c, c[:, -1:], c[:, -1:]], 1)
    return (c[:, 3:-1] - c[:, 1:-3] + 2 * (c[:, 4:] - c[:, :-4])) / 10


def fine(x):
    """[B, N] -> [B, T, 225]; at least three frames."""
    s = stft(x) / x.abs().amax(1).clamp_min(1e-9)[:, None, None]
    p = s.abs().square()
    l, u = (p + ref.FLOOR).log(), s / (s.abs() + 1e-9)
    turn = u[..., 1:] * u[..., :-1].conj()
    mid = lambda v: torch.cat([v[:, :1], v, v[:, -1:]], 1)
    kinds = [(l[..., 1:] - l[..., :-1]).abs(), (l[..., 2:] + l[..., :-2] - 2 * l[..., 1:-1]).abs(), (turn[..., 1:] * turn[..., :-1].conj()).real,
             mid((l[:, 2:] - l[:, 1:-1]).abs()), mid((l[:, 2:] + l[:, :-2] - 2 * l[:, 1:-1]).abs()),
             mid((u[:, 2:] * u[:, :-2] * u[:, 1:-1].conj() ** 2).real), mid((turn[:, 1:-1] * turn[:, :-2].conj()).real)]
    e = p.sum(2) + ref.FLOOR
    bands = lambda k: k @ _const(f"fine{k.shape[2]}", lambda: ref.fine_bands(k.shape[2]).T, k.device)
    return torch.cat([bands(k) for k in kinds] + [(e / e.amax(1, keepdim=True)).log()[..., None]], 2)


def synchrony(x):
    """[B, N] -> [B, T, 178]."""
    hann = _const("short", lambda: 0.5 - 0.5 * np.cos(2 * np.pi * np.arange(ref.SHORT) / ref.SHORT), x.device)
    s = _rfft(_frames(x / x.abs().amax(1).clamp_min(1e-9)[:, None], ref.SHORT, ref.STEP) * hann, ref.SHORT_FFT)[..., 1:].abs().square()
    log = (s.reshape(*s.shape[:2], ref.SHORT_BANDS, -1).sum(3) + 1e-7).log()
    d = _frames(log, ref.SLOTS, ref.HOP // ref.STEP)[:, : _count(x)]
    d = d - d.mean(2, keepdim=True)
    v = d.square().mean(2)
    corr = lambda a, b: (a * b).mean(2) / (a.square().mean(2) * b.square().mean(2) + 1e-6).sqrt()
    out = [corr(d[..., g:], d[..., :-g]) for g in ref.GAPS]
    out += [v.sqrt(), (d**3).mean(2) / (v + 1e-3) ** 1.5, (d[:, :, 1:] - d[:, :, :-1]).abs().mean(2)]
    for g in ref.LATE_GAPS:
        out += [corr(d[:, :, 1:, :-g], d[:, :, :-1, g:]), corr(d[:, :, :-1, :-g], d[:, :, 1:, g:])]
    return torch.cat(out, 2)


def picture(x):
    """[B, N] -> [B, T, 3 * 256]: log power of bins 1 to 256, then the turn of the phase from the bin below (cosine, sine)."""
    s = stft(x) / x.abs().amax(1).clamp_min(1e-9)[:, None, None]
    u = s / (s.abs() + 1e-9)
    turn = u[..., 1:] * u[..., :-1].conj()
    return torch.cat([(s.abs().square()[..., 1:] + ref.FLOOR).log(), turn.real, turn.imag], 2)


def spectral(x):
    """[B, N] -> [B, T, SPECTRAL_DIM]: cepstra normalised over the window, the fine structure, the synchrony of bands, the picture."""
    p = power(x)
    cq = _log(cq_power(x)) @ _const("dct96", lambda: ref.dct_matrix(96).T, x.device)
    parts = []
    for c in (_cepstra(p, 64, "mel", ref.LOW, ref.HIGH), _cepstra(p, 70, "linear", 0.0, 8000.0), cq):
        d = delta(c)
        parts += [c, d, delta(d)]
    s = torch.cat(parts, -1)
    return torch.cat([(s - s.mean(1, keepdim=True)) / (s.std(1, keepdim=True, unbiased=False) + 1e-5), fine(x), synchrony(x), picture(x)], 2)
