"""Writes tests/golden/pipeline.json: the synthesised 3 s signal through the exported pack (embedding, spoof score, speech)."""
import json
import tomllib
from pathlib import Path

import numpy as np

from ..common import features as ref
from ..common.signal import test_signal
from ..pack import Pack
from ..stream import steps


def streamed(p):
    """The last window of six seconds that came second by second: its first hidden states, its last ones, its embedding."""
    fb = ref.fbank(test_signal(6.0).astype(np.float64)).astype(np.float32)[None]
    h = steps(lambda inputs: p.s["encoder"].run(None, inputs), fb)[:, :, 150:]
    e = p.s["speaker"].run(None, {"hidden": np.ascontiguousarray(h)})[0][0]
    return {"hidden_first": [float(q) for q in h[0, 9, 0, :16]], "hidden_last": [float(q) for q in h[0, 9, -1, :16]], "embedding": [round(float(q), 7) for q in e]}


def main(folder="models/default"):
    x, p = test_signal(3.0).astype(np.float64), Pack(folder)
    fb, spe = ref.fbank(x).astype(np.float32)[None], ref.spectral(x).astype(np.float32)[None]
    h = p.s["encoder"].run(None, {"fbank": fb})[0]
    e = p.s["speaker"].run(None, {"hidden": h})[0][0]
    score = float(p.s["spoof"].run(None, {"hidden": h, "spectral": spe})[0][0])
    v = p.s["vad"].run(None, {"fbank": fb})[0][0]
    m = tomllib.loads((Path(folder) / "pack.toml").read_text())
    cal = m["spoof"]["calibration"]
    doc = {"signal": "models/recipes/common/signal.py, 3.0 s", "encoder_sha256": m["encoder"]["sha256"], "tolerance": 1e-3,
           "hidden_first": [float(q) for q in h.ravel()[:16]], "embedding": [round(float(q), 7) for q in e], "spoof_score": score,
           "spoof_tolerance": m["spoof"]["known_answer"].get("tolerance", 1e-3),  # quantised, a last bit may become a step
           "spoof_llr": cal["slope"] * score + cal["offset"], "streamed": streamed(p), "speech_mean": float(v.mean()), "speech_first": [float(q) for q in v[:16]]}
    Path("tests/golden/pipeline.json").write_text(json.dumps(doc, indent=1) + "\n")


if __name__ == "__main__":
    main()
