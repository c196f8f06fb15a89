"""Trains the unified encoder, and with it the speaker head: masked prediction on speech, sounds and music + AAM + teacher + spoof.

Losses: BEST-RQ masked cross-entropy (4 random projections of two stacked frames, 2048 codes); AAM-softmax over speakers and
pseudo-speakers; cosine to the teacher's utterance embedding in a whitened 192-d space; BCE of real against copied speech at layer 4.
"""
import json
import os
import time
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from torch import nn

from ..common import nets, torch_features
from ..common.augment import Augmenter, fit_length, level
from ..common.corpus import arguments, open_corpus
from ..common.device import DEVICE, half
from ..common.device import save as save_weights
from ..speaker import trials
from ..speaker.teacher import SPEEDS, change_speed
from ..spoof.data import SpoofData

CODES, PROJECTIONS = 2048, 4


class Targets:
    """BEST-RQ: the nearest of 2048 random codes under each of four random projections."""

    def __init__(self, seed=11):
        g = torch.Generator().manual_seed(seed)
        self.p = torch.randn(PROJECTIONS, 160, 16, generator=g).to(DEVICE)
        self.codes = F.normalize(torch.randn(PROJECTIONS, CODES, 16, generator=g), dim=2).to(DEVICE)

    def __call__(self, fbank):
        x = (fbank - fbank.mean(1, keepdim=True)) / (fbank.std(1, keepdim=True) + 1e-3)
        t = (x.shape[1] + 1) // 2
        x = F.pad(x, (0, 0, 0, 2 * t - x.shape[1])).reshape(x.shape[0], t, 160)
        y = F.normalize(torch.einsum("btf,pfk->pbtk", x, self.p), dim=3)
        return torch.stack([(y[i] @ self.codes[i].T).argmax(2) for i in range(PROJECTIONS)])


def teacher_space(corpus, work, shrink=1.0, dim=192):
    """Linear discriminants of the teacher's embeddings over training speakers: (clip -> rows of [speeds, 192])."""
    from scipy.linalg import eigh

    z = np.load(Path(work) / "teacher.npz")
    paths, e = list(z["paths"]), z["e"]
    who = np.array([corpus.by_path[p]["who"] if corpus.by_path[p]["split"] == "train" else "" for p in paths])
    x = e[:, 0] - e[:, 0].mean(0)
    within, n, means = np.zeros((256, 256)), 0, []
    for w in sorted(set(who) - {""}):
        d = x[who == w][:40]
        if len(d) > 1:
            within += (d - d.mean(0)).T @ (d - d.mean(0))
            n += len(d) - 1
            means.append(d.mean(0))
    within /= n
    _, u = eigh(np.cov(np.array(means).T), within + shrink * np.trace(within) / 256 * np.eye(256))
    u = u[:, ::-1][:, :dim]
    y = np.stack([(e[:, j] - e[:, 0].mean(0)) @ u for j in range(e.shape[1])], 1)
    y /= np.linalg.norm(y, axis=2, keepdims=True)
    return {p: y[i].astype(np.float32) for i, p in enumerate(paths)}


