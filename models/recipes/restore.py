"""The trained weights of a pack's encoder and layer-pooling speaker head, out of its ONNX files, as the checkpoints that the other recipes start from.

`python -m models.recipes.restore [--pack models/default] [--work DIR]` writes `<work>/encoder.pt` and `speaker.pt`, where the checkpoints of the
training are gone. What comes out is compared with what the files say, to 1e-4. Of a spoof head in whole floating point (`--spoof FILE`: 2.4.0 was the last
version of the default pack that had one, `git show 18e91e7:models/default/spoof.onnx`) the listener as well, `<work>/listener.pt`.
"""
import argparse
import json
from pathlib import Path

import numpy as np
import onnx
import torch

from .common import nets
from .export import compare, known_input, session
from .spoof.parts import opinions


def weights(path):
    """{parameter: value} of a graph: as named there; where the exporter turned a matrix and took its name away, after the bias that is added to what
    it gives, or, of a head's matrices that have none, after the node that uses them."""
    m = onnx.load(path)
    values = {i.name: torch.tensor(np.array(onnx.numpy_helper.to_array(i))) for i in m.graph.initializer}
    found = {n: v for n, v in values.items() if "::" not in n}
    added = {i: n for node in m.graph.node if node.op_type == "Add" for i in node.input for n in node.input if n.endswith(".bias")}
    for node in m.graph.node:
        scope = added.get(node.output[0], "").removesuffix(".bias") or ".".join(node.name.split("/")[1:-1])
        for i, n in enumerate(node.input):
            if node.op_type == "MatMul" and "::" in n and n in values:
                # x W^T of a linear map; A^T x of the gate, whose A [H, L, L/2] is the taller of its two.
                v = values[n].transpose(-1, -2)
                if i == 1:
                    found[f"{scope}.weight"] = v
                else:
                    found[f"{scope}.{'a' if v.shape[1] > v.shape[2] else 'b'}"] = v
    return found


def encoder(path):
    found = {n.removeprefix("encoder."): v for n, v in weights(path).items()}
    net = nets.Encoder()
    flat = nets.FlatAttention(nets.Attention(nets.DIM, net.layers[0].att.heads))
    scale = (nets.DIM // flat.heads) ** -0.5
    state = {"mask_emb": net.mask_emb.data}  # of training alone
    for name in net.state_dict():
        at, inside, rest = name.partition(".att.")
        of, _, kind = rest.partition(".")
        if inside and of == "kv":
            state[name] = torch.cat([found[f"{at}.flat.{p}.{kind}"] for p in "kv"])
        elif inside:
            state[name] = found[f"{at}.flat.{rest}"] / (scale if of == "q" else 1.0)
        elif name not in state:
            state[name] = found[name]
    net.load_state_dict(state)
    return net.eval()


def speaker(path):
    net, found = nets.LayerPooling(), weights(path)
    net.load_state_dict({n: found.get(n, v) if n.endswith("num_batches_tracked") else found[n] for n, v in net.state_dict().items()})
    return net.eval()


def kinds(pack):
    """Of the fusions that its spoof head adds."""
    return json.loads((Path(pack) / "report.json").read_text())["spoof"].get("training", {}).get("kinds", ["concat"])


def spoof(path):
    """A head by itself, as those up to 2.7 were. What its fusion mixes layers by stands there after the softmax."""
    net, found, m = nets.Spoof(), weights(path), onnx.load(path)
    mix = next(i for n in m.graph.node if n.name == "/fusion/Mul" for i in n.input if "::" in i)
    found["fusion.mix"] = next(torch.tensor(np.array(onnx.numpy_helper.to_array(i))).flatten().log() for i in m.graph.initializer if i.name == mix)
    ((_, found["weights"]),) = opinions(m)
    of = lambda n, v: found.get(n, v) if n.endswith("num_batches_tracked") else found[n]
    state = {n: torch.as_tensor(of(n.removeprefix("members.0."), v)) for n, v in net.state_dict().items()}
    net.load_state_dict(state)
    return net.eval()


def main():
    p = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    p.add_argument("--pack", default="models/default")
    p.add_argument("--work", default="models/.train")
    p.add_argument("--spoof")
    a = p.parse_args()
    if a.spoof:
        net, feed = spoof(a.spoof), {n: known_input(n) for n in ("hidden", "spectral")}
        worst = compare(net, session(a.spoof), feed)
        assert worst <= 1e-4, worst
        torch.save(net.listener.state_dict(), Path(a.work) / "listener.pt")
        print(f"spoof: {nets.parameters(net)} parameters, {worst:.1e} from the graph")
    for name, make, feed in (("encoder", encoder, "fbank"), ("speaker", speaker, "hidden")):
        path = Path(a.pack) / f"{name}.onnx"
        net = make(path)
        worst = compare(net, session(path), {feed: known_input(feed)})
        assert worst <= 1e-4, (name, worst)
        torch.save(net.state_dict(), Path(a.work) / f"{name}.pt")
        print(f"{name}: {nets.parameters(net)} parameters, {worst:.1e} from the graph")


if __name__ == "__main__":
    main()
