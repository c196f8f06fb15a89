"""Writes tests/golden/eval/: seeded lists with given scores, and what `earwitness eval --given --json` has to say about them.

An independent reference: thresholds are tried one by one over whole arrays, the isotonic fit, the quantiles and the normal deviates are
SciPy's and NumPy's. Only SplitMix64 and the order in which units are numbered (first appearance) are those that docs/eval.md states.

    python tests/golden/eval_reference.py
"""
import json
from pathlib import Path

import numpy as np
from scipy.optimize import isotonic_regression
from scipy.stats import norm

HERE = Path(__file__).parent / "eval"
ROUNDS, SEED = 200, 0


def rates(s, y, w=None):
    """Threshold, miss and false-accept rate at each distinct score and above all of them."""
    w = np.ones(len(s)) if w is None else w
    t = np.append(np.unique(s), np.inf)
    below = s[None, :] < t[:, None]
    pos, neg = w * y, w * (1 - y)
    return t, (below * pos).sum(1) / pos.sum(), 1 - (below * neg).sum(1) / neg.sum()


def eer(s, y, w=None):
    _, miss, fa = rates(s, y, w)
    i = np.abs(miss - fa).argmin()
    return (miss[i] + fa[i]) / 2


class SplitMix:
    def __init__(self, seed):
        self.state = seed

    def below(self, n):
        m = 2**64 - 1
        self.state = (self.state + 0x9E3779B97F4A7C15) & m
        z = ((self.state ^ (self.state >> 30)) * 0xBF58476D1CE4E5B9) & m
        z = ((z ^ (z >> 27)) * 0x94D049BB133111EB) & m
        return ((z ^ (z >> 31)) * n) >> 64


def interval(sides, measure):
    """`sides`: a tuple of one or two unit names for each trial; `measure(weights)`: a rate, or None."""
    number = {}
    for side in sides:
        for unit in side:
            number.setdefault(unit, len(number))
    ix = np.array([[number[u] for u in side] for side in sides])
    draw, found = SplitMix(SEED), []
    for _ in range(ROUNDS):
        c = np.bincount([draw.below(len(number)) for _ in number], minlength=len(number)).astype(float)
        w = c[ix[:, 0]] if ix.shape[1] == 1 else np.where(ix[:, 0] == ix[:, 1], c[ix[:, 0]], c[ix[:, 0]] * c[ix[:, 1]])
        rate = measure(w)
        if rate is not None:
            found.append(rate)
    return np.percentile(found, [2.5, 97.5])


def dcf(prior, miss, fa):
    return (prior * miss + (1 - prior) * fa) / min(prior, 1 - prior)


def cllr(s, y):
    return (np.logaddexp(0, -s[y == 1]).mean() + np.logaddexp(0, s[y == 0]).mean()) / (2 * np.log(2))


def min_cllr(s, y):
    values, at = np.unique(s, return_inverse=True)
    count = np.bincount(at).astype(float)
    p = isotonic_regression(np.bincount(at, y) / count, weights=count).x[at]
    with np.errstate(divide="ignore"):
        return cllr(np.log(p) - np.log1p(-p) - np.log(y.sum() / (1 - y).sum()), y)


def figures(s, y, sides, prior):
    if y.all() or not y.any():
        return {}
    _, miss, fa = rates(s, y)
    low, high = interval(sides, lambda w: eer(s, y, w) if (w * y).sum() > 0 and (w * (1 - y)).sum() > 0 else None)
    t = np.log((1 - prior) / prior)
    return {"positives": int(y.sum()), "negatives": int((1 - y).sum()), "eer_percent": 100 * eer(s, y), "eer_low_percent": 100 * low,
            "eer_high_percent": 100 * high, "min_dcf": dcf(prior, miss, fa).min(),
            "act_dcf": dcf(prior, (s[y == 1] < t).mean(), (s[y == 0] >= t).mean()), "cllr": cllr(s, y), "min_cllr": min_cllr(s, y)}


def pick(rows, keep):
    """Scores, labels and units of the rows (unit, unit, label, group, score) that `keep` takes."""
    kept = [r for r in rows if keep(r)]
    return np.array([r[-1] for r in kept]), np.array([int(r[2] == 1) for r in kept]), [r[:2] for r in kept]


