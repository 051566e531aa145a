"""A decoder in a process of its own: `python -m ppgym.live.worker UNIT GENERATOR`.

Frames on standard input and output are a line of JSON; a job's is followed by its bytes. The worker says `ready` when
it is warm. A job is stopped by `{"abort": ID}` after its current frame or batch. When standard input closes, the
process ends, whatever it does.
"""

import json
import os
import queue
import signal
import sys
import threading
import time
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any, BinaryIO

import numpy as np

from ppgym.codec.pixel import decode_frames
from ppgym.live.feed import MAX_CHUNK_BYTES

if TYPE_CHECKING:
    from ppgym.codec.generator import Generator

BATCH = {"cpu": 2, "gpu": 30}  # frames of a generator's pass: a batch on a CPU ends within about 100 ms
TORCH_DEVICES = {"cpu": "cpu", "gpu": "cuda"}


def main() -> None:
    """Decode until standard input closes."""
    unit, name = sys.argv[1:]
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the parent decides
    output = os.fdopen(os.dup(1), "wb", buffering=0)
    os.dup2(2, 1)  # a library's prints go to standard error
    jobs: queue.SimpleQueue[tuple[dict[str, Any], bytes]] = queue.SimpleQueue()
    aborted: set[int] = set()
    generator = load(unit, name) if name else None
    tell(output, {"ready": True})
    threading.Thread(target=listen, args=(sys.stdin.buffer, jobs, aborted), daemon=True).start()
    while True:
        job, data = jobs.get()
        number, began_s = job["id"], time.monotonic()
        answer = {"id": number, "frames": 0}
        try:
            for frames in decode(data, job["generative"], generator, BATCH.get(unit, 1)):
                answer["frames"] += frames
                if number in aborted:
                    answer["aborted"] = True
                    break
        except Exception as error:  # whatever a decoder raises on these bytes, the next job is another one
            answer["error"] = f"{type(error).__name__}: {error}"
        answer["seconds"] = time.monotonic() - began_s
        aborted.discard(number)
        tell(output, answer)


def load(unit: str, name: str) -> "Generator":
    """A generator that has drawn a blank prompt, so that nothing is read or compiled when a chunk comes."""
    import torch

    from ppgym.codec.bitstream import PromptChunk
    from ppgym.codec.generator import load_generator

    torch.set_num_threads(1)
    generator = load_generator(name, device=TORCH_DEVICES[unit], local_files_only=True)
    ones = np.ones(1, np.float32)
    blank = PromptChunk(
        generator=generator.identity,
        height_px=generator.resolution[0],
        width_px=generator.resolution[1],
        fps=30.0,
        frame_count=1,
        keyframes=(0,),
        bits=8,
        u=np.zeros((1, generator.tokens, 1), np.uint8),
        v=np.zeros((1, 1, generator.width), np.uint8),
        u_scale=ones,
        u_zero=ones,
        v_scale=ones,
        v_zero=ones,
    )
    for _ in decode(blank.to_bytes(), True, generator, BATCH[unit]):
        pass
    return generator


def listen(source: BinaryIO, jobs: "queue.SimpleQueue[tuple[dict[str, Any], bytes]]", aborted: set[int]) -> None:
    """Take jobs and aborts from the parent; end the process when there is none any more."""
    for line in source:
        frame = json.loads(line)
        if "abort" in frame:
            aborted.add(frame["abort"])
        else:
            jobs.put((frame, source.read(min(frame["size"], MAX_CHUNK_BYTES))))
    os._exit(0)


def decode(data: bytes, generative: bool, generator: "Generator | None", batch: int) -> Iterator[int]:
    """Decode a chunk to pictures in memory, with a pause after each frame or batch.

    Args:
        data: Of the chunk.
        generative: Whether it is a prompt.
        generator: What draws prompts.
        batch: Frames of a pass.

    Yields:
        Frames decoded since the last pause.

    Raises:
        ValueError: No such chunk.
    """
    if not generative:
        for _ in decode_frames(data):
            yield 1
        return
    from ppgym.codec.bitstream import PromptChunk, check_generator

    if generator is None:
        raise ValueError("expected pixels: this unit has no generator")
    chunk = PromptChunk.from_bytes(data)
    check_generator(chunk, generator.identity)
    if chunk.noise_seed is not None:  # a chain is drawn in one go
        yield len(generator.decode(chunk))
        return
    embeddings = chunk.frame_embeddings()
    for first in range(0, len(embeddings), batch):
        yield len(generator.generate(embeddings[first : first + batch], batch_size=batch))


def tell(output: BinaryIO, frame: dict[str, Any]) -> None:
    """Write a frame to the parent."""
    output.write(json.dumps(frame).encode() + b"\n")


if __name__ == "__main__":
    main()
