"""Clips for spoof training, always a real one and a fake one through the same random channel.

Most pairs are a real recording and its own copy-synthesis, cut at the same place: what differs is the synthesis alone. The others are a
clip of one of the corpus's train systems beside a real clip of any demo page, LibriSpeech voice or voice of the originals.
"""
from pathlib import Path

import numpy as np

from ..common import augment

CODED = {"none": 0.42, "OPUS": 0.16, "MP3": 0.16, "VORBIS": 0.18, "mu_law": 0.04, "GSM": 0.04}  # shares of the channel's coders


def trim(x):
    """Without leading and trailing silence (40 dB below the loudest 25 ms)."""
    a, b = edges(x)
    return x[a:b]


def edges(x):
    e = np.convolve(x.astype(np.float64) ** 2, np.ones(400) / 400, "same")[::80]
    loud = np.nonzero(e > e.max() * 1e-4)[0]
    return (loud[0] * 80, (loud[-1] + 1) * 80) if len(loud) else (0, len(x))


class SpoofData:
    def __init__(self, corpus, work, libri=True):
        self.c = corpus
        group = lambda rows: [[r for r in rows if r["group"] == g] for g in sorted({r["group"] for r in rows})]
        self.real = group([r for k in ("bonafide", "original") for r in corpus.select("train", k, 0.8) if libri or r["group"] != "librispeech"])
        self.fake = group(corpus.select("train", "spoof", 0.6))
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
            y = self.audio[a:b].astype(np.float32) / 32768
            x = self.c.audio(path)[: len(y)]
            lo, hi = edges(x)
            at = int(rng.integers(2**31))
            return tuple(augment.fit_length(v[lo:hi], n, np.random.default_rng(at)) for v in (x, y))
        g = self.fake[rng.integers(len(self.fake))]
        self.made = g[0]["group"]
        fake, real = g[rng.integers(len(g))], self.draw(self.real, rng)
        return tuple(augment.fit_length(trim(self.c.audio(r)), n, rng) for r in (real, fake))

    def clips(self, rng, n, aug):
        """The pair after one channel: coder, room, equaliser, band, noise and level are drawn once for both."""
        seed = int(rng.integers(2**31))
        return tuple(self.channel(v, np.random.default_rng(seed), n, aug) for v in self.pair(rng, n))

    @staticmethod
    def channel(x, rng, n, aug):
        kind = rng.choice(list(CODED), p=list(CODED.values()))
        if kind == "mu_law":
            x = augment.mu_law(x)
        elif kind != "none":
            x = augment.coded(x, rng, kind)
        if rng.random() < 0.6:
            x = augment.shape(x, rng, p_reverb=0.12, p_eq=0.6, p_band=0.3)
        if rng.random() < 0.3:
            x = augment.add_noise(x, aug.noise(n, rng), rng.uniform(12, 40))
        return augment.level(x, rng)
