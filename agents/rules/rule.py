"""What the rules share: parameters that are declared once, and the representations that a rule may request."""

import inspect
from typing import Any, ClassVar

import gymnasium

from agents.base import Heuristic
from agents.rules.forecast import usable_representations
from ppgym.client import Client


class Rule(Heuristic):
    """A rule whose keyword arguments are the fields of a named tuple.

    Attributes:
        parameters: Of the class: the named tuple with the defaults. Of an agent: the same with its own values.
        PROMPTS: Whether the rule may request prompts, or pixels alone.
        representations: [R] true for those that it may request.
    """

    parameters: Any
    PROMPTS = False
    __signature__: ClassVar[inspect.Signature]

    def __init_subclass__(cls) -> None:
        """Show the parameters in the signature of the class."""
        base = inspect.signature(Heuristic)
        named = [
            inspect.Parameter(name, inspect.Parameter.KEYWORD_ONLY, default=default)
            for name, default in cls.parameters._asdict().items()
        ]
        cls.__signature__ = base.replace(parameters=[*base.parameters.values(), *named])

    def __init__(self, client: Client | gymnasium.Env[Any, Any], *, seed: int | None = None, **params: Any) -> None:
        """Make the agent.

        Args:
            client: What it looks at; an environment's is taken.
            seed: Not used: nothing is drawn.
            **params: Fields of `parameters`; a field that is left out has its default.

        Raises:
            TypeError: An unknown parameter.
            ValueError: A device that decodes none of the representations that the rule may request.
        """
        super().__init__(client, seed=seed)
        defaults = type(self).parameters
        given = type(defaults)(**params)
        # Whole numbers are fine where the rule computes with floats: compiled rules then meet one type
        self.parameters = given._make(
            float(value) if isinstance(default, float) else value
            for default, value in zip(defaults, given, strict=True)
        )
        self.representations = usable_representations(self.client.options, self.PROMPTS)
