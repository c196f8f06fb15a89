"""What `earwitness enroll` refuses: each fault made on purpose from one split's recordings, beside the recordings themselves.

    python -m models.recipes.speaker.enrol target/release/earwitness --corpus CORPUS [--split dev]

Prints, for each kind of recording, how many there are, the quantiles of each measure, and the share that each check
refuses. The thresholds of `src/task/quality.rs` are chosen on dev.
"""
import argparse
import csv
import json
import os
import subprocess
import tempfile
import wave
from multiprocessing.pool import ThreadPool

import numpy as np

from models.recipes.common.corpus import RATE, decode, manifest, to_i16

SECONDS = 14  # a sitting
LEAST = 11


def write(path, x):
    with wave.open(path, "wb") as f:
        f.setnchannels(1)
        f.setsampwidth(2)
        f.setframerate(RATE)
        f.writeframes(to_i16(x).tobytes())


def level(x):
    return x * (0.05 / (np.sqrt(np.mean(x**2)) + 1e-9))


def sittings(root, split):
    """Speaker -> sittings: lists of recordings, together 11 to 14 s and more."""
    speakers = {}
    for row in manifest(root):
        if row["kind"] == "speech" and row["split"] == split:
            speakers.setdefault((row["group"], row["label"]), []).append(row)
    out = {}
    for speaker, rows in sorted(speakers.items()):
        if sum(float(r["seconds"]) for r in rows) < LEAST:
            continue
        now, seconds = [], 0.0
        for row in sorted(rows, key=lambda r: r["path"]):
            x = level(decode(os.path.join(root, row["path"])))
            now.append(x)
            seconds += len(x) / RATE
            if seconds >= SECONDS:
                out.setdefault(speaker, []).append(now)
                now, seconds = [], 0.0
        if seconds >= LEAST:
            out.setdefault(speaker, []).append(now)
    return {s: lists[:2] for s, lists in out.items()}


def take(parts, seconds):
    return np.concatenate(parts)[: int(seconds * RATE)]


def turns(a, b, share, rng):
    """Two people taking turns of two to four seconds; `share` of the second."""
    a, b = take(a, SECONDS * (1 - share)), take(b, SECONDS * share)
    out = []
    while len(a) or len(b):
        for x in (0, 1):
            n = int(rng.uniform(2, 4) * RATE)
            if x == 0:
                out.append(a[:n])
                a = a[n:]
            else:
                out.append(b[:n])
                b = b[n:]
    return np.concatenate(out)


def pink(n, rng):
    f = np.fft.rfft(rng.standard_normal(n))
    f[1:] /= np.sqrt(np.arange(1, len(f)))
    x = np.fft.irfft(f, n)
    return x / np.sqrt(np.mean(x**2))


