"""The features of docs/features.md in NumPy, float64 inside: the reference that the golden vectors are made from."""
from functools import lru_cache

import numpy as np

RATE, WINDOW, HOP, N_FFT = 16000, 400, 160, 512
MELS, LOW, HIGH = 80, 20.0, 7600.0
CEPSTRA, CQ_BINS, CQ_LOW, CQ_OCTAVE = 20, 96, 31.25, 12
FLOOR = 1e-10
FINE_BANDS = 32
SHORT, STEP, SHORT_FFT, SLOTS, SHORT_BANDS, GAPS, LATE_GAPS = 64, 16, 128, 22, 16, (1, 2, 3, 4, 6, 8), (1, 2)
CEPSTRAL_DIM, FINE_DIM, SYNCHRONY_DIM, PICTURE_DIM = 180, 7 * FINE_BANDS + 1, 178, 3 * 256
SPECTRAL_DIM = CEPSTRAL_DIM + FINE_DIM + SYNCHRONY_DIM + PICTURE_DIM


def frames_of(n):
    return 0 if n < WINDOW else 1 + (n - WINDOW) // HOP


@lru_cache
def hann():
    return 0.5 - 0.5 * np.cos(2 * np.pi * np.arange(WINDOW) / WINDOW)


@lru_cache
def filters(count, scale, low, high):
    """Triangles [count, 257], linear in Hz between edges equally spaced on the scale."""
    if scale == "mel":
        to, back = lambda f: 2595 * np.log10(1 + f / 700), lambda m: 700 * (10 ** (m / 2595) - 1)
    else:
        to = back = lambda f: f
    e = np.array([back(v) for v in np.linspace(to(low), to(high), count + 2)])[:, None]
    f = np.arange(N_FFT // 2 + 1) * RATE / N_FFT
    return np.maximum(0, np.minimum((f - e[:-2]) / (e[1:-1] - e[:-2]), (e[2:] - f) / (e[2:] - e[1:-1])))


@lru_cache
def dct_matrix(n, keep=CEPSTRA):
    """Orthonormal DCT-II, [keep, n]."""
    k = np.arange(keep)[:, None]
    m = np.sqrt(2 / n) * np.cos(np.pi * k * (2 * np.arange(n) + 1) / (2 * n))
    m[0] /= np.sqrt(2)
    return m


def stft(x):
    """[T, 257] complex spectrum."""
    t = frames_of(len(x))
    if t == 0:
        return np.zeros((0, N_FFT // 2 + 1), complex)
    f = np.lib.stride_tricks.sliding_window_view(np.asarray(x, np.float64), WINDOW)[::HOP][:t]
    return np.fft.rfft(f * hann(), N_FFT)


def power(x):
    """[T, 257] power spectrum."""
    return np.abs(stft(x)) ** 2


def log_filter(p, count, scale, low, high):
    return np.log(np.maximum(p @ filters(count, scale, low, high).T, FLOOR))


def fbank(x):
    return log_filter(power(x), MELS, "mel", LOW, HIGH)


def mfcc(x):
    return log_filter(power(x), 64, "mel", LOW, HIGH) @ dct_matrix(64).T


def lfcc(x):
    return log_filter(power(x), 70, "linear", 0.0, 8000.0) @ dct_matrix(70).T


def halve(x):
    """One decimation by two: windowed sinc of 31 taps, zeros outside."""
    j = np.arange(-15, 16)
    h = 0.5 * np.sinc(j / 2) * (0.54 + 0.46 * np.cos(np.pi * j / 15))
    return np.convolve(x, h / h.sum(), mode="full")[15 : 15 + len(x)][::2]


@lru_cache
def cq_kernels():
    """Twelve complex kernels for each octave 0..7 (highest first), in ascending frequency."""
    q = 1 / (2 ** (1 / CQ_OCTAVE) - 1)
    out = []
    for octave in range(8):
        rate, row = RATE / 2 ** max(octave - 1, 0), []
        for k in range(84 - 12 * octave, 96 - 12 * octave):
            f = CQ_LOW * 2 ** (k / CQ_OCTAVE)
            length = int(np.ceil(q * rate / f))
            n = np.arange(length)
            w = 0.5 - 0.5 * np.cos(2 * np.pi * n / length)
            row.append(w / w.sum() * np.exp(-2j * np.pi * f * n / rate))
        out.append(row)
    return out


def cq_power(x):
    """[T, 96] constant-Q power, bin 0 the lowest."""
    x, t = np.asarray(x, np.float64), frames_of(len(x))
    out = np.zeros((t, CQ_BINS))
    for octave in range(8):
        m = max(octave - 1, 0)
        if m and octave > 1:
            x = halve(x)
        c = 160 * np.arange(t) + 200
        if m:
            c = (c + 2 ** (m - 1)) >> m
        for i, kernel in enumerate(cq_kernels()[octave]):
            n = len(kernel)
            pad = np.concatenate([np.zeros(n), x, np.zeros(2 * n + 400)])
            seg = np.lib.stride_tricks.sliding_window_view(pad, n)[c - n // 2 + n]
            out[:, 84 - 12 * octave + i] = np.abs(seg @ kernel) ** 2
    return out


def cqcc(x):
    return np.log(np.maximum(cq_power(x), FLOOR)) @ dct_matrix(CQ_BINS).T


def delta(c):
    t, out = np.arange(len(c)), np.zeros_like(c)
    for n in (1, 2):
        out += n * (c[np.minimum(t + n, len(c) - 1)] - c[np.maximum(t - n, 0)])
    return out / 10


def with_deltas(c):
    return np.concatenate([c, delta(c), delta(delta(c))], axis=1)


@lru_cache
def fine_bands(n):
    """Means over 32 equal bands from bin 1 to 255, of n values along the frequency axis: [32, n]."""
    e = [1 + 255 * i // FINE_BANDS for i in range(FINE_BANDS + 1)]
    m = np.array([[a <= k < b for k in range(n)] for a, b in zip(e, e[1:])], float)
    return m / m.sum(1, keepdims=True)


def fine(x):
    """[T, 225]: roughness of the log spectrum and curvature of the phase along frequency and time, and the frame's level."""
    t = frames_of(len(x))
    if t < 3:
        return np.zeros((t, FINE_DIM))
    s = stft(x) / max(np.abs(x).max(), 1e-9)
    p = np.abs(s) ** 2
    l, u = np.log(p + FLOOR), s / (np.abs(s) + 1e-9)
    turn = u[:, 1:] * u[:, :-1].conj()
    mid = lambda v: np.concatenate([v[:1], v, v[-1:]])  # the first and the last frame lack a neighbour
    kinds = [np.abs(l[:, 1:] - l[:, :-1]), np.abs(l[:, 2:] + l[:, :-2] - 2 * l[:, 1:-1]), (turn[:, 1:] * turn[:, :-1].conj()).real,
             mid(np.abs(l[2:] - l[1:-1])), mid(np.abs(l[2:] + l[:-2] - 2 * l[1:-1])),
             mid((u[2:] * u[:-2] * u[1:-1].conj() ** 2).real), mid((turn[1:-1] * turn[:-2].conj()).real)]
    e = p.sum(1) + FLOOR
    return np.concatenate([k @ fine_bands(k.shape[1]).T for k in kinds] + [np.log(e / e.max())[:, None]], axis=1)


def synchrony(x):
    """[T, 178]: how the log energies of 16 bands, 4 ms windows 1 ms apart, move together within a frame."""
    t = frames_of(len(x))
    short = np.lib.stride_tricks.sliding_window_view(np.asarray(x, np.float64) / max(np.abs(x).max(), 1e-9), SHORT)[::STEP]
    s = np.abs(np.fft.rfft(short * (0.5 - 0.5 * np.cos(2 * np.pi * np.arange(SHORT) / SHORT)), SHORT_FFT)[:, 1:]) ** 2
    log = np.log(s.reshape(len(s), SHORT_BANDS, -1).sum(2) + 1e-7)
    d = np.stack([log[10 * i : 10 * i + SLOTS] for i in range(t)])
    d -= d.mean(1, keepdims=True)
    v = (d**2).mean(1)
    corr = lambda a, b: (a * b).mean(1) / np.sqrt((a**2).mean(1) * (b**2).mean(1) + 1e-6)
    out = [corr(d[:, :, g:], d[:, :, :-g]) for g in GAPS]
    out += [np.sqrt(v), (d**3).mean(1) / (v + 1e-3) ** 1.5, np.abs(np.diff(d, axis=1)).mean(1)]
    for g in LATE_GAPS:
        out += [corr(d[:, 1:, :-g], d[:, :-1, g:]), corr(d[:, :-1, :-g], d[:, 1:, g:])]
    return np.concatenate(out, axis=1)


def picture(x):
    """[T, 3 * 256]: log power of bins 1 to 256, then the turn of the phase from the bin below (cosine, sine);
    of the clip at full scale, since a quiet one must look the same."""
    s = stft(x) / max(np.abs(x).max(), 1e-9)
    u = s / (np.abs(s) + 1e-9)
    turn = u[:, 1:] * u[:, :-1].conj()
    return np.concatenate([np.log(np.abs(s[:, 1:]) ** 2 + FLOOR), turn.real, turn.imag], axis=1)


def spectral(x):
    """[T, SPECTRAL_DIM]: cepstra with their deltas, normalised over the window; the fine structure, the synchrony of bands and the picture as they are."""
    s = np.concatenate([with_deltas(f(x)) for f in (mfcc, lfcc, cqcc)], axis=1)
    return np.concatenate([(s - s.mean(0)) / (s.std(0) + 1e-5), fine(x), synchrony(x), picture(x)], axis=1)
