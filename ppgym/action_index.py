"""The check of an action at the door of every environment. What an index means is in `ppgym.core.actions`."""

import operator
import reprlib
from typing import Any

import numpy as np


def as_index(action: Any) -> int:
    """An action's index as a Python integer.

    Args:
        action: An integer of Python or NumPy, or an array of one integer.

    Raises:
        TypeError: Anything else: true, a fraction or a text is no index.
    """
    if type(action) is int:
        return action
    one = action.item() if isinstance(action, np.ndarray | np.generic) and action.size == 1 else action
    if not isinstance(one, bool):
        try:
            return operator.index(one)
        except TypeError:
            pass
    raise TypeError(f"action: expected an integer, or an array of one integer, got {reprlib.repr(action)}")
