"""Projected gradient through the pack's models: features, encoder and head, from the samples on."""
import tomllib
from pathlib import Path

import numpy as np
import onnxruntime
import torch
import torch.nn.functional as F

from ..common import torch_features
from ..speaker import durations
from .graph import Graph

LENGTH = 48000
ENROLLED = 9.0
MARGIN = 0.85  # nats above even odds: the program's default decision accepts from there on
PARITY = 1e-4


class Target:
    """A pack whose scores can be differentiated."""

    def __init__(self, folder="models/default"):
        folder = Path(folder)
        self.manifest = tomllib.loads((folder / "pack.toml").read_text())
        self.encoder, self.speaker, self.spoof = (Graph(folder / f"{n}.onnx") for n in ("encoder", "speaker", "spoof"))
        cohort = self.manifest["speaker"].get("cohort")
        self.top, self.cohort = None, None
        if cohort and "top" in cohort:
            voices = torch.tensor(np.fromfile(folder / cohort["file"], "<f4").reshape(cohort["voices"], -1))
            self.top, self.cohort = cohort["top"], F.normalize(voices, dim=1)
        self.check(folder)

    def check(self, folder):
        """That PyTorch says what ONNX Runtime says."""
        rng = np.random.default_rng(0)
        x = torch.tensor(rng.normal(size=(2, LENGTH)).astype(np.float32) * 0.1)
        run = lambda n, feed: onnxruntime.InferenceSession(str(folder / f"{n}.onnx"), providers=["CPUExecutionProvider"]).run(None, feed)[0]
        with torch.no_grad():
            fbank, view = torch_features.fbank(x), torch_features.spectral(x)
            hidden = self.encoder(fbank=fbank)["hidden"]
            pairs = [(hidden, run("encoder", {"fbank": fbank.numpy()})), (self.speaker(hidden=hidden)["embedding"], run("speaker", {"hidden": hidden.numpy()})),
                     (self.spoof(hidden=hidden, spectral=view)["score"], run("spoof", {"hidden": hidden.numpy(), "spectral": view.numpy()}))]
        worst = max(float((np.abs(a.numpy() - b) / np.maximum(1, np.abs(b))).max()) for a, b in pairs)
        if worst > PARITY:
            raise SystemExit(f"PyTorch is {worst:.1e} from ONNX Runtime, expected at most {PARITY:.0e}")
        print(f"PyTorch is {worst:.1e} from ONNX Runtime at most", flush=True)

    def llr(self, head, score):
        c = self.manifest[head]["calibration"]
        return c["slope"] * score + c["offset"]

    def embed(self, x):
        return self.speaker(hidden=self.encoder(fbank=torch_features.fbank(x))["hidden"])["embedding"]

    def voice(self, x, person):
        """Log-likelihood ratio of the person, [B], as the program computes it of 3 s against an enrolment of `ENROLLED` seconds."""
        e, c = self.embed(x), self.manifest["speaker"]["calibration"]
        score = (e * person).sum(1)
        if self.cohort is not None:
            in_deviations = lambda v: (score - (best := (v @ self.cohort.T).topk(self.top, 1).values).mean(1)) / best.std(1, correction=0)
            score = 0.5 * (in_deviations(e) + in_deviations(person.expand_as(e)))
        slope, offset = c["slope"], c["offset"]
        if d := c.get("duration"):
            q = float(np.clip(durations.quality(LENGTH / 16000, ENROLLED), d["least"], d["most"]))
            slope, offset = slope + d["slope"] * q, offset + d["offset"] * q
        return slope * score + offset

    def genuine(self, x):
        """Log-likelihood ratio of a genuine voice, [B]."""
        hidden = self.encoder(fbank=torch_features.fbank(x))["hidden"]
        return self.llr("spoof", self.spoof(hidden=hidden, spectral=torch_features.spectral(x))["score"])


def attack(x, score, snr, steps, seed=0):
    """Clips [B, N] with the noise at `snr` dB that raises `score` most: steps by the sign of the gradient, back onto the ball of that energy."""
    radius = x.norm(dim=1, keepdim=True) * 10 ** (-snr / 20)
    step = 2.5 * radius / steps / x.shape[1] ** 0.5
    g = torch.Generator().manual_seed(seed)
    noise = torch.randn(x.shape, generator=g)
    noise = 0.1 * radius * noise / noise.norm(dim=1, keepdim=True)
    for _ in range(steps):
        noise.requires_grad_(True)
        (grad,) = torch.autograd.grad(score(x + noise).sum(), noise)
        noise = noise.detach() + step * torch.nan_to_num(grad).sign()
        noise = noise * (radius / noise.norm(dim=1, keepdim=True)).clamp_max(1.0)
    return (x + noise).clamp(-1, 1).detach()


def as_heard(x):
    """After 16 bits."""
    return torch.round(x * 32768.0).clamp(-32768, 32767) / 32768.0


def template(target, clips):
    with torch.no_grad():
        return F.normalize(target.embed(torch.stack(clips)).mean(0), dim=0)
