"""The spoof head's second reading, of windows of 1.5 s along a recording: `short [B]`, and what it is the sum of, `short_parts [B, 5]`.

A sentence that is synthetic within a real recording is seldom longer than a few seconds, and the head was trained on windows of 3 s that are one or the
other throughout. Beside its score, `SHARE` of which counts, stands a fifth opinion: small heads on statistics over the window (mean and deviation of
what the listener hears, those of fine structure and of synchrony, the deviation of cepstra), trained on such windows, out of recordings like those that are
to be judged (partial.py) of train voices and train systems. Cepstra are normalised over the window: their mean is 0 but for rounding, and their deviation short of
1 where there is little of them. Statistics of low SSL layers brought the dev EER of systems from 32 to 25 %, and six times the false alarms on test. More
to train on, tried with the same statistics, found no more at as many false alarms: short clips of all train voices in rooms and noise, copies by five vocoders of ours and by five that others trained, two
hours of full-quality studio speech out of Debian packages. Sentences of two engines are found since they are among the recordings (37 of 40), of Kokoro 5 of 20 (1), of others none as before.

Seeds and the draw of recordings do as much as most changes: trained six times on recordings drawn anew (three seeds, windows parted at pauses of 0.1 or 0.2 s, with and without deviations of cepstra), such heads found 60 to 65 % of dev's sentences with
both borders, and 33 to 36 % of test's; the pack's 71 and 41 %. A second score of such heads, less its mean over the recording's windows and trained together with the first, had 64
to 71 % and 35 to 42 % in nine trainings, at like false alarms, and errs on 10.0 to 11.9 % of dev's pieces for 11.0 to 12.1: more than without, hardly more than the pack. Such heads have to be
shown recordings that are synthetic throughout, too: without these they err on 38 % of pieces there of dev's systems, for 26. Without deviations of cepstra, which are 1 but for some
hundred-thousandths, such heads had 60 to 62 % on dev for 63 to 65, those with the second score 65 to 71 for 64 to 67.

More systems to learn from helped more than other ways of reading: docs/detect.md has it in figures. Windows of 2.5 s, also with heads trained on such, and 3,088 copies more find 36 to 43 % of test's
with both borders at like false alarms.

    python -m models.recipes.spoof.partial --corpus DIR --splits train,dev
    python -m models.recipes.spoof.short [--pack models/default] [--work DIR]     # needs the release build: it says where people speak

writes `<work>/short.pt` and puts it into the pack; `export.py` does that, too. timeline.py then calibrates it.
"""
import argparse
import json
from multiprocessing import Pool
from pathlib import Path

import numpy as np
import onnx
import torch
from onnx import TensorProto, helper, numpy_helper

from ..common import metrics, nets, torch_features
from ..common.corpus import decode
from ..export import check, fingerprint, known_answer, session
from . import parts
from .timeline import cells, curve

SHARE = 2.0  # of the head's own score, whose deviation is about 1: dev EER 10.9 %, 11.5 with a quarter of that
SECONDS, LEAST = 1.5, 0.6  # of a window, and of an utterance that has one of its own
HEADS, DROP = 4, 0.4
EPOCHS, BATCH = 12, 256
NAMES = [*parts.NAMES, "statistics"]
HEARD = "/listener/out/Add_output_0"
HOP, BEYOND = 320, 240  # samples from one frame of 20 ms to the next, and those of the last one beyond that


def sources(m):
    """The tensors that statistics are made of: cepstra [B, T, 180] and what the listener hears [B, T/2, 192]; and those that are made already: [B, D] each
    of fine structure and synchrony."""
    split = next(n for n in m.graph.node if n.op_type == "Split" and "spectral" in n.input)
    makes = {o: n for n in m.graph.node for o in n.output}
    (_, fine, synchrony), _ = parts.opinions(m)[0]  # all heads are told the same

    def statistics(end):
        """Where the opinion's normalisation, the difference to a mean of training, takes them from."""
        held = {t.name: t for t in m.graph.initializer}
        todo = [end]
        while todo:
            node = makes[todo.pop()]
            if node.op_type == "Sub" and node.input[1] in held:
                return node.input[0]
            todo += [i for i in node.input if i in makes]
        raise ValueError(f"{end}: no normalisation found")

    return [split.output[0], HEARD, statistics(fine), statistics(synchrony)]


def deviation(x):
    return np.sqrt(np.square(x - x.mean(1, keepdims=True)).mean(1) + 1e-6)


def windows(rows):
    """The window of each piece, in frames of 20 ms: around it, but within the utterance; none for a short one."""
    utterance = np.cumsum(np.r_[0, rows[1:, 0] - rows[:-1, 1] > 1e-6])
    for start, end, u in zip(rows[:, 0], rows[:, 1], utterance):
        a, b = rows[utterance == u, 0].min(), rows[utterance == u, 1].max()
        length = min(SECONDS, b - a)
        first = min(max((start + end - length) / 2, a), b - length)
        yield None if b - a < LEAST else (round(first * 50), round(first * 50) + round(length * 50))


