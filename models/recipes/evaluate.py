"""Recomputes the dev figures from the committed ONNX pack: speaker EER (3 s, 1.5 s), control, teacher, spoof EER, milliseconds.

`python -m models.recipes.evaluate --corpus DIR` prints them, and writes `<work>/evaluation.json`, which the exporter copies into
the report, so that every figure in pack.toml is one of the exported models.
"""
import json
import time
from pathlib import Path

import numpy as np

from .common import features as ref
from .common import metrics, torch_features
from .common.corpus import arguments, open_corpus
from .export import known_input, session
from .speaker import trials
from .spoof import train as spoof


class Pack:
    def __init__(self, folder="models/default"):
        self.s = {n: session(Path(folder) / f"{n}.onnx") for n in ("encoder", "speaker", "spoof", "vad")}

    def fbank(self, clips):
        import torch

        return torch_features.fbank(torch.tensor(np.stack(clips))).numpy()

    def hidden(self, clips):
        return self.s["encoder"].run(None, {"fbank": self.fbank(clips)})[0]

    def embed(self, clips):
        return self.s["speaker"].run(None, {"hidden": self.hidden(clips)})[0]

    def spoof(self, clips):
        import torch

        spe = torch_features.spectral(torch.tensor(np.stack(clips))).numpy()
        return self.s["spoof"].run(None, {"hidden": self.hidden(clips), "spectral": spe})[0]

    def vad(self, clips):
        return self.s["vad"].run(None, {"fbank": self.fbank(clips)})[0]

    def speed(self, rounds=15):
        """Median milliseconds of each model for one 3 s window on one thread."""
        out = {}
        for name, s in self.s.items():
            feed = {i.name: known_input(i.name) for i in s.get_inputs()}
            took = []
            for _ in range(rounds):
                t = time.perf_counter()
                s.run(None, feed)
                took.append(1000 * (time.perf_counter() - t))
            out[name] = round(float(np.median(took)), 2)
        return out


def speaker_report(c, pack):
    scored = trials.score(c, pack.embed, 48000)
    s3, y = scored[:2]
    slope, offset = metrics.calibrate(s3, y)
    r3, r15 = trials.report(c, pack.embed, 48000, scored), trials.report(c, pack.embed, 24000)
    control = trials.control(c)
    out = {"eer_3s_percent": r3["eer"], "eer_3s_low_percent": r3["ci"][0], "eer_3s_high_percent": r3["ci"][1], "min_dcf": r3["min_dcf"],
           "eer_1_5s_percent": r15["eer"], "eer_1_5s_ci": r15["ci"], "per_source_3s": {k: v for k, v in r3.items() if k not in ("eer", "ci", "min_dcf")},
           "slope": slope, "offset": offset, "cllr": round(metrics.cllr(slope * s3 + offset, y), 3), "trials": len(y)}
    c3, c15 = trials.report(c, control, 48000), trials.report(c, control, 24000)
    out.update({"control_mfcc_eer_3s_percent": c3["eer"], "control_mfcc_ci": c3["ci"], "control_mfcc_eer_1_5s_percent": c15["eer"]})
    try:
        from .speaker.teacher import Teacher

        t = Teacher()
        t3, t15 = trials.report(c, t.embed, 48000), trials.report(c, t.embed, 24000)
        out.update({"resemblyzer_eer_3s_percent": t3["eer"], "resemblyzer_ci": t3["ci"], "resemblyzer_eer_1_5s_percent": t15["eer"]})
    except ImportError:
        pass
    return out


def main():
    a = arguments(__doc__, pack="models/default")
    import torch

    torch.set_num_threads(1)
    c, pack = open_corpus(a), Pack(a.pack)
    out = {"speaker": speaker_report(c, pack), "spoof": {**spoof.evaluate(c, pack.spoof), **spoof.evaluate_test(c, pack.spoof)}, "milliseconds_per_3s_window": pack.speed()}
    out = json.loads(json.dumps(out, default=float))
    print(json.dumps(out, indent=1))
    (Path(a.work) / "evaluation.json").write_text(json.dumps(out))


if __name__ == "__main__":
    main()
