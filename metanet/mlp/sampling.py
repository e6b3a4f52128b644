"""The distribution of target MLPs (paper A.6, table 2)."""

import dataclasses

import numpy as np

from metanet.core import require
from metanet.mlp.network import ACTIVATIONS
from metanet.mlp.spec import NORMS, MLPSpec

MODES = ("offline", "online")
SPLITS = ("train", "validation", "test")
READS = ("standardised", "numbers")
ZOO = ("source", "reads", "activation", "split_by")  # keys of networks in files


@dataclasses.dataclass(frozen=True)
class PopulationConfig:
    """The distribution of a population. One experiment is one training run, and three checkpoints.

    Specs come from a catalogue of at most `max_specs`, so that many members share one compiled
    program; batch size belongs to the catalogue because it is a shape. Ranges are log-uniform
    (low, high) of learning rates and weight decays; `split` has the fractions of experiments for
    training, validation and test.

    mode: "offline": editors are trained on the stored models of the training split. "online": on
    models in training (see mlp.online), and the training split is not trained.

    source: files of networks that are the population instead (see interop.zoo), a pattern as
    "models/*.safetensors" or a folder; of the other keys only `split` counts then. reads: what they
    read, "standardised" features or the table's own "numbers". activation: of files that do not
    tell theirs. split_by: a CSV with the columns file and split, instead of a random split.
    """

    experiments: int = 1000
    max_specs: int = 50
    epochs: int = 60
    depths: tuple[int, ...] = (1, 2, 3, 4)
    widths: tuple[int, ...] = (8, 16, 32)
    norms: tuple[str, ...] = NORMS
    max_skips: int = 2
    batch_sizes: tuple[int, ...] = (64, 128, 256)
    activations: tuple[str, ...] = ACTIVATIONS[:5]
    dropouts: tuple[float, ...] = (0.0, 0.1, 0.2, 0.3)
    learning_rate: tuple[float, float] = (1e-4, 3e-2)
    weight_decay: tuple[float, float] = (1e-6, 1e-2)
    split: tuple[float, float, float] = (0.7, 0.15, 0.15)
    mode: str = "offline"
    source: str = ""
    reads: str = "standardised"
    activation: str | None = None
    split_by: str = ""

    def __post_init__(self):
        require(self.reads in READS, "population.reads", self.reads, f"one of {', '.join(READS)}")
        for key in ZOO[1:]:
            unset = getattr(self, key) == getattr(PopulationConfig, key)
            needs = "population.source, whose files it is about"
            require(bool(self.source) or unset, f"population.{key}", getattr(self, key), needs)
        ok = self.activation is None or self.activation in ACTIVATIONS
        some = f"one of {', '.join(ACTIVATIONS)}"
        require(ok, "population.activation", self.activation, some)
        offline = not self.source or self.mode == "offline"
        require(offline, "population.mode", self.mode, "offline with population.source")
        require(self.mode in MODES, "population.mode", self.mode, f"one of {', '.join(MODES)}")
        for key in ("experiments", "max_specs", "epochs"):
            value = getattr(self, key)
            require(value >= 1, f"population.{key}", value, "at least 1")
        require(self.max_skips >= 0, "population.max_skips", self.max_skips, "0 or more")
        for key in ("depths", "widths", "batch_sizes"):
            value = getattr(self, key)
            require(bool(value) and min(value) >= 1, f"population.{key}", value, "positive numbers")
        for key, known in (("norms", NORMS), ("activations", ACTIVATIONS)):
            value = getattr(self, key)
            require(bool(value) and set(value) <= set(known), f"population.{key}", value,
                    f"some of {', '.join(known)}")  # fmt: skip
        for key in ("learning_rate", "weight_decay"):
            low, high = getattr(self, key)
            require(0 < low <= high, f"population.{key}", (low, high), "0 < low <= high")
        require(bool(self.dropouts) and 0 <= min(self.dropouts) <= max(self.dropouts) <= 0.99,
                "population.dropouts", self.dropouts, "numbers from 0 to 0.99")  # fmt: skip
        ok = len(self.split) == 3 and min(self.split) > 0 and abs(sum(self.split) - 1) < 1e-6
        require(ok, "population.split", self.split, "three positive fractions that add up to 1")
        sizes = np.diff([0, *split_bounds(self), self.experiments])
        expected = f"enough for a model in every part of population.split {self.split}"
        require(bool(min(sizes) > 0), "population.experiments", self.experiments, expected)

    @property
    def identity(self) -> dict:
        """Its settings, flat, for JSON; those of files only where there are some."""
        settings = dataclasses.asdict(self)
        return {k: v for k, v in settings.items() if self.source or k not in ZOO}

    @property
    def trained_splits(self) -> tuple[str, ...]:
        """The splits whose experiments are trained and stored: online, not the training split."""
        return SPLITS if self.mode == "offline" else SPLITS[1:]


