"""What the comparison rests on: python -m models.recipes.peers.test_peers (seconds). sherpa-onnx has to be installed."""
import tempfile

import numpy as np
import onnxruntime

from . import graph, windows
from .contestants import CONTESTANTS
from .worker import live, run

PACK = "models/default"


def test_windows():
    """As src/pipeline/segmenter.rs tests its own."""
    assert windows.cut(81000) == [(0, 16000, 16000), (0, 32000, 16000), (0, 48000, 16000), (16000, 64000, 16000), (32000, 80000, 16000), (33120, 81000, 1000)]
    assert windows.cut(16159) == [(0, 16000, 16000)]


def test_newest_utterance():
    """As src/task/speech.rs tests its own."""
    frames = lambda *runs: np.concatenate([np.full(n, s) for n, s in runs])
    assert windows.newest_utterance(frames((149, False))) is None
    assert windows.newest_utterance(frames((60, True), (10, False), (79, True))) == (0, 149, 0)
    assert windows.newest_utterance(frames((40, True), (50, False), (49, True), (10, False))) == (90, 139, 10)
    assert windows.newest_utterance(frames((40, True), (19, False), (9, True))) == (0, 68, 0)
    assert windows.newest_utterance(frames((40, True), (20, False), (9, True))) == (60, 69, 0)


def test_graphs(others):
    """Others are given what the daemon has: without the stream's inputs, and as one graph."""
    x = np.random.default_rng(0).normal(-8, 3, (1, 298, 80)).astype(np.float32)
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3  # it warns that the stream's inputs of the pack's encoder are no constants
    files = (f"{others}/merged.onnx", f"{others}/encoder.onnx", f"{PACK}/encoder.onnx", f"{PACK}/speaker.onnx")
    one, whole, encoder, speaker = (onnxruntime.InferenceSession(f, options, providers=["CPUExecutionProvider"]) for f in files)
    hidden = encoder.run(None, {"fbank": x})[0]
    assert [i.name for i in whole.get_inputs()] == ["fbank"] and not whole.get_overridable_initializers()
    assert np.abs(whole.run(None, {"fbank": x})[0] - hidden).max() < 1e-5
    want = speaker.run(None, {"hidden": hidden})[0]
    assert np.abs(one.run(None, {one.get_inputs()[0].name: x})[0] - want).max() < 1e-5


def test_every_contestant(others):
    """Four seconds of a noise with pauses: each takes its windows; what is scored has an embedding."""
    x = (np.random.default_rng(0).normal(0, 0.1, 64000) * (np.arange(64000) % 16000 < 12000)).astype(np.float32)
    spans = list(enumerate(windows.cut(len(x))))
    for name, (_, make, _) in CONTESTANTS.items():
        contestant = make(others)
        told = run(contestant, x, spans)
        assert told["windows"] == 4 and told["cpu_s"] > 0 and told["peak_mib"] > 10, name
        late = live(contestant, x, spans, 1.5)["late_ms"]
        assert len(late) == 1 and late[0] > 0, name
        if name.startswith(("sherpa", "Resemblyzer")):
            assert len(told["scored"]) == 4 and abs(np.linalg.norm(told["embedding"]) - 1) < 1e-3, name


def test_features_are_the_packs(others):
    from ..common import torch_features
    from ..common.signal import test_signal

    python = CONTESTANTS["onnxruntime + torchaudio + librosa"][1](others)
    x = test_signal(3.0).astype(np.float32)
    want = torch_features.fbank(python.torch.from_numpy(x)[None]).numpy()
    got = python.fbank(x)
    assert got.shape == want.shape and np.abs(got - want).max() < 1e-2
    assert python.spectral(x).shape == torch_features.spectral(python.torch.from_numpy(x)[None]).shape


def main():
    with tempfile.TemporaryDirectory() as folder:
        graph.others(PACK, folder)
        test_windows()
        test_newest_utterance()
        test_graphs(folder)
        test_features_are_the_packs(folder)
        test_every_contestant(folder)
    print("the comparison stands")


if __name__ == "__main__":
    main()
