"""Tunes the upper layers of the encoder and the speaker head for short clips, after `train`: no masks, more clean speech, 1.5 s as often as 2 to 3 s.

The first three layers stay as they are (the spoof head hears only those), so a step costs little more than half. Beside the losses of `train` that need
no masks, the two clips of each voice must find each other in the batch (`pairs`, the angular prototypical loss), and the margin
of the speaker classes grows at the end.
"""
import json
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F

from ..common.corpus import arguments, open_corpus
from ..common.device import half
from ..common.loop import Late
from ..speaker import trials
from . import train
from .batches import Bank, Batches
from .losses import aam_loss, relation

FROZEN = 3  # layers
WEIGHTS = {"states": 0.5, "teacher": 6.0, "relation": 20.0, "aam": 0.25, "pairs": 0.5, "sound": 0.3}


def pair_loss(z, who, scale=20.0):
    """Rows 2i and 2i + 1 are one voice: each must be nearer to its other than to those of other voices (Chung et al. 2020, with both directions)."""
    a, b, v = z[0::2], z[1::2], who[0::2]
    s = scale * a @ b.T
    same = (v[:, None] == v[None]) & (v[:, None] >= 0) & ~torch.eye(len(v), dtype=torch.bool)
    s = s.masked_fill(same, -1e4)
    y = torch.arange(len(a))
    return (F.cross_entropy(s, y) + F.cross_entropy(s.T, y)) / 2


def losses(net, batch, attention, margin):
    x, _, who, voice, states, seen, sound = batch
    n = len(voice)
    with half():
        hidden = net.encoder(x, None, attention)
        z = net.speaker(hidden[:n])
        regress = net.ask.layerwise(hidden[:n], states, seen)
        heard = net.ask.sound(hidden[n:, 6].mean(1)).float()
    ok = sound >= 0
    return {"states": regress, "teacher": (1 - (z * voice).sum(1)).mean(), "relation": relation(z, voice), "aam": aam_loss(z, net.ask.aam, who, margin),
            "pairs": pair_loss(z, who), "sound": F.cross_entropy(heard[ok], sound[ok]) if ok.any() else heard.sum() * 0}


def start(work, classes, sounds):
    """The network as `train` left it; its questions are those of the last checkpoint."""
    net = train.Joint(classes, sounds)
    net.load_state_dict(torch.load(work / "pretrained.ckpt", weights_only=False)["net"])
    net.encoder.load_state_dict(torch.load(work / "pretrained.pt"))
    net.speaker.load_state_dict(torch.load(work / "pretrained_speaker.pt"))
    net.ask.aam.data = torch.load(work / "pretrained_classes.pt")["aam"]
    for p in net.encoder.parameters():
        p.requires_grad_(False)
    for layer in net.encoder.layers[FROZEN:]:
        layer.requires_grad_(True)
    return net


def entry(net, c, step, spent, run):
    told = train.entry(net, c, step, spent, run)
    net.eval()
    told["dev_eer_1.5s"] = float(trials.report(c, train.embedder(net), 24000)["eer"])
    net.train()
    print("dev 1.5 s", told["dev_eer_1.5s"], flush=True)
    return told


def main():
    a = arguments(__doc__, minutes=75.0, lr=9e-4, margin=0.2, threads=2, seed=5, every=15.0, clean=0.4, max_steps=0)
    torch.manual_seed(a.seed)
    torch.set_num_threads(a.threads)
    work, c = Path(a.work), open_corpus(a)
    bank = Bank(c, work)
    data, rng = Batches(bank, a.seed, speech=56, clean=a.clean), np.random.default_rng(a.seed + 1)
    net = start(work, data.speakers.count, len(data.sounds))
    opt = train.optimiser(net, a.lr)
    ck = work / "tune.ckpt"
    at = train.resume(net, opt, ck)
    if at[0]:
        data = Batches(bank, a.seed + at[0], speech=56, clean=a.clean)
    else:
        at[2].append(entry(net, c, 0, 0, Late()))

    def parts(done):
        frames = 4 * int(rng.choice([37, 37, 50, 74]))
        return losses(net, data(frames), train.chunk_mask(frames // 2, rng), a.margin * (1 if done < 0.7 else 1.5))

    told = train.loop(net, opt, ck, a, at, parts, WEIGHTS, lambda *late: entry(net, c, *late))
    before = json.loads((work / "pretrained.json").read_text())
    train.finish(net, work, "encoder", {**told, "seed": a.seed, "lr": a.lr, "losses": WEIGHTS, "pretraining": before})


if __name__ == "__main__":
    main()
