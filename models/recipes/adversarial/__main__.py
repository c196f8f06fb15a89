import argparse
import json
import subprocess
from collections import defaultdict
from pathlib import Path

import numpy as np
import soundfile as sf
import torch

from ..common.corpus import Corpus, build_cache
from . import __doc__
from .attack import LENGTH, MARGIN, Target, as_heard, attack, template

SNRS = (40, 30, 20)
VECTORS = Path("tests/golden/adversarial")
BATCH = 4


def clips(c, split, kind, rng, most=None):
    """Clips of 3 s with a voice in them, by who speaks or which system."""
    out = defaultdict(list)
    for r in c.select(split, kind, LENGTH / 16000):
        x = c.audio(r, 0, LENGTH)
        if np.sqrt((x**2).mean()) > 0.005:
            out[r["who"]].append(torch.tensor(x))
    for of in out.values():
        rng.shuffle(of)
    return {k: v[:most] for k, v in sorted(out.items())}


def write(at, x):
    at.parent.mkdir(parents=True, exist_ok=True)
    sf.write(at, x.numpy(), 16000, subtype="PCM_16")


def clean(c, out):
    """Honest clips: dev to calibrate by, test to count false alarms on. In `enrolled/`, under the same name, others by the same person."""
    for split, most in (("dev", 3), ("test", 1)):
        rng = np.random.default_rng(11)
        for who, of in clips(c, split, "speech", rng, 5).items():
            for k in range(min(most, len(of) - 2)):
                name, others = f"{who.replace('/', '_')}_{k}.wav", [x for i, x in enumerate(of) if i != k][:3]
                write(out / "clean" / f"speaker_{split}" / name, of[k])
                write(out / "clean" / f"speaker_{split}" / "enrolled" / name, torch.cat(others))
        for who, of in clips(c, split, "bonafide", rng, 6).items():
            for k, x in enumerate(of):
                write(out / "clean" / f"spoof_{split}" / f"{who.replace('/', '_')}_{k}.wav", x)


def run(name, x, score, a, at, enrolled=None):
    """Attacks those that are not accepted as they are; what came of it, by SNR."""
    told = {}
    with torch.no_grad():
        first = torch.cat([score(x[i : i + BATCH], i) for i in range(0, len(x), BATCH)])
    for snr in SNRS:
        made = torch.cat([attack(x[i : i + BATCH], lambda y, i=i: score(y, i), snr, a.steps) for i in range(0, len(x), BATCH)])
        with torch.no_grad():
            llr = torch.cat([score(as_heard(made[i : i + BATCH]), i) for i in range(0, len(x), BATCH)])
        tried = first < MARGIN
        won = tried & (llr >= MARGIN)
        for k in torch.nonzero(won).flatten().tolist():
            write(at / f"{name}_{snr}" / f"{k:03}.wav", made[k])
            if enrolled:
                write(at / f"{name}_{snr}" / "enrolled" / f"{k:03}.wav", enrolled[k])
        told[snr] = {"tried": int(tried.sum()), "accepted": int(won.sum()), "llr_before": float(first[tried].mean()), "llr_after": float(llr[tried].mean())}
        print(name, snr, "dB:", told[snr], flush=True)
    return told


def attacks(a):
    torch.set_num_threads(a.threads)
    build_cache(a.corpus, Path(a.work) / "cache")
    c, target, rng = Corpus(Path(a.work) / "cache"), Target(a.pack), np.random.default_rng(3)
    clean(c, a.out)
    voices = [v for v in clips(c, "test", "speech", rng, 4).values() if len(v) == 4]
    rng.shuffle(voices)
    people = [template(target, v[1:]) for v in voices[1 : a.count + 1]]
    x = torch.stack([v[0] for v in voices[: a.count]])
    person = torch.stack(people)
    told = {"speaker": run("speaker", x, lambda y, i: target.voice(y, person[i : i + len(y)]), a, a.out / "attacked",
                           [torch.cat(v[1:]) for v in voices[1 : a.count + 1]])}
    fakes = clips(c, "test", "spoof", rng, 2)
    x = torch.stack([v[k] for k in range(2) for v in fakes.values() if len(v) > k][: a.count])
    told["spoof"] = run("spoof", x, lambda y, i: target.genuine(y), a, a.out / "attacked")
    (a.out / "attacks.json").write_text(json.dumps({"steps": a.steps, "margin": MARGIN, **told}, indent=1) + "\n")


