"""Training curves: metrics.csv, and TensorBoard events beside it."""

import csv
import pathlib

import jax
import pandas as pd

from metanet.core import atomic_path


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
        import tensorboardX  # takes more than a second where PyTorch is installed, which it imports

        self.path = folder / "metrics.csv"
        if self.path.exists():
            rows = pd.read_csv(self.path, float_precision="round_trip")
            with atomic_path(self.path) as temporary:
                rows[rows["step"] <= step].to_csv(temporary, index=False)
        self._events = tensorboardX.SummaryWriter(str(folder), purge_step=step + 1)

    def write(self, step: int, scalars: dict[str, float]) -> None:
        """Writes one row, at once on disk."""
        if self._events is None:
            return
        new = not self.path.exists()
        with open(self.path, "a", newline="") as file:
            rows = csv.writer(file, lineterminator="\n")
            if new:
                rows.writerow(["step", *scalars])
            rows.writerow([step, *scalars.values()])
        for name, value in scalars.items():
            self._events.add_scalar(name, value, step)

    def close(self) -> None:
        if self._events is not None:
            self._events.close()
