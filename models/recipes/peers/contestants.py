"""One class a way of doing the work. `window(x, new)` takes a window of 16 kHz samples and how many of them are new, and returns whether it
was scored. What a contestant imports, it imports when it is made: its process is to hold nothing that it does not need."""
import tomllib
import warnings
from pathlib import Path

import numpy as np

from . import windows

warnings.filterwarnings("ignore")


class Python:
    """The pack's own models by onnxruntime, features by torchaudio, each window by itself as it comes. The same windows are scored as by the
    daemon: speech activity first, then the newest utterance, if there is enough of it and some of it is new.

    heads "speaker": filter bank, speech activity, encoder, speaker. heads "all": sounds and spoof as well; of the latter's spectral view the
    constant-Q cepstra by librosa, or (`own_view`) all of it by the recipes' own PyTorch code, which is made for speed."""

    def __init__(self, pack, heads, own_view=False):
        import onnxruntime
        import torch

        torch.version.cuda = None  # torchaudio's last release refuses a PyTorch for another CUDA; nothing here runs on a GPU
        import torchaudio

        self.torch, self.heads, self.own_view = torch, heads, own_view
        torch.set_num_threads(1)
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = options.inter_op_num_threads = 1
        names = ["vad", "encoder", "speaker"] + (["spoof", "sound"] if heads == "all" else [])
        self.net = {n: onnxruntime.InferenceSession(str(Path(pack) / f"{n}.onnx"), options, providers=["CPUExecutionProvider"]) for n in names}
        self.threshold = tomllib.loads((Path(pack) / "pack.toml").read_text())["vad"]["threshold"]
        self.mel = torchaudio.transforms.MelSpectrogram(windows.RATE, 512, 400, 160, 20.0, 7600.0, n_mels=80, center=False)
        self.embeddings = []
        if heads == "all":
            from ..common import torch_features

            self.recipes = torch_features
            shape = dict(n_fft=512, win_length=400, hop_length=160, center=False)
            self.mfcc = torchaudio.transforms.MFCC(windows.RATE, 20, log_mels=True, melkwargs=dict(shape, n_mels=64, f_min=20.0, f_max=7600.0))
            self.lfcc = torchaudio.transforms.LFCC(windows.RATE, 70, n_lfcc=20, log_lf=True, speckwargs=shape)
            self.deltas = torchaudio.functional.compute_deltas
            self.dct = torchaudio.functional.create_dct(20, 96, "ortho")
            if not own_view:
                import librosa

                self.cqt = lambda x: librosa.cqt(x, sr=windows.RATE, hop_length=160, fmin=31.25, n_bins=96)

    def run(self, name, **inputs):
        return self.net[name].run(None, inputs)[0]

    def padded(self, x):
        """torch puts a window of 400 in the middle of 512 samples, the pack's features at their start."""
        return self.torch.nn.functional.pad(self.torch.from_numpy(x), (56, 56))

    def fbank(self, x):
        features = self.mel(self.padded(x)).clamp_min(1e-10).log().T
        return features[None, : len(features) // 2 * 2].contiguous().numpy()

    def spectral(self, x):
        wave = self.torch.from_numpy(x)[None]
        if self.own_view:
            return self.recipes.spectral(wave).numpy()
        padded = self.padded(x)[None]
        cepstra = [self.mfcc(padded), self.lfcc(padded)]
        frames = cepstra[0].shape[2]
        power = self.torch.from_numpy(np.abs(self.cqt(x)[:, :frames]) ** 2)
        cepstra.append((power.clamp_min(1e-10).log().T @ self.dct).T[None].float())
        c = self.torch.cat([part for c in cepstra for part in (c, self.deltas(c), self.deltas(self.deltas(c)))], 1)
        c = (c - c.mean(2, keepdim=True)) / (c.std(2, keepdim=True) + 1e-5)
        return self.torch.cat([c.transpose(1, 2), self.recipes.fine(wave), self.recipes.synchrony(wave), self.recipes.picture(wave)], 2).numpy()

    def window(self, x, new):
        if windows.is_silent(x):
            return False
        fbank, hidden = self.fbank(x), None
        if self.heads == "all":
            hidden = self.run("encoder", fbank=fbank)
            self.run("sound", hidden=hidden)
        speech = windows.newest_utterance(self.run("vad", fbank=fbank)[0] >= self.threshold)
        enough = windows.LENGTH // 2 // windows.FRAME
        if speech is None or speech.silence * windows.FRAME >= new or speech.end - speech.start < enough:
            return hidden is not None
        if hidden is None:
            hidden = self.run("encoder", fbank=fbank)
        hidden = np.ascontiguousarray(hidden[:, :, speech.start : speech.end])
        self.embeddings.append(self.run("speaker", hidden=hidden)[0])
        if self.heads == "all":
            spectral = self.spectral(x[speech.start * windows.FRAME : speech.end * windows.FRAME + 240])
            self.run("spoof", hidden=hidden, spectral=spectral[:, : spectral.shape[1] // 2 * 2])
        return True


class Sherpa:
    """sherpa-onnx's speaker extractor on the pack's encoder and speaker head: its own Kaldi filter bank, its own ONNX Runtime."""

    def __init__(self, model):
        import sherpa_onnx

        config = sherpa_onnx.SpeakerEmbeddingExtractorConfig(model=str(model), num_threads=1, provider="cpu")
        if not config.validate():
            raise SystemExit(f"{model}: sherpa-onnx refuses it")
        self.extractor = sherpa_onnx.SpeakerEmbeddingExtractor(config)
        self.embeddings = []

    def window(self, x, new):
        stream = self.extractor.create_stream()
        stream.accept_waveform(sample_rate=windows.RATE, waveform=x)
        stream.input_finished()
        self.embeddings.append(np.asarray(self.extractor.compute(stream)))
        return True


class Resemblyzer:
    """Resemblyzer's encoder as it comes: another, smaller model, on the CPU."""

    def __init__(self):
        import torch
        from resemblyzer import VoiceEncoder

        torch.set_num_threads(1)
        self.encoder = VoiceEncoder("cpu", verbose=False)
        self.embeddings = []

    def window(self, x, new):
        self.embeddings.append(self.encoder.embed_utterance(x))
        return True


# name: (the daemon's work that it stands beside, how it is made, whether it is given only the windows that the daemon scores)
CONTESTANTS = {
    "onnxruntime + torchaudio": ("speaker", lambda pack: Python(pack, "speaker"), False),
    "sherpa-onnx, equal model": ("speaker", lambda pack: Sherpa(f"{pack}/merged.onnx"), True),
    "Resemblyzer": ("speaker", lambda pack: Resemblyzer(), True),
    "onnxruntime + torchaudio + librosa": ("all", lambda pack: Python(pack, "all"), False),
    "onnxruntime + the recipes' PyTorch": ("all", lambda pack: Python(pack, "all", own_view=True), False),
}
