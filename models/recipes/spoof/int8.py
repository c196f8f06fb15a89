"""The listener's convolutions in 8 bits: most of the spoof head's work, four times as fast on a CPU that multiplies bytes.

Between two convolutions lie a ReLU and a normalisation. Quantised one by one they would cost more than is won, so that the normalisation is moved into
the convolutions around it: its scale into the one before (a ReLU keeps factors above 0), its shift into the one after. A shift ends where the zeros of
the padding begin, which no bias can say: it is the weight of four more channels that are the same everywhere (with one more the kernels, which like
multiples of four, take half as long again). Weights have a scale for each output and 7 bits (with 8, sums of two products overflow on x86 without VNNI),
what a ReLU lets through has 8 bits and one scale, up to what one value in 10,000 exceeds in clips of the train split: with the greatest value as the
limit the scores' error is twice as large. The first convolution has three inputs and gains nothing; it and all else stay as they are.

    python -m models.recipes.spoof.int8 --corpus DIR [--pack models/default]     # for a pack whose checkpoints are gone

`calibrate.py` measures what `export.py` then needs (`measure`, `quantise`); run by itself it does both, and brings pack.toml and report.json up to date.
"""
import json
from pathlib import Path

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from ..common import metrics
from ..common.corpus import arguments, open_corpus
from ..export import check, fingerprint, known_answer, session
from ..pack import Pack
from . import trials

CLIPS = 400  # of the train split, half of them synthetic
QUANTILE = 0.9999
LAST = 4
SAME = 4  # channels that are the same everywhere


def at(i, j, kind):
    """The node of the listener's unit i: convolution, ReLU and normalisation are its parts 0, 1 and 2."""
    return f"/listener/front/front.{i}/front.{i}.{j}/{kind}"


def heard(i):
    """What unit i's ReLU lets through."""
    return at(i, 1, "Relu") + "_output_0"


def is_quantised(m):
    return any(n.op_type == "QuantizeLinear" for n in m.graph.node)


def fold(m, most=(1.0,) * (LAST + 1)):
    """Moves the normalisations between the convolutions into these. `most[i]`: the value of the constant channels behind unit i."""
    nodes, held = {n.name: n for n in m.graph.node}, {t.name: t for t in m.graph.initializer}
    value = lambda name: numpy_helper.to_array(held[name]).astype(np.float64)
    put = lambda name, v: held[name].CopyFrom(numpy_helper.from_array(v.astype(np.float32), name))
    for i in range(LAST):
        before, norm, after = nodes[at(i, 0, "Conv")], nodes[at(i, 2, "BatchNormalization")], nodes[at(i + 1, 0, "Conv")]
        weight, bias, mean, var = (value(n) for n in norm.input[1:])
        scale = weight / np.sqrt(var + next(a.f for a in norm.attribute if a.name == "epsilon"))
        shift = bias - mean * scale
        w, b = (value(n) for n in before.input[1:])
        put(before.input[1], np.concatenate([w * np.abs(scale)[:, None, None, None], np.zeros_like(w[:SAME])]))
        put(before.input[2], np.concatenate([b * np.abs(scale), [most[i]] * SAME]))
        w = value(after.input[1])
        same = (w * shift[:, None, None]).sum(1, keepdims=True) / (SAME * most[i])
        put(after.input[1], np.concatenate([w * np.sign(scale)[:, None, None], *[same] * SAME], 1))
        after.input[0] = heard(i)
        m.graph.node.remove(norm)
    del m.graph.value_info[:]
    return m


def measure(corpus, pack, path, work):
    """What one value in 10,000 that a ReLU lets through exceeds, the mean over clips: it is cut off there. `path`: the head as exported."""
    m, rng, most = fold(onnx.load(path)), np.random.default_rng(0), []
    m.graph.output.extend(helper.make_tensor_value_info(heard(i), TensorProto.FLOAT, None) for i in range(LAST + 1))
    to = Path(work) / "heard.onnx"
    onnx.save(m, to)
    s = session(to)
    for kind in ("bonafide", "spoof"):
        rows = [r for r in corpus.select("train", kind) if r["length"] >= trials.N]
        for k in rng.permutation(len(rows))[: CLIPS // 2]:
            clip = [corpus.audio(rows[k], int(rng.integers(rows[k]["length"] - trials.N + 1)), trials.N)]
            found = s.run([heard(i) for i in range(LAST + 1)], {"hidden": pack.hidden(clip), "spectral": pack.spectral(clip)})
            most.append([np.quantile(f, QUANTILE) for f in found])
    return {"most": np.mean(most, 0).tolist(), "clips": len(most)}


def quantise(path, told):
    """Rewrites the graph at `path`. `told`: what `measure` found."""
    from onnxruntime.quantization import CalibrationMethod, QuantType
    from onnxruntime.quantization.calibrate import TensorsData
    from onnxruntime.quantization.qdq_quantizer import QDQQuantizer

    most = told["most"]
    m = fold(onnx.load(path), most)
    nodes = [at(i, j, kind) for i in range(1, LAST + 1) for j, kind in enumerate(("Conv", "Relu"))]
    # of a convolution's output it has to know something, before its ReLU goes into it
    ranges = {v: (np.float32(0), np.float32(most[i])) for i in range(LAST + 1) for v in (heard(i), at(i, 0, "Conv") + "_output_0")}
    ranges = TensorsData(CalibrationMethod.MinMax, ranges)
    q = QDQQuantizer(m, True, True, QuantType.QInt8, QuantType.QUInt8, ranges, nodes, [], ["Conv", "Relu"], {"WeightSymmetric": True})
    q.quantize_model()
    q.model.topological_sort()
    onnx.save(q.model.model, path)
    check(path)


def compared(corpus, before, after):
    """What it costs: dev files judged by the pack as it was and as it is."""
    listed = trials.read("dev")
    fp32, int8 = (np.array([e.mean() for e in trials.judge(corpus, p.spoof, listed)]) for p in (before, after))
    y = np.array([label for _, label, _ in listed])
    return {"dev_eer_fp32": round(metrics.eer(fp32, y), 2), "dev_eer_int8": round(metrics.eer(int8, y), 2), "dev_correlation": round(float(np.corrcoef(fp32, int8)[0, 1]), 5),
            "milliseconds_fp32": before.speed()["spoof"], "milliseconds_int8": after.speed()["spoof"]}


def rewrite(corpus, pack, work):
    """Quantises the head of a pack where it lies; returns the pack and what to tell of it, or None where that was done before."""
    path = Path(pack.folder) / "spoof.onnx"
    if is_quantised(onnx.load(path)):
        return pack, None
    told = measure(corpus, pack, path, work)
    quantise(path, told)
    after = Pack(pack.folder)
    return after, told | compared(corpus, pack, after)


def main():
    from .. import manifest

    a = arguments(__doc__, pack="models/default")
    pack, told = rewrite(open_corpus(a), Pack(a.pack), a.work)
    if not told:
        raise SystemExit(f"{a.pack}/spoof.onnx: its convolutions are in 8 bits already")
    at_report = Path(a.pack) / "report.json"
    report = json.loads(at_report.read_text())
    report["spoof"].update(fingerprint(Path(a.pack) / "spoof.onnx"), known_answer=known_answer(pack.s["spoof"]))
    report["calibration"]["spoof_int8"] = told
    manifest.write(report, Path(a.pack), manifest.version(a.pack))
    print(json.dumps(told))


if __name__ == "__main__":
    main()
