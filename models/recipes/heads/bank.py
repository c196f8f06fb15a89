"""What a pack's encoder makes of the clips, computed once: crops of the length of the pack's windows, disturbed or as they are, kept as float16.

`<work>/<key>/` has one array for each view and `progress.json`; a run that was interrupted goes on there. The key is a hash of the encoder, the files
and the plan, so that another folder or another seed gets a bank of its own. The bank may be deleted at any time.
"""
import hashlib
import json
import shutil
import time
import tomllib
from pathlib import Path
from typing import NamedTuple

import numpy as np
import soundfile
import soxr

from .. import export
from ..common import augment, features
from ..published import front
from .folder import SUFFIXES, NoData, Refused, complain

SPEEDS = (1.0, 0.9, 1.1)
HELD_WINDOWS = 1200  # of dev, of test
QUIET = 1e-4  # RMS below which a crop holds nothing


class NoEncoder(Refused):
    pass


class Crop(NamedTuple):
    clip: int
    start: float  # seconds
    speed: float
    clean: bool
    split: str


class Encoder:
    """A pack's encoder under ONNX Runtime behind the pack's own front end."""

    def __init__(self, folder, threads=1):
        at = Path(folder) / "pack.toml"
        if not at.is_file():
            raise NoEncoder(f"{folder}: expected a model pack, found no pack.toml: make one from a checkpoint first (docs/encoders.md)")
        self.manifest = tomllib.loads(at.read_text())
        told = self.manifest.get("encoder", {})
        path = Path(folder) / told.get("file", "")
        if not path.is_file():
            raise NoEncoder(f"{at}: expected an [encoder] whose file is there, found {'none' if not told else path}")
        if (found := export.fingerprint(path)["sha256"]) != told["sha256"]:
            raise NoEncoder(f"{path} has SHA-256 {found}, the manifest expects {told['sha256']}: the file is damaged or another")
        self.told, self.front, self.session = told, front.of(told), export.session(path, threads)
        self.rate, self.tokens = front.rate(self.front), self.front.get("tokens", 1)
        self.seconds = self.manifest["audio"]["window_samples"] / self.manifest["audio"]["sample_rate"]
        self.layers, self.dim, self.frame_rate = told["layers"], told["dim"], told["frame_rate"]

    def __call__(self, clips):
        """Clips [B, samples] -> hidden [B, layers, frames, dim]; of a patched encoder the mean over the patches of a frame."""
        h = self.session.run(None, front.feed(self.front, clips))[0]
        return h.reshape(*h.shape[:2], -1, self.tokens, h.shape[3]).mean(3)


def narrow(x, rate):
    """Clips [B, samples] at 16 kHz, which the spectral view is made of whatever the encoder reads."""
    return np.ascontiguousarray(x if rate == 16000 else soxr.resample(x.T, rate, 16000).T, np.float32)


def plan(clips, most, seconds, seed, speeds=SPEEDS, held=4, most_held=HELD_WINDOWS):
    """Crops: of labels by the root of their length, clean ones first; some windows of each held-out clip, as they are."""
    rng, out = np.random.default_rng([seed, 2]), []
    labels = {}
    for i, c in enumerate(clips):
        if c.split == "train":
            labels.setdefault(c.label, []).append(i)
    weight = {l: sum(clips[i].seconds for i in of) ** 0.5 for l, of in sorted(labels.items())}
    for label, w in weight.items():
        of = rng.permutation(labels[label])
        room = sum(1 + int(clips[i].seconds / seconds) for i in of)
        count = min(max(2, round(most * w / sum(weight.values()))), 4 * len(speeds) * room)  # more would repeat themselves
        for k in range(count):
            i, turn = int(of[k % len(of)]), k // len(of)
            speed = float(speeds[turn % len(speeds)])
            start = rng.uniform(0, max(0.0, clips[i].seconds - seconds * speed))
            out.append(Crop(i, round(float(start), 3), speed, turn < len(speeds) and turn % 2 == 0, "train"))
    for part in ("dev", "test"):
        windows = []
        for i, c in enumerate(clips):
            if c.split == part:
                n = min(held, max(1, int(c.seconds / seconds)))
                starts = np.linspace(0, max(0.0, c.seconds - seconds), n)
                windows += [(k, rng.random(), Crop(i, round(float(s), 3), 1.0, True, part)) for k, s in enumerate(starts)]
        out += [w for *_, w in sorted(windows)[:most_held]]  # where there are too many, fewer of each clip, then fewer clips
    return out