def with_noise(x, snr, rng):
    """Noise this far below the speech; half a second of it alone at both ends, as live recordings have."""
    speech = np.sqrt(np.mean(x**2))
    pad = np.zeros(RATE // 2)
    x = np.concatenate([pad, x, pad])
    return x + pink(len(x), rng) * speech * 10 ** (-snr / 20)


def recordings(root, split):
    rng = np.random.default_rng(0)
    people = sittings(root, split)
    for speaker, lists in people.items():
        for parts in lists:
            yield "one speaker", np.concatenate(parts)
    by_group = {}
    for speaker in people:
        by_group.setdefault(speaker[0], []).append(speaker)
    for name, share in (("two speakers, halves", 0.5), ("two speakers, a quarter", 0.25)):
        for group, speakers in by_group.items():
            for _ in range(min(40, len(speakers))):
                if len(speakers) < 2:
                    continue
                a, b = (speakers[i] for i in rng.choice(len(speakers), 2, replace=False))
                yield name, turns(people[a][0], people[b][0], share, rng)
    for row in manifest(root):
        if row["split"] == split and row["kind"] in ("bonafide", "spoof"):
            yield row["kind"], level(decode(os.path.join(root, row["path"])))
    for speaker, lists in people.items():
        x = np.concatenate(lists[0])
        peak = np.abs(x).max()
        limit = peak * 10 ** (-6 / 20)
        yield "clipped 6 dB below the peak", np.clip(x, -limit, limit)
        for snr in (0, 5, 10):
            yield f"pink noise at {snr} dB", with_noise(x, snr, rng)


def spread(given, most):
    """At most so many of each kind, evenly spread, the kinds in turns: a run that is cut off has seen some of each."""
    kinds = {}
    for kind, x in given:
        kinds.setdefault(kind, []).append((kind, x))
    picked = []
    for found in kinds.values():
        step = max(1.0, len(found) / most) if most else 1.0
        picked += [(i * step, found[int(i * step)]) for i in range(int(len(found) / step))]
    return [r for _, r in sorted(picked, key=lambda p: p[0])]


def measure(program, kind, x):
    """One enrolment; `None`: too little speech. The spoof head is asked about recordings as they are only."""
    with tempfile.TemporaryDirectory() as folder:
        path = os.path.join(folder, "a.wav")
        write(path, x)
        return enrol(program, path, folder, "true" if kind in ("bonafide", "spoof") else "false")


def enrol(program, path, folder, spoof):
    env = dict(os.environ, EARWITNESS_SPEAKER__STORE=os.path.join(folder, "s.redb"), EARWITNESS_SPOOF__ENABLED=spoof)
    run = subprocess.run(
        [program, "enroll", "x", path, "--replace", "--force", "--json"], capture_output=True, text=True, env=env
    )
    if run.returncode != 0:
        return None
    record = json.loads(run.stdout)
    return dict(record["quality"], faults=[fault.split(": ")[1] for fault in record["forced"]])


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("program")
    parser.add_argument("--corpus", required=True)
    parser.add_argument("--split", default="dev")
    parser.add_argument("--csv", help="also every measurement, for choosing thresholds")
    parser.add_argument("--jobs", type=int, default=2)
    parser.add_argument("--kinds", nargs="+", help="of recordings, by how their names begin; all if left out")
    parser.add_argument("--most", type=int, help="of each kind, evenly spread")
    args = parser.parse_args()
    kinds = {}
    columns = ["kind", "clipped", "snr_db", "one_voice", "real", "faults"]
    rows = csv.DictWriter(open(args.csv or os.devnull, "w", newline="", buffering=1), columns)
    rows.writeheader()
    with ThreadPool(args.jobs) as pool:
        given = recordings(args.corpus, args.split)
        if args.kinds:
            given = (r for r in given if r[0].startswith(tuple(args.kinds)))
        given = spread(given, args.most)
        for kind, found in pool.imap(lambda r: (r[0], measure(args.program, *r)), given):
            kinds.setdefault(kind, []).append(found)
            if found:
                rows.writerow(dict(found, kind=kind, faults=";".join(found["faults"])))
    for kind, found in kinds.items():
        some = [f for f in found if f]
        print(f"{kind}: {len(some)} recordings, {len(found) - len(some)} with too little speech")
        for key in ("clipped", "snr_db", "one_voice", "real"):
            values = [f[key] for f in some if f[key] is not None]
            if values:
                q = np.quantile(values, [0, 0.05, 0.5, 0.95, 1])
                print(f"  {key:9} of {len(values)}: " + "  ".join(f"{v:.4g}" for v in q))
        names = sorted({name for f in some for name in f["faults"]})
        for name in names:
            share = sum(name in f["faults"] for f in some) / len(some)
            print(f"  refused as {name}: {100 * share:.1f} %")
        any_fault = sum(bool(f["faults"]) for f in some) / max(1, len(some))
        print(f"  refused: {100 * any_fault:.1f} %", flush=True)


if __name__ == "__main__":
    main()
