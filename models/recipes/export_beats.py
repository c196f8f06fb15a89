"""A pack from a local BEATs checkpoint (.pt with `cfg` and `model`); a fine-tuned one brings AudioSet's 527 classes as the sound head.

    python -m models.recipes.export_beats CHECKPOINT.pt --out models/packs/beats --licence MIT [--names class_labels_indices.csv]

The checkpoint names its classes by AudioSet's machine ids (/m/09x0r); AudioSet's class_labels_indices.csv (index,mid,display_name) gives them words.
"""
import csv
import re

import torch

from .published import beats, checkpoint, pack


def class_names(labels, names):
    """Unique names of a-z, 0-9, _, at most 64 characters, in the order of the outputs."""
    words = {}
    if names:
        with open(names, newline="", encoding="utf-8") as f:
            words = {r["mid"]: r["display_name"] for r in csv.DictReader(f)}
    out = []
    for i in range(len(labels)):
        label = str(labels.get(i, labels.get(str(i), f"class_{i}")))
        name = re.sub(r"[^a-z0-9]+", "_", words.get(label, label).lower()).strip("_")[:64] or f"class_{i}"
        out.append(name if name not in out else f"{name[:60]}_{i}")
    return out


def build(path):
    """(network, head or None, configuration, labels) of a checkpoint file."""
    if not path.is_file():
        raise SystemExit(f"{path}: expected a BEATs checkpoint file (.pt), found {'a folder' if path.is_dir() else 'nothing'}")
    try:
        held = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as e:
        raise SystemExit(f"{path}: expected a PyTorch checkpoint of tensors and plain values, found something else ({type(e).__name__}): download it again")
    if not isinstance(held, dict) or not {"cfg", "model"} <= set(held):
        raise SystemExit(f"{path}: expected `cfg` and `model` in it, found {sorted(held)[:5] if isinstance(held, dict) else type(held).__name__}: "
                         f"is this a BEATs checkpoint, not its tokenizer?")
    c = {**beats.DEFAULTS, **held["cfg"]}
    if c["input_patch_size"] != 16 or c["activation_fn"] != "gelu":
        raise SystemExit(f"{path}: expected patches of 16 and gelu, found {c['input_patch_size']} and {c['activation_fn']}: not a published BEATs")
    try:
        net, tags = beats.load(c, held["model"])
    except (KeyError, RuntimeError) as e:
        raise SystemExit(f"{path}: the weights do not fit the configuration, is this a BEATs encoder, not its tokenizer?\n{str(e)[:400]}")
    return net, tags, c, held.get("label_dict", {i: f"class_{i}" for i in range(c["predictor_class"])})


def write(out, about, path, vad="models/default", names=None, int8=False, fp16=False):
    net, tags, c, labels = build(path)
    sound = (tags, class_names(labels, names)) if tags is not None else None
    return pack.write(out, about, net, dict(beats.FRONT), c["encoder_layers"] + 1, c["encoder_embed_dim"], 100 / 16, vad, sound, int8=int8, fp16=fp16)


def main():
    a = checkpoint.arguments(__doc__, (["--names"], {"help": "AudioSet's class_labels_indices.csv"}))
    write(a.out, checkpoint.about(a, "BEATs, general audio encoder", "AudioSet-2M (as published)"), a.checkpoint, a.vad, a.names, a.int8, a.fp16)


if __name__ == "__main__":
    main()
