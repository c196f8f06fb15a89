"""The teacher of voices: Resemblyzer's published network (PyPI `Resemblyzer`, Apache-2.0), and the space of its discriminants.

Only the network and its mel front end are used; its silence trimming is left out.
"""
from pathlib import Path

import numpy as np
import torch

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


def teacher_space(e, who, speech, shrink=3.0, dim=192, most=40):
    """Linear discriminants of the teacher's embeddings `e` [rows, 256] over the speakers `who` ("" = not used): rows in it [rows, dim] of
    norm 1 (zero where not `speech`), and (mean [256], axes [256, dim]). Without it the teacher's few strong directions hide the others."""
    from scipy.linalg import eigh

    mean = e[who != ""].mean(0)
    within, n, means = np.zeros((256, 256)), 0, []
    for w in sorted(set(who) - {""}):
        d = e[who == w][:most]
        if len(d) > 1:
            within += (d - d.mean(0)).T @ (d - d.mean(0))
            n += len(d) - 1
            means.append(d.mean(0))
    within /= n
    _, u = eigh(np.cov(np.array(means).T), within + shrink * np.trace(within) / 256 * np.eye(256))
    u = u[:, ::-1][:, :dim]
    y = (e - mean) @ u
    y /= np.linalg.norm(y, axis=1, keepdims=True) + 1e-9
    return np.where(speech[:, None], y, 0).astype(np.float32), (mean.astype(np.float32), u.astype(np.float32))
