"""pack.toml, report.json and README.md of the pack, out of what the recipes and the evaluation wrote down. No figure is typed here."""
import json

from .common import nets

DESCRIPTION = ("Unified speech and sound encoder with heads on all its layers: speaker verification (L-TDNN), deepfake detection "
               "(SSL and spectral views fused), sounds and music, speech activity")
DATA = ("About 8 h of public speech (LibriSpeech, speechocean762, VCTK and LibriTTS excerpts, Debian packages), 1.5 h of sounds and music, "
        "35 training systems of synthetic speech, copy-synthesis by nine methods (four of them vocoders trained by the recipes). "
        "Teachers on that data: Resemblyzer (Apache-2.0) for voices, DistillMOS (MIT) for degraded speech")
LICENCE = "CC-BY-SA-4.0"


def dig(r, *keys):
    for k in keys:
        r = r.get(k, {}) if isinstance(r, dict) else {}
    return r if r != {} else None


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
        "sound": {"esc10_accuracy_percent": e("sound", "test_3s", "esc10_accuracy_percent"), "macro_f1_1s": e("sound", "test_1s", "macro_f1")},
        "vad": {"f1_10_db": e("vad", "10 dB", "f1")},
    }
    return {n: {k: v for k, v in t.items() if v is not None} for n, t in tables.items()}


def toml(r, version):
    tables, num = accuracy(r), lambda v: repr(float(v))
    answer = lambda n: f"[{n}.known_answer]\noutput = [{', '.join(repr(v) for v in r[n]['known_answer'])}]\n"
    head = lambda n: f'\n[{n}]\nfile = "{n}.onnx"\nsha256 = "{r[n]["sha256"]}"\n'
    measured = lambda n: f"[{n}.accuracy]\n" + "".join(f"{k} = {num(v)}\n" for k, v in tables[n].items())
    scale = lambda n: f"[{n}.calibration]\nslope = {num(dig(r, 'calibration', n, 'slope') or 1.0)}\noffset = {num(dig(r, 'calibration', n, 'offset') or 0.0)}\n"
    text = (f"# Written by models/recipes/export.py; docs/pack.md is the contract, report.json says where each figure comes from.\n"
            f'schema = 1\nname = "default"\nversion = "{version}"\nlicence = "{LICENCE}"\ndescription = "{DESCRIPTION}"\ndata = "{DATA}"\n'
            f"\n[audio]\nsample_rate = 16000\nwindow_samples = 48000\n"
            f"\n[fbank]\nmels = 80\nlow_hz = 20.0\nhigh_hz = 7600.0\nwindow = 400\nhop = 160\nn_fft = 512\n")
    text += head("encoder") + f"layers = {nets.LAYERS + 1}\ndim = {nets.DIM}\nframe_rate = 50\n" + answer("encoder")
    if "int8" in r["encoder"]:
        v = r["encoder"]["int8"]
        text += f'[encoder.int8]\nfile = "encoder.int8.onnx"\nsha256 = "{v["sha256"]}"\n[encoder.int8.known_answer]\noutput = {v["known_answer"]}\ntolerance = 0.05\n'
    text += head("speaker") + "dim = 192\n" + scale("speaker")
    if "cohort" in r:
        text += f'[speaker.cohort]\nfile = "cohort.f32"\nsha256 = "{r["cohort"]["sha256"]}"\nvoices = {r["cohort"]["voices"]}\n'
    text += measured("speaker") + answer("speaker")
    text += head("spoof") + f"spectral_dim = {nets.SPECTRAL}\n" + scale("spoof") + measured("spoof") + answer("spoof")
    text += head("vad") + f"threshold = {num(dig(r, 'vad', 'training', 'threshold') or 0.5)}\n" + measured("vad") + answer("vad")
    if "sound" in r:
        text += head("sound") + f"classes = {json.dumps(r['sound']['training']['classes'])}\n" + measured("sound") + answer("sound")
    return text


def between(r, low="eer_low_percent", high="eer_high_percent"):
    return f"{r[low]:.1f}–{r[high]:.1f}" if r and low in r else "–"


