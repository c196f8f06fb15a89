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

    def __truediv__(self, real):
        return Pair(self.real / real, self.imag / real)

    def __getitem__(self, at):
        return Pair(self.real[at], self.imag[at])


def _turn(a, b):
    """a conj(b): by how much the phase of a is ahead."""
    if not isinstance(a, Pair):
        return a * b.conj()
    return Pair(a.real * b.real + a.imag * b.imag, a.imag * b.real - a.real * b.imag)


def _const(name, make, device="cpu"):
    key = name, str(device)
    if key not in _T:
        _T[key] = torch.tensor(make(), dtype=torch.float32, device=device)
    return _T[key]


def _frames(x, length, hop):
    """[B, N, …] -> [B, T, length, …]; in a graph as many blocks of a hop as hold `length`."""
    if not torch.onnx.is_in_onnx_export():
        return x.unfold(1, length, hop).movedim(-1, 2)
    # Blocks of a hop beside those that follow: an index to gather by would be made by the host at each run.
    count, blocks = (x.shape[1] - length) // hop + 1, -(-length // hop)
    x = torch.cat([x, x[:, :hop]], 1)[:, : (count + blocks - 1) * hop].unflatten(1, (-1, hop))
    return torch.cat([x[:, i : i + count] for i in range(blocks)], 2)


