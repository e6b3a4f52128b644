"""README.md of a folder of results: summary, verdicts on the paper's claims, figures, costs."""

import json
import pathlib

from metanet import report
from metanet.core import atomic_path
from metanet.report import studies, summary
from metanet.report.claims import CLAIMS, judged

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


def write(folder: pathlib.Path, about: dict) -> None:
    """README.md in `folder`, from the results.json of every run below it.

    Args:
      about: of the command that ran them: "command", "device", "versions".
    """
    paths = sorted(folder.glob("*/results.json"))
    results = {path.parent.name: json.loads(path.read_text()) for path in paths}
    results = {name: found for name, found in results.items() if "methods" in found}
    parts = (_head(about), _summary(results), _claims(results), _runs(folder, results))
    text = "\n".join(line for part in parts for line in part)
    with atomic_path(folder / "README.md") as temporary:
        temporary.write_text(text + "\n")


def _head(about: dict) -> list[str]:
    versions = ", ".join(f"{name} {version}" for name, version in about["versions"].items())
    return [
        "# Results",
        "",
        f"Written by `{about['command']}` on {about['device']} ({versions}).",
        "Numbers are means over test models; JSD in nats; every setting was chosen on validation.",
        "",
    ]


def _summary(results: dict[str, dict]) -> list[str]:
    return [
        "## Hypervolume and seconds per model",
        "",
        "Of editors means and deviations over their seeds. Hypervolumes are those of fronts and "
        "their mixtures (neighbouring settings, each for a share of the models), because methods "
        "that train every model are swept over fewer settings.",
        "",
        *summary.hypervolumes(results),
        "",
        "## Editors against methods of their own budget",
        "",
        "At every point of a method, the best of the editors that take no longer per model; a "
        "point that none of them reaches does not count. Of points that editors lose, the worst.",
        "",
        *summary.losses(results),
        "",
    ]


def _claims(results: dict[str, dict]) -> list[str]:
    lines = ["## The paper's claims", "", "| paper | claim | verdict | evidence |",
             "|---|---|---|---|"]  # fmt: skip
    for claim in CLAIMS:
        verdict, evidence = judged(claim, results)
        lines.append(f"| {claim.where} | {claim.said} | **{verdict}** | {evidence} |")
    return [*lines, ""]


def _runs(folder: pathlib.Path, results: dict[str, dict]) -> list[str]:
    lines = []
    for name, found in results.items():
        source = f" ({PAPER[name]} of the paper)" if name in PAPER else ""
        lines += [f"## {name}{source}", "", f"`{found['command']}`", ""]
        if "wall_seconds" in found:
            seconds = ", ".join(f"{k} {v:.0f} s" for k, v in found["wall_seconds"].items())
            lines += [f"On {found['device']}: {seconds}.", ""]
        for picture in sorted((folder / name).glob("*.png")):
            lines += [f"![{name}, {picture.stem}]({name}/{picture.name})", ""]
        lines += ["```", report.table(found), "```", "", *studies.tables(name, found)]
    return lines
