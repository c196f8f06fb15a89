"""The same model in 16-bit floating point, for GPUs: weights and products in fp16, inputs and outputs in fp32.

    python -m models.recipes.half models/default        # writes encoder.fp16.onnx beside encoder.onnx, and prints the manifest's section

On two bytes a weight a pack is half as large, and a GPU multiplies matrices several times as fast; a CPU has no such arithmetic and casts to and fro.
"""
import argparse
import hashlib
from pathlib import Path

import numpy as np
import onnx
import onnxruntime as ort

from . import stream

# Sums over many values, and what divides by them, stay in fp32: in fp16 they overflow at 65 504 or lose their last digits.
IN_FP32 = ["ReduceMean", "ReduceSum", "ReduceL2", "Pow", "Sqrt", "Reciprocal", "Exp", "Log", "Softmax", "LayerNormalization", "InstanceNormalization", "Range", "CumSum"]
TOLERANCE = 0.05  # as for int8: fp16 rounds differently from one device to the next


def before_logs(m):
    """Names of the nodes that lead to a logarithm: a front end in the graph takes powers of samples, which fp16 cannot hold. Nameless nodes get names."""
    makes = {}
    for i, node in enumerate(m.graph.node):
        node.name = node.name or f"n{i}"
        makes.update((o, node) for o in node.output)
    names, waiting = set(), [n for n in m.graph.node if n.op_type == "Log"]
    while waiting:
        node = waiting.pop()
        if node.name not in names:
            names.add(node.name)
            waiting += [makes[i] for i in node.input if i in makes]
    return sorted(names)


def once(m):
    """Of casts that the converter wrote twice, for two nodes that read the same value, one is left."""
    seen, kept = {}, []
    for node in m.graph.node:
        same = node.op_type == "Cast" and seen.get(node.output[0])
        if same:
            assert list(same.input) == list(node.input), node.output[0]
            continue
        kept.append(node)
        seen[node.output[0]] = node
    del m.graph.node[:]
    m.graph.node.extend(kept)


def straight(m):
    """Values that are cast to fp16 only to be cast back for the next node in fp32 go there as they were."""
    to = lambda node: node.attribute[0].i if node.op_type == "Cast" else None
    narrowed = {n.output[0]: n.input[0] for n in m.graph.node if to(n) == onnx.TensorProto.FLOAT16}
    for node in m.graph.node:
        if to(node) == onnx.TensorProto.FLOAT:
            node.input[0] = narrowed.get(node.input[0], node.input[0])
    used = {o.name for o in m.graph.output} | {i for n in m.graph.node for i in n.input}
    kept = [n for n in m.graph.node if to(n) != onnx.TensorProto.FLOAT16 or n.output[0] in used]
    del m.graph.node[:]
    m.graph.node.extend(kept)


def to_fp16(path, out):
    """Writes the model in fp16 and checks that only operators of the default domain are in it."""
    from onnxruntime.transformers.float16 import DEFAULT_OP_BLOCK_LIST, convert_float_to_float16
    from onnxruntime.transformers.onnx_model import OnnxModel

    m = onnx.load(path)
    defaults = stream.take(m)
    blocked = {"op_block_list": sorted({*DEFAULT_OP_BLOCK_LIST, *IN_FP32}), "node_block_list": before_logs(m)}
    m = convert_float_to_float16(m, keep_io_types=True, **blocked)
    once(m)
    straight(m)
    OnnxModel(m).topological_sort()  # the converter puts its casts at the end
    stream.give(m, defaults)
    for node in m.graph.node:
        assert node.domain in ("", "ai.onnx"), node.domain
    Path(out).write_bytes(m.SerializeToString())


def session(path):
    o = ort.SessionOptions()
    o.intra_op_num_threads, o.log_severity_level = 1, 3  # its warnings: a stream's inputs are no constants
    return ort.InferenceSession(str(path), o, providers=["CPUExecutionProvider"])


def half(path, out, feed):
    """What a manifest says of the fp16 variant of this model, and how far its answers lie from the first's, relative above 1."""
    to_fp16(path, out)
    want, got = (session(p).run(None, feed)[0] for p in (path, out))
    apart = float((np.abs(got - want) / np.maximum(1, np.abs(want))).max())
    assert apart <= TOLERANCE, f"{out}: {apart:.4f} from {path}, expected at most {TOLERANCE}: keep more operators in fp32"
    return {"sha256": hashlib.sha256(Path(out).read_bytes()).hexdigest(), "megabytes": round(Path(out).stat().st_size / 1e6, 2),
            "known_answer": [float(v) for v in got.ravel()[:8]], "apart": apart}


def section(v):
    """The manifest's table, as docs/pack.md has it."""
    return (f'[encoder.fp16]\nfile = "encoder.fp16.onnx"\nsha256 = "{v["sha256"]}"\n'
            f'[encoder.fp16.known_answer]\noutput = {v["known_answer"]}\ntolerance = {TOLERANCE}\n')


def main():
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument("pack", type=Path)
    a = p.parse_args()
    i = np.arange(298 * 80, dtype=np.float64)
    fbank = (np.sin(0.1 * i) * 3 - 8).astype(np.float32).reshape(1, 298, 80)
    v = half(a.pack / "encoder.onnx", a.pack / "encoder.fp16.onnx", {"fbank": fbank})
    print(f"# {v['megabytes']} MB, at most {v['apart']:.1e} from fp32; put this behind [encoder.known_answer] in pack.toml\n{section(v)}", end="")


if __name__ == "__main__":
    main()
