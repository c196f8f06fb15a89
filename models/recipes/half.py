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
from onnx import helper, numpy_helper

from . import stream

# Sums over many values, and what divides by them, stay in fp32: in fp16 they overflow at 65 504 or lose their last digits.
IN_FP32 = ["ReduceMean", "ReduceSum", "ReduceL2", "Pow", "Sqrt", "Reciprocal", "Exp", "Log", "Softmax", "LayerNormalization", "InstanceNormalization", "Range", "CumSum"]
FLOAT, FLOAT16 = onnx.TensorProto.FLOAT, onnx.TensorProto.FLOAT16
TOLERANCE = 0.05  # as for int8: fp16 rounds differently from one device to the next


def exact(m):
    """Names of the nodes that lead to a logarithm or to an integer: a front end in the graph takes powers of samples, which fp16 cannot hold, and a position
    that is rounded off by a little is another one (relative ones of WavLM, in buckets by their logarithm). Nameless nodes get names."""
    makes = {}
    for i, node in enumerate(m.graph.node):
        node.name = node.name or f"n{i}"
        makes.update((o, node) for o in node.output)
    whole = lambda n: n.op_type == "Cast" and n.attribute[0].i in (onnx.TensorProto.INT32, onnx.TensorProto.INT64)
    names, waiting = set(), [n for n in m.graph.node if n.op_type == "Log" or whole(n)]
    while waiting:
        node = waiting.pop()
        if node.name not in names and node.op_type != "Shape":  # a shape is that of any values
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
    blocked = {"op_block_list": sorted({*DEFAULT_OP_BLOCK_LIST, *IN_FP32}), "node_block_list": exact(m)}
    m = convert_float_to_float16(m, keep_io_types=True, **blocked)
    once(m)
    straight(m)
    OnnxModel(m).topological_sort()  # the converter puts its casts at the end
    stream.give(m, defaults)
    for node in m.graph.node:
        assert node.domain in ("", "ai.onnx"), node.domain
    Path(out).write_bytes(m.SerializeToString())


def session(model):
    """Of a path or a graph's bytes."""
    o = ort.SessionOptions()
    o.intra_op_num_threads, o.log_severity_level = 1, 3  # its warnings: a stream's inputs are no constants
    return ort.InferenceSession(model if isinstance(model, bytes) else str(model), o, providers=["CPUExecutionProvider"])


def rounded(path):
    """The fp16 model with numbers of 32 bits, each value rounded to the 11 digits that it has on a GPU. A CPU's own fp16 would not show what they do: it
    has no such arithmetic, and keeps 24 digits from one node to the next."""
    m = onnx.shape_inference.infer_shapes(onnx.load(path))
    types = {v.name: v.type.tensor_type.elem_type for v in (*m.graph.value_info, *m.graph.output)}
    wide = lambda t: t.CopyFrom(numpy_helper.from_array(numpy_helper.to_array(t).astype(np.float32), t.name))
    for t in m.graph.initializer:
        if t.data_type == FLOAT16:
            wide(t)
    nodes = []
    for node in m.graph.node:
        for a in node.attribute:
            if a.name == "value" and a.t.data_type == FLOAT16:
                wide(a.t)
            if node.op_type == "Cast" and a.i == FLOAT16:
                a.i = FLOAT
        nodes.append(node)
        for i, out in enumerate(node.output):
            if types.get(out) == FLOAT16:
                # Veltkamp: what is left of x after 13 digits went to the right and came back
                node.output[i], names = f"{out}/all", [f"{out}/{n}" for n in ("large", "rest")]
                nodes += [helper.make_node("Mul", [f"{out}/all", "veltkamp"], names[:1]), helper.make_node("Sub", [names[0], f"{out}/all"], names[1:]),
                          helper.make_node("Sub", names, [out])]
    del m.graph.node[:], m.graph.value_info[:]
    m.graph.node.extend(nodes)
    m.graph.initializer.append(numpy_helper.from_array(np.float32(2**13 + 1), "veltkamp"))
    return m.SerializeToString()


def half(path, out, feed):
    """What a manifest says of the fp16 variant of this model, and how far its answers lie from the first's where each is rounded, relative above 1."""
    to_fp16(path, out)
    want, got, gpu = (session(p).run(None, feed)[0] for p in (path, out, rounded(out)))
    apart = max(float((np.abs(v - want) / np.maximum(1, np.abs(want))).max()) for v in (got, gpu))
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
