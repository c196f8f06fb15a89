"""The last linear step of the speaker head: centring and linear discriminants, fitted on clean training segments of 3 s and their first halves.

With them comes the cohort: the mean embedding of each training speaker, to normalise scores against. The within-speaker scatter is shrunk
towards a multiple of the identity; how much (or whether at all) is chosen on dev.
"""
import numpy as np
import torch
from scipy.linalg import eigh

from ..common import metrics, torch_features
from . import trials

SOURCES = ("librispeech", "speechocean762", "vctk", "libritts_misc", "tuxpaint", "ktuberling", "klettres", "fotaq", "asterisk")
LENGTHS = (48000, 24000)


@torch.no_grad()
def embed(encoder, speaker, clips):
    return speaker(encoder(torch_features.fbank(torch.tensor(np.stack(clips))))).numpy()


def embed_all(encoder, speaker, c, segments, length=48000):
    """`segments`: (row or path, start); [n, 192]."""
    return np.concatenate([embed(encoder, speaker, [c.audio(r, s, length) for r, s in segments[i : i + 32]]) for i in range(0, len(segments), 32)])


def training_segments(c, most=9, seed=41):
    rng, by = np.random.default_rng(seed), {}
    for r in c.select("train", "speech", 3.0):
        if r["group"] in SOURCES:
            n = max(1, min(3, r["length"] // 56000))
            by.setdefault(r["who"], []).extend((r, int(s)) for s in np.linspace(0, r["length"] - 48000, n))
    out = []
    for w in sorted(by):
        pick = rng.permutation(len(by[w]))[:most]
        out += [(w, *by[w][i]) for i in pick]
    return out


def fit(encoder, speaker, c):
    encoder.eval(), speaker.eval()
    tail = speaker.tail
    tail.shift.zero_()
    tail.turn.copy_(torch.eye(len(tail.shift)))
    seg = training_segments(c)
    named, seg = np.array([w for w, *_ in seg]), [s[1:] for s in seg]
    e = np.concatenate([embed_all(encoder, speaker, c, seg, n) for n in LENGTHS])
    who = np.concatenate([named] * len(LENGTHS))
    mean = np.mean([e[who == w].mean(0) for w in sorted(set(who))], axis=0)
    x = e - mean
    within, n, means = np.zeros((192, 192)), 0, []
    for w in sorted(set(who)):
        d = x[who == w]
        means.append(d.mean(0))
        if len(d) > 2:
            within += (d - d.mean(0)).T @ (d - d.mean(0))
            n += len(d) - 1
    within, between = within / n, np.cov(np.array(means).T)
    options = {"none": (np.zeros(192), np.eye(192)), "centred": (mean, np.eye(192))}
    for shrink in (0.3, 1.0, 3.0):
        _, u = eigh(between, within + shrink * np.trace(within) / 192 * np.eye(192))
        for keep in (192, 96, 48):
            t = u[:, ::-1].copy()
            t[:, keep:] = 0
            options[f"lda {keep} shrink {shrink}"] = (mean, t / np.abs(t).max())
    pairs = trials.read()
    s = trials.segments(pairs)
    dev = [embed_all(encoder, speaker, c, s, n) for n in LENGTHS]
    at, y = {k: i for i, k in enumerate(s)}, np.array([p[4] for p in pairs])
    left, right = np.array([at[p[:2]] for p in pairs]), np.array([at[p[2:4]] for p in pairs])
    result = {}
    for name, (m, t) in options.items():
        z = [(v := (d - m) @ t) / np.linalg.norm(v, axis=1, keepdims=True) for d in dev]
        result[name] = [round(float(metrics.eer((v[left] * v[right]).sum(1), y)), 2) for v in z]
        print(name, result[name], flush=True)
    best = min(result, key=lambda k: sum(result[k]))
    tail.shift.copy_(torch.tensor(options[best][0], dtype=torch.float32))
    tail.turn.copy_(torch.tensor(options[best][1], dtype=torch.float32))
    z = embed_all(encoder, speaker, c, seg)
    cohort = np.stack([(v := z[named == w].mean(0)) / np.linalg.norm(v) for w in sorted(set(named))]).astype("<f4")
    return cohort, {"chosen": best, "dev_eer_3s_and_1.5s": result, "segments": len(seg)}
