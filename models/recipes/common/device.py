"""Where training runs: the GPU where PyTorch sees one, else the CPU."""
import torch

DEVICE = torch.device("cuda" if torch.cuda.is_available() else "cpu")


def half():
    """bfloat16 for what is worth it (both kinds of device have it)."""
    return torch.autocast(DEVICE.type, dtype=torch.bfloat16)


def save(state, path):
    """Weights that any machine can load."""
    torch.save({k: v.cpu() for k, v in state.items()}, path)
