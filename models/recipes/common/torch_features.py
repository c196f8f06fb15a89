"""The same features in PyTorch, float32 and batched, for training. `python -m models.recipes.common.test_features` compares."""
import numpy as np
import torch
import torch.nn.functional as F

from . import features as ref

_T = {}


def _const(name, make, device="cpu"):
    key = name, str(device)
    if key not in _T:
        _T[key] = torch.tensor(make(), dtype=torch.float32, device=device)
    return _T[key]


def stft(x):
    """[B, N] -> [B, T, 257], complex."""
    return torch.fft.rfft(x.unfold(1, ref.WINDOW, ref.HOP) * _const("hann", ref.hann, x.device), ref.N_FFT)


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


def _halve(x):
    def make():
        j = np.arange(-15, 16)
        h = 0.5 * np.sinc(j / 2) * (0.54 + 0.46 * np.cos(np.pi * j / 15))
        return (h / h.sum())[None, None]

    return F.conv1d(x[:, None], _const("halve", make, x.device), stride=2, padding=15)[:, 0]


def _kernel_matrix(octave):
    """Real and imaginary kernels of one octave aligned on their centres: ([span, 24], samples left of the centre)."""
    ks = ref.cq_kernels()[octave]
    left = max(len(k) // 2 for k in ks)
    right = max(len(k) - len(k) // 2 for k in ks)
    m = np.zeros((left + right, 24))
    for i, k in enumerate(ks):
        a = left - len(k) // 2
        m[a : a + len(k), i], m[a : a + len(k), 12 + i] = k.real, k.imag
    return m, left


_K = {}


def cq_power(x):
    t = ref.frames_of(x.shape[1])
    out = x.new_zeros(x.shape[0], t, 96)
    for octave in range(8):
        key = octave, str(x.device)
        if key not in _K:
            m, left = _kernel_matrix(octave)
            _K[key] = torch.tensor(m, dtype=torch.float32, device=x.device), left
        kernel, left = _K[key]
        shift = max(octave - 1, 0)
        if octave > 1:
            x = _halve(x)
        c = 160 * torch.arange(t, device=x.device) + 200
        if shift:
            c = (c + 2 ** (shift - 1)) >> shift
        pad = F.pad(x, (left, kernel.shape[0] + 8))
        seg = pad.unfold(1, kernel.shape[0], 1)[:, c]
        y = (seg @ kernel).square()
        lo = 84 - 12 * octave
        out[:, :, lo : lo + 12] = y[..., :12] + y[..., 12:]
    return out


def delta(c):
    t = torch.arange(c.shape[1], device=c.device)
    hi, lo = c.shape[1] - 1, 0
    d = sum(n * (c[:, (t + n).clamp_max(hi)] - c[:, (t - n).clamp_min(lo)]) for n in (1, 2))
    return d / 10


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
    s = torch.fft.rfft((x / x.abs().amax(1).clamp_min(1e-9)[:, None]).unfold(1, ref.SHORT, ref.STEP) * hann, ref.SHORT_FFT)[..., 1:].abs().square()
    log = (s.reshape(*s.shape[:2], ref.SHORT_BANDS, -1).sum(3) + 1e-7).log()
    d = log.unfold(1, ref.SLOTS, ref.HOP // ref.STEP)[:, : ref.frames_of(x.shape[1])].transpose(2, 3)
    d = d - d.mean(2, keepdim=True)
    v = d.square().mean(2)
    corr = lambda a, b: (a * b).mean(2) / (a.square().mean(2) * b.square().mean(2) + 1e-6).sqrt()
    out = [corr(d[..., g:], d[..., :-g]) for g in ref.GAPS]
    out += [v.sqrt(), (d**3).mean(2) / (v + 1e-3) ** 1.5, d.diff(dim=2).abs().mean(2)]
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
