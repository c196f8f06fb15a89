"""Batches out of the bank: crops of log-mel, and what happens to sound on its way, done to the power in the mel bands.

Noise adds (the cross terms are zero on average), an equaliser and a band limit multiply, a room smears along time. It costs next to nothing, so
every clip is heard through a new channel at every turn; what has no such form (coders) is a variant in the bank.
"""
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F

from ..speaker.teacher import teacher_space
from .bank import CODED, KEEP

MELS = 80


class Bank:
    """Rows by kind; `fbank(row, start, frames)` and `states(row, ...)` read the mapped files."""

    def __init__(self, corpus, work):
        folder = Path(work) / "bank"
        z = np.load(folder / "index.npz")
        self.fb = np.memmap(folder / "fbank.f16", np.float16, "r").reshape(-1, MELS)
        self.st = np.memmap(folder / "states.f16", np.float16, "r").reshape(-1, 3 * KEEP)
        self.start, self.half, self.frames, self.variant = z["start"], z["half"], z["frames"], z["variant"]
        self.path = z["path"]
        rows = [corpus.by_path[p] for p in self.path]
        self.kind = np.array([r["kind"] for r in rows])
        self.label = np.array([r["label"] for r in rows])
        self.who = np.array([r["who"] if r["split"] == "train" else "" for r in rows])
        self.any_who = np.array([r["who"] for r in rows])
        self.target, self.space = teacher_space(z["e"], np.where(self.variant == 0, self.who, ""), self.kind == "speech")

    def fbank(self, i, at, n):
        return self.fb[self.start[i] + at : self.start[i] + at + n]

    def states(self, i, at, n):
        h = self.half[i] + at // 2
        return self.st[h : h + n // 2]


class Speakers:
    """Which clip of whom: speakers by the root of their speech, pseudo-speakers by speed."""

    def __init__(self, bank):
        speech = np.nonzero(bank.kind == "speech")[0]
        self.names = sorted(set(bank.any_who[speech]))
        self.clips = {w: {} for w in self.names}
        for i in speech:
            self.clips[bank.any_who[i]].setdefault(int(bank.variant[i]), []).append(i)
        total = np.array([min(bank.frames[self.clips[w][0]].sum(), 60000) for w in self.names]) ** 0.5
        self.p = total / total.sum()
        known = sorted(set(bank.who[speech]) - {""})
        self.classes = {w: 3 * k for k, w in enumerate(known)}
        self.count = 3 * len(known)
        self.bank = bank

    def draw(self, rng):
        """(row, class or -1), two clips of one voice (the second may come through the bad channel)."""
        w = self.names[rng.choice(len(self.names), p=self.p)]
        v = int(rng.choice(3, p=(0.5, 0.25, 0.25)))
        out = []
        for _ in range(2):
            use = CODED if v == 0 and rng.random() < 0.4 else v
            rows = self.clips[w][use]
            f = np.minimum(self.bank.frames[rows], 1000).astype(float)
            out.append((rows[rng.choice(len(rows), p=f / f.sum())], self.classes[w] + v if w in self.classes else -1))
        return out

    def centres(self):
        """The teacher's mean of each class, [classes, dim] of norm 1."""
        out = np.zeros((self.count, self.bank.target.shape[1]), np.float32)
        for w, k in self.classes.items():
            for v in range(3):
                out[k + v] = self.bank.target[self.clips[w][v]].mean(0)
        return F.normalize(torch.tensor(out) + 1e-6, dim=1)


class Channel:
    """Noise, equaliser, band limit and room on a batch of mel power [B, T, 80]."""

    def __init__(self, bank, rng):
        self.bank, self.rng = bank, rng
        self.noise_rows = [np.nonzero(bank.kind == k)[0] for k in ("sound", "music")]
        self.speech = np.nonzero((bank.kind == "speech") & (bank.variant == 0))[0]
        low, high = 1127 * np.log1p(np.array([20.0, 7600.0]) / 700)
        self.hz = torch.tensor(700 * np.expm1(np.linspace(low, high, MELS + 2)[1:-1] / 1127), dtype=torch.float32)

    def crop(self, i, n):
        """n frames of row i from a random place, repeated where it is shorter: log-mel."""
        t = int(self.bank.frames[i])
        if t >= n:
            return self.bank.fbank(i, int(self.rng.integers(0, t - n + 1)), n)
        return np.resize(self.bank.fbank(i, 0, t), (n, MELS))

    def noise(self, n):
        """Mel power [n, 80] of sounds, music, other talkers or a steady hiss."""
        u, g = self.rng.random(), self.rng
        if u < 0.2:
            tilt = np.exp(g.uniform(-1, 1) * np.linspace(-2, 2, MELS))
            return torch.tensor(g.gamma(2.5, 0.4, (n, MELS)) * tilt, dtype=torch.float32)
        if u < 0.35:
            return sum(self.loud(g.choice(self.speech), n) for _ in range(int(g.integers(1, 5))))
        rows = self.noise_rows[int(u > 0.75)]
        return self.loud(g.choice(rows), n)

    def loud(self, i, n):
        p = torch.from_numpy(self.crop(i, n).astype(np.float32)).exp()
        return p / (p.mean() + 1e-9)

    def __call__(self, log_mel, clean):
        """Log-mel [B, T, 80] through a channel each; a share of `clean` passes as it is."""
        b, n, _ = log_mel.shape
        g, p = self.rng, log_mel.exp()
        touched = torch.tensor(g.random(b) >= clean)
        level = p.mean((1, 2), keepdim=True) + 1e-9
        octave = torch.log2(self.hz / 1000)
        knots = torch.tensor(g.normal(0, 0.7, (b, 1, 8)) * (g.random((b, 1, 1)) < 0.6), dtype=torch.float32)
        curve = F.interpolate(knots, MELS, mode="linear", align_corners=True) + torch.tensor(g.uniform(-0.5, 0.5, (b, 1, 1)), dtype=torch.float32) * octave
        room = torch.tensor(g.random(b) < 0.3)
        if room.any():
            rt = torch.tensor(g.uniform(0.15, 0.8, b), dtype=torch.float32)
            tail = torch.exp(-13.8 * torch.arange(40) * 0.01 / rt[:, None])
            tail = tail / tail.sum(1, keepdim=True) * torch.tensor(10 ** (-g.uniform(-3, 12, b) / 10), dtype=torch.float32)[:, None] * room[:, None]
            tail[:, 0] += 1
            size = 1 << int(np.ceil(np.log2(n + 40)))
            p = torch.where((room & touched)[:, None, None], torch.fft.irfft(torch.fft.rfft(p, size, 1) * torch.fft.rfft(tail, size, 1)[:, :, None], size, 1)[:, :n].clamp_min(0), p)
        noisy = torch.tensor(g.random(b) < 0.65)
        snr = torch.tensor(10 ** (-g.uniform(-2, 25, b) / 10), dtype=torch.float32)
        add = torch.stack([self.noise(n) if noisy[i] and touched[i] else torch.zeros(n, MELS) for i in range(b)])
        q = p + add * (snr[:, None, None] * level)
        q = q * curve.exp()
        limited = g.random(b) < 0.25
        lo = torch.tensor(np.where(limited, g.uniform(20, 320, b), 0), dtype=torch.float32)[:, None, None]
        hi = torch.tensor(np.where(limited, g.uniform(3300, 7600, b), 9000), dtype=torch.float32)[:, None, None]
        q = q * torch.sigmoid((self.hz - lo) / 20) * torch.sigmoid((hi - self.hz) / 80)
        q = torch.where(touched[:, None, None], q, p)
        floor = torch.tensor(10 ** (-g.uniform(5.0, 9.0, (b, 1, 1))), dtype=torch.float32)
        return (q + q.mean((1, 2), keepdim=True) * floor + 1e-10).log()


class Batches:
    """One batch at a time: `speech` clips in pairs of one voice, then `other` clips of sounds and music. `drawn`: the last one's rows and starts."""

    def __init__(self, bank, seed, speech=44, other=12, clean=0.2):
        self.bank, self.rng = bank, np.random.default_rng(seed)
        self.speakers, self.channel = Speakers(bank), Channel(bank, self.rng)
        self.sizes, self.clean = (speech, other), clean
        rows = np.nonzero((bank.kind != "speech") & (bank.frames > 30))[0]
        labels, count = np.unique(bank.label[rows], return_counts=True)
        self.sounds = sorted(str(l) for l, c in zip(labels, count) if c >= 10)  # thinner classes are heard, not learned
        self.rows_of = {l: rows[bank.label[rows] == l] for l in labels}
        w = np.array([min(len(r), 40) for r in self.rows_of.values()], float) ** 0.5
        self.p_label = w / w.sum()

    def __call__(self, frames):
        """Log-mel after the channel and before it, class, teacher embedding, teacher states (speech only), sound class or -1."""
        g, b = self.rng, self.bank
        rows, who, sound, starts = [], [], [], []
        while len(rows) < self.sizes[0]:
            for i, y in self.speakers.draw(g):
                rows.append(i), who.append(y)
        labels = list(self.rows_of)
        for _ in range(self.sizes[1]):
            label = labels[g.choice(len(labels), p=self.p_label)]
            rows.append(g.choice(self.rows_of[label]))
            sound.append(self.sounds.index(label) if label in self.sounds else -1)
        x, st, seen = np.zeros((len(rows), frames, MELS), np.float32), np.zeros((self.sizes[0], frames // 2, 3 * KEEP), np.float32), []
        for k, i in enumerate(rows):
            t = int(b.frames[i])
            at = 2 * int(g.integers(0, max(0, t - frames) // 2 + 1))
            starts.append(at)
            f = b.fbank(i, at, min(frames, t))
            x[k] = f if len(f) == frames else np.resize(f, (frames, MELS))
            if k < self.sizes[0]:
                s = b.states(i, at, min(frames, t - t % 2))
                st[k, : len(s)] = s
                seen.append(min(len(s), frames // 2))
        x, self.drawn = torch.from_numpy(x), (np.array(rows), np.array(starts))
        return (self.channel(x, self.clean), x, torch.tensor(who), torch.from_numpy(b.target[rows[: self.sizes[0]]]),
                torch.from_numpy(st), torch.arange(frames // 2) < torch.tensor(seen)[:, None], torch.tensor(sound))
