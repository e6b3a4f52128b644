"""The edit of the least divergence whose certificate holds."""

import dataclasses
from collections.abc import Sequence

import numpy as np
import pandas as pd

from metanet.certificates.certificate import REQUIREMENTS, Certificate, Claim, certificate, claim_of
from metanet.data.table import Table
from metanet.editing.demands import JSD, parse_demand
from metanet.editing.edit import Edited, edit
from metanet.editing.inputs import imported_of, rows_of
from metanet.editor.checks import expect
from metanet.editor.release import Release
from metanet.evaluation.pareto import pareto_mask
from metanet.interop.network import Network

LAMBDAS = 24  # that are tried, log-spaced
LEAST = 8  # rows: some to order by, and some to test on
CHOOSING = 0.25  # of the rows order the edits; a gap between groups needs rows to be tested on


@dataclasses.dataclass(frozen=True)
class CertifiedEdit:
    """An edit and its certificate, which may say no.

    Attributes:
      edited: the edit.
      certificate: on the rows that tested it, see `in_order`.
      claim: what it certifies, on these rows.
      chosen_on: the number of rows that the order of edits is from.
      order: all edits, in that order.
      tested: how many of them were tested.
    """

    edited: Edited
    certificate: Certificate
    claim: Claim
    chosen_on: int
    order: tuple[Edited, ...]
    tested: int


def edit_certified(
    editor: Release,
    model,
    rows: pd.DataFrame | Table,
    *,
    require: str,
    confidence: float = 0.95,
    groups: Sequence[str] = (),
    reads: str = "standardised",
    newton: int = 0,
    refine: int = 0,
    seed: int = 0,
) -> CertifiedEdit:
    """Edits one network at the least JS divergence at which `require` is certified.

    A quarter of the rows, drawn by `seed`, orders edits of LAMBDAS lambdas from the safest to that
    of the least divergence. The rest tests them in that order until one fails: so all tests
    hold at once with probability `confidence` (fixed-sequence testing, Angelopoulos et al. 2021,
    "Learn then test"), and the last that held is taken. Its bounds hold for all edits of the order
    at once, so that they are wider than what the test itself needs. If the first one fails already,
    it is returned, not certified.

    Args:
      editor, model, reads, newton, refine: as of `metanet.edit`; its data are that quarter of
        the rows.
      rows: that neither the network nor the editor has seen.
      require: "NAME<=NUMBER", NAME as in `metanet.certify`.
      confidence, groups: as of `metanet.certify`.

    Raises:
      ValueError, UserError: see `metanet.edit` and `metanet.certify`.
    """
    demand = parse_demand(require, len(editor.features))
    bounded = [name for name in (*editor.names, JSD) if name in REQUIREMENTS]
    expected = f"NAME<=NUMBER of {', '.join(bounded)}, which the editor has and a bound is known of"
    expect(demand.name in bounded, "require", repr(require), expected)
    expect(len(editor.names) == 1, "editor", f"{len(editor.names)} requirements", "one")
    count = count_of(rows)
    expect(count >= LEAST, "rows", f"{count} rows", f"{LEAST} or more")
    rows_of(editor, rows)
    first, second = parted(rows, seed)
    source = imported_of(model)

    def edited_at(lam: float) -> Edited:
        return edit(editor, source, lam=lam, data=first, reads=reads, newton=newton, refine=refine)

    claim = claim_of(
        source, second, requirement=demand.name, level=demand.limit, confidence=confidence,
        encoding=editor.encoding, groups=groups, reads=reads, whole=rows,
    )  # fmt: skip
    (ends,) = editor.editor.lambda_range
    tried = [edited_at(float(lam)) for lam in np.geomspace(*ends, LAMBDAS)]
    ordered = _ordered(tried, editor.names[0], demand.name)
    best, tested = ordered[0], 0
    for one in ordered:
        tested += 1
        if not certificate(claim, one.network).certified:
            break
        best = one
    found = in_order(claim, best.network, len(ordered))
    return CertifiedEdit(best, found, claim, count_of(first), tuple(ordered), tested)


def in_order(claim: Claim, edited: Network, planned: int) -> Certificate:
    """The certificate of an edit that was tested in an order of `planned` edits.

    Its verdict is that of its own test: an order that the rows did not make needs no correction.
    Its bounds hold for whichever edit of the order was taken, so that the one of the requirement
    may be above a level that is certified.
    """
    alone = certificate(claim, edited)
    every = certificate(claim, edited, planned)
    return dataclasses.replace(every, certified=alone.certified, verdict=alone.verdict)


def parted(
    rows: pd.DataFrame | Table, seed: int
) -> tuple[pd.DataFrame | Table, pd.DataFrame | Table]:
    """The rows that order the edits, and those that test them in that order."""
    order = np.random.default_rng(seed).permutation(count_of(rows))
    first, second = np.split(order, [round(CHOOSING * len(order))])
    return _some(rows, first), _some(rows, second)


def count_of(rows: pd.DataFrame | Table) -> int:
    """The number of rows."""
    return len(rows.y) if isinstance(rows, Table) else len(rows)


def _some(rows: pd.DataFrame | Table, index: np.ndarray) -> pd.DataFrame | Table:
    if isinstance(rows, pd.DataFrame):
        return rows.iloc[index]
    names = ("x", "y", "group", "weight")
    return rows.replace(**{name: np.asarray(getattr(rows, name))[index] for name in names})


def _ordered(tried: Sequence[Edited], requirement: str, asked: str) -> list[Edited]:
    """The edits that no other one beats on their rows, from the safest for what is asked on."""
    points = np.array([[one.after[requirement], one.after[JSD]] for one in tried])
    kept = np.flatnonzero(pareto_mask(points))
    safest = points[kept, 1 if asked == JSD else 0]
    return [tried[index] for index in kept[np.argsort(safest, kind="stable")]]
