"""Dev trials of many durations, and the calibration fitted on them: the log-likelihood ratio depends on how much was said on both sides.

A side is one window of 1, 1.5, 2 or 3 s, or several windows of one file (5 s, 8 s, as a stream hears them: 3 s, one a second) or of several files (an
enrolment), put together as the program does: the mean of the embeddings, weighted by their seconds. Compared are the cosine and adaptive
symmetric normalisation against the pack's cohort (Matejka et al. 2017, "Analysis of score normalization in multilingual speaker recognition").

    llr = (slope + slope_q q) s + offset + offset_q q,   q = ln(h / 1.5 s),   h = d_a d_b / (d_a + d_b)

q is 0 where both sides have 3 s. The noise of an embedding falls with 1/d, that of a comparison with 1/d_a + 1/d_b = 1/h. Nothing here looks at the test split.
"""
import numpy as np

from ..common import metrics
from ..common.corpus import RATE
from . import trials

SHORT = (1.0, 1.5, 2.0, 3.0)
LONG = (5, 8)
TOPS = (20, 30, 50, 100, 400)
RATES = (0.3, 0.2, 0.1, 0.05, 0.03, 0.02, 0.01, 0.005, 0.002, 0.001)


def unit(e):
    return e / np.linalg.norm(e, axis=-1, keepdims=True)


def batched(embed, clips, size=32):
    return unit(np.concatenate([embed(clips[i : i + size]) for i in range(0, len(clips), size)]))


def bank(corpus, embed, split="dev"):
    """Every side: (speaker, source, the files in it, seconds, embedding)."""
    rows = [r for r in corpus.select(split, "speech", 3.0)]
    sides, heads = [], []
    for r in rows:
        x = corpus.audio(r)
        for s in trials.starts(x)[:4]:
            heads.append((r, s))
    for d in SHORT:
        e = batched(embed, [corpus.audio(r, s, int(d * RATE)) for r, s in heads])
        sides += [(r["who"], r["group"], {r["path"]}, d, v) for (r, _), v in zip(heads, e)]
        if d == 3.0:
            three = e
    for d in LONG:  # windows of 3 s, one a second
        long = [r for r in rows if r["length"] >= d * RATE]
        clips = [corpus.audio(r, k * RATE, 3 * RATE) for r in long for k in range(d - 2)]
        if long:
            e = batched(embed, clips).reshape(len(long), d - 2, -1)
            sides += [(r["who"], r["group"], {r["path"]}, float(d), unit(v.mean(0))) for r, v in zip(long, e)]
    rng, by_who = np.random.default_rng(11), {}
    for (r, _), v in zip(heads, three):
        by_who.setdefault(r["who"], []).append((r, v))
    for who, own in sorted(by_who.items()):  # enrolments of 2, 3, 5 windows out of different files
        for n in (2, 3, 5):
            for _ in range(6):
                pick = {}
                for i in rng.permutation(len(own)):
                    pick.setdefault(own[i][0]["path"], own[i][1])
                if len(pick) <= n:
                    continue
                paths = list(pick)[:n]
                sides.append((who, own[0][0]["group"], set(paths), 3.0 * n, unit(np.mean([pick[p] for p in paths], 0))))
    return sides


def pairs(sides, seed=5, targets=9000, others=18000):
    """Trials of one source from different files, all kinds of durations alike."""
    rng = np.random.default_rng(seed)
    group, who, d = (np.array([s[k] for s in sides]) for k in (1, 0, 3))
    kinds = sorted(set(d))
    by = {(g, k): np.flatnonzero((group == g) & (d == k)) for g in sorted(set(group)) for k in kinds}
    speakers = {}
    for i, w in enumerate(who):
        speakers.setdefault((w, d[i]), []).append(i)
    out = set()
    for y, most in ((1, targets), (0, others)):
        have, tries = 0, 0
        while have < most and tries < 40 * most:
            tries += 1
            g = sorted(set(group))[rng.integers(len(set(group)))]
            ka, kb = kinds[rng.integers(len(kinds))], SHORT[rng.integers(len(SHORT))] if rng.random() < 0.7 else kinds[rng.integers(len(kinds))]
            if not len(by[g, ka]):
                continue
            i = int(by[g, ka][rng.integers(len(by[g, ka]))])
            pool = speakers.get((who[i], kb), []) if y else by[g, kb]
            if not len(pool):
                continue
            j = int(pool[rng.integers(len(pool))])
            if (who[i] == who[j]) != bool(y) or sides[i][2] & sides[j][2] or (i, j, y) in out:
                continue
            out.add((i, j, y))
            have += 1
    return sorted(out)


def normaliser(cohort, top):
    def stats(e):
        best = -np.sort(-(e @ cohort.T), axis=1)[:, :top]
        return best.mean(1), best.std(1)

    return stats


def as_norm(e, cohort, a, b, top):
    m, sd = normaliser(cohort, top)(e)
    s = (e[a] * e[b]).sum(1)
    return 0.5 * ((s - m[a]) / sd[a] + (s - m[b]) / sd[b])


