"""What each loss of the encoder brings: the same short training of a narrow encoder once with all of them, and once without each.

Every run has the same steps and seed, and half the width of the shipped encoder; judged by the dev EER of its speaker head, RankMe of its hidden states, and a linear probe of the mean hidden
states for the classes of sounds. Short runs: differences of a point are noise. Writes `<work>/ablation.json`.
"""
import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F

from ..common import nets, torch_features
from ..common.corpus import arguments, open_corpus
from ..sound.data import ESC10
from .train import WEIGHTS


@torch.no_grad()
def pooled(encoder, c, split, seconds=3):
    """Mean hidden states of ESC-10 clips [n, layers, dim] and their classes."""
    rows = [r for r in c.select(split, "sound", 1.0) if r["label"] in ESC10]
    h = [encoder(torch_features.fbank(torch.tensor(np.resize(c.audio(r)[: 16000 * seconds], 16000 * seconds))[None]))[0].mean(1) for r in rows]
    return torch.stack(h), torch.tensor([ESC10.index(r["label"]) for r in rows])


def probe(encoder, c, steps=200):
    """Accuracy in per cent on dev of a linear map of all layers' means."""
    (x, y), (u, v) = pooled(encoder, c, "train"), pooled(encoder, c, "dev")
    mean, std = x.mean(0), x.std(0) + 1e-5
    x, u = ((a - mean) / std for a in (x, u))
    w = torch.zeros(x[0].numel(), len(ESC10), requires_grad=True)
    opt = torch.optim.Adam([w], lr=0.01, weight_decay=1e-3)
    for _ in range(steps):
        loss = F.cross_entropy(x.flatten(1) @ w, y)
        opt.zero_grad()
        loss.backward()
        opt.step()
    return round(100 * float(((u.flatten(1) @ w).argmax(1) == v).float().mean()), 1)


def tidy(work, run):
    for old in work.glob(f"{run}*"):
        old.unlink()


def main():
    a = arguments(__doc__, steps=200, dim=128, threads=2)
    work, c, out = Path(a.work), open_corpus(a), {}
    at = work / "ablation.json"
    if at.exists():
        out = json.loads(at.read_text())
    for left in ["", "views", *WEIGHTS]:
        name = {"": "all losses", "views": "all losses and views contrasted"}.get(left, f"without {left}")
        if name in out:
            continue
        run = "ablation_" + (left or "none")
        tidy(work, run)  # a run that was cut is not resumed: its steps would not be those of the others
        subprocess.run([sys.executable, "-m", "models.recipes.encoder.train", "--corpus", a.corpus, "--work", a.work, "--max-steps", str(a.steps), "--threads", str(a.threads),
                        "--name", run, "--every", "1000", "--dim", str(a.dim), *(["--views", "1"] if left == "views" else ["--without", left])], check=True)
        encoder, told = nets.Encoder(a.dim, ffn=4 * a.dim), json.loads((work / f"{run}.json").read_text())
        encoder.load_state_dict(torch.load(work / f"{run}.pt"))
        encoder.eval()
        last = told["log"][-1]
        out[name] = {"steps": told["steps"], "dev_eer": last["dev_eer"], "rank_me": last["rank_me"], "esc10_probe_percent": probe(encoder, c)}
        print(name, out[name], flush=True)
        at.write_text(json.dumps(out))
        tidy(work, run)


if __name__ == "__main__":
    main()
