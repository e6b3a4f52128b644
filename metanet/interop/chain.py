"""A model's parts as layers in order, or the reason why no network has such an order."""

import dataclasses
from collections.abc import Iterator

import numpy as np

from metanet.interop.imported import MAX_LAYERS, MAX_WEIGHTS, refused
from metanet.interop.parts import Features, Norm, Parameter, Sum
from metanet.mlp.spec import MLPSpec


@dataclasses.dataclass(frozen=True)
class Chain:
    """A model's layers in order.

    Attributes:
      sums: of layers 1 to L.
      outputs: the features of layers 0 to L - 1.
      spec: the model's; its last width is 1 where it has one logit.
    """

    sums: tuple[Sum, ...]
    outputs: tuple[Features, ...]
    spec: MLPSpec

    def weights(self) -> Iterator[tuple[int, int, Parameter]]:
        """(source, target, weight) of every block, in the order of `spec.blocks`."""
        for target, total in enumerate(self.sums, 1):
            for block in sorted(total.blocks, key=lambda block: depth(block.source)):
                yield depth(block.source), target, block.weight

    @property
    def layer_norms(self) -> list[Norm]:
        """Those of the hidden layers, in order."""
        norms = [total.norm for total in self.sums if total.norm is not None]
        return [norm for norm in norms if norm.kind == "layer"]


def depth(features: Features) -> int:
    """The number of the layer whose output `features` is; 0 is the input."""
    return 0 if features.sum is None else features.sum.depth


def chain_of(logits: Sum) -> Chain:
    """The layers that lead to `logits`, in order.

    Raises:
      ValueError: no network computes them; names the layer, what was found and what was expected.
    """
    sums = _in_order(logits)
    outputs = _outputs(sums)
    norm = _check_kinds(sums, outputs)
    widths = (sums[0].blocks[0].weight.value.shape[0], *(total.width for total in sums))
    first = outputs[0].after
    if first is not None and first.gain.shape != widths[:1]:
        raise refused(first.name, f"shape {first.gain.shape}", f"({widths[0]},), one per input")
    skips = []
    for target, total in enumerate(sums, 1):
        sources = sorted(depth(block.source) for block in total.blocks)
        if len(set(sources)) < len(sources):
            names = ", ".join(block.name for block in total.blocks)
            raise refused(total.name, f"blocks {names} that read one layer twice", "one block")
        if target == len(sums) and len(sources) > 1:
            raise refused(total.name, "a skip connection to the logits", "one to hidden layers")
        skips += [(source, target) for source in sources if source < target - 1]
        for block in total.blocks:
            found, wanted = block.weight.value.shape, (widths[depth(block.source)], widths[target])
            if found != wanted:
                expected = f"{wanted} (inputs, outputs)"
                raise refused(block.name, f"a weight of shape {found}", expected)
    _check_parameters(sums)
    return Chain(sums, outputs, MLPSpec(widths, tuple(skips), norm))


def _in_order(logits: Sum) -> tuple[Sum, ...]:
    """The sums that lead to `logits`, by depth; each depth has one."""
    found, waiting = {logits.depth: logits}, [logits]
    while waiting:
        for block in waiting.pop().blocks:
            before = block.source.sum
            if before is None:
                continue
            if before.depth not in found:
                found[before.depth] = before
                waiting.append(before)
            elif found[before.depth] is not before:
                beside = found[before.depth].name
                raise refused(before.name, f"a branch beside {beside}", "one layer after another")
    return tuple(found[level] for level in sorted(found))


def _outputs(sums: tuple[Sum, ...]) -> tuple[Features, ...]:
    """What each layer but the last gives to the others, the same to all of them."""
    found: dict[int, Features] = {}
    for total in sums:
        for block in total.blocks:
            output = found.setdefault(depth(block.source), block.source)
            same = output.activation == block.source.activation
            if not same or output.after is not block.source.after:
                raise refused(block.name, "another form of a layer's output", "one for all readers")
    return tuple(found[level] for level in range(len(sums)))


def _kind(total: Sum, output: Features) -> str:
    """The kind of normalisation of a hidden layer."""
    kinds = {norm.kind for norm in (total.norm, output.after) if norm is not None}
    if len(kinds) > 1:
        raise refused(total.name, "a layer and a batch normalisation", "one kind")
    return next(iter(kinds), "none")


def _check_kinds(sums: tuple[Sum, ...], outputs: tuple[Features, ...]) -> str:
    """The one kind of normalisation of hidden layers; they share one activation, too."""
    if len(sums) < 2:
        raise refused(sums[0].name, "no hidden layer", "at least one")
    if len(sums) > MAX_LAYERS:
        raise refused(sums[-1].name, f"{len(sums)} layers", f"at most {MAX_LAYERS}")
    if (last := sums[-1].norm) is not None and last.kind == "layer":
        raise refused(last.name, "a layer normalisation of the logits", "none")
    first, norm = outputs[1].activation, _kind(sums[0], outputs[1])
    for total, output in zip(sums[:-1], outputs[1:], strict=True):
        if output.activation != first:
            expected = f"{first} as in {sums[0].name}"
            raise refused(total.name, f"activation {output.activation} after it", expected)
        if (kind := _kind(total, output)) != norm:
            expected = f"{norm} as in {sums[0].name}"
            raise refused(total.name, f"normalisation {kind} after it", expected)
    return norm


def _check_parameters(sums: tuple[Sum, ...]) -> None:
    """All are finite, none is used twice, and each layer has one that takes an edited bias."""
    keys, count = set(), 0
    for name, parameter in _parameters(sums):
        count += parameter.value.size
        if count > MAX_WEIGHTS:
            raise refused(name, f"more than {MAX_WEIGHTS} weights", "fewer")
        if not np.isfinite(parameter.value).all():
            raise refused(name, "a number that is not finite", "finite parameters")
        if parameter.key in keys:
            raise refused(name, f"parameter {parameter.key} again", "no tied weights")
        keys.add(parameter.key)
    for total in sums:
        bias_place(total)


def _parameters(sums: tuple[Sum, ...]) -> Iterator[tuple[str, Parameter]]:
    """(name of the operation, parameter) of all that edits change."""
    for total in sums:
        yield from ((block.name, block.weight) for block in total.blocks)
        yield from ((total.name, bias) for bias in total.biases)
        if total.norm is not None:
            norms = (total.norm.scale, total.norm.shift)
            yield from ((total.norm.name, each) for each in norms if each is not None)


def bias_place(total: Sum) -> Parameter:
    """The parameter that takes an edited bias: one of the layer's own, or a batch norm's shift.

    Raises:
      ValueError: it has neither.
    """
    places = [bias for bias in total.biases if not bias.absent]
    if total.norm is not None and total.norm.kind == "batch" and total.norm.shift is not None:
        places.append(total.norm.shift)
    places += [bias for bias in total.biases if bias.absent]
    if not places:
        raise refused(total.name, "no bias", "one, since edits change it")
    return places[0]
