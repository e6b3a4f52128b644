"""Training curves: metrics.csv, and TensorBoard events beside it."""

import contextlib
import csv
import logging
import os
import pathlib
import time

import jax

from metanet.storage import atomic_path, writing

logger = logging.getLogger(__name__)


class Writer:
    """Appends one row of scalars per call; rows after `step`, which are repeated, are dropped.

    Of several processes only the first writes.

    Attributes:
      path: folder / metrics.csv, whose first column is `step`.
    """

    def __init__(self, folder: pathlib.Path, step: int):
        self._events = None
        if jax.process_index():
            return
        # Takes more than a second where PyTorch is installed, which it imports. Not its
        # SummaryWriter, whose thread ends unheard on a full disk, and then calls wait for it.
        from tensorboardX.event_file_writer import EventsWriter, event_pb2

        self.path = folder / "metrics.csv"
        if self.path.exists():
            kept = _rows_up_to(self.path, step)
            with atomic_path(self.path) as temporary:
                temporary.write_text("".join(f"{row}\n" for row in kept))
        self._event, self._events_path = event_pb2.Event, folder / "events.out.tfevents"
        with writing(self._events_path):
            folder.mkdir(parents=True, exist_ok=True)
            self._events = EventsWriter(str(folder / "events"), f".{os.getpid()}.{step}")
        self._add(step + 1, session_log={"status": "START"})  # hides what came after `step`

    def write(self, step: int, scalars: dict[str, float]) -> None:
        """Writes one row, at once on disk.

        Raises:
          UserError: it cannot be written, as on a full disk.
        """
        if self._events is None:
            return
        new = not self.path.exists() or not self.path.stat().st_size
        with writing(self.path), open(self.path, "a", newline="") as file:
            rows = csv.writer(file, lineterminator="\n")
            if new:
                rows.writerow(["step", *scalars])
            rows.writerow([step, *scalars.values()])
        values = [{"tag": name, "simple_value": float(value)} for name, value in scalars.items()]
        self._add(step, summary={"value": values})

    def close(self) -> None:
        if self._events is not None:
            with contextlib.suppress(OSError):  # rows are written already, or an error has said why
                self._events.close()

    def _add(self, step: int, **content) -> None:
        """Writes one event, at once on disk."""
        assert self._events is not None
        with writing(self._events_path):
            self._events.write_event(self._event(wall_time=time.time(), step=step, **content))
            self._events.flush()


def _rows_up_to(path: pathlib.Path, step: int) -> list[str]:
    """Names and rows of a metrics.csv up to `step`; what a kill left incomplete is dropped."""
    *lines, piece = path.read_text(errors="replace").split("\n")  # what has no end is incomplete
    names, *rows = lines or [""]
    if not names.startswith("step,"):
        logger.warning("%s: found no column names; its rows are dropped", path)
        return []
    parts = [row.split(",") for row in rows]
    whole = [len(part) == names.count(",") + 1 and part[0].isdecimal() for part in parts]
    lost = len(whole) - sum(whole) + bool(piece)
    if lost:
        logger.warning("%s: %d incomplete rows are dropped", path, lost)
    found = zip(rows, parts, whole, strict=True)
    return [names, *(row for row, part, ok in found if ok and int(part[0]) <= step)]
