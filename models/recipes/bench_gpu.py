"""Speed of a pack's encoder on one device: PyTorch eager, torch.compile and ONNX Runtime on equal windows, at several batch sizes.

    python -m models.recipes.bench_gpu                              # the GPU where PyTorch sees one, else the CPU
    python -m models.recipes.bench_gpu --device cpu --batch 1,2 --seconds 1 --windows 2
    python -m models.recipes.bench_gpu --pack models/packs/wavlm-base --checkpoint wavlm-base       # a published encoder

Windows a second, the median of the runs that fit into --seconds, and the median milliseconds of a run; as JSON too. PyTorch gets the encoder's
network with the weights out of the pack's own ONNX file, so that all compute the same function, and the answers are compared before anything is timed.
Inputs come from the host and hidden states stay on the device, as in the daemon. TF32 is off everywhere, as there. `earwitness bench --provider cuda`
measures the whole program on the same machine: features, heads and waiting included.
"""
import argparse
import json
import platform
import statistics
import sys
import time
import tomllib
from pathlib import Path

import numpy as np
import onnxruntime as ort
import torch

from . import restore

RATE = 100  # frames of fbank a second


def front(manifest):
    """What a pack's encoder reads: fbank or waveform."""
    kind = manifest["encoder"].get("input", {}).get("kind", "log_mel")
    return {"log_mel": "fbank", "waveform": "waveform"}[kind]


def network(a):
    """The pack's encoder in PyTorch."""
    if a.checkpoint is None:
        return restore.encoder(a.pack / "encoder.onnx")
    from . import export_transformers

    return export_transformers.build(a.checkpoint)[0].eval()


def windows(input, batch, seconds, seed=0):
    if input == "waveform":
        return (np.random.default_rng(seed).standard_normal((batch, int(16000 * seconds))) * 0.1).astype(np.float32)
    frames = int(seconds * RATE) - 2
    return (np.random.default_rng(seed).standard_normal((batch, frames - frames % 2, 80)) * 3 - 8).astype(np.float32)


class Torch:
    def __init__(self, net, device, half, compiled):
        self.net, self.device = net.to(device), device
        self.run = torch.compile(self.net) if compiled else self.net
        self.dtype = torch.float16 if half else None

    def __call__(self, x):
        with torch.inference_mode(), torch.autocast(self.device, dtype=self.dtype, enabled=self.dtype is not None):
            out = self.run(torch.from_numpy(x).to(self.device))
        if self.device == "cuda":
            torch.cuda.synchronize()
        return out

    def values(self, x):
        return self(x).float().cpu().numpy()


class Onnx:
    """The output stays on the device, as in the daemon."""

    def __init__(self, input, path, device, provider, threads):
        o = ort.SessionOptions()
        o.intra_op_num_threads = threads
        options = {"CUDAExecutionProvider": {"use_tf32": 0, "cudnn_conv_algo_search": "HEURISTIC"},
                   "TensorrtExecutionProvider": {"trt_fp16_enable": "fp16" in Path(path).name}}.get(provider, {})
        self.session = ort.InferenceSession(str(path), o, providers=[(provider, options)])
        if self.session.get_providers()[0] != provider:
            raise RuntimeError(f"{provider} does not work here: the session runs on {self.session.get_providers()[0]}")
        self.input, self.device = input, device

    def __call__(self, x):
        b = self.session.io_binding()
        b.bind_cpu_input(self.input, x)
        b.bind_output("hidden", self.device)
        self.session.run_with_iobinding(b)
        return b

    def values(self, x):
        return self(x).copy_outputs_to_cpu()[0]


def speed(run, x, seconds):
    """(windows a second, milliseconds a run, runs), after three runs that do not count."""
    for _ in range(3):
        run(x)
    took, began = [], time.perf_counter()
    while time.perf_counter() - began < seconds or len(took) < 3:
        t = time.perf_counter()
        run(x)
        took.append(time.perf_counter() - t)
    middle = statistics.median(took)
    return len(x) / middle, 1000 * middle, len(took)


