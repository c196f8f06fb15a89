"""Runs the pack over the bundled scene (3 s windows, 1 s hop) and prints what a listener would be told, window by window."""
import json
import tomllib
from pathlib import Path

import numpy as np
import soundfile as sf

from ..pack import Pack

SCENE, N, HOP = Path("examples/scene"), 48000, 16000


def enrol(pack, files):
    e = []
    for f in files:
        x, _ = sf.read(SCENE / f, dtype="float32")
        e += [pack.embed([x[s : s + N]])[0] for s in range(0, len(x) - N + 1, N // 2)]
    m = np.mean(e, axis=0)
    return m / np.linalg.norm(m)


def main(folder="models/default"):
    pack, doc = Pack(folder), json.loads((SCENE / "scene.json").read_text())
    m = tomllib.loads((Path(folder) / "pack.toml").read_text())
    a, b = m["speaker"]["calibration"], m["spoof"]["calibration"]
    known = {n: enrol(pack, f) for n, f in doc["enrol"].items()}
    x, _ = sf.read(SCENE / doc["audio"], dtype="float32")
    print("window      truth               speech  " + "  ".join(f"{n}: cos   llr" for n in known) + "   spoof: score   llr")
    for s in range(0, len(x) - N + 1, HOP):
        t = s / 16000
        inside = [g for g in doc["segments"] if g["start"] - 0.05 <= t and t + 3 <= g["end"] + 0.05]
        g = inside[0] if inside else None
        name = "-" if g is None else "music" if g["kind"] == "music" else g["speaker"] + (" SYNTHETIC" if g["synthetic"] else "")
        w = [x[s : s + N]]
        e, sp, v = pack.embed(w)[0], float(pack.spoof(w)[0]), float((pack.vad(w)[0] > m["vad"]["threshold"]).mean())
        row = "  ".join(f"{n[:4]} {e @ k:6.2f} {a['slope'] * (e @ k) + a['offset']:6.2f}" for n, k in known.items())
        print(f"{t:4.0f}-{t + 3:3.0f} s  {name:20s} {v:5.2f}  {row}   {sp:6.2f} {b['slope'] * sp + b['offset']:6.2f}")


if __name__ == "__main__":
    main()
