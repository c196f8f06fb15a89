"""The corpus: reads the manifest, decodes every file once into one flat int16 file at 16 kHz, and hands out clips.

The cache is a folder with `audio.i16` (all clips end to end) and `index.csv` (the manifest's columns plus offset and
length in samples), so that training maps it into memory and never decodes twice.
"""
import argparse
import csv
import os
from multiprocessing import Pool
from pathlib import Path

import numpy as np

RATE = 16000


def decode(path):
    """Any audio file -> float32 mono at 16 kHz (soundfile decodes, soxr resamples)."""
    import soundfile as sf

    x, rate = sf.read(path, dtype="float32", always_2d=True)
    x = x.mean(axis=1)
    if rate != RATE:
        import soxr

        x = soxr.resample(x, rate, RATE)
    return x.astype(np.float32)


def to_i16(x):
    return np.clip(np.round(x * 32768.0), -32768, 32767).astype(np.int16)


def _decode_row(arg):
    root, row = arg
    try:
        return row, to_i16(decode(os.path.join(root, row["path"])))
    except Exception as e:  # a broken file must not lose the others
        print("skipped", row["path"], e, flush=True)
        return row, None


def manifest(root):
    with open(os.path.join(root, "manifest.csv"), newline="") as f:
        return list(csv.DictReader(f))


def build_cache(root, cache, workers=2):
    """Decode all files; does nothing when the cache is complete."""
    cache = Path(cache)
    cache.mkdir(parents=True, exist_ok=True)
    if (cache / "index.csv").exists():
        return
    order = {"train": 0, "dev": 1, "demo": 2, "unlabelled": 3, "test": 4}
    rows = sorted(manifest(root), key=lambda r: (order.get(r["split"], 5), r["path"]))
    at = 0
    with open(cache / "audio.i16", "wb") as out, open(cache / "index.part", "w", newline="") as ix, Pool(workers) as pool:
        w = csv.DictWriter(ix, list(rows[0]) + ["offset", "length"])
        w.writeheader()
        for n, (row, x) in enumerate(pool.imap(_decode_row, ((root, r) for r in rows), chunksize=8)):
            if x is None:
                continue
            x.tofile(out)
            w.writerow({**row, "offset": at, "length": len(x)})
            at += len(x)
            if n % 500 == 0:
                print(f"decoded {n}/{len(rows)} ({at / RATE / 3600:.2f} h)", flush=True)
    os.rename(cache / "index.part", cache / "index.csv")


class Corpus:
    """`rows`: the cached manifest; `audio(row)`: its samples as float32 in +-1 (optionally a slice)."""

    def __init__(self, cache):
        cache = Path(cache)
        with open(cache / "index.csv", newline="") as f:
            self.rows = list(csv.DictReader(f))
        for r in self.rows:
            r["offset"], r["length"] = int(r["offset"]), int(r["length"])
            r["who"] = r["group"] + "/" + r["label"]
        self.by_path = {r["path"]: r for r in self.rows}
        self.data = {"": np.memmap(cache / "audio.i16", dtype=np.int16, mode="r")}

    def join(self, other):
        """The clips of another cache beside these, by their paths and their kind."""
        kind = other.rows[0]["kind"]
        self.data[kind] = other.data[""]
        self.rows += [{**r, "cache": kind} for r in other.rows]
        self.by_path = {r["path"]: r for r in self.rows}

    def audio(self, row, start=0, length=None):
        if isinstance(row, str):
            row = self.by_path[row]
        a = row["offset"] + start
        b = row["offset"] + (row["length"] if length is None else min(row["length"], start + length))
        return self.data[row.get("cache", "")][a:b].astype(np.float32) / 32768.0

    def select(self, split, kind, min_seconds=0.0):
        split = {split} if isinstance(split, str) else set(split)
        return [r for r in self.rows if r["split"] in split and r["kind"] == kind and r["length"] >= min_seconds * RATE]


def arguments(description, **extra):
    """The arguments all recipes share."""
    p = argparse.ArgumentParser(description=description)
    p.add_argument("--corpus", required=True, help="folder with manifest.csv")
    p.add_argument("--work", default="models/.train", help="cache and checkpoints (not committed)")
    for name, default in extra.items():
        p.add_argument("--" + name.replace("_", "-"), **({"action": "store_true"} if default is False else {"type": type(default), "default": default}))
    return p.parse_args()


def open_corpus(args):
    build_cache(args.corpus, Path(args.work) / "cache")
    return Corpus(Path(args.work) / "cache")


if __name__ == "__main__":
    open_corpus(arguments("decode the corpus into the cache"))
