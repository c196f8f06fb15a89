"""Clips for spoof training: real and fake train speech, both sent through the same random channel.

Fakes are the corpus's train systems and our copy-synthesis of real train clips; classes are balanced, systems are drawn evenly.
"""
from pathlib import Path

import numpy as np

from ..common import augment


def trim(x):
    """Without leading and trailing silence (40 dB below the loudest 25 ms)."""
    e = np.convolve(x.astype(np.float64) ** 2, np.ones(400) / 400, "same")[::80]
    loud = np.nonzero(e > e.max() * 1e-4)[0]
    return x[loud[0] * 80 : (loud[-1] + 1) * 80] if len(loud) else x


class SpoofData:
    def __init__(self, corpus, work):
        self.c = corpus
        group = lambda rows: [[r for r in rows if r["group"] == g] for g in sorted({r["group"] for r in rows})]
        self.real = group(corpus.select("train", "bonafide", 0.8))
        self.fake = group(corpus.select("train", "spoof", 0.6))
        at = Path(work) / "copies.npz"
        self.copies = {}
        if at.exists():
            z = np.load(at)
            ends = np.cumsum(z["lengths"])
            self.audio = z["audio"]
            for n, e, l in zip(z["names"], ends, z["lengths"]):
                self.copies.setdefault(n.split()[0], []).append((int(e - l), int(e)))

    def raw(self, rng):
        """(samples, 1 = real)."""
        if rng.random() < 0.5:
            w = np.array([len(g) ** 0.5 for g in self.real])  # many LibriSpeech voices, but also each demo page
            g = self.real[rng.choice(len(self.real), p=w / w.sum())]
            return self.c.audio(g[rng.integers(len(g))]), 1
        if self.copies and rng.random() < 0.5:
            kind = sorted(self.copies)[rng.integers(len(self.copies))]
            a, b = self.copies[kind][rng.integers(len(self.copies[kind]))]
            return self.audio[a:b].astype(np.float32) / 32768, 0
        g = self.fake[rng.integers(len(self.fake))]
        return self.c.audio(g[rng.integers(len(g))]), 0

    def clip(self, rng, n, aug, p_opus=0.25):
        x, y = self.raw(rng)
        x = augment.fit_length(trim(x), n, rng)
        u = rng.random()
        if u < p_opus:
            x = augment.opus(x, rng)
        elif u < p_opus + 0.05:
            x = augment.mu_law(x)
        if rng.random() < 0.8:
            x = augment.shape(x, rng, p_reverb=0.15, p_eq=0.6, p_band=0.35)
        if rng.random() < 0.35:
            x = augment.add_noise(x, aug.noise(n, rng), rng.uniform(10, 35))
        return augment.level(x, rng), y
