"""Partial fakes: real recordings with one synthetic sentence inside, and recordings without, for `earwitness eval timeline`.

The sentence is a clip of one of the corpus's spoof systems between real clips of a voice that the pack's speaker head takes for the same (instead of the
real clip of the same words where the corpus has that), or the sentence's own copy-synthesis in a longer recording (WORLD, Griffin-Lim, LPC: ways that
the training knew, voices that it did not). Loudness is matched, edges are crossfaded, a codec or channel goes over the whole file. Each file has a twin
that is made in the same way without anything synthetic. Recordings of train and dev are also made of some clips of one voice of the originals (originals.py),
where those are there, and of train a sentence of an engine (installed.py) between two real clips of one voice. `dev` is for choosing, `test` for reporting; on
`train` (`--splits train`) the second reading of short windows is trained (short.py).

Writes `<work>/partial/<split>/*.flac` and `<work>/partial/<split>.txt`: `path system [start end]`, of what is real `bonafide` for the system.
"""
from pathlib import Path

import numpy as np

from ..common import augment
from ..common.corpus import RATE, arguments
from ..pack import Pack
from . import originals
from .copy_synthesis import griffin_lim, lpc, world
from .data import Installed, edges

COPIES = {"copy_world": world, "copy_gl_mel": griffin_lim, "copy_gl_linear": lambda x, r: griffin_lim(x, r, False), "copy_lpc": lpc}
SENTENCE = (1.2, 5.0)  # seconds of a synthetic sentence
PER_RECORDING = 2
RECORDING = (8.0, 20.0)  # seconds of a recording in which a sentence is copied
PER_SYSTEM, RECORDINGS = {"train": 20}, {"train": 160}  # how many of a system, and recordings; of the others 6 and 30
PER_VOICE = {"train": 8, "dev": 8}  # recordings of a voice of the originals
PER_ENGINE = 90
SEEDS = {"dev": 0, "test": 1, "train": 7}
SAME_VOICE = 0.49  # cosine at which the speaker head's log-likelihood ratio is 0
FADE, MARGIN = int(0.02 * RATE), int(0.03 * RATE)


