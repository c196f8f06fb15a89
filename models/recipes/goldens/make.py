"""Writes the golden vectors that hold the Rust features to the Python ones: tests/golden/features.json + features.f32.

The json names each array (offset and shape in little-endian f32 values); the signal is models/recipes/common/signal.py.
"""
import json
from pathlib import Path

import numpy as np

from ..common import features as ref
from ..common.signal import test_signal

OUT = Path("tests/golden")


def write(name, arrays, seconds):
    """tests/golden/NAME.json, the place and shape of each array, and NAME.f32, their values."""
    OUT.mkdir(parents=True, exist_ok=True)
    head, at, blob = {}, 0, b""
    for key, a in arrays.items():
        a = np.ascontiguousarray(a, dtype="<f4")
        head[key] = {"offset": at, "shape": list(a.shape)}
        at += a.size
        blob += a.tobytes()
    doc = {"sample_rate": 16000, "file": f"{name}.f32", "dtype": "f32 little endian", "seconds": seconds,
           "signal": test_signal.__module__.replace(".", "/") + ".py", "arrays": head}
    (OUT / f"{name}.json").write_text(json.dumps(doc, indent=1) + "\n")
    (OUT / f"{name}.f32").write_bytes(blob)
    print({k: v["shape"] for k, v in head.items()}, len(blob), "bytes")


def main():
    x = test_signal(1.25)
    arrays = {"signal": x}
    for name in ("fbank", "mfcc", "lfcc", "cqcc", "spectral"):
        arrays[name] = getattr(ref, name)(x.astype(np.float64))
    write("features", arrays, 1.25)


if __name__ == "__main__":
    main()
