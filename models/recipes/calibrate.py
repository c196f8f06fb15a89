"""Fits score to log-likelihood ratio on dev, with the exported pack: logistic regression, both classes weighted alike, of speakers by how much was said
(speaker/durations.py), of real and synthetic voices as of systems and sources that the fit has not heard; both heads together (speaker/fusion.py); whether int8 is worth it for the encoder; and the
spoof head's convolutions in 8 bits (spoof/int8.py).

Writes `<work>/calibration.json`, which the exporter copies into pack.toml. Nothing here looks at the test split.
"""
import json
from pathlib import Path

import numpy as np

from .common import metrics
from .common.corpus import RATE, arguments, decode
from .pack import Pack
from .speaker import durations, fusion, trials
from .spoof import dev
from .spoof import int8 as small
from .spoof import parts as opinions
from .spoof import trials as files


def cohort(pack):
    return durations.unit(np.fromfile(Path(pack.folder) / "cohort.f32", "<f4").reshape(-1, 192))


def together(c, pack, speaker, genuine, folder, pages):
    """Dev trials of target, non-target and spoof through both heads as calibrated so far."""
    rows, rng = [l.split("\t") for l in (folder / "list.txt").read_text().splitlines()], np.random.default_rng(8)
    of = {name: [r for r in rows if r[4] == name] for name in ("target", "nontarget", "spoof")}
    rows = [r for name, most in (("target", 300), ("nontarget", 600), ("spoof", 1000)) for r, k in zip(of[name], rng.permutation(len(of[name]))) if k < most]
    sides, heard = sorted({(r[0], int(r[1])) for r in rows} | {(r[2], int(r[3])) for r in rows}), sorted({(r[2], int(r[3])) for r in rows})
    read = lambda p, s: c.audio(p, s, 3 * RATE) if p in c.by_path else decode(p)[: 3 * RATE]
    clips = {k: np.pad(x := read(*k), (0, max(0, 3 * RATE - len(x)))) for k in sides}
    e = durations.batched(pack.embed, [clips[k] for k in sides])
    raw = np.concatenate([pack.spoof([clips[k] for k in heard[i : i + 16]]) for i in range(0, len(heard), 16)]).ravel()
    at, g = {k: n for n, k in enumerate(sides)}, dict(zip(heard, genuine["slope"] * raw + genuine["offset"]))
    a, b = (np.array([at[r[k], int(r[k + 1])] for r in rows]) for k in (0, 2))
    s = durations.as_norm(e, cohort(pack), a, b, speaker["top"]) if speaker["top"] else (e[a] * e[b]).sum(1)
    s, label, g = durations.llr(speaker, s, 3.0, 3.0), np.array([r[4] for r in rows]), np.array([g[r[2], int(r[3])] for r in rows])
    of = lambda name: (s[label == name], g[label == name])
    return fusion.fit(of("target"), of("nontarget"), of("spoof"), pages[1], pages[0])


def main():
    a = arguments(__doc__, pack="models/default", parts="speaker,int8,spoof_int8,spoof,fusion")
    (c, listed), pack, parts = dev.opened(a), Pack(a.pack), a.parts.split(",")
    at = Path(a.work) / "calibration.json"
    out = json.loads(at.read_text()) if at.exists() else {}

    def keep(name, found):
        out[name] = found
        print(name, found, flush=True)
        at.write_text(json.dumps(out))

    if "speaker" in parts:
        keep("speaker", durations.fit(durations.Trials(c, pack.embed, cohort(pack))))
    if "int8" in parts and (quick := Pack(a.pack, int8=True)).int8:
        fp32, int8 = (metrics.eer(*trials.score(c, p.embed)[:2]) for p in (pack, quick))
        keep("int8", {"dev_eer_fp32": round(fp32, 3), "dev_eer_int8": round(int8, 3), "kept": bool(int8 <= 1.02 * fp32),
                      "milliseconds_fp32": pack.speed()["encoder"], "milliseconds_int8": quick.speed()["encoder"]})
    if "spoof_int8" in parts:
        pack, told = small.rewrite(c, pack, a.work)
        if told:
            keep("spoof_int8", told)
    if "spoof" in parts or "fusion" in parts:
        each = files.judge(c, pack.spoof, listed)  # the daemon scores windows, so it is windows that are calibrated
        s, (y, group) = np.concatenate(each), (np.repeat([l[k] for l in listed], [len(e) for e in each]) for k in (1, 2))
    if "spoof" in parts:
        slope, offset, unheard = metrics.calibrate_unseen(s, y, group)
        keep("spoof", {"slope": slope, "offset": offset, "dev_cllr": round(metrics.cllr(slope * s + offset, y), 3), "unseen_cllr": round(metrics.cllr(unheard, y), 3),
                       "windows": len(s), "groups": len(set(zip(y, group)))})
        keep("spoof_parts", opinions.measure(c, pack, Path(a.pack) / "spoof.onnx", a.work))
    clones = Path(a.work).resolve() / "clones_dev"
    if "fusion" in parts and (clones / "list.txt").exists():
        g = out["spoof"]["slope"] * s + out["spoof"]["offset"]
        keep("fusion", together(c, pack, out["speaker"], out["spoof"], clones, (g[y == 0], g[y == 1])))


if __name__ == "__main__":
    main()
