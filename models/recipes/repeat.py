"""What repeating an utterance up to a window changes, as a GPU's batches have it (src/model/repeat.rs), beside cutting it to the next of few lengths.

    python -m models.recipes.repeat --corpus DIR

Of each recording of the dev split of 3 s and more eight windows; in each an utterance of a random length, at its end. Embeddings and scores are held to those of the
utterance as it is. Voices: cosine to it. Deepfakes: by how much the score differs, and what it does to the equal error rate.
"""
import numpy as np

from .common import metrics
from .common.corpus import arguments, open_corpus
from .pack import Pack

WINDOW, FRAME, FRAMES, TAIL = 48000, 320, 149, 240
DRAWS = 8
LENGTHS = (149, 125, 100, 75, 50, 25)


def turns(period, length):
    return (np.arange(length) - length) % period


def heard(pack, hidden, audio):
    """Embedding and score of hidden states [1, L, T, D] and their samples."""
    spectral = pack.spectral([audio])[:, : 2 * hidden.shape[2]]
    hidden = np.ascontiguousarray(hidden)
    return pack.s["speaker"].run(None, {"hidden": hidden})[0][0], float(pack.s["spoof"].run(["score"], {"hidden": hidden, "spectral": spectral})[0][0])


def ways(pack, x, frames):
    """The utterance of the last `frames` as it is, repeated, and cut."""
    hidden, x = pack.hidden([x]), x[: FRAMES * FRAME + TAIL]
    end = lambda n: (hidden[:, :, FRAMES - n :], x[(FRAMES - n) * FRAME :])
    own, audio = end(frames)
    body = frames * FRAME
    repeated = own[:, :, turns(frames, FRAMES)], np.concatenate([audio[turns(body, FRAMES * FRAME)], audio[body:]])
    return [heard(pack, *way) for way in ((own, audio), repeated, end(next(n for n in LENGTHS if n <= frames)))]


def main():
    args = arguments(__doc__.splitlines()[0])
    corpus, pack, rng, rows = open_corpus(args), Pack(), np.random.default_rng(0), []
    for kind in ("bonafide", "spoof"):
        for row in corpus.select("dev", kind):
            if row["length"] < WINDOW:
                continue
            for _ in range(DRAWS):
                x = corpus.audio(row, int(rng.integers(row["length"] - WINDOW + 1)), WINDOW)
                frames = int(rng.integers(25, FRAMES))
                exact, repeated, cut = ways(pack, x, frames)
                rows.append((frames, kind == "bonafide", exact[1], repeated[1], cut[1], exact[0] @ repeated[0], exact[0] @ cut[0]))
    rows = np.array(rows)
    print(f"{'frames':<10}{'windows':>8}{'cosine repeated':>17}{'cut':>8}{'score apart repeated':>22}{'cut':>8}")
    for low, high in ((25, 75), (75, 125), (125, 149)):
        r = rows[(rows[:, 0] >= low) & (rows[:, 0] < high)]
        apart = np.abs(r[:, 3:5] - r[:, 2:3]).mean(0)
        print(f"{f'{low} to {high - 1}':<10}{len(r):>8}{r[:, 5].mean():>17.4f}{r[:, 6].mean():>8.4f}{apart[0]:>22.3f}{apart[1]:>8.3f}")
    long = rows[rows[:, 0] >= 75]
    rates = [metrics.eer(long[:, 2 + way], long[:, 1]) for way in range(3)]
    print("equal error rate of windows, 75 frames and more, %%: as it is %.1f, repeated %.1f, cut %.1f; deviation of scores %.2f" % (*rates, long[:, 2].std()))


if __name__ == "__main__":
    main()
