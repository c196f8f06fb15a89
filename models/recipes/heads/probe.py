"""A probe: one question on the mean over time of the hidden states, with a learnt weight for each layer. Judged by files, the mean over their windows."""
import numpy as np
import torch
import torch.nn.functional as F

from ..common import nets
from ..common.device import DEVICE
from . import networks, training
from .folder import NoData, slug


def views(x, hidden):
    """Means over all of a crop and over its first third: a stream begins with short windows."""
    third = hidden[:, :, : max(1, hidden.shape[2] // 3)]
    return {"means": np.stack([hidden.mean(2), third.mean(2)], 2).astype(np.float32)}


def answers(clips, kind, unit):
    """(labels of the pack, answer of each clip as a row of floats)."""
    if kind == "value":
        try:
            return [slug(unit)], np.array([[float(c.label)] for c in clips], np.float32)
        except ValueError as e:
            raise NoData(f"a probe of the kind value learns numbers, found a label that is none: {e}") from None
    several = [[slug(l) for l in (c.label.split(";") if kind == "tags" else [c.label]) if l.strip()] for c in clips]
    labels = sorted({l for s in several for l in s})
    if "" in labels:
        raise NoData("a label has no letter a-z and no digit, and a pack's labels are written with those: rename it")
    if kind == "choice" and len(labels) < len({c.label for c in clips}):
        raise NoData(f"labels of a pack are written with a-z, 0-9 and _, and two of these become the same: {', '.join(sorted({c.label for c in clips}))}")
    return labels, np.array([[float(l in s) for l in labels] for s in several], np.float32)


def train(bank, encoder, y, labels, a):
    rows = bank.rows("train")
    clip = np.array([bank.crops[i].clip for i in rows])
    torch.manual_seed(a.seed)
    probe = networks.ScaledProbe(a.kind, encoder.layers, encoder.dim, len(labels), a.wide)
    x = torch.from_numpy(np.asarray(bank.views["means"][rows]))
    probe.fit(x[:, :, 0])  # the whole crops
    t = torch.from_numpy(y[clip])
    shift, scale = (float(t.mean()), float(t.std()) + 1e-6) if a.kind == "value" else (0.0, 1.0)
    x, t = x.to(DEVICE), ((t - shift) / scale).to(DEVICE)
    by = [np.nonzero(y[clip].argmax(1) == k)[0] for k in range(len(labels))] if a.kind == "choice" else [np.arange(len(rows))]
    by = [b for b in by if len(b)]

    def losses(rng, _):
        i = np.concatenate([rng.choice(by[k], n) for k, n in zip(*np.unique(rng.integers(0, len(by), 128), return_counts=True))])  # labels alike
        z = probe.logits(x[i, :, rng.integers(0, 2, len(i))][:, :, None])
        loss = (F.cross_entropy(z, t[i]) if a.kind == "choice" else F.binary_cross_entropy_with_logits(z, t[i]) if a.kind == "tags"
                else F.smooth_l1_loss(z, t[i]))
        return loss, {"loss": loss}

    at = bank.folder / f"probe-{a.kind}-{'_'.join(labels)[:40]}-{a.wide}-{a.seed}-{a.lr}.ckpt"
    told = training.fit(probe, losses, at, a, a.lr, decay=0.1)
    if a.kind == "value":  # from deviations to the unit
        last = probe.net[-1] if a.wide else probe.net
        with torch.no_grad():
            last.weight.mul_(scale), last.bias.mul_(scale).add_(shift)
    weights = torch.softmax(probe.weights, 0).tolist()
    return probe, {**told, "kind": a.kind, "wide": a.wide, "parameters": nets.parameters(probe), "layer_weights": [round(w, 4) for w in weights]}


def macro_f1(said, true):
    tp = (said & true).sum(0)
    return float(np.mean(2 * tp / np.maximum(1, said.sum(0) + true.sum(0))))


def interval(figure, n, rounds=500):
    rng = np.random.default_rng(0)
    return [float(v) for v in np.percentile([figure(rng.integers(0, n, n)) for _ in range(rounds)], [2.5, 97.5])]


def judge(probe, bank, y, a):
    part = "test" if len(bank.rows("test")) else "dev"
    rows = bank.rows(part)
    clip = np.array([bank.crops[i].clip for i in rows])
    files = np.unique(clip)
    with torch.no_grad():
        out = probe(torch.from_numpy(np.asarray(bank.views["means"][rows][:, :, :1]))).numpy()
    said, true = np.stack([out[clip == f].mean(0) for f in files]), y[files]
    name = "test" if part == "test" else "held_out"
    if a.kind == "value":
        apart = np.abs(said - true)[:, 0]
        low, high = interval(lambda i: apart[i].mean(), len(files))
        median = np.median(y[[bank.crops[i].clip for i in bank.rows("train")]])
        figures = {f"{name}_mae": apart.mean(), f"{name}_mae_low": low, f"{name}_mae_high": high, "always_the_median_mae": np.abs(true - median).mean()}
    elif a.kind == "choice":
        right = said.argmax(1) == true.argmax(1)
        low, high = interval(lambda i: right[i].mean(), len(files))
        one = np.eye(true.shape[1], dtype=bool)[said.argmax(1)]
        figures = {f"{name}_accuracy_percent": 100 * right.mean(), f"{name}_accuracy_low_percent": 100 * low, f"{name}_accuracy_high_percent": 100 * high,
                   f"{name}_macro_f1": macro_f1(one, true > 0), "always_the_commonest_percent": 100 * true.mean(0).max()}
    else:
        low, high = interval(lambda i: macro_f1(said[i] > 0.5, true[i] > 0), len(files))
        figures = {f"{name}_macro_f1": macro_f1(said > 0.5, true > 0), f"{name}_macro_f1_low": low, f"{name}_macro_f1_high": high}
    return {k: round(float(v), 3) for k, v in figures.items()} | {"files": len(files)}
