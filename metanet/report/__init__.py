"""Pictures and tables of results.json."""

import pathlib

from metanet.report import composition, front, joint, timing


def write(results: dict, folder: pathlib.Path) -> None:
    """front.csv and the task's pictures, in `folder`."""
    front.write_csv(results, folder / "front.csv")
    several = {"joint": joint.plot, "compose": composition.plot}
    if results["task"] in several:
        several[results["task"]](results, folder / "front.png")
        return
    front.plot(results, folder / "front.png")
    front.plot_stages(results, folder / "stages.png")
    if results["task"] == "fairness":
        front.plot_labels(results, folder / "labels.png")


def table(results: dict) -> str:
    """What the command prints."""
    tables = {"joint": joint.table, "compose": composition.table, "timing": timing.table}
    return tables.get(results["task"], front.table)(results)
