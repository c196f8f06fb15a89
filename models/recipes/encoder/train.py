"""Trains the encoder, and with it the speaker head: masked prediction of tokens on speech, sounds and music, with a teacher at each layer.

Losses (`--without a,b` leaves some out, for the ablation): `random` and `tokens`, cross-entropy of the codes of masked frames (losses.py);
`states`, the teacher's layers; `teacher`, the cosine to the teacher's voice in its discriminant space, and `relation`, the similarities between
clips; `aam`, the speakers; `sound`, the classes of sounds and music. `--views 1` adds the contrast of projections (views.py), which is not in the
shipped encoder.
"""
import json
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from torch import nn

from ..common import nets, torch_features
from ..common.corpus import arguments, open_corpus
from ..common.device import half
from ..common.device import save as save_weights
from ..common.loop import Late, clock, descend
from ..speaker import trials
from .batches import Bank, Batches
from .losses import Questions, Tokens, aam_loss, relation
from .views import Views, waves

WEIGHTS = {"random": 0.1, "tokens": 0.15, "states": 1.0, "teacher": 6.0, "relation": 20.0, "aam": 0.25, "sound": 0.3}


class Joint(nn.Module):
    def __init__(self, classes, sounds, views=False, dim=nets.DIM):
        super().__init__()
        self.encoder, self.speaker = nets.Encoder(dim, ffn=4 * dim), nets.LayerPooling(dim)
        self.views = Views(dim) if views else None
        self.ask = Questions(dim, classes, self.speaker.out, sounds)


def spans(clips, t, share, rng):
    """Masked frames [clips, t]: spans of 10 frames in a share of the clips."""
    start = rng.random((clips, t)) < 0.05 * (rng.random((clips, 1)) < share)
    m = np.zeros((clips, t), bool)
    for k in range(10):
        m[:, k:] |= start[:, : t - k]
    return torch.from_numpy(m)


def chunk_mask(t, rng):
    """Each frame sees its own chunk of 160 to 640 ms and 2.5 s to the left; None = full context (60 % of the batches)."""
    if rng.random() < 0.6:
        return None
    n = int(rng.choice([8, 16, 32]))
    c, i = torch.arange(t) // n, torch.arange(t)
    ok = (c[None] <= c[:, None]) & (i[None] >= c[:, None] * n - 125)
    return torch.where(ok, 0.0, -1e4)


def losses(net, batch, tokens, masked, attention, margin, seen_as=None):
    x, clean, who, voice, states, seen, sound = batch
    n = len(voice)
    with half():
        hidden = net.encoder(x, masked, attention)
        z = net.speaker(hidden[:n])
        random, token = net.ask.masked(hidden[:, -1], masked, tokens(clean, states))
        regress = net.ask.layerwise(hidden[:n], states, seen)
        heard = net.ask.sound(hidden[n:, 6].mean(1)).float()
        contrast = {} if seen_as is None else {"views": net.views(seen_as[0], hidden[seen_as[1], 5].mean(1))}
    ok = sound >= 0
    return {**contrast, "random": random, "tokens": token, "states": regress, "teacher": (1 - (z * voice).sum(1)).mean(), "relation": relation(z, voice),
            "aam": aam_loss(z, net.ask.aam, who, margin), "sound": F.cross_entropy(heard[ok], sound[ok]) if ok.any() else heard.sum() * 0}


def embedder(net, kept=None):
    """Clips -> embeddings; the first hidden states are left in `kept`."""
    kept = [] if kept is None else kept

    @torch.no_grad()
    def embed(clips):
        with half():
            h = net.encoder(torch_features.fbank(torch.tensor(np.stack(clips))))
            if len(kept) < 4:
                kept.append(h[:, :, ::5].float())
            return net.speaker(h).float().numpy()

    return embed


@torch.no_grad()
def judge(net, corpus):
    """Dev EER at 3 s, and RankMe (FACTS of the field: the exponential of the entropy of the singular values) of each hidden state."""
    net.eval()
    kept = []
    r = trials.report(corpus, embedder(net, kept))
    h = torch.cat(kept).permute(1, 0, 2, 3).flatten(1, 2)
    net.train()
    return float(r["eer"]), [round(rank_me(v), 1) for v in h]


def rank_me(x):
    s = torch.linalg.svdvals(x)
    p = s / s.sum() + 1e-7
    return float(torch.exp(-(p * p.log()).sum()))