@dataclasses.dataclass(frozen=True)
class Family:
    """The static part of an experiment: members of a family train in one program."""

    spec: MLPSpec
    batch_size: int


@dataclasses.dataclass(frozen=True)
class Members:
    """The rest of M experiments: what changes values only. Every field is [M]."""

    experiment: np.ndarray  # int32, unique in the population
    activation: np.ndarray  # int32, into ACTIVATIONS
    dropout: np.ndarray  # float32
    learning_rate: np.ndarray  # float32
    weight_decay: np.ndarray  # float32
    snapshots: np.ndarray  # int32 [M, 3]: epochs after which to keep a checkpoint


def sample_family(
    rng: np.random.Generator, config: PopulationConfig, n_in: int, n_out: int
) -> Family:
    """Depth; then widths, non-decreasing; then normalisation, skips and the batch size."""
    hidden: list[int] = []
    for _ in range(rng.choice(config.depths)):
        hidden.append(int(rng.choice([w for w in config.widths if not hidden or w >= hidden[-1]])))
    skips = []
    for target in range(2, len(hidden) + 1):
        count = min(int(rng.integers(config.max_skips + 1)), target - 1)
        sources = rng.choice(target - 1, size=count, replace=False)
        skips += [(int(source), target) for source in sorted(sources)]
    spec = MLPSpec((n_in, *hidden, n_out), tuple(skips), str(rng.choice(config.norms)))
    return Family(spec, int(rng.choice(config.batch_sizes)))


def sample_catalogue(
    seed: int, config: PopulationConfig, n_in: int, n_out: int
) -> tuple[Family, ...]:
    """Up to `max_specs` different families (fewer where the distribution holds no more)."""
    rng = np.random.default_rng([seed, 0])
    drawn = (sample_family(rng, config, n_in, n_out) for _ in range(100 * config.max_specs))
    wanted = min(config.max_specs, config.experiments)
    return tuple(list(dict.fromkeys(drawn))[:wanted])


def sample_members(seed: int, config: PopulationConfig, n_families: int) -> tuple[Members, ...]:
    """The members of every family; experiments are numbered through and dealt out in turn."""
    rng = np.random.default_rng([seed, 1])
    count = config.experiments
    choices = [ACTIVATIONS.index(name) for name in config.activations]
    activation = rng.choice(choices, count).astype(np.int32)
    dropout = rng.choice(config.dropouts, count).astype(np.float32)
    learning_rate = _log_uniform(rng, config.learning_rate, count)
    weight_decay = _log_uniform(rng, config.weight_decay, count)
    early = rng.integers(1, max(config.epochs // 5, 1) + 1, count)
    middle, last = np.full(count, max(config.epochs // 2, 1)), np.full(count, config.epochs)
    snapshots = np.stack([early, middle, last], axis=1).astype(np.int32)
    all_models = Members(
        np.arange(count, dtype=np.int32),
        activation,
        dropout,
        learning_rate,
        weight_decay,
        snapshots,
    )
    return tuple(
        select(all_models, slice(family, None, n_families)) for family in range(n_families)
    )


def _log_uniform(rng: np.random.Generator, ends: tuple[float, float], count: int) -> np.ndarray:
    """`count` values between the ends, of uniform logarithms: float32."""
    low, high = np.log(ends)
    return np.exp(rng.uniform(low, high, count)).astype(np.float32)


def select(members: Members, index) -> Members:
    """The members that `index` selects, anything that indexes an array's first axis."""
    return Members(**{k: v[index] for k, v in vars(members).items()})


def split_bounds(config: PopulationConfig) -> np.ndarray:
    """The first experiments of validation and of test, in random order: [2]."""
    return np.round(np.cumsum(config.split)[:2] * config.experiments).astype(int)


def split_experiments(seed: int, config: PopulationConfig) -> np.ndarray:
    """0 (train), 1 (validation) or 2 (test) per experiment: [experiments] int8."""
    order = np.random.default_rng([seed, 2]).permutation(config.experiments)
    split = np.empty(config.experiments, np.int8)
    for code, part in enumerate(np.split(order, split_bounds(config))):
        split[part] = code
    return split
