"""pack.toml and report.json of the pack, out of what the recipes and the evaluation wrote down, and its page (page.py). No figure is typed here.

`python -m models.recipes.manifest [--work DIR]` puts a new calibration or evaluation into a pack whose checkpoints are gone: the models stay.
"""
import argparse
import json
import tomllib
from pathlib import Path

from . import half, page
from .common import features, nets
from .page import DATA, LICENCE, dig

DESCRIPTION = ("Unified speech and sound encoder with heads on all its layers: speaker verification (L-TDNN), deepfake detection "
               "(SSL and spectral views fused), sounds and music, speech activity")
FRONT_END = ("\n[audio]\nsample_rate = 16000\nwindow_samples = 48000\n"
             "\n[fbank]\nmels = 80\nlow_hz = 20.0\nhigh_hz = 7600.0\nwindow = 400\nhop = 160\nn_fft = 512\n")


def accuracy(r):
    """What stands in the manifest: test figures, where they were measured."""
    e = lambda *keys: dig(r, "evaluation", *keys)
    tables = {
        "speaker": {"test_eer_3s_percent": e("speaker", "test_3s", "eer_percent"), "test_eer_3s_low_percent": e("speaker", "test_3s", "eer_low_percent"),
                    "test_eer_3s_high_percent": e("speaker", "test_3s", "eer_high_percent"), "test_eer_1_5s_percent": e("speaker", "test_1.5s", "eer_percent"),
                    "resemblyzer_eer_3s_percent": e("speaker", "test_others", "resemblyzer_3s", "eer"),
                    "control_mfcc_eer_3s_percent": e("speaker", "test_others", "control_mfcc_3s", "eer")},
        "spoof": {"test_eer_percent": e("spoof", "test", "eer_percent"), "test_eer_low_percent": e("spoof", "test", "eer_low_percent"),
                  "test_eer_high_percent": e("spoof", "test", "eer_high_percent"), "test_demo_pages_eer_percent": e("spoof", "test", "demo_pages", "eer_percent")},
        "sound": {"esc10_accuracy_percent": e("sound", "esc10_by_the_program", "accuracy_percent"), "macro_f1_1s": e("sound", "test_1s", "macro_f1")},
        "vad": {"f1_10_db": e("vad", "10 dB", "f1")},
    }
    return {n: {k: v for k, v in t.items() if v is not None} for n, t in tables.items()}


def durations(c):
    """The part of [speaker.calibration] that depends on how much was said, and what strangers reach."""
    text = f"false_accepts = {json.dumps(c['false_accepts'])}\n" if "false_accepts" in c else ""
    if d := c.get("duration"):
        text += "[speaker.calibration.duration]\n" + "".join(f"{k} = {float(d[k])!r}\n" for k in ("slope", "offset", "least", "most"))
    return text


def short_windows(r):
    """How the spoof head judges the short windows of a timeline (spoof/timeline.py), where that was measured."""
    s = dig(r, "calibration", "spoof_short")
    if not s:
        return ""
    text = f"[spoof.short]\nseconds = {s['seconds']}\n"
    own = dig(r, "spoof", "short")
    text += f"parts = {json.dumps(own['parts'])}\n" if own else ""
    text += f"[spoof.short.calibration]\nslope = {s['slope']!r}\noffset = {s['offset']!r}\n"
    return text + (f"[spoof.short.known_answer]\noutput = {own['known_answer']}\ntolerance = 0.05\n" if own else "")