def quality(da, db):
    return np.log(da * db / (da + db) / 1.5)


def logistic(x, y, prior=0.5, ridge=1e-4):
    """Weights of `x` (its last column constant) so that `x w` is a log-likelihood ratio; the classes weighted as `prior` says."""
    y = np.asarray(y, float)
    w = np.where(y == 1, prior / y.sum(), (1 - prior) / (1 - y).sum())
    mu, sd = x.mean(0), x.std(0) + 1e-9
    mu[-1], sd[-1] = 0, 1
    z, shift = (x - mu) / sd, np.log(prior / (1 - prior))
    b = np.zeros(x.shape[1])
    eye = ridge * np.eye(len(b))
    eye[-1, -1] = 0
    for _ in range(100):
        p = 1 / (1 + np.exp(-(z @ b + shift)))
        d = np.linalg.solve((z * (w * p * (1 - p))[:, None]).T @ z + eye + 1e-12 * np.eye(len(b)), z.T @ (w * (p - y)) + eye @ b)
        b -= d
        if np.abs(d).max() < 1e-10:
            break
    out = b / sd
    out[-1] = b[-1] - (b[:-1] * mu[:-1] / sd[:-1]).sum()
    return out


def design(s, q, duration):
    one = np.ones_like(s)
    return np.stack([s, s * q, q, one], 1) if duration else np.stack([s, one], 1)


def dcf(llr, y, prior=0.05):
    t = np.log((1 - prior) / prior)
    miss, fa = (llr[y == 1] < t).mean(), (llr[y == 0] >= t).mean()
    return (prior * miss + (1 - prior) * fa) / min(prior, 1 - prior)


def halves(who_a, who_b, seed):
    """Speakers in two halves; trials whose speakers are both in one of them."""
    names = sorted(set(who_a) | set(who_b))
    first = set(np.random.default_rng(seed).permutation(names)[: len(names) // 2])
    a, b = (np.array([w in first for w in v]) for v in (who_a, who_b))
    return a & b, ~a & ~b


class Trials:
    """The dev trials, embedded once: scores by cosine or normalised, durations, labels, speakers."""

    def __init__(self, corpus, embed, cohort):
        sides = bank(corpus, embed)
        self.e = np.stack([s[4] for s in sides])
        d, who, group = (np.array([s[k] for s in sides]) for k in (3, 0, 1))
        self.a, self.b, self.y = (np.array(v) for v in zip(*pairs(sides)))
        self.da, self.db, self.who, self.group = d[self.a], d[self.b], (who[self.a], who[self.b]), group[self.a]
        self.q, self.cohort = quality(self.da, self.db), cohort

    def score(self, top):
        return as_norm(self.e, self.cohort, self.a, self.b, top) if top else (self.e[self.a] * self.e[self.b]).sum(1)

    def unseen(self, s, duration, rounds=6):
        """Cllr and actDCF of speakers that the fit has not seen, over halves of the speakers."""
        out = []
        for seed in range(rounds):
            one, two = halves(*self.who, seed)
            for fit, test in ((one, two), (two, one)):
                x = design(s, self.q, duration)
                llr = x[test] @ logistic(x[fit], self.y[fit])
                out.append((metrics.cllr(llr, self.y[test]), dcf(llr, self.y[test])))
        return np.mean(out, 0)


def fit(t):
    """What of [speaker.calibration] the pack states, chosen by Cllr on dev speakers that the fit has not seen; and the comparison."""
    told = []
    for top in (None, *TOPS):
        s = t.score(top)
        for duration in (False, True):
            cllr, act = t.unseen(s, duration)
            told.append({"top": top, "duration": duration, "unseen_cllr": round(float(cllr), 4), "unseen_act_dcf": round(float(act), 3),
                         "eer": round(float(metrics.eer(s, t.y)), 2), "min_dcf": round(metrics.min_dcf(s, t.y), 3)})
            print(told[-1], flush=True)
    best = min(told, key=lambda r: r["unseen_cllr"])
    s = t.score(best["top"])
    w = logistic(design(s, t.q, best["duration"]), t.y)
    llr = design(s, t.q, best["duration"]) @ w
    strangers = llr[t.y == 0]
    far = [[r, round(float(np.quantile(strangers, 1 - r)), 3)] for r in RATES]
    out = {"slope": float(w[0]), "offset": float(w[-1]), "dev_cllr": round(metrics.cllr(llr, t.y), 3), "false_accepts": far,
           "trials": len(t.y), "compared": told, "top": best["top"]}
    if best["duration"]:
        out["duration"] = {"slope": float(w[1]), "offset": float(w[2]), "least": float(t.q.min()), "most": float(t.q.max())}
    return out


def llr(calibration, s, da, db):
    """The same with parameters of a pack, as the program computes it."""
    d, slope, offset = calibration.get("duration"), calibration["slope"], calibration["offset"]
    if d:
        q = np.clip(quality(np.asarray(da, float), np.asarray(db, float)), d["least"], d["most"])
        slope, offset = slope + d["slope"] * q, offset + d["offset"] * q
    return slope * s + offset
