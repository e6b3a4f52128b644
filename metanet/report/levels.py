"""The printed table of fronts of one requirement: JSD at some levels of it."""

import numpy as np

from metanet.report.bounds import LOWER, marked, volume_marks
from metanet.report.comparison import at_levels, coarse, volumes

_SHARES = (0.1, 0.3, 0.5, 0.7, 0.9)  # of the box, where the config gives no levels


def table(results: dict) -> str:
    """Hypervolume of mixtures, number of points, JSD at levels of the requirement, seconds."""
    methods, box = results["methods"], tuple(results["reference_point"])
    levels = np.array(results["report_levels"] or [share * box[0] for share in _SHARES])
    fronts = {name: method["front"] for name, method in methods.items()}
    editors = {name for name, method in methods.items() if "seeds" in method}
    marks = volume_marks(fronts, editors, box)
    width = max(map(len, methods)) + 2
    head = "".join(f"{f'@{level:g}':>9}" for level in levels)
    rows, bounded = [], False
    for name, method in methods.items():
        volume = marked(marks[name], volumes(method, box).mean())
        values, bounds = at_levels(method, levels), coarse(method, levels)
        bounded |= bool((bounds & ~np.isnan(values).any(0)).any())
        cells = "".join(map(_cell, values.T, bounds))
        seconds = method["seconds_per_model"]
        last = f"{'-':>10}" if seconds is None else f"{seconds:>10.5f}"
        rows.append(f"{name:<{width}}{volume:>7}{len(method['front']):>8}{cells}{last}")
    return "\n".join([
        f"{results['task']} on {results['dataset']}, test models; means over editor seeds",
        f"HV: hypervolume of mixtures in the box {'x'.join(f'{value:g}' for value in box)}",
        *[LOWER] * (">" in marks.values()),
        f"@x: JSD (nats) at {results['requirement_labels'][0]} x",
        *["<: an upper bound, between points far apart or above the last"] * bounded,
        f"{'method':<{width}}{'HV':>7}{'points':>8}{head}{'s/model':>10}",
        *rows,
    ])  # fmt: skip


def _cell(values: np.ndarray, bound: bool) -> str:
    """The mean over seeds [seeds]; a dash where a seed's front does not reach."""
    if np.isnan(values).any():
        return f"{'-':>9}"
    return f"{'<' * bool(bound) + f'{values.mean():.4f}':>9}"