def contestants(a, input):
    """(name, how to make it) of everything that may run here; making it fails where it cannot."""
    path = a.pack / ("encoder.fp16.onnx" if a.half else "encoder.onnx")
    made = [("PyTorch eager", lambda: Torch(network(a), a.device, a.half, False))] if "eager" in a.by else []
    made += [("torch.compile", lambda: Torch(network(a), a.device, a.half, True))] if "compile" in a.by else []
    providers = ["CPUExecutionProvider"] if a.device == "cpu" else ["CUDAExecutionProvider", "TensorrtExecutionProvider"]
    names = {"CPUExecutionProvider": "ONNX Runtime", "CUDAExecutionProvider": "ONNX Runtime CUDA", "TensorrtExecutionProvider": "ONNX Runtime TensorRT"}
    return made if "onnx" not in a.by else made + [(names[p], lambda p=p: Onnx(input, path, a.device, p, a.threads)) for p in providers]


def measure(a):
    torch.set_num_threads(a.threads)
    torch.backends.cuda.matmul.allow_tf32 = torch.backends.cudnn.allow_tf32 = False
    input = front(tomllib.loads((a.pack / "pack.toml").read_text()))
    reference = Onnx(input, a.pack / "encoder.onnx", "cpu", "CPUExecutionProvider", a.threads)
    probe = windows(input, 2, a.windows, 1)
    want, rows = reference.values(probe), []
    for name, make in contestants(a, input):
        try:
            run = make()
            apart = float((np.abs(run.values(probe) - want) / np.maximum(1, np.abs(want))).max())
            if apart > (0.05 if a.half else 5e-3):
                raise RuntimeError(f"its answers are {apart:.1e} from the pack's")
            for batch in a.batch:
                rate, ms, runs = speed(run, windows(input, batch, a.windows), a.seconds)
                rows.append({"by": name, "batch": batch, "windows_per_s": round(rate, 2), "ms": round(ms, 3), "runs": runs, "apart": apart})
                print(f"{name:<22} batch {batch:>3}  {rate:>10.1f} windows/s  {ms:>9.2f} ms", flush=True)
        except Exception as e:  # each in turn: what is not installed here leaves the others their turn, and is told
            rows.append({"by": name, "error": f"{type(e).__name__}: {e}".splitlines()[0]})
            print(f"{name:<22} {rows[-1]['error']}", flush=True)
    return rows


def main(argv=None):
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument("--pack", type=Path, default=Path("models/default"))
    p.add_argument("--checkpoint", type=Path, help="folder that a published encoder's pack was made of")
    p.add_argument("--device", choices=("cpu", "cuda"), default="cuda" if torch.cuda.is_available() else "cpu")
    p.add_argument("--batch", type=lambda t: [int(n) for n in t.split(",")], default=[1, 2, 4, 8, 16, 32, 64])
    p.add_argument("--windows", type=float, default=3.0, help="seconds a window")
    p.add_argument("--seconds", type=float, default=3.0, help="how long each is measured")
    p.add_argument("--by", type=lambda t: t.split(","), default=["eager", "compile", "onnx"], help="who is measured: eager, compile, onnx")
    p.add_argument("--half", action="store_true", help="fp16: autocast in PyTorch, encoder.fp16.onnx in ONNX Runtime")
    p.add_argument("--threads", type=int, default=1, help="on a CPU")
    p.add_argument("--json", type=Path, default=Path("target/bench_gpu.json"))
    a = p.parse_args(argv)
    gpu = torch.cuda.get_device_name() if a.device == "cuda" else None
    rows = measure(a)
    told = {"device": a.device, "gpu": gpu, "machine": platform.machine(), "threads": a.threads, "half": a.half, "window_s": a.windows,
            "torch": torch.__version__, "onnxruntime": ort.__version__, "pack": str(a.pack), "rows": rows}
    a.json.parent.mkdir(parents=True, exist_ok=True)
    a.json.write_text(json.dumps(told, indent=1) + "\n")
    if not any("windows_per_s" in r for r in rows):
        sys.exit("nothing could be measured: expected at least one of PyTorch and ONNX Runtime to run the encoder; the lines above say why")


if __name__ == "__main__":
    main()
