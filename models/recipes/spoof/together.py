"""The head that is shipped: heads that were trained apart, on unlike material, with one listener, and added so that each counts alike.

    python -m models.recipes.spoof.together --corpus DIR [--heads beside,spoof]     # after train.py, of which it takes the place of `<work>/spoof.pt`

Each errs on other recordings: the one that knows engines takes a studio's Russian voice for synthetic, the one that does not lets engines pass. `beside` is the head of
the pack before, itself two that were added; without it, or where that was done, nothing changes. What each tells of dev alone and all tell together is written to
`<work>/spoof.json`.
"""
import json
from pathlib import Path

import numpy as np
import torch

from ..common import nets, torch_features
from ..common.corpus import arguments
from ..common.device import half
from . import dev as choice
from . import trials


def loaded(work, name):
    net = nets.Spoof(*json.loads((work / f"{name}.json").read_text())["kinds"])
    net.load_state_dict(torch.load(work / f"{name}.pt"))
    return net.eval()


def joined(heads, deviations):
    """One network of all their members; each head's score is divided by its deviation on dev, and the sum by how many there are."""
    net = nets.Spoof(*(member.fusion.kind for head in heads for member in head.members)).eval()
    net.listener = heads[0].listener
    net.members = torch.nn.ModuleList(member for head in heads for member in head.members)
    net.weights = torch.cat([head.weights / d for head, d in zip(heads, deviations)]) / len(heads)
    return net


@torch.no_grad()
def heard(c, encoder, net, listed):
    """All opinions on files [files, 3 of each head], unweighted: the mean over their windows."""
    out = []
    for path, *_ in listed:
        x = torch.tensor(np.stack(trials.windows(c.audio(path))))
        with half():
            hidden = encoder(torch_features.fbank(x)).float()
        out.append(net.opinions(hidden, torch_features.spectral(x)).mean(1).numpy())
    return np.array(out)


def main():
    a = arguments(__doc__, threads=2, heads="beside,spoof")
    torch.set_num_threads(a.threads)
    (c, listed), work, names = choice.opened(a), Path(a.work), a.heads.split(",")
    if missing := [name for name in names if not (work / f"{name}.pt").exists()]:
        return print("nothing to add:", *missing, "was not made")
    report = json.loads((work / "spoof.json").read_text())
    if "together" in report:
        return print("added already")
    heads, encoder = [loaded(work, name) for name in names], nets.Encoder()
    encoder.load_state_dict(torch.load(work / "encoder.pt"))
    encoder.eval()
    own = heads[0].listener.state_dict()
    assert all(torch.equal(own[n], v) for head in heads for n, v in head.listener.state_dict().items()), "heads with unlike listeners"
    files, y, systems = (np.array(v) for v in zip(*listed))
    y, short = y.astype(int), lambda r: {k: r[k] for k in ("eer_percent", "matched_eer_percent", "per_system_eer_percent")}
    opinions = heard(c, encoder, joined(heads, [1.0] * len(heads)), listed)
    each = np.split(opinions, np.cumsum([len(head.weights) for head in heads])[:-1], 1)
    scores = [o @ head.weights.numpy() for o, head in zip(each, heads)]
    net = joined(heads, [s.std() for s in scores])
    told = trials.summary(opinions @ net.weights.numpy(), y, systems, files)
    report |= {"kinds": [member.fusion.kind for member in net.members], **told}
    report["together"] = {name: short(trials.summary(s, y, systems, files)) for name, s in zip(names, scores)} | {"all": short(told)}
    torch.save(net.state_dict(), work / "spoof.pt")
    (work / "spoof.json").write_text(json.dumps(report, default=float))
    print(json.dumps(report["together"], indent=1, default=float))


if __name__ == "__main__":
    main()