def _rfft(x, window, n):
    """Frames [..., length] under a window -> [..., n / 2 + 1], complex. What lies behind the window counts for nothing."""
    if not torch.onnx.is_in_onnx_export():
        return torch.fft.rfft(x * _const(window.__name__, window, x.device), n)
    turns = lambda: 2 * np.pi * (np.arange(x.shape[-1])[:, None] * np.arange(n // 2 + 1) % n) / n
    rows = lambda: np.pad(window(), (0, x.shape[-1] - len(window())))[:, None]
    part = lambda name, of: x @ _const(f"{name}{n}", lambda: rows() * of(turns()), x.device)
    return Pair(part("cos", np.cos), part("sin", lambda a: -np.sin(a)))


def _square(s):
    return s.real.square() + s.imag.square()


def _count(x):
    """Frames of a clip that has one at least."""
    return (x.shape[1] - ref.WINDOW) // ref.HOP + 1


def _loudest(x):
    """[B, N] -> [B, 1, 1]. In two steps: a GPU has few threads for a row of 48,000 (an H100: 1.5 ms in ONNX Runtime)."""
    return F.max_pool1d(x.abs()[:, None], ref.HOP, ceil_mode=True).amax(2).clamp_min(1e-9)[..., None]


def stft(x):
    """[B, N] -> [B, T, 257], complex."""
    return _rfft(_frames(x, ref.WINDOW, ref.HOP), ref.hann, ref.N_FFT)


def power(x):
    return _square(stft(x))


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


def _structure(s, p, loudest):
    """Of spectra, their power and the loudest sample of each clip: the fine structure [B, T, 225] and the picture [B, T, 3 * 256].

    Both are of levels and of turns of the phase from one bin, or frame, to the next, which are made once.
    """
    p = p / loudest.square()
    l, u = (p + ref.FLOOR).log(), s / ((p.sqrt() + 1e-9) * loudest)
    turn, step = _turn(u[..., 1:], u[..., :-1]), _turn(u[:, 1:], u[:, :-1])
    rise, later = l[..., 1:] - l[..., :-1], l[:, 1:] - l[:, :-1]
    bands = lambda k: k @ _const(f"fine{k.shape[2]}", lambda: ref.fine_bands(k.shape[2]).T, k.device)
    mid = lambda v: torch.cat([v[:, :1], v, v[:, -1:]], 1)
    kinds = [bands(rise.abs()), bands((rise[..., 1:] - rise[..., :-1]).abs()), bands(_turn(turn[..., 1:], turn[..., :-1]).real),
             mid(bands(later[:, 1:].abs())), mid(bands((later[:, 1:] - later[:, :-1]).abs())), mid(bands(_turn(step[:, 1:], step[:, :-1]).real)),
             mid(bands(_turn(turn[:, 1:-1], turn[:, :-2]).real))]
    e = p.sum(2) + ref.FLOOR
    fine = torch.cat(kinds + [(e / e.amax(1, keepdim=True)).log()[..., None]], 2)
    return fine, torch.cat([l[..., 1:], turn.real, turn.imag], 2)


def _structure_of(x):
    s = stft(x)
    return _structure(s, _square(s), _loudest(x))


def fine(x):
    """[B, N] -> [B, T, 225]; at least three frames."""
    return _structure_of(x)[0]


def picture(x):
    """[B, N] -> [B, T, 3 * 256]: log power of bins 1 to 256, then the turn of the phase from the bin below (cosine, sine)."""
    return _structure_of(x)[1]


def short_hann():
    return 0.5 - 0.5 * np.cos(2 * np.pi * np.arange(ref.SHORT) / ref.SHORT)


def _pairs(gaps):
    """Places of the bands i and i + gap, for all gaps after each other."""
    low = np.concatenate([np.arange(ref.SHORT_BANDS - g) for g in gaps])
    return low, low + np.concatenate([np.full(ref.SHORT_BANDS - g, g) for g in gaps])


def _pick(x, at):
    return x.index_select(-1, torch.as_tensor(at, device=x.device))


def synchrony(x):
    """[B, N] -> [B, T, 178]."""
    return _synchrony(x, _loudest(x))


def _synchrony(x, loudest):
    """How all bands go with all others is one matrix product a frame."""
    s = _square(_rfft(_frames(x / loudest[:, 0], ref.SHORT, ref.STEP), short_hann, ref.SHORT_FFT))
    each = lambda: np.vstack([np.zeros(ref.SHORT_BANDS), np.repeat(np.eye(ref.SHORT_BANDS), ref.SHORT_FFT // 2 // ref.SHORT_BANDS, 0)])
    log = (s @ _const("short bands", each, x.device) + 1e-7).log()
    d = _frames(log, ref.SLOTS, ref.HOP // ref.STEP)[:, :, : ref.SLOTS]
    d = d - d.mean(2, keepdim=True)
    square, before, after = d.square(), d[:, :, :-1], d[:, :, 1:]
    v, v_before, v_after = square.mean(2), square[:, :, :-1].mean(2), square[:, :, 1:].mean(2)

    def corr(a, b, va, vb, i, j):
        together = (a.transpose(2, 3) @ b).flatten(2) / a.shape[2]
        return _pick(together, i * ref.SHORT_BANDS + j) / (_pick(va, i) * _pick(vb, j) + 1e-6).sqrt()

    out = [corr(d, d, v, v, *_pairs(ref.GAPS)), v.sqrt(), (square * d).mean(2) / (v + 1e-3) ** 1.5, (after - before).abs().mean(2)]
    for g in ref.LATE_GAPS:
        low, high = _pairs([g])
        out += [corr(after, before, v_after, v_before, low, high), corr(before, after, v_before, v_after, low, high)]
    return torch.cat(out, 2)


def spectral(x):
    """[B, N] -> [B, T, SPECTRAL_DIM]: cepstra normalised over the window, the fine structure, the synchrony of bands, the picture."""
    s = stft(x)
    p = _square(s)
    cq = _log(cq_power(x)) @ _const("dct96", lambda: ref.dct_matrix(96).T, x.device)
    parts = []
    for c in (_cepstra(p, 64, "mel", ref.LOW, ref.HIGH), _cepstra(p, 70, "linear", 0.0, 8000.0), cq):
        d = delta(c)
        parts += [c, d, delta(d)]
    cepstra = torch.cat(parts, -1)
    cepstra = (cepstra - cepstra.mean(1, keepdim=True)) / (cepstra.std(1, keepdim=True, unbiased=False) + 1e-5)
    loudest = _loudest(x)
    fine, picture = _structure(s, p, loudest)
    return torch.cat([cepstra, fine, _synchrony(x, loudest), picture], 2)
