"""Which hypervolumes of a run can be compared, and which are lower bounds only."""

import numpy as np

_GAP = 0.05  # of the box: a front that begins further right has lost what a wider grid reaches
LOWER = (
    ">: a lower bound, of a front of one point, of fewer than half of the points of the run's "
    "longest, or that begins above where the editors' begin"
)


def volume_marks(
    fronts: dict[str, list[dict]], editors: set[str], reference: tuple[float, ...]
) -> dict[str, str]:
    """How each front's hypervolume is to be read: "", ">" (a lower bound) or "-" (not at all).

    Every further setting adds to a hypervolume, and what lies left of a front's first point counts
    as lost, so the number depends on the grid of settings. Editors have a common grid of lambda;
    grids of the other methods start where their authors let them.

    Args:
      fronts: of results.json;  editors: the names of those that are of editors;
      reference: the box, requirements and JSD.
    """
    box = np.asarray(reference)
    arrays = {
        name: np.array([np.append(p["requirement"], p["jsd"]) for p in front]).reshape(-1, len(box))
        for name, front in fronts.items()
    }
    longest = max((len(array) for array in arrays.values()), default=0)
    reached = [array[:, :-1].min(0) for name, array in arrays.items()
               if name in editors and len(array)]  # fmt: skip
    edge = np.min(reached, axis=0) + _GAP * box[:-1] if reached else np.full(len(box) - 1, np.inf)
    marks = {}
    for name, array in arrays.items():
        inside = (array <= box).all(1) & (array < box).any(1)
        if not inside.any():
            marks[name] = "-"
        elif len(array) == 1 or 2 * len(array) < longest:
            marks[name] = ">"
        else:
            late = name not in editors and (array[:, :-1].min(0) > edge).any()
            marks[name] = ">" if late else ""
    return marks


def marked(mark: str, volume: float) -> str:
    """A hypervolume with its mark, three decimals; a dash where no point is inside of the box."""
    return "-" if mark == "-" or volume == 0 else f"{mark}{volume:.3f}"
