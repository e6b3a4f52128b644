"""Optional libraries, quietly imported."""

import contextlib
import logging
import warnings

import numpy as np

from metanet.core import UserError


@contextlib.contextmanager
def optional_library():
    """A block in which an optional library is imported and used: quiet.

    Raises:
      UserError: the library is not installed.
    """
    root, level, handler = logging.getLogger(), logging.root.manager.disable, logging.NullHandler()
    root.addHandler(handler)  # or the notices at import would install one for good
    logging.disable(logging.WARNING)
    try:
        with warnings.catch_warnings(), np.errstate(all="ignore"):
            warnings.simplefilter("ignore")
            yield
    except ImportError as error:
        missing = f"fairness baselines: {error.name} not found"
        raise UserError(f"{missing}; install with pip install -e '.[baselines]'") from error
    finally:
        logging.disable(level)
        root.removeHandler(handler)
