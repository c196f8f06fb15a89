"""A folder of labelled audio as clips: one sub-folder a label, or a CSV with the columns path, label and, where it should not be drawn, split.

The CSV is `labels.csv` in the folder, or lies beside it under its name (`voices/` and `voices.csv`), or is named itself; its paths start from the folder,
or from the CSV's own. Splits are train, dev and test; without them a part is held out here, drawn by the seed.
"""
import csv
import re
from pathlib import Path
from typing import NamedTuple

import numpy as np
import soundfile

SUFFIXES = {"." + s for s in "wav flac ogg opus oga mp3 aif aiff au caf w64".split()}
SPLITS = {"train": "train", "dev": "dev", "valid": "dev", "validation": "dev", "val": "dev", "test": "test"}
SHORTEST = 0.3  # seconds
FILES = 5  # of a label, or nothing can be said of it
STRANGERS = 30  # speakers from which on whole speakers are held out
HELD = 0.2


class Refused(SystemExit):
    """What has to be changed before there can be a head; the message says it."""


class NoData(Refused):
    pass


class OneLabel(Refused):
    pass


class TooFew(Refused):
    pass


class Unreadable(Refused):
    pass


class Clip(NamedTuple):
    path: Path
    label: str
    split: str
    seconds: float


def listed(data):
    """(path, label, split or "") of everything that is there."""
    data = Path(data)
    if data.suffix.lower() == ".csv" and data.is_file():
        return from_csv(data, data.parent)
    if not data.is_dir():
        raise NoData(f"{data}: expected a folder with a sub-folder for each label, or a CSV with the columns path and label; "
                     f"found {'a file' if data.exists() else 'nothing'}")
    for at in (data / "labels.csv", data.with_name(data.name + ".csv")):
        if at.is_file():
            return from_csv(at, data)
    folders = sorted(f for f in data.iterdir() if f.is_dir() and not f.name.startswith("."))
    rows = [(p, f.name, "") for f in folders for p in sorted(f.rglob("*")) if p.suffix.lower() in SUFFIXES]
    if not rows:
        raise NoData(f"{data}: expected sub-folders with audio ({', '.join(sorted(SUFFIXES))}), one for each label, or labels.csv; found {len(folders)} "
                     f"sub-folders and no audio in them")
    return rows


def from_csv(at, root):
    with open(at, newline="", encoding="utf-8-sig") as f:
        rows = list(csv.DictReader(f))
    lacking = {"path", "label"} - set(rows[0] if rows else [])
    if lacking:
        raise NoData(f"{at}: expected the columns path and label and at least one row, found {', '.join(rows[0]) if rows else 'no rows'}")
    out = [(root / r["path"], (r["label"] or "").strip(), (r.get("split") or "").strip().lower()) for r in rows]
    nameless = next((p for p, label, _ in out if not label), None)
    if nameless is not None:
        raise NoData(f"{at}: {nameless} has no label: give it one or leave the row out")
    return out


def read(data):
    """(clips, reasons against files that are left out, by their name)."""
    rows, clips, bad, other = listed(data), [], {}, 0
    for path, label, split in rows:
        if split and split not in SPLITS:
            other += 1
            continue
        try:
            i = soundfile.info(str(path))
            seconds = i.frames / i.samplerate
            if seconds < SHORTEST:
                bad[path.name] = f"{seconds:.2f} s, expected at least {SHORTEST} s"
                continue
        except (soundfile.LibsndfileError, OSError, RuntimeError, ZeroDivisionError) as e:
            bad[path.name] = "missing" if not path.exists() else str(e).splitlines()[-1][:120]
            continue
        clips.append(Clip(path, label, SPLITS.get(split, ""), seconds))
    if other:
        print(f"{other} rows have a split other than {', '.join(dict.fromkeys(SPLITS.values()))} and are left out")
    complain(bad, len(rows) - other)
    if not clips:
        raise NoData(f"{data}: no row is left to train with")
    return clips, bad


def complain(bad, of):
    """Names what is left out; most of a folder is no accident."""
    for name, why in list(bad.items())[:10]:
        print(f"left out: {name}: {why}")
    if len(bad) > 10:
        print(f"left out: {len(bad) - 10} more")
    if bad and 2 * len(bad) > of:
        raise Unreadable(f"{len(bad)} of {of} files cannot be used, the first is {next(iter(bad))} ({next(iter(bad.values()))}): "
                         f"is this a format that libsndfile reads?")


def slug(label):
    """As labels of a pack are written: a-z, 0-9, _."""
    return re.sub(r"[^a-z0-9]+", "_", label.lower()).strip("_")[:64]


def by_label(clips):
    out = {}
    for i, c in enumerate(clips):
        out.setdefault(c.label, []).append(i)
    return out


def split(clips, kind, seed):
    """(clips with a split each, in words how). `kind`: speaker, choice, tags or value; those that came with splits keep them."""
    given = {c.split for c in clips}
    if "train" not in given and given != {""}:
        raise NoData(f"expected rows of the split train, found only {', '.join(sorted(given - {''}))}")
    if given & {"dev", "test"}:
        clips = [c for c in clips if c.split]
        if "dev" not in given:
            return clips, "as given, without dev"
        return clips, "as given" if "test" in given else "as given, without test"
    rng, held = np.random.default_rng([seed, 1]), set()
    labels = by_label(clips)
    if kind in ("tags", "value"):
        order = rng.permutation(len(clips))
        held, how = set(order[: max(1, round(HELD * len(clips)))].tolist()), "a fifth of the files"
    else:
        several = sorted(l for l, of in labels.items() if len(of) > 1)
        if kind == "speaker" and len(several) >= STRANGERS:
            chosen = rng.permutation(len(several))[: max(10, round(HELD * len(several)))]
            held, how = {i for k in chosen for i in labels[several[k]]}, f"all files of {len(chosen)} speakers"
        else:
            for label in sorted(labels):
                of = rng.permutation(labels[label])
                if len(of) >= FILES:
                    held |= set(of[: max(2 if kind == "speaker" else 1, round(HELD * len(of)))].tolist())
            how = f"a fifth of the files of each label with {FILES} or more"
    return [c._replace(split="dev" if i in held else "train") for i, c in enumerate(clips)], f"held out here: {how}"


def check(clips, kind):
    """That there is something to learn and something to judge by."""
    train = by_label([c for c in clips if c.split == "train"])
    if kind in ("tags", "value"):
        if len(clips) < 4 * FILES:
            raise TooFew(f"expected at least {4 * FILES} files, found {len(clips)}")
    if len({c.label for c in clips}) < 2:
        raise OneLabel(f"expected at least two labels, found one ({clips[0].label}): a head learns to tell labels apart")
    if kind in ("tags", "value"):
        return
    if kind == "speaker":
        held = [c for c in clips if c.split != "train"]
        if len(train) < 2 or sum(len(of) > 1 for of in by_label(held).values()) < 2:
            raise TooFew(f"expected at least two speakers with {FILES} files each (or two held-out speakers with two files), found {len(clips)} files of "
                         f"{len({c.label for c in clips})} speakers: two recordings of one person must be left to compare")
        return
    for label, of in by_label(clips).items():
        if len(of) < FILES or label not in train or not any(clips[i].split != "train" for i in of):
            raise TooFew(f"{label}: expected at least {FILES} files, some to train with and some held out; found {len(of)}")