def speaker(rng, spoofs):
    """Five-score trials of 24 speakers in two groups; group b is harder; scores rounded so that many are equal."""
    rows = []
    for n in range(360):
        group = "ab"[n % 2]
        left = int(rng.integers(12)) + 12 * (n % 2)
        label = int(rng.random() < 0.4)
        right = left if label else 12 * (n % 2) + (left + 1 + int(rng.integers(11))) % 12
        score = rng.normal((2.5, 1.5)[n % 2] * (1 if label else -1.4), 2)
        rows.append((f"s{left}", f"s{right}", label, group, round(score, 1)))
    for n in range(spoofs):
        who, system = f"s{int(rng.integers(24))}", ("vocoder", "clone")[n % 2]
        rows.append((who, who, 2, system, round(rng.normal((-1.0, 2.0)[n % 2], 2), 1)))
    return rows


def write_speaker(name, rows):
    words = ("nontarget", "target", "spoof")
    text = "".join(f"{l}/e.wav 0 {r}/t.wav {16 * i} {words[y]} {g} {l} {r} {s}\n" for i, (l, r, y, g, s) in enumerate(rows))
    (HERE / name).write_text("# path_a start_a path_b start_b label group speaker_a speaker_b score\n" + text)


def speaker_report(rows):
    people = lambda r: r[2] != 2
    groups = sorted({r[3] for r in rows if people(r)})
    return {"task": "speaker", "trials": len(rows), "unscored": 0, "cost": {"prior": 0.05, "threshold": np.log(19)},
            "overall": figures(*pick(rows, people), 0.05),
            "groups": {g: figures(*pick(rows, lambda r: people(r) and r[3] == g), 0.05) for g in groups}}


def spoofing_report(rows, priors=(0.9, 0.05, 0.05), costs=(1, 10, 20)):
    t, n, f = (np.array([r[-1] for r in rows if r[2] == k]) for k in (1, 0, 2))
    a, b, c = (p * q for p, q in zip(priors, costs))
    cost = lambda at: (a * (t < at).mean() + b * (n >= at).mean() + c * (f >= at).mean()) / min(a, b + c)
    thresholds = np.append(np.unique(np.concatenate([t, n, f])), np.inf)
    all_costs = np.array([cost(x) for x in thresholds])
    at5 = max(x for x in np.unique(t) if (t < x).mean() <= 0.05 + 1e-12)
    systems = sorted({r[3] for r in rows if r[2] == 2})
    return {"spoofs": len(f), "a_dcf_min": all_costs.min(), "a_dcf_min_threshold": thresholds[all_costs.argmin()],
            "a_dcf_actual": cost(np.log((b + c) / a)), "a_dcf_actual_threshold": np.log((b + c) / a),
            "nontargets_accepted_at_5_percent_misses": 100 * (n >= at5).mean(), "spoofs_accepted_at_5_percent_misses": 100 * (f >= at5).mean(),
            "overall": figures(*pick(rows, lambda r: r[2] != 0), 0.05),
            "groups": {g: figures(*pick(rows, lambda r: r[2] == 1 or (r[2] == 2 and r[3] == g)), 0.05) for g in systems}}


def spoof(rng):
    """Files of two sources and three systems; a unit holds about three files."""
    kinds = [("page", 1, 2.0), ("reading", 1, 4.0), ("gan", 0, -3.0), ("flow", 0, 1.0), ("copy", 0, -1.0)]
    return [(f"u{n // 3}", f"f{n}.wav", y, name, round(rng.normal(mean, 2.0), 2)) for n in range(300) for name, y, mean in [kinds[n % 5]]]


