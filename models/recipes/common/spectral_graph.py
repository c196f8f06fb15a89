"""The spectral views as a graph, for a GPU, which would otherwise be sent them, ten times the audio they are made of: src/model/spectral.onnx.

    python -m models.recipes.common.spectral_graph

audio [B, N], at least three frames of 25 ms -> spectral [B, T, 1351] (docs/features.md), without an odd last frame: the head takes two together.
"""
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import torch

from . import torch_features
from .signal import test_signal

AT = Path(__file__).parents[3] / "src/model/spectral.onnx"


class Views(torch.nn.Module):
    def forward(self, audio):
        view = torch_features.spectral(audio)
        return view[:, : view.shape[1] // 2 * 2]


def main():
    clip = torch.tensor(test_signal(1.0), dtype=torch.float32)
    dynamic = {"audio": {0: "batch", 1: "samples"}, "spectral": {0: "batch", 1: "time"}}
    torch.onnx.export(Views(), (torch.stack([clip, clip.flip(0)]),), str(AT), opset_version=17, dynamo=False, input_names=["audio"], output_names=["spectral"], dynamic_axes=dynamic)
    m = onnx.load(AT)
    m.producer_name, m.producer_version = "earwitness", ""
    onnx.save(m, AT)
    session = onnxruntime.InferenceSession(str(AT), providers=["CPUExecutionProvider"])
    for seconds in (0.1, 1.5, 3.0):
        x = test_signal(seconds).astype(np.float32)
        x = np.stack([x, x[::-1], 0.01 * x])
        want, got = Views()(torch.tensor(x)).numpy(), session.run(None, {"audio": x})[0]
        assert want.shape == got.shape, got.shape
        print(f"{seconds} s: apart by at most {np.abs(want - got).max():.1e}, on average {np.abs(want - got).mean():.1e}")


if __name__ == "__main__":
    main()
