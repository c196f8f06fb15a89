"""What prepares and measures GPUs, as far as a CPU can tell: python -m models.recipes.test_gpu (two minutes, most of it torch.compile)."""
import json
import tomllib
from pathlib import Path

import numpy as np
import onnx

from . import bench_gpu, bench_gpu_streams, cut, half, restore
from .common import testing
from .export import known_input
from .published import pack
from .published.fixtures import PACKS

DEFAULT = Path("models/default")


def test_graphs_are_the_committed_ones(work):
    for name in ("cut", "finite"):
        getattr(cut, name)(work / f"{name}.onnx")
        assert (work / f"{name}.onnx").read_bytes() == Path(f"src/model/{name}.onnx").read_bytes(), name


def test_half(work):
    """The answers stay, the file halves, and its section is what the manifest takes."""
    out = work / "encoder.fp16.onnx"
    v = half.half(DEFAULT / "encoder.onnx", out, {"fbank": known_input("fbank")})
    assert 0 < v["apart"] < 0.03 and out.stat().st_size < 0.55 * (DEFAULT / "encoder.onnx").stat().st_size, v
    told = tomllib.loads(half.section(v))["encoder"]["fp16"]
    assert told["file"] == "encoder.fp16.onnx" and len(told["known_answer"]["output"]) == 8, told
    for port in (*onnx.load(out).graph.input, *onnx.load(out).graph.output):
        assert port.type.tensor_type.elem_type == onnx.TensorProto.FLOAT, port.name


def test_half_of_published_encoders(work):
    """Also where the front end, with its logarithm of powers, is in the graph (SPEAR)."""
    for name in ("wavlm", "mert", "beats", "spear"):
        front = tomllib.loads((PACKS / name / "pack.toml").read_text())["encoder"]["input"]
        v = half.half(PACKS / name / "encoder.onnx", work / "x.onnx", dict([pack.known_input(front)]))
        assert 0 < v["apart"] < 0.05, (name, v["apart"])


def test_half_keeps_positions(work):
    """Relative positions in buckets by their logarithm: rounded to fp16 some are another bucket's, as a GPU does it, and a CPU does not."""
    tiny, out, x = PACKS / "wavlm" / "encoder.onnx", work / "x.onnx", (np.random.default_rng(0).standard_normal((1, 64000)) * 0.1).astype(np.float32)
    assert half.half(tiny, out, {"waveform": x})["apart"] < 0.05
    known, half.exact = half.exact, lambda m: []
    try:
        half.to_fp16(tiny, out)
    finally:
        half.exact = known
    want, cpu, gpu = (half.session(m).run(None, {"waveform": x})[0] for m in (tiny, out, half.rounded(out)))
    assert np.abs(cpu - want).max() < 0.06 and np.abs(gpu - want).max() > 0.1, (np.abs(cpu - want).max(), np.abs(gpu - want).max())


def test_the_network_is_the_packs():
    """The weights out of the ONNX file make the network say what the file says, alone and in batches."""
    import torch

    net, x = restore.encoder(DEFAULT / "encoder.onnx"), bench_gpu.windows("fbank", 3, 1.0)
    want = bench_gpu.Onnx("fbank", DEFAULT / "encoder.onnx", "cpu", "CPUExecutionProvider", 1).values(x)
    with torch.no_grad():
        assert np.abs(net(torch.tensor(x)).numpy() - want).max() < 1e-3


def test_bench(work):
    at = work / "bench.json"
    bench_gpu.main(["--device", "cpu", "--batch", "1,2", "--seconds", "0.1", "--windows", "1", "--json", str(at)])
    rows = json.loads(at.read_text())["rows"]
    found = {(r["by"], r["batch"]) for r in rows if r.get("windows_per_s", 0) > 0}
    assert {("PyTorch eager", 1), ("PyTorch eager", 2), ("ONNX Runtime", 1), ("ONNX Runtime", 2)} <= found, rows


def test_streams_in_pytorch(work):
    """PyTorch's side of the streams' bench hears voices in the scene and is timed."""
    at = work / "streams.json"
    bench_gpu_streams.main(["nowhere", "--device", "cpu", "--by", "daemon,eager", "--workers", "1", "--batch", "4", "--seconds", "0.1", "--json", str(at)])
    told = json.loads(at.read_text())
    daemon, eager = told["rows"]
    assert "error" in daemon and eager["ms"] > 0 and 0.3 < eager["voices"] < 1, (daemon, eager)
    assert told["within"] == {"PyTorch eager": eager["within"]}, told


def test_streams_within_a_budget():
    """A full batch waits for the one before; few streams wait for it to be full; budgets are kept by whoever is tried."""
    steady = [0.05] * 100
    assert abs(bench_gpu_streams.lag(steady, 10, 100) - 0.14) < 0.002, "ten windows, one each 10 ms, then 50 ms"
    assert bench_gpu_streams.lag(steady, 10, 220) > 0.2, "more than it can do"
    assert bench_gpu_streams.most_within(steady, 10, 0.1) in (190, 200) and bench_gpu_streams.most_within(steady, 10, 0.09) == 0
    uneven = ([0.05] * 9 + [0.2]) * 10
    assert 0 < bench_gpu_streams.most_within(uneven, 10, 0.3) < 200, "its slow batches count"
    rows = [{"by": "earwitness", "streams": n, "keeps_up": up, "lag_p99_ms": lag} for n, up, lag in ((100, True, 70), (200, True, 140), (300, False, 1500))]
    found = bench_gpu_streams.budgets(rows + [{"by": "-", "error": "x"}, {"by": "PyTorch eager", "streams": 90, "within": dict.fromkeys(bench_gpu_streams.BUDGETS, 80)}])
    assert list(found["earwitness"].values()) == [100, 100, 200, 200, 200] and found["PyTorch eager"][75] == 80, found


if __name__ == "__main__":
    testing.run(globals())
