"""The bank: log-mel of all training audio in four variants, with what the teacher hears in it, made once so that training only reads.

Variants of speech: as it is, at 0.9 and 1.1 of its speed (new pseudo-speakers), and through a bad channel (coder, telephone, room). Sounds and
music are kept as they are. The teacher (Resemblyzer's LSTM, Apache-2.0) runs over windows of 1.6 s each 0.8 s; its three layers' states, reduced
to 64 principal components each, stand at 50 Hz beside the log-mel, and the mean of the windows' embeddings is the clip's. The bad channel keeps
the clean clip's teacher: the student has to hear through it.

Files in `<work>/bank`: `fbank.f16` [frames, 80], `states.f16` [frames/2, 192], `index.npz` (paths, variant, start in frames, frames, teacher
embedding [256], zero where there is none).
"""
import os
from multiprocessing import get_context
from pathlib import Path

import numpy as np
import torch

from ..common import augment, torch_features
from ..common.corpus import arguments, open_corpus
from ..speaker.teacher import SPAN, SPEEDS, Teacher, change_speed

KEEP = 64
MOST = 12 * 16000
CODED = len(SPEEDS)  # the variant after the speeds


class States(Teacher):
    """The teacher with the states of all layers: three LSTMs of one layer instead of one of three."""

    def __init__(self):
        super().__init__()
        self.layers = []
        for k in range(3):
            one = torch.nn.LSTM(40 if k == 0 else 256, 256, batch_first=True)
            one.load_state_dict({n.replace(f"l{k}", "l0"): v for n, v in self.lstm.state_dict().items() if n.endswith(f"l{k}")})
            self.layers.append(one)

    @torch.no_grad()
    def windows(self, mels):
        """[n, 160, 40] -> states [n, 160, 3, 256], embeddings [n, 256]."""
        out, x = [], mels
        for lstm in self.layers:
            x = lstm(x)[0]
            out.append(x)
        return torch.stack(out, 2), torch.nn.functional.normalize(torch.relu(self.linear(x[:, -1])), dim=1)

    def clip(self, x):
        """States of one clip at 50 Hz [T/2, 3, 256] (each frame has 0.8 s behind it where the clip has) and its embedding."""
        m = self.mels(x)
        t = len(m)
        at = list(range(0, max(1, t - SPAN + 1), SPAN // 2))
        if at[-1] + SPAN < t:
            at.append(t - SPAN)
        m = torch.nn.functional.pad(m, (0, 0, 0, max(0, SPAN - t)))
        h, e = self.windows(torch.stack([m[s : s + SPAN] for s in at]))
        out = torch.zeros(max(t, SPAN), 3, 256)
        for s, v in zip(at, h):
            lo = 0 if s == 0 else SPAN // 2
            out[s + lo : s + SPAN] = v[lo:]
        return out[1:t:2], torch.nn.functional.normalize(e.mean(0), dim=0)


def bad_channel(x, rng):
    """A coder, a telephone or a room, as the wire has it."""
    u = rng.random()
    x = augment.shape(x, rng, p_reverb=0.6, p_eq=0.6, p_band=0.1)
    if u < 0.35:
        x = augment.coded(x, rng)
    elif u < 0.6:
        x = augment.coded(x, rng, "MP3")
    elif u < 0.85:  # a telephone call: 300 to 3400 Hz, G.711 at 8 kHz
        x = augment.mu_law(change_rate(change_rate(augment.band(x, 300, 3400), 16000, 8000), 8000, 16000)[: len(x)])
    return np.asarray(x, np.float32)


def change_rate(x, a, b):
    import soxr

    return soxr.resample(x, a, b)


def select(c):
    speech = [r for s in ("train", "unlabelled") for r in c.select(s, "speech", 0.8)]
    return speech, [r for k in ("sound", "music") for r in c.select("train", k, 0.3)]


def frames_of(n):
    return 1 + (n - 400) // 160


@torch.no_grad()
def basis(c, t, rows, clips=400):
    """Mean, principal axes and scale of each layer's states: [3, 256], [3, 256, KEEP] (whitened together: unit mean variance)."""
    rng = np.random.default_rng(61)
    h = torch.cat([t.clip(c.audio(rows[i])[:MOST])[0] for i in rng.permutation(len(rows))[:clips]])
    mean, axes = h.mean(0), []
    for k in range(3):
        u, s, v = torch.linalg.svd(h[:, k] - mean[k], full_matrices=False)
        share = (s[:KEEP] ** 2).sum() / (s**2).sum()
        print("layer", k + 1, "kept", round(float(share), 3), flush=True)
        axes.append(v[:KEEP].T / (s[:KEEP].square().mean() / len(h)).sqrt())
    return mean, torch.stack(axes)


def _shard(args):
    a, k, n, mean, axes = args
    torch.set_num_threads(1)
    c, t, folder = open_corpus(a), States(), Path(a.work) / "bank"
    speech, other = select(c)
    out = {"path": [], "variant": [], "frames": [], "e": []}
    with open(folder / f"{k}.fbank", "wb") as fb, open(folder / f"{k}.states", "wb") as st:

        def put(row, variant, x, states, e):
            f = torch_features.fbank(torch.tensor(x)[None])[0]
            t50 = (len(f) + 1) // 2
            f.half().numpy().tofile(fb)
            s = np.zeros((t50, 3 * KEEP), np.float16)
            m = min(t50, len(states))
            s[:m] = states[:m]
            s[m:] = states[m - 1] if m else 0
            s.tofile(st)
            for name, v in (("path", row["path"]), ("variant", variant), ("frames", len(f)), ("e", e)):
                out[name].append(v)

        for i, r in enumerate(speech[k::n]):
            raw, first = c.audio(r)[:MOST], None
            for j, speed in enumerate(SPEEDS):
                x = change_speed(raw, speed)
                h, e = t.clip(x)
                s = torch.einsum("tld,ldk->tlk", h - mean, axes).reshape(len(h), -1).half().numpy()
                first = first or (s, e.numpy())
                put(r, j, x, s, e.numpy())
            put(r, CODED, bad_channel(raw, np.random.default_rng([62, k, i])), *first)
            if i % 200 == 0:
                print("bank", k, i, len(speech) // n, flush=True)
        none = np.zeros((0, 3 * KEEP), np.float16), np.zeros(256, np.float32)
        for r in other[k::n]:
            put(r, 0, c.audio(r)[: 2 * MOST], *none)
    return out


def main():
    a = arguments(__doc__, threads=2)
    c, folder = open_corpus(a), Path(a.work) / "bank"
    if (folder / "index.npz").exists():
        return
    folder.mkdir(parents=True, exist_ok=True)
    torch.set_num_threads(a.threads)
    mean, axes = basis(c, States(), select(c)[0])
    with get_context("spawn").Pool(a.threads) as pool:
        shards = pool.map(_shard, [(a, k, a.threads, mean, axes) for k in range(a.threads)])
    for kind, name in (("fbank", "fbank.f16"), ("states", "states.f16")):
        with open(folder / name, "wb") as out:
            for k in range(a.threads):
                out.write((folder / f"{k}.{kind}").read_bytes())
                os.remove(folder / f"{k}.{kind}")
    col = lambda name: np.concatenate([np.array(s[name]) for s in shards])
    frames = col("frames")
    np.savez(folder / "index.npz", path=col("path"), variant=col("variant"), frames=frames, start=np.cumsum(frames) - frames,
             half=np.cumsum((frames + 1) // 2) - (frames + 1) // 2, e=col("e").astype(np.float32))


if __name__ == "__main__":
    main()
