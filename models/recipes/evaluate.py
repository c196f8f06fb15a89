"""The figures of the pack on the test split, by the program itself (`earwitness eval`), and those of what people would use instead.

`python -m models.recipes.evaluate --corpus DIR` needs the release build. It writes `<work>/evaluation.json`, from which the exporter takes every
figure of pack.toml and report.json, and the plots in `models/default/report/`. Test speakers, systems and sounds were never trained or chosen on.
"""
import json
import subprocess
from pathlib import Path

import numpy as np

from .common import augment
from .common.corpus import arguments, open_corpus
from .pack import Pack
from .speaker import trials
from .sound.figures import esc10_list
from .sound.figures import figures as sound_figures
from .spoof import trials as files
from .vad.figures import figures as vad_figures


class Program:
    """`earwitness eval TASK LIST --json`, and the plots that it draws."""

    def __init__(self, a):
        self.program, self.corpus, self.pack, self.plots = a.program, a.corpus, a.pack, Path(a.pack) / "report"
        self.plots.mkdir(exist_ok=True)

    def __call__(self, task, listed, *more, audio=None, plot=None):
        command = [self.program, "eval", task, str(listed), "--json", *more]
        if "--given" not in more:
            # A pack that was just written is not the one that the program was built with.
            command += ["--pack", self.pack, "--allow-unsigned", "--audio", str(audio or self.corpus)]
        if plot:
            command += ["--det", str(self.plots / f"{plot}_det.svg"), "--histogram", str(self.plots / f"{plot}_scores.svg")]
        got = subprocess.run(command, stdout=subprocess.PIPE, check=True, text=True).stdout
        return json.loads(got.splitlines()[-1])


def brief(r):
    """Of a report of the program, what stands in the tables."""
    if "missing" in r:
        return r
    short = {k: round(v, 3) if isinstance(v, float) else v for k, v in r.items()}
    return {k: short[k] for k in ("eer_percent", "eer_low_percent", "eer_high_percent", "min_dcf", "act_dcf", "cllr", "positives", "negatives") if k in short}


def with_speakers(c, pairs, group, at):
    """The list as the program wants it: with a group, and the speakers for the bootstrap."""
    who = lambda p: c.by_path[p]["who"]
    at.write_text("".join(f"{a}\t{i}\t{b}\t{j}\t{y}\t{group(a, b)}\t{who(a)}\t{who(b)}\n" for a, i, b, j, y in pairs if group(a, b)))
    return at


def pitch(c, paths):
    """Median F0 of each file in Hz (pyworld), for figures by voice where the corpus does not tell the sex."""
    import pyworld

    out = {}
    for p in paths:
        x = c.audio(p)[: 16000 * 4].astype(np.float64)
        f0, _ = pyworld.dio(x, 16000)
        out[p] = float(np.median(f0[f0 > 0])) if (f0 > 0).any() else 0.0
    return out


def noisy(c, pairs, snr, folder):
    """The segments of the trials under test sounds at `snr` dB, as files; returns the list over them."""
    import soundfile as sf

    folder.mkdir(parents=True, exist_ok=True)
    rng = np.random.default_rng(int(snr) + 100)
    rows = [r for r in c.select("test", "sound") + c.select("test", "music") if r["length"] > 8000]
    at = {}
    for k, (p, s) in enumerate(trials.segments(pairs)):
        r = rows[rng.integers(len(rows))]
        noise = augment.fit_length(c.audio(r), trials.LENGTH, rng)
        x = augment.add_noise(c.audio(p, s, trials.LENGTH), noise, snr)
        at[p, s] = f"{k}.wav"
        sf.write(folder / at[p, s], x / max(1.0, np.abs(x).max()), 16000)
    who = lambda p: c.by_path[p]["who"]
    text = "".join(f"{at[a, i]}\t0\t{at[b, j]}\t0\t{y}\t{a.split('/')[1]}\t{who(a)}\t{who(b)}\n" for a, i, b, j, y in pairs)
    (folder / "list.txt").write_text(text)
    return folder / "list.txt"


def others(c, split):
    """The control and Resemblyzer on the same trials."""
    from .speaker.teacher import Teacher

    out = {}
    for name, embed in (("control_mfcc", trials.control(c)), ("resemblyzer", Teacher().embed)):
        for seconds in ("3", "1.5"):
            r = trials.report(c, embed, int(float(seconds) * 16000), split=split)
            out[f"{name}_{seconds}s"] = {k: float(v) if k != "ci" else v for k, v in r.items()}
    return out


