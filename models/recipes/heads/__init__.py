"""Heads for any pack, trained from a folder of labelled audio: `python -m models.recipes.heads --help`, docs/encoders.md.

`folder.py` reads and splits the folder, `bank.py` keeps what the pack's encoder makes of its clips, `networks.py` has the heads, `training.py` the
loop; `speaker.py`, `spoof.py` and `probe.py` say what is learnt and how it is judged; `attach.py` writes the new pack.
"""
