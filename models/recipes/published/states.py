"""All hidden states of a transformers speech encoder as one output, traced without what is only for training."""
import torch
from torch import nn
from torch.nn.utils import parametrize
from transformers.models.hubert.modeling_hubert import HubertEncoderLayer


class States(nn.Module):
    """waveform [B, samples] -> hidden [B, layers, frames, dim], index 0 entering the first layer."""

    def __init__(self, model):
        super().__init__()
        self.model = model.eval()
        for m in self.model.modules():
            if parametrize.is_parametrized(m):  # weight norm: one weight instead of a computation in each run
                for name in list(m.parametrizations):
                    parametrize.remove_parametrizations(m, name)

    def forward(self, waveform):
        return torch.stack(self.model(waveform, output_hidden_states=True).hidden_states, 1)


class DeepNorm(HubertEncoderLayer):
    """A post-norm layer whose residual is scaled by (2 · layers)^¼. MERT's attention relaxation is not here: it divides the scores, takes their
    maximum off and multiplies again, which softmax does not see."""

    def forward(self, hidden_states, attention_mask=None, **more):
        alpha = (2.0 * self.attention.config.num_hidden_layers) ** 0.25
        x = self.layer_norm(alpha * hidden_states + self.attention(hidden_states, attention_mask=attention_mask, **more)[0])
        return self.final_layer_norm(alpha * x + self.feed_forward(x))


def deep_norm(model):
    for layer in model.encoder.layers:
        layer.__class__ = DeepNorm  # same weights; transformers collects the states of HubertEncoderLayer and what derives from it
    return model
