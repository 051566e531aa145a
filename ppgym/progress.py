"""How far a long step has come: a bar on a terminal, elsewhere a line a minute on stderr."""

import time
from collections.abc import Iterable, Iterator, Sized
from datetime import timedelta
from types import TracebackType
from typing import Self, TypeVar

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, TextColumn, TimeElapsedColumn, TimeRemainingColumn
from rich.progress import Progress as Bar

Item = TypeVar("Item")

LINE_EVERY_S = 60.0


class Progress:
    """Shows the progress of a step from `start` to `stop`, or inside a `with`."""

    def __init__(self, doing: str, total: int, console: Console | None = None) -> None:
        """Show nothing yet.

        Args:
            doing: What the step does, such as "Playing".
            total: Units of work in all.
            console: Where it is shown; stderr where None.
        """
        self.console = Console(stderr=True) if console is None else console
        self._doing, self._total, self._done, self._began_s = doing, total, 0, 0.0
        columns = (TextColumn(doing), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn(), TimeRemainingColumn())
        note = TextColumn("{task.fields[note]}")
        self._bar = Bar(*columns, note, console=self.console, transient=True, disable=not self.console.is_terminal)
        self._task = self._bar.add_task("", total=total, note="")

    def start(self) -> Self:
        """Begin, and return itself."""
        self._began_s = self._shown_s = time.monotonic()
        self._bar.start()
        return self

    def advance(self, count: int = 1, note: str = "") -> None:
        """Note that more is done.

        Args:
            count: Units of work.
            note: A few words to show besides.
        """
        self._done += count
        self._bar.update(self._task, advance=count, note=note)
        now_s = time.monotonic()
        if self.console.is_terminal or now_s < self._shown_s + LINE_EVERY_S:
            return
        self._shown_s, elapsed_s = now_s, now_s - self._began_s
        left_s = elapsed_s * (self._total - self._done) / max(self._done, 1)
        elapsed, left = (timedelta(seconds=round(seconds)) for seconds in (elapsed_s, left_s))
        line = f"{self._doing}: {self._done:,} of {self._total:,}, {elapsed} elapsed, about {left} left"
        self.console.print(f"{line}, {note}" if note else line, soft_wrap=True, highlight=False)

    def stop(self) -> None:
        """End."""
        self._bar.stop()

    def __enter__(self) -> Self:
        """Start."""
        return self.start()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Stop."""
        self.stop()


def track(items: Iterable[Item], doing: str, total: int | None = None) -> Iterator[Item]:
    """Go through items and show the progress.

    Args:
        items: The items.
        doing: What the step does.
        total: How many; the length of `items` where None.

    Yields:
        The items.
    """
    if total is None:
        assert isinstance(items, Sized), "expected a length or a total"
        total = len(items)
    with Progress(doing, total) as progress:
        for item in items:
            yield item
            progress.advance()
