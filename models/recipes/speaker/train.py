"""Trains speaker heads on the encoder and chooses one on dev: L-TDNN D3 and ECAPA, layer pooling from scratch, and the joint stage's own head.

The encoder is frozen here (it was tuned jointly with its head before). A plain log-mel network of the encoder's training losses and clock is the
control: it shows what the encoder is worth. The head chosen gets its last linear step (discriminant.py) and a cohort of the training speakers.
"""
import json
from pathlib import Path

import numpy as np
import torch
from torch import nn

from ..common import nets, torch_features
from ..common.corpus import arguments, open_corpus
from ..common.device import half, save
from ..common.loop import Late, clock, descend
from ..encoder.batches import Bank, Batches
from ..encoder.losses import aam_loss, relation
from . import discriminant, trials

KINDS = {"layer_pooling": nets.LayerPooling, "d3": lambda: nets.Speaker("d3"), "ecapa": lambda: nets.Speaker("ecapa"), "log_mel": nets.LogMelSpeaker}


def embedder(encoder, head):
    @torch.no_grad()
    def embed(clips):
        x = torch_features.fbank(torch.tensor(np.stack(clips)))
        return head(x if encoder is None else encoder(x)).numpy()

    return embed


def judge(encoder, head, c):
    head.eval()
    r = {f"eer_{n}s": trials.report(c, embedder(encoder, head), int(float(n) * 16000))["eer"] for n in ("3", "1.5")}
    head.train()
    return {k: float(v) for k, v in r.items()}


def fit(name, head, encoder, bank, a, minutes, lr, centres=2):
    """One head by the clock: AAM-softmax, the teacher's voice and relations; the last fifth on longer clips with a larger margin."""
    torch.manual_seed(2)
    rng, data = np.random.default_rng(3), Batches(bank, 5, speech=48, other=0)
    classes = nn.Parameter(torch.randn(centres, data.speakers.count, head.out) * 0.05 + 0.7 * data.speakers.centres())
    opt = torch.optim.AdamW([*head.parameters(), classes], lr=lr, weight_decay=0.02)
    step, run = 0, Late()
    head.train()
    if encoder is None:
        head.norm.fit(data(200)[0])
    for done in clock(opt, minutes, lr):
        late = done > 0.8
        x, _, who, voice, *_ = data(4 * int(rng.choice([50, 74] if late else [37, 50, 62])))
        with half():
            if encoder is not None:
                with torch.no_grad():
                    x = encoder(x)
            z = head(x)
        parts = {"aam": aam_loss(z, classes, who, a.margin * min(1, done / 0.6) if not late else 1.5 * a.margin),
                 "teacher": (1 - (z * voice).sum(1)).mean(), "relation": relation(z, voice)}
        descend(opt, 0.25 * parts["aam"] + 6.0 * parts["teacher"] + 10.0 * parts["relation"])
        step += 1
        run.add(parts)
        if step % 50 == 0:
            print(name, step, run.rounded(3), flush=True)
    return {"steps": step, "minutes": minutes, **run.rounded()}


def main():
    a = arguments(__doc__, minutes=8.0, lr=2e-3, margin=0.2, threads=2, kinds=",".join(KINDS))
    torch.set_num_threads(a.threads)
    c, work = open_corpus(a), Path(a.work)
    bank = Bank(c, work)
    encoder, joint = nets.Encoder(), nets.LayerPooling()
    encoder.load_state_dict(torch.load(work / "encoder.pt"))
    joint.load_state_dict(torch.load(work / "encoder_speaker.pt"))
    encoder.eval()
    at = work / "speaker_heads.json"
    report = json.loads(at.read_text()) if at.exists() else {}
    report["joint"] = {**judge(encoder, joint, c), "parameters": nets.parameters(joint)}
    print("joint", report["joint"], flush=True)
    for name in a.kinds.split(","):
        if name in report or not name:
            continue
        head, under = KINDS[name](), None if name == "log_mel" else encoder
        report[name] = fit(name, head, under, bank, a, a.minutes, a.lr)
        report[name].update(judge(under, head, c), parameters=nets.parameters(head))
        print(name, report[name], flush=True)
        save(head.state_dict(), work / f"speaker_{name}.pt")
        at.write_text(json.dumps(report))
    best = min((k for k in report if k != "log_mel"), key=lambda k: report[k]["eer_3s"])
    head = KINDS["layer_pooling" if best == "joint" else best]()
    head.load_state_dict(torch.load(work / ("encoder_speaker.pt" if best == "joint" else f"speaker_{best}.pt")))
    cohort, chosen = discriminant.fit(encoder, head, c)
    cohort.tofile(work / "cohort.f32")
    save(head.state_dict(), work / "speaker.pt")
    (work / "speaker.json").write_text(json.dumps({"trained": True, "kept": best, "kind": "layer_pooling" if best == "joint" else best, "heads": report,
                                                   "discriminants": chosen, "teacher": "Resemblyzer (Apache-2.0), training speech only"}, default=float))


if __name__ == "__main__":
    main()
