"""README.md of a folder of results: summary, verdicts on the paper's claims, figures, costs."""

import pathlib

from metanet import report
from metanet.report import bounds, caveats, front, studies, summary
from metanet.report.claims import CLAIMS, judged
from metanet.report.stored import read_all
from metanet.storage import atomic_path

# The paper's figures and tables, by the run that makes ours. Of its figures the paper gives no
# numbers: what it says of them is judged claim by claim.
PAPER = {
    "dm_adult": "figure 1",
    "fairness_adult": "figure 2",
    "pruning_adult": "figure 3",
    "sample_efficiency_adult": "figure 4",
    "dm_bank": "figure 6",
    "pruning_bank": "figure 7",
    "compose_adult": "figure 8",
    "epo_adult": "figure 9",
    "timing_adult": "table 1",
}


def redraw(folder: pathlib.Path) -> None:
    """Writes the pictures and front.csv of every run below `folder` from its results.json."""
    for name, results in read_all(folder).items():
        for picture in (folder / name).glob("*.png"):
            picture.unlink()
        report.write(results, folder / name)


def write(folder: pathlib.Path, about: dict) -> None:
    """README.md in `folder`, from the results.json of every run below it.

    Args:
      about: of the command that writes it: "command", "versions".

    Raises:
      UserError: see `stored.read`.
    """
    results = read_all(folder)
    parts = (_head(about, results), _summary(results), _claims(results), _runs(folder, results))
    text = "\n".join(line for part in parts for line in part)
    with atomic_path(folder / "README.md") as temporary:
        temporary.write_text(text.rstrip() + "\n")


def _head(about: dict, results: dict[str, dict]) -> list[str]:
    versions = ", ".join(f"{name} {version}" for name, version in about["versions"].items())
    lines = [
        "# Results",
        "",
        f"Written by `{about['command']}` ({versions}) from the results.json of the runs below, "
        "each with its own command and device.",
        "",
        "Numbers are means over test models and editor seeds; intervals are 95% bootstrap "
        "intervals over experiments and seeds. Settings were chosen on validation models by the "
        "cost that is reported. How methods are compared stands in docs/results.md.",
        "",
    ]
    if any(not run.get("ends") for run in results.values() if run["kind"] == "fronts"):
        lines += [
            "Earlier runs stored neither values of single models nor constant outputs and "
            "unedited models: they have no intervals, their hypervolumes are of a method's own "
            "settings, and no claim is judged by the costs of their methods. Those that give a "
            "commit of publication recorded neither the commit of the code that made them nor "
            "their config.",
            "",
        ]
    return lines


def _summary(results: dict[str, dict]) -> list[str]:
    return [
        "## Hypervolume of mixtures and seconds per model",
        "",
        "Hypervolumes of a front, constant outputs, unedited models and their mixtures "
        "(neighbouring settings, each for a share of the models), of means over models, ± half of "
        "the interval, with the "
        f"number of settings of the first seed's front. {bounds.LOWER}. Second to the comparison "
        "by levels below.",
        "",
        *summary.hypervolumes(results),
        "",
        "## Methods against the slowest editor of their budget",
        "",
        "The slowest editor that takes no longer per model than the method, at every level of the "
        "requirement above its floor: it wins where the interval of the ratio of its cost to the "
        "method's is below 1, loses where above, else it is a tie. Features and weights are at a "
        "level for each model, equalised odds for the mean of the models. Intervals are paired "
        "over models and leave room for what lies between settings, to both sides' disadvantage; "
        "each is of 95% alone: of forty levels where two methods are equal, about two are called a "
        "win or a loss. Seconds are per model in a warm batch, all methods timed in one run; ~: in "
        "passing, beside other work.",
        "",
        *summary.against_budget(results),
        "",
        *_repeats(results),
        *_core_hours(results),
    ]


def _repeats(results: dict[str, dict]) -> list[str]:
    rows = summary.repeats(results)
    return ["## Another population and other editors", "", *rows, ""] if rows else []


def _core_hours(results: dict[str, dict]) -> list[str]:
    rows = summary.core_hours(results)
    text = (
        "Wall hours times devices, on CPUs of a core each, compilation included; all seeds, "
        "validation and test models. A population is in the column of every run that reads it. "
        "Of a run that another device took part in there is only what its own evaluated."
    )
    return ["## Core-hours", "", text, "", *rows, ""] if rows else []


def _claims(results: dict[str, dict]) -> list[str]:
    lines = ["## The paper's claims", "",
             "What refutes each stands in metanet/report/judges.py. A baseline that was not run "
             "or has a caveat is named, and without it no claim holds more than partly.", "",
             "| paper | claim | verdict | evidence |", "|---|---|---|---|"]  # fmt: skip
    for claim in CLAIMS:
        verdict, evidence = judged(claim, results)
        lines.append(f"| {claim.source} | {claim.text} | **{verdict}** | {evidence} |")
    return [*lines, ""]


def _runs(folder: pathlib.Path, results: dict[str, dict]) -> list[str]:
    lines = []
    for name, run in results.items():
        source = f" ({PAPER[name]} of the paper)" if name in PAPER else ""
        lines += [f"## {name}{source}", "", f"`{run['command']}`", "", _origin(run), ""]
        for picture in _pictures(folder / name, run):
            lines += [f"![{name}, {picture.stem}]({name}/{picture.name})", ""]
        lines += ["```", report.table(run), "```", "", *studies.tables(run)]
        notes = caveats.notes(run) if run["kind"] == "fronts" else []
        lines += [*notes, ""] if notes else []
    return lines


def _pictures(folder: pathlib.Path, run: dict) -> list[pathlib.Path]:
    """The pictures of a run, without one of all methods where the main ones are all."""
    pictures = sorted(folder.glob("*.png"))
    if not pictures or len(front.drawn(run, True)) > len(front.drawn(run, False)):
        return pictures
    return [picture for picture in pictures if picture.stem != "front_all"]


def _origin(run: dict) -> str:
    """A sentence on the code, the device and the seconds of a run's phases."""
    if run.get("commit"):
        code = f"Commit {run['commit'][:12]}" + (" with local changes" if run.get("dirty") else "")
    elif run.get("published_in"):
        code = f"Commit not recorded, published in {run['published_in'][:12]}"
    else:
        code = "Commit not recorded"
    seconds = [
        f"{phase}: {'not recorded' if value is None else f'{value:.0f} s'}"
        for phase, value in run.get("wall_seconds", {}).items()
    ]
    return "; ".join([code, run["device"], *seconds]) + "."
