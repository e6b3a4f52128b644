"""Commands as forks of this process, which has imported everything and computed nothing."""

import contextlib
import dataclasses
import os
import pathlib
import signal
import sys
import time
from collections.abc import Callable, Sequence

from experiments import launch

PAUSE = 0.02  # seconds between two looks at a child


@dataclasses.dataclass(frozen=True)
class Ended:
    """How a command ended.

    Attributes:
      status: its exit status; below 0 the signal that ended it; None where it took too long.
      text: what it printed, stdout and stderr together;  seconds: that it took.
    """

    status: int | None
    text: str
    seconds: float

    @property
    def error(self) -> str | None:
        """Its only line but for the log's, if it ended with status 2 and so many."""
        lines = [line for line in self.text.splitlines() if not _logged(line)]
        return lines[0] if self.status == 2 and len(lines) == 1 else None


def _logged(line: str) -> bool:
    """Whether a line is one of the log, which begins with a time."""
    return line[2:3] == line[5:6] == ":" and line[:2].isdecimal()


class Child:
    """A command that runs.

    Args:
      main: of the command's module;  flags: what follows its name.
      log: the file that it prints to.
      before: called in the child, before the command.
    """

    def __init__(
        self,
        main: Callable[[list[str]], None],
        flags: Sequence[str],
        log: pathlib.Path,
        before: Callable[[], None] = lambda: None,
    ):
        self._log, self._start = log, time.monotonic()
        sys.stdout.flush()
        self._process = os.fork()
        if not self._process:
            status = 1
            try:
                file = open(log, "w", buffering=1)
                for stream in (1, 2):  # of what is not Python
                    os.dup2(file.fileno(), stream)
                sys.stdout = sys.stderr = file
                sys.argv = ["command", *flags]
                before()
                status = launch.status(main, sys.argv)
            except BaseException:  # as the interpreter ends a command
                sys.excepthook(*sys.exc_info())
            finally:
                with contextlib.suppress(BaseException):
                    sys.stdout.flush()
                    sys.stderr.flush()
                os._exit(status)

    def kill(self, number: signal.Signals = signal.SIGKILL) -> None:
        os.kill(self._process, number)

    def runs(self, seconds: float) -> bool:
        """Whether it still runs after so many more seconds."""
        end = time.monotonic() + seconds
        while not self.over:
            if time.monotonic() >= end:
                return True
            time.sleep(PAUSE)
        return False

    def wait(self, limit: float) -> Ended:
        """Its end; one that takes more than `limit` seconds more is killed, and has no status."""
        late = self.runs(limit)
        if late:
            self.kill()
            os.waitpid(self._process, 0)
        text = self._log.read_text(errors="replace")
        seconds = time.monotonic() - self._start
        return Ended(None if late else self._status, text, seconds)

    @property
    def over(self) -> bool:
        """Whether it has ended."""
        if not hasattr(self, "_status"):
            found, code = os.waitpid(self._process, os.WNOHANG)
            if not found:
                return False
            self._status = os.waitstatus_to_exitcode(code)
        return True
