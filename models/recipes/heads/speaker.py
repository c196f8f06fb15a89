"""A speaker head: AAM-softmax with two sub-centres over the speakers and their voices at other speeds; judged by trials between held-out recordings."""
from contextlib import nullcontext

import numpy as np
import torch
from torch import nn

from ..common import metrics, nets
from ..common.device import DEVICE, half
from ..encoder.losses import aam_loss
from ..speaker.trials import control_features
from . import networks, training
from .bank import SPEEDS, narrow
from .folder import TooFew

MOST = {1: 20000, 0: 40000}  # trials of one person, of two


def views(encoder):
    def hidden_and_control(x, hidden):
        return {"hidden": hidden.astype(np.float16), "control": np.stack([control_features(v) for v in narrow(x, encoder.rate)]).astype(np.float32)}

    return hidden_and_control


def train(bank, encoder, a):
    rows = bank.rows("train")
    of = [(bank.label(i), SPEEDS.index(bank.crops[i].speed)) for i in rows]
    classes = {c: k for k, c in enumerate(sorted(set(of)))}
    y = np.array([classes[c] for c in of])
    by = [rows[y == k] for k in range(len(classes))]
    at_class = {int(i): int(k) for i, k in zip(rows, y)}
    p = np.array([len(b) for b in by]) ** 0.5
    p /= p.sum()
    torch.manual_seed(a.seed)
    head = networks.speaker(a.kind, a.size, encoder)
    whole = nn.Module()
    whole.head, whole.centres = head, nn.Parameter(torch.randn(2, len(classes), head.out) * 0.05)
    batch = 64 if a.kind == "pooling" else 32
    hidden, frames = bank.views["hidden"], bank.views["hidden"].shape[2]

    def losses(rng, done):
        i = np.sort([int(rng.choice(by[k])) for k in rng.choice(len(by), batch, p=p)])
        late = done > 0.8
        n = max(2, int(frames * rng.choice([0.7, 1.0] if late else [0.5, 0.7, 0.85])))
        s = int(rng.integers(0, frames - n + 1))
        x = torch.from_numpy(hidden[i, :, s : s + n]).to(DEVICE).float()
        with half() if a.kind != "pooling" or DEVICE.type == "cuda" else nullcontext():  # pooling has no convolutions that would gain by it on a CPU
            z = head(x)
        who = torch.tensor([at_class[int(k)] for k in i], device=DEVICE)
        aam = aam_loss(z, whole.centres, who, a.margin * (1.5 if late else min(1, done / 0.6)))
        return aam, {"aam": aam}

    told = training.fit(whole, losses, bank.folder / f"speaker-{a.kind}-{a.size}-{a.seed}-{a.lr}-{a.margin}.ckpt", a, a.lr)
    step = settle(head, bank, rows, y, a.seed)
    return head, {**told, "last_step": step, "classes": len(classes), "kind": a.kind, "size": a.size, "parameters": nets.parameters(head)}


@torch.no_grad()
def embeddings(head, hidden, rows):
    return np.concatenate([head(torch.from_numpy(hidden[rows[k : k + 32]]).float()).numpy() for k in range(0, len(rows), 32)])


def settle(head, bank, rows, y, seed, shrink=0.3):
    """The last linear step of the head, fitted on the training crops and chosen on dev: none, centring, or also making the scatter within a speaker
    alike in all directions."""
    e = embeddings(head, bank.views["hidden"], rows)
    within = np.concatenate([e[y == k] - e[y == k].mean(0) for k in np.unique(y)])
    within = within.T @ within / len(e)
    values, vectors = np.linalg.eigh(within + shrink * np.trace(within) / len(within) * np.eye(len(within)))
    turn, one = vectors / np.sqrt(values) @ vectors.T, np.eye(len(values))
    options = {"none": (0 * e[0], one), "centred": (e.mean(0), one), "whitened": (e.mean(0), turn / np.abs(turn).max())}
    held = bank.rows("dev") if len(bank.rows("dev")) else bank.rows("test")
    a, b, same, _ = trials(bank, held, seed)
    e = embeddings(head, bank.views["hidden"], held)
    result = {k: round(float(metrics.eer(cosines((e - shift) @ turn, a, b), same)), 2) for k, (shift, turn) in options.items()}
    print("last step", result, flush=True)
    best = min(result, key=result.get)
    head.tail.shift.copy_(torch.from_numpy(options[best][0]))
    head.tail.turn.copy_(torch.from_numpy(options[best][1]))
    return {"chosen": best, "eer_percent": result}


def cosines(e, a, b):
    e = e / np.linalg.norm(e, axis=1, keepdims=True)
    return (e[a] * e[b]).sum(1)


def trials(bank, rows, seed):
    """Pairs of windows out of different recordings: positions in `rows`, and whether it is one person."""
    rng = np.random.default_rng([seed, 5])
    who, clip = np.array([bank.label(i) for i in rows]), np.array([bank.crops[i].clip for i in rows])
    a, b = np.triu_indices(len(rows), 1)
    apart = clip[a] != clip[b]
    a, b = a[apart], b[apart]
    y = (who[a] == who[b]).astype(int)
    if not 0 < y.sum() < len(y):
        raise TooFew(f"the held-out recordings make {y.sum()} trials of one person and {len(y) - y.sum()} of two: expected some of both")
    keep = np.concatenate([np.sort(rng.permutation(np.nonzero(y == v)[0])[:most]) for v, most in MOST.items()])
    return a[keep], b[keep], y[keep], who


def judge(head, bank, encoder, seed):
    """Calibration on dev (on test where there is no dev), figures on test (on dev where there is no test)."""
    scored = {}
    control = bank.views["control"][bank.rows("train")]
    for part in ("dev", "test"):
        rows = bank.rows(part)
        if len(rows):
            a, b, y, who = trials(bank, rows, seed)
            plain = (bank.views["control"][rows] - control.mean(0)) / (control.std(0) + 1e-6)
            e = embeddings(head, bank.views["hidden"], rows)
            scored[part] = cosines(e, a, b), y, who[a], who[b], cosines(plain, a, b)
    s, y, *_ = scored.get("dev", scored.get("test"))
    slope, offset = metrics.calibrate(s, y)
    part = "test" if "test" in scored else "dev"
    s, y, left, right, plain = scored[part]
    low, high = metrics.bootstrap(s, y, left, right)
    name, long = "test" if part == "test" else "held_out", f"{encoder.seconds:g}s".replace(".", "_")
    figures = {f"{name}_eer_{long}_percent": metrics.eer(s, y), f"{name}_eer_{long}_low_percent": low, f"{name}_eer_{long}_high_percent": high,
               f"control_mfcc_eer_{long}_percent": metrics.eer(plain, y), "cllr": metrics.cllr(slope * s + offset, y), "trials": len(y),
               "of_one_person": int(y.sum()), "speakers": len(set(left) | set(right))}
    return (slope, offset), {k: round(float(v), 3) if isinstance(v, float) else v for k, v in figures.items()}
