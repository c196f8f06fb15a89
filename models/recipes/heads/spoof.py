"""A spoof head: real or not on a fusion of the lower hidden states with cepstra, and on statistics of the fine structure."""
import numpy as np
import torch

from ..common import metrics, nets, torch_features
from ..common.device import DEVICE, half
from ..spoof.train import loss_of
from . import networks, training
from .bank import narrow

REAL, FAKE = "bonafide", "spoof"


def views(encoder, net):
    def hidden_and_spectral(x, hidden):
        with torch.no_grad():
            cepstra, fine = net.views(torch_features.spectral(torch.from_numpy(narrow(x, encoder.rate))))
        return {"hidden": hidden[:, : net.fusion.lower].astype(np.float16), "cepstra": cepstra.numpy().astype(np.float16), "fine": fine.numpy()}

    return hidden_and_spectral


def network(encoder, a):
    torch.manual_seed(a.seed)
    return networks.Spoof(a.kind, a.size, encoder)


def read(bank, rows, *names):
    rows = np.asarray(rows)
    order = np.argsort(rows)
    back = np.argsort(order)
    return [torch.from_numpy(np.asarray(bank.views[n][rows[order]])[back]).float() for n in names]


def train(net, bank, a, batch=32, wide=256):
    rows = bank.rows("train")
    real = np.array([i for i in rows if bank.label(i) == REAL])
    fake = np.array([i for i in rows if bank.label(i) == FAKE])
    fine = read(bank, rows, "fine")[0]
    net.fine.mean.copy_(fine.mean(0)), net.fine.std.copy_(fine.std(0) + 1e-6)
    net.to(DEVICE)
    place = {int(i): k for k, i in enumerate(rows)}
    scaled = net.fine.scaled(fine.to(DEVICE))
    target = torch.tensor([0.975, 0.025], device=DEVICE)

    def pairs(rng, n):
        return np.stack([rng.choice(real, n // 2), rng.choice(fake, n // 2)], 1).flatten()

    def losses(rng, _):
        h, c = (v.to(DEVICE) for v in read(bank, pairs(rng, batch), "hidden", "cepstra"))
        for k in range(batch):  # blank a span of time in a view, so that no single cue carries the decision
            for v in (h[k].transpose(0, 1), c[k]):
                if rng.random() < 0.3:
                    n = max(1, v.shape[0] // 5)
                    s = int(rng.integers(0, v.shape[0] - n + 1))
                    v[s : s + n] = 0
        with half():
            fused = net.fusion(h, c)
        parts = {"fusion": loss_of(fused.float(), target.repeat(batch // 2))}
        each = [loss_of(head(scaled[[place[int(i)] for i in pairs(rng, wide)]])[:, 0], target.repeat(wide // 2)) for head in net.fine.heads]
        parts["fine"] = sum(each) / len(each)
        return parts["fusion"] + sum(each), parts

    told = training.fit(net, losses, bank.folder / f"spoof-{a.kind}-{a.size}-{a.seed}-{a.lr}.ckpt", a, a.lr, decay=0.05)
    return {**told, "kind": a.kind, "size": a.size, "parameters": nets.parameters(net)}


@torch.no_grad()
def opinions(net, bank, rows):
    out = [net.opinions(*read(bank, rows[k : k + 32], "hidden", "cepstra", "fine")) for k in range(0, len(rows), 32)]
    return np.array([torch.cat(v).numpy() for v in zip(*out)])


def judge(net, bank):
    """As the default pack: windows are calibrated, files are judged by the mean of theirs."""
    seen = {}
    for part in ("dev", "test"):
        rows = bank.rows(part)
        if len(rows):
            y = np.array([int(bank.label(i) == REAL) for i in rows])
            seen[part] = opinions(net, bank, rows), y, np.array([bank.crops[i].clip for i in rows])
    o, y, _ = seen.get("dev", seen.get("test"))
    net.weights.copy_(torch.tensor(1 / (o.std(1) + 1e-6), dtype=torch.float32))
    total = lambda o: net.weights.numpy().astype(np.float64) @ o
    slope, offset = metrics.calibrate(total(o), y)
    part = "test" if "test" in seen else "dev"
    o, y, clip = seen[part]
    files = np.unique(clip)
    mean = lambda v: np.array([v[clip == f].mean() for f in files])
    s, real = mean(total(o)), mean(y).astype(int)
    low, high = metrics.bootstrap(s, real, [str(f) for f in files])
    name = "test" if part == "test" else "held_out"
    figures = {f"{name}_eer_percent": metrics.eer(s, real), f"{name}_eer_low_percent": low, f"{name}_eer_high_percent": high,
               "fusion_alone_eer_percent": metrics.eer(mean(o[0]), real), "fine_structure_alone_eer_percent": metrics.eer(mean(o[1]), real),
               "cllr": metrics.cllr(slope * total(o) + offset, y), "files": len(files), "bonafide_files": int(real.sum())}
    return (slope, offset), {k: round(float(v), 3) if isinstance(v, float) else v for k, v in figures.items()}
