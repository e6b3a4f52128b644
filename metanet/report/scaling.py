"""How training scales over devices."""


def table(results: dict) -> str:
    """Units per second and efficiency: the rate over that of the fewest devices, per device.

    In weak scaling every device has the same share, in strong scaling the whole is the same. The
    bytes are those that a device sends per step in a ring, to sum what all devices hold.
    """
    lines = [
        f"scaling, {results['device']}: model-steps per second of the population, edits per second "
        "of the editor in training",
        f"{'':<12}{'scaling':<10}{'devices':>8}{'per second':>12}{'efficiency':>12}{'bytes':>12}",
    ]
    for part in ("population", "editor"):
        for kind, rates in results[part].items():
            fewest = min(rates, key=int)
            for count, rate in rates.items():
                n = int(count)
                efficiency = rate / n / (rates[fewest] / int(fewest))
                sent = round(2 * (n - 1) / n * results["bytes_summed"][part])
                lines.append(
                    f"{part:<12}{kind:<10}{n:>8}{rate:>12.0f}{efficiency:>12.0%}{sent:>12}"
                )
    return "\n".join(lines)
