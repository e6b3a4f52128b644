"""Checks of an experiment against its data, before anything is trained."""

from metanet.core import keys_below, require
from metanet.data.tabular import TabularData, covariate_shift
from metanet.objectives.base import paths_of, resolve
from metanet.objectives.check import check_cells, check_requirement
from metanet.pipeline.config import ExperimentConfig


def check_data(experiment: ExperimentConfig, data: TabularData) -> None:
    """Refuses settings that do not go with the data.

    Raises:
      SettingError: a requirement has no value for an edit, or compares groups of which there are
        not two with rows, a shift is out of reach, or constant models are to be set apart, which
        there are of two classes only.
    """
    for path in paths_of(experiment.requirement):
        check_cells(path, data)
    check_requirement(resolve(experiment.requirement), experiment.requirement, data)
    for name in experiment.used_editors:
        requirement = experiment.editors[name].requirement
        if requirement is not None:
            for path in paths_of(requirement):
                check_cells(path, data)
            with keys_below(f"editors.{name}"):
                check_requirement(resolve(requirement), requirement, data)
    for name, shift in experiment.shifts.items():
        with keys_below(f"shifts.{name}"):
            known = f"one of {', '.join(data.features)}"
            require(shift.feature in data.features, "feature", shift.feature, known)
            column = data.features.index(shift.feature)
            covariate_shift(data.test, column, shift.mean_shift, experiment.seed)
    able = data.n_classes == 2 or not experiment.evaluation.exclude_constant
    classes = f"False for {data.name}, which has {data.n_classes} classes instead of 2"
    require(able, "evaluation.exclude_constant", True, classes)
