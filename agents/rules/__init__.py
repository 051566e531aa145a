"""Policies without learning or search: preloading rules, PDAS, Dashlet, greedy, and what they share."""
