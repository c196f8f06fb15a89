"""The spoof lists as text (`path label system`, 1 = bona fide), and how files are scored: the mean over their 3 s windows."""
from pathlib import Path

import numpy as np

from ..common import metrics
from ..common.corpus import arguments, open_corpus

LIST = {split: Path(__file__).parent / f"trials_{split}.txt" for split in ("dev", "test")}
N = 48000
PAGES = {  # dev systems and the real speech from the same demo page
    "glowtts_hifigan": "glowtts_demo", "glowtts_misc": "glowtts_demo", "winter_vc": "winter_demo", "wavernn": "wavernn_target",
}


def make(corpus, split):
    rows = [(r, 1) for r in corpus.select(split, "bonafide")] + [(r, 0) for r in corpus.select(split, "spoof")]
    LIST[split].write_text("".join(f"{r['path']} {y} {r['group']}\n" for r, y in rows))


def read(split):
    return [(p, int(y), s) for p, y, s in (l.split() for l in LIST[split].read_text().splitlines())]


def windows(x, hop=24000):
    """The 3 s windows of a file, its last one aligned to the end; a shorter file is repeated."""
    if len(x) < N:
        return [np.resize(x, N)]
    at = list(range(0, len(x) - N + 1, hop))
    if at[-1] != len(x) - N and len(x) - N - at[-1] > 8000:
        at.append(len(x) - N)
    return [x[s : s + N] for s in at]


def judge(corpus, score, listed):
    """`score(list of 3 s windows) -> scores`; the scores of each file of (path, label, system)."""
    out = []
    for path, *_ in listed:
        w = windows(corpus.audio(path))
        out.append(np.concatenate([score(w[i : i + 8]) for i in range(0, len(w), 8)]))
    return out


def dev_report(corpus, score):
    """EER of dev files: pooled, against the real speech of the same pages, and per system."""
    names, y, g = (np.array(v) for v in zip(*read("dev")))
    s = np.array([e.mean() for e in judge(corpus, score, read("dev"))])
    return summary(s, y.astype(int), g, names)


def summary(s, y, g, names):
    out = {"eer_percent": round(metrics.eer(s, y), 2)}
    out["eer_low_percent"], out["eer_high_percent"] = metrics.bootstrap(s, y, names)
    pages = set(PAGES.values())
    keep = np.array([(b in pages) if a else (b in PAGES) for a, b in zip(y, g)])
    out["matched_eer_percent"] = round(metrics.eer(s[keep], y[keep]), 2)
    out["per_system_eer_percent"] = {str(k): round(metrics.eer(s[(y == 1) | (g == k)], y[(y == 1) | (g == k)]), 1) for k in sorted(set(g[y == 0]))}
    return out


if __name__ == "__main__":
    for split in LIST:
        make(open_corpus(arguments(__doc__)), split)
