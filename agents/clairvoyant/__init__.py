"""Agents that know the hidden episode: they show how much return others leave, and are not ranked."""


class Insider:
    """An agent that is built for the environment itself, not for its client. Neither it nor a subclass is ranked."""

    ranked = False
