"""What the tests of the recipes share: they are plain functions `test_…`, run by `python -m` without a framework."""
import tempfile
from pathlib import Path

import torch


def refused(kind, word, run, *args):
    """`run` must raise this kind of error, and the message must say that word."""
    try:
        run(*args)
    except kind as e:
        assert word in str(e), (word, str(e))
        return
    raise AssertionError(f"expected {kind.__name__} that says {word!r}")


def run(tests):
    """Every `test_…` of a module's `globals()`, each in a folder of its own if it takes one."""
    torch.manual_seed(0)
    for name, test in list(tests.items()):
        if name.startswith("test_"):
            with tempfile.TemporaryDirectory() as work:
                test(*[Path(work)][: test.__code__.co_argcount])
            print(name, "ok", flush=True)
