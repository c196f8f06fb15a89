"""Stands in for the modelling code that a SPEAR folder ships: the same interface and state-dict names around PyPI's zipformer, which is not ours.

random_models.py copies it into random checkpoints as modeling_spear.py. Hidden states: every layer, at 50 Hz, combined with its stack's input.
"""
import importlib
import importlib.util
import os
import sys
import types

import torch
from torch import nn
from transformers import PretrainedConfig, PreTrainedModel


def package():
    """zipformer.modules alone: the package's own imports want a training environment."""
    if "zipformer.modules" not in sys.modules:
        os.environ["K2_ONNX_EXPORT"] = "1"  # no torch.compile
        root = types.ModuleType("zipformer")
        root.__path__ = list(importlib.util.find_spec("zipformer").submodule_search_locations)
        utils = types.ModuleType("zipformer.utils")
        utils.torch_autocast = lambda enabled=True: torch.amp.autocast("cpu", enabled=enabled)
        sys.modules.update({"zipformer": root, "zipformer.utils": utils})
    # by name: transformers tries the imports that it finds in a folder's code
    return [importlib.import_module(f"zipformer.modules.{n}") for n in ("subsampling", "zipformer")]


class SpearConfig(PretrainedConfig):
    model_type = "spear"


class Inner(nn.Module):
    def __init__(self, c):
        super().__init__()
        subsampling, zipformer = package()
        ints = lambda v: tuple(int(i) for i in v.split(","))
        dims = ints(c.encoder_dim)
        self.encoder_embed = subsampling.Conv2dSubsampling(c.num_mel_bins, dims[0])
        self.encoder = zipformer.Zipformer(
            output_downsampling_factor=2, downsampling_factor=ints(c.downsampling_factor), encoder_dim=dims, num_encoder_layers=ints(c.num_encoder_layers),
            encoder_unmasked_dim=dims, query_head_dim=(32,), pos_head_dim=(4,), value_head_dim=(12,), num_heads=ints(c.num_heads),
            feedforward_dim=ints(c.feedforward_dim), cnn_module_kernel=ints(c.cnn_module_kernel), pos_dim=c.pos_dim)


class Model(nn.Module):
    def __init__(self, c):
        super().__init__()
        self.model = Inner(c)
        self.mels = c.num_mel_bins

    def forward(self, audio, lengths):
        from torchaudio.compliance.kaldi import fbank

        x = fbank(audio, num_mel_bins=self.mels, sample_frequency=16000, snip_edges=False, dither=0.0, high_freq=-400.0)[None]
        x, n = self.model.encoder_embed(x, torch.tensor([x.shape[1]]))
        layers, hooks, encoder = [], [], self.model.encoder
        for stack in encoder.encoders:
            inner = getattr(stack, "encoder", stack)
            for layer in inner.layers:
                hooks.append(layer.register_forward_hook(lambda m, args, out, s=stack: layers.append((s, out))))
        entered = []
        hooks += [s.register_forward_pre_hook(lambda m, args: entered.append(args[0])) for s in encoder.encoders]
        out, n = encoder(x.transpose(0, 1), n)
        for h in hooks:
            h.remove()
        before, states = dict(zip(map(id, encoder.encoders), entered)), []
        for stack, y in layers:
            if hasattr(stack, "upsample"):
                src = before[id(stack)]
                y = stack.out_combiner(src, stack.upsample(y)[: len(src)])
            states.append(y.transpose(0, 1))
        return {"encoder_out": out.transpose(0, 1), "encoder_out_lens": n, "hidden_states": states}


class SpearModel(PreTrainedModel):
    config_class = SpearConfig

    def __init__(self, config):
        super().__init__(config)
        self.model = Model(config)

    def forward(self, *args):
        return self.model(*args)
