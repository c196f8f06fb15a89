"""What a user would otherwise take, each in a process of its own: `contestants.py` does the work, `worker.py` is the process, `windows.py`
cuts audio as the daemon does, `graph.py` makes the model that sherpa-onnx gets. `python -m models.recipes.bench_peers` lets them compete."""
