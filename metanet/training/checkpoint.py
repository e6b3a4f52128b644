"""Orbax checkpoints of an editor in training, and the trained editor out of the last one."""

import dataclasses
import json
import pathlib

import jax
import orbax.checkpoint as ocp

from metanet.core import FORMAT, UserError, require_format, write_json
from metanet.editor.inputs import Scales
from metanet.editor.model import EditorConfig, TrainedEditor
from metanet.editor.release import editor_of
from metanet.graphs.topology import Template
from metanet.training.config import LambdaRange, lambda_pairs
from metanet.training.inputs import TrainState


class Checkpoints:
    """The last two checkpoints below `folder`, written to a temporary name and then renamed.

    A checkpoint holds the editor's parameters, its scales, the optimiser state, the step and,
    online, the models in training; keys and data positions are functions of the seed and the step.
    `editor.json` beside them holds the editor's shape and its range of lambda.
    """

    def __init__(
        self,
        folder: pathlib.Path,
        config: EditorConfig,
        template: Template,
        lambda_range: LambdaRange,
    ):
        shape = {
            "format": FORMAT,
            "config": dataclasses.asdict(config),
            "template": dataclasses.asdict(template),
            "lambda_range": lambda_pairs(lambda_range),
        }
        write_json(folder / "editor.json", shape)
        options = ocp.CheckpointManagerOptions(max_to_keep=2, enable_async_checkpointing=False)
        self._manager = ocp.CheckpointManager(folder.absolute() / "steps", options=options)

    def restore(self, state: TrainState, scales: Scales) -> TrainState | None:
        """The newest checkpoint in the shape and on the devices of `state`, or None."""
        step = self._manager.latest_step()
        if step is None:
            return None
        abstract = jax.tree.map(ocp.utils.to_shape_dtype_struct, _tree(state, scales))
        tree = self._manager.restore(step, args=ocp.args.StandardRestore(abstract))
        members = tree.get("members", ())
        return TrainState(tree["params"], tree["optimiser"], tree["step"], members)

    def save(self, state: TrainState, scales: Scales) -> None:
        """Writes a checkpoint, on disk when this returns; a no-op if this step is there."""
        step = int(state.step)
        if step != self._manager.latest_step():
            self._manager.save(step, args=ocp.args.StandardSave(_tree(state, scales)))

    def close(self) -> None:
        self._manager.close()


def _tree(state, scales):
    rest = {"optimiser": state.optimiser, "step": state.step}
    if state.members:
        rest["members"] = state.members
    known = {name: leaf for name, leaf in vars(scales).items() if leaf is not None}
    return {"params": state.params, "scales": known} | rest


def load_checkpoint(folder: str | pathlib.Path) -> TrainedEditor:
    """The editor of the newest checkpoint in `folder` (a run's checkpoints/NAME).

    Raises:
      UserError: `folder` holds no editor, one of another version, or one whose layer is code that
        nobody has imported (see `dotted.check_known`).
    """
    folder = pathlib.Path(folder)
    path = folder / "editor.json"
    try:
        shape = json.loads(path.read_text())
        require_format(path, shape)
        tree = _newest_tree(folder)
        return editor_of(shape, tree["params"], tree["scales"], str(path))
    except KeyError as error:
        raise UserError(
            f"{path}: found no {error}, expected it beside config and template: the file is of "
            "another version; train the editor again"
        ) from error
    except (OSError, ValueError, TypeError, RecursionError) as error:
        raise UserError(f"{folder}: found no trained editor ({error}), expected one") from error


def _newest_tree(folder: pathlib.Path) -> dict:
    """The newest tree of `Checkpoints.save` as numpy arrays, whatever devices wrote it."""
    handler = ocp.StandardCheckpointHandler()
    with ocp.CheckpointManager(folder.absolute() / "steps", item_handlers=handler) as manager:
        step = manager.latest_step()
        if step is None:
            raise ValueError("no checkpoint")
        # By itself Orbax would ask for the devices that the checkpoint was written on.
        here = jax.sharding.SingleDeviceSharding(jax.local_devices()[0])
        shapes = manager.item_metadata(step)
        abstract = jax.tree.map(
            lambda leaf: jax.ShapeDtypeStruct(leaf.shape, leaf.dtype, sharding=here), shapes
        )
        tree = manager.restore(step, args=ocp.args.StandardRestore(abstract))
        return jax.device_get(tree)
