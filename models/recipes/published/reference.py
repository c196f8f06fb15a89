"""Hidden states from the raw waveform by implementations that are not ours: what a pack is compared with.

transformers' feature extractor and networks; for BEATs PyPI's speechbrain with torchaudio's Kaldi fbank; for SPEAR PyPI's zipformer with the same fbank.
"""
import json
from pathlib import Path

import torch
from transformers import AutoModel, HubertConfig, HubertModel, Wav2Vec2FeatureExtractor


@torch.no_grad()
def transformers(folder, signal, rate):
    """[layers, frames, dim] of WavLM, HuBERT, wav2vec 2.0 and MERT."""
    c = json.loads((Path(folder) / "config.json").read_text())
    if c["model_type"] == "mert_model":
        net = HubertModel(HubertConfig(**{k: v for k, v in c.items() if k not in ("model_type", "dtype", "transformers_version", "auto_map")}))
        w = torch.load(Path(folder) / "pytorch_model.bin", map_location="cpu")
        new = {"weight_g": "parametrizations.weight.original0", "weight_v": "parametrizations.weight.original1"}
        net.load_state_dict({next((k.replace(o, n) for o, n in new.items() if k.endswith(o)), k): v for k, v in w.items()})
    else:
        net = AutoModel.from_pretrained(folder, local_files_only=True, dtype=torch.float32)
    x = Wav2Vec2FeatureExtractor.from_pretrained(folder, local_files_only=True)(signal, sampling_rate=rate, return_tensors="pt").input_values
    return torch.stack(net.eval()(x, output_hidden_states=True).hidden_states)[:, 0].numpy()


@torch.no_grad()
def beats(path, signal):
    """([layers, tokens, dim], class probabilities or None) by speechbrain."""
    from speechbrain.lobes.models.beats import BEATs

    net = BEATs(str(path), freeze=True, output_all_hiddens=True)
    out = net(torch.tensor(signal)[None], torch.ones(1))
    states = out[0] if isinstance(out[0], torch.Tensor) else torch.stack(out[0])
    return states.transpose(1, 2)[:, 0].numpy(), out[1][0].numpy() if len(out) > 1 else None


@torch.no_grad()
def spear(folder, signal):
    """[layers, frames, dim] by the folder's code; what enters the first layer first, as in every pack."""
    from .. import export_spear

    model = export_spear.theirs(Path(folder))[0]
    seen = []
    hook = model.model.model.encoder_embed.register_forward_hook(lambda m, args, out: seen.append(out[0]))
    states = model(torch.tensor(signal)[None], torch.tensor([len(signal)]))["hidden_states"]
    hook.remove()
    return torch.cat([seen[0], *states]).numpy()
