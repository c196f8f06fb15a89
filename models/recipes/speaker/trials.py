"""The dev and test trials as text (`path_a start_a path_b start_b label`, starts in samples), and how a system is scored on them.

Segments of 3 s begin after the leading silence; pairs are from different files of one source, and the list is seeded. A 1.5 s trial
uses the first half of the same segments.
"""
from pathlib import Path

import numpy as np

from ..common import features as ref
from ..common import metrics
from ..common.corpus import arguments, open_corpus

LIST = {split: Path(__file__).parent / f"trials_{split}.txt" for split in ("dev", "test")}
LENGTH = 48000


def starts(x):
    """Start samples of non-overlapping 3 s segments, after the leading silence where the clip is long enough."""
    e = np.convolve(x.astype(np.float64) ** 2, np.ones(800) / 800, "valid")[::160]
    loud = np.nonzero(e > e.max() * 1e-3)[0]
    first = max(0, min(int(loud[0]) * 160, len(x) - LENGTH))
    return list(range(first, len(x) - LENGTH + 1, LENGTH))


def make(corpus, split, targets=1000, others=2000, seed=7):
    """At most so many pairs of each source, from different files."""
    rng = np.random.default_rng(seed)
    rows = [r for r in corpus.select(split, "speech", 3.0)]
    lines = []
    for group in sorted({r["group"] for r in rows}):
        seg = [(r, s) for r in rows if r["group"] == group for s in starts(corpus.audio(r))]
        pairs = {1: [], 0: []}
        for i, (a, sa) in enumerate(seg):
            for b, sb in seg[i + 1 :]:
                if a["path"] != b["path"]:
                    pairs[int(a["label"] == b["label"])].append((a["path"], sa, b["path"], sb))
        for label, most in ((1, targets), (0, others)):
            p = pairs[label]
            pick = rng.permutation(len(p))[:most]
            lines += [(*p[i], label) for i in sorted(pick)]
            print(split, group, label, len(p), "->", len(pick))
    LIST[split].write_text("".join(" ".join(map(str, l)) + "\n" for l in lines))


def read(split="dev"):
    return [(a, int(i), b, int(j), int(y)) for a, i, b, j, y in (l.split() for l in LIST[split].read_text().splitlines())]


def segments(trials):
    return sorted({(a, i) for a, i, *_ in trials} | {(b, j) for _, _, b, j, _ in trials})


def score(corpus, embed, length=LENGTH, trials=None):
    """`embed(list of clips) -> array of embeddings`; returns scores, labels and the two speakers of each trial."""
    trials = trials or read()
    seg = segments(trials)
    clips = [corpus.audio(p, s, length) for p, s in seg]
    e = np.concatenate([embed(clips[i : i + 32]) for i in range(0, len(clips), 32)])
    e /= np.linalg.norm(e, axis=1, keepdims=True)
    at = {k: n for n, k in enumerate(seg)}
    s = np.array([e[at[a, i]] @ e[at[b, j]] for a, i, b, j, _ in trials])
    y = np.array([t[4] for t in trials])
    who = lambda p: corpus.by_path[p]["who"]
    return s, y, [who(t[0]) for t in trials], [who(t[2]) for t in trials]


def report(corpus, embed, length=LENGTH, split="dev"):
    s, y, a, b = score(corpus, embed, length, read(split))
    out = {"eer": round(metrics.eer(s, y), 2), "ci": metrics.bootstrap(s, y, a, b), "min_dcf": round(metrics.min_dcf(s, y), 3)}
    g = np.array([w.split("/")[0] for w in a])
    for name in sorted(set(g)):
        out[name] = round(metrics.eer(s[g == name], y[g == name]), 2)
    return out


def fit_control(corpus, seed=3, most=1500):
    """The control: mean and deviation of the MFCC, whitened by statistics of training segments."""
    rng = np.random.default_rng(seed)
    rows = corpus.select("train", "speech", 3.0)
    pick = rng.permutation(len(rows))[:most]
    f = np.stack([control_features(corpus.audio(rows[i], 0, LENGTH)) for i in pick])
    return f.mean(0), f.std(0)


def control_features(x):
    c = ref.mfcc(x + 1e-5 * np.random.default_rng(0).standard_normal(len(x)))
    return np.concatenate([c[:, 1:].mean(0), c[:, 1:].std(0)])


def control(corpus):
    mean, std = fit_control(corpus)
    return lambda clips: np.stack([(control_features(x) - mean) / std for x in clips])


if __name__ == "__main__":
    for split in LIST:
        make(open_corpus(arguments(__doc__)), split)
