"""All that a report says of an edit, computed from two networks and rows alone."""

import dataclasses
from collections.abc import Sequence

import numpy as np

from metanet.certificates.certificate import Claim, certificate, inputs_read
from metanet.certificates.judged import Judged, outputs_of
from metanet.certificates.outcomes import calibration, decided_codes, outcomes, share, unknown
from metanet.certificates.sample import Sample, sample_of
from metanet.data.encoding import Encoding
from metanet.editor.checks import expect
from metanet.interop.network import Network
from metanet.mlp.spec import MLPSpec


def findings(
    claim: Claim, edited: Network, planned: int, parts: dict[str, Sample], features: Sequence[str]
) -> dict:
    """What a certificate and its report say; for JSON.

    Args:
      planned: see `certify`.
      parts: the claim's rows in the groups of every attribute that is reported, see `parts_of`.
      features: names of the inputs.

    Raises:
      ValueError: the edited network has other layers than the original, or cannot be measured.
    """
    expect(edited.spec == claim.network.spec, "edited", f"layers {edited.spec}",
           f"those of the original, {claim.network.spec}")  # fmt: skip
    delta, sample = 1 - claim.confidence, claim.sample
    found = certificate(claim, edited, planned)
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
        "unknown": unknown(groups),
    }


def parts_of(
    rows, widths: Sequence[int], encoding: Encoding, groups: Sequence[str], reads: str
) -> dict[str, Sample]:
    """The rows in the groups of every column and, of several, of their intersections."""
    kinds = [(name,) for name in groups] + ([tuple(groups)] if len(groups) > 1 else [])
    if not groups:
        name = encoding.group.name if encoding.group is not None else "all"
        return {name: sample_of(rows, widths, encoding, (), reads)}
    return {
        " and ".join(kind): sample_of(rows, widths, encoding, kind, reads) for kind in kinds
    }  # fmt: skip


def _read(network: Network, features: Sequence[str]) -> list[str]:
    return [name for name, yes in zip(features, inputs_read(network), strict=True) if yes]


def _layers(before: Network, edited: Network) -> list[dict]:
    """Weights that were removed (nonzero before, 0 after) and changed, of every block."""
    found = []
    weights = (map(np.asarray, one.params.weights) for one in (before, edited))
    for (source, target), old, new in zip(before.spec.blocks, *weights, strict=True):
        gone, left = (old != 0) & (new == 0), new != 0
        moved = left & (new != old)
        size = float(np.abs(old[left]).mean()) if left.any() else 0.0
        change = float(np.abs(new - old)[left].mean()) if left.any() else 0.0
        found.append({
            "name": f"{_layer(source, before.spec)} to {_layer(target, before.spec)}",
            "weights": old.size, "removed": int(gone.sum()), "changed": int(moved.sum()),
            "left": int(left.sum()), "relative_change": change / size if size else 0.0,
        })  # fmt: skip
    return found


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
    both = {"before": (judged.before, judged.decided_before),
            "after": (judged.after, judged.decided_after)}  # fmt: skip
    for when, (probabilities, decided) in both.items():
        found[when] = {
            "accuracy": share(every, decided == sample.y, delta),
            "calibration": {
                sample.classes[code]: calibration(probabilities, sample.y, code)
                for code in decided_codes(sample.classes)
            },
        }
    return found
