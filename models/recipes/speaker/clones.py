"""Clones of test (or dev) speakers, for the fused verification: does it let in a forged voice that the speaker head takes for the person's?

Of target trials of the list, segment b is forged: the person's own words through each copy-synthesis (what a perfect text-to-speech of that voice
would leave to be heard), and another person's words converted (WORLD: the target's pitch range and mean spectral envelope). Writes
`<work>/clones/list.txt` (with `--split dev`, on which both heads are calibrated together, `<work>/clones_dev/list.txt`) (targets, non-targets and spoofs, as `earwitness eval speaker` reads it) and the forged segments beside it. `real_or_not.txt` is
for `earwitness eval spoof`: the segments themselves against their forgeries, by methods that the spoof head knows, of voices that it does not.
"""
from pathlib import Path

import numpy as np

from ..common.corpus import RATE, arguments, open_corpus
from ..spoof.copy_synthesis import kinds
from . import trials


def analyse(x):
    import pyworld

    y = x.astype(np.float64)
    f0, t = pyworld.dio(y, RATE)
    f0 = pyworld.stonemask(y, f0, t, RATE)
    return f0, pyworld.cheaptrick(y, f0, t, RATE), pyworld.d4c(y, f0, t, RATE)


def convert(x, like):
    """The words of `x` in the voice of `like`: log-F0 moved to its mean and deviation, the log envelope by the difference of the voiced means."""
    import pyworld

    (f0, sp, ap), (g0, target, _) = analyse(x), analyse(like)
    if (f0 > 0).sum() < 20 or (g0 > 0).sum() < 20:
        return None
    a, b = np.log(f0[f0 > 0]), np.log(g0[g0 > 0])
    f0 = np.where(f0 > 0, np.exp((np.log(np.maximum(f0, 1)) - a.mean()) / (a.std() + 1e-3) * b.std() + b.mean()), 0)
    move = np.log(target[g0 > 0]).mean(0) - np.log(sp[f0 > 0]).mean(0)
    return pyworld.synthesize(f0, np.ascontiguousarray(sp * np.exp(move)), ap, RATE)


def main():
    import soundfile as sf

    a = arguments(__doc__, targets=160, split="test")
    folder = Path(a.work).resolve() / ("clones" if a.split == "test" else f"clones_{a.split}")
    c, rng = open_corpus(a), np.random.default_rng(91)
    folder.mkdir(parents=True, exist_ok=True)
    pairs, make, files = trials.read(a.split), kinds(a.work), []
    source, who = (lambda p: p.split("/")[1]), (lambda p: c.by_path[p]["who"])
    chosen = [t for g in sorted({source(t[0]) for t in pairs}) for t in _some(rng, [t for t in pairs if t[4] and source(t[0]) == g], a.targets // 2)]
    lines = [(*t[:4], ("nontarget", "target")[t[4]], source(t[0]), who(t[0]), who(t[2])) for t in pairs]
    for k, (p, i, q, j, _) in enumerate(chosen):
        x, own = c.audio(q, j, trials.LENGTH), c.audio(p, i, trials.LENGTH)
        others = [t for t in pairs if source(t[0]) == source(p) and who(t[2]) != who(p)]
        other = others[rng.integers(len(others))]
        forged = {name: f(x, np.random.default_rng([92, k])) for name, f in make.items()}
        forged["conversion"] = convert(c.audio(other[2], other[3], trials.LENGTH), own)
        for name, y in {"real": x, **forged}.items():
            if y is None or not np.isfinite(y).all():
                continue
            y = np.pad(y, (0, max(0, trials.LENGTH - len(y))))[: trials.LENGTH]
            y = y * np.sqrt((x**2).mean() / ((y**2).mean() + 1e-12))
            at = folder / f"{k}_{name}.wav"
            sf.write(at, y / max(1.0, np.abs(y).max()), RATE)
            files.append((at.name, int(name == "real"), name))
            if name != "real":
                lines.append((p, i, at, 0, "spoof", name, who(p), who(p)))
    (folder / "list.txt").write_text("".join("\t".join(map(str, l)) + "\n" for l in lines))
    (folder / "real_or_not.txt").write_text("".join("\t".join(map(str, f)) + "\n" for f in files))
    print(len(lines), "trials", sum(l[4] == "spoof" for l in lines), "clones")


def _some(rng, rows, n):
    return [rows[i] for i in sorted(rng.permutation(len(rows))[:n])]


if __name__ == "__main__":
    main()
