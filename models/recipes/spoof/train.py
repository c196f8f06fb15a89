"""Trains the spoof head on the frozen encoder's lower layers and the spectral view, and calibrates it on dev.

The two opinions of the head (nets.Spoof) are trained apart, on the same pairs of a real and a fake clip from one channel (data.py);
clips and features are made once and kept. A dev file's score is the mean over its 3 s windows (a shorter file is repeated); the list
is spoof/trials_dev.txt.
"""
import json
from multiprocessing import get_context
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F

from ..common import metrics, nets, torch_features
from ..common.augment import Augmenter
from ..common.corpus import arguments, open_corpus, to_i16
from .data import SpoofData

LIST = Path(__file__).parent / "trials_dev.txt"
N = 48000
PAGES = {  # dev systems and the real speech from the same demo page
    "glowtts_hifigan": "glowtts_demo", "glowtts_misc": "glowtts_demo", "winter_vc": "winter_demo", "wavernn": "wavernn_target",
}


def make_trials(corpus):
    rows = [(r, 1) for r in corpus.select("dev", "bonafide")] + [(r, 0) for r in corpus.select("dev", "spoof")]
    LIST.write_text("".join(f"{r['path']} {y} {r['group']}\n" for r, y in rows))


def trials():
    return [(p, int(y), s) for p, y, s in (l.split() for l in LIST.read_text().splitlines())]


def windows(x, hop=24000):
    """The 3 s windows of a file, its last one aligned to the end; a shorter file is repeated."""
    if len(x) < N:
        return [np.resize(x, N)]
    at = list(range(0, len(x) - N + 1, hop))
    if at[-1] != len(x) - N and len(x) - N - at[-1] > 8000:
        at.append(len(x) - N)
    return [x[s : s + N] for s in at]


def judge(corpus, score, listed):
    """`score(list of 3 s windows) -> scores`; the scores of each file of (path, label, system)."""
    out = []
    for path, *_ in listed:
        w = windows(corpus.audio(path))
        out.append(np.concatenate([score(w[i : i + 8]) for i in range(0, len(w), 8)]))
    return out


def evaluate(corpus, score):
    """The report on dev: files by the mean of their windows, and the calibration of windows."""
    names, y, g = zip(*trials())
    each = judge(corpus, score, trials())
    rep = summary(np.array([e.mean() for e in each]), np.array(y), np.array(g), names)
    # the daemon scores windows, so it is windows that are calibrated
    single, labels = np.concatenate(each), np.repeat(y, [len(e) for e in each])
    slope, offset = metrics.calibrate(single, labels)
    return {**rep, "slope": slope, "offset": offset, "cllr": round(metrics.cllr(slope * single + offset, labels), 3), "windows": len(single)}


def evaluate_test(corpus, score):
    """The report on the test split, on which nothing was chosen."""
    listed = [(r["path"], y, r["group"]) for kind, y in (("bonafide", 1), ("spoof", 0)) for r in corpus.select("test", kind)]
    names, y, g = (np.array(v) for v in zip(*listed))
    s = np.array([e.mean() for e in judge(corpus, score, listed)])
    eer = lambda keep: round(float(metrics.eer(s[keep], y[keep])), 2)
    low, high = metrics.bootstrap(s, y, names)
    return {"test_eer_percent": eer(y >= 0), "test_eer_low_percent": low, "test_eer_high_percent": high,
            "test_librispeech_eer_percent": eer((y == 0) | (g == "librispeech")), "test_demo_pages_eer_percent": eer((y == 0) | (g != "librispeech")),
            "test_files": len(s), "test_per_system_eer_percent": {k: eer((y == 1) | (g == k)) for k in sorted(set(g[y == 0]))}}


def summary(s, y, g, names):
    out = {"eer_percent": round(metrics.eer(s, y), 2)}
    out["eer_low_percent"], out["eer_high_percent"] = metrics.bootstrap(s, y, names)
    pages = set(PAGES.values())
    keep = np.array([(b in pages) if a else (b in PAGES) for a, b in zip(y, g)])
    out["matched_eer_percent"] = round(metrics.eer(s[keep], y[keep]), 2)
    out["per_system_eer_percent"] = {k: round(metrics.eer(s[(y == 1) | (g == k)], y[(y == 1) | (g == k)]), 1) for k in sorted(set(g[y == 0]))}
    out["bona_fide_mean_score"] = {k: round(float(s[g == k].mean()), 2) for k in sorted(set(g[y == 1]))}
    return out


_C = {}


def _start(args):
    torch.set_num_threads(1)
    c = open_corpus(args)
    _C.update(aug=Augmenter(c), data=SpoofData(c, args.work))


def _pair(seed):
    """A pair of clips, int16. Levels do not matter to the features; int16 would spoil quiet clips, so all are loud."""
    v = _C["data"].clips(np.random.default_rng([31, seed]), N, _C["aug"])
    return np.stack([to_i16(x / (np.abs(x).max() + 1e-9) * 0.7) for x in v])


def make_clips(args):
    """[2 * pairs, N], real and fake in turn."""
    at = Path(args.work) / "spoof_clips.npy"
    if not at.exists():
        with get_context("spawn").Pool(2, _start, (args,)) as pool:
            np.save(at, np.concatenate(list(pool.imap(_pair, range(args.pairs), chunksize=16))))
    return np.load(at, mmap_mode="r")


