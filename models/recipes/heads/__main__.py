"""Trains a head for a pack from a folder of labelled audio and writes a new pack with it. One sub-folder a label, or a CSV (path,label[,split]).

    python -m models.recipes.heads speaker --pack models/packs/wavlm-base --data voices --out models/packs/wavlm-base-voices --licence CC0-1.0
    python -m models.recipes.heads spoof   --pack … --data clips --out … --licence …        # labels bonafide and spoof
    python -m models.recipes.heads probe --name language --pack … --data clips --out … --licence …

First the encoder runs over crops of the clips, once; then the head is trained for --minutes. Both go on where they were interrupted.
"""
import argparse
from pathlib import Path

import torch

from ..published.probes import KINDS
from . import attach, bank, folder, networks, probe, speaker, spoof


def arguments(given=None):
    p = argparse.ArgumentParser(prog="python -m models.recipes.heads", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    tasks = p.add_subparsers(dest="task", required=True)
    for task, kinds, kind, minutes, rate in (("speaker", networks.KINDS, "pooling", 10.0, 2e-3), ("spoof", networks.FUSIONS, "cross", 10.0, 1e-3),
                                             ("probe", tuple(KINDS), "choice", 1.0, 3e-3)):
        t = tasks.add_parser(task)
        t.add_argument("--pack", type=Path, required=True, help="the pack whose encoder is used")
        t.add_argument("--data", type=Path, required=True, help="folder or CSV of labelled audio")
        t.add_argument("--out", type=Path, required=True, help="the new pack's folder")
        t.add_argument("--licence", required=True, help="of the head, as an SPDX name: what the recordings' licences allow")
        t.add_argument("--about", default="", help="what the recordings are, for the manifest")
        t.add_argument("--kind", choices=kinds, default=kind)
        t.add_argument("--minutes", type=float, default=minutes, help="of training, after the encoder ran")
        t.add_argument("--steps", type=int, default=0, help="train so many steps instead: the same on any machine")
        t.add_argument("--seed", type=int, default=0)
        t.add_argument("--lr", type=float, default=rate)
        t.add_argument("--crops", type=int, default=4000, help="most crops of training audio")
        t.add_argument("--gigabytes", type=float, default=8.0, help="most disk for what the encoder makes of them")
        t.add_argument("--plain", action="store_true", help="crops as they are: where the label is the room, the noise, the level or the speed itself")
        t.add_argument("--noise", type=Path, help="folder of noise to mix in; coloured noise if left out")
        t.add_argument("--work", type=Path, default=Path("models/.train/heads"), help="cache and checkpoints (not committed)")
        t.add_argument("--threads", type=int, default=torch.get_num_threads())
        if task != "probe":
            t.add_argument("--size", choices=("small", "full", "tiny"), default="small", help="full: as published, wants a GPU; tiny: for tests")
        if task == "speaker":
            t.add_argument("--margin", type=float, default=0.2)
        if task == "probe":
            t.add_argument("--name", required=True, help="a-z, 0-9, _")
            t.add_argument("--wide", type=int, default=0, help="a hidden layer so wide; linear if left out")
            t.add_argument("--unit", default="value", help="what a probe of the kind value counts, e.g. bpm")
    return p.parse_args(given)


def words(clips, a):
    hours = sum(c.seconds for c in clips) / 3600
    told = f"{len(clips)} recordings with {len({c.label for c in clips})} labels, {hours:.2f} h"
    return f"{a.about}: {told}" if a.about else told


def room(a, encoder, crops):
    """So many crops as there is disk for: the speaker and spoof heads need the encoder's frames."""
    if a.task == "probe":
        return crops
    layers = encoder.layers if a.task == "speaker" else networks.lower(encoder.layers)
    each = 2 * layers * encoder.dim * encoder.seconds * encoder.frame_rate + 2 * (180 * 300 if a.task == "spoof" else 0) + 4096
    most = int(0.97 * a.gigabytes * 2**30 / each)
    if most < crops:
        print(f"{a.gigabytes:g} GB hold {most} crops, not {crops} (--gigabytes)")
    return min(most, crops)


def run(a):
    torch.set_num_threads(a.threads)
    encoder = bank.Encoder(a.pack, a.threads)
    attach.free(a, encoder.manifest)
    clips, bad = folder.read(a.data)
    if a.task == "spoof":
        clips = [c._replace(label=folder.slug(c.label)) for c in clips]
        if (found := {c.label for c in clips}) != {spoof.REAL, spoof.FAKE} and len(found) > 1:
            raise folder.NoData(f"expected the labels {spoof.REAL} and {spoof.FAKE}, found {', '.join(sorted(found)[:8])}")
    kind = "speaker" if a.task == "speaker" else "choice" if a.task == "spoof" else a.kind
    clips, how = folder.split(clips, kind, a.seed)
    folder.check(clips, kind)
    labels, y = probe.answers(clips, a.kind, a.unit) if a.task == "probe" else (None, None)
    print(f"{words(clips, a)}; {how}", flush=True)

    speeds = bank.SPEEDS if a.task == "speaker" and not a.plain else (1.0,)
    held = sum(min(bank.HELD_WINDOWS, 4 * sum(c.split == s for c in clips)) for s in ("dev", "test"))
    crops = bank.plan(clips, max(2, room(a, encoder, a.crops + held) - held), encoder.seconds, a.seed, speeds)
    audio = bank.Audio(clips, encoder.rate, encoder.seconds, 0.35 if a.task == "spoof" else 0.0, a.noise, a.plain)
    head = spoof.network(encoder, a) if a.task == "spoof" else None
    views = {"speaker": lambda: speaker.views(encoder), "spoof": lambda: spoof.views(encoder, head), "probe": lambda: probe.views}[a.task]()
    kept = bank.Bank(encoder, clips, crops, audio, views, a.work, a.seed, a.gigabytes)

    calibration = None
    if a.task == "speaker":
        head, training = speaker.train(kept, encoder, a)
        calibration, figures = speaker.judge(head, kept, encoder, a.seed)
    elif a.task == "spoof":
        training = spoof.train(head, kept, a)
        calibration, figures = spoof.judge(head, kept)
    else:
        head, training = probe.train(kept, encoder, y, labels, a)
        figures = probe.judge(head, kept, y, a)
    if calibration and not calibration[0] > 0:
        raise folder.Refused(f"the head learnt nothing that holds for the held-out recordings ({figures}): train longer, or on more of them")
    if calibration and len({c.split for c in clips}) < 3:
        how += "; calibrated on the same recordings as measured, which flatters Cllr"
    data = {"words": words(clips, a), "split": how, "train_files": sum(c.split == "train" for c in clips), "train_crops": len(kept.rows("train")),
            "held_out_windows": int(kept.ok.sum()) - len(kept.rows("train")), "left_out_files": len(bad)}
    attach.write(a, encoder, head, labels, calibration, {"figures": figures, "training": training, "data": data})
    print("\n".join(f"{k}: {v}" for k, v in figures.items()))
    print(f"{a.out} is ready; check it with: earwitness models check --allow-unsigned {a.out}")
    return figures


def main():
    run(arguments())


if __name__ == "__main__":
    main()
