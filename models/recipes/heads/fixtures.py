"""Makes the heads that the Rust tests attach to the tiny WavLM pack: the recipe itself, on chords for voices and noise for forgeries (a minute).

    python -m models.recipes.heads.fixtures        # writes tests/fixtures/packs/heads

Its encoder and its speech detector are the files of tests/fixtures/packs/wavlm, of which there is no second copy. Run it again when the spectral view
(docs/features.md) changes.
"""
import shutil
import tempfile
from pathlib import Path

import numpy as np
import soundfile

from . import __main__ as recipe

PACKS = Path("tests/fixtures/packs")
# alice and stranger are those of tests/common/sound.rs
VOICES = {"alice": [150.0 * k for k in range(1, 6)], "stranger": [3700.0, 4400.0, 5100.0, 5800.0], "carol": [900.0, 1800.0, 2700.0],
          "dave": [240.0, 1200.0, 3300.0, 6600.0]}
HEADS = {"speaker": ["--size", "tiny", "--kind", "pooling", "--steps", "300"], "spoof": ["--size", "tiny", "--kind", "cross", "--steps", "500", "--plain"],
         "probe": ["--name", "register", "--steps", "3000", "--plain"]}


def voice(rng, name, seconds, rate):
    """A chord over a faint noise; every other one is that of the Rust tests but for its level, the others are a little out of tune."""
    t, off = np.arange(int(seconds * rate)) / rate, rng.integers(2)
    tones = sum(np.sin(2 * np.pi * f * (1 + off * rng.uniform(-0.002, 0.002)) * t + off * rng.uniform(0, 6)) for f in VOICES[name])
    return 0.1 * rng.uniform(0.5, 1.5) * tones + 0.001 * rng.uniform(-1, 1, len(t))


def hiss(rng, _, seconds, rate):
    return rng.uniform(0.05, 0.4) * rng.uniform(-1, 1, int(seconds * rate))


MAKERS = {"speaker": {name: (voice, name) for name in VOICES}, "spoof": {"bonafide": (voice, "alice"), "spoof": (hiss, None)},
          "probe": {"low": (voice, "alice"), "high": (voice, "stranger")}}


def folder(at, task, files=10, rate=16000, seconds=4.0, seed=1):
    """A folder of labelled audio for a task."""
    rng = np.random.default_rng([seed, len(task)])
    for label, (make, name) in MAKERS[task].items():
        (at / label).mkdir(parents=True)
        for k in range(files):
            own = name if name != "alice" or task != "spoof" else sorted(VOICES)[k % len(VOICES)]
            soundfile.write(at / label / f"{k}.wav", np.clip(make(rng, own, seconds, rate), -1, 1), rate, subtype="PCM_16")
    return at


def attach(work, pack, task, options, out):
    """Trains one head and returns the pack with it."""
    data = work / f"data-{task}"
    if not data.exists():
        folder(data, task)
    recipe.run(recipe.arguments([task, "--pack", str(pack), "--data", str(data), "--out", str(out), "--work", str(work / "work"), "--licence", "CC0-1.0",
                                 "--crops", "120", "--threads", "1", "--about", "synthetic chords", *options]))
    return out


def main():
    with tempfile.TemporaryDirectory() as work:
        work, pack = Path(work), PACKS / "wavlm"
        for task, options in HEADS.items():
            pack = attach(work, pack, task, options, work / task / "heads")
        out = PACKS / "heads"
        shutil.rmtree(out, ignore_errors=True)
        out.mkdir()
        for p in sorted(pack.iterdir()):
            if p.name not in ("encoder.onnx", "vad.onnx", "README.md", "report.json"):
                shutil.copyfile(p, out / p.name)
                print(p.name, p.stat().st_size)


if __name__ == "__main__":
    main()
