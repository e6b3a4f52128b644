"""Tables of alternatives that were timed beside each other."""

import dataclasses
import importlib.util
import pathlib
from collections.abc import Sequence

import jax
import numpy as np

from metanet.core import versions
from metanet.devices import device_name
from metanet.storage import write_json

RESULTS = pathlib.Path("results/benchmarks")
PACKAGES = ("jax", "jaxlib", "flax", "torch", "torch-geometric", "numpy")


def installed(*packages: str) -> bool:
    """Whether these packages are there; cases that need them are left out where not."""
    return all(importlib.util.find_spec(name) is not None for name in packages)


def on_host():
    """A context in which JAX uses the CPU: many small programs take long to compile for a GPU."""
    return jax.default_device(jax.local_devices(backend="cpu")[0])


@dataclasses.dataclass(frozen=True)
class Comparison:
    """One table: seconds per unit of cases that were measured together.

    Attributes:
      unit: what a unit is, for example "model-step".
      ours: the case that the others' ratios are to.
      floors: (case of ours, the case that does its matrix products alone) where one was measured.
    """

    title: str
    unit: str
    seconds: dict[str, np.ndarray]
    ours: str
    floors: tuple[tuple[str, str], ...] = ()

    def rows(self) -> list[dict]:
        """Median, minimum and maximum of every case, and of its ratio to ours, repeat by repeat."""
        rows = []
        for name, seconds in self.seconds.items():
            ratio = seconds / self.seconds[self.ours]
            row = {"case": name}
            for key, values in (("seconds", seconds), ("ratio", ratio)):
                spread = np.median(values), values.min(), values.max()
                row[key] = dict(zip(("median", "min", "max"), map(float, spread), strict=True))
            rows.append(row)
        return rows


def digits(value: float) -> str:
    """Three digits of a positive number, without an exponent."""
    return np.format_float_positional(value, precision=3, fractional=False, trim="-")


def markdown(comparison: Comparison) -> str:
    """The comparison as a Markdown table in a readable unit of time."""
    medians = [np.median(values) for values in comparison.seconds.values()]
    scale, prefix = next(
        (scale, prefix)
        for scale, prefix in ((1.0, "s"), (1e3, "ms"), (1e6, "µs"))
        if min(medians) * scale >= 1 or prefix == "µs"
    )
    lines = [
        f"### {comparison.title}",
        "",
        f"| case | {prefix} per {comparison.unit}: median (min to max) | times ours |",
        "|---|---|---|",
    ]
    for row in comparison.rows():
        time_, ratio = row["seconds"], row["ratio"]
        middle, low, high = (digits(time_[key] * scale) for key in ("median", "min", "max"))
        spread = "{} ({} to {})".format(*(digits(ratio[key]) for key in ("median", "min", "max")))
        ours = row["case"] == comparison.ours
        lines.append(f"| {row['case']} | {middle} ({low} to {high}) | {'1' if ours else spread} |")
    for case, floor in comparison.floors:
        distance = np.median(comparison.seconds[case] / comparison.seconds[floor])
        lines += ["", f"{case}: {digits(distance)} times its floor, {floor}."]
    return "\n".join(lines) + "\n"


def report(name: str, comparisons: Sequence[Comparison], extra: dict | None = None) -> None:
    """Prints the tables and writes results/benchmarks/NAME.json."""
    about = {"device": device_name(), "versions": versions(PACKAGES)}
    for comparison in comparisons:
        print(markdown(comparison), flush=True)
    print(f"{about['device']}; " + ", ".join(f"{k} {v}" for k, v in about["versions"].items()))
    tables = [
        {"title": one.title, "unit": one.unit, "ours": one.ours, "rows": one.rows(),
         "floors": [list(pair) for pair in one.floors]}
        for one in comparisons
    ]  # fmt: skip
    write_json(RESULTS / f"{name}.json", {**about, "tables": tables, **(extra or {})})
