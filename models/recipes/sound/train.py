"""Trains the tagger on the frozen encoder, two ways, and keeps the better one on dev.

`supervised`: the labels from the start. `unfused`: after UnFuSeD, first pseudo-labels (k-means of whitened encoder states of unlabelled clips) with
self-distillation between the head and its side heads, then the labels. Both get the same clock in the end phase. The thresholds of speech and music are set on dev.
"""
import json
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from torch import nn

from ..common import nets, torch_features
from ..common.corpus import arguments, open_corpus
from ..common.device import half, save
from ..common.loop import Late, clock, descend
from ..encoder.batches import Bank
from .data import CLASSES, ESC10, Tagged, Tracks, broad

CLUSTERS = 64


def pseudo_labels(encoder, bank, clips=2400, seconds=2, seed=71):
    """(rows, crops' starts, cluster of each): whitened means of three layers, k-means."""
    rng = np.random.default_rng(seed)
    kinds = [np.nonzero((bank.kind == k) & (bank.frames > 50))[0] for k in ("sound", "music", "speech")]
    rows = np.concatenate([rng.choice(r, int(clips * s)) for r, s in zip(kinds, (0.5, 0.25, 0.25))])
    n, feats, at = 100 * seconds, [], []
    for i in rows:
        t = int(bank.frames[i])
        at.append(int(rng.integers(0, max(1, t - n))))
    for k in range(0, len(rows), 40):
        x = torch.tensor(np.stack([np.resize(bank.fbank(i, s, min(n, int(bank.frames[i]))), (n, 80)) for i, s in zip(rows[k : k + 40], at[k : k + 40])]).astype(np.float32))
        with torch.no_grad(), half():
            h = encoder(x)
        feats.append(torch.cat([h[:, l].float().mean(1) for l in (2, 5, 8)], 1))
    f = torch.cat(feats)
    f = f - f.mean(0)
    u, s, v = torch.linalg.svd(f, full_matrices=False)
    f = F.normalize(f @ v[:64].T / s[:64] * len(f) ** 0.5, dim=1)
    m = f[torch.from_numpy(rng.permutation(len(f))[:CLUSTERS])].clone()
    for _ in range(30):
        who = (f @ m.T).argmax(1)
        m = F.normalize(torch.zeros_like(m).index_add_(0, who, f) + 1e-3 * m, dim=1)
    return rows, np.array(at), who


def distil(head, h, y):
    """Self-distillation: CE, 0.7 of the side heads' CE, 0.3 of their divergence from the head, 0.003 of the distance of their features."""
    f = head.features(h)
    logits = head.out(f)
    sides, side_logits = head.sides(h)
    teacher = F.softmax(logits.detach(), 1)
    return (F.cross_entropy(logits, y) + 0.7 * sum(F.cross_entropy(s, y) for s in side_logits)
            + 0.3 * sum(F.kl_div(F.log_softmax(s, 1), teacher, reduction="batchmean") for s in side_logits)
            + 0.003 * sum((s - f.detach()).square().sum(1).mean() for s in sides))


def loop(params, minutes, lr, loss, name):
    opt = torch.optim.AdamW(params, lr=lr, weight_decay=0.05)
    step, run = 0, Late()
    for _ in clock(opt, minutes, lr):
        v = loss()
        descend(opt, v)
        step += 1
        run.add({"loss": v})
        if step % 50 == 0:
            print(name, step, run.rounded(), flush=True)
    return {"steps": step, **run.rounded()}


def supervised(head, encoder, banks, minutes, lr, seed, name):
    data, rng = Tagged(*banks, seed), np.random.default_rng(seed)
    bias = head.out.bias

    def loss():
        x, y, w = data(4 * int(rng.choice([25, 25, 37, 74])))
        with torch.no_grad(), half():
            h = encoder(x)
        with half():
            z = head.out(head.features(h)).float()
        return (F.binary_cross_entropy_with_logits(z, y, reduction="none") * w).sum() / w.sum() * len(CLASSES) ** 0.5

    bias.data.fill_(-2.0)
    head.train()
    return loop(list(head.parameters()), minutes, lr, loss, name)


def unfused(head, encoder, banks, minutes, lr, seed):
    bank = banks[0]
    rows, at, who = pseudo_labels(encoder, bank)
    rng, data = np.random.default_rng(seed), Tagged(*banks, seed)
    final, sides = head.out, head.side_out
    head.out, head.side_out = nn.Linear(128, CLUSTERS), nn.ModuleList(nn.Linear(128, CLUSTERS) for _ in head.SIDES)

    def loss():
        k = rng.integers(0, len(rows), 40)
        x = torch.tensor(np.stack([np.resize(bank.fbank(i, s, min(200, int(bank.frames[i]))), (200, 80)) for i, s in zip(rows[k], at[k])]).astype(np.float32))
        with torch.no_grad(), half():
            h = encoder(data.channel(x, 0.2))
        with half():
            return distil(head, h.float(), who[torch.from_numpy(k)])

    head.train()
    out = loop(list(head.parameters()), minutes, lr, loss, "pseudo")
    head.out, head.side_out = final, sides
    return out


