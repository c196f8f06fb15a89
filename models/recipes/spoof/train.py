"""Trains the spoof head on the frozen encoder's lower layers and the spectral view, and calibrates it on dev.

Augmented clips are made once and kept (`spoof_clips.npz`), then their features; the head trains on those. A dev file's score
is the mean over up to four 3 s windows (a shorter file is repeated); the list is spoof/trials_dev.txt.
"""
import json
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
    at = [at[i] for i in np.linspace(0, len(at) - 1, min(4, len(at))).astype(int)]  # four are enough of a long file
    return [x[s : s + N] for s in at]


def evaluate(corpus, score):
    """`score(list of 3 s windows) -> scores`; the report and the file scores."""
    t = trials()
    s, y, g = [], [], []
    for p, label, system in t:
        w = windows(corpus.audio(p))
        s.append(float(np.mean(np.concatenate([score(w[i : i + 8]) for i in range(0, len(w), 8)]))))
        y.append(label)
        g.append(system)
    return summary(np.array(s), np.array(y), np.array(g), [p for p, *_ in t]), s, y


def summary(s, y, g, names):
    out = {"eer_percent": round(metrics.eer(s, y), 2)}
    out["eer_low_percent"], out["eer_high_percent"] = metrics.bootstrap(s, y, names)
    pages = set(PAGES.values())
    keep = np.array([(b in pages) if a else (b in PAGES) for a, b in zip(y, g)])
    out["matched_eer_percent"] = round(metrics.eer(s[keep], y[keep]), 2)
    out["per_system_eer_percent"] = {k: round(metrics.eer(s[(y == 1) | (g == k)], y[(y == 1) | (g == k)]), 1) for k in sorted(set(g[y == 0]))}
    out["bona_fide_mean_score"] = {k: round(float(s[g == k].mean()), 2) for k in sorted(set(g[y == 1]))}
    return out


def make_clips(corpus, work, count, seed):
    at = Path(work) / "spoof_clips.npz"
    if at.exists():
        return np.load(at)
    rng, data, aug = np.random.default_rng(seed), SpoofData(corpus, work), Augmenter(corpus)
    x, y = np.zeros((count, N), np.int16), np.zeros(count, np.float32)
    for i in range(count):
        a, y[i] = data.clip(rng, N, aug)
        x[i] = to_i16(a / (np.abs(a).max() + 1e-9) * 0.7)  # levels do not matter to the features; int16 would spoil quiet clips
        if i % 500 == 0:
            print("clips", i, flush=True)
    np.savez(at, x=x, y=y)
    return {"x": x, "y": y}


@torch.no_grad()
def features(encoder, wave):
    with torch.autocast("cpu", dtype=torch.bfloat16):
        h = encoder(torch_features.fbank(wave))[:, :5].float()
    return h, torch_features.spectral(wave)


def main():
    a = arguments(__doc__, clips=2000, steps=600, batch=32, threads=2, only="")
    torch.manual_seed(0)
    torch.set_num_threads(a.threads)
    c, work = open_corpus(a), Path(a.work)
    make_trials(c)
    clips = make_clips(c, work, a.clips, seed=31)
    if a.only == "clips":
        return
    encoder = nets.Encoder()
    encoder.load_state_dict(torch.load(work / "encoder.pt"))
    encoder.eval()
    x, y = clips["x"][: a.clips], torch.tensor(np.asarray(clips["y"])[: a.clips])
    hid, spe = torch.zeros(len(x), 5, 149, nets.DIM, dtype=torch.float16), torch.zeros(len(x), 298, 180, dtype=torch.float16)
    for i in range(0, len(x), 16):
        h, s = features(encoder, torch.tensor(x[i : i + 16].astype(np.float32) / 32768))
        hid[i : i + 16], spe[i : i + 16] = h.half(), s.half()
        if i % 1024 == 0:
            print("features", i, flush=True)
    net, rng = nets.Spoof(), np.random.default_rng(32)
    opt = torch.optim.AdamW(net.parameters(), lr=1e-3, weight_decay=0.05)
    plan = torch.optim.lr_scheduler.OneCycleLR(opt, 1e-3, total_steps=a.steps, pct_start=0.1)
    run, average = None, None

    def score(w):
        with torch.no_grad():
            return average(*features(encoder, torch.tensor(np.stack(w)))).numpy()

    log = []
    for step in range(1, a.steps + 1):
        i = torch.tensor(rng.integers(0, len(x), a.batch))
        h, s, t = hid[i].float(), spe[i].float(), y[i]
        for k in range(a.batch):  # blank a span of time or a cepstral view, so that no single cue carries the decision
            if rng.random() < 0.3:
                v = 60 * int(rng.integers(3))
                s[k, :, v : v + 60] = 0
            if rng.random() < 0.3:
                b = int(rng.integers(0, 120))
                h[k, :, b : b + 25], s[k, 2 * b : 2 * b + 50] = 0, 0
        lam = float(rng.beta(0.3, 0.3)) if rng.random() < 0.5 else 1.0  # mixup
        j = torch.randperm(a.batch)
        h, s, t = lam * h + (1 - lam) * h[j], lam * s + (1 - lam) * s[j], lam * t + (1 - lam) * t[j]
        loss = F.binary_cross_entropy_with_logits(net(h, s), t * 0.95 + 0.025)
        opt.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(net.parameters(), 5.0)
        opt.step()
        plan.step()
        run = float(loss.detach()) if run is None else 0.98 * run + 0.02 * float(loss.detach())
        if step == a.steps // 3:
            average = torch.optim.swa_utils.AveragedModel(net, multi_avg_fn=torch.optim.swa_utils.get_ema_multi_avg_fn(0.995), use_buffers=True)
        if average is not None:
            average.update_parameters(net)
        if step % 100 == 0:
            print(step, round(run, 4), flush=True)
    average = average.module.eval()
    rep, s, lab = evaluate(c, score)
    slope, offset = metrics.calibrate(s, lab)
    rep.update({"trained": True, "steps": a.steps, "seed": 31, "clips": len(x), "loss": round(run, 4), "slope": slope, "offset": offset,
                "cllr": round(metrics.cllr(slope * np.array(s) + offset, lab), 3)})
    torch.save(average.state_dict(), work / "spoof.pt")
    (work / "spoof.json").write_text(json.dumps(rep))
    print(json.dumps(rep, indent=1))


if __name__ == "__main__":
    main()
