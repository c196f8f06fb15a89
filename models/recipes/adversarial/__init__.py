"""Adversarial examples against a pack's heads, and how many of them the program's neighbourhood check finds.

    python -m models.recipes.adversarial attack --corpus DIR --out FOLDER      # writes clean, attacked and dev clips
    python -m models.recipes.adversarial measure --out FOLDER --program target/release/earwitness
    python -m models.recipes.adversarial vectors                               # tests/golden/adversarial, from the bundled demo

`graph.py` runs the pack's own ONNX files in PyTorch, `attack.py` searches.
"""
