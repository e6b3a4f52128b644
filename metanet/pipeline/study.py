"""Trials of one study, which several processes share and each of them may leave at any time.

The database is SQLite: a commit is there as a whole or not at all, whenever a process is killed.
(Optuna's journal file is appended to: a killed process may leave a part of a line, or its lock.)
A process works on a trial while it holds a lock of the system's; a trial in the database that is
running, but that nobody holds, was killed.
"""

import contextlib
import logging
import pathlib
import time
import warnings
import zlib
from collections.abc import Callable, Iterator

import numpy as np
import optuna
import sqlalchemy.exc
from optuna.distributions import FloatDistribution, IntDistribution
from optuna.trial import TrialState

from metanet.core import Stopped, UserError, one_line
from metanet.pipeline.locks import PAUSE, hold, try_hold
from metanet.pipeline.spaces import Choice, Log, Range, Values
from metanet.storage import digest

logger = logging.getLogger(__name__)

DATABASE = "study.sqlite3"
RUNNING = "running"  # the folder of trials' locks
DESIGN = 10  # trials before any is drawn by what others have shown
BUSY = 60  # seconds that the database may be locked by another process
# SQLite's errors that say nothing against the file: it is whole when there is room and permission.
UNUSABLE = ("SQLITE_FULL", "SQLITE_IOERR", "SQLITE_READONLY", "SQLITE_BUSY", "SQLITE_LOCKED",
            "SQLITE_CANTOPEN", "SQLITE_PERM", "SQLITE_AUTH", "SQLITE_NOMEM", "SQLITE_PROTOCOL",
            "SQLITE_NOLFS", "SQLITE_INTERRUPT")  # fmt: skip
# measure(values) -> (the value to maximise, why there is none or None)
Measure = Callable[[Values], tuple[float, str | None]]


def work(
    folder: pathlib.Path,
    name: str,
    space: dict[str, Range],
    own: Values,
    seed: int,
    trials: int,
    measure: Measure,
    should_stop: Callable[[], bool],
) -> None:
    """Tries values until the study has `trials` trials, together with other processes.

    The config's own values, then others spread evenly, DESIGN together; from then on drawn by
    tree-structured Parzen estimators (Bergstra et al. 2011) of all options together. What is tried
    is a function of the seed and the trials before it: with one process, a study that was stopped
    or killed goes on as if it had not been. A killed trial is marked as failed, and its values are
    tried again.

    Args:
      folder: of the study;  name: its id.
      space: the ranges of options;  own: the values that are tried first, if they were not yet.
      measure: see Measure; its exceptions leave the trial to the next command.

    Raises:
      UserError: the database cannot be read.
      Stopped: `should_stop()` became true.
    """
    lock, done, waiting = folder / "lock", -1, False
    with hold(lock, should_stop):
        study = _open(folder, name)
    while True:
        with contextlib.ExitStack() as stack:
            with hold(lock, should_stop), _readable(folder):
                running = _without_killed(study, folder)
                complete = len(_complete(study, folder))
                if complete != done:
                    done = complete
                    logger.info("search: %d of %d trials", done, trials)
                if done >= trials:
                    return
                trial = None
                if done + running < trials:
                    trial = _ask(study, folder, space, own, seed)
                    held = try_hold(_lock_of(folder, trial.number))
                    stack.enter_context(contextlib.nullcontext() if held is None else held)
            if should_stop():
                raise Stopped(f"search: {done} of {trials} trials")
            if trial is None:
                if not waiting:
                    logger.info("search: other processes are at the last trials: waiting for them")
                waiting = True
                time.sleep(PAUSE)
                continue
            start = time.monotonic()
            value, failed = measure(trial.user_attrs["values"])
            # A result is stored even if the process is to end.
            with hold(lock, lambda: False), _readable(folder):
                trial.set_user_attr("seconds", round(time.monotonic() - start, 1))
                if failed is not None:
                    trial.set_user_attr("failed", failed)
                trial.set_user_attr("digest", _digest(trial.params, trial.user_attrs, value))
                study.tell(trial, value)
                _lock_of(folder, trial.number).unlink()


def trials_of(folder: pathlib.Path, name: str) -> list[dict]:
    """The finished trials, in the order in which they were begun, for JSON.

    Returns:
      Of each number, values, hypervolume, seconds and, of one without a result, why it failed.

    Raises:
      UserError: the database cannot be read.
    """
    with hold(folder / "lock", lambda: False), _readable(folder):
        study = _open(folder, name)
        found = _complete(study, folder)
    return [
        {"number": one.number, "values": one.user_attrs["values"], "hypervolume": one.value}
        | {key: one.user_attrs[key] for key in ("seconds", "failed") if key in one.user_attrs}
        for one in found
    ]


def _complete(study: optuna.Study, folder: pathlib.Path) -> list[optuna.trial.FrozenTrial]:
    """The finished trials, in the order in which they were begun.

    Raises:
      UserError: one is not as it was stored; SQLite has no checksums of its own.
    """
    found = _stored(study, folder, TrialState.COMPLETE)
    for one in found:
        known = one.user_attrs.get("digest")
        if known is None:
            raise _damaged(folder, f"trial {one.number} of an earlier version, or damaged")
        if known != _digest(one.params, one.user_attrs, one.value):
            raise _damaged(folder, f"trial {one.number}, which its digest does not fit")
    return found


def _stored(
    study: optuna.Study, folder: pathlib.Path, *states: TrialState
) -> list[optuna.trial.FrozenTrial]:
    """The trials of these states, by default of all."""
    try:
        return study.get_trials(deepcopy=False, states=states or None)
    except (ValueError, LookupError) as error:  # text that is no JSON, a row that is not there
        raise _damaged(folder, one_line(str(error))) from error