def table(head, rows):
    line = lambda cells: "| " + " | ".join(str(c) for c in cells) + " |\n"
    return line(head) + "|" + "---|" * len(head) + "\n" + "".join(line(r) for r in rows) + "\n"


def readme(r):
    e, ms = r.get("evaluation", {}), dig(r, "evaluation", "milliseconds_per_3s_window") or {}
    what = {"encoder": f"fbank → {nets.LAYERS + 1} hidden states of {nets.DIM}", "speaker": "L-TDNN → 192", "spoof": "hidden + spectral → score",
            "vad": "fbank → speech", "sound": "hidden → classes"}
    out = ("# The default pack\n\nWritten by `models/recipes/export.py` and `evaluate.py`; `pack.toml` is the contract (docs/pack.md), `report.json` has every\n"
           f"figure, `report/` the plots. Licence of the weights: {LICENCE}. {DATA}.\n\n")
    out += table(("file", "what", "parameters", "parity with PyTorch", "ms for 3 s, one thread"),
                 [(f"`{n}.onnx`", what[n], f"{r[n]['parameters']:,}", f"{r[n]['parity']:.0e}", ms.get(n, "–")) for n in what if n in r])
    if not e:
        return out
    s, others = e["speaker"], e["speaker"]["test_others"]
    out += "## Speaker\n\nTest speakers, none of them trained on; EER in %, 95 % interval over speakers.\n\n"
    row = lambda name, key, other: (name, f"{s[key]['eer_percent']:.2f}", between(s[key]), f"{others[f'resemblyzer_{other}']['eer']:.2f}", f"{others[f'control_mfcc_{other}']['eer']:.2f}")
    rows = [row("3 s", "test_3s", "3s"), row("1.5 s", "test_1.5s", "1.5s")]
    rows += [(f"3 s, {g}", f"{v['eer_percent']:.2f}", between(v), f"{others['resemblyzer_3s'][g]:.2f}", f"{others['control_mfcc_3s'][g]:.2f}") for g, v in s["test_3s"]["groups"].items()]
    rows += [(f"3 s, {g}", f"{v['eer_percent']:.2f}", between(v), "", "") for g, v in {**s["test_by_voice"], **s["test_by_noise"]}.items() if "eer_percent" in v]
    out += table(("test", "this pack", "interval", "Resemblyzer", "MFCC mean and deviation"), rows)
    out += f"minDCF {s['test_3s']['min_dcf']:.3f}, actDCF {s['test_3s']['act_dcf']:.3f}, Cllr {s['test_3s']['cllr']:.3f} bit (prior 0.05).\n\n"
    p = e["spoof"]
    out += "## Spoof\n\nSystems never trained on; a file's score is the mean of its windows.\n\n"
    out += table(("test", "EER %", "interval"), [(f"{split}, {name}", f"{v['eer_percent']:.1f}", between(v)) for split in ("dev", "test")
                                                for name, v in (("all", p[split]), ("against LibriSpeech", p[split]["librispeech"]), ("against real speech of demo pages", p[split]["demo_pages"]))])
    out += table(("test system", "EER %"), [(k, f"{v['eer_percent']:.1f}") for k, v in sorted(p["test"]["systems"].items(), key=lambda kv: kv[1]["eer_percent"])])
    if "sound" in e:
        out += "## Sounds\n\n" + table(("crop", "ESC-10 accuracy %", "interval", "speech / music / other, macro F1", "interval"), [
            (k[5:], v["esc10_accuracy_percent"], "–".join(map(str, v["esc10_accuracy_percent_ci"])), v["macro_f1"], "–".join(map(str, v["macro_f1_ci"]))) for k, v in e["sound"].items()])
    if "vad" in e:
        out += "## Speech activity\n\nPer 20 ms, test speech under test sounds; the truth is the energy of the clean recording.\n\n"
        out += table(("", "F1", "precision", "recall"), [(k, v["f1"], v["precision"], v["recall"]) for k, v in e["vad"].items() if isinstance(v, dict)])
    return out


def write(r, folder, version):
    (folder / "report.json").write_text(json.dumps(r, indent=1) + "\n")
    (folder / "pack.toml").write_text(toml(r, version))
    (folder / "README.md").write_text(readme(r))
