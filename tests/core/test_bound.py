"""Bound calls: the function's own results, types looked up once, copies that share nothing with the original."""

import copy
import pickle
from typing import Any

import gymnasium
import numba
import numpy as np
import pytest

import ppgym  # noqa: F401  registers the environments
from ppgym.core.bound import Bound
from ppgym.core.jit import njit

pytestmark = pytest.mark.kernel


@njit
def add_to(total: np.ndarray, addend: Any, times: Any) -> Any:
    """Add in place; returns the first sum."""
    total += addend * times
    return total[0]


def test_it_writes_into_what_was_given_and_returns_what_the_function_returns() -> None:
    total, addend = np.zeros(2), np.array([1.0, 3.0])
    bound = Bound(add_to, total, addend)
    assert bound(2) == 2.0 and bound(3) == 5.0
    np.testing.assert_array_equal(total, [5.0, 15.0])
    addend[:] = 0.5
    assert bound(2) == 6.0
    assert Bound(add_to)(total, addend, 2) == 7.0


def test_each_call_has_code_of_its_own_types() -> None:
    totals = np.zeros(2), np.zeros(2, np.int32), np.zeros((2, 1))
    for total in totals:
        Bound(add_to, total)(total.astype(total.dtype), 1)
        Bound(add_to, total, np.ones_like(total))(1)
        np.testing.assert_array_equal(total, np.ones_like(total))


def test_types_are_looked_up_at_the_first_call_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    bound, looked_up = Bound(add_to, np.zeros(1), np.ones(1)), []
    bound(1)
    monkeypatch.setattr(numba, "typeof", looked_up.append)
    assert bound(1) == 2.0 and not looked_up
    assert bound._call is not None
    assert (bound._call.func is add_to) == bool(numba.config.DISABLE_JIT)  # type: ignore[attr-defined]


@pytest.mark.parametrize("twin_of", [copy.deepcopy, lambda value: pickle.loads(pickle.dumps(value))])
@pytest.mark.parametrize("called", [False, True], ids=["fresh", "called"])
def test_a_copy_writes_into_the_copied_array_and_calls_the_same_function(twin_of: Any, called: bool) -> None:
    total = np.zeros(1)
    pair = Bound(add_to, total, np.ones(1)), total
    if called:
        pair[0](1)
    twin, twins_total = twin_of(pair)
    twin(4)
    assert total[0] == called and twins_total[0] == called + 4
    assert twin._function is add_to


def test_one_compiled_step_serves_single_and_vector_environments_and_threads() -> None:
    env = gymnasium.make("PromptPream-v0").unwrapped
    envs = [gymnasium.make_vec("PromptPream-v0", num_envs=4, num_threads=threads) for threads in (1, 3)]
    env.reset(seed=0)
    codes = [env._advance._call.func]  # type: ignore[attr-defined]
    for several in envs:
        several.reset(seed=0)
        codes += [part._call.func for part in several._parts]  # type: ignore[attr-defined]
        several.close()
    assert len(codes) == 5 and len({id(code) for code in codes}) == 1
