"""How many streams of speech one GPU keeps up with: the daemon, and PyTorch doing the same work on the same device in the same run.

    python -m models.recipes.bench_gpu_streams target/release/earwitness                   # fp32; needs EARWITNESS_ORT, see docs/gpu.md
    python -m models.recipes.bench_gpu_streams target/release/earwitness --half            # fp16, where the pack has it
    python -m models.recipes.bench_gpu_streams target/release/earwitness --device cpu --streams 2,4 --batch 4 --seconds 1

A stream is a window of 3 s each second, out of one recording. Work on one is what src/pipeline/analyser.rs does with it: filter bank, speech activity,
encoder, sounds, and of a window with enough new speech in it the embedding and the judgement on the voice with its spectral views.

`--pack` and `--checkpoint` compare a published encoder, random weights or not, as models/recipes/export_transformers.py makes a pack of it.

PyTorch's side is what somebody would write for a batch: everything on the device, the recordings' samples being all that goes there; windows of a
second come together and run in batches of each --batch; heads see whole windows, so that no batch falls apart. As fast as it goes it keeps up with as many
streams as it has windows done a second. Its heads have random weights, which costs the same; the encoder is the pack's. The daemon runs as a user runs it,
its streams not in step (`bench --spread`), and keeps up where nothing is lost and 99 of 100 windows have their event within a second.

At the end: with how many streams each keeps a budget, from the end of a window to its event, for 99 of 100 windows. The daemon's are measured, the most of
those that were tried. PyTorch's are reckoned from how long its batches took, one after the other, in its favour: windows come evenly, nobody but the batch
before keeps one waiting that is full, and nothing is decoded, decided or published.
"""
import argparse
import json
import platform
import statistics
import subprocess
import sys
import threading
import time
import tomllib
from pathlib import Path

import numpy as np
import onnxruntime
import soundfile
import torch

from . import bench_gpu, restore
from .common import nets, torch_features
from .peers import windows


BUDGETS = (75, 100, 150, 250, 1000)  # milliseconds
LEAST = 200  # batches that are reckoned with


