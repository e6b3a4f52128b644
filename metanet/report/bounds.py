"""Which hypervolumes of a run are lower bounds only."""

LOWER = ">: a lower bound, of fewer than half as many settings as the longest front of the run"


def volume_marks(methods: dict[str, dict]) -> dict[str, str]:
    """How each front's hypervolume is to be read: "", ">" (a lower bound) or "-" (no front).

    Every further setting adds to a hypervolume, of mixtures less than of points.
    """
    longest = max((len(method["front"]) for method in methods.values()), default=0)
    return {
        name: "-" if not count else ">" if 2 * count < longest else ""
        for name, count in ((name, len(method["front"])) for name, method in methods.items())
    }


def marked(mark: str, volume: float) -> str:
    """A hypervolume with its mark, three decimals; a dash where there is no front."""
    return "-" if mark == "-" else f"{mark}{volume:.3f}"
