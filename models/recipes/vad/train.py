"""Trains the speech activity detector on clean speech under sounds, music and noise, through rooms and bad channels.

The truth is the energy of the clean recording: frames near the threshold carry no weight in training, and clips whose own noise floor is too high to
label are left out. Sounds made by voices (crying, creatures, singing) are used neither way.
"""
import json
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F

from ..common import nets, torch_features
from ..common.augment import add_noise, fit_length, level, shape
from ..common.corpus import arguments, open_corpus
from ..encoder.bank import MOST
from ..encoder.batches import MELS, Bank, Channel

N = 48000
VOCAL = ("human", "baby", "vocal", "singing", "laugh", "cough", "sneez", "snor", "cry", "speech", "voice", "breath", "yell", "whisper")
UNFIT = ("fsdd", "gcin")  # single words with hardly a pause, or with a hum


def label(x):
    """(speech, weight) for each 20 ms output frame, or None when the clip's own noise floor is too high."""
    t = (1 + (len(x) - 400) // 160 + 1) // 2
    e = np.convolve(x.astype(np.float64) ** 2, np.ones(960) / 960, "same")[200 :: 320][:t]
    db = 10 * np.log10(e + 1e-12)
    top = np.percentile(db, 95)
    if top < -60 or np.percentile(db, 3) > top - 32:
        return None
    on = db > top - 27
    gap = np.convolve(on, np.ones(7), "same") > 3.5  # bridge gaps and drop clicks of up to 60 ms
    return gap.astype(np.float32), ((db > top - 24) | (db < top - 32) | (gap == on)).astype(np.float32) * ((db > top - 25) | (db < top - 30))


class Crops:
    """Training batches out of the bank."""

    def __init__(self, corpus, bank, seed):
        self.bank, self.rng, self.truth = bank, np.random.default_rng(seed), {}
        self.channel = Channel(bank, self.rng)
        silent = lambda i: not any(v in bank.label[i] for v in VOCAL)
        self.channel.noise_rows = [np.array([i for i in rows if silent(i)]) for rows in self.channel.noise_rows]
        path = bank.path
        for i in np.nonzero((bank.kind == "speech") & (bank.variant == 0) & (bank.frames > 150))[0]:
            if path[i].split("/")[1] not in UNFIT and (got := label(corpus.audio(path[i])[:MOST])) is not None:
                self.truth[i] = got
        self.rows = sorted(self.truth)
        self.channel.speech = self.channel.noise_rows[0]  # no talkers in the noise

    def clip(self, n):
        g, t = self.rng, n // 2
        if g.random() < 0.25:
            return self.channel.noise(n), np.zeros(t, np.float32), np.ones(t, np.float32)
        i = self.rows[g.integers(len(self.rows))]
        frames = int(self.bank.frames[i])
        at = 2 * int(g.integers(0, max(0, frames - n) // 2 + 1))
        p = torch.from_numpy(self.bank.fbank(i, at, n).astype(np.float32)).exp()
        y, w = (v[at // 2 : at // 2 + t].copy() for v in self.truth[i])
        if len(p) < n or len(y) < t:
            more = n - len(p)
            p = torch.cat([p, torch.zeros(more, MELS)])
            y, w = np.pad(y, (0, t - len(y))), np.pad(w, (0, t - len(w)))
        p = p / (p.mean() + 1e-9)
        if g.random() < 0.4:  # a pause: the speech is gone for a while
            a = int(g.integers(0, t - 20))
            b = min(t, a + int(g.integers(20, 100)))
            p[2 * a : 2 * b] = 0
            y[a:b], w[a:b] = 0, 1
            w[max(0, a - 2) : a + 2], w[max(0, b - 2) : b + 2] = 0, 0
        return p, y, w

    def __call__(self, batch, n=296):
        p, y, w = zip(*(self.clip(n) for _ in range(batch)))
        return self.channel(torch.stack(p).clamp_min(1e-10).log(), 0.15), torch.tensor(np.stack(y)), torch.tensor(np.stack(w))


class Data:
    def __init__(self, corpus, split):
        self.c = corpus
        self.speech = [r for r in corpus.select(split, "speech", 3.0) if r["group"] not in ("fsdd", "gcin")]
        self.other = [[r for r in corpus.select(split, k) if not any(v in r["label"] for v in VOCAL)] for k in ("sound", "music")]

    def noise(self, rng):
        u = rng.random()
        if u < 0.25:
            s = np.fft.rfft(rng.standard_normal(N))
            return np.fft.irfft(s * np.maximum(np.arange(len(s)), 1.0) ** -rng.uniform(0, 1), N)
        rows = self.other[int(u > 0.65)]
        r = rows[rng.integers(len(rows))]
        return fit_length(self.c.audio(r, int(rng.integers(0, max(1, r["length"] - N))), N), N, rng)

    def clip(self, rng):
        t = 149
        if rng.random() < 0.3:  # no speech at all, sometimes digital silence
            x = self.noise(rng) if rng.random() < 0.92 else np.zeros(N)
            x = shape(x, rng) if np.abs(x).max() > 0 else x
            return level(x, rng) if np.abs(x).max() > 0 else x.astype(np.float32), np.zeros(t, np.float32), np.ones(t, np.float32)
        while True:
            r = self.speech[rng.integers(len(self.speech))]
            x = self.c.audio(r, int(rng.integers(0, r["length"] - N + 1)), N).astype(np.float64)
            got = label(x)
            if got is not None:
                break
        y, w = got
        if rng.random() < 0.4:  # a pause: the speech is faded out for a while
            a = int(rng.integers(0, 100))
            b = a + int(rng.integers(20, 100))
            g = np.ones(N)
            g[a * 320 : b * 320] = 0
            x, y, w = x * g, y.copy(), w.copy()
            y[a:b] = 0
            w[a:b] = 1
            w[max(0, a - 2) : a + 2] = 0
            w[max(0, b - 2) : b + 2] = 0
        x = shape(x, rng, p_reverb=0.2)
        if rng.random() < 0.8:
            x = add_noise(x, shape(self.noise(rng), rng, p_reverb=0.1), rng.uniform(-5, 20))
        return level(x, rng), y, w


def batch(data, rng, n):
    x, y, w = zip(*(data.clip(rng) for _ in range(n)))
    return torch_features.fbank(torch.tensor(np.stack(x))), torch.tensor(np.stack(y)), torch.tensor(np.stack(w))


def f1(p, y, w, threshold):
    p = p > threshold
    tp, fp, fn = (w * p * y).sum(), (w * p * (1 - y)).sum(), (w * ~p * y).sum()
    return float(2 * tp / (2 * tp + fp + fn))


def main():
    a = arguments(__doc__, steps=2500, batch=40, threads=2, lr=4e-3)
    torch.manual_seed(0)
    torch.set_num_threads(a.threads)
    c, work = open_corpus(a), Path(a.work)
    data, dev = Crops(c, Bank(c, work), 21), Data(c, "dev")
    net = nets.Vad()
    net.norm.fit(data(64)[0])
    print("clips", len(data.rows), "parameters", nets.parameters(net), flush=True)
    opt = torch.optim.AdamW(net.parameters(), lr=a.lr, weight_decay=0.01)
    plan = torch.optim.lr_scheduler.OneCycleLR(opt, a.lr, total_steps=a.steps, pct_start=0.1)
    run = None
    for step in range(1, a.steps + 1):
        x, y, w = data(a.batch)
        loss = (F.binary_cross_entropy_with_logits(net.logits(x), y, reduction="none") * w).sum() / w.sum()
        opt.zero_grad()
        loss.backward()
        opt.step()
        plan.step()
        run = float(loss.detach()) if run is None else 0.97 * run + 0.03 * float(loss.detach())
        if step % 100 == 0:
            print(step, round(run, 4), flush=True)
    net.eval()
    g = np.random.default_rng(22)
    parts = [batch(dev, g, 32) for _ in range(16)]
    with torch.no_grad():
        p = torch.cat([net(x) for x, _, _ in parts])
    y, w = torch.cat([b[1] for b in parts]), torch.cat([b[2] for b in parts])
    best = max((f1(p, y, w, t), t) for t in np.arange(0.2, 0.81, 0.05))
    out = {"trained": True, "steps": a.steps, "seed": 21, "loss": round(run, 4), "dev_f1": round(best[0], 4), "threshold": round(float(best[1]), 2),
           "dev": "dev speech on dev sounds, music and noise, -5 to 20 dB, 30 % of the windows without speech, level -40 to 0 dB"}
    torch.save(net.state_dict(), work / "vad.pt")
    (work / "vad.json").write_text(json.dumps(out))
    print(out)


if __name__ == "__main__":
    main()
