"""More music than the corpus has: the tracks of Debian packages that no clip of the corpus comes from (all in main, free licences).

`apt-get download` fetches the packages, nothing is installed. Of each track longer than 25 s up to six crops of 12 s are kept as log-mel, in
`<work>/extra`: `fbank.f16` and `index.npz`. Only the tagger trains on it.
"""
import json
import re
from multiprocessing import Pool
from pathlib import Path

import numpy as np
import torch

from ..common import debian, torch_features
from ..common.corpus import RATE, arguments

PACKAGES = ("ardentryst asc-music enigma-data extremetuxracer-data fretsonfire-songs-muldjord fretsonfire-songs-sectoid gunroar-data hex-a-hop-data "
            "lincity-ng-data mu-cade-data raincat-data singularity-music starfighter-data titanion-data torus-trooper-data warzone2100-music "
            "wesnoth-1.16-music").split()
MUSIC = re.compile(r"music|song|track|bgm|level|theme|\.mp3", re.I)  # in the path; the rest is effects and speech
SECONDS, CROPS, LEAST, MOST = 12, 6, 25, 40


def tracks(folder, package):
    """The audio files of a package that are music by their path."""
    at = debian.unpacked(folder, package)
    return sorted(p for p in at.rglob("*") if p.suffix.lower() in (".ogg", ".oga", ".mp3", ".flac", ".wav", ".opus") and MUSIC.search(str(p.relative_to(at))))[:MOST]


def crops(path):
    """Log-mel of the crops [n, 1198, 80]; nothing of a short track or one that cannot be read."""
    import soundfile as sf
    import soxr

    torch.set_num_threads(1)
    try:
        with sf.SoundFile(path) as f:
            n, rate = len(f), f.samplerate
            if n < LEAST * rate:
                return []
            out = []
            for at in np.linspace(3 * rate, n - (SECONDS + 3) * rate, min(CROPS, n // (SECONDS * rate))).astype(int):
                f.seek(int(at))
                out.append(soxr.resample(f.read(SECONDS * rate, dtype="float32", always_2d=True).mean(1), rate, RATE)[: SECONDS * RATE])
    except (sf.LibsndfileError, OSError) as e:
        print("skipped", path, e)
        return []
    out = [x for x in out if len(x) == SECONDS * RATE and np.abs(x).max() > 0.01]
    return [torch_features.fbank(torch.tensor(x)[None])[0].numpy().astype(np.float16) for x in out]


def main():
    a = arguments(__doc__, threads=2)
    folder = Path(a.work) / "extra"
    debian.fetch(folder, PACKAGES)
    jobs = [(p, t) for p in PACKAGES for t in tracks(folder, p)]
    with Pool(a.threads) as pool:
        made = pool.map(crops, [t for _, t in jobs], chunksize=4)
    rows = [(p, x) for (p, _), xs in zip(jobs, made) for x in xs]
    np.concatenate([x for _, x in rows]).tofile(folder / "fbank.f16")
    np.savez(folder / "index.npz", frames=np.array([len(x) for _, x in rows]), package=np.array([p for p, _ in rows]))
    told = {p: sum(q == p for q, _ in rows) for p in PACKAGES}
    (folder / "extra.json").write_text(json.dumps({"crops": told, "hours": round(len(rows) * SECONDS / 3600, 2)}))
    print(told, len(rows))


if __name__ == "__main__":
    main()
