"""Checks of what calibrates scores: `python -m models.recipes.common.test_metrics`."""
import numpy as np

from . import metrics, testing


def groups(rng, count, spread, trials=40):
    """Scores, labels and groups: each group's mean lies `spread` about its class's (1 of real ones, -1), its trials 0.3 about that."""
    y = np.repeat(np.arange(2 * count) % 2, trials)
    g = np.repeat(np.arange(2 * count), trials)
    means = rng.normal(np.where(np.arange(2 * count) % 2, 1.0, -1.0), spread)
    return rng.normal(means[g], 0.3), y, g.astype(str)


def test_a_line_comes_back():
    """Normal scores of equal deviation 1, means 1 and -1: the ratio is 2 s."""
    rng = np.random.default_rng(0)
    s = np.concatenate([rng.normal(1, 1, 20000), rng.normal(-1, 1, 20000)])
    y = np.repeat([1, 0], 20000)
    slope, offset = metrics.calibrate(s, y)
    assert abs(slope - 2) < 0.05 and abs(offset) < 0.05, (slope, offset)
    heavy = metrics.calibrate(s + (y == 0), y, np.where(s > 0, 3.0, 1.0))
    assert heavy != metrics.calibrate(s + (y == 0), y)


def test_of_groups_that_differ_less_is_said():
    """What is told of a group's trials is the line of a fit without it, and where a group may lie anywhere about its class, less is said than that fit would."""
    s, y, g = groups(np.random.default_rng(1), 12, 0.7)
    slope, offset, told = metrics.calibrate_unseen(s, y, g)
    kept = g != "3"
    without = metrics.calibrate(s[kept], y[kept])  # all groups are of one size: weights change nothing
    one = without[0] * s[~kept] + without[1]
    less = np.polyfit(one, told[~kept], 1)
    assert np.abs(np.polyval(less, one) - told[~kept]).max() < 1e-6, "a line of that fit's ratios"
    assert 0.5 < less[0] < 0.95, less
    plain = metrics.calibrate(s, y)
    assert abs(slope / plain[0] - less[0]) < 1e-6 and abs(offset - (less[0] * plain[1] + less[1])) < 1e-6


def test_where_groups_are_alike_nothing_is_lost():
    rng = np.random.default_rng(2)
    s, y, g = groups(rng, 20, 0.0)
    s = s + rng.normal(0, 1.0, len(s))
    (a, b), (less, shift, _) = metrics.calibrate(s, y), metrics.calibrate_unseen(s, y, g)
    assert abs(less / a - 1) < 0.1 and abs(shift - b) < 0.1, (a, b, less, shift)


def test_a_class_of_one_group_cannot_be_left_out():
    s, y, g = groups(np.random.default_rng(3), 2, 0.5)
    testing.refused(ValueError, "two groups", metrics.calibrate_unseen, s, y, np.where(y == 1, "one", g))


if __name__ == "__main__":
    testing.run(globals())
