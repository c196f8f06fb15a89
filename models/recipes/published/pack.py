"""Writes a pack around a published encoder: ONNX files checked against PyTorch, hashes, known answers and pack.toml.

What the daemon does before the graph is told by `front`, the manifest's table [encoder.input] (docs/pack.md): samples as they are, samples
with mean 0 and deviation 1, or Kaldi's log-mel. Everything else, all hidden states included, is inside the graph.
"""
import json
import shutil
import tomllib
from pathlib import Path

import numpy as np
import onnx
import torch

from .. import export, half, manifest
from . import front as front_end
from .front import known_input, vectors, wave

LIMIT = 2**31 - 1  # bytes a file, checked by the daemon: more has no ONNX file without external data


def table(name, values):
    """A TOML table; a table within it follows."""
    flat = {k: v for k, v in values.items() if not isinstance(v, dict)}
    text = f"\n[{name}]\n" if "." not in name else f"[{name}]\n"
    text += "".join(f"{k} = {json.dumps(v, ensure_ascii=False)}\n" for k, v in flat.items())
    return text + "".join(table(f"{name}.{k}", v) for k, v in values.items() if isinstance(v, dict))


def tidy(path):
    """Drops what no session reads: the names that tracing gave to nodes and to values between them, a third of a small file."""
    m = onnx.load(path)
    outside = {v.name for v in [*m.graph.input, *m.graph.output]}
    names = {}
    if any(a.type in (onnx.AttributeProto.GRAPH, onnx.AttributeProto.GRAPHS) for n in m.graph.node for a in n.attribute):
        return
    short = lambda n: n if n in outside or not n else names.setdefault(n, f"v{len(names)}")
    for n in m.graph.node:
        n.name, n.doc_string = "", ""
        n.input[:], n.output[:] = [short(v) for v in n.input], [short(v) for v in n.output]
    for t in m.graph.initializer:
        t.name = short(t.name)
    del m.graph.value_info[:]
    onnx.checker.check_model(m)
    onnx.save(m, path)


def onnx_file(net, path, feeds, known, output, dynamic, tolerance=1e-4):
    """Exports, compares on the feeds, and returns the manifest's lines about the file, with what was measured."""
    names = list(known)
    export.to_onnx(net, (torch.tensor(v) for v in known.values()), path, names, output, dynamic)
    tidy(path)
    s = export.session(path)
    worst = max(export.compare(net, s, f) for f in feeds)
    if not worst <= tolerance:
        raise SystemExit(f"{path.name}: ONNX Runtime and PyTorch differ by {worst:.1e}, expected at most {tolerance:.0e}: do not use this file; "
                         f"check the versions in models/recipes/requirements.txt")
    f = export.fingerprint(path)
    print(f"{path.name}: {sum(p.numel() for p in net.parameters()) / 1e6:.2f} M parameters, {f['megabytes']} MB, ONNX Runtime against PyTorch {worst:.1e}")
    return {"file": path.name, "sha256": f["sha256"]}, {"output": export.answer(s, known)}, worst


def likeness(net, s, feed):
    """How far 8-bit states point elsewhere; their largest difference says little."""
    with torch.no_grad():
        want = net(*(torch.tensor(v) for v in feed.values()))
    c = torch.cosine_similarity(torch.tensor(s.run(None, feed)[0]), want, dim=-1).mean((0, 2))
    return f"mean cosine with PyTorch's states {c.min():.3f} in the worst layer, {c.mean():.3f} over all"


