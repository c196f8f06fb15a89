"""Fits score to log-likelihood ratio for the short windows of a timeline, on dev, and puts it into a pack: `[spoof.short]`.

    earwitness eval timeline <work>/partial/dev.txt --curve <work>/partial/dev.tsv     # a pack that has the section's seconds already, or none: 3 s
    python -m models.recipes.spoof.timeline <work>/partial/dev.txt <work>/partial/dev.tsv --seconds 1.5

Pieces of speech count by their duration, real and synthetic ones together alike.
"""
import argparse
import json
from pathlib import Path

import numpy as np

from .. import manifest
from ..common import metrics


def read(listed, curve):
    """Scores of all pieces, and whether each is real."""
    fakes = {}
    for line in Path(listed).read_text().splitlines():
        path, _, *times = line.split("\t")
        fakes[path] = [(float(a), float(b)) for a, b in zip(times[::2], times[1::2])]
    scores, real = [], []
    for line in Path(curve).read_text().splitlines():
        path, start, end, score, *_ = line.split("\t")
        middle = (float(start) + float(end)) / 2
        scores.append(float(score))
        real.append(not any(a <= middle <= b for a, b in fakes[path]))
    return np.array(scores), np.array(real, int)


def main():
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument("list")
    p.add_argument("curve")
    p.add_argument("--seconds", type=float, required=True)
    p.add_argument("--pack", default="models/default")
    a = p.parse_args()
    scores, real = read(a.list, a.curve)
    slope, offset = metrics.calibrate(scores, real)
    short = {"seconds": a.seconds, "slope": slope, "offset": offset, "pieces": len(scores), "dev_eer_percent": round(metrics.eer(scores, real), 2)}
    at = Path(a.pack) / "report.json"
    report = json.loads(at.read_text())
    report["calibration"]["spoof_short"] = short
    manifest.write(report, Path(a.pack), manifest.version(a.pack))
    print(short)


if __name__ == "__main__":
    main()
