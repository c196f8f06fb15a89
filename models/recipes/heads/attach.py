"""A new pack: the files of the one that was given, the head beside them, its figures in the manifest, in `report.json` and on a page."""
import json
import shutil
import tomllib
from pathlib import Path

import onnxruntime
import torch

from .. import export
from ..common import features
from ..published import pack, probes
from ..published.front import wave
from . import networks
from .folder import Refused

HEADER = "# Written by models/recipes/heads; docs/pack.md is the contract, report.json says where each figure comes from.\n"


class Taken(Refused):
    pass


def files(manifest):
    """Every file that a manifest names."""
    for v in manifest.values():
        if isinstance(v, dict):
            if isinstance(v.get("file"), str):
                yield v["file"]
            yield from files(v)


def toml(manifest):
    flat = {k: v for k, v in manifest.items() if not isinstance(v, dict)}
    text = HEADER + "".join(f"{k} = {json.dumps(v, ensure_ascii=False)}\n" for k, v in flat.items())
    tables = {k: v for k, v in manifest.items() if isinstance(v, dict) and k != "probes"}
    text += "".join(pack.table(k, v) for k, v in tables.items())
    return text + "".join("\n" + pack.table(f"probes.{k}", v) for k, v in manifest.get("probes", {}).items())


def known_spectral():
    return wave((1, pack.front_end.frames(48000), features.SPECTRAL_DIM), 1.0)


def graph(task, name, head, encoder, out, labels):
    """Writes the head's file; its table for the manifest without figures, and ONNX Runtime's distance from PyTorch."""
    known, net = pack.known_hidden(encoder.told), networks.Folded(head, encoder.tokens).eval()
    if task == "speaker":
        told, worst = pack.head(net, out / "speaker.onnx", known, "embedding", encoder.tokens)
        return {"file": told["file"], "sha256": told["sha256"], "dim": head.out}, told["known_answer"], worst
    if task == "spoof":
        told, worst = pack.head(net, out / "spoof.onnx", known | {"spectral": known_spectral()}, "score", encoder.tokens)
        return {"file": told["file"], "sha256": told["sha256"], "spectral_dim": features.SPECTRAL_DIM}, told["known_answer"], worst
    told, worst = pack.head(net, out / f"probe_{name}.onnx", known, "output", encoder.tokens)
    return {"file": told["file"], "sha256": told["sha256"], "kind": head.kind, "labels": labels}, told["known_answer"], worst


def free(a, manifest):
    """That nothing is in the way, before any time is spent."""
    if a.out.exists():
        raise Taken(f"{a.out} is there already: a head is attached to a copy of the pack, give another --out or remove it")
    if a.task == "probe":
        if not probes.is_name(a.name):
            raise Refused(f"a probe's name has 1 to 64 of a-z, 0-9, _, found {a.name!r}")
        if a.name in manifest.get("probes", {}):
            raise Taken(f"{a.pack} already has a probe {a.name}: give this one another --name")
    elif a.task in manifest:
        print(f"{a.pack} has a {a.task} head, which will not be in {a.out}")


def write(a, encoder, head, labels, calibration, about):
    """`about`: figures, training and data for the report. The folder appears at once, when all of it is there."""
    part = a.out.with_name(a.out.name + ".part")
    shutil.rmtree(part, ignore_errors=True)
    part.mkdir(parents=True)
    m = {k: v for k, v in encoder.manifest.items() if k != a.task}
    for name in sorted(set(files(m))):
        (part / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(Path(a.pack) / name, part / name)
    table, answer, worst = graph(a.task, getattr(a, "name", None), head, encoder, part, labels)
    if calibration:
        table["calibration"] = {"slope": calibration[0], "offset": calibration[1]}
    table |= {"accuracy": about["figures"], "known_answer": answer}
    what = f"probe {a.name}" if a.task == "probe" else f"{a.task} head"
    if a.task == "probe":
        m["probes"] = {**m.get("probes", {}), a.name: table}
    else:
        m[a.task] = table
    base = {k: m[k] for k in ("name", "version", "licence")}
    m["name"], m["version"] = a.out.resolve().name, "1.0.0"
    m["licence"] = m["licence"] if a.licence in m["licence"].split(" AND ") else f"{m['licence']} AND {a.licence}"
    m["data"] = "; ".join(t for t in (m.get("data", ""), f"{what}: {about['data']['words']}") if t)
    (part / "pack.toml").write_text(toml(m))
    if tomllib.loads((part / "pack.toml").read_text()) != m:
        raise AssertionError("the manifest does not read as it was written")
    at = Path(a.pack) / "report.json"
    report = json.loads(at.read_text()) if at.is_file() else {}
    report = {k: v for k, v in report.get("heads", {}).items() if k != what}
    report[what] = {"licence": a.licence, "base": base, "encoder_sha256": encoder.told["sha256"], "labels": labels, "calibration": calibration, **about,
                    "onnx_parity": worst, "torch": torch.__version__, "onnxruntime": onnxruntime.__version__,
                    "file": export.fingerprint(part / table["file"])}
    (part / "report.json").write_text(json.dumps({"heads": report}, indent=1) + "\n")
    (part / "README.md").write_text(page(m, report))
    part.rename(a.out)


def page(m, report):
    text = f"# {m['name']}\n\nA model pack of earwitness: an encoder with heads that were trained on it by `models/recipes/heads`. Licence: {m['licence']}.\n"
    for what, r in report.items():
        t = r["training"]
        base = "{name} {version} ({licence})".format(**r["base"])
        text += (f"\n## {what[0].upper()}{what[1:]}\n\nLicence {r['licence']}. On the encoder of {base}.\n"
                 f"Kind `{t['kind']}`, {t['parameters']:,} parameters, {t['steps']} steps in {t['minutes']} minutes, seed {t['seed']}.\n"
                 f"Data: {r['data']['words']}. Split: {r['data']['split']}.\n\n| measured | |\n|---|---|\n")
        text += "".join(f"| {k.replace('_', ' ')} | {v} |\n" for k, v in r["figures"].items())
    return text + ("\nA label that goes with a place, a device or a day cannot be told from them on such data: the figures hold for recordings "
                   "like these. `report.json` has everything that was measured.\n")
