"""Table 1: how long methods take."""

# Seconds per model in the paper's table 1, by task and our name of the method.
PAPER = {
    "dm": {"FS (per model)": 32, "FS & Retrain": 32.35, "FS (GMN)": 0.03, "GMN": 0.03},
    "fairness": {
        "ThresholdOpt": 0.08,
        "CalEqOdds": 0.37,
        "RejectOption (aif360)": 4.36,
        "FairCls": 0.17,
        "GMN": 0.03,
    },
    "pruning": {
        "Random": 0.003,
        "Magnitude": 0.003,
        "Grad Importance": 0.02,
        "SNIP": 0.41,
        "Lottery Ticket": 0.05,
        "GMN - Prune": 0.03,
        "GMN - Prune & Edit": 0.03,
    },
}


def beside_paper(results: dict) -> list[str]:
    """Our seconds for one model, warm, beside the paper's, in Markdown; nothing without any.

    Machines differ, so both are also given over the editor's own, the last of its task.
    """
    ours = {name: entry["one_model"] for name, entry in results["methods"].items()}
    rows = []
    for task, paper in PAPER.items():
        editor = list(paper)[-1]
        for name, theirs in paper.items():
            if {f"{task}: {name}", f"{task}: {editor}"} <= ours.keys():
                own = ours[f"{task}: {name}"]
                over = f"{theirs / paper[editor]:.3g} | {own / ours[f'{task}: {editor}']:.3g}"
                rows.append(f"| {task} | {name} | {theirs:g} | {own:.2g} | {over} |")
    if not rows:
        return []
    return [
        "Table 1 of the paper, and ours for one model, warm: seconds, and times over the editor's.",
        "",
        "| task | method | paper, s | ours, s | paper, over GMN | ours, over GMN |",
        "|---|---|---|---|---|---|",
        *rows,
    ]


def table(results: dict) -> str:
    """Seconds of a first call (with compilation), of one model, and per model of a batch."""
    methods = results["methods"]
    width = max(map(len, methods)) + 2
    lines = [
        f"seconds per model, {results['dataset']}, {results['device']}: first call, one "
        "model warm, a model of a warm batch (models)",
        f"{'method':<{width}}{'first':>9}{'one':>11}{'of batch':>11}{'models':>8}",
    ]
    for name, entry in methods.items():
        lines.append(
            f"{name:<{width}}{entry['first_call']:>9.2f}{entry['one_model']:>11.5f}"
            f"{entry['per_model_of_batch']:>11.5f}{entry['batch']:>8}"
        )
    return "\n".join(lines)
