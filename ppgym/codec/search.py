"""How prompts are found: the options of the commands that do."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Search:
    """How prompts are found.

    Attributes:
        objective: What is minimised: ppgym's (MSE and SSIM, and bits cost) or promptus's own.
        keyframe_interval: Frames from one keyframe to the next.
        bits: Of a value, 4 to 8.
        steps: Of the search, for each chunk.
        batch_size: Frames of a step.
        shared_v: Whether all keyframes of a chunk have one and the same V, which costs fewer bytes.
    """

    objective: str = "ppgym"
    keyframe_interval: int = 10
    bits: int = 8
    steps: int = 150
    batch_size: int = 4
    shared_v: bool = False
