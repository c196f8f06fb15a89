"""The encoder as one ONNX graph for windows and for streams that go on.

A window's graph has the input `fbank` alone. A stream's next frames need more: the hidden states that they look back on (`past`) and the ends of the
layers' convolutions (`tails`). Both are optional inputs, initialisers of the same name, whose values mean that nothing was heard before: who gives
only `fbank` has the window's graph.
"""
import numpy as np
import onnx
import torch

from .common import nets

INPUTS, OUTPUTS = ["fbank", "past", "tails"], ["hidden", "ends"]
AXES = {"fbank": {0: "batch", 1: "fbank_time"}, "past": {0: "past_batch", 2: "past_time"}, "tails": {0: "past_batch"},
        "hidden": {0: "batch", 2: "hidden_time"}, "ends": {0: "batch"}}


def export(encoder, path, fbank):
    """Writes the graph, with the defaults of `past` and `tails`."""
    past, tails = encoder.fresh()
    heard = torch.randn(1, past.shape[1], nets.LEFT, past.shape[3])
    torch.onnx.export(nets.Streaming(encoder), (fbank, heard, tails), str(path), opset_version=17, dynamo=False, input_names=INPUTS, output_names=OUTPUTS, dynamic_axes=AXES)
    m = onnx.load(path)
    give(m, [onnx.numpy_helper.from_array(v.numpy(), n) for n, v in (("past", past), ("tails", tails))])
    onnx.save(m, path)


def take(m):
    """Removes the defaults of the optional inputs and returns them: who rewrites a graph must not take them for weights."""
    inputs = {i.name for i in m.graph.input}
    defaults = [v for v in m.graph.initializer if v.name in inputs]
    for v in defaults:
        m.graph.initializer.remove(v)
    return defaults


def give(m, defaults):
    """Puts them back."""
    m.graph.initializer.extend(defaults)
    onnx.checker.check_model(m)


def known_input():
    """What docs/pack.md gives for the known answer: `LEFT` frames that were heard, and a second more."""
    wave = lambda shape, scale, offset: (np.sin(0.1 * np.arange(int(np.prod(shape)), dtype=np.float64)) * scale + offset).astype(np.float32).reshape(shape)
    return {"fbank": wave((1, 2 * (nets.LEFT + 50), 80), 3.0, -8.0), "past": wave((1, nets.LAYERS + 1, nets.LEFT, nets.DIM), 1.0, 0.0),
            "tails": wave((1, nets.LAYERS, nets.TAIL, nets.DIM), 1.0, 0.0)}


def steps(run, fbank):
    """Hidden states of fbank [B, F, 80] as the program makes them, second by second; `run(inputs) -> (hidden, ends)` takes and gives arrays."""
    states, tails = run({"fbank": fbank[:, :98]})
    for end in range(198, fbank.shape[1] + 1, 100):  # a window of n seconds has 100 n - 2 frames
        kept = states.shape[2] // nets.GROUP * nets.GROUP
        back = min(nets.LEFT, kept)
        new, tails = run({"fbank": fbank[:, 2 * (kept - back) : end], "past": states[:, :, kept - back : kept], "tails": tails})
        states = np.concatenate([states[:, :, :kept], new], 2)
    return states