def loudness(x):
    """RMS of the louder half of the 25 ms frames: pauses do not count."""
    e = np.sort((x[: len(x) // 400 * 400].reshape(-1, 400).astype(np.float64) ** 2).mean(1))
    return np.sqrt(e[len(e) // 2 :].mean() + 1e-12)


def trimmed(x):
    a, b = edges(x)
    return x[max(0, a - MARGIN) : b + MARGIN]


def loud(x):
    """Which steps of 5 ms are no further than 30 dB below the loudest 25 ms."""
    e = np.convolve(np.asarray(x, np.float64) ** 2, np.ones(400) / 400, "same")[::80]
    return e >= e.max() * 1e-3


def spoken(x, a, b):
    """The stretch from a to b, in seconds, without the quiet at its ends: a synthetic sentence begins with its first sound."""
    at = np.nonzero(loud(x)[int(a * 200) : int(b * 200)])[0]
    return (a, b) if len(at) == 0 else (int(a * 200) / 200 + at[0] / 200, int(a * 200) / 200 + (at[-1] + 1) / 200)


def pauses(x, least=0.12):
    """Middles of quiet stretches of at least `least` s, and both ends of the clip; samples."""
    e = loud(x)
    quiet = np.concatenate([[0], (~e).astype(int), [0]])
    starts, ends = np.nonzero(np.diff(quiet) == 1)[0], np.nonzero(np.diff(quiet) == -1)[0]
    inner = [int((a + b) / 2 * 80) for a, b in zip(starts, ends) if (b - a) * 80 >= least * RATE and a > 0 and b < len(e)]
    return [0, *inner, len(x)]


def sentence(x, rng, lo=SENTENCE[0], hi=SENTENCE[1], most=1.0):
    """A stretch between two pauses of `lo` to `hi` seconds, at most the share `most` of the clip; None where there is none."""
    p = pauses(x)
    spans = [(a, b) for i, a in enumerate(p) for b in p[i + 1 :] if lo * RATE <= b - a <= min(hi * RATE, most * len(x))]
    return spans[rng.integers(len(spans))] if spans else None


def short_enough(x, rng):
    """A clip that is longer than a sentence may be, cut to one; None where it has no pauses for that."""
    if len(x) <= SENTENCE[1] * RATE:
        return x
    span = sentence(x, rng)
    return span and trimmed(x[slice(*span)])


def faded(x):
    x, ramp = np.array(x, np.float64), np.linspace(0, 1, FADE)
    x[:FADE] *= ramp
    x[-FADE:] *= ramp[::-1]
    return x


def joined(pieces, rng):
    """The pieces at one loudness with pauses between them, over the faint noise of a room; and where each begins and ends, in samples."""
    level, out, spans = loudness(pieces[0]), [], []
    at = int(rng.uniform(0.1, 0.4) * RATE)
    for x in pieces:
        out.append((at, faded(x * level / loudness(x))))
        spans.append((at, at + len(x)))
        at += len(x) + int(rng.uniform(0.12, 0.45) * RATE)
    y = rng.standard_normal(at) * level * 10 ** (-rng.uniform(45, 60) / 20)
    for s, x in out:
        y[s : s + len(x)] += x
    return y, spans


def replaced(x, y, a, b):
    """`x` with the stretch from a to b taken from `y`, crossfaded and at its loudness."""
    w = np.zeros(len(x))
    w[a:b] = 1
    w = np.convolve(np.pad(w, FADE // 2, "edge"), np.ones(FADE) / FADE, "valid")[: len(x)]
    return x * (1 - w) + y * loudness(x[a:b]) / loudness(y[a:b]) * w


def channel(x, rng):
    """One codec or band limit over the whole file, then a level."""
    kind = rng.choice(["none", "OPUS", "MP3", "mu_law", "band"], p=[0.35, 0.2, 0.2, 0.1, 0.15])
    x = np.asarray(x / (np.abs(x).max() + 1e-9), np.float32)
    if kind in ("OPUS", "MP3"):
        x = augment.coded(x, rng, kind)
    elif kind == "mu_law":
        x = augment.mu_law(x)
    elif kind == "band":
        x = augment.band(x, rng.uniform(20, 200), rng.uniform(3400, 7000))
    return x / (np.abs(x).max() + 1e-9) * 10 ** (-rng.uniform(1, 20) / 20)


def alike(x, y):
    """Whether two clips say the same words in step: correlation of their log energies in bands."""
    n = min(len(x), len(y))
    if abs(len(x) - len(y)) > 0.03 * n:
        return False
    bands = lambda v: np.log(np.abs(np.fft.rfft(v[: n // 400 * 400].reshape(-1, 400)))[:, 1:161].reshape(-1, 16, 10).sum(2) + 1e-4)
    a, b = (v - v.mean(0) for v in (bands(x), bands(y)))
    return float((a * b).sum() / np.sqrt((a**2).sum() * (b**2).sum())) > 0.8


def voices(c, pack, rows):
    return {r["path"]: pack.embed([np.resize(trimmed(c.audio(r)), max(RATE * 3, min(r["length"], 6 * RATE)))])[0] for r in rows}


def voice(pack, x):
    """The embedding of up to 6 s of a clip; a short one is repeated to 3 s."""
    return pack.embed([np.resize(x, max(RATE * 3, min(len(x), 6 * RATE)))])[0]


def between_clips(c, pack, split, rng):
    """(system, pieces with the synthetic one, pieces with a real one instead, which piece it is) for each clip of a system that a real voice fits."""
    real = [r for r in c.select(split, "bonafide", 1.0)]
    told, out = voices(c, pack, real), []
    for system in sorted({r["group"] for r in c.select(split, "spoof")}):
        rows = [r for r in c.select(split, "spoof", SENTENCE[0]) if r["group"] == system]
        for row in [rows[i] for i in sorted(rng.permutation(len(rows))[: PER_SYSTEM.get(split, 6)])]:
            fake = trimmed(c.audio(row))
            own = voice(pack, fake)
            same = [r for r in real if r["group"] != "librispeech" and alike(c.audio(r), c.audio(row))]
            near = sorted((r for r in real if r not in same and float(own @ told[r["path"]]) > SAME_VOICE), key=lambda r: -float(own @ told[r["path"]]))[:6]
            if len(near) < 2:
                continue
            if (fake := short_enough(fake, rng)) is None:
                continue
            hosts = [near[i] for i in rng.permutation(len(near))[:3]]
            hosts, spare = ([trimmed(c.audio(r)) for r in rs] for rs in (hosts[:2] if len(near) == 2 else hosts, same[:1] or hosts[:1]))
            at = int(rng.integers(0, len(hosts) + 1))
            place = lambda x: hosts[:at] + [x] + hosts[at:]
            out.append((system, place(fake), place(spare[0][: len(fake)]) if same else hosts, at))
    return out


def write(folder, name, x, rng, system="bonafide", fake=None):
    """The file, and its line of the list. `fake`: first and last sample of what is synthetic in it."""
    import soundfile as sf

    x = channel(x, rng)
    sf.write(folder / f"{name}.flac", x, RATE)
    times = () if fake is None else spoken(x, fake[0] / RATE, fake[1] / RATE)
    return (f"{folder.name}/{name}.flac", system, *(f"{t:.3f}" for t in times))


def recordings(c, split, rng):
    """Real recordings as they are, and some clips of one voice of the originals after each other."""
    rows = c.select(split, "speech", RECORDING[0])
    for i in sorted(rng.permutation(len(rows))[: RECORDINGS.get(split, 30)]):
        yield c.audio(rows[i], 0, int(RECORDING[1] * RATE))
    for rows in originals.voices(c, split, SENTENCE[0]):
        order = rng.permutation(len(rows))
        for _ in range(PER_VOICE.get(split, 0)):
            pieces, length = [], 0
            while len(order) and length < 1.25 * RECORDING[0] * RATE:
                pieces.append(trimmed(c.audio(rows[order[0]])))
                order, length = order[1:], length + len(pieces[-1])
            if length >= RECORDING[0] * RATE:
                yield joined(pieces, rng)[0][: int(RECORDING[1] * RATE)].astype(np.float32)


def spoken_by_engines(c, work, rng):
    """(engine, pieces with its sentence, the real ones alone, which piece it is)."""
    installed, voices = Installed(c, work), {}
    for r in c.select("train", "bonafide", SENTENCE[0]) + c.select("train", "original", SENTENCE[0]):
        voices.setdefault(r["group"] if r["kind"] == "original" else r["path"].rsplit("/", 1)[0], []).append(r)
    voices = [rows for rows in voices.values() if len(rows) > 2]
    for engine in installed.engines:
        said = installed.made_by[engine]
        for _ in range(PER_ENGINE):
            fake, rows = trimmed(said[rng.integers(len(said))][1].astype(np.float32) / 32768), voices[rng.integers(len(voices))]
            if (fake := short_enough(fake, rng)) is None:
                continue
            hosts = [trimmed(c.audio(rows[i], 0, int(SENTENCE[1] * RATE))) for i in rng.permutation(len(rows))[:2]]
            at = int(rng.integers(0, len(hosts) + 1))
            yield engine, hosts[:at] + [fake] + hosts[at:], hosts, at


def make(c, pack, split, folder, seed):
    rng, lines = np.random.default_rng([93, seed]), []
    folder.mkdir(parents=True, exist_ok=True)
    engines = spoken_by_engines(c, folder.parents[1], np.random.default_rng([94, seed])) if split == "train" else ()
    for k, (system, with_it, without, at) in enumerate([*between_clips(c, pack, split, rng), *engines]):
        y, spans = joined(with_it, rng)
        lines.append(write(folder, f"{k:03d}_{system}", y, rng, system, spans[at]))
        lines.append(write(folder, f"{k:03d}_real", joined(without, rng)[0], rng))
    for k, x in enumerate(recordings(c, split, rng)):
        for n in range(PER_RECORDING):
            span, name = sentence(x, rng, most=0.6), sorted(COPIES)[(2 * k + n) % len(COPIES)]
            if span is None:
                continue
            copy = np.asarray(COPIES[name](x, rng), np.float64)
            copy = np.pad(copy, (0, max(0, len(x) - len(copy))))[: len(x)]
            if not np.isfinite(copy).all():
                continue
            lines.append(write(folder, f"{k:03d}_{name}", replaced(x, copy, *span), rng, name, span))
        lines.append(write(folder, f"{k:03d}_whole", x, rng))
    (folder.parent / f"{split}.txt").write_text("".join("\t".join(l) + "\n" for l in lines))
    fakes = [l for l in lines if l[1] != "bonafide"]
    print(split, len(lines), "files", len(fakes), "fakes", len({l[1] for l in fakes}), "systems")


def main():
    a = arguments(__doc__, pack="models/default", splits="dev,test")
    c, pack = originals.joined(a), Pack(a.pack)
    for split in a.splits.split(","):
        make(c, pack, split, Path(a.work) / "partial" / split, SEEDS[split])


if __name__ == "__main__":
    main()
