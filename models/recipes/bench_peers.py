"""The daemon beside what a user would otherwise take: seconds of audio for each second of one core, latency of a call, memory.

    python -m models.recipes.bench_peers target/release/earwitness [--audio FILE…] [--json FILE] [--rounds 3]

Against: the same models driven from Python (onnxruntime, features by torchaudio and librosa); sherpa-onnx's speaker extractor on the same
encoder and speaker head, merged into one ONNX file; Resemblyzer. What is equal:

- The audio: speech throughout, 16 kHz mono, the bundled enrolment recordings one after the other, over and over for `--seconds`.
- The windows: of 3 s, one a second, the first ones shorter. Python's pipeline decides by itself which are scored, by the daemon's rules, and has
  to come to the same number of windows and to nearly the same mean embedding, or the run fails. sherpa-onnx and Resemblyzer have no such rules: they
  are given the windows that the daemon scores, whole. (The daemon's speech activity is thus on top of what they do, its decoding of the file and
  its decisions as well.)
- The weights: those of the pack, fp32 or (`--precision`) int8; but for Resemblyzer, whose own model is smaller.
- The machine: one core, which all processes are bound to; in turns, so that whatever else it does slows all alike; one thread each.

The daemon runs as one stream and as four, whose windows it runs together where they wait at once: its weights are read once for them. The ratio is of the
four, that of one beside it. The others take window after window, however many streams there are; four whole windows together would cost Python's encoder a
tenth less (docs/gpu.md).

What is not: sherpa-onnx brings an ONNX Runtime and a Kaldi filter bank of its own, and does not shorten a window to its newest utterance.
Features are made anew for each window in Python, as a program does that is handed windows; the daemon makes them once a stream. So it is with the
encoder: handed a window, a program runs it on all of that; the daemon, on what is new.

CPU time of the fastest round counts, models loaded. Latency is told apart, one contestant after the other on one stream in real time: from
the end of a window to its embedding, of the daemon to its event. Memory is the greatest of each process meanwhile.
"""
import argparse
import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path

import numpy as np
import soundfile

from .peers import graph, windows
from .peers.contestants import CONTESTANTS

PYTHON_BAR, SHERPA_BAR = 2.0, 1.2
BARS = {"onnxruntime + torchaudio": PYTHON_BAR, "onnxruntime + torchaudio + librosa": PYTHON_BAR, "sherpa-onnx, equal model": SHERPA_BAR}
AUDIO = ["examples/scene/enrol/allison_1.flac", "examples/scene/enrol/anna_1.flac"]
TOGETHER = 4  # streams
ONLY_VOICES = {"EARWITNESS_SPOOF__ENABLED": "false", "EARWITNESS_SOUND__ENABLED": "false"}


class Contestant:
    """A worker's process, which takes turns."""

    def __init__(self, name, audio, pack, only):
        command = [sys.executable, "-m", "models.recipes.peers.worker", name, audio, "--pack", pack]
        if only is not None:
            command += ["--windows", ",".join(map(str, only))]
        self.name, self.rounds = name, []
        self.process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        self.said("ready")

    def said(self, expected=None):
        line = self.process.stdout.readline()
        if not line or (expected and line.strip() != expected):
            raise SystemExit(f"{self.name}: expected {expected or 'a result'}, found {line.strip() or 'the end of its process'}")
        return line

    def ask(self, line):
        self.process.stdin.write(line + "\n")
        self.process.stdin.flush()
        return json.loads(self.said())

    def turn(self):
        self.rounds.append(self.ask("go"))

    def best(self):
        return min(self.rounds, key=lambda r: r["cpu_s"])

    def end(self):
        self.process.stdin.close()
        self.process.wait()


def records(program, pack, *arguments, **environment):
    """What the program prints with --json."""
    command = [program, "--json", "--quiet", *arguments, "--pack", pack]
    done = subprocess.run(command, env=os.environ | environment, check=True, stdout=subprocess.PIPE, text=True)
    return [json.loads(line) for line in done.stdout.splitlines()]


def throughput(program, pack, audio):
    """{(heads, streams at once): record} of one round."""
    return {(r["heads"], r["streams"]): r for r in records(program, pack, "bench", "--measure", "throughput", "--rounds", "1", "--audio", audio)}


def alone(program, pack, audio, seconds, **environment):
    """One stream in real time."""
    return records(program, pack, "bench", "--measure", "streams", "--streams", "1", "--seconds", str(seconds), "--audio", audio, **environment)[0]


