"""How far the rate at which a recording was kept, and the low-pass that comes with it, move the spoof head's ratio.

    python -m models.recipes.spoof.rates --corpus DIR [--split test] [--pack models/default]     # needs the release build

Files of the list as they are (16 kHz, some with sound up to 8 kHz); at 48 kHz with all that is in them, as a microphone would bring them; at 48 and 22.05 kHz by soxr, whose low-pass
takes what lies above 7.3 kHz, as converters do (the program resamples all of these itself); and through low-passes of recorders that leave less. Prints the EER of each, and by how many nats real and
synthetic ones move. What a recorder left is no evidence of a real voice: the nearer to 0 the better. Writes `<work>/rates/`.
"""
from pathlib import Path

import numpy as np
import soundfile
import soxr
from scipy import signal

from ..common import metrics
from ..common.corpus import RATE, arguments, open_corpus
from ..evaluate import Program
from . import trials


def low_pass(x, corner):
    return signal.fftconvolve(x, signal.firwin(513, corner, window="blackmanharris", fs=RATE), "same")


WAYS = {"as it is": lambda x: (x, RATE), "48 kHz, all of it": lambda x: (signal.resample(x, 3 * len(x)), 48000),
        "kept at 48 kHz": lambda x: (soxr.resample(x, RATE, 48000), 48000), "kept at 22.05 kHz": lambda x: (soxr.resample(x, RATE, 22050), 22050),
        "low-pass at 7.6 kHz": lambda x: (low_pass(x, 7600), RATE), "low-pass at 7.2 kHz": lambda x: (low_pass(x, 7200), RATE)}


def scored(program, c, listed, way, folder):
    """Ratios of all files, in nats, in their order."""
    folder.mkdir(parents=True, exist_ok=True)
    lines = []
    for n, (path, y, group) in enumerate(listed):
        x, rate = WAYS[way](c.audio(path))
        soundfile.write(folder / f"{n:04d}.wav", np.clip(x, -1, 1), rate, subtype="PCM_24")
        lines.append(f"{n:04d}.wav\t{('spoof', 'bonafide')[y]}\t{group}\n")
    (folder / "list.txt").write_text("".join(lines))
    program("spoof", folder / "list.txt", "--rounds", "0", "--scores", str(folder / "scores.tsv"), audio=folder)
    return np.array([float(l.split("\t")[-1]) for l in (folder / "scores.tsv").read_text().splitlines()])


def main():
    a = arguments(__doc__, split="test", pack="models/default", program="target/release/earwitness")
    c, listed = open_corpus(a), trials.read(a.split)
    y, studio = (np.array(v) for v in zip(*((label, group != "librispeech") for _, label, group in listed)))
    program, first = Program(a), None
    for way in WAYS:
        s = scored(program, c, listed, way, Path(a.work) / "rates" / way.replace(" ", "_"))
        first = s if first is None else first
        moved = {name: (s - first)[of].mean() for name, of in (("LibriSpeech", (y == 1) & ~studio), ("real, of demo pages", (y == 1) & studio), ("synthetic", y == 0))}
        print(f"{way:20} EER {metrics.eer(s, y):5.2f} %   ", "   ".join(f"{name} {v:+.2f}" for name, v in moved.items()), flush=True)


if __name__ == "__main__":
    main()
