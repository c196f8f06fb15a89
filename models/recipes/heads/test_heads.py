"""The recipe for heads on the tiny packs of tests/fixtures: python -m models.recipes.heads.test_heads (two minutes)."""
import json
import tempfile
import tomllib
from pathlib import Path

import numpy as np
import soundfile

from .. import export
from ..common import features, nets, testing
from ..published import front, pack
from . import __main__ as recipe
from . import attach, bank, fixtures, folder, networks, probe, speaker, training
from .fixtures import PACKS


def tones(at, count, seconds=1.0, rate=16000):
    at.mkdir(parents=True, exist_ok=True)
    for k in range(count):
        soundfile.write(at / f"{k}.flac", 0.1 * np.sin(0.05 * (k + 1) * np.arange(int(seconds * rate))), rate)


def test_folders_and_lists(work):
    tones(work / "v" / "Ann B", 6), tones(work / "v" / "bob", 6), tones(work / "v" / ".hidden", 2)
    (work / "v" / "bob" / "notes.txt").write_text("not audio")
    clips, bad = folder.read(work / "v")
    assert len(clips) == 12 and not bad and {c.label for c in clips} == {"Ann B", "bob"}
    split, how = folder.split(clips, "choice", 0)
    assert [sum(c.split == s for c in split) for s in ("train", "dev")] == [10, 2] and "held out here" in how
    assert split == folder.split(clips, "choice", 0)[0]
    assert [sum(c.split == s for c in folder.split(clips, "speaker", 0)[0]) for s in ("train", "dev")] == [8, 4]
    rows = "".join(f"{c.path.relative_to(work / 'v')},x{i % 2},{('train', 'test', 'demo')[i % 3]}\n" for i, c in enumerate(clips))
    (work / "v.csv").write_text("path,label,split\n" + rows)  # beside the folder
    listed, how = folder.split(folder.read(work / "v")[0], "choice", 0)
    assert len(listed) == 8 and how == "as given, without dev" and {c.label for c in listed} == {"x0", "x1"}
    (work / "v" / "labels.csv").write_text("label,path\na;b,bob/0.flac\n")  # inside: comes first
    assert folder.read(work / "v")[0][0].label == "a;b"


def test_held_out_speakers():
    clips = [folder.Clip(Path(f"{i}-{k}"), f"s{i}", "", 3.0) for i in range(60) for k in range(3)]
    split, how = folder.split(clips, "speaker", 0)
    train, held = ({c.label for c in split if c.split == s} for s in ("train", "dev"))
    assert len(held) == 12 and not train & held and "12 speakers" in how


def test_what_is_wrong_with_a_folder_is_told(work):
    testing.refused(folder.NoData, "found nothing", folder.read, work / "nothing")
    (work / "empty" / "a").mkdir(parents=True)
    testing.refused(folder.NoData, "1 sub-folders and no audio", folder.read, work / "empty")
    (work / "x.csv").write_text("file,label\na,b\n")
    testing.refused(folder.NoData, "found file, label", folder.read, work / "x.csv")
    tones(work / "one" / "a", 6)
    clips, _ = folder.split(folder.read(work / "one")[0], "choice", 0)
    testing.refused(folder.OneLabel, "found one (a)", folder.check, clips, "choice")
    tones(work / "one" / "b", 3)
    clips, _ = folder.split(folder.read(work / "one")[0], "choice", 0)
    testing.refused(folder.TooFew, "b: expected at least 5 files", folder.check, clips, "choice")
    testing.refused(folder.TooFew, "at least two speakers", folder.check, folder.split(clips, "speaker", 0)[0], "speaker")
    for k in range(2):
        (work / "one" / "b" / f"broken{k}.wav").write_bytes(b"RIFF and nothing more")
    tones(work / "one" / "b" / "short", 1, seconds=0.1)
    clips, bad = folder.read(work / "one")
    assert len(clips) == 9 and sorted(bad) == ["0.flac", "broken0.wav", "broken1.wav"], bad
    for k in range(9):
        (work / "one" / "b" / f"more{k}.ogg").write_bytes(b"x")
    testing.refused(folder.Unreadable, "12 of 21 files", folder.read, work / "one")
    clips = [folder.Clip(Path("x"), l, "train", 1.0) for l in ("A b", "a-b")]
    testing.refused(folder.NoData, "two of these become the same", probe.answers, clips, "choice", "")
    testing.refused(folder.NoData, "learns numbers", probe.answers, clips, "value", "bpm")


