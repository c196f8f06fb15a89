"""What the training loops share: a schedule that follows the clock (the budget is wall time), a guarded step, running means of the losses."""
import time

import numpy as np
import torch


def clock(optimiser, minutes, rate, spent=0.0, steps=0):
    """Yields the share of the budget that is spent, with the rate of that moment set: warm-up over 4 %, then half a cosine.

    `spent`: seconds of an earlier run. With `steps` these are the budget, not the minutes, and `spent` counts them: for comparisons on a machine
    that does other work too.
    """
    began, taken = time.time() - spent, int(spent)
    while (done := taken / steps if steps else (time.time() - began) / (60 * minutes)) < 1:
        taken += 1
        for g in optimiser.param_groups:
            g["lr"] = float(rate * min(1, done / 0.04 + 0.02) * (0.5 + 0.5 * np.cos(np.pi * done)) + 1e-6)  # a checkpoint holds no NumPy scalars
        yield done


def descend(optimiser, loss, most=5.0):
    """One step against the gradient, of norm `most` at the most; a gradient that is not finite is skipped, and told."""
    optimiser.zero_grad(set_to_none=True)
    loss.backward()
    own = [p for g in optimiser.param_groups for p in g["params"]]
    if torch.isfinite(torch.nn.utils.clip_grad_norm_(own, most)):
        optimiser.step()
    else:
        print("gradient not finite, step skipped", flush=True)


class Late(dict):
    """Running means of named losses, over some 30 steps."""

    def add(self, parts):
        for k, v in parts.items():
            self[k] = 0.97 * self.get(k, float(v.detach())) + 0.03 * float(v.detach())

    def rounded(self, digits=4):
        return {k: round(v, digits) for k, v in self.items()}
