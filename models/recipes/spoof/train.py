"""Trains the spoof head on the pairs of two banks (bank.py): the four fusions of an SSL and a spectral view, and heads on statistics
of the fine structure and of the synchrony of bands.

Encoder and listener are frozen; what they say of the banks' clips is kept. Heads on statistics hear all pairs, the fusions those of `spoof_bank`: with copies by
HiFi-GANs, which are next to the original, they tell dev files and engines that they have not heard worse. A fusion differs much from one training to the next, means of eight small
heads do not: it counts half as much as that on fine structure. So does synchrony, which coders that no pair went through may move as much as a vocoder does.

The fusions are compared with each view alone on dev, where one file more or less is a per cent or more: of those that are with the heads on statistics as good as the best, within its
bootstrap interval, the smallest is shipped. `--leave-out` measures each training system with heads that never heard it.
"""
import json
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F

from ..common import metrics, nets, torch_features
from ..common.corpus import arguments
from ..common.device import half
from . import dev as choice
from . import trials
from .bank import BANKS, N, wave

WHOLE = 24_000  # clips of `spoof_bank` of which features over time are kept, which are large and heard by fusions alone
COUNT = {"fusion": 0.5, "fine": 1.0, "synchrony": 0.5}  # how much each opinion counts, once all have one deviation


@torch.no_grad()
def features(encoder, net, x):
    """(lower hidden states, cepstra, heard, statistics of fine structure and of synchrony) of waves [B, N]."""
    s = torch_features.spectral(x)
    cepstra, picture, fine, synchrony = net.views(s)
    with half():
        h = encoder(torch_features.fbank(x))[:, : nets.Fusion.LOWER].float()
        heard = net.listener(picture).float()
    return h, cepstra, heard, fine, synchrony


def statistics(x):
    """The last two of them alone."""
    fine = torch_features.fine(x)
    return [nets.fine_statistics(v, fine[:, :, -1:]) for v in (fine[:, :, :-1], torch_features.synchrony(x))]


def kept(encoder, net, work, bank):
    """The features of all clips of a bank, mapped from the work folder: statistics, and those over time of the first `WHOLE` of `spoof_bank`."""
    clips = np.memmap(work / bank / "clips.i16", np.int16, "r").reshape(-1, N)
    n = min(WHOLE, len(clips)) if bank == "spoof_bank" else 0
    over = {"hidden": (n, nets.Fusion.LOWER, 149, nets.DIM), "cepstra": (n, 298, 180), "heard": (n, 149, nets.HEARD)} if n else {}
    shapes = over | {"fine": (len(clips), nets.FINE), "synchrony": (len(clips), nets.SYNCHRONY)}
    at = {n: work / bank / f"{n}.npy" for n in shapes}
    missing = [k for k in shapes if not at[k].exists()]
    if missing:
        out = {k: np.lib.format.open_memmap(at[k].with_suffix(".part"), "w+", np.float16 if k in over else np.float32, shapes[k]) for k in missing}
        for i in range(0, len(clips), 16):
            x = wave(clips[i : i + 16])
            whole = i < n and over.keys() & set(missing)
            told = dict(zip(shapes, features(encoder, net, x)) if whole else zip(("fine", "synchrony"), statistics(x)))
            for name in told.keys() & set(missing):
                out[name][i : i + 16] = told[name][: len(out[name]) - i].numpy()
            if i % 1600 == 0:
                print("features", i, flush=True)
        for name in missing:
            out[name].flush()
            at[name].with_suffix(".part").rename(at[name])
    return {n: np.load(at[n], mmap_mode="r") for n in shapes}


def systems(c, work, count):
    """What made the fake of each of the first pairs of `spoof_bank`: its draws again, without the channel."""
    at = work / "spoof_bank" / "systems.json"
    if not at.exists():
        make, first = BANKS["spoof_bank"]
        data, out = make(c, work), []
        for seed in range(first, first + count):
            rng = np.random.default_rng([31, seed])
            rng.integers(2**31)
            data.pair(rng, N)
            out.append(data.made)
        at.write_text(json.dumps(out))
    return np.array(json.loads(at.read_text()))


def loss_of(scores, target):
    """The verdict, and the order within a pair: whatever the channel does to both scores, the real one must be higher."""
    return F.binary_cross_entropy_with_logits(scores, target) + 0.5 * F.softplus(scores[1::2] - scores[::2]).mean()


