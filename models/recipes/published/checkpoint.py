"""A user's local checkpoint folder: its configuration, its licence, its weights; and the recipes' command line."""
import argparse
import json
from pathlib import Path

import torch

LICENCES = "HuBERT, wav2vec 2.0, SPEAR: Apache-2.0; MERT: CC-BY-NC-4.0; BEATs: MIT; WavLM: see docs/encoders.md"


def arguments(doc, *more):
    p = argparse.ArgumentParser(description=doc, formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument("checkpoint", type=Path, help="the local checkpoint")
    p.add_argument("--out", type=Path, required=True, help="the pack's folder")
    p.add_argument("--name", help="the pack's name; the folder's name if left out")
    p.add_argument("--licence", help="of the weights, as an SPDX name; read from the checkpoint's README.md if left out")
    p.add_argument("--vad", default="models/default", help="the pack whose speech detector is copied")
    p.add_argument("--int8", action="store_true", help="8-bit matrix products too, a quarter of the size")
    p.add_argument("--fp16", action="store_true", help="16-bit floating point too, for GPUs (docs/gpu.md)")
    for names, options in more:
        p.add_argument(*names, **options)
    return p.parse_args()


def config(folder, *types):
    """config.json of a Hugging Face folder, of one of these model types."""
    at = Path(folder) / "config.json"
    if not at.is_file():
        raise SystemExit(f"{folder}: expected a checkpoint folder with config.json, found {'none' if Path(folder).is_dir() else 'no folder'}: "
                         f"download the whole model, not its weights alone")
    c = json.loads(at.read_text())
    if c.get("model_type") not in types:
        raise SystemExit(f"{at}: expected model_type {' or '.join(types)}, found {c.get('model_type')!r}: take the recipe of that family (docs/encoders.md)")
    return c


def front(folder, c, rate):
    """[encoder.input] of a network that reads samples through a stack of convolutions."""
    at = Path(folder) / "preprocessor_config.json"
    if not at.is_file():
        raise SystemExit(f"{at}: expected the file that says whether samples are normalised (do_normalize), found none: download it beside config.json")
    p = json.loads(at.read_text())
    if p.get("sampling_rate") != rate:
        raise SystemExit(f"{at}: expected sampling_rate {rate}, found {p.get('sampling_rate')}")
    field, hop = 1, 1
    for k, s in zip(c["conv_kernel"], c["conv_stride"]):
        field, hop = field + (k - 1) * hop, hop * s
    return {"kind": "waveform", "sample_rate": rate, "normalise": bool(p.get("do_normalize", True)), "receptive_field": field, "hop": hop}


def licence(folder, given):
    """The flag, else what the front matter of README.md says."""
    at = Path(folder) / "README.md"
    lines = at.read_text(encoding="utf-8", errors="replace").splitlines() if at.is_file() else []
    if not given and lines[:1] == ["---"]:
        for line in lines[1:]:
            if line.strip() == "---":
                break
            key, _, value = line.partition(":")
            if key.strip() == "license" and value.strip() and value.strip() not in ("other", "unknown"):
                given = value.strip().strip("\"'")
    if not given:
        raise SystemExit(f"{at} names no licence: look at the model's page and give it as --licence NAME ({LICENCES})")
    return given


def about(a, what, data):
    """The manifest's first lines; a.checkpoint may be a file."""
    folder = a.checkpoint if a.checkpoint.is_dir() else a.checkpoint.parent
    return {"name": a.name or a.out.resolve().name, "version": "1.0.0", "licence": licence(folder, a.licence),
            "description": f"{what}: all hidden states, from the user's checkpoint {a.checkpoint.name}", "data": data}


def load(kind, folder, c):
    """A transformers model in float32 with all its weights, or an explanation. No code of the folder is run."""
    net, told = kind.from_pretrained(folder, config=c, local_files_only=True, trust_remote_code=False, output_loading_info=True,
                                     attn_implementation="eager", dtype=torch.float32)
    missing = sorted(k for k in told["missing_keys"] if k != "masked_spec_embed")
    if missing:
        raise SystemExit(f"{folder}: expected weights of {kind.__name__}, {len(missing)} are missing, the first is {missing[0]}: "
                         f"the download is incomplete or the configuration is another model's")
    return net.eval()
