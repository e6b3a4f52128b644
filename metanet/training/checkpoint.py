"""Orbax checkpoints of an editor in training, and the trained editor out of the last one."""

import contextlib
import dataclasses
import pathlib
import zlib
from collections.abc import Iterator

import jax
import numpy as np
import orbax.checkpoint as ocp

from metanet.core import UserError, raised
from metanet.devices import to_host
from metanet.editor.inputs import Scales
from metanet.editor.model import EditorConfig, TrainedEditor
from metanet.editor.release import editor_of
from metanet.graphs.topology import Template
from metanet.storage import FORMAT, read_json, require_format, unusable, write_json
from metanet.training.config import LambdaRange, lambda_pairs
from metanet.training.inputs import TrainState

_SUMS = "sums"  # of the other leaves, in a checkpoint


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
        self._manager = ocp.CheckpointManager(
            _steps(folder), options=options, item_handlers=ocp.StandardCheckpointHandler()
        )

    def restore(self, state: TrainState, scales: Scales) -> TrainState | None:
        """The newest checkpoint in the shape and on the devices of `state`, or None.

        Raises:
          UserError: it is damaged.
        """
        step = self._manager.latest_step()
        if step is None:
            return None
        with _whole(self._manager, step):
            tree = _tree(state, scales)
            if _SUMS in self._manager.item_metadata(step):
                tree[_SUMS] = np.zeros(len(jax.tree.leaves(tree)), np.uint32)
            abstract = jax.tree.map(ocp.utils.to_shape_dtype_struct, tree)
            tree = self._manager.restore(step, args=ocp.args.StandardRestore(abstract))
            _verify(tree)
        members = tree.get("members", ())
        return TrainState(tree["params"], tree["optimiser"], tree["step"], members)

    def save(self, state: TrainState, scales: Scales) -> None:
        """Writes a checkpoint, on disk when this returns; a no-op if this step is there.

        Raises:
          UserError: it cannot be written, as on a full disk.
        """
        step = int(state.step)
        if step != self._manager.latest_step():
            tree = _tree(state, scales)
            tree[_SUMS] = _sums(tree)
            try:
                self._manager.save(step, args=ocp.args.StandardSave(tree))
            except jax.errors.JaxRuntimeError:  # another process has ended
                raise
            except Exception as error:  # what TensorStore raises, a ValueError on a full disk
                raise UserError(
                    f"{self._manager.directory}/{step}: found {raised(error)}, expected a folder "
                    "that can be written; the same command continues then"
                ) from error

    def close(self) -> None:
        self._manager.close()


def _tree(state, scales):
    rest = {"optimiser": state.optimiser, "step": state.step}
    if state.members:
        rest["members"] = state.members
    known = {name: leaf for name, leaf in vars(scales).items() if leaf is not None}
    return {"params": state.params, "scales": known} | rest


def _steps(folder: pathlib.Path) -> pathlib.Path:
    return folder.absolute() / "steps"


def _sums(tree: dict) -> np.ndarray:
    """The CRC-32 of every leaf's bytes: [leaves] uint32, in the order of the leaves' paths.

    Not in that of the tree: Orbax reads classes back as dictionaries, whose keys are sorted.
    """
    leaves, _ = jax.tree_util.tree_flatten_with_path(to_host(tree))
    named = [
        (jax.tree_util.keystr(path, simple=True, separator="/"), leaf) for path, leaf in leaves
    ]
    ordered = sorted(named, key=lambda pair: pair[0])
    return np.array([zlib.crc32(leaf.tobytes()) for _, leaf in ordered], np.uint32)


def _verify(tree: dict) -> None:
    """Takes the sums out of a restored tree; ValueError if they are of other values.

    A checkpoint without sums, which earlier versions wrote, is taken as it is.
    """
    stored = tree.pop(_SUMS, None)
    if stored is not None and not np.array_equal(stored, _sums(tree)):
        raise ValueError("arrays that their checksums do not fit")


@contextlib.contextmanager
def _whole(manager: ocp.CheckpointManager, step: int) -> Iterator[None]:
    """A block that reads one checkpoint.

    Raises:
      UserError: anything went wrong in it; names the folder and the remedy.
    """
    try:
        yield
    except jax.errors.JaxRuntimeError:  # another process has ended, or a device has no memory
        raise
    except Exception as error:  # a damaged file makes Orbax and TensorStore raise nearly everything
        earlier = [one for one in manager.all_steps() if one < step]
        then = f"goes on from step {max(earlier)}" if earlier else "starts anew"
        expected = f"a whole checkpoint; remove that folder, and training {then}"
        raise unusable(manager.directory / str(step), raised(error), expected, error) from error


def load_checkpoint(folder: str | pathlib.Path) -> TrainedEditor:
    """The editor of the newest checkpoint in `folder` (a run's checkpoints/NAME/seed-N).

    Raises:
      UserError: `folder` holds no editor, a damaged one, one of another version, or one whose layer
        is code that nobody has imported (see `dotted.check_known`).
    """
    folder = pathlib.Path(folder)
    path = folder / "editor.json"
    if not path.is_file():
        raise UserError(f"{folder}: found no editor.json, expected a folder with a trained editor")
    shape = read_json(path, "start the command that trained it again")
    require_format(path, shape)
    tree = _newest_tree(folder)
    try:
        return editor_of(shape, tree["params"], tree["scales"], str(path))
    except (KeyError, TypeError, ValueError, RecursionError) as error:
        raise UserError(
            f"{path}: found {error!r}, expected config and template of this version; train the "
            "editor again"
        ) from error


def _newest_tree(folder: pathlib.Path) -> dict:
    """The newest tree of `Checkpoints.save` as numpy arrays, whatever devices wrote it.

    Raises:
      UserError: there is none, or it is damaged.
    """
    # By itself Orbax would ask for the devices that the checkpoint was written on.
    here = jax.sharding.SingleDeviceSharding(jax.local_devices()[0])
    handler = ocp.StandardCheckpointHandler()
    with ocp.CheckpointManager(_steps(folder), item_handlers=handler) as manager:
        step = manager.latest_step()
        if step is None:
            raise UserError(f"{folder}: found no checkpoint, expected a trained editor")
        with _whole(manager, step):
            abstract = jax.tree.map(
                lambda leaf: jax.ShapeDtypeStruct(leaf.shape, leaf.dtype, sharding=here),
                manager.item_metadata(step),
            )
            tree = manager.restore(step, args=ocp.args.StandardRestore(abstract))
            tree = jax.device_get(tree)
            _verify(tree)
        return tree