@torch.no_grad()
def features(encoder, wave):
    with torch.autocast("cpu", dtype=torch.bfloat16):
        h = encoder(torch_features.fbank(wave))[:, :5].float()
    return h, torch_features.spectral(wave)


def clip_features(encoder, x, work):
    """Hidden states, cepstra (float16) and fine statistics of all clips, kept in the work folder."""
    at = [work / f"spoof_{name}.npy" for name in ("hidden", "cepstra", "fine")]
    if not at[2].exists():
        hid, cep = np.zeros((len(x), 5, 149, nets.DIM), np.float16), np.zeros((len(x), 298, 180), np.float16)
        fine = np.zeros((len(x), 448), np.float32)
        for i in range(0, len(x), 16):
            h, s = features(encoder, torch.tensor(x[i : i + 16].astype(np.float32) / 32768))
            hid[i : i + 16], cep[i : i + 16], fine[i : i + 16] = h.numpy(), s[:, :, :180].numpy(), nets.fine_statistics(s[:, :, 180:]).numpy()
            if i % 1024 == 0:
                print("features", i, flush=True)
        np.save(at[0], hid), np.save(at[1], cep), np.save(at[2], fine)
    return tuple(torch.from_numpy(np.load(f, mmap_mode="r+")) for f in at)


def loss_of(scores, target):
    """The verdict, and the order within a pair: whatever the channel does to both scores, the real one must be higher."""
    return F.binary_cross_entropy_with_logits(scores, target) + 0.5 * F.softplus(scores[1::2] - scores[::2]).mean()


def pairs(rng, count, batch):
    """Indices of `batch / 2` random pairs, each the real clip and then its fake."""
    i = 2 * rng.integers(0, count // 2, batch // 2)
    return torch.tensor(np.stack([i, i + 1], 1).flatten())


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


def fit_fine(net, x, steps, batch=256):
    """Each of the heads from its own start and order of pairs; their mean is steadier than any of them."""
    net.fine_mean.copy_(x.mean(0)), net.fine_std.copy_(x.std(0) + 1e-6)
    x, losses = net.scaled(x), []
    for k, head in enumerate(net.fine_heads):
        rng = np.random.default_rng(k)
        losses.append(fit(list(head.parameters()), lambda _: head(x[pairs(rng, len(x), batch)])[:, 0], steps, batch, 2e-3))
    return float(np.mean(losses))


def fit_fusion(net, hidden, cepstra, steps, batch=32):
    rng, average = np.random.default_rng(33), None

    def scores(_):
        i = pairs(rng, len(hidden), batch)
        h, s = hidden[i].float(), cepstra[i].float()
        for k in range(batch):  # blank a span of time or a view, so that no single cue carries the decision
            if rng.random() < 0.3:
                v = 60 * int(rng.integers(3))
                s[k, :, v : v + 60] = 0
            if rng.random() < 0.3:
                b = int(rng.integers(0, 120))
                h[k, :, b : b + 25], s[k, 2 * b : 2 * b + 50] = 0, 0
        return net.fusion(h, s)

    def after(step):
        nonlocal average
        if step == steps // 3:
            average = torch.optim.swa_utils.AveragedModel(net, multi_avg_fn=torch.optim.swa_utils.get_ema_multi_avg_fn(0.995), use_buffers=True)
        if average is not None:
            average.update_parameters(net)

    run = fit([p for n, p in net.named_parameters() if not n.startswith("fine")], scores, steps, batch, 1e-3, after)
    net.load_state_dict(average.module.state_dict())
    return run


def main():
    a = arguments(__doc__, pairs=5000, steps=400, fine_steps=2500, threads=2)
    torch.set_num_threads(a.threads)
    torch.manual_seed(1)
    c, work = open_corpus(a), Path(a.work)
    make_trials(c)
    encoder = nets.Encoder()
    encoder.load_state_dict(torch.load(work / "encoder.pt"))
    encoder.eval()
    net = nets.Spoof()
    hidden, cepstra, fine = clip_features(encoder, make_clips(a), work)
    fine_loss = fit_fine(net, fine, a.fine_steps)
    fusion_loss = fit_fusion(net, hidden, cepstra, a.steps)
    net.eval()

    @torch.no_grad()
    def score(w, which):
        both = [v.numpy() for v in net.opinions(*features(encoder, torch.tensor(np.stack(w))))]
        return net.WEIGHT * both[0] + both[1] if which is None else both[which]

    rep = evaluate(c, lambda w: score(w, None))
    for i, name in enumerate(("fusion_alone", "fine_structure_alone")):
        alone = evaluate(c, lambda w, i=i: score(w, i))
        rep[name] = {k: alone[k] for k in ("eer_percent", "matched_eer_percent")}
    rep.update({"trained": True, "seed": 31, "pairs": a.pairs, "steps": a.steps, "loss": round(fusion_loss, 4),
                "fine_steps": a.fine_steps, "fine_loss": round(fine_loss, 4)})
    torch.save(net.state_dict(), work / "spoof.pt")
    (work / "spoof.json").write_text(json.dumps(rep))
    print(json.dumps(rep, indent=1))


if __name__ == "__main__":
    main()
