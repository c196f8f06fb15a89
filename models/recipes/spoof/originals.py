"""Real speech as Debian ships it: studio prompts in G.722, actors of a game and volunteers of many languages in Vorbis at 22 to 48 kHz.

The corpus has some of the same recordings, coded again with Opus at 15 kbit/s; what a studio, a home recording and their codecs sound like is gone there. Real
and synthetic speech are made of these alike (copy_synthesis.py), so that neither codec nor room tells them apart.

`apt-get download` fetches the packages, nothing is installed. Written to `<work>/originals`: `audio.i16` and `index.csv`, as the corpus's cache, kind
`original`. Some voices are kept from training (split `dev`), so that what real speech out of other rooms scores is known when scores are calibrated. Voices of the
corpus's `demo` split stay in that: they are for measuring (engines.py), and nothing else.

    python -m models.recipes.spoof.originals --corpus DIR
"""
import csv
import re
from multiprocessing import Pool
from pathlib import Path

import av
import numpy as np
import soxr

from ..common import debian
from ..common.corpus import RATE, Corpus, arguments, decode, open_corpus, to_i16

# Package: what of its paths is speech, the label in it, licence.
PACKAGES = {
    "asterisk-core-sounds-fr-g722": (r"()\.g722$", "CC-BY-SA-3.0"),
    "asterisk-core-sounds-it-g722": (r"()\.g722$", "CC-BY-SA-3.0"),
    "festvox-ru": (r"()/wav/ru_\d+\.wav$", "BSD-like"),
    "fillets-ng-data-cs": (r"/cs/[a-z0-9]+-(m|v)-[^/]*\.ogg$", "GPL-2+"),
    "fillets-ng-data-nl": (r"/nl/[a-z0-9]+-(m|v)-[^/]*\.ogg$", "GPL-2+"),
    "ktuberling-data": (r"/sounds/([^/]+)/[^/]+\.(?:ogg|wav)$", "GPL-2+"),
    "tuxpaint-stamps-default": (r"_desc_([a-z]{2})\.ogg$", "GPL-2+"),
    "asterisk-core-sounds-en-g722": (r"()\.g722$", "CC-BY-SA-3.0"),
    "asterisk-core-sounds-es-g722": (r"()\.g722$", "CC-BY-SA-3.0"),
    "asterisk-core-sounds-ru-g722": (r"()\.g722$", "CC-BY-SA-3.0"),
    "asterisk-prompt-it-menardi-wav": (r"()\.wav$", "GPL-2+"),
    "asterisk-prompt-fr-armelle": (r"()\.gsm$", "GPL-2"),
}
DEMO = {"asterisk-core-sounds-en-g722/en", "asterisk-core-sounds-es-g722/es", "asterisk-core-sounds-ru-g722/ru", "asterisk-prompt-it-menardi-wav/menardi", "asterisk-prompt-fr-armelle/fr"}
DEV = {"fillets-ng-data-nl/m", "fillets-ng-data-nl/v", "tuxpaint-stamps-default/ru", "tuxpaint-stamps-default/da", "asterisk-core-sounds-it-g722/it"}
LEAST, MOST = 1.2, 240  # seconds of a clip, clips of a voice
LISTED = 12  # dev clips of a voice that are judged


BARE = {".g722": ("g722", 320, 16000), ".gsm": ("gsm", 33, 8000)}  # ITU-T G.722 at 64 kbit/s and GSM 06.10 without a container: decoder, bytes at a time, rate


def bare(path):
    name, step, rate = BARE[path.suffix]
    codec, data = av.CodecContext.create(name, "r"), path.read_bytes()
    codec.sample_rate, codec.layout = rate, "mono"
    frames = [f.to_ndarray().ravel() for i in range(0, len(data) // step * step, step) for f in codec.decode(av.Packet(data[i : i + step]))]
    return soxr.resample(np.concatenate(frames).astype(np.float32) / 32768, rate, RATE)


def read(path):
    """Samples, int16; None of what is too short, silent or cannot be read."""
    try:
        x = bare(path) if path.suffix in BARE else decode(path)
    except Exception as e:  # a broken file must not lose the others
        print("skipped", path, e)
        return None
    return to_i16(x / max(1.0, np.abs(x).max())) if len(x) >= LEAST * RATE and np.abs(x).max() > 0.02 else None


def clips(folder, package):
    """(label, path) of all of a package's speech, that of a label in an order that is drawn."""
    at = debian.unpacked(folder, package)
    wanted, of = re.compile(PACKAGES[package][0]), {}
    for path in sorted(at.rglob("*")):
        if (m := wanted.search(str(path))) and path.is_file():
            of.setdefault(m[1] or package.split("-")[-2], []).append(path)
    rng = np.random.default_rng(5)
    return [(label, paths[i]) for label, paths in sorted(of.items()) for i in rng.permutation(len(paths))]


def joined(args):
    """The corpus and, where they were made, the originals."""
    c, at = open_corpus(args), Path(args.work) / "originals"
    if (at / "index.csv").exists():
        c.join(Corpus(at))
    return c


def voices(c, split, seconds):
    """The clips of each voice of a split that are at least so long; nothing where there are no originals."""
    out = {}
    for r in c.select(split, "original", seconds):
        out.setdefault(r["group"], []).append(r)
    return list(out.values())


def some(c, split, most, seconds):
    """At most so many of them."""
    return [row for rows in voices(c, split, seconds) for row in rows[:most]]


def listed(c):
    """`path, 1, voice` of dev clips, as the trial lists have them: real speech out of more rooms than dev's pages."""
    return [(r["path"], 1, r["group"]) for r in some(c, "dev", LISTED, 2.0)]


def main():
    a = arguments(__doc__, threads=2)
    folder = Path(a.work) / "originals"
    debian.fetch(folder, PACKAGES)
    at, told = 0, {}
    with open(folder / "audio.i16", "wb") as out, open(folder / "index.part", "w", newline="") as index, Pool(a.threads) as pool:
        w = csv.writer(index)
        w.writerow("path kind group label licence language split offset length".split())
        for package, (_, licence) in PACKAGES.items():
            found = clips(folder, package)
            for (label, path), x in zip(found, pool.imap(read, [p for _, p in found], chunksize=8)):
                who = f"{package}/{label}"
                kept = told.setdefault(who, [])
                if x is None or len(kept) >= MOST:
                    continue
                x.tofile(out)
                w.writerow([f"original/{who}/{len(kept):04d}", "original", who, label, licence, "multi", "demo" if who in DEMO else "dev" if who in DEV else "train", at, len(x)])
                kept.append(len(x) / RATE)
                at += len(x)
    (folder / "index.part").rename(folder / "index.csv")
    for who, s in told.items():
        if s:
            print(f"{who}: {len(s)} clips, {sum(s) / 60:.1f} min")


if __name__ == "__main__":
    main()
