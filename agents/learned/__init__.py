"""Policies that are networks: how they see, decide, are stored and exported. How they learn is in agents/training."""
