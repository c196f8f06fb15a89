"""The process of one contestant: loads, says so, and answers lines on standard input. `go`: once through the audio at full speed, and what it
took. `live SECONDS`: its beginning in real time, and how long after its end each window was scored.

    python -m models.recipes.peers.worker NAME AUDIO --pack FOLDER --model FILE.onnx [--windows 0,1,…]
"""
import argparse
import json
import os
import sys
import time

for name in ("OMP", "MKL", "OPENBLAS", "NUMBA"):
    os.environ[f"{name}_NUM_THREADS"] = "1"

import numpy as np
import soundfile

from . import windows
from .contestants import CONTESTANTS


def peak_mib():
    """Of this program alone: getrusage counts what the process that started it held."""
    with open("/proc/self/status") as f:
        return next(int(line.split()[1]) / 1024 for line in f if line.startswith("VmHWM"))


def run(contestant, x, spans):
    contestant.embeddings.clear()
    begun = time.process_time()
    scored = [i for i, w in spans if contestant.window(x[w.start : w.end], w.new)]
    cpu = time.process_time() - begun
    mean = np.mean(contestant.embeddings, 0) if contestant.embeddings else np.zeros(1)
    return {"cpu_s": cpu, "windows": len(spans), "scored": scored, "peak_mib": peak_mib(),
            "embedding": [float(v) for v in mean / max(np.linalg.norm(mean), 1e-9)]}


def live(contestant, x, spans, seconds):
    """Between two windows the caches grow cold, and another program may take the core: that is what a listener waits for."""
    begun, late = time.perf_counter(), []
    for _, w in spans:
        end = w.end / windows.RATE
        if end > seconds:
            break
        time.sleep(max(0.0, begun + end - time.perf_counter()))
        contestant.window(x[w.start : w.end], w.new)
        late.append(1000 * (time.perf_counter() - begun - end))
    return {"late_ms": late, "peak_mib": peak_mib()}


def main():
    p = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    p.add_argument("name", choices=CONTESTANTS)
    p.add_argument("audio")
    p.add_argument("--pack", required=True, help="as graph.py writes it")
    p.add_argument("--windows", help="numbers of the windows to take; without it all")
    a = p.parse_args()
    x, rate = soundfile.read(a.audio, dtype="float32")
    if rate != windows.RATE or x.ndim != 1:
        raise SystemExit(f"{a.audio}: expected {windows.RATE} Hz mono, found {rate} Hz, {x.ndim} dimensions")
    spans = list(enumerate(windows.cut(len(x))))
    if a.windows:
        wanted = set(map(int, a.windows.split(",")))
        spans = [s for s in spans if s[0] in wanted]
    contestant = CONTESTANTS[a.name][1](a.pack)
    run(contestant, x, spans[:4])  # to warm caches and compilers
    print("ready", flush=True)
    for line in sys.stdin:
        word, *rest = line.split()
        told = live(contestant, x, spans, float(rest[0])) if word == "live" else run(contestant, x, spans)
        print(json.dumps(told), flush=True)


if __name__ == "__main__":
    main()
