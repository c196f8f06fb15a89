"""The spoof bank: pairs of a real and a fake clip from one channel, and what a teacher hears in them, made once.

The teacher is DistillMOS (PyPI `distillmos`, MIT): a small network that was distilled from a large self-supervised one to judge how speech was
degraded. What it knows of vocoders and coders, no corpus of some minutes can teach. Its front end's output and the states of two of its layers,
reduced to 64 principal components each, stand at 50 Hz.

There are three banks: the heads do not learn from the clips that the listener learned from, for what it makes of those is not what it will make of
clips to come. In the listener's, real speech beside a system's is of demo pages only, so that it hears more of their kind. The third, `installed_bank`, has pairs by
the vocoders and engines of installed.py.
Files in `<work>/<bank>`: `clips.i16` [clips, 48000] (real and fake in turn); the listener's `states.f16` [clips, 150, 192].
"""
import sys
import types
from multiprocessing import get_context
from pathlib import Path

import numpy as np
import torch

from ..common.augment import Augmenter
from ..common.corpus import arguments, to_i16
from .data import Installed, SpoofData
from .originals import joined

N, FRAMES, KEEP = 48000, 150, 64
# How pairs are made, and the first seed of the bank's. No seed is in two: most pairs would be the same.
BANKS = {"spoof_bank": (SpoofData, 0), "listener_bank": (lambda c, work: SpoofData(c, work, libri=False), 30_000), "installed_bank": (Installed, 60_000)}
LAYERS = (3, 6)


class Teacher:
    """DistillMOS on clips of 3 s: [B, 48000] -> front end [B, 150, 1024] and layers 4 and 7 [B, 150, 200]."""

    def __init__(self):
        sys.modules.setdefault("torchaudio", types.ModuleType("torchaudio"))  # it is imported for files only, which are not read here
        import distillmos.sqa as sqa

        self.compress = sqa._complex_compressed
        self.net = sqa.ConvTransformerSQAModel(segmenting_in_forward=False).eval()
        self.wrap = self.net.transformer_pool_attn.transformer
        position = self.wrap.position_encoding
        position.pe = position.pe[:, :FRAMES]
        self.layers = {}
        for k in LAYERS:
            self.wrap.transformer_encoder.layers[k].register_forward_hook(lambda m, i, o, k=k: self.layers.__setitem__(k, o))

    @torch.no_grad()
    def __call__(self, x):
        x = x / (x.abs().amax(1, keepdim=True) + 1e-8)
        with torch.autocast("cpu", dtype=torch.bfloat16):
            front = self.net.cnn(x).float()
        self.net.transformer_pool_attn(front.transpose(1, 2))
        front = self.net.transformer_pool_attn.norm_input(front).transpose(1, 2)
        return [front] + [self.layers[k].float() for k in LAYERS]


def basis(t, clips):
    """Mean and axes of each state: whitened together, to unit mean variance."""
    parts = [t(clips[i : i + 16]) for i in range(0, len(clips), 16)]
    out = []
    for k in range(1 + len(LAYERS)):
        h = torch.cat([p[k] for p in parts]).flatten(0, 1)[::2]
        mean = h.mean(0)
        u, s, v = torch.linalg.svd(h - mean, full_matrices=False)
        print("state", k, "kept", round(float((s[:KEEP] ** 2).sum() / (s**2).sum()), 3), flush=True)
        out.append((mean, v[:KEEP].T / (s[:KEEP].square().mean() / len(h)).sqrt()))
    return out


_C = {}


def _start(args, name):
    torch.set_num_threads(1)
    c = joined(args)
    _C.update(aug=Augmenter(c), data=BANKS[name][0](c, args.work))


def _pair(seed):
    """A pair of clips, int16. Levels do not matter to the features; int16 would spoil quiet clips, so all are loud."""
    v = _C["data"].clips(np.random.default_rng([31, seed]), N, _C["aug"])
    return np.stack([to_i16(x / (np.abs(x).max() + 1e-9) * 0.7) for x in v])


def wave(clips):
    return torch.tensor(np.asarray(clips, np.float32) / 32768)


def draw(a, name, pairs):
    """The bank's clips, [2 * pairs, N]."""
    folder, first = Path(a.work) / name, BANKS[name][1]
    folder.mkdir(exist_ok=True)
    at = folder / "clips.i16"
    if not at.exists():
        with get_context("spawn").Pool(a.threads, _start, (a, name)) as pool, open(folder / "clips.part", "wb") as out:
            for i, pair in enumerate(pool.imap(_pair, range(first, first + pairs), chunksize=16)):
                pair.tofile(out)
                if i % 500 == 0:
                    print("pairs", i, flush=True)
        (folder / "clips.part").rename(at)
    return np.memmap(at, np.int16, "r").reshape(-1, N)


def main():
    a = arguments(__doc__, threads=2, pairs=24_000, heard=6_000, installed=17_000, banks=",".join(BANKS))  # without the listener's, where that stays as it is
    counts = {"spoof_bank": a.pairs, "listener_bank": a.heard, "installed_bank": a.installed}
    if (most := max(counts.values())) > 30_000:
        raise SystemExit(f"expected at most 30000 pairs of a bank, found {most}; from there on seeds are another bank's")
    drawn = {name: draw(a, name, counts[name]) for name in a.banks.split(",")}
    clips, folder = drawn.get("listener_bank"), Path(a.work) / "listener_bank"
    if clips is None or (folder / "states.f16").exists():
        return
    torch.set_num_threads(a.threads)
    t = Teacher()
    axes = basis(t, wave(clips[:: max(1, len(clips) // 256)]))
    with open(folder / "states.part", "wb") as out:
        for i in range(0, len(clips), 16):
            h = t(wave(clips[i : i + 16]))
            torch.cat([(s - mean) @ v for s, (mean, v) in zip(h, axes)], 2).half().numpy().tofile(out)
            if i % 1600 == 0:
                print("states", i, len(clips), flush=True)
    (folder / "states.part").rename(folder / "states.f16")


if __name__ == "__main__":
    main()
