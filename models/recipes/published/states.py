"""All hidden states of a transformers speech encoder as one output, traced without what is only for training."""
import torch
from torch import nn
from torch.nn.utils import parametrize


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


class DeepNorm(nn.Module):
    """A post-norm layer whose residual branch is scaled by (2 · layers)^¼. MERT's attention relaxation is not here: it divides the scores, takes
    their maximum off and multiplies again, which softmax does not see."""

    def __init__(self, layer, layers):
        super().__init__()
        self.layer, self.alpha = layer, (2.0 * layers) ** 0.25

    def forward(self, x, attention_mask=None, output_attentions=False, **_):
        l = self.layer
        x = l.layer_norm(self.alpha * x + l.attention(x, attention_mask=attention_mask)[0])
        return l.final_layer_norm(self.alpha * x + l.feed_forward(x)), None


def deep_norm(model):
    n = len(model.encoder.layers)
    model.encoder.layers = nn.ModuleList(DeepNorm(l, n) for l in model.encoder.layers)
    return model
