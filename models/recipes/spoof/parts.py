"""What the spoof head's score is the sum of, as a second output of its graph: `parts [B, 4]`, in the order of `NAMES`.

The score adds three opinions of each head that it is made of. Those on fine structure and synchrony are shown as they are. The third, the fusion of the SSL and the
spectral view, is no sum; its two shares are their Shapley values: by how much its answer changes when one view is replaced by what it is on average, over both orders in
which that can be done. For that the little network behind the two views stands in the graph four times, with the same weights. What the heads say on one thing is
added. Each part is then moved so that 0 lies in the middle between real and synthetic speech on dev, and their sum stays the score. The nodes that make the score are not touched.

    python -m models.recipes.spoof.parts --corpus DIR [--pack models/default]     # for a pack whose checkpoints are gone

`calibrate.py` measures what `export.py` then needs (`measure`, `expose`); run by itself it does both, and brings pack.toml and report.json up to date.
"""
import json
from pathlib import Path

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from ..common.corpus import arguments, open_corpus
from ..common.nets import Opinions
from ..export import check, fingerprint, known_answer, known_input, session
from ..pack import Pack
from . import trials

NAMES = ["ssl", "spectral", "fine", "synchrony"]
EACH = Opinions.EACH
VIEW = "/members.{}/fusion/proj_{}/Add_output_0"  # of a head's fusion: over time, [B, T/2, d]
AVERAGE = ("ssl", "spectral")  # what `measure` calls the mean of each, a row a head


def views(head):
    """The SSL and the spectral view of a head."""
    return [VIEW.format(head, of) for of in "xs"]


def opinions(m):
    """The opinions [B] that the score adds: of each head the names of three, and their weights [3]."""
    makes = {o: n for n in m.graph.node for o in n.output}
    held = {t.name: numpy_helper.to_array(t) for t in m.graph.initializer}
    product = makes[makes["score"].input[0]]
    assert makes["score"].op_type == "ReduceSum" and product.op_type == "Mul"
    weights = next(held[i] for i in product.input if i in held)
    stack = makes[next(i for i in product.input if i in makes)]
    assert stack.op_type == "Concat" and weights.size == len(stack.input) and weights.size % EACH == 0
    names = [makes[i].input[0] for i in stack.input]
    return [(names[i : i + EACH], weights.ravel()[i : i + EACH].astype(np.float64)) for i in range(0, len(names), EACH)]


def between(m, sources, end):
    """The nodes that lie on a way from one of the sources to `end`, in order."""
    reached, chosen = set(sources), []
    for node in m.graph.node:
        if reached & set(node.input):
            reached |= set(node.output)
            chosen.append(node)
    wanted, kept = {end}, []
    for node in reversed(chosen):
        if wanted & set(node.output) and not set(node.output) & set(sources):
            wanted |= set(node.input)
            kept.append(node)
    return kept[::-1]


def again(nodes, given, prefix):
    """The nodes once more, reading other values."""
    made = {o for n in nodes for o in n.output}
    name = lambda v: given.get(v, prefix + v if v in made else v)
    out = []
    for node in nodes:
        copy = onnx.NodeProto()
        copy.CopyFrom(node)
        copy.name = prefix + node.name
        copy.input[:], copy.output[:] = [name(i) for i in node.input], [prefix + o for o in node.output]
        out.append(copy)
    return out


def plain(path, *kinds):
    """The graph without the output, if it has it: all that makes it has names that begin with `parts`; so it is with `short`, which reads it
    (short.py). `kinds`: one of them alone."""
    m, kinds = onnx.load(path), kinds or ("parts", "short")
    for of in (m.graph.output, m.graph.node, m.graph.initializer):
        kept = [v for v in of if not (v.output[0] if isinstance(v, onnx.NodeProto) else v.name).startswith(kinds)]
        del of[:]
        of.extend(kept)
    return m


