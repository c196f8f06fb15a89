"""The pack as others are given it: the same weights and operations, so that what differs is the program around them."""
import shutil
import tomllib
from pathlib import Path

import onnx
from onnx import compose

METADATA = {
    "framework": "wespeaker", "language": "English", "url": "", "comment": "earwitness: encoder and speaker head",
    "sample_rate": "16000", "normalize_samples": "1", "feature_normalize_type": "",
}


def others(pack, to, precision="fp32"):
    """Writes into a folder: the pack's heads and manifest; its encoder for whole windows alone, for what a stream would hand it are then no
    inputs, and a runtime may fold them as constants; encoder and speaker head as one graph, `merged.onnx`."""
    for name in ("pack.toml", "vad.onnx", "speaker.onnx", "spoof.onnx", "sound.onnx"):
        shutil.copy(Path(pack) / name, to)
    encoder = onnx.load(Path(pack) / {"fp32": "encoder.onnx", "int8": "encoder.int8.onnx"}[precision])
    for values in (encoder.graph.input, encoder.graph.output):
        for value in [v for v in values if v.name in ("past", "tails", "ends")]:
            values.remove(value)
    onnx.save(encoder, Path(to) / "encoder.onnx")
    merged(to)


def merged(pack):
    """[batch, frames, 80] in, [batch, dim] out, with the metadata that sherpa-onnx asks of a speaker model."""
    encoder, speaker = (onnx.load(Path(pack) / f"{name}.onnx") for name in ("encoder", "speaker"))
    speaker = compose.add_prefix(speaker, "speaker_", rename_inputs=True, rename_outputs=False)
    model = compose.merge_models(encoder, speaker, io_map=[("hidden", "speaker_hidden")], outputs=["embedding"])
    dim = tomllib.loads((Path(pack) / "pack.toml").read_text())["speaker"]["dim"]
    onnx.helper.set_model_props(model, METADATA | {"output_dim": str(dim)})
    onnx.save(model, Path(pack) / "merged.onnx")