def toml(r, version):
    tables, num = accuracy(r), lambda v: repr(float(v))
    answer = lambda n: f"[{n}.known_answer]\noutput = [{', '.join(repr(v) for v in r[n]['known_answer'])}]\n"
    head = lambda n: f'\n[{n}]\nfile = "{n}.onnx"\nsha256 = "{r[n]["sha256"]}"\n'
    measured = lambda n: f"[{n}.accuracy]\n" + "".join(f"{k} = {num(v)}\n" for k, v in tables[n].items())
    scale = lambda n: f"[{n}.calibration]\nslope = {num(dig(r, 'calibration', n, 'slope') or 1.0)}\noffset = {num(dig(r, 'calibration', n, 'offset') or 0.0)}\n"
    text = (f"# Written by models/recipes/export.py; docs/pack.md is the contract, report.json says where each figure comes from.\n"
            f'schema = 1\nname = "default"\nversion = "{version}"\nlicence = "{LICENCE}"\ndescription = "{DESCRIPTION}"\ndata = "{DATA}"\n{FRONT_END}')
    text += head("encoder") + f"layers = {nets.LAYERS + 1}\ndim = {nets.DIM}\nframe_rate = 50\n" + answer("encoder")
    text += f"[encoder.stream]\ngroup = {nets.GROUP}\nleft = {nets.LEFT}\nlayers = {nets.LAYERS}\ntail = {nets.TAIL}\n"
    text += f"[encoder.stream.known_answer]\noutput = {r['encoder']['stream_known_answer']}\n"
    if "int8" in r["encoder"]:
        v = r["encoder"]["int8"]
        text += f'[encoder.int8]\nfile = "encoder.int8.onnx"\nsha256 = "{v["sha256"]}"\n[encoder.int8.known_answer]\noutput = {v["known_answer"]}\ntolerance = 0.05\n'
    if "fp16" in r["encoder"]:
        text += half.section(r["encoder"]["fp16"])
    if r.get("health"):
        keys = ("rankme", "rankme_centred", "speaker_neighbours", "spoof_neighbours")
        text += "[encoder.health]\n" + "".join(f"{k} = {num(r['health'][k])}\n" for k in keys if r["health"].get(k) is not None)
    text += head("speaker") + "dim = 192\n" + scale("speaker") + durations(dig(r, "calibration", "speaker") or {})
    if "cohort" in r:
        text += f'[speaker.cohort]\nfile = "cohort.f32"\nsha256 = "{r["cohort"]["sha256"]}"\nvoices = {r["cohort"]["voices"]}\n'
        if top := dig(r, "calibration", "speaker", "top"):
            text += f"top = {top}\n"
    text += measured("speaker") + answer("speaker")
    parts = f"parts = {json.dumps(r['spoof']['parts'])}\n" if "parts" in r["spoof"] else ""
    text += head("spoof") + f"spectral_dim = {features.SPECTRAL_DIM}\n" + parts + scale("spoof") + short_windows(r) + measured("spoof") + answer("spoof")
    if dig(r, "calibration", "spoof_int8"):  # where rounding differs by a bit, it is a step
        text += "tolerance = 0.05\n"
    if both := dig(r, "calibration", "fusion"):
        text += "\n" + "".join(f"[fusion.{n}]\nslope = {num(both[n]['slope'])}\noffset = {num(both[n]['offset'])}\n" for n in ("speaker", "genuine"))
    text += head("vad") + f"threshold = {num(dig(r, 'vad', 'training', 'threshold') or 0.5)}\n" + measured("vad") + answer("vad")
    if "sound" in r:
        text += head("sound") + f"classes = {json.dumps(r['sound']['training']['classes'])}\n" + measured("sound") + answer("sound")
    return text


def write(r, folder, version):
    (folder / "report.json").write_text(json.dumps(r, indent=1) + "\n")
    (folder / "pack.toml").write_text(toml(r, version))
    (folder / "README.md").write_text(page.page(r))


def version(folder):
    """Of the pack that lies there."""
    return tomllib.loads((Path(folder) / "pack.toml").read_text())["version"]


def main():
    p = argparse.ArgumentParser(description=__doc__)
    p.add_argument("--work", default="models/.train")
    p.add_argument("--pack", default="models/default")
    p.add_argument("--version", help="without it, that of the pack")
    a = p.parse_args()
    folder = Path(a.pack)
    report = json.loads((folder / "report.json").read_text())
    for part in ("calibration", "evaluation", "health"):
        at = Path(a.work) / f"{part}.json"
        if at.exists():
            report[part] = report.get(part, {}) | json.loads(at.read_text())
    write(report, folder, a.version or version(folder))


if __name__ == "__main__":
    main()
