"""Makes the tiny packs of published encoders that the Rust tests load: the true architectures, a few layers, random weights, a golden each.

    python -m models.recipes.published.fixtures        # writes tests/fixtures/packs/{wavlm,hubert,wav2vec2,mert,beats,spear}

golden.f32 holds the test signal (models/recipes/common/signal.py, rounded to 16 bits) and the hidden states that an independent implementation
(reference.py) computes from it, front end included; golden.json says where.
"""
import json
import tempfile
from pathlib import Path

import numpy as np
import torch

from .. import export, export_beats, export_mert, export_spear, export_transformers
from ..common.signal import test_signal
from . import pack, probes, random_models, reference

PACKS = Path("tests/fixtures/packs")
SECONDS = 1.5
TINY = random_models.TINY


def signal(seconds, rate):
    """Values that a 16-bit file holds exactly."""
    return (np.round(test_signal(seconds, rate) * 32767) / 32768).astype(np.float32)


def about(name):
    return {"name": name, "version": "0.0.1", "licence": "CC0-1.0", "description": f"The architecture of {name} with random weights, for tests", "data": "none"}


def golden(folder, rate, x, hidden):
    np.concatenate([x.ravel(), hidden.ravel()]).astype("<f4").tofile(folder / "golden.f32")
    told = {"sample_rate": rate, "file": "golden.f32", "dtype": "f32 little endian", "seconds": SECONDS,
            "signal": "models/recipes/common/signal.py, rounded to 16 bits", "reference": "models/recipes/published/reference.py", "axes": "hidden: layers, vectors, dim",
            "arrays": {"signal": {"offset": 0, "shape": list(x.shape)}, "hidden": {"offset": x.size, "shape": list(hidden.shape)}}}
    (folder / "golden.json").write_text(json.dumps(told, indent=1) + "\n")


def of_transformers(recipe, checkpoint, name, extra=lambda out, encoder: ""):
    net, front, c = recipe.build(checkpoint)
    rate = front["sample_rate"]
    pack.write(PACKS / name, about(name), net, front, c.num_hidden_layers + 1, c.hidden_size, rate / front["hop"], PACKS / "tiny", extra=extra)
    x = signal(SECONDS, rate)
    hidden = reference.transformers(checkpoint, x, rate)
    golden(PACKS / name, rate, x, hidden)
    if front["normalise"]:  # else the golden would not notice a front end that leaves it out
        raw = export.session(PACKS / name / "encoder.onnx").run(None, {"waveform": x[None]})[0][0]
        assert np.abs(raw - hidden).max() > 0.1, np.abs(raw - hidden).max()


def music(out, encoder):
    """A probe of each kind."""
    text = ""
    kinds = ("genre", "choice", ["blues", "classical", "jazz"], 8), ("mood", "tags", ["calm", "dark", "happy", "loud"], 0), ("tempo", "value", ["bpm"], 0)
    for i, (name, kind, labels, wide) in enumerate(kinds):
        p = random_models.randomise(probes.Probe(kind, encoder["layers"], encoder["dim"], len(labels), wide), 10 + i)
        text += probes.table(out, encoder, name, p, labels)
    return text


def main():
    torch.manual_seed(0)
    with tempfile.TemporaryDirectory() as work:
        work = Path(work)
        random_models.transformers(work / "wavlm", "wavlm", TINY)
        random_models.transformers(work / "hubert", "hubert", TINY)
        random_models.transformers(work / "wav2vec2", "wav2vec2", {**TINY, **random_models.PRE_NORM}, normalise=True)
        random_models.mert(work / "mert", TINY)
        for name in ("wavlm", "hubert", "wav2vec2"):
            of_transformers(export_transformers, work / name, name)
        of_transformers(export_mert, work / "mert", "mert", music)

        at = work / "beats" / "beats.pt"
        random_models.beats(at, random_models.BEATS_TINY, classes=12)
        export_beats.write(PACKS / "beats", about("beats"), at, PACKS / "tiny")
        x = signal(SECONDS, 16000)
        golden(PACKS / "beats", 16000, x, reference.beats(at, x)[0])

        random_models.spear(work / "spear", random_models.SPEAR_TINY)
        export_spear.write(PACKS / "spear", about("spear"), work / "spear", PACKS / "tiny")
        golden(PACKS / "spear", 16000, x, reference.spear(work / "spear", x))
    for p in sorted(PACKS.glob("*/*")):
        print(p.relative_to(PACKS), p.stat().st_size)


if __name__ == "__main__":
    main()
