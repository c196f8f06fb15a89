"""Packs around published encoders. Imported before transformers, which imports torchaudio where it is installed; and torchaudio refuses a PyTorch
built against another CUDA, though nothing here runs on a GPU. So it is imported here first, without that check."""
import importlib.util

import torch

if importlib.util.find_spec("torchaudio"):
    version, torch.version.cuda = torch.version.cuda, None
    try:
        import torchaudio.compliance.kaldi  # noqa: F401
    finally:
        torch.version.cuda = version
