"""Standard output that nobody reads to its end, as in `asr tune … | head`: no command loses its files by that."""

import io
import sys
from typing import Any


class ForgivingPipe(io.FileIO):
    """A file descriptor to write to; once nobody reads what comes out of the other end it is thrown away."""

    is_unread = False

    def write(self, data: Any, /) -> int:
        """Write some of `data`, and say how much."""
        try:
            return super().write(data)
        except BrokenPipeError:
            self.is_unread = True
            return memoryview(data).nbytes


def forgive_closed_pipes() -> None:
    """Let the command go on when standard output or standard error is a pipe whose reader has gone."""
    for name, descriptor in (("stdout", 1), ("stderr", 2)):
        stream = getattr(sys, name)
        is_own = stream is getattr(sys, f"__{name}__")  # else it is caught by whoever called us
        if is_own and isinstance(stream, io.TextIOWrapper):  # else it is closed
            pipe = io.BufferedWriter(ForgivingPipe(descriptor, "w", closefd=False))
            forgiving = io.TextIOWrapper(
                pipe,
                stream.encoding,
                stream.errors,
                line_buffering=stream.line_buffering,
                write_through=stream.write_through,
            )
            setattr(sys, name, forgiving)


def nobody_reads() -> bool:
    """Whether standard output was found to be a closed pipe: a command that writes nowhere else can stop."""
    pipe = getattr(getattr(sys.stdout, "buffer", None), "raw", None)
    return isinstance(pipe, ForgivingPipe) and pipe.is_unread
