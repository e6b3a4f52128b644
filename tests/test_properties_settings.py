"""Any value anywhere in a config is taken, or refused in one line with its full name."""

import math
import types

import pytest
from hypothesis import given
from hypothesis import settings as examples
from hypothesis import strategies as st

from experiments import settings
from metanet.core import SettingError, UserError
from metanet.editor.newton import NewtonConfig
from metanet.mlp.online import OnlineConfig
from metanet.mlp.sampling import PopulationConfig
from metanet.pipeline.config import EditorPlan, EvaluationConfig, ShiftConfig, TableConfig
from metanet.pipeline.recipes import check_recipes
from metanet.probes.rows import ProbeConfig
from metanet.settings import build, convert, plain, verify
from metanet.training.config import TrainingConfig

CLASSES = (EditorPlan, EvaluationConfig, NewtonConfig, OnlineConfig, PopulationConfig, ProbeConfig,
           ShiftConfig, TableConfig, TrainingConfig)  # fmt: skip
SECTIONS = ("", "population", "evaluation", "online", "table", "editor", "editors.GMN",
            "editors.GMN.probe", "recipes.FS", "recipes.FS.newton", "shifts.far")  # fmt: skip
ODD = (math.nan, math.inf, -math.inf, 1e-300, 1e300, -0.0, 10**400, 2**31, -(2**31), "", "\0",
       "\ud800", "two\nlines", ".", "a.", "os.getcwd", "x" * 400, b"x", 1j, int, print, object(),
       range(3), lambda: 0)  # fmt: skip
numbers = st.one_of(st.integers(-3, 40), st.floats(width=32))
words = st.one_of(st.text(max_size=4), st.sampled_from(ODD))
leaves = st.one_of(st.none(), st.booleans(), numbers, words)
values = st.recursive(
    leaves,
    lambda inner: st.one_of(
        st.lists(inner, max_size=3), st.lists(inner, max_size=3).map(tuple),
        st.dictionaries(st.text(max_size=3), inner, max_size=2),
    ),
    max_leaves=5,
)  # fmt: skip


def few(count):
    return examples(max_examples=count, deadline=None, derandomize=True)


def tried(call):
    """What call() returns, or None where it is refused in one line."""
    try:
        return call()
    except UserError as error:
        text = str(error)
        assert len(text.splitlines()) == 1 and text.isprintable() and len(text) < 1500
        return error


def a_config():
    config = settings.defaults("synthetic")
    with config.unlocked():
        config.requirement = "metanet.objectives.data_minimisation.inputs_kept"
    config.update(
        {
            "editors": {"GMN": {"steps": 3, "probe": {"points": 16}}},
            "recipes": {
                "FS": {
                    "recipe": "metanet.methods.editor.edited",
                    "editors": ("GMN",),
                    "newton": {"steps": 2},
                }
            },
            "shifts": {"far": {"feature": "cause_a", "mean_shift": 0.5}},
        }
    )
    return config


def with_value(path, value):
    """A config with a value by dotted path."""
    config = inner = a_config()
    *outer, last = path.split(".")
    for name in outer:
        inner = inner[name]
    with inner.unlocked(), inner.ignore_type():
        inner[last] = value
    return config


def keys_of():
    keys = []
    for section in SECTIONS:
        inner = a_config()
        for name in filter(None, section.split(".")):
            inner = inner[name]
        keys += [f"{section}.{name}".removeprefix(".") for name in inner]
    return sorted({*keys, "editors.GMN.share", "editors.GMN.lambda_range", "recipes.FS.probe"})


@given(path=st.sampled_from(keys_of()), value=values)
@few(150)
def test_a_value_anywhere_is_taken_or_refused_with_its_full_name(path, value):
    if path in ("num_cpu_devices", "recipes.FS.recipe"):  # of the command; of other options
        return
    error = tried(lambda: settings.parse(with_value(path, value)))
    if isinstance(error, UserError):
        assert isinstance(error, SettingError)
        # The key itself or one below it; or the key that it no longer goes with.
        name = path.rpartition(".")[2]
        assert error.key.startswith(path) or name in str(error), error


@given(section=st.sampled_from(SECTIONS), name=st.text("abcdefghij", min_size=9, max_size=12))
@few(30)
def test_an_unknown_key_at_any_depth_is_refused_with_its_full_name(section, name):
    path = f"{section}.{name}".removeprefix(".")
    # A recipe's options are its function's parameters, which are looked at later.
    said = r"nothing reads|expected one of .*newton"
    with pytest.raises(SettingError, match=said) as caught:
        check_recipes(settings.parse(with_value(path, 1)))
    assert caught.value.key == path


@given(cls=st.sampled_from(CLASSES), data=st.data())
@few(150)
def test_a_dataclass_is_made_of_any_values_or_they_are_refused(cls, data):
    fields = st.sampled_from([*cls.__dataclass_fields__, "none of them"])
    given_values = data.draw(st.dictionaries(fields, values, max_size=3))
    made = tried(lambda: build(cls, given_values, "part"))
    if not isinstance(made, UserError):
        assert isinstance(made, cls) and "none of them" not in given_values
        verify(made)
        assert build(cls, plain(made), "part") == made  # what JSON keeps of it is the same


@given(value=values)
@few(100)
def test_numbers_are_finite_and_in_range_or_refused(value):
    for kind in (int, float, bool, str):
        found = tried(lambda kind=kind: convert(kind, value, "a.b"))
        if isinstance(found, UserError):
            assert found.key == "a.b"
            continue
        assert type(found) is kind
        if kind in (int, float):
            assert math.isfinite(found) and abs(found) < 2**128 and not isinstance(value, bool)


# Found inputs, each plainly.


@pytest.mark.parametrize("value", ODD, ids=lambda value: repr(value)[:12])
@pytest.mark.parametrize("path", ["population.learning_rate", "editors.GMN.gamma", "seed", "task"])
def test_an_odd_value_is_taken_or_refused(path, value):
    error = tried(lambda: settings.parse(with_value(path, value)))
    assert not isinstance(error, UserError) or error.key.startswith(path)


def test_what_is_no_config_is_refused():
    for value in (None, 3, {}, types.SimpleNamespace()):
        with pytest.raises(SettingError, match="config key config: found"):
            settings.parse(value)