def encoder(net, out, front, layers, dim, frame_rate, int8, fp16=False):
    """[encoder] of the manifest. int8: 8-bit matrix products beside the file. fp16: 16-bit floating point beside it."""
    size = sum(p.numel() * p.element_size() for p in net.parameters())
    if size > LIMIT - 2**20:  # the graph itself needs some room
        raise SystemExit(f"the weights have {size / 2**20:.0f} MiB, expected less than {LIMIT // 2**20}, which one ONNX file can hold: "
                         f"take a smaller model of the family")
    name, known = known_input(front)
    rng = np.random.default_rng(0)
    feeds = []
    for batch, length in ((1, known.shape[1]), (2, known.shape[1] * 5 // 9), (3, known.shape[1] // 2 + 7)):
        shape = (batch, length, *known.shape[2:])
        feeds.append({name: (rng.normal(size=shape) * np.abs(known).max()).astype(np.float32)})
    dynamic = {name: {0: "batch", 1: name + "_time"}, "hidden": {0: "batch", 2: "hidden_time"}}
    path = out / "encoder.onnx"
    file, known_answer, worst = onnx_file(net, path, feeds, {name: known}, "hidden", dynamic)
    with torch.no_grad():
        shape = tuple(net(torch.tensor(known)).shape)
    expected = (1, layers, vectors(front, 3 * front["sample_rate"]), dim)
    if shape != expected:
        raise SystemExit(f"the encoder gives hidden states {shape} for 3 s, expected {expected}: its front end is not the one that {front} tells")
    told = {**file, "layers": layers, "dim": dim, "frame_rate": float(frame_rate), "input": front, "known_answer": known_answer}
    if int8:
        small = out / "encoder.int8.onnx"
        export.to_int8(path, small)
        s, f = export.session(small), export.fingerprint(small)
        print(f"{small.name}: {f['megabytes']} MB, {likeness(net, s, {name: known})}")
        told["int8"] = {"file": small.name, "sha256": f["sha256"], "known_answer": {"output": export.answer(s, {name: known}), "tolerance": 0.05}}
    if fp16:
        small = out / "encoder.fp16.onnx"
        v = half.half(path, small, {name: known})
        print(f"{small.name}: {v['megabytes']} MB, at most {v['apart']:.1e} from fp32")
        told["fp16"] = {"file": small.name, "sha256": v["sha256"], "known_answer": {"output": v["known_answer"], "tolerance": half.TOLERANCE}}
    return told, worst


def head(net, path, known, output, tokens=1):
    """A network on the hidden states, and on what else `known` names (time is its second axis): lines for the manifest."""
    rng = np.random.default_rng(1)

    def feed(batch, share):
        out = {}
        for name, v in known.items():
            shape, time, step = list(v.shape), 2 if name == "hidden" else 1, tokens if name == "hidden" else 2
            shape[0], shape[time] = batch, max(2, int(share * shape[time]) // step) * step if share < 1 else shape[time]
            out[name] = rng.normal(size=shape).astype(np.float32)
        return out

    dynamic = {name: {0: "batch", 2 if name == "hidden" else 1: name + "_time"} for name in known} | {output: {0: "batch"}}
    file, known_answer, worst = onnx_file(net, path, [feed(1, 1), feed(2, 0.3), feed(3, 0.62)], known, output, dynamic)
    return {**file, "known_answer": known_answer}, worst


def known_hidden(m):
    """Input of a head's known answer, from the encoder's table."""
    front = front_end.of(m)
    return {"hidden": wave((1, m["layers"], vectors(front, 3 * front_end.rate(front)), m["dim"]), 1.0)}


def write(out, about, net, front, layers, dim, frame_rate, vad="models/default", sound=None, extra=lambda out, encoder: "", int8=False, fp16=False):
    """The whole pack. about: name, version, licence, description, data. sound: (network, classes). extra: more tables, e.g. probes."""
    out = Path(out)
    out.mkdir(parents=True, exist_ok=True)
    net.eval()
    e, worst = encoder(net, out, front, layers, dim, frame_rate, int8, fp16)
    v = tomllib.loads((Path(vad) / "pack.toml").read_text())["vad"]
    shutil.copyfile(Path(vad) / v["file"], out / v["file"])
    text = "# Written by models/recipes/published; docs/pack.md is the contract, docs/encoders.md says where the weights come from.\nschema = 1\n"
    text += "".join(f"{k} = {json.dumps(about[k], ensure_ascii=False)}\n" for k in ("name", "version", "licence", "description", "data"))
    text += manifest.FRONT_END + table("encoder", e) + table("vad", v)
    if sound is not None:
        s, _ = head(sound[0].eval(), out / "sound.onnx", known_hidden(e), "classes", front.get("tokens", 1))
        text += table("sound", {"file": s["file"], "sha256": s["sha256"], "classes": sound[1], "known_answer": s["known_answer"]})
    text += extra(out, e)
    (out / "pack.toml").write_text(text)
    return worst