def percentiles(ms):
    ms = sorted(ms)
    return {f"p{q}_ms": ms[max(0, -(-q * len(ms) // 100) - 1)] for q in (50, 95, 99)}


def speech(files, seconds, to):
    """One recording of this length out of these, over and over."""
    parts = []
    for file in files:
        x, rate = soundfile.read(file, dtype="int16")
        if rate != windows.RATE or x.ndim != 1:
            raise SystemExit(f"{file}: expected {windows.RATE} Hz mono, found {rate} Hz, {x.ndim} dimensions")
        parts.append(x)
    x = np.concatenate(parts)
    soundfile.write(to, np.tile(x, -(-seconds * windows.RATE // len(x)))[: seconds * windows.RATE], windows.RATE)


def compete(a, folder):
    """The rows of the table."""
    audio = str(folder / "speech.wav")
    speech(a.audio, a.seconds, audio)
    graph.others(a.pack, folder, a.precision)
    reference = Contestant("onnxruntime + torchaudio", audio, str(folder), None)
    reference.turn()
    scored = reference.rounds[0]["scored"]
    field = [reference] + [Contestant(n, audio, str(folder), scored if only else None) for n, (_, _, only) in CONTESTANTS.items() if n != reference.name]
    ours = []
    for _ in range(a.rounds):
        ours.append(throughput(a.program, a.pack, audio))
        for contestant in field:
            contestant.turn()
    same_work(a, audio, ours[0]["speaker", 1], reference.best())
    real_time = {"speaker": alone(a.program, a.pack, audio, a.real_time, **ONLY_VOICES), "all": alone(a.program, a.pack, audio, a.real_time)}
    rows = []
    for heads, live in real_time.items():
        one, best = (min((o[heads, n] for o in ours), key=lambda r: r["cpu_s"]) for n in (1, TOGETHER))
        rows.append({"heads": heads, "name": "earwitness", "speed": best["speed"], "speed_of_one": one["speed"], "windows": best["windows"], "scored": best["encoded"],
                     "p50_ms": live["lag_median_ms"], "p95_ms": live["lag_p95_ms"], "p99_ms": live["lag_p99_ms"], "peak_mib": live["resident_peak_mib"]})
        for c in (c for c in field if CONTESTANTS[c.name][0] == heads):
            took, late = c.best(), c.ask(f"live {a.real_time}")
            row = {"heads": heads, "name": c.name, "speed": a.seconds / took["cpu_s"], "windows": took["windows"], "scored": len(took["scored"]),
                   **percentiles(late["late_ms"]), "peak_mib": late["peak_mib"]}
            c.end()
            row |= {"ratio": best["speed"] / row["speed"], "ratio_of_one": one["speed"] / row["speed"]}
            if c.name in BARS:
                row |= {"at_least": BARS[c.name], "meets": row["ratio"] >= BARS[c.name]}
            rows.append(row)
    return rows


def same_work(a, audio, ours, python):
    """The comparison says nothing unless Python came to the same windows and to the same voice."""
    if (ours["windows"], ours["encoded"]) != (python["windows"], len(python["scored"])):
        raise SystemExit(f"expected Python to score {ours['encoded']} of {ours['windows']} windows as the daemon does, "
                         f"found {len(python['scored'])} of {python['windows']}")
    embedding = np.array(records(a.program, a.pack, "embed", audio, **ONLY_VOICES)[0]["embedding"])
    cosine = float(embedding @ np.array(python["embedding"]))
    if cosine < 0.98:  # frames that the daemon heard in the window before looked back on other ones than those of a window by itself
        raise SystemExit(f"expected Python's mean embedding to be nearly the daemon's, found a cosine of {cosine:.4f}")


def main():
    p = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    p.add_argument("program")
    p.add_argument("--audio", nargs="+", default=AUDIO)
    p.add_argument("--seconds", type=int, default=60)
    p.add_argument("--real-time", type=float, default=20, help="seconds of each contestant's latency")
    p.add_argument("--pack", default="models/default")
    p.add_argument("--precision", choices=("fp32", "int8"), default="fp32", help="of the encoder's weights, for all")
    p.add_argument("--json", default="target/bench_peers.json")
    p.add_argument("--rounds", type=int, default=3)
    a = p.parse_args()
    os.environ["EARWITNESS_MODELS__PRECISION"] = a.precision
    load = os.getloadavg()[0]
    os.sched_setaffinity(0, {max(os.sched_getaffinity(0))})  # what is started inherits it
    with tempfile.TemporaryDirectory() as folder:
        rows = compete(a, Path(folder))
    print(f"Beside others: seconds of audio for each second of one core ({a.seconds} s of speech, best of {a.rounds} rounds in turns)")
    print(f"{'':<38}{'speed':>8}{'p50 ms':>9}{'p95 ms':>9}{'p99 ms':>9}{'peak MiB':>10}")
    for row in rows:
        if row["name"] == "earwitness":
            print({"speaker": "  speaker only", "all": "  speaker, spoof, sounds"}[row["heads"]])
        times = (f"   ours is {row['ratio']:.2f} times as fast, {row['ratio_of_one']:.2f} with one stream" if "ratio" in row
                 else f"   {TOGETHER} streams at once; {row['speed_of_one']:.1f} with one")
        bar = "" if "meets" not in row else f" ({'at least' if row['meets'] else 'less than'} {row['at_least']})"
        print(f"    {row['name']:<34}{row['speed']:>8.1f}{row['p50_ms']:>9.1f}{row['p95_ms']:>9.1f}{row['p99_ms']:>9.1f}{row['peak_mib']:>10.0f}{times}{bar}")
    os.makedirs(os.path.dirname(a.json) or ".", exist_ok=True)
    with open(a.json, "w") as f:
        json.dump({"audio": a.audio, "audio_s": a.seconds, "rounds": a.rounds, "load_before": load, "rows": rows}, f, indent=1)


if __name__ == "__main__":
    main()
