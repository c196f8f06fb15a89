"""Checkpoints of the true architectures with random weights, laid out as the published ones: tiny for the fixtures, full width for parity.py.

Weights are larger than at initialisation, so that attention, relative positions and gates show in the hidden states.
"""
import json

import torch
from transformers import HubertConfig, HubertModel, Wav2Vec2Config, Wav2Vec2Model, WavLMConfig, WavLMModel

TINY = {"hidden_size": 32, "num_hidden_layers": 3, "num_attention_heads": 4, "intermediate_size": 64, "conv_dim": [16] * 7, "num_conv_pos_embeddings": 32,
        "num_conv_pos_embedding_groups": 4}
FULL = {"hidden_size": 768, "num_hidden_layers": 12, "num_attention_heads": 12, "intermediate_size": 3072}  # base: everything else is the default
KINDS = {"wavlm": (WavLMConfig, WavLMModel), "hubert": (HubertConfig, HubertModel), "wav2vec2": (Wav2Vec2Config, Wav2Vec2Model)}
PRE_NORM = {"do_stable_layer_norm": True, "feat_extract_norm": "layer", "conv_bias": True}  # the large models
POSITIONS = ("rel_attn_embed", "relative_attention_bias")
GATES = ("gru_rel_pos", "grep_")


@torch.no_grad()
def randomise(model, seed):
    g = torch.Generator().manual_seed(seed)
    normal = lambda p: torch.randn(p.shape, generator=g)
    for name, p in model.named_parameters():
        leaf = name.rsplit(".", 1)[-1]
        if any(w in name for w in POSITIONS):
            p.copy_(3 * normal(p))
        elif any(w in name for w in GATES):
            p.copy_(0.5 * normal(p) + (1.0 if leaf in ("gru_rel_pos_const", "grep_a") else 0.0))
        elif "bypass" in name or "out_combiner" in name:
            p.copy_(0.2 + 0.7 * torch.rand(p.shape, generator=g))
        elif leaf == "log_scale":
            p.copy_(0.2 * normal(p))
        elif p.ndim >= 2 and leaf in ("weight_g", "original0"):
            p.copy_(1 + 0.2 * normal(p).abs())
        elif p.ndim >= 2:
            p.copy_(normal(p) * 1.5 / p[0].numel() ** 0.5)
        elif leaf == "weight":
            p.copy_(1 + 0.2 * normal(p))
        else:
            p.copy_(0.1 * normal(p))
    return model.eval()


def readme(folder, licence):
    (folder / "README.md").write_text(f"---\nlicense: {licence}\n---\nRandom weights.\n")


def preprocessor(folder, rate, normalise):
    p = {"feature_extractor_type": "Wav2Vec2FeatureExtractor", "do_normalize": normalise, "feature_size": 1, "padding_side": "right", "padding_value": 0.0,
         "return_attention_mask": False, "sampling_rate": rate}
    (folder / "preprocessor_config.json").write_text(json.dumps(p))


def transformers(folder, family, size, normalise=False, seed=1, **more):
    folder.mkdir(parents=True, exist_ok=True)
    settings, kind = KINDS[family]
    model = randomise(kind(settings(**{**size, **more})), seed)
    model.save_pretrained(folder)
    preprocessor(folder, 16000, normalise)
    readme(folder, "cc0-1.0")


def mert(folder, size, normalise=False, seed=2, **more):
    """As published: model_type mert_model, the weights as a pickle with weight norm's older names."""
    folder.mkdir(parents=True, exist_ok=True)
    c = HubertConfig(**{**size, **more})
    model = randomise(HubertModel(c), seed)
    told = {**c.to_dict(), "model_type": "mert_model", "feature_extractor_cqt": False, "deepnorm": False, "attention_relax": -1.0, "sample_rate": 24000,
            "auto_map": {"AutoModel": "modeling_MERT.MERTModel"}}
    (folder / "config.json").write_text(json.dumps({**told, **{k: v for k, v in more.items() if k in ("deepnorm", "attention_relax")}}))
    old = {"parametrizations.weight.original0": "weight_g", "parametrizations.weight.original1": "weight_v"}
    rename = lambda k: next((k.replace(new, name) for new, name in old.items() if new in k), k)
    torch.save({rename(k): v for k, v in model.state_dict().items()}, folder / "pytorch_model.bin")
    preprocessor(folder, 24000, normalise)
    readme(folder, "cc0-1.0")