def _digest(params: dict, attributes: dict, value: float | None) -> str:
    """Of what a trial tried and found."""
    rest = {key: one for key, one in attributes.items() if key != "digest"}
    # As SQLite returns numbers: 1 as 1.0, and -0.0 as 0.0.
    plain = {path: float(one) + 0.0 for path, one in params.items()}
    value = None if value is None else float(value) + 0.0
    return digest({"params": plain, "attributes": rest, "value": value})


def _damaged(folder: pathlib.Path, found: str) -> UserError:
    expected = f"the database of a study; remove {folder}"
    return UserError(f"{folder / DATABASE}: found {found}, expected {expected}")


def _open(folder: pathlib.Path, name: str) -> optuna.Study:
    """The study in the folder's database, which is made if there is none."""
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    path = folder / DATABASE
    if path.exists() and not path.stat().st_size and (folder / RUNNING).exists():
        raise _damaged(folder, "nothing, although trials were begun")
    with _readable(folder):
        storage = optuna.storages.RDBStorage(
            f"sqlite:///{path}",
            engine_kwargs={"connect_args": {"timeout": BUSY}},
        )
        return optuna.create_study(
            storage=storage, study_name=name, direction="maximize", load_if_exists=True
        )


@contextlib.contextmanager
def _readable(folder: pathlib.Path) -> Iterator[None]:
    """A block of queries, quiet, whose errors say whether the database is damaged."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of options that older versions call experimental
            yield
    except (optuna.exceptions.OptunaError, sqlalchemy.exc.SQLAlchemyError) as error:
        first: BaseException = error
        while first.__cause__ is not None:
            first = first.__cause__
        cause = one_line(str(first).partition("\n")[0])
        if getattr(first, "sqlite_errorname", "").startswith(UNUSABLE):
            expected = "a database that can be written; the same command continues then"
            raise UserError(f"{folder / DATABASE}: found {cause}, expected {expected}") from error
        raise _damaged(folder, cause) from error


def _lock_of(folder: pathlib.Path, number: int) -> pathlib.Path:
    return folder / RUNNING / str(number)


def _without_killed(study: optuna.Study, folder: pathlib.Path) -> int:
    """Fails the trials whose process is gone, and enqueues their values; how many others run."""
    running = 0
    for trial in _stored(study, folder, TrialState.RUNNING):
        held = try_hold(_lock_of(folder, trial.number))
        if held is None:
            running += 1
            continue
        with held:
            study.tell(trial.number, state=TrialState.FAIL)
            if "values" in trial.user_attrs:
                study.enqueue_trial(trial.params, {"values": trial.user_attrs["values"]})
            _lock_of(folder, trial.number).unlink()
    return running


def _ask(
    study: optuna.Study, folder: pathlib.Path, space: dict[str, Range], own: Values, seed: int
) -> optuna.Trial:
    """The next trial, with the attribute `values`."""
    before = _stored(study, folder)
    begun = [one for one in before if one.state not in (TrialState.FAIL, TrialState.WAITING)]
    queued = [one for one in before if one.state == TrialState.WAITING]
    index = len(begun)
    if not any(one.user_attrs["values"] == own for one in begun + queued):
        _enqueue(study, space, own)
    elif not queued and index < DESIGN:
        _enqueue(study, space, _design(space, seed, index))
    # A sampler for each trial: nothing but its seed and the trials before it counts.
    study.sampler = optuna.samplers.TPESampler(
        n_startup_trials=1,
        seed=zlib.crc32(f"{seed} {index}".encode()),
        multivariate=True,
        constant_liar=True,
    )
    trial = study.ask({path: _distribution(one) for path, one in space.items()})
    if "values" not in trial.user_attrs:
        values = {path: _value(one, trial.params[path]) for path, one in space.items()}
        trial.set_user_attr("values", values)
    return trial


def _enqueue(study: optuna.Study, space: dict[str, Range], values: Values) -> None:
    """Makes `values` those of the next trial."""
    params = {
        path: one.values.index(values[path]) if isinstance(one, Choice) else values[path]
        for path, one in space.items()
    }
    study.enqueue_trial(params, {"values": values})


def _design(space: dict[str, Range], seed: int, index: int) -> Values:
    """The values of trial `index` of the first DESIGN, of which the config's own are trial 0.

    A Latin hypercube: of every option, each ninth of the range is tried once.
    """
    rng, values, rows = np.random.default_rng(seed), {}, DESIGN - 1
    for path, one in space.items():
        place = float(((rng.permutation(rows) + rng.random(rows)) / rows)[index - 1])  # in [0, 1)
        if isinstance(one, Choice):
            values[path] = _value(one, int(place * len(one.values)))
        elif isinstance(one, Log):
            values[path] = _value(one, one.low * (one.high / one.low) ** place)
        else:
            values[path] = _value(one, one.low + (one.high - one.low) * place)
    return values


def _distribution(one: Range) -> FloatDistribution | IntDistribution:
    """A range for Optuna; of a choice the index, so that the order of values counts."""
    if isinstance(one, Choice):
        return IntDistribution(0, len(one.values) - 1)
    return FloatDistribution(one.low, one.high, log=isinstance(one, Log))


def _value(one: Range, drawn):
    """What a drawn number stands for; as it is used and reported, of two digits."""
    if isinstance(one, Choice):
        return one.values[drawn]
    return min(max(float(f"{drawn:.2g}"), one.low), one.high)
