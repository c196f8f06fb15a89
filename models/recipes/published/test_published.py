"""The recipes for published encoders on tiny random models: python -m models.recipes.published.test_published (a minute)."""
import tomllib

import numpy as np
import torch

from .. import export, export_beats, export_mert, export_spear, export_transformers
from ..common import testing
from . import beats, checkpoint, front as front_end, pack, probes, random_models, spear
from .fixtures import PACKS, about, signal


def test_vectors():
    """The formula of the manifest against the layers, one after the other."""
    for n in range(1360, 6000, 77):
        frames = n
        for k, s in zip((10, 3, 3, 3, 3, 2, 2), (5, 2, 2, 2, 2, 2, 2)):
            frames = (frames - k) // s + 1
        assert pack.vectors({"kind": "waveform", "receptive_field": 400, "hop": 320}, n) == frames, n
        assert pack.vectors(spear.FRONT, n) == ((n + 80) // 160 - 7) // 2, n
    assert pack.vectors(beats.FRONT, 160000) == 496


def test_goldens():
    """The committed packs give the committed states; the front end here is torchaudio's, in Rust it is ours."""
    for name in ("wavlm", "hubert", "wav2vec2", "mert", "beats", "spear"):
        told = tomllib.loads((PACKS / name / "pack.toml").read_text())["encoder"]
        front, data = told["input"], np.fromfile(PACKS / name / "golden.f32", "<f4")
        x = signal(1.5, front["sample_rate"])
        assert np.array_equal(data[: x.size], x), name
        want = data[x.size :].reshape(told["layers"], pack.vectors(front, x.size), told["dim"])
        feed = front_end.feed(front, x[None])
        s = export.session(PACKS / name / "encoder.onnx")
        worst = export.difference(s.run(None, feed)[0][0], want)
        assert worst < 1e-4, (name, worst)
        known = dict([pack.known_input(front)])
        assert np.allclose(export.answer(s, known), told["known_answer"]["output"], atol=1e-5), name


def test_kaldi_fbank():
    """SPEAR's log-mel in the graph against torchaudio's, to the ends of clips of odd lengths."""
    from torchaudio.compliance.kaldi import fbank

    for n in (1360, 16000, 16079, 16080, 20011):
        x = torch.tensor(signal(2.0, 16000)[:n])[None]
        want = fbank(x, num_mel_bins=128, sample_frequency=16000.0, snip_edges=False, high_freq=-400.0)
        got = spear.KaldiFbank()(x)[0]
        assert got.shape == want.shape and (got - want).abs().max() < 2e-3, (n, got.shape, want.shape, (got - want).abs().max())


def test_fine_tuned(work):
    """A checkpoint with a head: the encoder's weights are found under their prefix."""
    from transformers import Wav2Vec2Config, Wav2Vec2ForCTC

    whole = random_models.randomise(Wav2Vec2ForCTC(Wav2Vec2Config(**random_models.TINY)), 1)
    whole.save_pretrained(work)
    random_models.preprocessor(work, 16000, True)
    x = torch.randn(1, 8000)
    with torch.no_grad():
        want = torch.stack(whole.wav2vec2(x, output_hidden_states=True).hidden_states, 1)
        assert (export_transformers.build(work)[0](x) - want).abs().max() < 1e-4


def test_longer_than_exported(work):
    """Relative positions of 20 s, where the file was traced and compared on 3."""
    at = work / "b" / "b.pt"
    random_models.beats(at, random_models.BEATS_TINY)
    random_models.transformers(work / "w", "wavlm", random_models.TINY)
    random_models.spear(work / "s", random_models.SPEAR_TINY)
    x = 0.1 * torch.randn(1, 320000)
    for name, net, x in (("beats", export_beats.build(at)[0], torch.randn(1, 1998, 128)), ("wavlm", export_transformers.build(work / "w")[0], x),
                         ("spear", export_spear.build(work / "s")[0], x)):
        s = export.session(PACKS / name / "encoder.onnx")  # the same weights: the fixtures' seeds
        assert export.compare(net, s, {s.get_inputs()[0].name: x.numpy()}) < 2e-4, name


def test_deep_norm(work):
    """The residual's scale against the formula written out, and that attention relaxation is nothing that softmax sees."""
    random_models.mert(work / "m", random_models.TINY, deepnorm=True, attention_relax=32.0)
    net, _, c = export_mert.build(work / "m")
    plain = export_mert.HubertModel(c)
    plain.load_state_dict(checkpoint.load(export_mert.HubertModel, work / "m", c).state_dict())
    plain.eval()
    x = torch.randn(1, 8000)
    with torch.no_grad():
        got = net(x)[0]
        h, alpha = got[0][None], (2 * c.num_hidden_layers) ** 0.25
        for i, l in enumerate(plain.encoder.layers):
            h = l.layer_norm(alpha * h + l.attention(h)[0])
            h = l.final_layer_norm(alpha * h + l.feed_forward(h))
            assert (got[i + 1] - h[0]).abs().max() < 1e-4, i
    z = torch.randn(4, 9) * 20
    relaxed = (z / 32 - (z / 32).amax(-1, keepdim=True)) * 32
    assert torch.allclose(torch.softmax(z, -1), torch.softmax(relaxed, -1), atol=1e-5)


def test_large_positions_matter(work):
    """A parity test with small relative positions would not notice that they are wrong."""
    held = work / "b" / "b.pt"
    random_models.beats(held, random_models.BEATS_TINY)
    net, _, c, _ = export_beats.build(held)
    f = torch.randn(1, 160, 128)
    with torch.no_grad():
        a = net(f)
        net.encoder.layers[0].self_attn.relative_attention_bias.weight.mul_(0.9)
        assert (net(f) - a).abs().max() > 0.05
    far = beats.buckets(1200, 320, 800, "cpu")
    assert far.max() == 319 and far[0, 0] == 0 and far[0, 79] == 160 + 79 and far[79, 0] == 79


def test_refusals(work):
    testing.refused(SystemExit, "found no folder", export_transformers.build, work / "nothing")
    random_models.transformers(work / "w", "wavlm", random_models.TINY)
    testing.refused(SystemExit, "expected model_type mert_model or hubert, found 'wavlm'", export_mert.build, work / "w")
    (work / "w" / "preprocessor_config.json").unlink()
    testing.refused(SystemExit, "do_normalize", export_transformers.build, work / "w")
    random_models.mert(work / "m", random_models.TINY)
    text = (work / "m" / "config.json").read_text()
    (work / "m" / "config.json").write_text(text.replace('"feature_extractor_cqt": false', '"feature_extractor_cqt": true'))
    testing.refused(SystemExit, "constant-Q", export_mert.build, work / "m")
    (work / "m" / "config.json").write_text(text.replace('"num_hidden_layers": 3', '"num_hidden_layers": 4'))
    testing.refused(SystemExit, "are missing", export_mert.build, work / "m")
    testing.refused(SystemExit, "expected a BEATs checkpoint file", export_beats.build, work / "w")
    torch.save({"model": {}}, work / "x.pt")
    testing.refused(SystemExit, "expected `cfg` and `model`", export_beats.build, work / "x.pt")
    torch.save({"cfg": {}, "model": {"quantize.weight": torch.zeros(1)}}, work / "x.pt")
    testing.refused(SystemExit, "not its tokenizer", export_beats.build, work / "x.pt")
    random_models.spear(work / "s", random_models.SPEAR_TINY)
    code = (work / "s" / "modeling_spear.py").read_text()
    (work / "s" / "modeling_spear.py").write_text(code.replace("high_freq=-400.0", "high_freq=-1000.0"))
    testing.refused(SystemExit, "log-mel", export_spear.build, work / "s")
    (work / "s" / "modeling_spear.py").write_text(code.replace("states.append(y.transpose(0, 1))", "states.append(2 * y.transpose(0, 1))"))
    testing.refused(SystemExit, "hidden state 0", export_spear.build, work / "s")


def test_licence_and_names(work):
    (work / "README.md").write_text("---\ntags:\n- x\nlicense: cc-by-nc-4.0\n---\n")
    assert checkpoint.licence(work, None) == "cc-by-nc-4.0" and checkpoint.licence(work, "MIT") == "MIT"
    (work / "README.md").write_text("no front matter\nlicense: x\n")
    testing.refused(SystemExit, "--licence", checkpoint.licence, work, None)
    (work / "names.csv").write_text('index,mid,display_name\n0,/m/1,"Speech, human"\n1,/m/2,Speech (human)\n')
    assert export_beats.class_names({0: "/m/1", 1: "/m/2", 2: "/m/3"}, work / "names.csv") == ["speech_human", "speech_human_1", "m_3"]


def test_probes(work):
    told = tomllib.loads((PACKS / "mert" / "pack.toml").read_text())["encoder"]
    p = random_models.randomise(probes.Probe("choice", told["layers"], told["dim"], 3, wide=8), 1)
    made = tomllib.loads(probes.table(work, told, "genre", p, ["a", "b", "c"]))["probes"]["genre"]
    assert made["labels"] == ["a", "b", "c"] and abs(sum(made["known_answer"]["output"]) - 1) < 1e-6
    for name, labels in (("Genre", ["a", "b", "c"]), ("x", ["a", "a", "b"])):
        try:
            probes.table(work, told, name, p, labels)
        except ValueError:
            continue
        raise AssertionError(name)


if __name__ == "__main__":
    testing.run(globals())
