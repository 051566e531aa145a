"""One shape for all worlds: observations, masks and actions as the networks know them.

A network knows R representations with three places for a unit each: place k of a pixel codec is `cpu`, `vdec` or none,
of a generative codec `cpu`, `gpu` or `npu`. So option 3 r + k of the network means the same in every world, and what a
world lacks is shown as what no unit decodes. The environment's own spaces have no padding.
"""

from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from ppgym.core.actions import action_count
from ppgym.core.observation import Layout, make_layout, observation_fields
from ppgym.core.state import LOOKAHEAD, SLOTS, UNIT_NAMES
from ppgym.world.options import GENERATIVE_UNITS as GENERATIVE_NAMES
from ppgym.world.options import PIXEL_UNITS as PIXEL_NAMES
from ppgym.world.options import Option

Flags = npt.NDArray[np.bool_]

PIXEL_UNITS = tuple(map(UNIT_NAMES.index, PIXEL_NAMES))
GENERATIVE_UNITS = tuple(map(UNIT_NAMES.index, GENERATIVE_NAMES))
PLACES = len(GENERATIVE_UNITS)  # for a unit, of each representation
PER_REPRESENTATION = ("candidate_bytes", "candidate_quality", "candidate_decode")
UNDECODABLE = ("candidate_decode", "option_decode")  # 1 where no unit can, and so where there is nothing


def padded_layout(representations: int) -> Layout:
    """Layout of a padded observation.

    Args:
        representations: R of the network.

    Returns:
        The layout.
    """
    return make_layout(observation_fields(representations, PLACES * representations))


class Padding:
    """From a world's arrays to a network's, and back.

    Attributes:
        representations: R of the network.
        places: [O] option of the network that each option of the world is.
    """

    def __init__(self, options: Sequence[Option], representations: int | None = None) -> None:
        """Work out the places.

        Args:
            options: The world's option table.
            representations: R of the network; the world's own where None.

        Raises:
            ValueError: The world has more representations than the network.
        """
        own = 1 + max(option.representation for option in options)
        count = own if representations is None else representations
        if own > count:
            raise ValueError(f"expected a ladder of at most {count} representations, as in training; got {own}")
        self.representations = count
        places = {}  # option of the network -> option of the world
        for index, option in enumerate(options):
            units = GENERATIVE_UNITS if option.is_generative else PIXEL_UNITS
            places[PLACES * option.representation + units.index(UNIT_NAMES.index(option.unit))] = index
        self._columns = _observation_columns(own, len(options), count, places)
        self.places = np.array(sorted(places, key=places.__getitem__))
        padded = action_count(PLACES * count)
        self._to_world = np.full(padded, -1)
        self._to_world[0] = 0
        for candidate in range(SLOTS * LOOKAHEAD):
            for place, index in places.items():
                self._to_world[1 + candidate * PLACES * count + place] = 1 + candidate * len(options) + index
        self._from_world = np.zeros(action_count(len(options)), np.int64)
        known = np.flatnonzero(self._to_world >= 0)
        self._from_world[self._to_world[known]] = known

    def observations(self, observations: npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
        """Padded observations [B, padded size] of a world's [B, size]."""
        constants = np.broadcast_to(np.array([0.0, 1.0], np.float32), (len(observations), 2))
        padded: npt.NDArray[np.float32] = np.concatenate([observations, constants], axis=1)[:, self._columns]
        return padded

    def masks(self, masks: Flags) -> Flags:
        """Padded masks [B, padded actions] of a world's [B, actions]; false where the world has no such action."""
        padded: Flags = masks[:, np.maximum(self._to_world, 0)] & (self._to_world >= 0)
        return padded

    def to_world(self, actions: Any) -> npt.NDArray[np.int64]:
        """A world's actions [B] of a network's; -1 where the world has no such action."""
        found: npt.NDArray[np.int64] = self._to_world[actions]
        return found

    def from_world(self, actions: Any) -> npt.NDArray[np.int64]:
        """A network's actions [B] of a world's."""
        found: npt.NDArray[np.int64] = self._from_world[actions]
        return found


def _observation_columns(own: int, options: int, count: int, places: dict[int, int]) -> npt.NDArray[np.int64]:
    """For each value of a padded observation its place in the world's, behind which a 0 and a 1 are appended."""
    fields = observation_fields(own, options)
    layout = make_layout(fields)
    nothing = {name: layout.size + (name in UNDECODABLE) for name in Layout._fields}
    columns = []
    for field in fields:
        first, size = getattr(layout, field.name), int(np.prod(field.shape))
        places_here = np.arange(first, first + size).reshape(field.shape)
        if field.name in PER_REPRESENTATION:
            padded = np.full((*field.shape[:-1], count), nothing[field.name])
            padded[..., :own] = places_here
            places_here = padded
        elif field.name.startswith("option_"):
            padded = np.full(PLACES * count, nothing[field.name])
            for place, option in places.items():
                padded[place] = places_here[option]
            places_here = padded
        columns.append(places_here.ravel())
    return np.concatenate(columns)
