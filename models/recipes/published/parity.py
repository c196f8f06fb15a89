"""Published encoders at full width with random weights: ONNX against PyTorch, and the program against PyTorch from the raw waveform.

    python -m models.recipes.published.parity [--full] [--only wavlm,beats] [--program target/release/earwitness] [--out parity.json]

Without --full the tiny models of fixtures.py are taken. The program is asked for the hidden states of a 3 s clip (`earwitness embed --states`); where
it is not built, that column stays empty. One model at a time; it takes about 3 GB of memory.
"""
import argparse
import json
import shutil
import subprocess
import tempfile
import time
from pathlib import Path

import numpy as np
import soundfile

from .. import export, export_beats, export_mert, export_spear, export_transformers
from . import pack, random_models, reference
from .fixtures import about, signal

SECONDS = 3.0


def of_transformers(recipe, make, work, full, vad):
    make(work / "checkpoint", random_models.FULL if full else random_models.TINY)
    net, front, c = recipe.build(work / "checkpoint")
    rate = front["sample_rate"]
    worst = pack.write(work / "pack", about("parity"), net, front, c.num_hidden_layers + 1, c.hidden_size, rate / front["hop"], vad)
    x = signal(SECONDS, rate)
    return rate, worst, x, reference.transformers(work / "checkpoint", x, rate)


def of_beats(work, full, vad):
    at = work / "checkpoint" / "beats.pt"
    random_models.beats(at, {} if full else random_models.BEATS_TINY, classes=527)
    worst = export_beats.write(work / "pack", about("parity"), at, vad)
    x = signal(SECONDS, 16000)
    return 16000, worst, x, reference.beats(at, x)[0]


def of_spear(work, full, vad):
    random_models.spear(work / "checkpoint", random_models.SPEAR if full else random_models.SPEAR_TINY)
    worst = export_spear.write(work / "pack", about("parity"), work / "checkpoint", vad)
    x = signal(SECONDS, 16000)
    return 16000, worst, x, reference.spear(work / "checkpoint", x)


def family(kind, **more):
    make = lambda at, size: random_models.transformers(at, kind, {**size, **more})
    return lambda work, full, vad: of_transformers(export_transformers, make, work, full, vad)


FAMILIES = {"wavlm": family("wavlm"), "hubert": family("hubert"), "wav2vec2": family("wav2vec2"),
            "wav2vec2-pre-norm": family("wav2vec2", **random_models.PRE_NORM),
            "mert": lambda work, full, vad: of_transformers(export_mert, random_models.mert, work, full, vad), "beats": of_beats,
            "spear": of_spear}


def ask(program, folder, rate, x, hidden):
    """Largest difference of the program's hidden states, or why there is none."""
    if not Path(program).exists():
        return None, f"{program} is not built"
    clip, states = folder.parent / "clip.wav", folder.parent / "states.npy"
    soundfile.write(clip, np.round(x * 32768).astype(np.int16), rate, subtype="PCM_16")
    r = subprocess.run([program, "embed", "--pack", folder, "--allow-unsigned", "--states", states, clip], capture_output=True, text=True)
    if r.returncode:
        return None, r.stderr.strip()[-300:]
    return export.difference(np.load(states), hidden), ""


def main():
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument("--full", action="store_true")
    p.add_argument("--only", default=",".join(FAMILIES))
    p.add_argument("--program", default="target/release/earwitness")
    p.add_argument("--vad", default="models/default")
    p.add_argument("--out", type=Path)
    a = p.parse_args()
    rows = {}
    for name in a.only.split(","):
        with tempfile.TemporaryDirectory() as work:
            work, start = Path(work), time.time()
            rate, worst, x, hidden = FAMILIES[name](work, a.full, a.vad)
            shutil.rmtree(work / "checkpoint")
            program, why = ask(a.program, work / "pack", rate, x, hidden)
            rows[name] = {"megabytes": round((work / "pack" / "encoder.onnx").stat().st_size / 1e6, 1), "hidden": list(hidden.shape), "onnx": worst,
                          "program": program, "why": why, "seconds": round(time.time() - start)}
    print(f"{'model':20}{'MB':>8}{'hidden':>18}{'ONNX':>10}{'program':>10}")
    for name, r in rows.items():
        told = f"{r['program']:.1e}" if r["program"] is not None else "-"
        print(f"{name:20}{r['megabytes']:8.1f}{str(tuple(r['hidden'])):>18}{r['onnx']:10.1e}{told:>10}  {r['why']}")
    if a.out:
        a.out.write_text(json.dumps({"full": a.full, "seconds": SECONDS, "models": rows}, indent=1) + "\n")
    if any(r["onnx"] > 1e-4 or (r["program"] or 0) > 1e-3 for r in rows.values()):
        raise SystemExit("a difference is above 1e-4 (ONNX) or 1e-3 (program)")


if __name__ == "__main__":
    main()
