"""Trains the listener: a small convolutional network over the spectrum that learns to hear what the teacher hears (bank.py), without labels.

`--labels W` adds the verdict and the order within pairs (train.loss_of) with that weight; `--start NAME` goes on from the weights of an earlier run.
"""
import json
from pathlib import Path

import numpy as np
import torch
from torch import nn

from ..common import features as ref, nets, torch_features
from ..common.corpus import arguments, open_corpus
from ..common.device import half, save
from ..common.loop import Late, clock, descend
from . import trials
from .bank import KEEP, N, wave
from .train import both, loss_of


def pictures(x):
    """The picture alone, in the shape that the network wants."""
    p = torch_features.picture(x)
    return nets.Spoof.views(torch.cat([p.new_zeros(*p.shape[:2], ref.SPECTRAL_DIM - ref.PICTURE_DIM), p], 2))[1]


def evaluate(net, head, c):

    @torch.no_grad()
    def score(w):
        with half():
            h = net(pictures(torch.tensor(np.stack(w))))
        return head(nets.frame_statistics(h.float())).numpy()[:, 0]

    net.eval(), head.eval()
    r = trials.dev_report(c, score)
    net.train(), head.train()
    return {k: r[k] for k in ("eer_percent", "matched_eer_percent")}


def main():
    a = arguments(__doc__, minutes=40.0, lr=2e-3, threads=2, batch=32, labels=0.0, name="listener", seed=0, every=6.0, start="")
    torch.manual_seed(a.seed)
    torch.set_num_threads(a.threads)
    work, c = Path(a.work), open_corpus(a)
    clips = np.memmap(work / "listener_bank" / "clips.i16", np.int16, "r").reshape(-1, N)
    states = np.memmap(work / "listener_bank" / "states.f16", np.float16, "r").reshape(len(clips), -1, 3 * KEEP)
    net, head = nets.Listener(), nn.Sequential(nn.BatchNorm1d(2 * nets.HEARD), nn.Dropout(0.3), nn.Linear(2 * nets.HEARD, 64), nn.ReLU(), nn.Linear(64, 1))
    if a.start:
        net.load_state_dict(torch.load(work / f"{a.start}.pt"))
        if (at := work / f"{a.start}_head.pt").exists():  # not of a listener out of a pack
            head.load_state_dict(torch.load(at))
    opt = torch.optim.AdamW([*net.parameters(), *head.parameters()], lr=a.lr, weight_decay=0.03)
    rng, step, run, log, judged = np.random.default_rng(a.seed), 0, Late(), [], 0.0
    print("parameters", nets.parameters(net), flush=True)
    target = torch.tensor([0.975, 0.025]).repeat(a.batch // 2)
    for done in clock(opt, a.minutes, a.lr):
        spent = 60 * a.minutes * done
        i = both(rng.integers(0, len(clips) // 2, a.batch // 2))
        want = torch.from_numpy(states[i, :149].astype(np.float32))
        with torch.no_grad():
            x = pictures(wave(clips[i]))
        with half():
            h = net(x)
        h = h.float()
        parts = {"states": (h - want).square().mean(), "verdict": loss_of(head(nets.frame_statistics(h))[:, 0], target)}
        descend(opt, parts["states"] + max(a.labels, 1e-3) * parts["verdict"])
        step += 1
        run.add(parts)
        if step % 20 == 0:
            print(step, f"{spent:.0f}s", run.rounded(3), flush=True)
        if spent > judged + 60 * a.every:
            judged = spent
            log.append({"step": step, **run.rounded(), **evaluate(net, head, c)})
            print("dev", log[-1], flush=True)
            save(net.state_dict(), work / f"{a.name}.pt")
    log.append({"step": step, **run.rounded(), **evaluate(net, head, c)})
    print("dev", log[-1], flush=True)
    save(net.state_dict(), work / f"{a.name}.pt"), save(head.state_dict(), work / f"{a.name}_head.pt")
    (work / f"{a.name}.json").write_text(json.dumps({"trained": True, "steps": step, "seconds": round(spent), "labels": a.labels, "start": a.start, "log": log}, default=float))


if __name__ == "__main__":
    main()
