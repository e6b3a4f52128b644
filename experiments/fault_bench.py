"""An undisturbed run, runs like it, and how they end; for experiments.faults."""

import dataclasses
import os
import pathlib
from collections.abc import Callable, Sequence

import jax
from absl import flags

from experiments import run
from experiments.children import Child, Ended
from experiments.fault_verdicts import MINUTE, numbers_in


@dataclasses.dataclass(frozen=True)
class Bench:
    """An undisturbed run, and what starts others like it.

    Attributes:
      folder: of everything;  flags: of every run;  seconds: that the undisturbed one took.
    """

    folder: pathlib.Path
    flags: Sequence[str]
    seconds: float = 0.0

    @classmethod
    def prepared(cls, folder: pathlib.Path, flags: Sequence[str]) -> "Bench":
        """Runs twice: programs are compiled, then the time is taken.

        Raises:
          SystemExit: the undisturbed run fails.
        """
        bench = cls(folder, flags)
        for name in ("compiled", "done"):
            ended = bench.start(folder / name).wait(10 * MINUTE)
            if ended.status:
                raise SystemExit(f"the undisturbed run failed: {ended.text}")
        return dataclasses.replace(bench, seconds=ended.seconds)

    @property
    def done(self) -> pathlib.Path:
        return self.folder / "done"

    def start(
        self,
        workdir: pathlib.Path,
        *more: str,
        main: Callable[[list[str]], None] = run.main,
        before: Callable[[], None] = lambda: None,
    ) -> Child:
        """The run in `workdir`, or another command on its config."""

        def prepare():
            flags.FLAGS.unparse_flags()
            jax.config.update("jax_compilation_cache_dir", os.environ["JAX_COMPILATION_CACHE_DIR"])
            before()

        log = self.folder / f"log-{workdir.name}"
        return Child(main, [*self.flags, f"--workdir={workdir}", *more], log, prepare)

    def same(self, workdir: pathlib.Path) -> bool:
        """Whether `workdir` has the numbers of the undisturbed run."""
        expected = numbers_in(self.done / "results.json")
        return numbers_in(workdir / "results.json") == expected

    def judged(self, workdir: pathlib.Path, ended: Ended) -> str:
        """How a run ended: "same numbers", "one line", or what is wrong."""
        if "Traceback" in ended.text:
            return f"WRONG: traceback: {ended.text.strip().splitlines()[-1][:200]}"
        if ended.status is None:
            return "WRONG: no end within a minute"
        if ended.status == 0:
            return "same numbers" if self.same(workdir) else "WRONG: other numbers"
        return "one line" if ended.error else f"WRONG: status {ended.status}: {ended.text[-300:]}"

    def limit(self) -> float:
        """Seconds in which a whole run has to end."""
        return MINUTE + 5 * self.seconds