class Listener:
    """Of a recording the statistics [N, D] of its pieces, whether each is real, what made it, and what the curve says of it."""

    def __init__(self, pack, folder, fakes, every):
        m = parts.plain(Path(pack) / "spoof.onnx")
        self.names = sources(m)
        m.graph.output.extend(helper.make_tensor_value_info(n, TensorProto.FLOAT, None) for n in self.names)
        self.session, self.folder, self.fakes, self.every = session(m.SerializeToString()), folder, fakes, every

    def statistics(self, piece):
        view = torch_features.spectral(torch.tensor(piece[None])).numpy()
        view = view[:, : view.shape[1] // 2 * 2]
        hidden = np.zeros((1, nets.LAYERS + 1, view.shape[1] // 2, nets.DIM), np.float32)  # nothing that is asked for reads it
        cepstra, heard, fine, synchrony = self.session.run(self.names, {"hidden": hidden, "spectral": view})
        return np.concatenate([fine, synchrony, deviation(cepstra), heard.mean(1), deviation(heard)], 1)[0]

    def __call__(self, recording):
        name, rows = recording
        audio, (system, times), known, out = decode(self.folder / name), self.fakes[name], {}, []
        for row, window in list(zip(rows, windows(rows)))[:: self.every]:
            if window is None:
                continue
            if window not in known:
                known[window] = self.statistics(audio[window[0] * HOP : window[1] * HOP + BEYOND])
            real = not any(a <= (row[0] + row[1]) / 2 <= b for a, b in times)
            out.append((known[window], real, "real" if real else system, row))
        return out


def begin(*given):
    global listener
    torch.set_num_threads(1)
    listener = Listener(*given)


def ask(recording):
    return listener(recording)


class Data:
    """All pieces of a list; of `train` every other one, since windows overlap."""

    def __init__(self, program, pack, folder, split):
        listed = folder / f"{split}.txt"
        found, fakes = cells(listed, curve(program, pack, listed))
        with Pool(2, begin, (pack, folder, fakes, 2 if split == "train" else 1)) as pool:
            rows = [row for some in pool.imap(ask, found.items(), 4) for row in some]
        self.x, self.y, self.of, self.rows = (np.array(v) for v in zip(*rows))
        print(split, len(found), "recordings", len(rows), "pieces", flush=True)


def train(data):
    """Heads that count each way of forging by the root of its pieces, and real ones as often as all of them."""
    _, which, count = np.unique(data.of, return_inverse=True, return_counts=True)
    w = count[which] ** -0.5
    w[data.y] *= w[~data.y].sum() / w[data.y].sum()
    net = nets.Experts(data.x.shape[1], heads=HEADS, drop=DROP)
    net.mean.copy_(torch.tensor(data.x[data.y].mean(0)))
    net.std.copy_(torch.tensor(data.x[data.y].std(0) + 1e-6))
    x, y, w = torch.tensor(data.x), torch.tensor(data.y, dtype=torch.float32), torch.tensor(w / w.mean(), dtype=torch.float32)
    optimiser = torch.optim.AdamW(net.parameters(), lr=1e-3, weight_decay=0.1)
    for epoch in range(EPOCHS):
        net.train()
        for i in torch.randperm(len(x)).split(BATCH):
            # each head by itself: their mean would let one learn what another lacks
            loss = sum((w[i] * torch.nn.functional.binary_cross_entropy_with_logits(h(net.scaled(x[i]))[:, 0], y[i], reduction="none")).mean() for h in net.heads)
            optimiser.zero_grad()
            loss.backward()
            optimiser.step()
        print("epoch", epoch, round(float(loss.detach()) / HEADS, 3), flush=True)
    return net.eval()


def expose(path, state):
    """Adds both outputs to the graph at `path`, which shows its parts already, and returns what to tell of them. `state`: what `main` saved."""
    m = parts.plain(path, "short")
    names = sources(m)
    value = lambda n: state[n].numpy()
    heads = sorted({n.split(".")[1] for n in state if n.startswith("heads.")})
    wide = [np.concatenate([value(f"heads.{h}.1.{k}") for h in heads]) for k in ("weight", "bias")]
    last, bias = np.concatenate([value(f"heads.{h}.4.weight") for h in heads], 1) / len(heads), np.mean([value(f"heads.{h}.4.bias") for h in heads], 0)
    constants = {"mean": value("mean"), "deviation": value("std"), "low": np.float32(-5), "high": np.float32(5), "wide": wide[0].T, "wide_bias": wide[1], "last": last.T,
                 "last_bias": bias, "share": np.float32(SHARE), "small": np.float32(1e-6), "centres": value("centres"), "axis": np.array([1], np.int64)}
    c = lambda n: f"short.{n}"
    node = lambda kind, inputs, out, **more: helper.make_node(kind, inputs, [out], name=f"/{out}", **more)
    nodes = []
    for i, source in enumerate(names[:2]):
        o = lambda n: c(f"{i}.{n}")
        nodes += [node("ReduceMean", [source], o("means"), axes=[1], keepdims=1), node("Sub", [source, o("means")], o("apart")), node("Mul", [o("apart"), o("apart")], o("squares")),
                  node("ReduceMean", [o("squares")], o("variance"), axes=[1], keepdims=0), node("Add", [o("variance"), c("small")], o("more")), node("Sqrt", [o("more")], o("deviation"))]
    nodes += [node("Squeeze", [c("1.means"), c("axis")], c("heard")), node("Concat", [*names[2:], c("0.deviation"), c("heard"), c("1.deviation")], c("all"), axis=1),
              node("Sub", [c("all"), c("mean")], c("moved")), node("Div", [c("moved"), c("deviation")], c("scaled")),
              node("Clip", [c("scaled"), c("low"), c("high")], c("cut")), node("Gemm", [c("cut"), c("wide"), c("wide_bias")], c("hidden")), node("Relu", [c("hidden")], c("active")),
              node("Gemm", [c("active"), c("last"), c("last_bias")], c("opinion")), node("Mul", ["parts", c("share")], c("shares")),
              node("Concat", [c("shares"), c("opinion")], c("raw"), axis=1), node("Sub", [c("raw"), c("centres")], "short_parts"),
              node("Mul", ["score", c("share")], c("part")), node("Squeeze", [c("opinion"), c("axis")], c("flat")), node("Add", [c("part"), c("flat")], "short")]
    m.graph.node.extend(nodes)
    m.graph.initializer.extend(numpy_helper.from_array(np.ascontiguousarray(v, v.dtype), c(n)) for n, v in constants.items())
    m.graph.output.extend([helper.make_tensor_value_info("short", TensorProto.FLOAT, ["batch"]), helper.make_tensor_value_info("short_parts", TensorProto.FLOAT, ["batch", len(NAMES)])])
    onnx.save(m, path)
    check(path)
    parameters = sum(v.numel() for n, v in state.items() if n.startswith("heads."))
    return {"parts": NAMES, "parameters": parameters, "known_answer": known_answer(session(path), "short", "short_parts"), **state["told"]}


def main():
    from .. import manifest

    p = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    p.add_argument("--pack", default="models/default")
    p.add_argument("--work", default="models/.train")
    p.add_argument("--program", default="target/release/earwitness")
    a = p.parse_args()
    folder, at = Path(a.work) / "partial", Path(a.pack) / "report.json"
    report = json.loads(at.read_text())
    if "short" in report["spoof"]:
        raise SystemExit(f"{a.pack}: expected a head that does not read short windows by itself yet: remove {a.work}/short.pt and export again")
    torch.manual_seed(0)
    dev, data = (Data(a.program, a.pack, folder, split) for split in ("dev", "train"))
    torch.set_num_threads(2)
    net = train(data)
    with torch.no_grad():
        said = net(torch.tensor(dev.x)).numpy()
    middle = lambda v: (v[dev.y].mean(0) + v[~dev.y].mean(0)) / 2
    centres = middle(np.concatenate([SHARE * dev.rows[:, 3:], said[:, None]], 1))
    eer = lambda s, keep: round(float(metrics.eer(s[keep], dev.y[keep].astype(int))), 2)
    copies = np.char.startswith(dev.of, "copy")
    ways = {"all": dev.y | True, "copies": dev.y | copies, "systems": ~copies}
    told = {"share": SHARE, "pieces": len(data.y), "of_them_real": int(data.y.sum()),
            "dev_eer": {n: {"score": eer(dev.rows[:, 2], k), "statistics": eer(said, k), "both": eer(SHARE * dev.rows[:, 2] + said, k)} for n, k in ways.items()}}
    state = net.state_dict() | {"centres": torch.tensor(centres - centres.mean(), dtype=torch.float32), "told": told}
    torch.save(state, Path(a.work) / "short.pt")
    path = Path(a.pack) / "spoof.onnx"
    told = expose(path, state)
    report["spoof"].update(fingerprint(path), known_answer=known_answer(session(path)), short=told)
    # timeline.py calibrates with the program, which opens no pack that says nothing of it.
    report["calibration"].setdefault("spoof_short", {"seconds": SECONDS, "slope": 1.0, "offset": 0.0})
    manifest.write(report, Path(a.pack), manifest.version(a.pack))
    print(json.dumps(told))


if __name__ == "__main__":
    main()