def speaks(a, enrolled):
    """Whether the program hears enough speech to enrol; also where nothing is to be enrolled. Who speaks too softly or in pieces is nobody's enrolment."""
    command = [a.program, "--log-level", "error", "embed", str(enrolled), "--pack", a.pack, "--allow-unsigned"]
    return not enrolled.exists() or subprocess.run(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL).returncode == 0


def asked(a, folder):
    """What `earwitness models baseline` says of each clip."""
    files = [f for f in sorted(folder.glob("*.wav")) if speaks(a, folder / "enrolled" / f.name)]
    command = [a.program, "--json", "--log-level", "error", "models", "baseline", "--pack", a.pack, "--allow-unsigned", *map(str, files)]
    if (folder / "enrolled").is_dir():
        command += ["--enrolled", *(str(folder / "enrolled" / f.name) for f in files)]
    got = subprocess.run(command, stdout=subprocess.PIPE, check=True, text=True).stdout
    *rows, last = map(json.loads, got.splitlines())
    return rows, last


def measure(a):
    """Thresholds at 5 % of the dev clips, then shares of the accepted test clips and of the attacks below them."""
    for head in ("speaker", "spoof"):
        key = f"{head}_neighbours"
        least = asked(a, a.out / "clean" / f"{head}_dev")[1][key]
        print(f"{key} = {least:.4f} on dev", flush=True)
        for folder in (a.out / "clean" / f"{head}_test", *sorted((a.out / "attacked").glob(f"{head}_*"))):
            rows = [r for r in asked(a, folder)[0] if r[key] is not None]
            accepted = [r for r in rows if r[f"{head}_llr"] >= MARGIN]
            found, all_found = (sum(r[key] < least for r in of) for of in (accepted, rows))
            print(f"{folder.name}: {found} of {len(accepted)} accepted ones are suspicious, {all_found} of all {len(rows)}; "
                  f"low end {np.median([r[key] for r in rows]):.2f} (median)", flush=True)


def vectors(a):
    """Small ones for the tests: the Italian voice as Allison by the speaker head, a resynthesised Allison as genuine by the spoof head."""
    torch.set_num_threads(a.threads)
    target, scene = Target(a.pack), Path("examples/scene")
    read = lambda name, start: torch.tensor(sf.read(scene / name, start=start, frames=LENGTH, dtype="float32")[0])
    person = template(target, [read("enrol/allison_1.flac", 16000 * s) for s in (0, 4, 8, 12)])
    other, fake = read("scene.flac", int(16000 * 26.0)), read("scene.flac", int(16000 * 36.0))
    VECTORS.mkdir(parents=True, exist_ok=True)
    told = {"source": {}, "attacked": {}}
    for name, x, score in (("speaker", other, lambda y: target.voice(y, person[None])), ("spoof", fake, target.genuine)):
        with torch.no_grad():
            told["source"][name] = round(float(score(x[None])), 3)
        sf.write(VECTORS / f"{name}_clean.flac", x.numpy(), 16000, subtype="PCM_16")
        for snr in (30, 20):
            y = as_heard(attack(x[None], score, snr, a.steps))
            with torch.no_grad():
                told["attacked"][f"{name}_{snr}"] = round(float(score(y)), 3)
            sf.write(VECTORS / f"{name}_{snr}.flac", y[0].numpy(), 16000, subtype="PCM_16")
    (VECTORS / "vectors.json").write_text(json.dumps(told, indent=1) + "\n")
    print(told)


if __name__ == "__main__":
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument("what", choices=("attack", "measure", "vectors"))
    p.add_argument("--corpus")
    p.add_argument("--work", default="models/.train")
    p.add_argument("--out", type=Path, default=Path("models/.train/adversarial"))
    p.add_argument("--pack", default="models/default")
    p.add_argument("--program", default="target/release/earwitness")
    p.add_argument("--count", type=int, default=24, help="clips for each head")
    p.add_argument("--steps", type=int, default=20)
    p.add_argument("--threads", type=int, default=1)
    a = p.parse_args()
    {"attack": attacks, "measure": measure, "vectors": vectors}[a.what](a)
