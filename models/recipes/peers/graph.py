"""Our encoder and speaker head as one graph, with the metadata that sherpa-onnx asks of a speaker model: the same weights and operations, so
that what differs is the program around them."""
import tomllib
from pathlib import Path

import onnx
from onnx import compose

METADATA = {
    "framework": "wespeaker", "language": "English", "url": "", "comment": "earwitness: encoder and speaker head",
    "sample_rate": "16000", "normalize_samples": "1", "feature_normalize_type": "",
}


def merged(pack, to):
    """Writes it; [batch, frames, 80] in, [batch, dim] out."""
    encoder, speaker = (onnx.load(Path(pack) / f"{name}.onnx") for name in ("encoder", "speaker"))
    speaker = compose.add_prefix(speaker, "speaker_", rename_inputs=True, rename_outputs=False)
    model = compose.merge_models(encoder, speaker, io_map=[("hidden", "speaker_hidden")], outputs=["embedding"])
    dim = tomllib.loads((Path(pack) / "pack.toml").read_text())["speaker"]["dim"]
    onnx.helper.set_model_props(model, METADATA | {"output_dim": str(dim)})
    onnx.save(model, to)
