"""Writes what other people's libraries make of the test signal: tests/golden/peers.json + peers.f32.

Nothing of ours is in these numbers but the signal, so they hold docs/features.md itself to the field's definitions.
"""
import kaldi_native_fbank as knf
import numpy as np
import torch

torch.version.cuda = None  # torchaudio's last release refuses a PyTorch for another CUDA; nothing here runs on a GPU
import torchaudio

from ..common.signal import test_signal
from .make import write

SECONDS = 1.0


def kaldi_torchaudio(x, mels):
    wave = torch.from_numpy(x * np.float32(32768))[None]
    return torchaudio.compliance.kaldi.fbank(wave, num_mel_bins=mels, dither=0.0).numpy()


def kaldi_native(x, mels):
    options = knf.FbankOptions()
    options.frame_opts.dither = 0.0
    options.mel_opts.num_bins = mels
    stream = knf.OnlineFbank(options)
    stream.accept_waveform(16000, x * np.float32(32768))
    stream.input_finished()
    return np.stack([stream.get_frame(i) for i in range(stream.num_frames_ready)])


def main():
    x = test_signal(SECONDS)
    write("peers", {
        "signal": x,
        "kaldi_80_native": kaldi_native(x, 80),
        "kaldi_80_torchaudio": kaldi_torchaudio(x, 80),
        # kaldi-native-fbank refuses 128 filters, of which one is empty; BEATs was trained on torchaudio's.
        "kaldi_128_torchaudio": kaldi_torchaudio(x, 128),
    }, SECONDS)


if __name__ == "__main__":
    main()