class Audio:
    """Crops out of the files, at the encoder's rate."""

    def __init__(self, clips, rate, seconds, coding=0.0, noise=None, plain=False):
        self.clips, self.rate, self.samples, self.coding, self.plain = clips, rate, int(seconds * rate), coding, plain
        self.noises = [] if noise is None else sorted(p for p in Path(noise).rglob("*") if p.suffix.lower() in SUFFIXES)
        if noise is not None and not self.noises:
            raise NoData(f"{noise}: expected a folder with recordings of noise, found no audio")

    def read(self, path, start, seconds):
        """Mono at the encoder's rate; the nearest part of the file where it ends before."""
        with soundfile.SoundFile(str(path)) as f:
            n = int(np.ceil(seconds * f.samplerate))
            f.seek(max(0, min(int(start * f.samplerate), f.frames - n)))
            x = f.read(n, dtype="float32", always_2d=True).mean(1)
            return x if f.samplerate == self.rate else soxr.resample(x, f.samplerate, self.rate)

    def noise(self, n, rng):
        if self.noises:
            path = self.noises[rng.integers(len(self.noises))]
            length = soundfile.info(str(path)).duration
            return augment.fit_length(self.read(path, rng.uniform(0, max(0, length - n / self.rate)), n / self.rate), n, rng)
        s = np.fft.rfft(rng.standard_normal(n))
        return np.fft.irfft(s * np.maximum(np.arange(len(s)), 1.0) ** -rng.uniform(0, 1), n)

    def __call__(self, crop, seed):
        clip, rng, start = self.clips[crop.clip], np.random.default_rng(seed), crop.start
        for _ in range(4):
            x = self.read(clip.path, start, crop.speed * self.samples / self.rate)
            if crop.speed != 1.0:
                x = soxr.resample(x, self.rate * crop.speed, self.rate)
            if len(x) and np.sqrt((x**2).mean()) > QUIET or crop.split != "train":
                break
            start = rng.uniform(0, max(0.0, clip.seconds - crop.speed * self.samples / self.rate))
        if not len(x) or not np.isfinite(x).all():
            raise ValueError("no samples, or samples that are not finite")
        x = np.resize(x, self.samples) if len(x) < self.samples else x[: self.samples]
        if self.plain or crop.split != "train":
            return x.astype(np.float32)
        if not crop.clean:
            if rng.random() < self.coding:
                x = augment.coded(x, rng, "OPUS" if rng.random() < 0.6 else "MP3", self.rate)
            x = augment.shape(x, rng, p_reverb=0.3, rate=self.rate)
            if rng.random() < 0.5:
                x = augment.add_noise(x, self.noise(len(x), rng), rng.uniform(5, 30))
        return augment.level(x, rng)


class Bank:
    """`views(clips, hidden)` -> named arrays [B, …] that are kept; `rows(split)` are indices into all of them."""

    def __init__(self, encoder, clips, crops, audio, views, work, seed, gigabytes, batch=8):
        told = [encoder.told["sha256"], encoder.front, views.__name__, features.SPECTRAL_DIM, audio.coding, audio.plain, [str(p) for p in audio.noises], seed, crops,
                [(str(c.path), c.path.stat().st_size) for c in clips]]
        key = hashlib.sha256(json.dumps(told, default=str).encode()).hexdigest()[:16]
        self.clips, self.crops, self.folder = clips, crops, Path(work) / key
        self.folder.mkdir(parents=True, exist_ok=True)
        self.at = self.folder / "progress.json"
        held = json.loads(self.at.read_text()) if self.at.exists() else {"done": 0, "bad": {}, "lost": []}
        self.views = {}
        self.fill(encoder, audio, views, held, seed, gigabytes, batch)
        complain(held["bad"], len({c.clip for c in crops}))
        self.ok = np.ones(len(crops), bool)
        self.ok[held["lost"]] = False

    def fill(self, encoder, audio, views, held, seed, gigabytes, batch):
        began, first, told = time.time(), held["done"], time.time()
        for at in range(held["done"], len(self.crops), batch):
            xs, rows = [], range(at, min(at + batch, len(self.crops)))
            for i in rows:
                try:
                    xs.append(audio(self.crops[i], [seed, 3, i]))
                except (soundfile.LibsndfileError, OSError, RuntimeError, ValueError) as e:
                    held["bad"][self.clips[self.crops[i].clip].path.name] = str(e).splitlines()[-1][:120]
                    held["lost"].append(i)
                    xs.append(np.zeros(audio.samples, np.float32))
            x = np.stack(xs)
            made = views(x, encoder(x))
            if not self.views:
                self.open({k: (v.shape[1:], v.dtype) for k, v in made.items()}, gigabytes)
            for k, v in made.items():
                self.views[k][rows.start : rows.stop] = v
            held["done"] = rows.stop
            if time.time() - told > 15 or rows.stop == len(self.crops):
                told = time.time()
                for v in self.views.values():
                    v.flush()
                self.at.write_text(json.dumps(held))
                left = (time.time() - began) / (rows.stop - first) * (len(self.crops) - rows.stop)
                print(f"encoded {rows.stop} of {len(self.crops)} crops, {left / 60:.1f} minutes to go", flush=True)
        if not self.views:  # complete before this run
            self.views = {p.stem: np.load(p, mmap_mode="r") for p in self.folder.glob("*.npy")}

    def open(self, shapes, gigabytes):
        size = sum(len(self.crops) * int(np.prod(s)) * np.dtype(t).itemsize for s, t in shapes.values()) / 2**30
        there = all((self.folder / f"{k}.npy").exists() for k in shapes)
        free = shutil.disk_usage(self.folder).free / 2**30
        if not there and size > min(gigabytes, free - 1):
            raise Refused(f"{len(self.crops)} crops need {size:.1f} GB in {self.folder.parent}, expected at most {min(gigabytes, free - 1):.1f}: "
                          f"take fewer (--crops) or allow more (--gigabytes)")
        mode = "r+" if there else "w+"
        made = lambda s, t: {} if there else {"dtype": t, "shape": (len(self.crops), *s)}
        self.views = {k: np.lib.format.open_memmap(self.folder / f"{k}.npy", mode, **made(s, t)) for k, (s, t) in shapes.items()}

    def rows(self, split):
        return np.array([i for i, c in enumerate(self.crops) if c.split == split and self.ok[i]], int)

    def label(self, i):
        return self.clips[self.crops[i].clip].label
