"""Metrics: EER, minDCF, logistic calibration, and bootstrap intervals that resample speakers (or files), not trials."""
import numpy as np


def errors(scores, labels, weights=None):
    """False reject and false accept rates at each threshold, those of equal scores as one step (the order of a list must not count)."""
    scores, labels = np.asarray(scores, float), np.asarray(labels, int)
    w = np.ones(len(scores)) if weights is None else np.asarray(weights, float)
    o = np.argsort(scores, kind="stable")
    last = np.append(np.diff(scores[o]) > 0, True)
    rate = lambda v: np.concatenate([[0], np.cumsum(v[o])[last]]) / max(1e-9, v.sum())
    return rate(w * labels), 1 - rate(w * (1 - labels))


def eer(scores, labels, weights=None):
    """Equal error rate in percent; `labels` 1 = target (or bona fide)."""
    fr, fa = errors(scores, labels, weights)
    i = np.argmin(np.abs(fr - fa))
    return 100 * (fr[i] + fa[i]) / 2


def min_dcf(scores, labels, prior=0.05):
    fr, fa = errors(scores, labels)
    return float((prior * fr + (1 - prior) * fa).min() / min(prior, 1 - prior))


def calibrate(scores, labels, weights=None, steps=200):
    """Logistic regression with both classes weighted alike (flat prior): llr = slope * score + offset."""
    s, y = np.asarray(scores, float), np.asarray(labels, float)
    w = np.ones_like(s) if weights is None else np.asarray(weights, float)
    w = 0.5 * w / np.maximum(np.where(y == 1, w[y == 1].sum(), w[y == 0].sum()), 1e-9)
    mu, sd = s.mean(), s.std() + 1e-9
    x = np.stack([(s - mu) / sd, np.ones_like(s)], 1)
    b = np.zeros(2)
    for _ in range(steps):  # Newton, a little ridge
        p = 1 / (1 + np.exp(-x @ b))
        g = x.T @ (w * (p - y)) + 1e-4 * np.array([b[0], 0])
        h = (x * (w * p * (1 - p))[:, None]).T @ x + 1e-4 * np.eye(2)
        d = np.linalg.solve(h, g)
        b -= d
        if np.abs(d).max() < 1e-9:
            break
    return float(b[0] / sd), float(b[1] - b[0] * mu / sd)


def calibrate_unseen(scores, labels, groups):
    """The same for trials of groups (systems, sources) that nobody has heard: slope and offset, and what is said of each trial by a fit without its group.

    A group counts by the root of its trials: those of one are much alike. What fits say of the group that they were made without is fitted once more, and that line
    put behind the one of all. With few groups that says rather too little, since a fit without a group leans away from it."""
    s, y, g = np.asarray(scores, float), np.asarray(labels), np.asarray(groups)
    of, count = np.unique(np.stack([g.astype(str), y.astype(str)]), axis=1, return_inverse=True, return_counts=True)[1:]
    of, w = of.ravel(), count[of.ravel()] ** -0.5
    told = np.zeros_like(s)
    if min(len(set(of[y == label])) for label in (0, 1)) < 2:
        raise ValueError("expected two groups of each class at least, for each is left out once")
    for k in range(len(count)):
        kept = of != k
        slope, offset = calibrate(s[kept], y[kept], w[kept])
        told[~kept] = slope * s[~kept] + offset
    (slope, offset), (less, shift) = calibrate(s, y, w), calibrate(told, y, w)
    return less * slope, less * offset + shift, less * told + shift


def cllr(llr, labels):
    llr, y = np.asarray(llr), np.asarray(labels)
    return float((np.logaddexp(0, -llr[y == 1]).mean() + np.logaddexp(0, llr[y == 0]).mean()) / (2 * np.log(2)))


def bootstrap(scores, labels, left, right=None, rounds=200, seed=0):
    """95 % interval of the EER; `left`/`right` name the unit (speaker, file) on each side of a trial."""
    names = sorted(set(left) | set(right if right is not None else []))
    ix = {n: i for i, n in enumerate(names)}
    a = np.array([ix[n] for n in left])
    b = None if right is None else np.array([ix[n] for n in right])
    rng, out = np.random.default_rng(seed), []
    for _ in range(rounds):
        c = np.bincount(rng.integers(0, len(names), len(names)), minlength=len(names)).astype(float)
        w = c[a] if b is None else np.where(a == b, c[a], c[a] * c[b])
        lab = np.asarray(labels)
        if (w * lab).sum() > 0 and (w * (1 - lab)).sum() > 0:
            out.append(eer(scores, labels, w))
    return [round(float(v), 2) for v in np.percentile(out, [2.5, 97.5])]