def both(pairs):
    """Indices of the clips of pairs, each the real one and then its fake."""
    return np.stack([2 * pairs, 2 * pairs + 1], 1).flatten()


def fit(parameters, scores, steps, batch, rate, after=lambda step: None):
    """One run of AdamW over `scores(step)`, those of a batch of pairs. Returns the mean loss of late."""
    opt = torch.optim.AdamW(parameters, lr=rate, weight_decay=0.05)
    plan = torch.optim.lr_scheduler.OneCycleLR(opt, rate, total_steps=steps, pct_start=0.1)
    target, run = torch.tensor([0.975, 0.025]).repeat(batch // 2), None
    for step in range(1, steps + 1):
        loss = loss_of(scores(step), target)
        opt.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(parameters, 5.0)
        opt.step()
        plan.step()
        after(step)
        run = float(loss.detach()) if run is None else 0.98 * run + 0.02 * float(loss.detach())
        if step % 100 == 0:
            print(step, round(run, 4), flush=True)
    return run


def fit_experts(net, x, steps, use=None, batch=256):
    """Each of the heads from its own start and order of pairs, the same in every run. `use`: the pairs it may hear. They learn as they judge, in `eval` mode:
    with dropout, dev files are told worse (fine structure 24.8 % for 16.4)."""
    x = torch.tensor(np.asarray(x), dtype=torch.float32)
    net.mean.copy_(x.mean(0)), net.std.copy_(x.std(0) + 1e-6)
    x, losses = net.scaled(x), []
    use = np.arange(len(x) // 2) if use is None else use
    for k, head in enumerate(net.heads):
        rng = np.random.default_rng(k)
        torch.manual_seed(100 + k)
        for layer in head:
            if hasattr(layer, "reset_parameters"):
                layer.reset_parameters()

        def scores(_):
            return head(x[both(use[rng.integers(0, len(use), batch // 2)])])[:, 0]

        losses.append(fit(list(head.parameters()), scores, steps, batch, 2e-3))
    return float(np.mean(losses))


def fit_fusion(net, bank, steps, batch=32):
    """Of a bank's features."""
    rng, average, pairs = np.random.default_rng(33), None, len(bank["hidden"]) // 2

    def scores(_):
        drawn = both(rng.integers(0, pairs, batch // 2))
        h, s, l = (torch.from_numpy(np.asarray(bank[n][drawn])).float() for n in ("hidden", "cepstra", "heard"))
        for k in range(batch):  # blank a span of time or a view, so that no single cue carries the decision
            if rng.random() < 0.3:
                v = 60 * int(rng.integers(3))
                s[k, :, v : v + 60] = 0
            if rng.random() < 0.3:
                b = int(rng.integers(0, 120))
                h[k, :, b : b + 25], s[k, 2 * b : 2 * b + 50], l[k, b : b + 25] = 0, 0, 0
        return net(h, s, l)

    def after(step):
        nonlocal average
        if step == steps // 3:
            average = torch.optim.swa_utils.AveragedModel(net, multi_avg_fn=torch.optim.swa_utils.get_ema_multi_avg_fn(0.995), use_buffers=True)
        if average is not None:
            average.update_parameters(net)

    run = fit(list(net.parameters()), scores, steps, batch, 1e-3, after)
    net.load_state_dict(average.module.state_dict())
    net.eval()
    return run


def leave_one_out(stats, made, steps=700, folds=8, seed=0):
    """Systems in folds: heads on all three kinds of statistics that never heard a fold's systems, on that fold's pairs. EER of windows, per system."""
    rng, out = np.random.default_rng(seed), {}
    names = sorted(set(made))
    fold = {n: i % folds for i, n in enumerate(rng.permutation(names))}
    at = np.array([fold[m] for m in made])
    score = np.zeros(2 * len(made))
    for k in range(folds):
        use, test = np.nonzero(at != k)[0], np.nonzero(at == k)[0]
        for x in stats:
            net = nets.Experts(x.shape[1], heads=1).eval()
            fit_experts(net, x, steps, use)
            with torch.no_grad():
                i = both(test)
                score[i] += net(torch.from_numpy(x[i]).float()).numpy()
    y = np.tile([1, 0], len(made))
    for n in names:
        i = both(np.nonzero(made == n)[0])
        out[n] = round(float(metrics.eer(score[i], y[i])), 1)
    return {"pooled": round(float(metrics.eer(score, y)), 2), "systems": out}


def main():
    a = arguments(__doc__, steps=2500, expert_steps=3000, threads=2, kinds=",".join(nets.Fusion.KINDS), leave_out=0)
    torch.set_num_threads(a.threads)
    torch.manual_seed(1)
    (c, dev), work = choice.opened(a), Path(a.work)
    encoder, net = nets.Encoder(), nets.Spoof()
    encoder.load_state_dict(torch.load(work / "encoder.pt"))
    net.listener.load_state_dict(torch.load(work / "listener.pt"))
    encoder.eval(), net.eval()
    banks = {bank: kept(encoder, net, work, bank) for bank in ("spoof_bank", "installed_bank")}
    whole = banks["spoof_bank"]
    all_of = lambda name: np.concatenate([data[name] for data in banks.values()])
    frames = nets.frame_statistics(torch.from_numpy(np.asarray(whole["heard"], np.float32))).numpy()
    seen = [features(encoder, net, torch.tensor(np.stack(trials.windows(c.audio(p))))) for p, *_ in dev]
    names, y, g = (np.array(v) for v in zip(*dev))
    y = y.astype(int)

    @torch.no_grad()
    def told(opinion):
        s = np.array([float(opinion(*f).mean()) for f in seen])
        return s, trials.summary(s, y, g, names)

    short = lambda r: {k: r[k] for k in ("eer_percent", "matched_eer_percent")}
    report = {"trained": True, "seed": 31, "pairs": {bank: len(data["fine"]) // 2 for bank, data in banks.items()}, "steps": a.steps, "expert_steps": a.expert_steps, "dev": {}}
    heard = nets.Experts(2 * nets.HEARD).eval()  # for comparison: not in the shipped head
    fit_experts(heard, frames, a.expert_steps)
    report["dev"]["statistics of the listener alone"] = short(told(lambda h, s, l, *_: heard(nets.frame_statistics(l)))[1])
    apart = []
    own = net.members[0]
    for k, (name, head) in enumerate({"fine": own.fine, "synchrony": own.synchrony}.items()):
        report[f"{name}_loss"] = fit_experts(head, all_of(name), a.expert_steps)
        s, r = told(lambda *f: head(f[3 + k]))
        report["dev"][{"fine": "fine structure", "synchrony": "synchrony of bands"}[name] + " alone"] = short(r)
        apart.append((s, COUNT[name] / s.std()))
    s_apart = sum(s * weight for s, weight in apart)
    report["dev"]["both together"] = short(trials.summary(s_apart, y, g, names))
    print(report["dev"], flush=True)
    tried = []
    for kind in a.kinds.split(","):
        torch.manual_seed(1)
        fusion = nets.Fusion(kind)
        loss = fit_fusion(fusion, whole, a.steps)
        s, r = told(lambda h, s, l, *_: fusion(h, s, l))
        added = trials.summary(COUNT["fusion"] * s / s.std() + s_apart, y, g, names)
        report["dev"][kind] = {**short(r), "loss": round(loss, 4), "parameters": nets.parameters(fusion), "with both": short(added)}
        print(kind, report["dev"][kind], s.std(), flush=True)
        mark = added["eer_percent"] + added["matched_eer_percent"]
        if kind not in ("ssl", "spectral"):
            tried.append((mark, kind, fusion, added, COUNT["fusion"] / s.std()))
    good = min(tried, key=lambda t: t[0])[3]["eer_high_percent"]
    _, kind, own.fusion, added, weight = min((t for t in tried if t[3]["eer_percent"] <= good), key=lambda t: (nets.parameters(t[2]), t[0]))
    net.weights.copy_(torch.tensor([weight, *(weight for _, weight in apart)]))
    report |= {"kinds": [kind], **added}
    if a.leave_out:
        report["leave_one_out"] = leave_one_out([frames, *(whole[name][: len(frames)] for name in ("fine", "synchrony"))], systems(c, work, len(frames) // 2))
    torch.save(net.state_dict(), work / "spoof.pt")
    (work / "spoof.json").write_text(json.dumps(report, default=float))
    print(json.dumps(report, indent=1, default=float))


if __name__ == "__main__":
    main()
