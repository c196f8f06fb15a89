"""Checks that the PyTorch features equal the NumPy reference."""
import numpy as np
import torch

from . import features as ref
from . import torch_features as fast
from .signal import test_signal


def main():
    x = test_signal(3.0)
    b = torch.tensor(np.stack([x, x[::-1].copy()]))
    for name in ("fbank", "synchrony", "spectral"):
        want, got = getattr(ref, name)(x), getattr(fast, name)(b)[0].numpy()
        worst = np.abs(want - got).max()
        print(f"{name} {got.shape}: worst difference {worst:.2e}")
        assert got.shape == want.shape and worst < 5e-3, name


if __name__ == "__main__":
    main()
