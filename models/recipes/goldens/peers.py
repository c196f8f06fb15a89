"""Writes what other people's libraries make of the test signal: tests/golden/peers.json + peers.f32.

Nothing of ours is in these numbers but the signals, so they hold docs/features.md itself to the field's definitions.
"""
import kaldi_native_fbank as knf
import librosa
import numpy as np
import scipy.fft
import scipy.signal
import soundfile
import torch

torch.version.cuda = None  # torchaudio's last release refuses a PyTorch for another CUDA; nothing here runs on a GPU
import torchaudio
from torchaudio import functional as F

from ..common.signal import test_signal
from .make import write

SECONDS = 1.0
RATE = 16000


def kaldi_torchaudio(x, mels):
    wave = torch.from_numpy(x * np.float32(32768))[None]
    return torchaudio.compliance.kaldi.fbank(wave, num_mel_bins=mels, dither=0.0).numpy()


def kaldi_native(x, mels):
    options = knf.FbankOptions()
    options.frame_opts.dither = 0.0
    options.mel_opts.num_bins = mels
    stream = knf.OnlineFbank(options)
    stream.accept_waveform(RATE, x * np.float32(32768))
    stream.input_finished()
    return np.stack([stream.get_frame(i) for i in range(stream.num_frames_ready)])


def parts(z):
    """[T, 2 * bins]: real and imaginary part side by side."""
    return np.stack([z.real, z.imag], axis=-1).reshape(len(z), -1)


def stft_torch(x):
    z = torch.stft(torch.from_numpy(x).double(), 400, 1000, window=torch.hann_window(400, dtype=torch.float64), center=False,
                   return_complex=True)
    return z.numpy().T


def stft_scipy(x, hop):
    frames = librosa.util.frame(x.astype(np.float64), frame_length=400, hop_length=hop, axis=0)
    return scipy.fft.rfft(frames * scipy.signal.get_window("hann", 400), 512)


def log_energies(x, filters):
    """[T, filters] by a bank of [257, filters]."""
    return np.log(np.maximum(np.abs(stft_scipy(x, 160)) ** 2 @ filters, 1e-10))


def cepstra(energies):
    return scipy.fft.dct(energies, type=2, norm="ortho")[:, :20]


def cqt_direct(x):
    """Every kernel at the full rate, without decimation."""
    q, t = 1 / (2 ** (1 / 12) - 1), 1 + (len(x) - 400) // 160
    out = np.zeros((t, 96))
    for k in range(96):
        f = 31.25 * 2 ** (k / 12)
        n = int(np.ceil(q * RATE / f))
        w = scipy.signal.get_window("hann", n)
        kernel = w / w.sum() * np.exp(-2j * np.pi * f * np.arange(n) / RATE)
        y = np.pad(x.astype(np.float64), n)
        # Correlation, sample i of the padded signal being the kernel's start.
        y = scipy.signal.fftconvolve(y, kernel[::-1], mode="valid")
        out[:, k] = np.abs(y[160 * np.arange(t) + 200 - n // 2 + n]) ** 2
    return np.log(np.maximum(out, 1e-10))


def glide(seconds=2.0):
    """Ten harmonics, falling by 1/n, of a fundamental from 80 to 400 Hz: t -> 80 * 5^(t / 2)."""
    t = np.arange(int(seconds * RATE)) / RATE
    phase = 2 * np.pi * 80 * (5 ** (t / 2) - 1) / (np.log(5) / 2)
    return (0.2 * sum(np.sin(h * phase) / h for h in range(1, 11))).astype(np.float32)


def centred(x, size):
    """Padded so that a frame of `size` samples is centred where one of 400 would be."""
    return np.pad(x, (size - 400) // 2)


def yin(x):
    return librosa.yin(centred(x, 1024), fmin=60, fmax=500, sr=RATE, frame_length=1024, hop_length=160, center=False)[:, None]


def pyin(x):
    f0, _, _ = librosa.pyin(centred(x, 1024), fmin=60, fmax=500, sr=RATE, frame_length=1024, hop_length=160, center=False)
    return np.nan_to_num(f0)[:, None]


def main():
    x = test_signal(SECONDS)
    mel = lambda n: F.melscale_fbanks(257, 20.0, 7600.0, n, RATE, norm=None, mel_scale="htk").double().numpy()
    linear = F.linear_fbanks(257, 0.0, 8000.0, 70, RATE).double().numpy()
    librosa_mel = librosa.filters.mel(sr=RATE, n_fft=512, n_mels=80, fmin=20, fmax=7600, htk=True, norm=None, dtype=np.float64)
    scene, rate = soundfile.read("examples/scene/scene.flac", dtype="float32")
    assert rate == RATE
    write("peers", {
        "signal": x,
        "kaldi_80_native": kaldi_native(x, 80),
        "kaldi_80_torchaudio": kaldi_torchaudio(x, 80),
        # kaldi-native-fbank refuses 128 filters, of which one is empty; BEATs was trained on torchaudio's.
        "kaldi_128_torchaudio": kaldi_torchaudio(x, 128),
        "stft_torch": parts(stft_torch(x)),
        "stft_scipy": parts(stft_scipy(x, 1500)),
        "mel_torchaudio": log_energies(x, mel(80)),
        "mel_librosa": log_energies(x, librosa_mel.T),
        "mfcc_torchaudio": cepstra(log_energies(x, mel(64))),
        "lfcc_torchaudio": cepstra(log_energies(x, linear)),
        "cqt_direct": cqt_direct(x),
        "glide": glide(),
        "yin_glide": yin(glide()),
        "pyin_scene": pyin(scene),
    }, SECONDS)


if __name__ == "__main__":
    main()
