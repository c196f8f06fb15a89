"""A pack from a local MERT checkpoint folder: HuBERT's network at 24 kHz, 75 hidden states a second.

    python -m models.recipes.export_mert CHECKPOINT_FOLDER --out models/packs/mert [--licence CC-BY-NC-4.0]

The folder's own modelling code is not run: its weights have the names of transformers' HubertModel. Variants with deep-norm residuals are supported;
those that feed a constant-Q spectrogram into the network are not.
"""
from .published import checkpoint, pack
from .published.states import States, deep_norm

from transformers import HubertConfig, HubertModel  # after .published, see there

DROP = ("architectures", "auto_map", "model_type", "transformers_version", "torch_dtype", "dtype")


def build(folder):
    c = checkpoint.config(folder, "mert_model", "hubert")
    if c.get("feature_extractor_cqt"):
        raise SystemExit(f"{folder}: this variant reads a constant-Q spectrogram beside the samples (feature_extractor_cqt), expected samples alone: "
                         f"take MERT-v1-95M or MERT-v1-330M, where it is a teacher only")
    settings = HubertConfig(**{k: v for k, v in c.items() if k not in DROP})
    if settings.do_stable_layer_norm and c.get("deepnorm"):
        raise SystemExit(f"{folder}: deepnorm and do_stable_layer_norm exclude each other; the configuration is damaged")
    net = checkpoint.load(HubertModel, folder, settings)
    return States(deep_norm(net) if c.get("deepnorm") else net), checkpoint.front(folder, settings.to_dict(), 24000), settings


def main():
    a = checkpoint.arguments(__doc__)
    net, front, c = build(a.checkpoint)
    about = checkpoint.about(a, "MERT, music encoder at 24 kHz", "160 000 h of music (as published)")
    pack.write(a.out, about, net, front, c.num_hidden_layers + 1, c.hidden_size, front["sample_rate"] / front["hop"], a.vad, int8=a.int8, fp16=a.fp16)


if __name__ == "__main__":
    main()
