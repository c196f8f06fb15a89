"""Fits score to log-likelihood ratio on dev, with the exported pack: logistic regression, both classes weighted alike; and whether int8 is worth it.

Writes `<work>/calibration.json`, which the exporter copies into pack.toml. Nothing here looks at the test split.
"""
import json
from pathlib import Path

import numpy as np

from .common import metrics
from .common.corpus import arguments, open_corpus
from .pack import Pack
from .speaker import trials
from .spoof import parts
from .spoof import trials as files


def main():
    a = arguments(__doc__, pack="models/default")
    c, pack = open_corpus(a), Pack(a.pack)
    s, y = trials.score(c, pack.embed)[:2]
    slope, offset = metrics.calibrate(s, y)
    out = {"speaker": {"slope": slope, "offset": offset, "dev_cllr": round(metrics.cllr(slope * s + offset, y), 3)}}
    fp32 = metrics.eer(s, y)
    quick = Pack(a.pack, int8=True)
    if quick.int8:
        int8 = metrics.eer(*trials.score(c, quick.embed)[:2])
        out["int8"] = {"dev_eer_fp32": round(fp32, 3), "dev_eer_int8": round(int8, 3), "kept": bool(int8 <= 1.02 * fp32),
                       "milliseconds_fp32": pack.speed()["encoder"], "milliseconds_int8": quick.speed()["encoder"]}
    listed = files.read("dev")
    each = files.judge(c, pack.spoof, listed)  # the daemon scores windows, so it is windows that are calibrated
    s, y = np.concatenate(each), np.repeat([l[1] for l in listed], [len(e) for e in each])
    slope, offset = metrics.calibrate(s, y)
    out["spoof"] = {"slope": slope, "offset": offset, "dev_cllr": round(metrics.cllr(slope * s + offset, y), 3), "windows": len(s)}
    out["spoof_parts"] = parts.measure(c, pack, Path(a.pack) / "spoof.onnx", a.work)
    print(out)
    (Path(a.work) / "calibration.json").write_text(json.dumps(out))


if __name__ == "__main__":
    main()
