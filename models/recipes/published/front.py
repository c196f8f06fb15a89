"""What the daemon does before an encoder's graph, in Python: [encoder.input] of docs/pack.md, from samples to what is fed."""
import numpy as np
import torch

from ..common import torch_features

LOG_MEL = {"kind": "log_mel"}  # what a manifest without [encoder.input] means


def of(encoder):
    """The front end of a manifest's [encoder]."""
    return encoder.get("input", LOG_MEL)


def rate(front):
    return front.get("sample_rate", 16000)


def frames(samples):
    return 1 + (samples - 400) // 160


def vectors(front, samples):
    """Hidden vectors out of so many samples."""
    if front["kind"] == "log_mel":
        return frames(samples) // 2
    if front["kind"] == "waveform":
        return 1 + (samples - front["receptive_field"]) // front["hop"]
    return frames(samples) // front["stride"] * front["tokens"]


def feed(front, clips):
    """Clips of one length [B, samples], at the front end's rate, as the encoder's input by name."""
    x = np.ascontiguousarray(clips, dtype=np.float32)
    if front["kind"] == "log_mel":
        f = torch_features.fbank(torch.from_numpy(x)).numpy()
        return {"fbank": f[:, : f.shape[1] // 2 * 2]}
    if front["kind"] == "waveform":
        if front["normalise"]:
            y = x.astype(np.float64)
            x = ((y - y.mean(1, keepdims=True)) / np.sqrt(y.var(1, keepdims=True) + 1e-7)).astype(np.float32)
        return {"waveform": x}
    from torchaudio.compliance.kaldi import fbank

    kaldi = lambda v: fbank(torch.from_numpy(v)[None] * front["scale"], num_mel_bins=front["mels"], low_freq=front["low_hz"], high_freq=front["high_hz"])
    return {"fbank": ((torch.stack([kaldi(v) for v in x]) - front["mean"]) / front["deviation"]).numpy()}


def wave(shape, scale, offset=0.0):
    i = np.arange(int(np.prod(shape)), dtype=np.float64)
    return (np.sin(0.1 * i) * scale + offset).astype(np.float32).reshape(shape)


def known_input(front):
    """(name, value) of the encoder's input for its known answer, 3 s."""
    if front["kind"] == "waveform":
        return "waveform", wave((1, 3 * front["sample_rate"]), 0.1)
    if front["kind"] == "log_mel":
        return "fbank", wave((1, frames(48000), 80), 3.0, -8.0)
    return "fbank", wave((1, frames(48000), front["mels"]), 1.0)