def options(work, task, pack, *more):
    return recipe.arguments([task, "--pack", str(pack), "--data", str(work / "data"), "--out", str(work / "out"), "--work", str(work / "work"),
                             "--licence", "CC0-1.0", "--threads", "1", *more])


def test_what_is_wrong_with_a_pack_is_told(work):
    testing.refused(bank.NoEncoder, "found no pack.toml", recipe.run, options(work, "probe", work, "--name", "x"))
    (work / "out").mkdir()
    testing.refused(attach.Taken, "is there already", recipe.run, options(work, "speaker", PACKS / "tiny"))
    (work / "out").rmdir()
    testing.refused(attach.Taken, "already has a probe genre", recipe.run, options(work, "probe", PACKS / "mert", "--name", "genre"))
    testing.refused(folder.Refused, "a-z, 0-9, _", recipe.run, options(work, "probe", PACKS / "mert", "--name", "Genre"))
    (work / "p").mkdir()
    text = (PACKS / "tiny" / "pack.toml").read_text()
    (work / "p" / "pack.toml").write_text(text.replace("[encoder]", "[encoders]"))
    testing.refused(bank.NoEncoder, "expected an [encoder]", bank.Encoder, work / "p")
    (work / "p" / "pack.toml").write_text(text)
    (work / "p" / "encoder.onnx").write_bytes(b"another")
    testing.refused(bank.NoEncoder, "has SHA-256", bank.Encoder, work / "p")
    fixtures.folder(work / "data", "probe")
    testing.refused(folder.NoData, "expected the labels bonafide and spoof, found high, low", recipe.run, options(work, "spoof", PACKS / "tiny"))


def same_answers(at):
    """Every head of a pack gives its known answer under ONNX Runtime."""
    m = tomllib.loads((at / "pack.toml").read_text())
    known = pack.known_hidden(m["encoder"]) | {"spectral": attach.known_spectral()}
    for table in [m[t] for t in ("speaker", "spoof") if t in m] + list(m.get("probes", {}).values()):
        s = export.session(at / table["file"])
        got = export.answer(s, {i.name: known[i.name] for i in s.get_inputs()})
        assert np.allclose(got, table["known_answer"]["output"], atol=1e-4), table["file"]
    return m


def test_heads_for_each_kind_of_encoder(work):
    """Log-mel, samples at 24 kHz, and patches; all kinds of head; the files that were there stay as they were."""
    cases = [("tiny", "speaker", ["--kind", "ecapa", "--size", "small"]), ("mert", "speaker", ["--kind", "d3", "--size", "small"]),
             ("beats", "speaker", ["--kind", "pooling", "--size", "tiny"])]
    fusions = ("tiny", "gate"), ("mert", "cross"), ("mert", "concat"), ("beats", "mutual"), ("beats", "cross")
    cases += [(name, "spoof", ["--kind", kind, "--size", "tiny"]) for name, kind in fusions]
    cases += [(name, "probe", ["--name", "register", "--wide", "4"]) for name in ("mert", "beats")]
    steps = {"speaker": 3, "spoof": 60, "probe": 3}  # a spoof head that judges the wrong way round is refused
    for k, (name, task, more) in enumerate(cases):
        at = fixtures.attach(work, PACKS / name, task, [*more, "--steps", str(steps[task]), "--crops", "40"], work / f"out{k}")
        m = same_answers(at)
        before = tomllib.loads((PACKS / name / "pack.toml").read_text())
        assert m["encoder"] == before["encoder"] and m["vad"] == before["vad"]
        assert all((at / f).read_bytes() == (PACKS / name / f).read_bytes() for f in ("encoder.onnx", "vad.onnx"))
        assert task == "probe" or m[task]["calibration"]["slope"] > 0
        report = json.loads((at / "report.json").read_text())["heads"]
        assert all(r["onnx_parity"] <= 1e-4 and r["training"]["steps"] == steps[task] for r in report.values())
        assert (at / "README.md").read_text().startswith(f"# out{k}")