def spoof_report(rows):
    take = lambda keep: (lambda s, y, u: (s, y, [x[:1] for x in u]))(*pick(rows, keep))
    s, y, _ = take(lambda r: True)
    t = np.log(0.05 / 0.95)
    at5 = max(x for x in np.unique(s[y == 1]) if (s[y == 1] < x).mean() <= 0.05 + 1e-12)
    kinds = sorted({(r[3], r[2]) for r in rows})

    def one(name, label):
        mine = np.array([r[-1] for r in rows if r[3] == name])
        wrong = (lambda at: (mine < at).mean()) if label else (lambda at: (mine >= at).mean())
        return {**figures(*take(lambda r: r[2] != label or r[3] == name), 0.95), "errors_percent": 100 * wrong(t),
                "errors_at_5_percent_bpcer_percent": 100 * wrong(at5)}

    attacks = {n: one(n, 0) for n, l in kinds if l == 0}
    return {"task": "spoof", "trials": len(rows), "overall": figures(*take(lambda r: True), 0.95),
            "detection": {"threshold": t, "bpcer_percent": 100 * (s[y == 1] < t).mean(), "apcer_percent": 100 * (s[y == 0] >= t).mean(),
                          "apcer_worst_percent": max(a["errors_percent"] for a in attacks.values()), "threshold_at_5_percent_bpcer": at5,
                          "apcer_at_5_percent_bpcer_percent": 100 * (s[y == 0] >= at5).mean(),
                          "apcer_worst_at_5_percent_bpcer_percent": max(a["errors_at_5_percent_bpcer_percent"] for a in attacks.values())},
            "bona_fide": {n: one(n, 1) for n, l in kinds if l == 1}, "attacks": attacks}


def sound(rng):
    """Segments of 40 files; a class is found as another one now and then, and as one that is never true."""
    labels = ["speech", "music", "rain", "dog_bark"]
    rows = []
    for n in range(160):
        truth = int(rng.integers(4))
        found = truth if rng.random() < 0.75 else int(rng.integers(5))
        rows.append((f"f{n // 4}.wav", labels[truth], [*labels, "never"][found]))
    return rows


def sound_report(rows):
    names = sorted({n for r in rows for n in r[1:]})
    truth, found = (np.array([names.index(r[k]) for r in rows]) for k in (1, 2))

    def measures(w):
        c = np.array([[(w * ((truth == t) & (found == f))).sum() for f in range(len(names))] for t in range(len(names))])
        share = lambda a, b: np.divide(a, b, out=np.zeros(len(a)), where=b > 0)
        d, of, as_ = c.diagonal(), c.sum(1), c.sum(0)
        f1 = share(2 * d, of + as_)
        return c, d.sum() / c.sum(), share(d, as_), share(d, of), f1, f1[of > 0].mean()

    c, accuracy, precision, recall, f1, macro = measures(np.ones(len(rows)))
    sides = [r[:1] for r in rows]
    (al, ah), (ml, mh) = (interval(sides, lambda w, k=k: measures(w)[k]) for k in (1, 5))
    return {"task": "sound", "trials": len(rows), "accuracy": accuracy, "accuracy_low": al, "accuracy_high": ah, "macro_f1": macro,
            "macro_f1_low": ml, "macro_f1_high": mh,
            "classes": {n: {"trials": c[i].sum(), "precision": precision[i], "recall": recall[i], "f1": f1[i]} for i, n in enumerate(names)},
            "confusion": {n: {m: c[i, j] for j, m in enumerate(names) if c[i, j]} for i, n in enumerate(names)}}


def det(rows):
    s, y, _ = pick(rows, lambda r: True)
    _, miss, fa = rates(s, y)
    inside = (miss > 0) & (miss < 1) & (fa > 0) & (fa < 1)
    return [list(p) for p in zip(norm.ppf(fa[inside]), norm.ppf(miss[inside]))]


def main():
    HERE.mkdir(exist_ok=True)
    rng = np.random.default_rng(20)
    people, three, files = speaker(rng, 0), speaker(rng, 120), spoof(rng)
    write_speaker("speaker.txt", people)
    write_speaker("spoofing.txt", three)
    words = ("spoof", "bonafide")
    (HERE / "spoof.txt").write_text("".join(f"{p} {words[y]} {k} {u} {s}\n" for u, p, y, k, s in files))
    heard = sound(rng)
    (HERE / "sound.txt").write_text("".join(f"{p} {i % 4} 1.0 {y} {f}\n" for i, (p, y, f) in enumerate(heard)))
    doc = {"speaker": speaker_report(people), "spoofing": {**speaker_report(three), "spoofing": spoofing_report(three)},
           "spoof": spoof_report(files), "sound": sound_report(heard), "det": det(people)}
    (HERE / "expected.json").write_text(json.dumps(doc, indent=1, default=float) + "\n")


if __name__ == "__main__":
    main()
