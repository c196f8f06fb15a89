"""How the watch over streams does, by the program itself: changes made up in the middle of real speech, and false alarms on speech as it is.

    python -m models.recipes.health --corpus DIR [--program target/release/earwitness] [--split test] [--most 24] [--out FOLDER]

Each speaker's recordings of a split, one after the other, are a stream of 90 s at most. As they are, every event is a false alarm (but that recordings
of one speaker may differ in band). Then the second half is changed: telephone band and mu-law, Opus at 8 kHz, a driver that repeats one buffer, silence
of a dead microphone; and an encoder of which only a few dimensions are left, doctored by this script, hears the streams all in a row.
"""
import hashlib
import io
import json
import shutil
import subprocess
import tomllib
from collections import Counter
from pathlib import Path

import numpy as np
import onnx
import soundfile as sf
import soxr
from onnx import helper, numpy_helper
from scipy.signal import butter, sosfilt

from .common.corpus import RATE, arguments, open_corpus

LONG, SHORT = 90 * RATE, 60 * RATE
LEFT = 4  # dimensions of a collapsed encoder


def telephone(x):
    y = soxr.resample(x, RATE, 8000)
    y = sosfilt(butter(4, (300, 3400), "bandpass", fs=8000, output="sos"), y).clip(-1, 1)
    code = np.round(np.log1p(255 * np.abs(y)) / np.log(256) * 127) / 127
    return soxr.resample(np.sign(y) * (256**code - 1) / 255, 8000, RATE)


def opus(x):
    f = io.BytesIO()
    sf.write(f, soxr.resample(x, RATE, 8000), 8000, format="OGG", subtype="OPUS")
    f.seek(0)
    y, rate = sf.read(f, dtype="float32")
    return soxr.resample(y, rate, RATE)


CHANGES = {
    "telephone": ("band", telephone), "opus_8khz": ("band", opus),
    "repeated_buffer": ("microphone", lambda x: np.tile(x[:1024], len(x) // 1024)), "dead": ("microphone", np.zeros_like),
}


def streams(c, split):
    """Name, samples: one a speaker with enough speech."""
    by = {}
    for r in c.select(split, "speech"):
        by.setdefault(r["who"], []).append(r)
    for who, rows in sorted(by.items()):
        yield who.replace("/", "_").replace(".", "_"), np.concatenate([c.audio(r) for r in rows])[:LONG]


def run(program, pack, folder, files):
    """The health events of each file."""
    events = folder / "events.jsonl"
    events.unlink(missing_ok=True)
    text = f'[models]\npack = "{Path(pack).resolve()}"\nallow_unsigned = true\nworkers = 1\n[spoof]\nenabled = false\n[sound]\nenabled = false\n[jsonl]\npath = "events.jsonl"\n'
    text += "".join(f'[[stream]]\nid = "s{i}"\nsource = {{ kind = "file", path = "{f.resolve()}", speed = 0 }}\n' for i, f in enumerate(files))
    (folder / "ew.toml").write_text(text)
    subprocess.run([program, "--log-level", "error", "run", "-c", str(folder / "ew.toml")], check=True)
    found = [[] for _ in files]
    with open(events) as f:
        for e in map(json.loads, f):
            if e["type"] == "health":
                found[int(e["id"]["stream"][1:])].append(e)
    return found


def collapsed(pack, folder):
    """A copy of the pack whose hidden states have LEFT dimensions; the known answer is its own."""
    import onnxruntime

    from .export import known_input

    shutil.copytree(pack, folder, dirs_exist_ok=True)
    at, text = folder / "encoder.onnx", (folder / "pack.toml").read_text()
    old = hashlib.sha256(at.read_bytes()).hexdigest()
    m = onnx.load(at)
    for n in m.graph.node:
        n.output[:] = ["all" if o == "hidden" else o for o in n.output]
        n.input[:] = ["all" if o == "hidden" else o for o in n.input]
    dim = tomllib.loads(text)["encoder"]["dim"]
    q = np.linalg.qr(np.random.default_rng(0).normal(size=(dim, LEFT)))[0]
    m.graph.initializer.append(numpy_helper.from_array((q @ q.T).astype(np.float32), "few"))
    m.graph.node.append(helper.make_node("MatMul", ["all", "few"], ["hidden"]))
    at.write_bytes(m.SerializeToString())
    # Without its stream: each window is encoded whole.
    lines = text[: text.index("[encoder.known_answer]")] + text[text.index("[encoder.health]") : text.index("[speaker]")]
    s = onnxruntime.InferenceSession(str(at), providers=["CPUExecutionProvider"])
    answer = s.run(["hidden"], {"fbank": known_input("fbank")})[0].ravel()[:8].astype(float).tolist()
    going = text[text.index("[encoder.stream]") : text.index("[encoder.stream.known_answer]")]
    from . import stream

    more = s.run(["hidden"], stream.known_input())[0].ravel()[:8].astype(float).tolist()
    lines += f"[encoder.known_answer]\noutput = {answer}\n{going}[encoder.stream.known_answer]\noutput = {more}\n\n"
    (folder / "pack.toml").write_text((lines + text[text.index("[speaker]") :]).replace(old, hashlib.sha256(at.read_bytes()).hexdigest()))
    return folder


def main():
    a = arguments(__doc__, pack="models/default", program="target/release/earwitness", split="test", out="models/.train/health", most=24)
    c, out = open_corpus(a), Path(a.out)
    out.mkdir(parents=True, exist_ok=True)
    all_of = list(streams(c, a.split))

    def write(name, made):
        (out / name).mkdir(exist_ok=True)
        files = []
        for who, x in made:
            files.append(out / name / f"{who}.wav")
            sf.write(files[-1], x.astype(np.float32), RATE)
        return files

    clean = write("clean", all_of)
    hours = sum(len(x) for _, x in all_of) / RATE / 3600
    found = run(a.program, a.pack, out, clean)
    parts = Counter(e["part"] for of in found for e in of)
    print(f"{a.split}, as it is: {hours:.2f} h of {len(clean)} speakers, events {dict(parts)}, in {sum(bool(f) for f in found)} of the streams: {sorted({f.stem.rsplit('_', 1)[0] for f, of in zip(clean, found) if of})}", flush=True)
    long = [(who, x) for who, x in all_of if len(x) >= SHORT]
    long = long[:: max(1, len(long) // a.most)]
    for name, (part, change) in CHANGES.items():
        half = lambda x: len(x) // 2
        files = write(name, ((who, np.concatenate([x[: half(x)], change(x[half(x) :])])) for who, x in long))
        found = run(a.program, a.pack, out, files)
        hits = []
        for (who, x), of in zip(long, found):
            at = half(x) / RATE
            hits.append(next((e["end_s"] - at for e in of if e["part"] == part and not e["ok"] and e["end_s"] > at), None))
        late = [h for h in hits if h is not None]
        print(f"{name}: found in {len(late)} of {len(hits)} streams, {np.median(late) if late else 0:.0f} s after it (median)", flush=True)
    row = np.concatenate([x for _, x in all_of])[: 600 * RATE]
    files = write("row", [("row", row)])
    for name, pack in (("the pack", a.pack), (f"{LEFT} dimensions", collapsed(Path(a.pack), out / "collapsed"))):
        (of,) = run(a.program, pack, out, files)
        of = [(e["end_s"], round(e["value"], 2)) for e in of if e["part"] == "encoder"]
        print(f"encoder, {name}, {len(row) / RATE:.0f} s: {of or 'no event'}", flush=True)


if __name__ == "__main__":
    main()
