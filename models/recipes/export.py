"""Exports the networks to ONNX and writes the pack: models, hashes, known answers, pack.toml and report.json.

`python -m models.recipes.export [--work DIR]` takes the newest checkpoint of each recipe; a recipe that has not run yet
contributes random weights (the pack is then valid but useless). Every figure in pack.toml comes from the report.
"""
import argparse
import hashlib
import json
import platform
from pathlib import Path

import numpy as np
import onnx
import onnxruntime as ort
import torch
from onnx import numpy_helper

from . import half, manifest, stream
from .common import features, nets

MODELS = ("encoder", "speaker", "spoof", "vad", "sound")
NAMES = {"encoder": (["fbank"], "hidden"), "speaker": (["hidden"], "embedding"),
         "spoof": (["hidden", "spectral"], "score"), "vad": (["fbank"], "speech"), "sound": (["hidden"], "classes")}


def known_input(name, frames=298, dim=nets.DIM, layers=nets.LAYERS + 1):
    shape = {"fbank": (1, frames, 80), "hidden": (1, layers, (frames + 1) // 2, dim), "spectral": (1, frames, features.SPECTRAL_DIM)}[name]
    scale, offset = (3.0, -8.0) if name == "fbank" else (1.0, 0.0)
    i = np.arange(int(np.prod(shape)), dtype=np.float64)
    return (np.sin(0.1 * i) * scale + offset).astype(np.float32).reshape(shape)


def axes(name):
    time = {"fbank": 1, "hidden": 2, "spectral": 1, "speech": 1}.get(name)
    return {0: "batch"} if time is None else {0: "batch", time: name + "_time"}


def load(work):
    """Networks with the newest weights, and what each recipe reported. A head that was not trained is left out, but not the first four."""
    work = Path(work)
    told = lambda name: json.loads((work / f"{name}.json").read_text()) if (work / f"{name}.json").exists() else {"trained": False}
    reports = {name: told(name) for name in MODELS}
    speaker = nets.Speaker(kind) if (kind := reports["speaker"].get("kind", "layer_pooling")) in ("d3", "ecapa") else nets.LayerPooling()
    made = {"encoder": nets.Encoder(), "speaker": speaker, "spoof": nets.Spoof(*reports["spoof"].get("kinds", ())), "vad": nets.Vad()}
    if reports["sound"]["trained"]:
        made["sound"] = nets.Tagger(len(reports["sound"]["classes"]))
    for name, net in made.items():
        if (work / f"{name}.pt").exists():
            net.load_state_dict(torch.load(work / f"{name}.pt", map_location="cpu"))
        net.eval()
    return made, reports


def session(path, threads=1):
    """Of a file, or of a graph's bytes."""
    o = ort.SessionOptions()
    o.intra_op_num_threads, o.log_severity_level = threads, 3  # its warnings: a stream's inputs are no constants
    return ort.InferenceSession(path if isinstance(path, bytes) else str(path), o, providers=["CPUExecutionProvider"])


def to_onnx(net, args, path, inputs, output, dynamic):
    """Exports with dynamic axes and checks what docs/pack.md asks of a graph."""
    torch.onnx.export(net, tuple(args), str(path), opset_version=17, dynamo=False, input_names=inputs, output_names=[output], dynamic_axes=dynamic)
    check(path)


def check(path):
    m = onnx.load(path)
    onnx.checker.check_model(m)
    for node in m.graph.node:
        assert node.domain in ("", "ai.onnx"), node.domain
        assert not any(a.name == "auto_pad" and a.s != b"NOTSET" for a in node.attribute), "auto_pad"


def difference(got, want):
    """The largest difference; above 1 it counts relative to the value."""
    assert got.shape == want.shape, (got.shape, want.shape)
    return float((np.abs(got - want) / np.maximum(1, np.abs(want))).max())


def compare(net, s, feed):
    """The largest difference between PyTorch and ONNX Runtime on these inputs."""
    with torch.no_grad():
        want = net(*(torch.tensor(v) for v in feed.values())).numpy()
    return difference(s.run(None, feed)[0], want)


def fingerprint(path):
    with open(path, "rb") as f:
        return {"sha256": hashlib.file_digest(f, "sha256").hexdigest(), "megabytes": round(Path(path).stat().st_size / 1e6, 2)}


def answer(s, feed):
    return [float(v) for v in s.run(None, feed)[0].ravel()[:8]]


def known_answer(s, score="score", parts="parts"):
    """The first values of its output; of a spoof head that shows what its score is the sum of, the score and its parts."""
    feed = {i.name: known_input(i.name) for i in s.get_inputs()}
    if parts in {o.name for o in s.get_outputs()}:
        return [float(v) for f in s.run([score, parts], feed) for v in f.ravel()]
    return answer(s, feed)


def export_one(name, net, folder, parts_of=None, int8_of=None, short_of=None):
    """`parts_of`, `int8_of`: what spoof/parts.py and spoof/int8.py measured, once the pack was calibrated. `short_of`: the weights of spoof/short.py."""
    (inputs, output), more = NAMES[name], {}
    path = Path(folder) / f"{name}.onnx"
    if name == "encoder":
        stream.export(net, path, torch.tensor(known_input("fbank")))
        check(path)
    else:
        to_onnx(net, (torch.tensor(known_input(i)) for i in inputs), path, inputs, output, {n: axes(n) for n in inputs + [output]})
    if name == "spoof" and parts_of:
        from .spoof import parts

        parts.expose(path, parts_of)
        more = {"parts": parts.NAMES}
    s = session(path)
    rng = np.random.default_rng(0)
    worst = 0.0
    for batch, frames in ((1, 298), (2, 148), (3, 301)):
        feed = {}
        for i in inputs:
            k = np.repeat(known_input(i, frames), batch, 0)
            feed[i] = (k + rng.normal(size=k.shape)).astype(np.float32)
        worst = max(worst, compare(net, s, feed))
    if name == "encoder":
        fbank = np.repeat(known_input("fbank", 598), 2, 0)
        worst = max(worst, difference(stream.steps(lambda f: s.run(None, f), fbank), stream.steps(going_on(net), fbank)))
        more["stream_known_answer"] = answer(s, stream.known_input())
    assert worst <= 1e-4, (name, worst)
    if name == "spoof" and int8_of:
        from .spoof import int8

        int8.quantise(path, int8_of)
        s = session(path)
    if name == "spoof" and parts_of and short_of:
        from .spoof import short

        more["short"] = short.expose(path, short_of)
        s = session(path)
    r = fingerprint(path)
    print(f"{name}: {nets.parameters(net)} parameters, {r['megabytes']} MB, parity {worst:.1e}")
    return {**r, **more, "parity": worst, "known_answer": known_answer(s), "parameters": nets.parameters(net)}


def going_on(encoder):
    """`Encoder.go_on` from arrays to arrays."""
    net = nets.Streaming(encoder)

    @torch.no_grad()
    def run(feed):
        fresh = dict(zip(stream.INPUTS[1:], encoder.fresh()))
        given = fresh | {k: torch.tensor(v) for k, v in feed.items()}
        return [v.numpy() for v in net(**given)]

    return run


def to_int8(path, out):
    """Weights of 7 bits and activations of 8, quantised as they come; matrix products only. With weights of 8 bits sums of two products overflow on x86 without
    VNNI: states of the default pack were 0.2 beside those of other machines there, and its known answer was refused."""
    from onnxruntime.quantization import QuantType, quantize_dynamic

    m = onnx.load(path)
    defaults = stream.take(m)
    quantize_dynamic(m, out, weight_type=QuantType.QInt8, per_channel=True, op_types_to_quantize=["MatMul", "Gemm"], reduce_range=True)
    m = onnx.load(out)
    stream.give(m, defaults)
    for node in m.graph.node:
        assert node.domain in ("", "ai.onnx"), node.domain
    bytes_of = [numpy_helper.to_array(t) for t in m.graph.initializer if t.data_type == onnx.TensorProto.INT8]
    assert max(np.abs(w.astype(int)).max() for w in bytes_of) <= 64, "weights of more than 7 bits"
    onnx.save(m, out)


def quantise(folder):
    path = Path(folder) / "encoder.int8.onnx"
    to_int8(Path(folder) / "encoder.onnx", path)
    return {**fingerprint(path), "known_answer": answer(session(path), {"fbank": known_input("fbank")})}


def in_half(folder):
    folder = Path(folder)
    return half.half(folder / "encoder.onnx", folder / "encoder.fp16.onnx", {"fbank": known_input("fbank")})


def anew(one, names, folder, version):
    """Writes the graphs of these networks again; the rest of the pack stays, and what was measured of it. `one(name)`: exports one."""
    report = json.loads((folder / "report.json").read_text())
    for name in names:
        kept = {k: report[name][k] for k in ("training", "int8", "fp16") if k in report[name]}
        report[name] = {**kept, **one(name)}
    if "encoder" in names and "int8" in report["encoder"]:
        report["encoder"]["int8"] = quantise(folder)
    if "encoder" in names and "fp16" in report["encoder"]:
        report["encoder"]["fp16"] = in_half(folder)
    manifest.write(report, folder, version)


def main():
    p = argparse.ArgumentParser(description=__doc__)
    p.add_argument("--work", default="models/.train")
    p.add_argument("--out", default="models/default")
    p.add_argument("--version", default="2.8.0")
    p.add_argument("--fp16", action="store_true", help="an encoder in 16-bit floating point too, for GPUs")
    p.add_argument("--only", help="networks of a pack that is there already: encoder,speaker, their graphs anew, the same weights (restore.py); spoof, trained anew")
    a = p.parse_args()
    torch.manual_seed(0)
    Path(a.out).mkdir(parents=True, exist_ok=True)
    made, reports = load(a.work)
    at = Path(a.work) / "calibration.json"
    measured = json.loads(at.read_text()) if at.exists() else {}
    at = Path(a.work) / "short.pt"
    short_of = torch.load(at, map_location="cpu") if at.exists() else None

    def one(name):
        told = {"training": reports[name]} if reports[name]["trained"] or not a.only else {}
        return {**told, **export_one(name, made[name], a.out, measured.get("spoof_parts"), measured.get("spoof_int8"), short_of)}

    if a.only:
        return anew(one, a.only.split(","), Path(a.out), a.version)
    report = {"onnxruntime": ort.__version__, "torch": torch.__version__, "machine": f"{platform.machine()}, 2 CPU cores, no accelerator"}
    report |= {name: one(name) for name in made}
    report["encoder"]["int8"] = quantise(a.out)
    if a.fp16:
        report["encoder"]["fp16"] = in_half(a.out)
    else:
        (Path(a.out) / "encoder.fp16.onnx").unlink(missing_ok=True)  # of an earlier encoder
    for file in ("calibration", "evaluation", "ablation", "health"):
        at = Path(a.work) / f"{file}.json"
        report[file] = json.loads(at.read_text()) if at.exists() else {}
    if not report["calibration"].get("int8", {}).get("kept", True):
        (Path(a.out) / "encoder.int8.onnx").unlink()
        del report["encoder"]["int8"]
    cohort = Path(a.work) / "cohort.f32"
    if cohort.exists():
        (Path(a.out) / "cohort.f32").write_bytes(cohort.read_bytes())
        report["cohort"] = {"sha256": hashlib.sha256(cohort.read_bytes()).hexdigest(), "voices": cohort.stat().st_size // 4 // 192}
    manifest.write(report, Path(a.out), a.version)


if __name__ == "__main__":
    main()
