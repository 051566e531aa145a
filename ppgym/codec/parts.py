"""A long job's results on disk, one file each, so that it goes on where it was stopped or killed.

The folder belongs to one job: to one set of clips, one generator and one set of options. It is left when the job is
done, for it holds prompts that took hours to find.
"""

from collections.abc import Callable
from pathlib import Path
from typing import Any, Final

from ppgym.files import differences, read_json, write_json

JOB: Final = "job.json"
SUFFIX: Final = ".parts"  # of the folder, after the name of the file that the job makes


class Parts:
    """The folder of a job.

    Attributes:
        folder: Where it is.

    Raises:
        ValueError: It belongs to another job; says in what the two differ.
    """

    def __init__(self, output: Path, job: dict[str, Any]) -> None:
        """Begin, or find what was begun.

        Args:
            output: File that the job makes; the folder lies beside it.
            job: Everything that the results depend on, as JSON.
        """
        self.folder = output.with_name(output.name + SUFFIX)
        path = self.folder / JOB
        if path.is_file():
            other = next(differences(read_json(path), job), None)
            if other is not None:
                raise ValueError(
                    f"{self.folder}: holds the results of another job: {other}; delete it, or choose another output"
                )
        elif self.folder.exists() and any(self.folder.iterdir()):
            raise ValueError(f"{self.folder}: expected a folder of this command, for it holds no {JOB}")
        else:
            write_json(path, job)

    def has(self, name: str) -> bool:
        """Whether a result is there."""
        return self._path(name).is_file()

    def of(self, name: str, make: Callable[[], dict[str, Any]]) -> dict[str, Any]:
        """A result: from its file, else made now and kept.

        Args:
            name: Of the result.
            make: Makes it, as JSON.

        Raises:
            ValueError: Its file is damaged; names it.
        """
        if not self.has(name):
            write_json(self._path(name), make())
        return self.read(name)

    def read(self, name: str) -> dict[str, Any]:
        """A result that is there.

        Raises:
            FileNotFoundError: It is not.
            ValueError: Its file is damaged; names it.
        """
        return read_json(self._path(name))

    def checkpoint(self, name: str) -> Path:
        """The file of what is half done; gone when the result is there."""
        return self.folder / f"{name}.checkpoint"

    def _path(self, name: str) -> Path:
        return self.folder / f"{name}.json"