class Batches(torch.utils.data.IterableDataset):
    """Endless batches, made in a worker: speaker clips, masked clips (speech, sound, music) and spoof clips."""

    def __init__(self, corpus, work, seconds=2.0, speakers=26, masked=4, spoof=4, seed=0, sources=True, p_clean=0.15):
        self.c, self.work, self.n = corpus, work, int(seconds * 16000)
        self.sizes, self.seed, self.p_clean = (speakers, masked, spoof), seed, p_clean
        self.teacher = teacher_space(corpus, work)
        rows = [r for s in ("train", "unlabelled") for r in corpus.select(s, "speech", 0.8)]
        self.by = {}
        for r in rows:
            if r["path"] in self.teacher:
                self.by.setdefault(r["who"], []).append(r)
        self.names = sorted(self.by)
        known = [w for w in self.names if self.by[w][0]["split"] == "train"]
        self.classes = {w: i for i, w in enumerate(known)}
        total = np.array([min(sum(r["length"] for r in self.by[w]), 16000 * 600) for w in self.names], float)
        self.p = total**0.5 / (total**0.5).sum()
        self.speeds = next(iter(self.teacher.values())).shape[0]
        self.aug, self.spoof = Augmenter(corpus), SpoofData(corpus, work) if sources else None
        self.pools = [corpus.select(("train", "unlabelled"), "speech", 1.0), corpus.select("train", "sound"), corpus.select("train", "music")]

    def centres(self):
        """The teacher's mean of each class (speaker x speed), [classes, 192]."""
        out = np.zeros((3 * len(self.classes), 192), np.float32)
        for w, i in self.classes.items():
            for j in range(self.speeds):
                out[3 * i + j] = np.mean([self.teacher[r["path"]][j] for r in self.by[w]], axis=0)
        return F.normalize(torch.tensor(out) + 1e-6, dim=1)

    def speaker_clip(self, rng):
        w = self.names[rng.choice(len(self.names), p=self.p)]
        rows = self.by[w]
        d = np.array([min(r["length"], 160000) for r in rows], float)
        r = rows[rng.choice(len(rows), p=d / d.sum())]
        j = int(rng.choice(self.speeds, p=[0.6, 0.2, 0.2][: self.speeds] if self.speeds == 3 else None))
        need = int(self.n * SPEEDS[j]) + 400
        at = int(rng.integers(0, max(1, r["length"] - need)))
        x = fit_length(change_speed(self.c.audio(r, at, need), SPEEDS[j]), self.n, rng)
        y = self.classes[w] * 3 + j if w in self.classes else -1
        return self.aug(x, rng, p_clean=self.p_clean), y, self.teacher[r["path"]][j]

    def masked_clip(self, rng):
        rows = self.pools[rng.choice(3, p=[0.5, 0.25, 0.25])]
        x = self.aug.clip(rows, self.n, rng)
        if np.abs(x).max() < 1e-4:
            return self.masked_clip(rng)
        y = x
        if rng.random() < 0.5:  # utterance or noise mixing; the targets stay those of the clean clip
            other = self.aug.clip(self.pools[0], self.n, rng) if rng.random() < 0.5 else self.aug.noise(self.n, rng)
            cut = int(rng.integers(0, self.n // 2))
            other = other.copy()
            other[:cut] = 0
            p = (other**2).mean()
            y = x if p < 1e-10 else x + other * np.sqrt((x**2).mean() / p) * 10 ** (-rng.uniform(0, 15) / 20)
        g = 10 ** (-rng.uniform(0, 30) / 20) / (np.abs(y).max() + 1e-9)
        return (x * g).astype(np.float32), (y * g).astype(np.float32)

    def __iter__(self):
        info = torch.utils.data.get_worker_info()
        rng = np.random.default_rng([self.seed, info.id if info else 0, os.getpid() if self.seed < 0 else 0])
        a, b, c = self.sizes
        while True:
            sp = [self.speaker_clip(rng) for _ in range(a)]
            if self.spoof is None:  # the speaker recipe wants no more
                yield tuple(torch.tensor(np.stack(v)) for v in zip(*sp))
                continue
            ma = [self.masked_clip(rng) for _ in range(b)]
            fk = [f for _ in range(c // 2) for f in zip(self.spoof.clips(rng, self.n, self.aug), (1, 0))]
            yield (torch.tensor(np.stack([s[0] for s in sp] + [m[1] for m in ma] + [f[0] for f in fk])),
                   torch.tensor(np.stack([m[0] for m in ma])), torch.tensor([s[1] for s in sp]),
                   torch.tensor(np.stack([s[2] for s in sp])), torch.tensor([f[1] for f in fk], dtype=torch.float32))


class Joint(nn.Module):
    def __init__(self, classes):
        super().__init__()
        self.encoder, self.speaker = nets.Encoder(), nets.Speaker(**nets.SPEAKER)
        self.codes = nn.Linear(nets.DIM, PROJECTIONS * CODES)
        self.aam = nn.Parameter(torch.randn(classes, 192) * 0.05)
        self.spoof = nn.Sequential(nn.LayerNorm(nets.DIM), nn.Linear(nets.DIM, 64), nn.GELU(), nn.Linear(64, 1))

    def forward(self, fbank, sizes, targets, attention):
        a, b, c = sizes
        t = (fbank.shape[1] + 1) // 2
        mask = torch.zeros(fbank.shape[0], t, dtype=torch.bool, device=fbank.device)
        start = torch.rand(b, t, device=fbank.device) < 0.07
        for k in range(10):
            mask[a : a + b, k:] |= start[:, : t - k]
        h = self.encoder(fbank, mask, attention)
        z = self.speaker(h[:a])
        m = mask[a : a + b]
        logits = self.codes(h[a : a + b, -1][m]).reshape(-1, PROJECTIONS, CODES).float()
        masked = F.cross_entropy(logits.flatten(0, 1), targets[:, m].T.flatten())
        spoof = self.spoof(h[a + b :, 4].mean(1))[:, 0].float() if c else z.new_zeros(0)
        return z, masked, spoof


def aam_loss(z, w, y, margin, scale=30.0):
    ok = y >= 0
    cos = z[ok] @ F.normalize(w, dim=1).T
    one = F.one_hot(y[ok], w.shape[0]).bool()
    angle = torch.acos(cos.clamp(-1 + 1e-5, 1 - 1e-5)[one])
    out = cos.clone()
    out[one] = torch.cos((angle + margin).clamp_max(np.pi))
    return F.cross_entropy(scale * out, y[ok])


def chunk_mask(t, rng):
    """Each frame sees its own chunk and 2.5 s to the left; None = full context (70 % of the batches)."""
    if rng.random() < 0.7:
        return None
    n = int(rng.choice([8, 16, 32]))
    c = torch.arange(t) // n
    i = torch.arange(t)
    ok = (c[None] <= c[:, None]) & (i[None] >= c[:, None] * n - 125)
    return torch.where(ok, 0.0, -1e4).to(DEVICE)


def dev_eer(encoder, speaker, corpus, seconds=3.0):
    encoder.eval(), speaker.eval()

    @torch.no_grad()
    def embed(clips):
        with half():
            return speaker(encoder(torch_features.fbank(torch.tensor(np.stack(clips)).to(DEVICE)))).float().cpu().numpy()

    r = trials.report(corpus, embed, int(seconds * 16000))
    encoder.train(), speaker.train()
    return r


def main():
    a = arguments(__doc__, minutes=36.0, lr=1.5e-3, margin=0.2, threads=2, steps=100000, seconds=2.0, finish=0.0)
    torch.manual_seed(0)
    torch.set_num_threads(a.threads)
    work, c = Path(a.work), open_corpus(a)
    # --finish M: a last phase of M minutes from the checkpoint, on longer and cleaner clips
    data = Batches(c, work, 2.4, 26, 2, 2, p_clean=0.5) if a.finish else Batches(c, work, a.seconds)
    net, targets, rng = Joint(3 * len(data.classes)).to(DEVICE), Targets(), np.random.default_rng(1)
    print("speakers", len(data.classes), "teacher speeds", data.speeds, "parameters", nets.parameters(net.encoder), nets.parameters(net.speaker))
    decay = [p for n, p in net.named_parameters() if p.dim() > 1]
    rest = [p for n, p in net.named_parameters() if p.dim() <= 1]
    opt = torch.optim.AdamW([{"params": decay, "weight_decay": 0.02}, {"params": rest, "weight_decay": 0.0}], lr=a.lr, betas=(0.9, 0.98))
    net.aam.data = data.centres().to(DEVICE) * 0.7  # classes start where the teacher puts them
    step, spent, log = 0, 0.0, []
    ck = work / "joint.ckpt"
    if ck.exists():
        s = torch.load(ck, weights_only=False, map_location=DEVICE)
        net.load_state_dict(s["net"]), opt.load_state_dict(s["opt"])
        step, spent, log = s["step"], s["spent"], s["log"]
    else:
        g = np.random.default_rng(5)
        net.encoder.norm.fit(torch_features.fbank(torch.tensor(np.stack([data.speaker_clip(g)[0] for _ in range(96)])).to(DEVICE)))
    earlier = spent if a.finish else 0.0
    if a.finish:
        a.minutes, spent, a.lr = a.finish, 0.0, 0.5 * a.lr
    data.seed = step  # a resumed run draws new clips
    loader = iter(torch.utils.data.DataLoader(data, batch_size=None, num_workers=1, prefetch_factor=4))
    t0, run, saved, judged = time.time() - spent, {}, spent, spent
    while True:
        spent = time.time() - t0
        done = max(spent / (a.minutes * 60), step / a.steps)  # the schedule follows the clock: the budget is wall time
        if done >= 1:
            break
        lr = a.lr * min(1, done / 0.06 + 0.02) * (0.5 + 0.5 * np.cos(np.pi * done)) + 1e-6
        for g in opt.param_groups:
            g["lr"] = lr
        wave, clean, who, teach, real = (v.to(DEVICE) for v in next(loader))
        with torch.no_grad():
            fb = torch_features.fbank(wave)
            tg = targets(torch_features.fbank(clean))
        att = chunk_mask((fb.shape[1] + 1) // 2, rng)
        with half():
            z, masked, spoof = net(fb, data.sizes, tg, att)
        margin = a.margin * (1.0 if a.finish else min(1.0, done / 0.8))
        parts = {"masked": masked, "aam": aam_loss(z, net.aam, who, margin), "teacher": (1 - (z * teach).sum(1)).mean(),
                 "spoof": F.binary_cross_entropy_with_logits(spoof, real)}
        loss = 0.15 * parts["masked"] + 0.3 * parts["aam"] + 6.0 * parts["teacher"] + 0.3 * parts["spoof"]
        opt.zero_grad(set_to_none=True)
        loss.backward()
        if torch.isfinite(nn.utils.clip_grad_norm_(net.parameters(), 5.0)):
            opt.step()
        else:
            print("gradient not finite, step skipped", flush=True)
        step += 1
        for k, v in parts.items():
            run[k] = 0.97 * run.get(k, float(v.detach())) + 0.03 * float(v.detach())
        if step % 20 == 0:
            print(step, f"{spent:.0f}s", {k: round(v, 3) for k, v in run.items()}, f"lr {lr:.1e}", flush=True)
        if spent > saved + 120:
            saved = spent
            torch.save({"net": net.state_dict(), "opt": opt.state_dict(), "step": step, "spent": spent, "log": log}, ck)
            save(net, work, a, log, step, spent)
        if spent > judged + 540:
            judged = spent
            r = dev_eer(net.encoder, net.speaker, c)
            log.append({"step": step, "seconds": round(spent), **{k: round(v, 4) for k, v in run.items()}, "dev_eer": float(r["eer"])})
            print("dev", r, flush=True)
    save(net, work, a, log, step, earlier + spent)
    (work / "encoder.done").touch()


def save(net, work, a, log, step, spent):
    save_weights(net.encoder.state_dict(), work / "encoder.pt")
    save_weights(net.speaker.state_dict(), work / "speaker_joint.pt")
    if not (work / "speaker.json").exists():
        save_weights(net.speaker.state_dict(), work / "speaker.pt")
    (work / "encoder.json").write_text(json.dumps({
        "trained": True, "steps": step, "seconds": round(spent), "seed": 0, "lr": a.lr, "finish_minutes": a.finish, "clip_seconds": a.seconds,
        "objective": "BEST-RQ masked CE + AAM speaker + cosine to Resemblyzer + BCE spoof at layer 4", "log": log}))


if __name__ == "__main__":
    main()