def speaker_figures(c, program, work):
    out, pairs = {}, trials.read("test")
    source = lambda a, b: a.split("/")[1]
    for split in ("dev", "test"):
        listed = with_speakers(c, trials.read(split), source, work / f"{split}.txt")
        for seconds in ("3", "1.5"):
            r = program("speaker", listed, "--seconds", seconds, plot=f"speaker_{split}_{seconds.replace('.', '_')}s")
            out[f"{split}_{seconds}s"] = {**brief(r["overall"]), "groups": {k: brief(v) for k, v in r["groups"].items()}}
            out[f"{split}_{seconds}s_streamed"] = brief(program("speaker", listed, "--seconds", seconds, "--streamed", "3")["overall"])
        out[f"{split}_others"] = others(c, split)
    f0 = pitch(c, sorted({p for t in pairs for p in (t[0], t[2])}))
    voice = lambda p: "low" if f0[p] < 165 else "high"
    same = lambda a, b: f"{voice(a)} voices" if voice(a) == voice(b) else ""
    r = program("speaker", with_speakers(c, pairs, same, work / "voices.txt"))
    out["test_by_voice"] = {k: brief(v) for k, v in r["groups"].items()}
    out["test_by_noise"] = {}
    for snr in (20, 10, 5, 0):
        folder = work / f"noise_{snr}"
        out["test_by_noise"][f"{snr} dB"] = brief(program("speaker", noisy(c, pairs, snr, folder), audio=folder)["overall"])
    return out


def spoof_figures(c, program, work):
    out = {}
    for split in ("dev", "test"):
        scored = work / f"spoof_{split}.tsv"
        r = program("spoof", files.LIST[split].resolve(), "--scores", str(scored), plot=f"spoof_{split}")
        out[split] = {**brief(r["overall"]), "systems": {k: brief(v) for k, v in r["attacks"].items()}}
        lines = [(l, *l.split("\t")[1:3]) for l in scored.read_text().splitlines(True)]
        for name, keep in (("librispeech", lambda s: s == "librispeech"), ("demo_pages", lambda s: s != "librispeech")):
            at = work / f"spoof_{split}_{name}.tsv"
            at.write_text("".join(l for l, y, s in lines if y in ("0", "spoof") or keep(s)))
            out[split][name] = brief(program("spoof", at, "--given")["overall"])
    return out


def clone_figures(program, work):
    """Verification with forged voices of the target among the trials: of the speaker head alone, after the spoof head, and fused with it; and the spoof head alone."""
    folder = work.parent / "clones"
    r = program("spoof", folder / "real_or_not.txt", audio=folder)
    out, listed = {"seen_systems": {**brief(r["overall"]), "systems": {k: brief(v) for k, v in r["attacks"].items()}}}, folder / "list.txt"
    for score in ("speaker", "cascade", "fused"):
        r = program("speaker", listed, "--score", score, plot=f"clones_{score}" if score == "fused" else None)
        out[score] = r["spoofing"]
    return out


def heard_figures(c, pack, program, work):
    r = program("sound", esc10_list(c, work / "esc10.txt"))
    told = {f"{k}_percent": round(100 * r[k], 2) for k in ("accuracy", "accuracy_low", "accuracy_high")}
    return {**sound_figures(c, pack), "esc10_by_the_program": told}


def main():
    a = arguments(__doc__, pack="models/default", program="target/release/earwitness", parts="speed,speaker,spoof,clones,sound,vad")
    c, work = open_corpus(a), Path(a.work) / "report"
    work.mkdir(exist_ok=True)
    program, pack = Program(a), Pack(a.pack)
    makes = {"speed": pack.speed, "speaker": lambda: speaker_figures(c, program, work), "spoof": lambda: spoof_figures(c, program, work),
             "clones": lambda: clone_figures(program, work), "sound": lambda: heard_figures(c, pack, program, work),
             "vad": lambda: vad_figures(c, pack)}
    for part in a.parts.split(","):  # each is kept as soon as it is there
        if part == "clones" and not (work.parent / "clones" / "real_or_not.txt").exists():
            continue
        (work / f"{part}.json").write_text(json.dumps(makes[part](), default=float))
    out = {part: json.loads((work / f"{part}.json").read_text()) for part in makes if (work / f"{part}.json").exists()}
    out["milliseconds_per_3s_window"] = out.pop("speed", {})
    print(json.dumps(out, indent=1))
    (Path(a.work) / "evaluation.json").write_text(json.dumps(out))


if __name__ == "__main__":
    main()
