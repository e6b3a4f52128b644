"""Measures weak and strong scaling over the devices of a machine.

python -m experiments.scaling [--config=configs/scaling.py[:DATASET]] [--workdir=DIR]
"""

import pathlib
import sys

from absl import flags
from ml_collections import ConfigDict, config_flags

from benchmarks import scaling
from experiments import launch
from experiments.settings import parse
from metanet import report
from metanet.core import require
from metanet.settings import build
from metanet.storage import write_json

_CONFIG = config_flags.DEFINE_config_file("config", "configs/scaling.py", "Sizes.")
_WORKDIR = flags.DEFINE_string("workdir", "runs/scaling", "Output folder.")
_OWN = ("members", "epochs", "steps", "devices")


def parse_scaling(config: ConfigDict) -> scaling.ScalingConfig:
    """The settings of the measurement; the rest of the config are those of an experiment.

    Raises:
      UserError: a key is unknown, or its value unusable.
    """
    require(isinstance(config, ConfigDict), "config", repr(config), "a ConfigDict from get_config")
    values = config.to_dict()
    own = {key: values.pop(key) for key in _OWN if key in values}
    return build(scaling.ScalingConfig, own | {"experiment": parse(ConfigDict(values))})


def main(argv: list[str]) -> None:
    launch.parse_flags(argv)
    config = parse_scaling(_CONFIG.value)
    workdir = launch.writable(pathlib.Path(_WORKDIR.value))
    launch.setup_jax()
    results = scaling.run(config) | launch.about("experiments.scaling")
    write_json(workdir / "results.json", results)
    print(report.table(results))
    print(f"results: {workdir / 'results.json'}")


if __name__ == "__main__":
    sys.exit(launch.status(main, sys.argv))
