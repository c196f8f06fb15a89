"""Speed of the features beside kaldi-native-fbank, torchaudio and librosa: seconds of audio for each second of one core.

All on one core, in turns, so that whatever else the machine does slows all alike; of each the fastest round counts, in
CPU time. The first minute of the audio, in one piece; peers get their buffers, filters and plans made beforehand where
their interface allows it.

    python -m models.recipes.bench_features target/release/earwitness [--audio FILE] [--json FILE] [--rounds 5]
"""
import argparse
import json
import os
import subprocess
import time
import warnings

for name in ("OMP", "MKL", "OPENBLAS", "NUMBA"):
    os.environ[f"{name}_NUM_THREADS"] = "1"
warnings.filterwarnings("ignore")

import kaldi_native_fbank as knf
import librosa
import numpy as np
import soundfile
import torch

torch.version.cuda = None  # torchaudio's last release refuses a PyTorch for another CUDA; nothing here runs on a GPU
import torchaudio

RATE, SECONDS = 16000, 60
LOW, HIGH = 20.0, 7600.0
# Which of ours stands beside which peers. Every kind of fbank competes: the fastest peer is the one to beat.
BESIDE = {"log-mel 80": "fbank 80", "Kaldi 80": "fbank 80", "Kaldi 128": "fbank 128", "MFCC": "MFCC", "LFCC": "LFCC", "CQT": "CQT",
          "pitch": "pitch"}
SLOW = {"CQT", "pitch"}


def native(x, mels):
    options = knf.FbankOptions()
    options.frame_opts.dither = 0.0
    options.mel_opts.num_bins = mels
    options.mel_opts.low_freq = LOW

    def run():
        stream = knf.OnlineFbank(options)
        stream.accept_waveform(RATE, x)
        stream.input_finished()
        return stream.num_frames_ready

    return run


def log_mel_torchaudio(wave, mels):
    mel = torchaudio.transforms.MelSpectrogram(RATE, 512, 400, 160, LOW, HIGH, n_mels=mels, center=False)
    return lambda: torch.log(mel(wave).clamp_min(1e-10))


def log_mel_librosa(x, mels):
    kind = dict(sr=RATE, n_fft=512, win_length=400, hop_length=160, n_mels=mels, fmin=LOW, fmax=HIGH, center=False,
                htk=True, norm=None)
    return lambda: np.log(np.maximum(librosa.feature.melspectrogram(y=x, **kind), 1e-10))


def peers(x):
    """{what: {peer: function}}"""
    wave = torch.from_numpy(x)[None]
    scaled = x * np.float32(32768)
    out = {}
    for mels in (80, 128):
        out[f"fbank {mels}"] = {
            "torchaudio.compliance.kaldi": lambda m=mels: torchaudio.compliance.kaldi.fbank(wave, num_mel_bins=m, dither=0.0),
            "torchaudio MelSpectrogram": log_mel_torchaudio(wave, mels),
            "librosa melspectrogram": log_mel_librosa(x, mels),
        }
    out["fbank 80"]["kaldi-native-fbank"] = native(scaled, 80)
    # It refuses 128 filters, one of which would be empty.
    out["fbank 128"]["kaldi-native-fbank, 120"] = native(scaled, 120)
    spectrum = dict(n_fft=512, win_length=400, hop_length=160, center=False)
    mfcc = torchaudio.transforms.MFCC(RATE, 20, melkwargs=dict(spectrum, n_mels=64, f_min=LOW, f_max=HIGH))
    lfcc = torchaudio.transforms.LFCC(RATE, 70, n_lfcc=20, speckwargs=spectrum)
    out["MFCC"] = {"torchaudio": lambda: mfcc(wave),
                   "librosa": lambda: librosa.feature.mfcc(y=x, sr=RATE, n_mfcc=20, n_mels=64, **spectrum)}
    out["LFCC"] = {"torchaudio": lambda: lfcc(wave)}
    out["CQT"] = {"librosa": lambda: librosa.cqt(x, sr=RATE, hop_length=160, fmin=31.25, n_bins=96)}
    frame = dict(fmin=60, fmax=500, sr=RATE, frame_length=1024, hop_length=160)
    out["pitch"] = {"librosa yin": lambda: librosa.yin(x, **frame), "librosa pyin": lambda: librosa.pyin(x, **frame)}
    return out


def ours(program, audio):
    text = subprocess.run([program, "--json", "bench", "--features", "--audio", audio], check=True, capture_output=True, text=True).stdout
    return {row["feature"]: row["cpu_s"] for row in map(json.loads, text.splitlines())}


def main():
    p = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    p.add_argument("program")
    p.add_argument("--audio", default="examples/scene/scene.flac")
    p.add_argument("--json", default="target/bench_features.json")
    p.add_argument("--rounds", type=int, default=5)
    a = p.parse_args()
    os.sched_setaffinity(0, {max(os.sched_getaffinity(0))})  # the program that is started inherits it
    torch.set_num_threads(1)
    x, rate = soundfile.read(a.audio, dtype="float32")
    if rate != RATE or x.ndim != 1:
        raise SystemExit(f"{a.audio}: expected {RATE} Hz mono, found {rate} Hz, {x.ndim} dimensions")
    x = np.ascontiguousarray(x[: SECONDS * RATE])
    seconds, contest, best, mine = len(x) / RATE, peers(x), {}, {}
    for turn in range(a.rounds):
        for feature, cpu in ours(a.program, a.audio).items():
            mine[feature] = min(cpu, mine.get(feature, cpu))
        for what, group in contest.items():
            if what in SLOW and turn > 1:
                continue  # seconds each: two rounds tell enough
            for name, run in group.items():
                if turn == 0:
                    run()  # to warm caches and compilers
                for _ in range(1 if what in SLOW else 5):
                    start = time.process_time()
                    run()
                    cpu = time.process_time() - start
                    best[what, name] = min(cpu, best.get((what, name), cpu))
    rows = []
    for feature, cpu in mine.items():
        row = {"feature": feature, "speed": seconds / cpu, "peers": {n: seconds / c for (w, n), c in best.items() if w == BESIDE.get(feature)}}
        if row["peers"]:
            row["fastest_peer"] = max(row["peers"], key=row["peers"].get)
            row["ratio"] = row["speed"] / row["peers"][row["fastest_peer"]]
        rows.append(row)
    print(f"Features: seconds of audio for each second of one core ({seconds:.0f} s, best of {a.rounds} rounds in turns)")
    for row in rows:
        print(f"  {row['feature']:<16}{row['speed']:>9.0f}" + (f"   {row['ratio']:.2f} times the fastest peer" if "ratio" in row else ""))
        for name, speed in sorted(row["peers"].items(), key=lambda p: -p[1]):
            print(f"    {name:<30}{speed:>9.0f}")
    os.makedirs(os.path.dirname(a.json) or ".", exist_ok=True)
    with open(a.json, "w") as f:
        json.dump({"audio": a.audio, "audio_s": seconds, "rounds": a.rounds, "load": os.getloadavg()[0], "features": rows}, f, indent=1)


if __name__ == "__main__":
    main()