def expose(path, told):
    """Adds the output to the graph at `path`. `told`: what `measure` found, without `centres` those are 0."""
    m = plain(path)
    constants = {"parts.zero": np.float32(0), "parts.axis": np.array([1], np.int64)}
    nodes, rows = [], {}
    for head, ((fusion, fine, synchrony), (w, w_fine, w_synchrony)) in enumerate(opinions(m)):
        x, s = views(head)
        tail, half, quarter, usual = between(m, (x, s), fusion), w / 2, w / 4, {}
        for view, mean in zip((x, s), (told[of][head] for of in AVERAGE)):
            name = usual[view] = f"parts{view}"
            constants[name + ".mean"] = np.array(mean, np.float32)
            nodes += [helper.make_node("Mul", [view, "parts.zero"], [name + ".none"]), helper.make_node("Add", [name + ".none", name + ".mean"], [name])]
        without = ("parts.ssl", "parts.spectral", "parts.both")
        for prefix, given in zip(without, ({x: usual[x]}, {s: usual[s]}, usual)):
            nodes += again(tail, given, prefix)
        no_ssl, no_spectral, neither = (prefix + fusion for prefix in without)
        rows |= {fusion: [half, half, 0, 0], no_ssl: [-half, half, 0, 0], no_spectral: [half, -half, 0, 0],
                 neither: [quarter - half, quarter - half, quarter, quarter], fine: [0, 0, w_fine, 0], synchrony: [0, 0, 0, w_synchrony]}
    constants["parts.matrix"] = np.array(list(rows.values()), np.float32)
    constants["parts.centres"] = np.array(told.get("centres", [0] * len(NAMES)), np.float32)
    nodes += [helper.make_node("Unsqueeze", [v, "parts.axis"], [f"parts{i}"]) for i, v in enumerate(rows)]
    nodes += [helper.make_node("Concat", [f"parts{i}" for i in range(len(rows))], ["parts.all"], axis=1),
              helper.make_node("MatMul", ["parts.all", "parts.matrix"], ["parts.raw"]), helper.make_node("Sub", ["parts.raw", "parts.centres"], ["parts"])]
    m.graph.node.extend(nodes)
    m.graph.initializer.extend(numpy_helper.from_array(np.asarray(v), n) for n, v in constants.items())
    m.graph.output.append(helper.make_tensor_value_info("parts", TensorProto.FLOAT, ["batch", len(NAMES)]))
    onnx.save(m, path)
    check(path)


def watched(path, at):
    """The graph with all views as outputs, and their names, a row a head."""
    m = plain(path)
    names = [views(head) for head in range(len(opinions(m)))]
    m.graph.output.extend(helper.make_tensor_value_info(v, TensorProto.FLOAT, None) for row in names for v in row)
    onnx.save(m, at)
    return session(at), names


def measure(corpus, pack, path, work):
    """The mean of each view and the middle of each part, over dev windows, real and synthetic speech weighted alike; `path`: the head as exported."""
    listed, inputs = trials.read("dev"), []
    trials.judge(corpus, lambda w: inputs.append((pack.hidden(w), pack.spectral(w))) or np.zeros(len(w)), listed)
    # One call of `judge` may take several: what each file's windows are is told by their number.
    y = np.concatenate([np.full(len(trials.windows(corpus.audio(p))), label) for p, label, _ in listed]).astype(bool)
    feeds = [{"hidden": h, "spectral": s} for h, s in inputs]
    middle = lambda v: (v[y].mean(0) + v[~y].mean(0)) / 2
    s, names = watched(path, Path(work) / "views.onnx")
    mean = lambda view: middle(np.concatenate([s.run([view], f)[0].mean(1) for f in feeds])).tolist()
    told = {of: [mean(row[i]) for row in names] for i, of in enumerate(AVERAGE)}
    at = Path(work) / "parts.onnx"
    at.write_bytes(Path(path).read_bytes())
    expose(at, told)
    s = session(at)
    parts = np.concatenate([s.run(["parts"], f)[0] for f in feeds])
    centres = middle(parts)
    told["centres"] = (centres - centres.mean()).tolist()
    told["dev_difference"] = dict(zip(NAMES, (parts[y].mean(0) - parts[~y].mean(0)).round(3).tolist()))  # real less synthetic
    return told


def proven(before, after, feeds):
    """That the score is the same to the last bit, and the sum of its parts but for rounding."""
    for feed in feeds:
        (want,), (score, parts) = before.run(["score"], feed), after.run(["score", "parts"], feed)
        assert np.array_equal(want, score), "the score has changed"
        assert np.abs(parts.sum(1) - score).max() <= 1e-3 * max(1, np.abs(score).max()), "the parts do not add up"


def main():
    from .. import manifest

    a = arguments(__doc__, pack="models/default")
    c, pack, path = open_corpus(a), Pack(a.pack), Path(a.pack) / "spoof.onnx"
    before = session(path)
    told = measure(c, pack, path, a.work)
    expose(path, told)
    after, rng = session(path), np.random.default_rng(0)
    clips = [c.audio(p)[:48000] for p, *_ in trials.read("dev")[:40:2]]
    proven(before, after, ({"hidden": pack.hidden([x]), "spectral": pack.spectral([x])} for x in clips if len(x) > 8000))
    proven(before, after, ({n: rng.normal(size=(b, *known_input(n).shape[1:])).astype(np.float32) for n in ("hidden", "spectral")} for b in (1, 2, 3)))
    at = Path(a.pack) / "report.json"
    report = json.loads(at.read_text())
    report["spoof"].update(fingerprint(path), known_answer=known_answer(after), parts=NAMES)
    report["calibration"]["spoof_parts"] = told
    manifest.write(report, Path(a.pack), manifest.version(a.pack))
    print(json.dumps(told["dev_difference"]), told["centres"])


if __name__ == "__main__":
    main()
