"""What an edited network is certified to meet, whoever edited it."""

import dataclasses
from collections.abc import Callable, Sequence

import numpy as np

from metanet.certificates.bounds import difference_upper, mean_upper, share_upper
from metanet.certificates.judged import LARGEST_JSD, Judged, outputs_of
from metanet.certificates.rates import KINDS, Cell, gap, scaled
from metanet.certificates.sample import Sample, check_names, sample_of
from metanet.editing.demands import JSD, ROUNDING, SHORT
from metanet.editing.inputs import imported_of
from metanet.editor.checks import expect
from metanet.interop.imported import Imported
from metanet.interop.network import Network

DISAGREEMENT, LOSS = "disagreement", "accuracy_loss"
EXACT = ("inputs_kept", "weights_kept")
REQUIREMENTS = (*EXACT, *KINDS, JSD, DISAGREEMENT, LOSS)
MOST = 1e6  # times the rows, beyond which no number is named


@dataclasses.dataclass(frozen=True)
class Bound:
    """An upper bound of one number.

    Attributes:
      name: one of REQUIREMENTS.
      estimate: on the rows; None where they say nothing about it.
      upper: above the number in the population with probability `confidence`; of what the network
        alone tells, the number itself, and then `exact`.
    """

    name: str
    estimate: float | None
    upper: float
    exact: bool = False


@dataclasses.dataclass(frozen=True)
class Certificate:
    """Bounds of an edited network, and whether they meet a level.

    Attributes:
      requirement, level: what was asked: requirement <= level.
      certified: whether that holds with probability `confidence`.
      confidence: of that, and of every bound on its own, not of all at once.
      rows: how many, independent draws of the population that it speaks of.
      bounds: by name, all that the rows allow.
      cells: behind the bound of a gap between groups; else ().
      verdict: in words.
    """

    requirement: str
    level: float
    certified: bool
    confidence: float
    rows: int
    bounds: dict[str, Bound]
    cells: tuple[Cell, ...]
    verdict: str


def certify(
    original,
    edited,
    rows,
    *,
    requirement: str,
    level: float,
    confidence: float = 0.95,
    encoding=None,
    groups: Sequence[str] = (),
    reads: str = "standardised",
    planned: int = 1,
) -> Certificate:
    """Bounds what an edit did, for the population that the rows are independent draws of.

    The rows must be others than those on which the networks were trained, or the edit was made or
    chosen: nothing here can see that they are.

    Args:
      original, edited: networks as `metanet.edit` takes them; edited by whatever means.
      rows: a Table; or a DataFrame, with `encoding`.
      requirement: one of REQUIREMENTS, or its short name: "features", "weights", "eod".
      level: the largest value that it may have.
      encoding: of the rows, as an editor has it (`load_editor(...).encoding`).
      groups: columns of the DataFrame whose intersections are compared, instead of its group.
      reads: as in `metanet.edit`.
      planned: the number of edits of which this is one that was chosen by these rows, fixed before
        they were looked at: bounds and verdict then hold for all of them at once.

    Raises:
      ValueError: an argument is none of these; names it.
      UserError: a file, or the rows, cannot be read.
    """
    claim = claim_of(
        original, rows, requirement=requirement, level=level, confidence=confidence,
        encoding=encoding, groups=groups, reads=reads,
    )  # fmt: skip
    return certificate(claim, claim.edited(edited, encoding), planned)


@dataclasses.dataclass(frozen=True)
class Claim:
    """What is to be certified of edits of one network: requirement <= level on some rows.

    Attributes:
      requirement, level, confidence: see `certify`.
      source, network: the original.
      sample: the rows.
      outputs: its probabilities on them: [rows, classes] float64.
    """

    requirement: str
    level: float
    confidence: float
    source: Imported
    sample: Sample
    outputs: np.ndarray

    @property
    def network(self) -> Network:
        return self.source.network

    def edited(self, model, encoding=None) -> Network:
        """An edited model's network.

        Raises:
          ValueError: it does not go with the original, or the rows.
        """
        source = imported_of(model)
        check_names({"original": self.source, "edited": source}, encoding)
        before, after = self.network.spec.widths, source.network.spec.widths
        expect(before[0] == after[0] and before[-1] == after[-1], "edited", f"widths {after}",
               f"the inputs and outputs of the original, {before}")  # fmt: skip
        return source.network


def claim_of(
    original,
    rows,
    *,
    requirement: str,
    level: float,
    confidence: float = 0.95,
    encoding=None,
    groups: Sequence[str] = (),
    reads: str = "standardised",
    whole=None,
) -> Claim:
    """The claim about edits of `original`; see `certify`, whose errors it raises.

    Args:
      whole: the table that `rows` are a part of, whose values name the groups; they themselves.
    """
    requirement = SHORT.get(requirement, requirement)
    expect(requirement in REQUIREMENTS, "requirement", repr(requirement),
           f"one of {', '.join((*SHORT, *REQUIREMENTS))}")  # fmt: skip
    expect(0 < confidence < 1, "confidence", confidence, "a number between 0 and 1")
    expect(np.isfinite(level) and level >= 0, "level", level, "a number from 0 on")
    source = imported_of(original)
    check_names({"original": source}, encoding)
    sample = sample_of(rows, source.network.spec.widths, encoding, groups, reads, whole)
    if requirement in KINDS:
        expect(len(sample.groups) > 1, "rows", f"{len(sample.groups)} groups", "two or more")
    if requirement in (*KINDS[:2], LOSS):
        expect(sample.y is not None, "rows", "no labels", f"labels, which {requirement} is about")
    outputs = outputs_of(source.network, sample, "original")
    return Claim(requirement, level, confidence, source, sample, outputs)


