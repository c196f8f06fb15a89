"""Everything in order, from the corpus to the pack, its figures and the files that the tests hold it to.

`python -m models.recipes.all --corpus DIR` resumes: a step whose result lies in the work folder is skipped. The evaluation needs the release build
of the program (`make build`).

`--rehearse` goes through all steps on budgets cut to about a fiftieth: it tells whether they fit together, and what comes out is no pack to use. As steps write
into the repository too, it is for a clone, with an empty work folder.
"""
import subprocess
import sys
from pathlib import Path

from .common.corpus import arguments

STEPS = [("common.corpus", "cache/index.csv"), ("speaker.trials", None), ("spoof.trials", None),
         ("encoder.bank", "bank/index.npz"), ("encoder.train --minutes 65", "pretrained.json"), ("encoder.tune", "encoder.json"), ("speaker.train", "speaker.json"),
         ("spoof.originals", "originals/index.csv"), ("spoof.vocoders --kind melgan --minutes 11", "vocoder_melgan.json"), ("spoof.vocoders --kind hifigan --minutes 11", "vocoder_hifigan.json"),
         ("spoof.vocoders --kind istft --minutes 7", "vocoder_istft.json"), ("spoof.vocoders --kind codec --minutes 7", "vocoder_codec.json"),
         ("spoof.copy_synthesis", "copies.npz"), ("spoof.installed", "installed.npz"), ("spoof.engines", "engines.txt"), ("spoof.bank", "listener_bank/states.f16"), ("spoof.listener", "listener.json"),
         ("spoof.train --leave-out 1", "spoof.json"), ("spoof.together", None), ("sound.extra", "extra/extra.json"), ("sound.train", "sound.json"), ("vad.train", "vad.json"), ("encoder.ablation", "ablation.json"),
         ("speaker.clones", "clones/real_or_not.txt"), ("speaker.clones --split dev", "clones_dev/list.txt"), ("speaker.sessions", "sessions/test/turns.txt"), ("export", None), ("calibrate", None), ("export", None),
         ("spoof.partial --splits train,dev", "partial/train.txt"), ("spoof.short", "short.pt"), ("spoof.timeline", None), ("evaluate", None), ("export", None),
         ("goldens.make", None), ("goldens.pipeline", None), ("scene.make", None)]
ALONE = ("export", "spoof.short", "spoof.timeline")  # without the corpus
PLAIN = {"goldens.make": [], "goldens.pipeline": []}
REHEARSED = {"encoder.train": "--minutes 1", "encoder.tune": "--minutes 1", "speaker.train": "--minutes 0.3", "spoof.vocoders": "--minutes 0.5", "spoof.copy_synthesis": "--speech 40 --originals 6",
             "spoof.installed": "--sentences 20 --copies 12", "spoof.bank": "--pairs 1200 --heard 600 --installed 600", "spoof.listener": "--minutes 1", "spoof.train": "--steps 60 --expert-steps 60", "sound.train": "--minutes 0.5", "vad.train": "--steps 60",
             "encoder.ablation": "--steps 10", "speaker.clones": "--targets 12"}


def main():
    a = arguments(__doc__, rehearse=False)
    for name, result in STEPS:
        if result and (Path(a.work) / result).exists():
            print("have", result)
            continue
        more = PLAIN.get(name, ["--work", a.work] + ([] if name in ALONE else ["--corpus", a.corpus]))
        more += REHEARSED.get(name.split()[0], "").split() if a.rehearse else []  # the last of two counts
        print("==", name, flush=True)
        subprocess.run([sys.executable, "-m", *("models.recipes." + name).split(), *more], check=True)


if __name__ == "__main__":
    main()