def test_probes_of_tags_and_values(work):
    rng = np.random.default_rng(0)
    (work / "data").mkdir()
    rows = {"tags": "path,label\n", "value": "path,label\n"}
    for k in range(60):
        name, low = ("alice", True) if k % 2 else ("stranger", False)
        noisy = k % 4 < 2
        x = fixtures.voice(rng, name, 3.0, 16000) + 0.2 * noisy * rng.standard_normal(48000)
        soundfile.write(work / "data" / f"{k}.wav", np.clip(x, -1, 1), 16000)
        rows["tags"] += f"{k}.wav,{';'.join(['low'] * low + ['Noisy!'] * noisy) or 'clean'}\n"
        rows["value"] += f"{k}.wav,{300 if low else 5000}\n"
    figures = {}
    for kind, text in rows.items():
        (work / "data" / "labels.csv").write_text(text)
        a = options(work, "probe", PACKS / "tiny", "--name", kind, "--kind", kind, "--steps", "3000", "--unit", "Hz", "--plain")
        a.out = work / kind
        figures[kind] = recipe.run(a)
        m = same_answers(a.out)["probes"][kind]
        assert m["labels"] == (["clean", "low", "noisy"] if kind == "tags" else ["hz"]), m
    assert figures["tags"]["held_out_macro_f1"] > 0.75, figures
    assert figures["value"]["held_out_mae"] < 0.6 * figures["value"]["always_the_median_mae"], figures


def test_an_interrupted_run_goes_on(work):
    """Stopped in the bank and in training, it ends with the very weights of a run that was not."""
    fixtures.folder(work / "data", "speaker")
    a = options(work, "speaker", PACKS / "tiny", "--size", "tiny", "--steps", "6", "--crops", "40")
    recipe.run(a)
    whole = (work / "out" / "speaker.onnx").read_bytes()
    a.out, a.work = work / "again", work / "work2"
    real, every, calls = bank.Audio.__call__, training.EVERY, []

    def stops(self, *args):
        calls.append(1)
        if len(calls) == 30:
            raise KeyboardInterrupt
        return real(self, *args)

    bank.Audio.__call__, training.EVERY = stops, 0
    plain = speaker.aam_loss
    try:
        testing.refused(KeyboardInterrupt, "", recipe.run, a)
        losses = []

        def fails(*args):
            losses.append(1)
            if len(losses) == 4:
                raise KeyboardInterrupt
            return plain(*args)

        speaker.aam_loss = fails
        testing.refused(KeyboardInterrupt, "", recipe.run, a)
    finally:
        bank.Audio.__call__, training.EVERY, speaker.aam_loss = real, every, plain
    recipe.run(a)
    assert (work / "again" / "speaker.onnx").read_bytes() == whole


def test_a_file_that_breaks_later_is_left_out(work):
    tones(work / "v" / "a", 6, 2.0), tones(work / "v" / "b", 6, 2.0)
    clips, _ = folder.split(folder.read(work / "v")[0], "choice", 0)
    broken = clips[0].path
    broken.write_bytes(b"gone")
    e = bank.Encoder(PACKS / "tiny")
    crops = bank.plan(clips, 24, e.seconds, 0)
    kept = bank.Bank(e, clips, crops, bank.Audio(clips, e.rate, e.seconds), probe.views, work / "work", 0, 1.0)
    assert {clips[crops[i].clip].path for i in range(len(crops)) if not kept.ok[i]} == {broken}
    testing.refused(folder.Refused, "--crops", bank.Bank, e, clips, crops, bank.Audio(clips, e.rate, e.seconds), probe.views, work / "work3", 0, 1e-9)


def test_published_sizes():
    """The full L-TDNN has the published one's weights, and its graph at another length."""
    class Base:
        dim, layers, frame_rate, tokens = 768, 13, 50, 1

    assert nets.parameters(networks.speaker("d3", "full", Base)) == 6_481_696
    small = type("", (), {"dim": 32, "layers": 5, "frame_rate": 50, "tokens": 1})
    with tempfile.TemporaryDirectory() as at:
        for kind in networks.KINDS:
            net = networks.Folded(networks.speaker(kind, "full", small), 1).eval()
            _, worst = pack.head(net, Path(at) / "x.onnx", {"hidden": front.wave((1, 5, 149, 32), 1.0)}, "embedding")
            assert worst <= 1e-4, (kind, worst)


def test_the_committed_heads(work):
    """tests/fixtures/packs/heads fits today's features: run heads.fixtures again where it does not."""
    m = same_answers(PACKS / "heads")
    assert m["spoof"]["spectral_dim"] == features.SPECTRAL_DIM
    assert m["encoder"] | {"input": 0} == tomllib.loads((PACKS / "wavlm" / "pack.toml").read_text())["encoder"] | {"input": 0}


if __name__ == "__main__":
    testing.run(globals())