def certificate(claim: Claim, edited: Network, planned: int = 1) -> Certificate:
    """The certificate of one edited network; see `certify`.

    Raises:
      ValueError: its outputs on the rows are not finite.
    """
    delta, sample = (1 - claim.confidence) / planned, claim.sample
    judged = Judged(claim.outputs, outputs_of(edited, sample, "edited"))
    bounds, cells = bounds_of(judged, sample, claim.network, edited, delta)
    own = cells.get(claim.requirement, ())
    found = bounds[claim.requirement]
    said = _verdict(found, claim.level, own, lambda factor: _at(judged, found, own, factor, delta))
    return Certificate(
        claim.requirement, claim.level, _meets(found, claim.level), claim.confidence,
        len(sample.x), bounds, own, said,
    )  # fmt: skip


def _meets(bound: Bound, level: float) -> bool:
    return bound.upper <= level * (1 + ROUNDING if bound.exact else 1)


def bounds_of(
    judged: Judged, sample: Sample, before: Network, after: Network, delta: float
) -> tuple[dict[str, Bound], dict[str, tuple[Cell, ...]]]:
    """All bounds that the rows allow, each missed with probability `delta`, and cells by name."""
    n = len(judged.before)
    flips = int((judged.decided_before != judged.decided_after).sum())
    found = [
        Bound("inputs_kept", *_twice(float(inputs_read(after).mean())), exact=True),
        Bound("weights_kept", *_twice(_nonzero(after) / before.spec.n_weights), exact=True),
        Bound(JSD, float(judged.jsd.mean()), mean_upper(judged.jsd, LARGEST_JSD, delta)),
        Bound(DISAGREEMENT, flips / n, share_upper(flips, n, delta)),
    ]
    if sample.y is not None:
        found.append(_loss(judged, sample.y, delta))
    cells: dict[str, tuple[Cell, ...]] = {}
    if len(sample.groups) > 1:
        for kind in KINDS if sample.y is not None else KINDS[2:]:
            one = gap(
                kind,
                judged.decided_after,
                sample.y,
                sample.group,
                sample.classes,
                sample.groups,
                delta,
            )
            found.append(Bound(kind, one.estimate, one.upper))
            cells[kind] = one.cells
    return {one.name: one for one in found}, cells


def _twice(value: float) -> tuple[float, float]:
    return value, value


def inputs_read(network: Network) -> np.ndarray:
    """Whether a weight that is not 0 reads an input: [inputs] bool."""
    leaving = [
        np.asarray(weight)
        for weight, (source, _) in zip(network.params.weights, network.spec.blocks, strict=True)
        if source == 0
    ]
    return np.asarray(np.concatenate(leaving, 1).any(axis=1))


def _nonzero(network: Network) -> int:
    return sum(int(np.count_nonzero(weight)) for weight in network.params.weights)


def _loss(judged: Judged, y: np.ndarray, delta: float) -> Bound:
    was, now = judged.decided_before == y, judged.decided_after == y
    worse, better = int((was & ~now).sum()), int((~was & now).sum())
    return Bound(LOSS, (worse - better) / len(y), difference_upper(worse, better, len(y), delta))


def _at(
    judged: Judged, bound: Bound, cells: tuple[Cell, ...], factor: float, delta: float
) -> float:
    """The bound that `factor` times the rows would give, were they like these."""
    n = len(judged.before)
    if cells:
        return scaled(cells, factor, delta)
    assert bound.estimate is not None
    # A bound's distance to its estimate falls like the root of the number of rows, or faster.
    return bound.estimate + (bound.upper - bound.estimate) / np.sqrt(max(round(factor * n), 1) / n)


def _verdict(
    bound: Bound, level: float, cells: tuple[Cell, ...], at: Callable[[float], float]
) -> str:
    """Whether the bound meets the level, and if not what would be needed."""
    if _meets(bound, level):
        return "certified"
    if bound.exact:
        return f"not certified: it is {bound.upper:.4g}"
    empty = [cell.name for cell in cells if not cell.rows]
    if empty:
        return f"not certified: no rows in cell {', '.join(empty)}"
    assert bound.estimate is not None
    if bound.estimate > level:
        return (f"not certified: {bound.estimate:.4g} on these rows is above the level already, so "
                "that more rows like these would not do")  # fmt: skip
    low, high = 1.0, 2.0
    while at(high) > level and high < MOST:
        low, high = high, 2 * high
    if high >= MOST:
        return "not certified: the level is too near to what these rows show for any number of rows"
    while high / low > 1.01:
        middle = (low * high) ** 0.5
        low, high = (low, middle) if at(middle) <= level else (middle, high)
    if not cells:
        return f"not certified: needs about {high:.2g} times the rows"
    least = min(cells, key=lambda cell: cell.rows)
    more = int(np.ceil((high - 1) * least.rows))
    return (f"not certified: needs about {more} more rows in cell {least.name}, and {high:.2g} "
            "times the rows in every other")  # fmt: skip
