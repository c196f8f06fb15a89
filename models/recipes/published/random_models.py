"""Checkpoints of the true architectures with random weights, laid out as the published ones: tiny for the fixtures, full width for parity.py.

Weights are larger than at initialisation, so that attention, relative positions and gates show in the hidden states.
"""
import json
import shutil

import torch

from . import beats as network

from transformers import HubertConfig, HubertModel, Wav2Vec2Config, Wav2Vec2Model, WavLMConfig, WavLMModel

TINY = {"hidden_size": 32, "num_hidden_layers": 3, "num_attention_heads": 4, "intermediate_size": 64, "conv_dim": [16] * 7, "num_conv_pos_embeddings": 32,
        "num_conv_pos_embedding_groups": 4}
FULL = {"hidden_size": 768, "num_hidden_layers": 12, "num_attention_heads": 12, "intermediate_size": 3072}  # base: everything else is the default
KINDS = {"wavlm": (WavLMConfig, WavLMModel), "hubert": (HubertConfig, HubertModel), "wav2vec2": (Wav2Vec2Config, Wav2Vec2Model)}
PRE_NORM = {"do_stable_layer_norm": True, "feat_extract_norm": "layer", "conv_bias": True}  # the large models
POSITIONS = ("rel_attn_embed", "relative_attention_bias")
GATES = ("gru_rel_pos", "grep_")


@torch.no_grad()
def randomise(model, seed, gain=1.5):
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
            p.copy_(normal(p) * gain / p[0].numel() ** 0.5)
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


BEATS = {"deep_norm": True, "relative_position_embedding": True, "gru_rel_pos": True, "max_distance": 800, "layer_wise_gradient_decay_ratio": 0.6}  # iter3
BEATS_TINY = {"embed_dim": 16, "encoder_layers": 3, "encoder_embed_dim": 32, "encoder_ffn_embed_dim": 64, "encoder_attention_heads": 4, "conv_pos": 32,
              "conv_pos_groups": 4}


def beats(path, size, classes=0, seed=3):
    """As published: a .pt with `cfg`, `model` (weight norm under its older names) and, where fine-tuned, `label_dict`."""
    path.parent.mkdir(parents=True, exist_ok=True)
    cfg = {**network.DEFAULTS, **BEATS, **size, "finetuned_model": classes > 0, "predictor_class": classes or 527}
    held = {"cfg": cfg, "model": dict(randomise(network.Beats(cfg), seed).state_dict())}
    held["cfg"] |= {"dropout": 0.0, "attention_dropout": 0.0, "activation_dropout": 0.0, "encoder_layerdrop": 0.05, "dropout_input": 0.0}
    v = held["model"].pop("encoder.pos_conv.0.weight")
    g = 1.5 * v.norm(dim=(0, 1), keepdim=True)
    held["model"] |= {"encoder.pos_conv.0.weight_g": g, "encoder.pos_conv.0.weight_v": v}
    if classes:
        tags = randomise(network.Tags(cfg["encoder_embed_dim"], classes), seed + 1)
        held["model"] |= dict(tags.state_dict())
        held["label_dict"] = {i: f"/m/random{i}" for i in range(classes)}
        held["cfg"]["predictor_dropout"] = 0.0
    torch.save(held, path)
    readme(path.parent, "cc0-1.0")


# base: twelve layers of 512; the lists that are not published are the large model's, scaled
SPEAR = {"num_mel_bins": 128, "pos_dim": 48, "output_downsampling_factor": 1, "downsampling_factor": "1,2,4,8,4,2,1", "num_encoder_layers": "1,2,3,3,1,1,1",
         "feedforward_dim": ",".join(["1536"] * 7), "encoder_dim": ",".join(["512"] * 7), "cnn_module_kernel": "31,31,15,15,15,31,31",
         "num_heads": ",".join(["8"] * 7), "causal": False}
SPEAR_TINY = {**SPEAR, "num_mel_bins": 16, "pos_dim": 16, "downsampling_factor": "1,2,4,1", "num_encoder_layers": "1,2,1,1", "feedforward_dim": "16,16,16,16",
              "encoder_dim": "16,16,16,16", "cnn_module_kernel": "7,7,3,7", "num_heads": "2,2,2,2"}


def spear(folder, size, seed=5):
    """The folder with modelling code (spear_stand_in.py) and weights."""
    from safetensors.torch import save_file

    from . import spear_stand_in

    folder.mkdir(parents=True, exist_ok=True)
    shutil.copyfile(spear_stand_in.__file__, folder / "modeling_spear.py")
    auto = {"AutoConfig": "modeling_spear.SpearConfig", "AutoModel": "modeling_spear.SpearModel"}
    (folder / "config.json").write_text(json.dumps({**size, "model_type": "spear", "auto_map": auto}))
    model = randomise(spear_stand_in.SpearModel(spear_stand_in.SpearConfig(**size)), seed, gain=0.8)  # products of projections: larger weights make it chaotic
    save_file({k: v.contiguous() for k, v in model.state_dict().items()}, folder / "model.safetensors")
    readme(folder, "cc0-1.0")