def optimiser(net, lr):
    decay = [p for p in net.parameters() if p.dim() > 1]
    rest = [p for p in net.parameters() if p.dim() <= 1]
    return torch.optim.AdamW([{"params": decay, "weight_decay": 0.02}, {"params": rest, "weight_decay": 0.0}], lr=lr, betas=(0.9, 0.98))


def main():
    a = arguments(__doc__, minutes=70.0, lr=1.5e-3, margin=0.2, threads=2, frames=200, without="", views=0, name="pretrained", seed=0, every=9.0, dim=nets.DIM, max_steps=0)
    torch.manual_seed(a.seed)
    torch.set_num_threads(a.threads)
    work, c = Path(a.work), open_corpus(a)
    bank = Bank(c, work)
    data, tokens, rng = Batches(bank, a.seed), Tokens(bank, work), np.random.default_rng(a.seed + 1)
    net = Joint(data.speakers.count, len(data.sounds), bool(a.views), a.dim)
    print("classes", data.speakers.count, "sounds", len(data.sounds), "parameters", nets.parameters(net.encoder), nets.parameters(net.speaker), flush=True)
    net.ask.aam.data += 0.7 * data.speakers.centres()  # classes start where the teacher puts them
    weights = {k: w for k, w in {**WEIGHTS, **({"views": 1.0} if a.views else {})}.items() if k not in a.without.split(",")}
    opt = optimiser(net, a.lr)
    ck = work / f"{a.name}.ckpt"
    at = resume(net, opt, ck)
    if at[0]:
        data = Batches(bank, a.seed + at[0])  # a resumed run draws new clips
    else:
        net.encoder.norm.fit(data(a.frames)[0])

    def parts(done):
        frames = 4 * int(rng.choice([37, 50, 62]) if done < 0.75 else rng.choice([50, 74]))  # longer clips at the end
        batch = data(frames)
        masked = spans(len(batch[0]), frames // 2, 0.5 if done < 0.75 else 0.3, rng)
        seen_as = None
        if a.views:
            rows, starts = data.drawn
            plain = np.nonzero(bank.variant[rows] == 0)[0][:16]
            seen_as = waves(c, bank, rows[plain], starts[plain], frames), torch.from_numpy(plain)
        return losses(net, batch, tokens, masked, chunk_mask(frames // 2, rng), a.margin * min(1.0, done / 0.7), seen_as)

    told = loop(net, opt, ck, a, at, parts, weights, lambda *late: entry(net, c, *late))
    finish(net, work, a.name, {**told, "seed": a.seed, "lr": a.lr, "losses": weights})


def resume(net, opt, ck):
    """(step, seconds spent, log) of the checkpoint; zeros where there is none."""
    if not ck.exists():
        return 0, 0.0, []
    s = torch.load(ck, weights_only=False)
    net.load_state_dict(s["net"]), opt.load_state_dict(s["opt"])
    return s["step"], s["spent"], s["log"]


def loop(net, opt, ck, a, at, parts, weights, entry):
    """Trains by the clock on the weighted sum of `parts(share of the budget)`; a checkpoint each three minutes, `entry(step, seconds, losses)` each
    `a.every` minutes, and both at the end. Returns what is to be told of the run."""
    step, spent, log = at
    run, saved, judged = Late(), spent, spent
    keep = lambda: torch.save({"net": net.state_dict(), "opt": opt.state_dict(), "step": step, "spent": spent, "log": log}, ck)
    for done in clock(opt, a.minutes, a.lr, spent, a.max_steps):
        spent = 60 * a.minutes * done
        now = parts(done)
        descend(opt, sum(weights[k] * now[k] for k in weights))
        step += 1
        run.add(now)
        if step % 20 == 0:
            print(step, f"{spent:.0f}s", run.rounded(3), flush=True)
        if spent > saved + 180:
            saved = spent
            keep()
        if spent > judged + 60 * a.every:
            judged = spent
            log.append(entry(step, spent, run))
    log.append(entry(step, spent, run))
    keep()
    return {"trained": True, "steps": step, "seconds": round(spent), "log": log}


def entry(net, c, step, spent, run):
    eer, ranks = judge(net, c)
    print("dev", eer, "RankMe", ranks, flush=True)
    return {"step": step, "seconds": round(spent), **run.rounded(), "dev_eer": eer, "rank_me": ranks}


def finish(net, work, name, told):
    save_weights(net.encoder.state_dict(), work / f"{name}.pt")
    save_weights(net.speaker.state_dict(), work / f"{name}_speaker.pt")
    save_weights({"aam": net.ask.aam.data}, work / f"{name}_classes.pt")
    (work / f"{name}.json").write_text(json.dumps(told))


if __name__ == "__main__":
    main()
