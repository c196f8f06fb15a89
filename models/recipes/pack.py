"""The exported pack in Python: the same ONNX files, features by the reference."""
import time
from pathlib import Path

import numpy as np
import torch

from .common import torch_features
from .export import MODELS, known_input, session


class Pack:
    def __init__(self, folder="models/default", int8=False):
        torch.set_num_threads(1)
        self.folder = folder
        at = Path(folder) / "encoder.int8.onnx"
        self.int8 = int8 and at.exists()
        self.s = {n: session(Path(folder) / f"{n}.onnx") for n in MODELS if (Path(folder) / f"{n}.onnx").exists()}
        if self.int8:
            self.s["encoder"] = session(at)

    def fbank(self, clips):
        return torch_features.fbank(torch.tensor(np.stack(clips))).numpy()

    def hidden(self, clips):
        return self.s["encoder"].run(None, {"fbank": self.fbank(clips)})[0]

    def embed(self, clips):
        return self.s["speaker"].run(None, {"hidden": self.hidden(clips)})[0]

    def spectral(self, clips):
        return torch_features.spectral(torch.tensor(np.stack(clips))).numpy()

    def spoof(self, clips):
        return self.s["spoof"].run(None, {"hidden": self.hidden(clips), "spectral": self.spectral(clips)})[0]

    def sound(self, clips):
        return self.s["sound"].run(None, {"hidden": self.hidden(clips)})[0]

    def vad(self, clips):
        return self.s["vad"].run(None, {"fbank": self.fbank(clips)})[0]

    def speed(self, rounds=15):
        """Median milliseconds of each model for one 3 s window on one thread."""
        out = {}
        for name, s in self.s.items():
            feed = {i.name: known_input(i.name) for i in s.get_inputs()}
            took = []
            for _ in range(rounds):
                t = time.perf_counter()
                s.run(None, feed)
                took.append(1000 * (time.perf_counter() - t))
            out[name] = round(float(np.median(took)), 2)
        return out
