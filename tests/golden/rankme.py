"""Golden values of src/task/health/rankme.rs: RankMe by numpy's singular values.

    python tests/golden/rankme.py        # needs numpy
"""
import numpy as np

i, j = np.arange(880, 1000)[:, None], np.arange(24)[None]
wave = np.sin((i * 24 + j) * 12.9898) * 43758.5453
z = (1 + (wave - np.floor(wave) - 0.5) / (1 + j)).astype(np.float32).astype(np.float64)


def rankme(z):
    s = np.linalg.svd(z, compute_uv=False)
    p = s / s.sum() + 1e-7
    return np.exp(-(p * np.log(p)).sum())


print(f"raw {rankme(z):.9f}, centred {rankme(z - z.mean(0)):.9f}")
