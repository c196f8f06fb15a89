"""Trains the speaker head (L-TDNN) on the frozen encoder, starting from the joint stage's head: longer clips, a larger margin.

Ends with a report on dev (3 s and 1.5 s) and the calibration; the better of the joint head and the tuned head on dev is kept.
"""
import json
import time
from pathlib import Path

import numpy as np
import torch
from torch import nn

from ..common import metrics, nets, torch_features
from ..common.corpus import arguments, open_corpus
from ..common.device import DEVICE, half, save
from ..encoder.train import Batches, aam_loss
from . import discriminant, trials


def embedder(encoder, speaker):
    @torch.no_grad()
    def embed(clips):
        return speaker(encoder(torch_features.fbank(torch.tensor(np.stack(clips)).to(DEVICE)))).cpu().numpy()

    return embed


def judge(encoder, speaker, c):
    encoder.eval(), speaker.eval()
    return trials.report(c, embedder(encoder, speaker))


def main():
    a = arguments(__doc__, minutes=8.0, lr=8e-4, margin=0.3, seconds=3.0, threads=2)
    torch.manual_seed(2)
    torch.set_num_threads(a.threads)
    c, work = open_corpus(a), Path(a.work)
    encoder, speaker = nets.Encoder().to(DEVICE), nets.Speaker(**nets.SPEAKER).to(DEVICE)
    encoder.load_state_dict(torch.load(work / "encoder.pt"))
    speaker.load_state_dict(torch.load(work / "speaker_joint.pt"), strict=False)
    before = judge(encoder, speaker, c)
    print("joint head", before, flush=True)
    data = Batches(c, work, a.seconds, speakers=32, masked=0, spoof=0, seed=2, sources=False)
    joint = torch.load(work / "joint.ckpt", weights_only=False, map_location=DEVICE)["net"]
    classes = nn.Parameter(joint["aam"])
    opt = torch.optim.AdamW([*speaker.parameters(), classes], lr=a.lr, weight_decay=0.02)
    loader = iter(torch.utils.data.DataLoader(data, batch_size=None, num_workers=1, prefetch_factor=4))
    t0, step, run = time.time(), 0, {}
    speaker.train()
    encoder.eval()
    while (done := (time.time() - t0) / max(1e-9, 60 * a.minutes)) < 1:
        for g in opt.param_groups:
            g["lr"] = a.lr * (0.5 + 0.5 * np.cos(np.pi * done)) + 1e-6
        wave, who, teach = (v.to(DEVICE) for v in next(loader))
        with torch.no_grad(), half():
            h = encoder(torch_features.fbank(wave))
        with half():
            z = speaker(h)
        parts = {"aam": aam_loss(z, classes, who, a.margin), "teacher": (1 - (z * teach).sum(1)).mean()}
        loss = 0.3 * parts["aam"] + 6.0 * parts["teacher"]
        opt.zero_grad(set_to_none=True)
        loss.backward()
        if torch.isfinite(nn.utils.clip_grad_norm_(speaker.parameters(), 5.0)):
            opt.step()
        step += 1
        for k, v in parts.items():
            run[k] = 0.97 * run.get(k, float(v.detach())) + 0.03 * float(v.detach())
        if step % 20 == 0:
            print(step, {k: round(v, 3) for k, v in run.items()}, flush=True)
    after = judge(encoder, speaker, c) if step else before
    print("tuned head", after, flush=True)
    kept = "tuned" if step and after["eer"] <= before["eer"] else "joint"
    if kept == "joint":
        speaker.load_state_dict(torch.load(work / "speaker_joint.pt"), strict=False)
    encoder.cpu(), speaker.cpu()
    chosen = discriminant.fit(encoder, speaker, c)
    save(speaker.state_dict(), work / "speaker.pt")
    out = {"trained": True, "kept": kept, "discriminants": chosen, "steps": step, "seconds": round(time.time() - t0), "seed": 2, "loss": {k: round(v, 4) for k, v in run.items()},
           "joint_head_eer": before["eer"], "tuned_head_eer": after["eer"], "teacher": "Resemblyzer (Apache-2.0), training speech only"}
    (work / "speaker.json").write_text(json.dumps(out, default=float))


if __name__ == "__main__":
    main()
