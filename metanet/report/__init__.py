"""Pictures and tables of results.json, chosen by what it holds."""

import pathlib

from matplotlib.figure import Figure

from metanet.report import composition, front, joint, levels, scaling, timing


def _pictures(results: dict):
    """The module that draws fronts of so many requirements."""
    return {1: front, 2: composition}.get(len(results["requirements"]), joint)


def figure(results: dict) -> Figure:
    """The main figure of a run's fronts, see `front.figure`."""
    return _pictures(results).figure(results)


def write(results: dict, folder: pathlib.Path) -> None:
    """front.csv and the pictures, in `folder`; nothing for a run without fronts."""
    if results["kind"] == "fronts":
        front.write_csv(results, folder / "front.csv")
        _pictures(results).plot(results, folder)


def table(results: dict) -> str:
    """The table that the command prints."""
    if results["kind"] == "timing":
        return timing.table(results)
    if results["kind"] == "scaling":
        return scaling.table(results)
    tables = {1: levels.table, 2: composition.table}
    return tables.get(len(results["requirements"]), joint.table)(results)
