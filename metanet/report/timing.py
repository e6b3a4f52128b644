"""Table 1: how long methods take."""


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
