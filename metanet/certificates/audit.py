"""All that a report says of an edit, computed from two networks and rows alone."""

import dataclasses
from collections.abc import Iterator, Sequence

import numpy as np

from metanet.certificates.certificate import Claim, inputs_read
from metanet.certificates.chosen import in_order
from metanet.certificates.judged import Judged, outputs_of
from metanet.certificates.outcomes import calibration, outcomes, share, unknown
from metanet.certificates.rates import decided_codes
from metanet.certificates.sample import Sample, sample_of
from metanet.data.encoding import Encoding
from metanet.editor.checks import expect
from metanet.interop.network import Network
from metanet.mlp.spec import MLPSpec


def findings(
    claim: Claim, edited: Network, planned: int, parts: dict[str, Sample], features: Sequence[str]
) -> dict:
    """What a certificate and its report say; for JSON.

    Every interval and bound misses with probability (1 - confidence) at most, each on its own, and
    whichever of the `planned` edits was taken.

    Args:
      planned: how many edits were ordered, see `in_order`.
      parts: the claim's rows in the groups of every attribute that is reported, see `parts_of`.
      features: names of the inputs.

    Raises:
      ValueError: the edited network has other layers than the original, or cannot be measured.
    """
    expect(edited.spec == claim.network.spec, "edited", f"layers {edited.spec}",
           f"those of the original, {claim.network.spec}")  # fmt: skip
    delta, sample = (1 - claim.confidence) / planned, claim.sample
    found = in_order(claim, edited, planned)
    judged = Judged(claim.outputs, outputs_of(edited, sample, "edited"))
    groups = {name: outcomes(judged, part, delta) for name, part in parts.items()}
    read_before, read = (_read(one, features) for one in (claim.network, edited))
    return {
        "certified": found.certified,
        "verdict": found.verdict,
        "bounds": [dataclasses.asdict(one) for one in found.bounds.values()],
        "cells": [{**dataclasses.asdict(one), "rate": one.rate} for one in found.cells],
        "features_read": read,
        "features_removed": [name for name in read_before if name not in read],
        "layers": _layers(claim.network, edited),
        "overall": _overall(judged, sample, delta),
        "groups": groups,
        "unknown": unknown(groups, found.cells),
    }


def parts_of(
    rows, widths: Sequence[int], encoding: Encoding, columns: Sequence[str], reads: str, whole
) -> dict[str, Sample]:
    """The rows in the groups of every column and, of several, of their intersections.

    Args:
      whole: the table that `rows` are a part of.

    Raises:
      ValueError, UserError: see `sample_of`.
    """

    def sample(kind: Sequence[str]) -> Sample:
        return sample_of(rows, widths, encoding, kind, reads, whole)

    if not columns:
        only = sample(())
        group = encoding.group
        return {group.name if group and len(only.groups) > 1 else "all rows": only}
    kinds = [(name,) for name in columns] + ([tuple(columns)] if len(columns) > 1 else [])
    return {" and ".join(kind): sample(kind) for kind in kinds}


def _read(network: Network, features: Sequence[str]) -> list[str]:
    return [name for name, yes in zip(features, inputs_read(network), strict=True) if yes]


def _layers(before: Network, edited: Network) -> list[dict]:
    """Numbers that were removed (nonzero before, 0 after) and changed, of every array."""
    found = []
    arrays = (_arrays(one) for one in (before, edited))
    for (name, old), (_, new) in zip(*arrays, strict=True):
        gone, left = (old != 0) & (new == 0), new != 0
        moved = left & (new != old)
        size = float(np.abs(old[left]).mean()) if left.any() else 0.0
        change = float(np.abs(new - old)[left].mean()) if left.any() else 0.0
        found.append({
            "name": name, "numbers": old.size,
            "removed": int(gone.sum()), "changed": int(moved.sum()),
            "left": int(left.sum()), "relative_change": change / size if size else 0.0,
        })  # fmt: skip
    return found


def _arrays(network: Network) -> Iterator[tuple[str, np.ndarray]]:
    """Weights, biases, scales and shifts, each with its name."""
    spec, params = network.spec, network.params
    for (source, target), weight in zip(spec.blocks, params.weights, strict=True):
        yield f"{_layer(source, spec)} to {_layer(target, spec)}", np.asarray(weight)
    for kind in ("biases", "scales", "shifts"):
        for place, values in enumerate(getattr(params, kind), 1):
            yield f"{kind} of {_layer(place, spec)}", np.asarray(values)


def _layer(number: int, spec: MLPSpec) -> str:
    last = len(spec.widths) - 1
    return {0: "features", last: "outputs"}.get(number, f"hidden layer {number}")


def _overall(judged: Judged, sample: Sample, delta: float) -> dict:
    """Accuracy and calibration on all rows, before and after, and how many decisions flip."""
    every = np.ones(len(judged.before), bool)
    found: dict = {
        "rows": len(every),
        "flipped": share(every, judged.decided_before != judged.decided_after, delta),
    }
    if sample.y is None:
        return found
    for when, (probabilities, decided) in judged.both.items():
        found[when] = {
            "accuracy": share(every, decided == sample.y, delta),
            "calibration": {
                sample.classes[code]: calibration(probabilities, sample.y, code)
                for code in decided_codes(sample.classes)
            },
        }
    return found
