"""The teacher: one Resemblyzer utterance embedding (PyPI `Resemblyzer`, Apache-2.0) for each speech clip, made once.

Only the published network and its mel front end are used; its silence trimming is left out. The three speeds 1.0, 0.9 and 1.1 are
embedded for training clips, because a changed speed is a new pseudo-speaker.
"""
from pathlib import Path

import numpy as np
import torch

from ..common.corpus import arguments, open_corpus

SPEEDS = (1.0, 0.9, 1.1)
SPAN = 160


class Teacher:
    def __init__(self):
        from importlib.util import find_spec

        from librosa.filters import mel

        self.lstm = torch.nn.LSTM(40, 256, 3, batch_first=True)
        self.linear = torch.nn.Linear(256, 256)
        state = torch.load(Path(find_spec("resemblyzer").submodule_search_locations[0]) / "pretrained.pt", map_location="cpu")["model_state"]
        for name, m in (("lstm", self.lstm), ("linear", self.linear)):
            m.load_state_dict({k[len(name) + 1 :]: v for k, v in state.items() if k.startswith(name + ".")})
        self.mel = torch.tensor(mel(sr=16000, n_fft=400, n_mels=40), dtype=torch.float32)

    def mels(self, x):
        x = torch.as_tensor(x)
        rms = x.square().mean().sqrt().clamp_min(1e-6)
        x = x * torch.clamp(10 ** (-30 / 20) / rms, min=1.0)  # as Resemblyzer: raise to -30 dBFS, never lower
        s = torch.stft(x, 400, 160, window=torch.hann_window(400), return_complex=True, pad_mode="constant").abs().square()
        return (self.mel @ s).T

    @torch.no_grad()
    def partials(self, mels):
        _, (h, _) = self.lstm(mels)
        return torch.nn.functional.normalize(torch.relu(self.linear(h[-1])), dim=1)

    @torch.no_grad()
    def embed(self, clips, batch=64, most=6):
        """One embedding a clip: the mean of the embeddings of 1.6 s pieces (at most `most`, evenly spread)."""
        pieces, owner = [], []
        for i, x in enumerate(clips):
            m = self.mels(x)
            if len(m) < SPAN:
                m = torch.nn.functional.pad(m, (0, 0, 0, SPAN - len(m)))
            n = int(min(most, max(1, round((len(m) - SPAN) / 80) + 1)))
            for s in np.linspace(0, len(m) - SPAN, n).astype(int):
                pieces.append(m[s : s + SPAN])
                owner.append(i)
        e = torch.cat([self.partials(torch.stack(pieces[i : i + batch])) for i in range(0, len(pieces), batch)])
        out = torch.zeros(len(clips), 256).index_add_(0, torch.tensor(owner), e)
        return torch.nn.functional.normalize(out, dim=1).numpy()


def change_speed(x, speed):
    """Resampling, so that pitch and formants move too."""
    import soxr

    return x if speed == 1.0 else soxr.resample(x, 16000 * speed, 16000).astype(np.float32)


def main():
    a = arguments(__doc__)
    torch.set_num_threads(1)
    c, t = open_corpus(a), Teacher()
    rows = sorted((r for s in ("train", "unlabelled") for r in c.select(s, "speech", 0.8)), key=lambda r: r["length"])
    out = np.zeros((len(rows), len(SPEEDS), 256), np.float32)
    for j, speed in enumerate(SPEEDS):
        for i in range(0, len(rows), 32):
            clips = [change_speed(c.audio(r)[: 16000 * 12], speed) for r in rows[i : i + 32]]
            out[i : i + 32, j] = t.embed(clips, most=4 if j == 0 else 2)
            if i % 800 == 0:
                print(speed, i, len(rows), flush=True)
        part = Path(a.work) / "teacher.part.npz"
        np.savez(part, paths=np.array([r["path"] for r in rows]), e=out[:, : j + 1])
        part.rename(Path(a.work) / "teacher.npz")  # training may start with the speeds made so far


if __name__ == "__main__":
    main()
