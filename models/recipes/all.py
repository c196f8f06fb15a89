"""Everything in order: cache, teacher, vocoders, copies, encoder with its joint heads, speaker, spoof, vad, evaluation, pack, goldens, scene.

`python -m models.recipes.all --corpus DIR` resumes: a step whose result lies in the work folder is skipped.
"""
import subprocess
import sys
from pathlib import Path

from .common.corpus import arguments

STEPS = [("common.corpus", "cache/index.csv"), ("speaker.trials", None), ("speaker.teacher", "teacher.npz"),
         ("spoof.vocoders --kind melgan --minutes 11", "vocoder_melgan.json"), ("spoof.vocoders --kind hifigan --minutes 11", "vocoder_hifigan.json"),
         ("spoof.vocoders --kind istft --minutes 7", "vocoder_istft.json"), ("spoof.vocoders --kind codec --minutes 7", "vocoder_codec.json"),
         ("spoof.copy_synthesis", "copies.npz"), ("encoder.train", "encoder.done"), ("speaker.train", "speaker.json"),
         ("spoof.train", "spoof.json"), ("vad.train", "vad.json"), ("export", None), ("evaluate", None), ("export", None),
         ("goldens.make", None), ("goldens.pipeline", None), ("scene.make", None)]
PLAIN = {"goldens.make": [], "goldens.pipeline": []}


def main():
    a = arguments(__doc__)
    for name, result in STEPS:
        if result and (Path(a.work) / result).exists():
            print("have", result)
            continue
        more = PLAIN.get(name, ["--work", a.work] + ([] if name == "export" else ["--corpus", a.corpus]))
        for again in ([], ["--finish", "7.5"]) if name == "encoder.train" else ([],):
            print("==", name, *again, flush=True)
            subprocess.run([sys.executable, "-m", *("models.recipes." + name).split(), *more, *again], check=True)


if __name__ == "__main__":
    main()
