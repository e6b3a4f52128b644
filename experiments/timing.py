"""Times the methods of several experiments (paper table 1).

python -m experiments.timing --config=configs/timing.py [--workdir=DIR]

The same as experiments.run with that config, whose `experiments` ask for their methods' times.
"""

import sys

from experiments import launch
from experiments.run import main

if __name__ == "__main__":
    sys.exit(launch.status(main, sys.argv))
