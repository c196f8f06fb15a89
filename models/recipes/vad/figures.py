"""Speech activity on test speech under test sounds, a figure for each signal-to-noise ratio, per 20 ms."""
import tomllib
from pathlib import Path

import numpy as np

from ..common.augment import add_noise, level
from .train import N, Data, label


def figures(c, pack, clips=300, seed=23):
    data, rng = Data(c, "test"), np.random.default_rng(seed)
    threshold = tomllib.loads((Path(pack.folder) / "pack.toml").read_text())["vad"]["threshold"]
    cases = []
    while len(cases) < clips:
        r = data.speech[rng.integers(len(data.speech))]
        x = c.audio(r, int(rng.integers(0, r["length"] - N + 1)), N).astype(np.float64)
        got = label(x)
        if got is not None:
            cases.append((x, *got, data.noise(rng)))
    out = {"clips": clips, "threshold": threshold}
    for snr in (None, 20, 10, 5, 0):
        counts = np.zeros((2, 3))
        for k in range(0, clips, 16):
            part = cases[k : k + 16]
            wave = np.stack([level(x if snr is None else add_noise(x, n, snr), np.random.default_rng(k)) for x, _, _, n in part])
            for p, (_, y, w, _) in zip(pack.vad(list(wave)), part):
                for i, weight in enumerate((w, np.ones_like(w))):
                    told = p[: len(y)] > threshold
                    counts[i] += [(weight * told * y).sum(), (weight * told * (1 - y)).sum(), (weight * ~told * y).sum()]
        name = "clean" if snr is None else f"{snr} dB"
        for i, kind in enumerate(("", " with frames at the edge of speech")):
            tp, fp, fn = counts[i]
            out[name + kind] = {"f1": round(2 * tp / (2 * tp + fp + fn), 4), "precision": round(tp / (tp + fp), 4), "recall": round(tp / (tp + fn), 4)}
    return out