class Net:
    """A pack's networks: the default pack's encoder and speaker head with their weights, others of the same shapes."""

    def __init__(self, a, compiled):
        manifest = tomllib.loads((a.pack / "pack.toml").read_text())
        self.input = bench_gpu.front(manifest)
        heads = {"speaker": lambda: restore.speaker(a.pack / "speaker.onnx"), "spoof": lambda: nets.Spoof(*restore.kinds(a.pack)), "sound": lambda: nets.Tagger(len(manifest["sound"]["classes"]))}
        made = {"vad": nets.Vad(), "encoder": bench_gpu.network(a)} | {name: make() for name, make in heads.items() if name in manifest}
        run = torch.compile if compiled else lambda net: net
        self.net = {name: run(net.eval().to(a.device)) for name, net in made.items()}
        self.device, self.half, self.compiled, self.heard = a.device, a.half, compiled, 0

    def voices(self, speech):
        """Which windows have an utterance that is new and long enough."""
        enough = windows.LENGTH // 2 // windows.FRAME
        found = [windows.newest_utterance(s) for s in speech]
        return [i for i, u in enumerate(found) if u and u.silence * windows.FRAME < windows.HOP and u.end - u.start >= enough]

    def encode(self, x):
        with torch.autocast(self.device, dtype=torch.float16, enabled=self.half):
            return self.net["encoder"](x).float()

    def __call__(self, x, speech):
        """One batch [B, 48000] of samples; `speech` [B, 149]: where the pack's own detector hears it, for this one's weights are random."""
        with torch.inference_mode():
            wave = torch.from_numpy(x).to(self.device)
            fbank = torch_features.fbank(wave)
            fbank = fbank[:, : fbank.shape[1] // 2 * 2]
            self.net["vad"](fbank).cpu()
            heard, hidden = (fbank if self.input == "fbank" else wave), None
            if "sound" in self.net:
                hidden = self.encode(heard)
                self.net["sound"](hidden).cpu()
            chosen = self.voices(speech)
            self.heard += len(chosen)
            if not chosen:
                return
            if self.compiled:  # each new size would be compiled anew
                chosen = chosen + chosen[-1:] * (len(x) - len(chosen))
            at = torch.tensor(chosen, device=self.device)
            spoken = self.encode(heard[at]) if hidden is None else hidden[at]
            if "speaker" in self.net:
                self.net["speaker"](spoken).cpu()
            if "spoof" in self.net:
                spectral = torch_features.spectral(wave[at])
                self.net["spoof"](spoken, spectral[:, : spectral.shape[1] // 2 * 2]).cpu()
        if self.device == "cuda":
            torch.cuda.synchronize()


class Meter(threading.Thread):
    """How busy the GPU is, per cent, as nvidia-smi tells."""

    def __init__(self):
        super().__init__(daemon=True)
        self.seen, self.program = [], None

    def run(self):
        ask = ["nvidia-smi", "--query-gpu=utilization.gpu", "--format=csv,noheader,nounits", "--loop-ms=200"]
        try:
            self.program = subprocess.Popen(ask, stdout=subprocess.PIPE, text=True)
        except OSError:
            return
        for line in self.program.stdout:
            if line.strip().isdigit():
                self.seen.append(int(line))

    def stop(self):
        if self.program:
            self.program.kill()
        self.join(1)
        return statistics.mean(self.seen) if self.seen else None


def cut(audio, count, batch):
    """`count` batches of windows at places all over the recording."""
    x, rate = soundfile.read(audio, dtype="float32")
    assert rate == windows.RATE and x.ndim == 1, (rate, x.shape)
    x = np.concatenate([x, x[: windows.LENGTH]])
    starts = np.random.default_rng(0).integers(0, len(x) - windows.LENGTH, (count, batch))
    return [np.stack([x[s : s + windows.LENGTH] for s in row]) for row in starts]


def speech(pack, batches):
    """Where the pack hears speech in them."""
    net = onnxruntime.InferenceSession(str(pack / "vad.onnx"), providers=["CPUExecutionProvider"])
    threshold = tomllib.loads((pack / "pack.toml").read_text())["vad"]["threshold"]
    frames = lambda x: torch_features.fbank(torch.from_numpy(x))
    return [net.run(None, {"fbank": f[:, : f.shape[1] // 2 * 2].numpy()})[0] >= threshold for f in map(frames, batches)]


def pytorch(a, batch, compiled):
    net = Net(a, compiled)
    batches = cut(a.audio, 8, batch)
    known = speech(a.pack, batches)
    for _ in range(2):  # each batch has as many voices as it has, a shape that cuDNN meets for the first time: up to half a second
        for x, k in zip(batches, known):
            net(x, k)
    meter, took, net.heard = Meter(), [], 0
    if a.device == "cuda":
        torch.cuda.synchronize()
        meter.start()
    began = time.perf_counter()
    while time.perf_counter() - began < a.seconds or len(took) < 3:
        t = time.perf_counter()
        net(batches[len(took) % 8], known[len(took) % 8])
        took.append(time.perf_counter() - t)
    spent = time.perf_counter() - began
    gpu = meter.stop() if a.device == "cuda" else None
    yield {"by": "torch.compile" if compiled else "PyTorch eager", "streams": int(len(took) * batch / spent), "batch": batch, "ms": 1000 * statistics.median(took),
            "p99_ms": 1000 * float(np.quantile(took, 0.99)), "voices": net.heard / (len(took) * batch), "gpu_percent": gpu,
            "within": {budget: most_within(took, batch, budget / 1000) for budget in BUDGETS}}


def lag(took, batch, streams):
    """Seconds that 99 of 100 windows wait, of so many a second that come evenly and run in full batches, each of which takes as long as one of `took`."""
    come = np.arange(len(took) * batch).reshape(-1, batch) / streams
    done = np.empty(len(took))
    free = 0.0
    for i, (full, t) in enumerate(zip(come[:, -1], took)):
        done[i] = free = max(full, free) + t
    return float(np.quantile(done[:, None] - come, 0.99))


def most_within(took, batch, budget):
    """The most streams of which 99 of 100 windows wait no longer than `budget` seconds; 0 where few are too slow to fill a batch, and more too many."""
    took = np.resize(np.asarray(took), max(len(took), LEAST))
    tried = range(10, int(batch * len(took) / sum(took)) + 1, 10)
    return max((streams for streams in tried if lag(took, batch, streams) <= budget), default=0)


def daemon(a, workers, batch):
    """Each number of streams that was tried, for one way to run it."""
    ask = [a.program, "bench", "--measure", "streams", "--spread", "--json", "--seconds", str(a.seconds), "--provider", a.device, "--pack", str(a.pack),
           "--audio", str(a.audio), "--streams", ",".join(map(str, a.streams)), "--batch", str(batch), "--workers", str(workers), *a.more]
    ask += ["--precision", "fp16"] if a.half else []
    done, found = subprocess.Popen(ask, stdout=subprocess.PIPE, text=True), 0
    for said in done.stdout:
        if '"streams"' in said:
            found += 1
            yield {"by": "earwitness", "workers": workers, **json.loads(said)}
    if done.wait() or not found:
        raise RuntimeError(f"{' '.join(ask)}: ended with {done.returncode}")


def budgets(rows):
    """The most streams that each keeps each budget with, whatever the batches and workers."""
    found = {}
    for r in rows:
        if "streams" not in r:
            continue
        own = r["within"] if "within" in r else {b: r["streams"] if r["keeps_up"] and r["lag_p99_ms"] <= b else 0 for b in BUDGETS}
        best = found.setdefault(r["by"], dict.fromkeys(BUDGETS, 0))
        best.update({b: max(best[b], own[b]) for b in BUDGETS})
    return found


HEAD = f"{'':<16}{'workers':>8}{'batch':>7}{'streams':>9}{'keeps up':>10}{'lag p99 ms':>12}{'batch ms':>10}{'cores':>7}{'gpu %':>7}"


def line(r):
    """A row for people."""
    if "error" in r:
        return f"{r['by']:<16}{r['error']}"
    number = lambda v, form="{:.0f}": "-" if v is None else form.format(v)
    batch = number(r.get("batch", r.get("mean_batch")), "{:.0f}" if "batch" in r else "{:.1f}")
    return (f"{r['by']:<16}{number(r.get('workers')):>8}{batch:>7}{r['streams']:>9}{'yes' if r.get('keeps_up', True) else 'no':>10}"
            f"{number(r.get('lag_p99_ms')):>12}{number(r.get('ms')):>10}{number(r.get('cores'), '{:.1f}'):>7}{number(r['gpu_percent']):>7}")


def main(argv=None):
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument("program", help="the daemon's binary")
    p.add_argument("--pack", type=Path, default=Path("models/default"))
    p.add_argument("--checkpoint", type=Path, help="folder that a published encoder's pack was made of")
    p.add_argument("--audio", type=Path, default=Path("examples/scene/scene.flac"), help="16 kHz, mono")
    p.add_argument("--device", choices=("cpu", "cuda"), default="cuda" if torch.cuda.is_available() else "cpu")
    numbers = lambda t: [int(n) for n in t.split(",")]
    p.add_argument("--streams", type=numbers, default=[500, 1000, 1500, 2000, 2500, 3000, 3500, 4000], help="numbers to try, until one is too many")
    p.add_argument("--batch", type=numbers, default=[32, 64, 128], help="windows at once, each tried")
    p.add_argument("--workers", type=numbers, default=[4], help="of the daemon, each tried")
    p.add_argument("--seconds", type=float, default=6.0, help="how long each is measured")
    p.add_argument("--half", action="store_true", help="fp16: autocast in PyTorch, encoder.fp16.onnx in the daemon")
    p.add_argument("--by", type=lambda t: t.split(","), default=["daemon", "eager", "compile"], help="who is measured: daemon, eager, compile")
    p.add_argument("--more", nargs=argparse.REMAINDER, default=[], help="options of `earwitness bench`, at the end")
    p.add_argument("--json", type=Path, default=Path("target/bench_gpu_streams.json"))
    a = p.parse_args(argv)
    torch.backends.cuda.matmul.allow_tf32 = torch.backends.cudnn.allow_tf32 = False
    rows = []
    ways = [lambda w=w, b=b: daemon(a, w, b) for b in a.batch for w in a.workers] if "daemon" in a.by else []
    ways += [lambda c=c, b=b: pytorch(a, b, c) for name, c in (("eager", False), ("compile", True)) for b in a.batch if name in a.by]
    print(HEAD)
    for way in ways:
        try:
            for row in way():
                rows.append(row)
                print(line(row), flush=True)
        except Exception as e:  # each in turn: what does not work here leaves the others their turn, and is told
            rows.append({"by": "-", "error": f"{type(e).__name__}: {e}"[:700]})
            print(line(rows[-1]), flush=True)
    within = budgets(rows)
    print("\nmost streams within ms" + "".join(f"{budget:>8}" for budget in BUDGETS))
    for by, most in within.items():
        print(f"{by:<22}" + "".join(f"{most[budget]:>8}" for budget in BUDGETS))
    gpu = torch.cuda.get_device_name() if a.device == "cuda" else None
    a.json.parent.mkdir(parents=True, exist_ok=True)
    a.json.write_text(json.dumps({"device": a.device, "gpu": gpu, "machine": platform.machine(), "half": a.half, "torch": torch.__version__, "within": within, "rows": rows}, indent=1) + "\n")
    if not any("streams" in r for r in rows):
        sys.exit("nothing could be measured; the lines above say why")


if __name__ == "__main__":
    main()
