"""Where the scores of a checkpoint's actions come from: its ONNX graph, or torch where no graph is beside the weights.

A graph decides in a fraction of the time and spares torch's start. `agents.learned.onnx_export` writes it. It bears the
hash of the weights that it was made of.
"""

import functools
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple, Protocol

import numpy as np
import numpy.typing as npt

from agents.learned.cards import check_hash, read_card
from agents.learned.masks import Flags
from ppgym.core.state import MAX_REPRESENTATIONS

WEIGHTS_SHA256 = "weights_sha256"  # key among a graph's properties
MOST_GRAPH_BYTES = 64_000_000  # a larger file is not read
NEEDED = {"ppo": ("policy", "policy_kwargs"), "dqn": ("policy", "policy_kwargs"), "student": ("network", "fit")}
GUIDE = "`python -m agents.learned.onnx_export --agent NAME --weights FILE` makes it"


class Decider(Protocol):
    """Scores actions."""

    def logits(self, observations: npt.NDArray[np.float32], masks: Flags) -> npt.NDArray[np.float32]:
        """Score.

        Args:
            observations: [B, size], padded; of a student, its features, which are not.
            masks: [B, actions], likewise; true where an action may be chosen.

        Returns:
            [B, actions] logits, of DQN values; -inf where an action may not be chosen.
        """


class Graph:
    """A decider by ONNX Runtime, on one core."""

    def __init__(self, path: Path, sha256: str) -> None:
        """Open a graph.

        Args:
            path: Of the graph.
            sha256: Of the weights that it should be of.

        Raises:
            ValueError: It is none, too large, or of other weights.
        """
        self._session = open_graph(path)
        found = self._session.get_modelmeta().custom_metadata_map.get(WEIGHTS_SHA256)
        if found != sha256:
            raise ValueError(f"{path}: expected the graph of the weights with the hash {sha256}, got {found}; {GUIDE}")

    def logits(self, observations: npt.NDArray[np.float32], masks: Flags) -> npt.NDArray[np.float32]:
        """See `Decider`."""
        logits: npt.NDArray[np.float32] = self._session.run(["logits"], {"observation": observations, "mask": masks})[0]
        return logits


def open_graph(path: Path) -> Any:
    """A graph, ready to run on one core.

    Args:
        path: ``.../NAME.onnx``.

    Returns:
        An `onnxruntime.InferenceSession`.

    Raises:
        ValueError: It is too large, or no graph.
    """
    os.environ.setdefault("ORT_DISABLE_TELEMETRY", "1")  # else its import writes to HOME what it reports to its maker
    import onnxruntime

    if path.stat().st_size > MOST_GRAPH_BYTES:
        raise ValueError(f"{path}: expected at most {MOST_GRAPH_BYTES:,} bytes, got {path.stat().st_size:,}")
    how = onnxruntime.SessionOptions()
    how.intra_op_num_threads = how.inter_op_num_threads = 1
    try:
        # Read here: a graph that is given as bytes cannot name other files
        return onnxruntime.InferenceSession(path.read_bytes(), how, providers=["CPUExecutionProvider"])
    except Exception as error:  # onnxruntime's own have no common class
        raise ValueError(f"{path}: expected an ONNX graph: {' '.join(str(error).split())}; {GUIDE}") from error


class Loaded(NamedTuple):
    """A checkpoint, ready to decide."""

    decider: Decider
    config: Mapping[str, Any]  # of its training, from its card


def representations_of(config: Mapping[str, Any]) -> int:
    """R of the padded arrays that the network of a PPO or DQN checkpoint takes."""
    # A perceptron's weights are those of one R
    own = config["hyperparams"]["policy"] == "MlpPolicy"
    return int(config["representations"]) if own else MAX_REPRESENTATIONS


def check_config(path: Path, config: Any, agent: str) -> None:
    """Check that a card's configuration is that of an agent's training.

    Args:
        path: Of the weights, for the message.
        config: What the card holds.
        agent: Which agent is expected.

    Raises:
        ValueError: It is not.
    """
    found = config.get("agent") if isinstance(config, Mapping) else None
    if found != agent:
        raise ValueError(f"{path}: expected weights of {agent}, got those of {found}")
    hyperparams = config.get("hyperparams")
    if not isinstance(hyperparams, Mapping) or not isinstance(config.get("trained_on"), Mapping):
        raise ValueError(f"{path.with_suffix('.json')}: config: expected the mappings 'hyperparams' and 'trained_on'")
    for name in NEEDED[agent]:
        if name not in hyperparams:
            raise ValueError(f"{path.with_suffix('.json')}: config: hyperparams: key {name!r} is missing")


def load_decider(path: Path, agent: str) -> Loaded:
    """Make a checkpoint ready to decide.

    Args:
        path: ``.../NAME.safetensors`` with its card beside it, and perhaps its graph ``NAME.onnx``.
        agent: Whose weights they should be: "ppo", "dqn" or "student".

    Returns:
        The checkpoint.

    Raises:
        FileNotFoundError: There are no such weights.
        ValueError: They are not what they should be.
    """
    if not path.is_file():
        raise FileNotFoundError(f"{path}: no such weights; `python train.py --agent {agent}` makes some")
    graph, card = path.with_suffix(".onnx"), path.with_suffix(".json")
    written_ns = tuple(one.stat().st_mtime_ns for one in (path, graph, card) if one.is_file())
    return _load(path, agent, graph.is_file(), written_ns)


@functools.lru_cache(maxsize=8)
def _load(path: Path, agent: str, has_graph: bool, written_ns: tuple[int, ...]) -> Loaded:
    card = read_card(path)
    config = card["config"]
    check_config(path, config, agent)
    if has_graph:
        check_hash(path, path.read_bytes(), card)
        return Loaded(Graph(path.with_suffix(".onnx"), card["sha256"]), config)
    from agents.learned.deployed import read_policy

    return Loaded(read_policy(agent, path), config)
