"""A pack from a local SPEAR folder (config.json, modelling code, weights), 50 hidden states a second.

    python -m models.recipes.export_spear CHECKPOINT_FOLDER --out models/packs/spear --trust-remote-code

The folder's own code is run once, on a test signal: what it computes decides which log-mel and which layers' outputs go into the graph, and the graph
must agree with it. Read that code first; --trust-remote-code says that you have.
"""
import torch

from .common.signal import test_signal
from .published import checkpoint, pack, spear

from transformers import AutoConfig  # after .published, see there
from transformers.dynamic_module_utils import get_class_from_dynamic_module


def theirs(folder):
    """The folder's model by the folder's code. Its weights are read here: transformers' loader asks more of a class than older ones give."""
    c = AutoConfig.from_pretrained(folder, trust_remote_code=True, local_files_only=True)
    model = get_class_from_dynamic_module(c.auto_map["AutoModel"], folder, local_files_only=True)(c)
    at = folder / "model.safetensors"
    if at.is_file():
        from safetensors.torch import load_file

        weights = load_file(at)
    elif (folder / "pytorch_model.bin").is_file():
        weights = torch.load(folder / "pytorch_model.bin", map_location="cpu", weights_only=True)
    else:
        raise SystemExit(f"{folder}: expected model.safetensors or pytorch_model.bin, found neither: download the whole model")
    told = model.load_state_dict(weights, strict=False)
    if told.missing_keys:
        raise SystemExit(f"{folder}: {len(told.missing_keys)} weights are missing, the first is {told.missing_keys[0]}: the download is incomplete")
    return model.eval(), c.to_dict(), weights


@torch.no_grad()
def run(model, x):
    """(log-mel that enters its encoder, hidden states) for samples [n]."""
    inner = next((m for m in model.modules() if hasattr(m, "encoder_embed") and hasattr(m, "encoder")), None)
    if inner is None:
        raise SystemExit("expected a module with encoder_embed and encoder in the folder's model, found none: a SPEAR of another architecture")
    seen = []
    hook = inner.encoder_embed.register_forward_pre_hook(lambda m, args, kwargs: seen.append((args or tuple(kwargs.values()))[0]), with_kwargs=True)
    out = model(x[None], torch.tensor([len(x)]))
    hook.remove()
    if "hidden_states" not in out or not seen:
        raise SystemExit(f"expected hidden_states from the folder's model, found {sorted(out)}: take version 2 of the model")
    return seen[0], list(out["hidden_states"])


@torch.no_grad()
def build(folder, tolerance=1e-3):
    """(network, names of the states, configuration)."""
    c = checkpoint.config(folder, "spear")
    model, c, weights = theirs(folder)
    if c.get("causal"):
        raise SystemExit(f"{folder}: expected a model that sees the whole clip, found causal = true, which streams in chunks")
    x = torch.tensor(test_signal(2.0))
    mels, wanted = run(model, x)
    tried = {str(f): (spear.KaldiFbank(c["num_mel_bins"], **f), f) for f in spear.FRONT_ENDS}
    name, worst = spear.closest({k: f(x[None]) for k, (f, _) in tried.items()}, mels)
    if worst > tolerance:
        raise SystemExit(f"{folder}: its log-mel {tuple(mels.shape)} is none of those that this recipe knows (nearest differs by {worst:.1e}): "
                         f"report the model's name")
    try:
        net = spear.network(c, weights)
    except (KeyError, RuntimeError) as e:
        raise SystemExit(f"{folder}: the weights are not those of the Zipformer that config.json tells: {str(e)[:300]}")
    states = net.states(mels)
    names = []
    for i, w in enumerate(wanted):
        n, worst = spear.closest(states, w)
        if worst > tolerance:
            raise SystemExit(f"{folder}: its hidden state {i} {tuple(w.shape)} is none of the encoder's (nearest differs by {worst:.1e}): report the model's name")
        names.append(n)
    if names[0] != "embed" and states["embed"].shape == wanted[0].shape:
        names.insert(0, "embed")  # in every pack index 0 enters the first layer
    if len({states[n].shape for n in names}) != 1:
        raise SystemExit(f"{folder}: its hidden states differ in width ({sorted({states[n].shape[-1] for n in names})}), expected one width: take version 2 of the model")
    print(f"log-mel {name}; states: {', '.join(names)}")
    return spear.Spear(tried[name][0], net, names).eval(), names, c


def write(out, about, folder, vad="models/default", int8=False, fp16=False):
    net, names, c = build(folder)
    return pack.write(out, about, net, dict(spear.FRONT), len(names), max(net.net.dims), 50.0, vad, int8=int8, fp16=fp16)


def main():
    a = checkpoint.arguments(__doc__, (["--trust-remote-code"], {"action": "store_true", "help": "run the modelling code that the folder ships"}))
    checkpoint.config(a.checkpoint, "spear")
    if not a.trust_remote_code:
        raise SystemExit(f"{a.checkpoint}: this recipe runs the Python code in that folder; read it, then give --trust-remote-code")
    about = checkpoint.about(a, "SPEAR, speech and audio encoder", "see the model's own page")
    print(f"the checkpoint's own code against ours: within 1e-3; ONNX: {write(a.out, about, a.checkpoint, a.vad, a.int8, a.fp16):.1e}")


if __name__ == "__main__":
    main()
