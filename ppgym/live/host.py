"""A feed server as a child process, which ends with its parent: `python -m ppgym.live.host FEED`.

The child serves on a free port of the loopback address until its standard input closes, so that it never outlives the
process that needs it, however that one ends.
"""

import os
import subprocess
import sys
import threading
from pathlib import Path
from typing import Self


class Host:
    """A server of its own for one feed; use it in a `with`.

    Attributes:
        url: Where it answers.
    """

    def __init__(self, folder: Path, port: int = 0) -> None:
        """Start it.

        Args:
            folder: Of the feed.
            port: To listen on; any free one where 0.

        Raises:
            ValueError: It did not start; says why.
        """
        command = [sys.executable, "-m", "ppgym.live.host", str(folder), str(port)]
        self._process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        assert self._process.stdout is not None
        self.url = self._process.stdout.readline().strip()
        if not self.url:
            self.close()
            raise ValueError(f"{folder}: the feed server did not start")

    @property
    def port(self) -> int:
        """On which it listens."""
        return int(self.url.rpartition(":")[2])

    def kill(self) -> None:
        """End it at once, transfers and all."""
        self._process.kill()
        self.close()

    def close(self) -> None:
        """End it."""
        assert self._process.stdin is not None and self._process.stdout is not None
        self._process.stdin.close()
        self._process.stdout.close()
        try:
            self._process.wait(5)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()

    def __enter__(self) -> Self:
        """It runs already."""
        return self

    def __exit__(self, *error: object) -> None:
        """End it."""
        self.close()


def end_with_parent() -> None:
    """End this process when its standard input closes."""
    sys.stdin.read()
    os._exit(0)


def main() -> None:
    """Serve until standard input closes."""
    from ppgym.commandline import run_command
    from ppgym.live.server import HOST, run_server

    threading.Thread(target=end_with_parent, daemon=True).start()
    run_command(lambda: run_server(Path(sys.argv[1]), HOST, int(sys.argv[2])), extra="live")


if __name__ == "__main__":
    main()
