"""The loop of all heads: by the clock (or by steps, to be repeatable), from where it stopped, every step with random numbers of its own."""
import time

import numpy as np
import torch

from ..common.device import DEVICE
from ..common.loop import Late, clock, descend

EVERY = 30  # seconds from one checkpoint to the next


def fit(whole, losses, at, a, rate, decay=0.02):
    """`losses(rng, done)` -> (loss, its parts). `at`: the checkpoint. Returns what the report says of it."""
    whole.to(DEVICE).train()
    opt = torch.optim.AdamW(whole.parameters(), lr=rate, weight_decay=decay)
    held, run = {"step": 0, "spent": 0.0}, Late()
    if at.exists():
        held = torch.load(at, map_location=DEVICE)
        whole.load_state_dict(held["net"]), opt.load_state_dict(held["opt"]), run.update(held["run"])
    began = saved = told = time.time()
    began -= held["spent"]
    step = held["step"]

    def save():
        state = {"net": whole.state_dict(), "opt": opt.state_dict(), "run": dict(run), "step": step, "spent": time.time() - began}
        torch.save(state, at.with_suffix(".part"))
        at.with_suffix(".part").rename(at)

    for done in clock(opt, a.minutes, rate, step if a.steps else held["spent"], a.steps):
        torch.manual_seed(1_000_003 * (a.seed + 1) + step)
        loss, parts = losses(np.random.default_rng([a.seed, 4, step]), done)
        descend(opt, loss)
        run.add(parts)
        step += 1
        if time.time() - saved > EVERY:
            save()
            saved = time.time()
        if time.time() - told > 10:
            print(f"{100 * done:.0f} %, step {step}: {run.rounded(3)}", flush=True)
            told = time.time()
    if step > held["step"]:
        save()
    whole.to("cpu").eval()
    spent = (time.time() - began if step > held["step"] else held["spent"]) / 60
    return {"steps": step, "minutes": round(spent, 2), "seed": a.seed, "loss": run.rounded()}
