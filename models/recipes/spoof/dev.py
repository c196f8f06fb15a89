"""What the spoof head is chosen and calibrated by: the list of dev files, the originals' dev voices, and sentences by two engines.

The list's systems are a few clips each of demo pages, and heads that told those and copies best took most sentences of engines for real: so engines are
heard before a head is chosen, where engines.py was run: two of which nothing is trained on. Another such, and the real speech beside them, are for test.
"""
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import soundfile

from ..common.corpus import to_i16
from . import originals, trials
from .installed import flat

ENGINES, EACH = ("kokoro", "silero_ru"), 20


def sentences(work):
    """Those of the engines as a cache that a corpus may join; nothing where engines.py was not run."""
    at, rows, heard, end = work / "engines.txt", [], [], 0
    lines = [l.split("\t") for l in at.read_text().splitlines()] if at.exists() else []
    for name in ENGINES:
        for path in [path for path, _, who in lines if who == name][:EACH]:
            x, rate = soundfile.read(work / path)
            heard.append(to_i16(flat(x, rate)))
            rows.append({"path": path, "kind": "engine", "group": name, "split": "dev", "offset": end, "length": len(heard[-1])})
            end += len(heard[-1])
    return SimpleNamespace(rows=rows, data={"": np.concatenate(heard)}) if rows else None


def opened(args):
    """The corpus with all that, and `path, label, system` of its dev files, as the trial lists have them."""
    c = originals.joined(args)
    if made := sentences(Path(args.work)):
        c.join(made)
    return c, trials.read("dev") + originals.listed(c) + [(r["path"], 0, r["group"]) for r in c.select("dev", "engine")]
