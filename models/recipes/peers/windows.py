"""A recording cut into windows as the daemon cuts a stream (src/pipeline/segmenter.rs), and which part of one is scored (src/task/speech.rs)."""
from typing import NamedTuple

import numpy as np

RATE, HOP, LENGTH = 16000, 16000, 48000
FRAME = 320  # samples of one frame of the encoder and of the speech probabilities
PAUSE = 20  # frames that end an utterance
SILENCE_DBFS = -75.0


class Window(NamedTuple):
    start: int
    end: int
    new: int  # samples that no window before held


class Speech(NamedTuple):
    start: int
    end: int
    silence: int  # frames since the last speech


def cut(samples):
    """One window a second; the first ones are shorter than three."""
    ends = list(range(HOP, samples + 1, HOP))
    out = [Window(max(0, end - LENGTH), end, HOP) for end in ends]
    rest = samples - (ends[-1] if ends else 0)
    if rest >= 160:
        start = max(0, samples - LENGTH)
        out.append(Window(start + -start % 160, samples, rest))
    return out


def is_silent(x):
    return 10 * np.log10(max(float(np.mean(np.square(x, dtype=np.float64))), 1e-20)) < SILENCE_DBFS


def newest_utterance(speech):
    """The newest utterance among booleans, one a frame; None without speech."""
    there = np.flatnonzero(speech)
    if not len(there):
        return None
    pauses = np.flatnonzero(np.diff(there) > PAUSE)
    start = there[pauses[-1] + 1] if len(pauses) else there[0]
    return Speech(int(start), int(there[-1]) + 1, len(speech) - 1 - int(there[-1]))
