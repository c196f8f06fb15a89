"""What the encoder is asked: the tokens of masked frames, the teacher's states and voice, the speaker, the sound."""
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from torch import nn

from .bank import KEEP

RANDOM, RANDOM_CODES = 2, 1024  # codebooks of random projections (BEST-RQ), for all sounds
TEACHER, TEACHER_CODES = 6, 256  # two codebooks for each layer of the teacher, for speech


class Tokens:
    """The codes of each 20 ms frame: nearest random code under random projections, and nearest mean of halves of the teacher's layers."""

    def __init__(self, bank, work, seed=11):
        g = torch.Generator().manual_seed(seed)
        self.p = torch.randn(RANDOM, 160, 16, generator=g)
        self.codes = F.normalize(torch.randn(RANDOM, RANDOM_CODES, 16, generator=g), dim=2)
        at = Path(work) / "bank" / "codebooks.npy"
        if not at.exists():
            np.save(at, fit(bank))
        self.means = torch.from_numpy(np.load(at))  # [6, 256, 32]

    def __call__(self, log_mel, states):
        """[B, 2 random, T/2] codes of all clips and [S, 6, T/2] of the speech clips."""
        x = (log_mel - log_mel.mean(1, keepdim=True)) / (log_mel.std(1, keepdim=True) + 1e-3)
        x = x.reshape(x.shape[0], -1, 160)
        y = F.normalize(torch.einsum("btf,pfk->pbtk", x, self.p), dim=3)
        random = torch.stack([(y[i] @ self.codes[i].T).argmax(2) for i in range(RANDOM)], 1)
        s = states.reshape(*states.shape[:2], TEACHER, -1).float()
        near = 2 * torch.einsum("btck,cnk->bctn", s, self.means) - self.means.square().sum(2)[:, None]
        return random, near.argmax(3)


def fit(bank, frames=60000, rounds=12, seed=12):
    """k-means of each half layer, [6, 256, 32]."""
    rng = np.random.default_rng(seed)
    rows = np.nonzero(bank.kind == "speech")[0]
    x = np.concatenate([bank.states(i, 0, int(bank.frames[i]) - 1)[::7] for i in rng.choice(rows, 3000)])
    x = torch.from_numpy(x[rng.permutation(len(x))[:frames]].astype(np.float32)).reshape(-1, TEACHER, 3 * KEEP // TEACHER)
    out = []
    for c in range(TEACHER):
        v = x[:, c]
        m = v[torch.from_numpy(rng.permutation(len(v))[:TEACHER_CODES])].clone()
        for _ in range(rounds):
            who = (2 * v @ m.T - m.square().sum(1)).argmax(1)
            n = torch.bincount(who, minlength=TEACHER_CODES)
            m = torch.where(n[:, None] > 0, torch.zeros_like(m).index_add_(0, who, v) / n.clamp_min(1)[:, None], m)
        out.append(m)
    return torch.stack(out).numpy()


class Questions(nn.Module):
    """The heads of the training losses; none of them is shipped."""

    LAYERS = (3, 6, 9)  # hidden states that are asked for the teacher's three layers

    def __init__(self, dim, classes, voice, sounds, centres=2):
        super().__init__()
        self.random = nn.Linear(dim, RANDOM * RANDOM_CODES)
        self.tokens = nn.Linear(dim, TEACHER * TEACHER_CODES)
        self.states = nn.ModuleList(nn.Sequential(nn.LayerNorm(dim), nn.Linear(dim, KEEP)) for _ in self.LAYERS)
        self.aam = nn.Parameter(torch.randn(centres, classes, voice) * 0.05)
        self.sound = nn.Sequential(nn.LayerNorm(dim), nn.Linear(dim, sounds))

    def masked(self, h, masked, codes):
        """Cross-entropy of the tokens of masked frames: h [B, T, D], masked [B, T], codes (all clips, speech clips)."""
        random, teacher = codes
        m, s = masked, masked[: len(teacher)]
        a = self.random(h[m]).reshape(-1, RANDOM, RANDOM_CODES).float()
        b = self.tokens(h[: len(teacher)][s]).reshape(-1, TEACHER, TEACHER_CODES).float()
        return (F.cross_entropy(a.flatten(0, 1), random.transpose(1, 2)[m].flatten()),
                F.cross_entropy(b.flatten(0, 1), teacher.transpose(1, 2)[s].flatten()))

    def layerwise(self, hidden, states, seen):
        """Mean squared error of the teacher's states (unit variance) at their layers: hidden [S, L, T, D], states [S, T, 192]."""
        want = states.float().reshape(*states.shape[:2], 3, KEEP)
        return sum((head(hidden[:, l]).float() - want[:, :, k])[seen].square().mean() for k, (l, head) in enumerate(zip(self.LAYERS, self.states))) / 3


def aam_loss(z, centres, y, margin, scale=30.0):
    """Additive angular margin softmax with sub-centres (the nearest of a class counts): z [B, D] of norm 1, y -1 = no class."""
    ok = y >= 0
    cos = torch.einsum("bd,knd->bkn", z[ok], F.normalize(centres, dim=2)).amax(1)
    one = F.one_hot(y[ok], cos.shape[1]).bool()
    angle = torch.acos(cos.clamp(-1 + 1e-5, 1 - 1e-5)[one])
    out = cos.clone()
    out[one] = torch.cos((angle + margin).clamp_max(np.pi))
    return F.cross_entropy(scale * out, y[ok])


def relation(z, t):
    """Between all pairs of a batch the student's similarities should be the teacher's: that is what a trial looks at."""
    off = ~torch.eye(len(z), dtype=torch.bool)
    return (z @ z.T - t @ t.T)[off].square().mean()