def tag(head, encoder):
    @torch.no_grad()
    def probabilities(clips):
        return head(encoder(torch_features.fbank(torch.tensor(np.stack(clips))))).numpy()

    head.eval()
    return probabilities


def loudest(x, n):
    """Where the n loudest samples running begin."""
    e = np.cumsum(np.concatenate([[0], x.astype(np.float64) ** 2]))
    return int(np.argmax(e[n:] - e[:-n])) if len(x) > n else 0


def scored(probabilities, corpus, split, seconds, kinds=("sound", "music", "speech"), most=400):
    """`probabilities(clips)` of crops of `seconds` at the loudest place of each clip: (rows, [n, classes])."""
    rows = [r for k in kinds for r in corpus.select(split, k, 0.25)]
    speech = [r for r in rows if r["kind"] == "speech"]
    keep = set(id(speech[i]) for i in np.random.default_rng(9).permutation(len(speech))[:most])
    rows = [r for r in rows if r["kind"] != "speech" or id(r) in keep]
    out = []
    for r in rows:
        x, n = corpus.audio(r), int(seconds * 16000)
        out.append(np.resize(x[loudest(x, n) :][:n], n))
    return rows, np.concatenate([probabilities(out[i : i + 16]) for i in range(0, len(out), 16)])


def even(head, rows, p):
    """Moves the logits of speech and music so that 0.5 is the best threshold between speech, music and the rest on dev; the middle of the best moves."""
    logit = np.log(p[:, :2] / (1 - p[:, :2]) + 1e-9)
    moves = np.arange(-2, 2.01, 0.25)
    found = {}
    for s in moves:
        for m in moves:
            q = p.copy()
            q[:, :2] = 1 / (1 + np.exp(-logit - np.array([s, m])))
            found[s, m] = report(rows, q)["macro_f1"]
    best = [k for k, v in found.items() if v == max(found.values())]
    offsets = np.median(np.array(best), 0)
    head.out.bias.data[:2] += torch.tensor(offsets, dtype=torch.float32)
    return [float(v) for v in offsets]


def report(rows, p):
    """ESC-10 accuracy among its ten classes, macro F1 of speech / music / other, and the balanced accuracy of all classes."""
    label = np.array([r["label"] if r["kind"] == "sound" else r["kind"] for r in rows])
    at = [CLASSES.index(c) for c in ESC10]
    esc = np.isin(label, ESC10)
    right = np.array([ESC10[i] for i in p[esc][:, at].argmax(1)]) == label[esc]
    three = np.array([broad(r) or "" for r in rows])
    told = np.array(["speech" if a > max(b, 0.5) else "music" if b > 0.5 else "other" for a, b in p[:, :2]])
    f1 = []
    for k in ("speech", "music", "other"):
        tp = ((told == k) & (three == k)).sum()
        f1.append(2 * tp / max(1, (told[three != ""] == k).sum() + (three == k).sum()))
    return {"esc10_accuracy_percent": round(100 * float(right.mean()), 2), "esc10_clips": int(esc.sum()), "macro_f1": round(float(np.mean(f1)), 4),
            "f1": [round(float(v), 4) for v in f1], "three_way_clips": int((three != "").sum())}


def main():
    a = arguments(__doc__, minutes=25.0, lr=2e-3, threads=2)
    torch.set_num_threads(a.threads)
    c, work = open_corpus(a), Path(a.work)
    banks, encoder = (Bank(c, work), Tracks(work)), nets.Encoder()
    encoder.load_state_dict(torch.load(work / "encoder.pt"))
    encoder.eval()
    made, out = {}, {"trained": True, "classes": CLASSES}
    for name in ("supervised", "unfused"):
        torch.manual_seed(7)
        head = nets.Tagger(len(CLASSES))
        r = {"pseudo": unfused(head, encoder, banks, a.minutes / 2, a.lr, 73)} if name == "unfused" else {}
        r.update(supervised(head, encoder, banks, a.minutes, a.lr, 74, name))
        r["offsets"] = even(head, *scored(tag(head, encoder), c, "dev", 1.0))
        r["dev_3s"], r["dev_1s"] = (report(*scored(tag(head, encoder), c, "dev", s)) for s in (3.0, 1.0))
        out[name], made[name] = r, head
        print(name, r, flush=True)
    best = max(made, key=lambda k: out[k]["dev_3s"]["esc10_accuracy_percent"] + 100 * out[k]["dev_1s"]["macro_f1"])
    out["kept"] = best
    save(made[best].state_dict(), work / "sound.pt")
    (work / "sound.json").write_text(json.dumps(out))


if __name__ == "__main__":
    main()
