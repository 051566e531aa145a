"""What a session is worth: the weights of the reward, as a person writes them down, and on a ladder as numbers."""

import reprlib
from collections.abc import Mapping
from typing import Any

from ppgym.files import suggest
from ppgym.world.ladders import QUALITY_UNIT, Ladder
from ppgym.world.schemas import NotNegative, Text, checked


@checked
class QoEWeights:
    """Weights of the reward.

    By default they are relative to the ladder, with its top quality q and its reference rate B in Mbit/s: a second of
    top quality, a second of stall and a wasted second of the top rung weigh the same.

    Attributes:
        quality: Per unit of quality and second played.
        rebuffer: Per second of stall, start-up included; q where None.
        switch: Per unit of quality difference between chunks played one after the other.
        waste: Per wasted Mbit; q / B where None.
        download: Per downloaded Mbit.
        abandon: Per video left out of impatience; 10 q where None.
        energy: Per joule.
        quality_unit: The unit of quality that the numbers are for; any where None.
    """

    quality: NotNegative = 1.0
    rebuffer: NotNegative | None = None
    switch: NotNegative = 1.0
    waste: NotNegative | None = None
    download: NotNegative = 0.0
    abandon: NotNegative | None = None
    energy: NotNegative = 0.0
    quality_unit: Text | None = None

    @classmethod
    def of(cls, weights: "QoEWeights | str | Mapping[str, Any]") -> "QoEWeights":
        """Weights from a preset's name or from a mapping of what differs from the default.

        Args:
            weights: Weights, a key of `QOE_PRESETS`, or a mapping.

        Returns:
            The weights.

        Raises:
            ValueError: Unknown preset or weight, or a weight that is no number >= 0.
        """
        if isinstance(weights, QoEWeights):
            return weights
        if isinstance(weights, str):
            if weights not in QOE_PRESETS:
                raise ValueError(f"qoe: unknown preset {reprlib.repr(weights)}; {suggest(weights, QOE_PRESETS)}")
            return cls(**QOE_PRESETS[weights])
        if not isinstance(weights, Mapping) or not all(isinstance(name, str) for name in weights):
            raise ValueError(f"qoe: expected a preset's name or weights by name, got {reprlib.repr(weights)}")
        try:
            return cls(**weights)
        except ValueError as error:
            raise ValueError(f"qoe: {error}") from None

    def on(self, ladder: Ladder) -> dict[str, float]:
        """The numbers on a ladder.

        Args:
            ladder: The ladder.

        Returns:
            Each weight by name.

        Raises:
            ValueError: The ladder has another unit of quality than `quality_unit`.
        """
        if self.quality_unit not in (None, ladder.quality_unit):
            raise ValueError(
                f"qoe: these weights are for a quality in {self.quality_unit}; the ladder {ladder.name!r} has "
                f"{ladder.quality_unit}"
            )
        q = ladder.top_quality
        relative = {"rebuffer": q, "waste": q / ladder.b_mbps, "abandon": 10 * q}
        own = {name: value for name, value in vars(self).items() if name != "quality_unit"}
        return {name: relative[name] if value is None else value for name, value in own.items()}


QOE_PRESETS: dict[str, dict[str, Any]] = {  # what differs from the default
    "default": {},
    # The score of the ACM MM 2022 Grand Challenge: every byte fetched costs, wasted or not
    "mmgc2022": {"rebuffer": 1.85, "waste": 0.0, "download": 0.5, "quality_unit": QUALITY_UNIT},
}
