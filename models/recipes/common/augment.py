"""Augmentation of one clip: reverberation, equaliser and band limit in one pass through the spectrum, noise, mu-law, gain, codecs."""
import io

import numpy as np

RATE = 16000


def fit_length(x, n, rng):
    """A random crop of n samples; a shorter clip is repeated."""
    if len(x) < n:
        x = np.tile(x, -(-n // max(1, len(x))))
        at = rng.integers(0, len(x) - n + 1)
        return x[at : at + n]
    at = rng.integers(0, len(x) - n + 1)
    return x[at : at + n]


def reverb(rng, rate=RATE):
    """A synthetic room: the direct sound and an exponentially falling noise tail."""
    rt = rng.uniform(0.1, 0.7)
    n = int(rate * min(0.5, rt))
    tail = rng.standard_normal(n) * 10 ** (-3 * np.arange(n) / (rt * rate))
    tail[: int(rng.uniform(0.001, 0.01) * rate)] = 0
    h = tail / np.sqrt((tail**2).sum()) * 10 ** (-rng.uniform(-2, 14) / 20)
    h[0] += 1
    return h


def shape(x, rng, p_reverb=0.4, p_eq=0.5, p_band=0.25, rate=RATE):
    n = 1 << int(np.ceil(np.log2(len(x) + rate // 2)))
    f = np.fft.rfftfreq(n, 1 / rate)
    h = np.ones(len(f))
    if rng.random() < p_eq:  # a tilt and a random smooth curve
        octave = np.log2(np.maximum(f, 60) / 1000)
        h *= 10 ** (rng.uniform(-3, 3) * octave / 20)
        h *= 10 ** (np.interp(octave, np.linspace(-4, 3, 8), rng.normal(0, 3, 8)) / 20)
    if rng.random() < p_band:
        lo, hi = (300, 3400) if rng.random() < 0.4 else (rng.uniform(20, 200), rng.uniform(3400, 7800))
        edge = lambda d, w: 1 / (1 + np.exp(np.clip(-d / w, -60, 60)))
        h *= edge(f - lo, 20) * edge(hi - f, 80)
    spec = np.fft.rfft(x, n) * h
    if rng.random() < p_reverb:
        spec = spec * np.fft.rfft(reverb(rng, rate), n)
    return np.fft.irfft(spec, n)[: len(x)]


def band(x, low, high):
    """Keeps low..high Hz, with soft edges."""
    n = 1 << int(np.ceil(np.log2(len(x) + 400)))
    f = np.fft.rfftfreq(n, 1 / RATE)
    edge = lambda d, w: 1 / (1 + np.exp(np.clip(-d / w, -60, 60)))
    return np.fft.irfft(np.fft.rfft(x, n) * edge(f - low, 20) * edge(high - f, 80), n)[: len(x)]


def mu_law(x, bits=8):
    mu = 2**bits - 1
    peak = np.abs(x).max() + 1e-9
    y = np.sign(x) * np.log1p(mu * np.abs(x) / peak) / np.log1p(mu)
    y = np.round((y + 1) / 2 * mu) / mu * 2 - 1
    return np.sign(y) * np.expm1(np.abs(y) * np.log1p(mu)) / mu * peak


def add_noise(x, noise, snr):
    a, b = (x**2).mean(), (noise**2).mean()
    return x if b < 1e-10 else x + noise * np.sqrt(a / b / 10 ** (snr / 10) + 1e-20)


CODECS = {  # of libsndfile, with the range of its compression level, and the rate where it has one of its own
    "OPUS": (dict(format="OGG", subtype="OPUS"), (0.85, 0.99), None),
    "MP3": (dict(format="MP3", subtype="MPEG_LAYER_III"), (0.3, 0.9), None),
    "VORBIS": (dict(format="OGG", subtype="VORBIS"), (0.4, 1.0), None),
    "GSM": (dict(format="WAV", subtype="GSM610"), None, 8000),
}


def g722(x):
    """There and back through ITU-T G.722 at 64 kbit/s, 16 kHz: what telephones speak that call themselves HD."""
    import av

    coder, decoder = av.CodecContext.create("g722", "w"), av.CodecContext.create("g722", "r")
    for c in (coder, decoder):
        c.sample_rate, c.layout = RATE, "mono"
    coder.format = "s16"
    peak, out = max(1.0, np.abs(x).max() * 1.05), []
    samples = np.clip(np.round(np.pad(x / peak, (0, -len(x) % 320)) * 32767), -32768, 32767).astype(np.int16)
    for i in range(0, len(samples), 320):
        frame = av.AudioFrame.from_ndarray(samples[None, i : i + 320], format="s16", layout="mono")
        frame.sample_rate, frame.pts = RATE, i
        out += [f.to_ndarray().ravel() for packet in coder.encode(frame) for f in decoder.decode(av.Packet(bytes(packet)))]
    return np.concatenate(out)[: len(x)].astype(np.float32) / 32768 * peak


def coded(x, rng, codec="OPUS", rate=RATE):
    """There and back through one of `CODECS` at a random bit rate (in memory)."""
    import soundfile as sf
    import soxr

    kind, levels, own = CODECS[codec]
    b, peak, n = io.BytesIO(), max(1.0, np.abs(x).max() * 1.05), len(x)
    more = {"compression_level": float(rng.uniform(*levels))} if levels else {}
    sf.write(b, soxr.resample(x / peak, rate, own) if own else x / peak, own or rate, **kind, **more)
    b.seek(0)
    y, told = sf.read(b, dtype="float32")
    if told != rate:
        y = soxr.resample(y, told, rate)
    return np.resize(y, n) * peak if len(y) < n else y[:n] * peak


class Augmenter:
    """Noise comes from the corpus's train sounds and music, from other talkers (babble) and from coloured random noise."""

    def __init__(self, corpus):
        self.c = corpus
        self.pool = {k: corpus.select("train", k) for k in ("sound", "music")}
        self.speech = corpus.select("train", "speech", 1.0)

    def noise(self, n, rng):
        u = rng.random()
        if u < 0.2:
            s = np.fft.rfft(rng.standard_normal(n))
            s *= np.maximum(np.arange(len(s)), 1.0) ** -rng.uniform(0, 1)
            return np.fft.irfft(s, n)
        if u < 0.3:
            return sum(self.clip(self.speech, n, rng) for _ in range(int(rng.integers(3, 6))))
        return self.clip(self.pool["sound" if u < 0.75 else "music"], n, rng)

    def clip(self, rows, n, rng):
        r = rows[rng.integers(len(rows))]
        start = int(rng.integers(0, max(1, r["length"] - n)))
        return fit_length(self.c.audio(r, start, n), n, rng)

    def __call__(self, x, rng, p_clean=0.15, p_noise=0.55, snr=(0, 25), p_mu=0.08):
        if rng.random() >= p_clean:
            x = shape(x, rng)
            if rng.random() < p_noise:
                x = add_noise(x, self.noise(len(x), rng), rng.uniform(*snr))
            if rng.random() < p_mu:
                x = mu_law(x)
        return level(x, rng)


def level(x, rng):
    """A random level from -40 dB to full scale (peak), with a faint noise floor as any microphone has."""
    x = x / (np.abs(x).max() + 1e-9) * 10 ** (-rng.uniform(0, 40) / 20)
    return (x + 10 ** (-rng.uniform(75, 100) / 20) * rng.standard_normal(len(x))).astype(np.float32)
