"""Parts that several configs share: defaults, a probe, refinements.

A key is described in the dataclass that it belongs to (metanet/pipeline/config.py, and those
that it names). Any key can be set on the command line: `--config.editor.steps=2000`.
"""

from experiments.settings import defaults

# The rows that an editor with probes sees networks on (see probes.rows.ProbeConfig).
PROBE = {"points": 64, "seed": 0, "labelled": False}

base = defaults


def refinements(editor: str, learning_rates: dict[int, float], **descent) -> dict[str, dict]:
    """Recipes of the editor called `editor` and descent; learning_rates: by number of steps."""
    return {
        f"{editor}, {steps} steps": {
            "recipe": "metanet.methods.refine.refined",
            "editors": (editor,),
            "seeds": 3,
            "descent": {"steps": steps, "learning_rate": rate, **descent},
        }
        for steps, rate in learning_rates.items()
    }
