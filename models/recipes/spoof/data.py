"""Clips for spoof training, always a real one and a fake one through the same random channel.

Most pairs are a real recording and its own copy-synthesis, cut at the same place: what differs is the synthesis alone. The others are a
clip of one of the corpus's train systems beside a real clip of any demo page, LibriSpeech voice or voice of the originals; `Installed` has such pairs by
vocoders and engines that PyPI has.
"""
from pathlib import Path

import numpy as np
from scipy.signal import fftconvolve, firwin

from ..common import augment
from ..common.corpus import RATE

CODED = {"none": 0.32, "G722": 0.10, "OPUS": 0.16, "MP3": 0.16, "VORBIS": 0.18, "mu_law": 0.04, "GSM": 0.04}  # shares of the channel's coders


def trim(x):
    """Without leading and trailing silence (40 dB below the loudest 25 ms)."""
    a, b = edges(x)
    return x[a:b]


def edges(x):
    e = np.convolve(x.astype(np.float64) ** 2, np.ones(400) / 400, "same")[::80]
    loud = np.nonzero(e > e.max() * 1e-4)[0]
    return (loud[0] * 80, (loud[-1] + 1) * 80) if len(loud) else (0, len(x))


def grouped(rows):
    return [[r for r in rows if r["group"] == g] for g in sorted({r["group"] for r in rows})]


def real(corpus, libri=True):
    return grouped([r for k in ("bonafide", "original") for r in corpus.select("train", k, 0.8) if libri or r["group"] != "librispeech"])


class SpoofData:
    def __init__(self, corpus, work, libri=True):
        self.c, self.real, self.fake = corpus, real(corpus, libri), grouped(corpus.select("train", "spoof", 0.6))
        z = np.load(Path(work) / "copies.npz")
        self.audio, copies = z["audio"], {}
        for name, end, n in zip(z["names"], np.cumsum(z["lengths"]), z["lengths"]):
            kind, path = name.split(maxsplit=1)
            copies.setdefault(corpus.by_path[path]["group"], {}).setdefault(path, {})[kind] = (int(end - n), int(end))
        self.copies = [sorted(g.items()) for _, g in sorted(copies.items())]

    @staticmethod
    def draw(groups, rng):
        """One member: groups by the root of their size (many LibriSpeech voices, but also each demo page)."""
        w = np.array([len(g) ** 0.5 for g in groups])
        g = groups[rng.choice(len(groups), p=w / w.sum())]
        return g[rng.integers(len(g))]

    def pair(self, rng, n, p_copy=0.65):
        """(real, fake), n samples each; `self.made` says what made the fake."""
        if rng.random() < p_copy:
            path, kinds = self.draw(self.copies, rng)
            self.made = sorted(kinds)[rng.integers(len(kinds))]
            a, b = kinds[self.made]
            return self.in_step(path, self.audio[a:b], rng, n)
        g = self.fake[rng.integers(len(self.fake))]
        self.made = g[0]["group"]
        fake, real = g[rng.integers(len(g))], self.draw(self.real, rng)
        return tuple(augment.fit_length(trim(self.c.audio(r)), n, rng) for r in (real, fake))

    def in_step(self, path, copy, rng, n):
        """A recording and its copy, cut at the same place."""
        y = copy.astype(np.float32) / 32768
        x = self.c.audio(path)[: len(y)]
        lo, hi = edges(x)
        at = int(rng.integers(2**31))
        return tuple(augment.fit_length(v[lo:hi], n, np.random.default_rng(at)) for v in (x, y))

    def clips(self, rng, n, aug):
        """The pair after one channel: coder, room, equaliser, band, noise and level are drawn once for both."""
        seed = int(rng.integers(2**31))
        return tuple(self.channel(v, np.random.default_rng(seed), n, aug) for v in self.pair(rng, n))

    @staticmethod
    def channel(x, rng, n, aug):
        kind = rng.choice(list(CODED), p=list(CODED.values()))
        if kind == "mu_law":
            x = augment.mu_law(x)
        elif kind == "G722":
            x = augment.g722(x)
        elif kind != "none":
            x = augment.coded(x, rng, kind)
        if rng.random() < 0.6:
            x = augment.shape(x, rng, p_reverb=0.12, p_eq=0.6, p_band=0.3)
        if rng.random() < 0.3:
            x = augment.add_noise(x, aug.noise(n, rng), rng.uniform(12, 40))
        return augment.level(x, rng)


class Installed(SpoofData):
    """Copies and sentences of installed.py. What is real beside a sentence is any real clip; half of those pairs end at 7.3 kHz both, as many real clips do."""

    LOW = firwin(257, 7300, fs=RATE)

    def __init__(self, corpus, work):
        self.c, self.real, self.made_by = corpus, real(corpus), {}
        z = np.load(Path(work) / "installed.npz")
        audio = z["audio"]
        for name, end, n in zip(z["names"], np.cumsum(z["lengths"]), z["lengths"]):
            kind, _, path = name.partition(" ")
            self.made_by.setdefault(kind, []).append((path, audio[end - n : end]))
        self.engines = sorted(kind for kind, of in self.made_by.items() if not of[0][0])
        self.vocoders = sorted(self.made_by.keys() - set(self.engines))

    def pair(self, rng, n, p_copy=0.62):
        kinds = self.vocoders if rng.random() < p_copy else self.engines
        self.made = kinds[rng.integers(len(kinds))]
        path, fake = self.made_by[self.made][rng.integers(len(self.made_by[self.made]))]
        if path:
            return self.in_step(path, fake, rng, n)
        clips = [augment.fit_length(trim(v), n, rng) for v in (self.c.audio(self.draw(self.real, rng)), fake.astype(np.float32) / 32768)]
        return tuple(fftconvolve(v, self.LOW, "same").astype(np.float32) for v in clips) if rng.random() < 0.5 else tuple(clips)
