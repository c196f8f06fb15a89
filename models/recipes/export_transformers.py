"""A pack from a local checkpoint folder of WavLM, HuBERT or wav2vec 2.0 (Hugging Face transformers): config.json, preprocessor_config.json, weights.

    python -m models.recipes.export_transformers CHECKPOINT_FOLDER --out models/packs/wavlm-base [--licence NAME]
"""
from .published import checkpoint, pack
from .published.states import States

from transformers import HubertConfig, HubertModel, Wav2Vec2Config, Wav2Vec2Model, WavLMConfig, WavLMModel  # after .published, see there

KINDS = {"wavlm": (WavLMConfig, WavLMModel), "hubert": (HubertConfig, HubertModel), "wav2vec2": (Wav2Vec2Config, Wav2Vec2Model)}
WHAT = {"wavlm": "WavLM", "hubert": "HuBERT", "wav2vec2": "wav2vec 2.0"}


def build(folder):
    """(network, front, configuration) of a checkpoint folder."""
    c = checkpoint.config(folder, *KINDS)
    settings, kind = KINDS[c["model_type"]]
    settings = settings.from_dict(c)
    if getattr(settings, "add_adapter", False):
        raise SystemExit(f"{folder}: expected a plain encoder, found add_adapter = true, which changes the frame rate: take the pre-trained model")
    return States(checkpoint.load(kind, folder, settings)), checkpoint.front(folder, settings.to_dict(), 16000), settings


def main():
    a = checkpoint.arguments(__doc__)
    net, front, c = build(a.checkpoint)
    about = checkpoint.about(a, WHAT[c.model_type], "see the model's own page")
    pack.write(a.out, about, net, front, c.num_hidden_layers + 1, c.hidden_size, front["sample_rate"] / front["hop"], a.vad, int8=a.int8, fp16=a.fp16)


if __name__ == "__main__":
    main()
