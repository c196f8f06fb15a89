"""Probes: small networks on the hidden states that answer one question, e.g. a clip's genre, its tags or its tempo; one [probes.<name>] table each.

A probe weighs the layers (softmax of learned weights; a large weight chooses one), takes the mean over time, and is linear or has one hidden layer.
Softmax (`choice`) and sigmoid (`tags`) are inside the graph; `value` is a regression.
"""
import re

import torch
from torch import nn

from . import pack

KINDS = {"choice": lambda z: torch.softmax(z, -1), "tags": torch.sigmoid, "value": lambda z: z}


class Probe(nn.Module):
    """hidden [B, layers, N, dim] -> output [B, labels]."""

    def __init__(self, kind, layers, dim, labels, wide=0):
        super().__init__()
        self.kind, self.weights = kind, nn.Parameter(torch.zeros(layers))
        self.net = nn.Sequential(nn.Linear(dim, wide), nn.ReLU(), nn.Linear(wide, labels)) if wide else nn.Linear(dim, labels)

    def logits(self, hidden):
        """What is trained on: before softmax or sigmoid."""
        x = (hidden.mean(2) * torch.softmax(self.weights, 0)[None, :, None]).sum(1)
        return self.net(x)

    def forward(self, hidden):
        return KINDS[self.kind](self.logits(hidden))


def is_name(name):
    return re.fullmatch(r"[a-z0-9_]{1,64}", name) is not None


def table(out, encoder, name, probe, labels):
    """Writes probe_<name>.onnx into the pack's folder and returns the manifest's table; encoder is the manifest's [encoder] as a dict."""
    if not is_name(name):
        raise ValueError(f"a probe's name has 1 to 64 of a-z, 0-9, _, found {name!r}")
    if len(set(labels)) != len(labels) or (probe.kind == "value" and len(labels) != 1):
        raise ValueError(f"probe {name}: expected labels that differ, one for a value, found {labels}")
    h, _ = pack.head(probe.eval(), out / f"probe_{name}.onnx", pack.known_hidden(encoder), "output", encoder.get("input", {}).get("tokens", 1))
    told = {"file": h["file"], "sha256": h["sha256"], "kind": probe.kind, "labels": list(labels), "known_answer": h["known_answer"]}
    return "\n" + pack.table(f"probes.{name}", told)
