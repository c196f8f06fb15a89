"""Builds the bundled demo scene from the corpus's `demo` split: enrolment clips, scene.flac, scene.json and LICENCE.md.

Nothing was trained on these speakers. Every spoken part is trimmed, brought to the same active level and faded alike, and one
faint noise floor lies under the whole scene, so that neither level nor silence tells what is synthetic. The music is synthesised here.
"""
import json
from pathlib import Path

import numpy as np
import soundfile as sf

from ..common.corpus import RATE, arguments, open_corpus
from ..spoof.copy_synthesis import world
from ..spoof.data import trim

OUT = Path("examples/scene")
SPEECH = "speech/asterisk/"
ENROL = {"allison": [("en_core/0014.opus", 0.0, 18.0)], "anna": [("ru_core/0014.opus", 0.0, 18.0)]}
SCENE = [("allison", "en_core/0025.opus", 0.0, 10.0, "real"), ("anna", "ru_core/0024.opus", 0.0, 10.0, "real"),
         ("unknown", "it_menardi/0009.opus", 0.0, 10.0, "real"), ("allison", "en_core/0024.opus", 0.0, 10.0, "synthetic"),
         ("music", None, 0.0, 8.0, None), ("allison", "en_core/0026.opus", 0.0, 8.0, "real")]
PAUSE, TARGET = 1.2, 0.08

LICENCE = """# Licences of the demo audio

`scene.flac` is a collection of separate clips, one after another; each keeps its own licence. Cut, level-normalised, once through
Opus at 15 kbit/s; the fourth spoken part of the scene is a WORLD resynthesis of the named recording.

| part | from | voice | licence |
|---|---|---|---|
| `enrol/allison_1.flac`, parts 1, 4 (resynthesised) and 6 of the scene | Debian `asterisk-core-sounds-en` | Allison Smith | CC-BY-SA-3.0 |
| `enrol/anna_1.flac`, part 2 of the scene | Debian `asterisk-core-sounds-ru` | the Russian Asterisk voice ("anna" is our label) | CC-BY-SA-3.0 |
| part 3 of the scene | Debian `asterisk-prompt-it-menardi` | the voice of Menardi's Italian prompts | GPL-2+ |
| part 5 of the scene (music) and the noise floor | synthesised by `models/recipes/scene/make.py` | none | CC0-1.0 |
"""


def level(x):
    """The root mean square of the active frames, brought to TARGET."""
    e = (x[: len(x) // 400 * 400].reshape(-1, 400) ** 2).mean(1)
    return x * TARGET / np.sqrt(e[e > e.max() * 1e-3].mean())


def fade(x, n=800):
    r = 0.5 - 0.5 * np.cos(np.pi * np.arange(n) / n)
    x = x.copy()
    x[:n] *= r
    x[-n:] *= r[::-1]
    return x


def music(seconds, seed=4):
    """Arpeggiated chords with decaying harmonics, a bass, and noise drums."""
    rng, n = np.random.default_rng(seed), int(seconds * RATE)
    out = np.zeros(n + RATE * 2)

    def note(at, f, length, gain, harmonics=6):
        t = np.arange(int(length * RATE)) / RATE
        y = sum(np.sin(2 * np.pi * f * k * t) / k**1.5 for k in range(1, harmonics + 1) if f * k < 7500)
        i = int(at * RATE)
        out[i : i + len(t)] += gain * y * np.exp(-3 * t / length) * np.minimum(1, t / 0.005)

    beat = 0.25
    for i in range(int(seconds / beat)):
        chord = [(220, 261.6, 329.6), (174.6, 220, 261.6), (261.6, 329.6, 392), (196, 246.9, 293.7)][(i // 8) % 4]
        note(i * beat, chord[i % 3] * (2 if i % 4 == 3 else 1), 0.6, 0.25)
        if i % 8 == 0:
            for f in chord:
                note(i * beat, f, 2.0, 0.15)
        if i % 4 == 0:
            note(i * beat, chord[0] / 2, 0.9, 0.3)
        hit = rng.standard_normal(2400) * np.exp(-np.arange(2400) / (900 if i % 4 == 2 else 200))
        s = int(i * beat * RATE)
        out[s : s + 2400] += 0.15 * (hit if i % 4 == 2 else np.diff(hit, prepend=0))
    return out[:n]


def clip(c, path, start, length):
    x = trim(c.audio(SPEECH + path))
    return x[int(start * RATE) : int((start + length) * RATE)].astype(np.float64)


def main():
    c = open_corpus(arguments(__doc__))
    (OUT / "enrol").mkdir(parents=True, exist_ok=True)
    for name, parts in ENROL.items():
        for i, p in enumerate(parts, 1):
            sf.write(OUT / "enrol" / f"{name}_{i}.flac", fade(level(clip(c, *p))), RATE, subtype="PCM_16")
    audio, truth = [np.zeros(int(PAUSE * RATE))], []
    for who, path, start, length, kind in SCENE:
        if path is None:
            x = music(length)
        else:
            x = clip(c, path, start, length)
            if kind == "synthetic":
                x = world(x.astype(np.float32), NoDraw())
        x = fade(level(x))
        at = sum(map(len, audio)) / RATE
        truth.append({"start": round(at, 3), "end": round(at + len(x) / RATE, 3), "kind": "music" if path is None else "speech",
                      "speaker": None if path is None else who, "synthetic": None if path is None else kind == "synthetic"})
        audio += [x, np.zeros(int(PAUSE * RATE))]
    x = np.concatenate(audio)
    x = x + 10 ** (-72 / 20) * np.random.default_rng(1).standard_normal(len(x))
    assert np.abs(x).max() < 1, np.abs(x).max()
    sf.write(OUT / "scene.flac", x, RATE, subtype="PCM_16")
    names = {n: [f"enrol/{n}_{i}.flac" for i in range(1, len(p) + 1)] for n, p in ENROL.items()}
    doc = {"audio": "scene.flac", "sample_rate": RATE, "seconds": round(len(x) / RATE, 3), "enrol": names, "segments": truth}
    (OUT / "scene.json").write_text(json.dumps(doc, indent=1) + "\n")
    (OUT / "LICENCE.md").write_text(LICENCE)
    print(json.dumps(doc, indent=1))


class NoDraw:
    """Stands in for the random generator: WORLD with its full envelope and the pitch as it is."""

    def random(self):
        return 1.0


if __name__ == "__main__":
    main()
