"""The tagger on test clips: the ten classes of ESC-10, and speech against music against the rest."""
import numpy as np

from .data import ESC10
from .train import loudest, report, scored


def esc10_list(c, at, seconds=3.0):
    """The test clips of the ten classes at their loudest place, as `earwitness eval sound` reads them."""
    lines = []
    for r in c.select("test", "sound", 0.25):
        if r["label"] in ESC10:
            x, n = c.audio(r), int(16000 * seconds)
            lines.append(f"{r['path']} {loudest(x, n) / 16000:.4f} {min(seconds, len(x) / 16000):.4f} {r['label']}\n")
    at.write_text("".join(lines))
    return at


def figures(c, pack, rounds=300):
    out = {}
    for seconds in (3.0, 1.0):
        rows, p = scored(pack.sound, c, "test", seconds)
        r = report(rows, p)
        rng, drawn = np.random.default_rng(0), {"esc10_accuracy_percent": [], "macro_f1": []}
        for _ in range(rounds):
            i = rng.integers(0, len(rows), len(rows))
            b = report([rows[k] for k in i], p[i])
            for k in drawn:
                drawn[k].append(b[k])
        out[f"test_{seconds:g}s"] = {**r, **{f"{k}_ci": [round(float(v), 3) for v in np.percentile(d, [2.5, 97.5])] for k, d in drawn.items()}}
    return out
