"""A method: something that edits models, with the settings that its front is swept over."""

import dataclasses
from collections.abc import Callable

import numpy as np

from metanet.data.tabular import Table
from metanet.evaluation.sweep import Sweep


@dataclasses.dataclass(frozen=True)
class Method:
    """A method with the settings that its front is swept over.

    Attributes:
      settings: what each of S settings is, for results.json.
      sweep: (model ids [M], table, indices of settings [S']) -> their Sweep on all rows of `table`.
      seconds: (model ids, index of a setting) -> wall seconds of editing them, from parameters in
        memory: (first call, warm); measured on some of them, in proportion.
      sweep_values: (model ids, table, values [S']) -> the Sweep of other values of the setting, as
        many as there are settings at most; None where settings are not numbers.
    """

    settings: tuple[dict, ...]
    sweep: Callable[[np.ndarray, Table, np.ndarray], Sweep]
    seconds: Callable[[np.ndarray, int], tuple[float, float]]
    sweep_values: Callable[[np.ndarray, Table, np.ndarray], Sweep] | None = None
