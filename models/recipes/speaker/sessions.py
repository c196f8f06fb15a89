"""Longer recordings put together from the corpus, for what one window cannot measure: when a decision falls, and who speaks when.

Writes `<work>/sessions/<split>/`: for `earwitness eval sequential`, of each speaker an enrolment and a recording of up to 15 s out of other files
(`sequential.txt`); for `earwitness eval turns`, sessions in which two enrolled people and two strangers of one source take turns, half of
them without a pause (`turns.txt`). All is seeded; nothing is chosen by the test split.
"""
from pathlib import Path

import numpy as np

from ..common.corpus import RATE, arguments, open_corpus

ENROL, HEARD = 10, 15  # seconds


def trim(x):
    """Without the silence at both ends."""
    e = np.convolve(x.astype(np.float64) ** 2, np.ones(800) / 800, "same")[::160]
    loud = np.nonzero(e > e.max() * 1e-3)[0]
    return x[int(loud[0]) * 160 : int(loud[-1] + 1) * 160]


def even(x):
    """At -26 dB: a jump in level must not give the change away."""
    return (x * 10 ** (-26 / 20) / (np.sqrt((x**2).mean()) + 1e-9)).clip(-1, 1).astype(np.float32)


def voices(corpus, split, least):
    """Of each source the speakers with so many seconds, and their files, trimmed."""
    out = {}
    for r in corpus.select(split, "speech", 1.5):
        out.setdefault(r["group"], {}).setdefault(r["who"], []).append(r["path"])
    for group in list(out):
        for who, paths in list(out[group].items()):
            clips = [even(trim(corpus.audio(p))) for p in sorted(paths)]
            out[group][who] = [x for x in clips if len(x) > RATE]
            if sum(map(len, out[group][who])) < least * RATE:
                del out[group][who]
    return {g: v for g, v in out.items() if len(v) >= 6}


def sequential(known, folder, rng, draws=3, others=6):
    lines = []
    for group, people in sorted(known.items()):
        names = sorted(people)
        for n, who in enumerate(names):
            for k in range(draws):
                order, sides = list(rng.permutation(len(people[who]))), []
                for seconds in (ENROL, HEARD):
                    side = np.zeros(0, np.float32)
                    while order and len(side) < seconds * RATE:
                        side = np.concatenate([side, people[who][order.pop()]])
                    sides.append(side[: seconds * RATE])
                if len(sides[1]) < 6 * RATE:
                    continue
                at = [folder / f"{group}_{n}_{k}_{side}.wav" for side in ("enrol", "heard")]
                for path, side in zip(at, sides):
                    write(path, side)
                lines.append((group, who, at[0].name, at[1].name))
    rows = []
    for group, who, enrol, heard in lines:
        rows.append((enrol, heard, "target", group, who, who))
        strangers = [l for l in lines if l[0] == group and l[1] != who]
        for i in sorted(rng.permutation(len(strangers))[:others]):
            rows.append((enrol, strangers[i][3], "nontarget", group, who, strangers[i][1]))
    (folder / "sequential.txt").write_text("".join("\t".join(r) + "\n" for r in rows))
    return len(lines), len(rows)


def turns(known, folder, rng, sessions=12, changes=10):
    rows = []
    for group, people in sorted(known.items()):
        for n in range(sessions):
            names = sorted(people)
            cast = [names[i] for i in rng.permutation(len(names))[:4]]
            left = {who: [people[who][i] for i in rng.permutation(len(people[who]))] for who in cast}
            session = f"{group}_{n}.wav"
            for k, who in enumerate(cast[:2]):  # the first two are enrolled
                enrol = np.zeros(0, np.float32)
                while left[who] and len(enrol) < ENROL * RATE:
                    enrol = np.concatenate([enrol, left[who].pop()])
                at = folder / f"{group}_{n}_{k}_known.wav"
                write(at, enrol[: ENROL * RATE])
                rows.append((session, "enrol", who, at.name))
            audio, last, at = [np.zeros(RATE // 2, np.float32)], None, RATE // 2
            for _ in range(changes):
                able = [w for w in cast if w != last and left[w]]
                if not able:
                    break
                who, seconds = able[rng.integers(len(able))], rng.uniform(3, 8)
                said = np.zeros(0, np.float32)
                while left[who] and len(said) < seconds * RATE:
                    said = np.concatenate([said, left[who].pop()])
                said = said[: int(seconds * RATE)]
                rows.append((session, f"{at / RATE:.3f}", f"{(at + len(said)) / RATE:.3f}", who))
                pause = int(rng.uniform(0.4, 1.2) * RATE) if rng.random() < 0.5 else 0
                audio += [said, np.zeros(pause, np.float32)]
                at, last = at + len(said) + pause, who
            write(folder / session, np.concatenate([*audio, np.zeros(RATE // 2, np.float32)]))
    (folder / "turns.txt").write_text("".join("\t".join(r) + "\n" for r in rows))
    return len({r[0] for r in rows}), sum(r[1] != "enrol" for r in rows)


def write(path, x):
    import soundfile as sf

    sf.write(path, x + 1e-4 * np.random.default_rng(len(x)).standard_normal(len(x)), RATE)


def main():
    a = arguments(__doc__)
    c = open_corpus(a)
    for split, seed in (("dev", 21), ("test", 22)):
        folder = Path(a.work) / "sessions" / split
        folder.mkdir(parents=True, exist_ok=True)
        known = voices(c, split, ENROL + 8)
        print(split, {g: len(v) for g, v in known.items()})
        print(split, "recordings and trials", sequential(known, folder, np.random.default_rng(seed)))
        print(split, "sessions and turns", turns(known, folder, np.random.default_rng(seed + 10)))


if __name__ == "__main__":
    main()
