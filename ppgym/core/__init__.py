"""The simulation kernel: what a world is, how it moves, what is seen of it. NumPy and Numba only."""
