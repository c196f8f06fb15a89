"""What `earwitness enroll` refuses: each fault made on purpose from one split's recordings, beside the recordings themselves.

    python -m models.recipes.speaker.enrol target/release/earwitness --corpus CORPUS [--split dev]

Prints, for each kind of recording, how many there are, the quantiles of each measure, and the share that each check
refuses. Thresholds are chosen on dev (`src/task/quality.rs`, `src/store` know none).
"""
import argparse
import csv
import json
import os
import subprocess
import tempfile
import wave

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
    return {s: lists[:3] for s, lists in out.items()}


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
            for _ in range(min(60, 2 * len(speakers))):
                if len(speakers) < 2:
                    continue
                a, b = (speakers[i] for i in rng.choice(len(speakers), 2, replace=False))
                yield name, turns(people[a][0], people[b][0], share, rng)
    for speaker, lists in people.items():
        x = np.concatenate(lists[0])
        peak = np.abs(x).max()
        for over in (6, 12):
            yield f"clipped {over} dB below the peak", np.clip(x, -(peak * 10 ** (-over / 20)), peak * 10 ** (-over / 20))
        for snr in (0, 5, 10, 20):
            yield f"pink noise at {snr} dB", with_noise(x, snr, rng)
    for row in manifest(root):
        if row["split"] == split and row["kind"] in ("bonafide", "spoof"):
            yield row["kind"], level(decode(os.path.join(root, row["path"])))


def measure(program, path, folder):
    env = dict(os.environ, EARWITNESS_SPEAKER__STORE=os.path.join(folder, "s.redb"))
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
    args = parser.parse_args()
    kinds, rows = {}, []
    with tempfile.TemporaryDirectory() as folder:
        path = os.path.join(folder, "a.wav")
        for kind, x in recordings(args.corpus, args.split):
            write(path, x)
            found = measure(args.program, path, folder)
            kinds.setdefault(kind, []).append(found)
            if found:
                rows.append(dict(found, kind=kind, faults=";".join(found["faults"])))
    if args.csv:
        with open(args.csv, "w", newline="") as f:
            w = csv.DictWriter(f, ["kind", "clipped", "snr_db", "one_voice", "real", "faults"])
            w.writeheader()
            w.writerows(rows)
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
