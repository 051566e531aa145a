"""Compute units as processes: one worker decodes, a warm spare stands by.

An aborted worker stops after its current frame or batch. One that has not after `ABORT_S` is killed, as one that
crashes or hangs is replaced: the spare takes over at once, and a new spare warms up behind it.
"""

import asyncio
import json
import os
import sys
import time
from typing import Any, NamedTuple

ABORT_S = 0.1  # in which an aborted worker must be free
START_S = 120.0  # in which a worker must be warm
END_S = 2.0  # in which a worker must end when its standard input closes


class DecodeError(Exception):
    """A chunk was not decoded: its bytes are no such chunk, or the worker crashed or hung."""


class Decoded(NamedTuple):
    """A finished job.

    Attributes:
        seconds: As the worker took them.
        frames: Decoded.
    """

    seconds: float
    frames: int


class Worker:
    """A process of `ppgym.live.worker`."""

    def __init__(self, process: asyncio.subprocess.Process) -> None:
        """Of a process that has just started; `warm_up` waits for it."""
        self.process = process
        self._jobs = 0

    @classmethod
    async def start(cls, unit: str, generator: str) -> "Worker":
        """Start a worker.

        Args:
            unit: Of `ppgym.core.state.UNIT_NAMES`.
            generator: Name; "" where the unit decodes pixels alone.
        """
        command = [sys.executable, "-m", "ppgym.live.worker", unit, generator]
        environment = os.environ | {"OMP_NUM_THREADS": "1", "PYTHONWARNINGS": "ignore"}
        pipe = asyncio.subprocess.PIPE
        return cls(await asyncio.create_subprocess_exec(*command, stdin=pipe, stdout=pipe, env=environment))

    async def warm_up(self) -> None:
        """Wait until it is ready.

        Raises:
            DecodeError: It is not within `START_S`.
        """
        try:
            async with asyncio.timeout(START_S):
                await self.answer()
        except TimeoutError:
            raise DecodeError(f"the worker was not ready within {START_S:g} s") from None

    async def send(self, data: bytes, generative: bool) -> int:
        """Give it a job; returns the job's number."""
        self._jobs += 1
        await self._write({"id": self._jobs, "generative": generative, "size": len(data)}, data)
        return self._jobs

    async def answer(self) -> dict[str, Any]:
        """Its next frame.

        Raises:
            DecodeError: It has ended, or says something else.
        """
        assert self.process.stdout is not None
        try:
            line = await self.process.stdout.readline()
            found = json.loads(line) if line.endswith(b"\n") else None
        except ValueError as error:  # a line without end, too
            raise DecodeError(f"the worker has answered no JSON: {error}") from None
        if not isinstance(found, dict):
            raise DecodeError("the worker has crashed")
        return found

    async def abort(self, job: int) -> bool:
        """Stop a job; returns whether the worker was free within `ABORT_S`."""
        try:
            async with asyncio.timeout(ABORT_S):
                await self._write({"abort": job})
                while (await self.answer()).get("id") != job:
                    pass
        except (TimeoutError, DecodeError):
            return False
        return True

    async def end(self, at_once: bool = False) -> None:
        """End the process; nothing of it is left when this returns."""
        assert self.process.stdin is not None
        self.process.stdin.close()
        if at_once:
            self._kill()
        try:
            async with asyncio.timeout(END_S):
                await self.process.wait()
        except TimeoutError:
            self._kill()
            await self.process.wait()

    def _kill(self) -> None:
        try:
            self.process.kill()
        except ProcessLookupError:
            pass

    async def _write(self, frame: dict[str, Any], data: bytes = b"") -> None:
        assert self.process.stdin is not None
        try:
            self.process.stdin.write(json.dumps(frame).encode() + b"\n" + data)
            await self.process.stdin.drain()
        except OSError:
            raise DecodeError("the worker has crashed") from None


class Unit:
    """A compute unit: one job at a time.

    Attributes:
        name: Of the unit.
        abort_s: Of each abort, the seconds from the swipe to a free unit.
        replaced: Workers that were killed or had crashed.
    """

    def __init__(self, name: str, generator: str) -> None:
        """Nothing runs yet.

        Args:
            name: Of `ppgym.core.state.UNIT_NAMES`.
            generator: Name; "" where the unit decodes pixels alone.
        """
        self.name, self._generator = name, generator
        self.abort_s: list[float] = []
        self.replaced = 0
        self._free = asyncio.Lock()
        self._worker: asyncio.Task[Worker] | None = None
        self._spare: asyncio.Task[Worker] | None = None
        self._ending: set[asyncio.Task[None]] = set()
        self._closed = False

    async def start(self) -> None:
        """Warm a worker up, and its spare.

        Raises:
            OSError: One does not start.
        """
        try:
            self._worker = asyncio.create_task(self._warm())
            await asyncio.shield(self._worker)
            self._spare = asyncio.create_task(self._warm())
            await asyncio.shield(self._spare)
        except DecodeError as error:
            raise OSError(f"unit {self.name}: {error}") from error

    async def decode(self, data: bytes, generative: bool, limit_s: float) -> Decoded:
        """Decode a chunk; cancelling the task aborts the job and leaves the unit free.

        Args:
            data: Of the chunk.
            generative: Whether it is a prompt.
            limit_s: After which the worker counts as hung.

        Raises:
            DecodeError: The bytes are no such chunk, or the worker crashed or hung.
        """
        async with self._free:
            worker = await self._warm_worker()
            job = 0
            try:
                async with asyncio.timeout(limit_s):
                    job = await worker.send(data, generative)
                    answer = await worker.answer()
                if "error" not in answer:
                    return Decoded(answer["seconds"], answer["frames"])
            except asyncio.CancelledError:
                began_s = time.monotonic()
                if job == 0 or not await worker.abort(job):
                    self._replace(worker)
                self.abort_s.append(time.monotonic() - began_s)
                raise
            except TimeoutError:
                self._replace(worker)
                raise DecodeError(f"the worker hung for {limit_s:g} s") from None
            except KeyError as error:
                self._replace(worker)
                raise DecodeError(f"the worker has answered without {error}") from None
            except DecodeError:
                self._replace(worker)
                raise
        raise DecodeError(answer["error"])

    async def close(self) -> None:
        """End all processes; no more of them start."""
        self._closed = True
        tasks = [task for task in (self._worker, self._spare) if task is not None]
        for task in tasks:
            task.cancel()
        found = await asyncio.gather(*tasks, return_exceptions=True)
        workers = [one for one in found if isinstance(one, Worker)]
        await asyncio.gather(*(worker.end() for worker in workers), *self._ending)

    async def _warm_worker(self) -> Worker:
        """The worker, once it is warm; one that does not become so is replaced."""
        assert self._worker is not None, "start() comes first"
        try:
            return await asyncio.shield(self._worker)
        except DecodeError:
            self._replace(None)
            raise

    def _replace(self, worker: Worker | None) -> None:
        """The spare takes over from a worker that is to end, and a new one warms up."""
        self.replaced += 1
        if self._closed:  # which ends them all
            return
        if worker is not None:
            ending = asyncio.create_task(worker.end(at_once=True))
            self._ending.add(ending)
            ending.add_done_callback(self._ending.discard)
        self._worker, self._spare = self._spare, asyncio.create_task(self._warm())

    async def _warm(self) -> Worker:
        try:
            worker = await Worker.start(self.name, self._generator)
        except OSError as error:
            raise DecodeError(f"the worker does not start: {error}") from error
        try:
            await worker.warm_up()
        except BaseException:
            await worker.end(at_once=True)
            raise
        return worker
