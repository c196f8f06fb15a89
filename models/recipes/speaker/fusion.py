"""Calibrates both heads together on dev trials of target, non-target and spoof, for one decision (src/task/fusion.rs).

Targets and non-targets are the dev trials; spoofs are clones of the dev speakers (clones.py) and, as half of the class, files of the dev systems: those
forge nobody here, so they take the speaker score of a clone each, as one that sounds right; real files of the same pages join the targets alike.
The fused ratio is `-ln(1/2 e^-(a s + b) + 1/2 e^-(c g + d))`; its log loss is the least with targets, non-targets and spoofs weighted 1/2, 1/4, 1/4.
"""
import numpy as np


def fused(p, s, g):
    return np.log(2) - np.logaddexp(-(p[0] * s + p[1]), -(p[2] * g + p[3]))


def loss(p, sets):
    total = 0.0
    for s, g, sign, weight in sets:
        total += weight * np.logaddexp(0, -sign * fused(p, s, g)).mean()
    return total + 1e-3 * ((p[0] - 1) ** 2 + (p[2] - 1) ** 2)


def fit(targets, others, clones, pages, systems, seed=4):
    """Pairs (speaker llr, genuine llr) of targets, non-targets and clones; genuine llrs of real pages and of systems."""
    from scipy.optimize import minimize

    rng = np.random.default_rng(seed)
    like = lambda of, n: of[0][rng.integers(len(of[0]), size=n)]
    sets = [(*targets, 1, 0.25), (like(targets, len(pages)), pages, 1, 0.25), (*others, -1, 0.25), (*clones, -1, 0.125),
            (like(clones, len(systems)), systems, -1, 0.125)]
    bounds = [(0.05, 5), (-6, 6), (0.05, 5), (-6, 6)]
    found = minimize(loss, np.array([1.0, 0, 1.0, 0]), args=(sets,), bounds=bounds)
    p = [float(v) for v in found.x]
    return {"speaker": {"slope": p[0], "offset": p[1]}, "genuine": {"slope": p[2], "offset": p[3]}, "dev_loss": round(float(found.fun), 4),
            "dev_loss_as_they_are": round(float(loss(np.array([1.0, 0, 1.0, 0]), sets)), 4), "clones": len(clones[0])}
