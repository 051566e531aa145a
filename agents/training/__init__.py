"""How learned agents are trained: what `python train.py` does."""
