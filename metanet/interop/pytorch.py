"""Networks from PyTorch modules."""

import copy
from typing import Any

import numpy as np

from metanet.interop import parts
from metanet.interop.folding import Arrays, imported
from metanet.interop.imported import Imported, framework, refused
from metanet.interop.parts import Features, Parameter, Value
from metanet.interop.verify import verify

_SMOOTH = {"ReLU", "LeakyReLU", "GELU", "SiLU", "Tanh", "Sigmoid", "ELU", "CELU", "SELU", "ReLU6",
           "Hardtanh", "Hardswish", "Hardsigmoid", "Softplus", "Softsign", "Mish"}  # fmt: skip
_NUMBERWISE = {
    "relu", "leaky_relu", "gelu", "silu", "tanh", "sigmoid", "elu", "celu", "selu", "relu6",
    "hardtanh", "hardswish", "hardsigmoid", "softplus", "softsign", "mish", "clamp", "clamp_min",
    "mul", "sub", "truediv", "div", "erf", "exp", "pow", "neg", "where", "maximum", "abs",
}  # fmt: skip
_IGNORED = {
    "Dropout",
    "AlphaDropout",
    "FeatureAlphaDropout",
    "Identity",
    "dropout",
    "alpha_dropout",
}
_HEADS = {"softmax": "softmax", "Softmax": "softmax",
          "log_softmax": "log_softmax", "LogSoftmax": "log_softmax"}  # fmt: skip
_EXPECTED = "Linear, activations, BatchNorm1d, LayerNorm, Dropout, and sums of Linears"


def from_torch(module) -> Imported:
    """The network that a PyTorch module computes in evaluation.

    Its operations are read with `torch.fx`: Linear, the activations of network.ACTIVATIONS however
    they are written, BatchNorm1d before or after them, LayerNorm before them, Dropout, sums of
    Linears, and at the end Softmax, LogSoftmax or, of one logit, Sigmoid, which the network leaves
    out. Then outputs of module and network are compared on random rows.

    Args:
      module: an `nn.Module` that maps [rows, features] to [rows, classes], or to [rows, 1] for two
        classes; of float32, float64, float16 or bfloat16. It is not changed.

    Returns:
      Its `restore` gives a module like it. Where an edit needs a bias, or a scale or shift of a
      LayerNorm, that the module lacks, the new one has it.

    Raises:
      UserError: PyTorch is not installed.
      ValueError: no network is like the module; names the layer.
    """
    torch, fx = framework("torch"), framework("torch.fx")
    _check_arrays(torch, module)
    double = copy.deepcopy(module).cpu().double().eval()
    try:
        nodes = list(fx.symbolic_trace(double).graph.nodes)
    except Exception as error:  # of the module's own code, which is run without numbers
        found = f"what torch.fx cannot trace ({error})"
        raise refused(type(module).__name__, found, "a forward without control flow") from error
    values: dict[Any, Any] = {}
    for node in nodes:
        operands = fx.node.map_arg(node.args, values.__getitem__)
        options = fx.node.map_arg(dict(node.kwargs), values.__getitem__)
        if node.op == "placeholder" and not values:
            values[node] = Features()
        elif node.op == "call_module":
            layer = double.get_submodule(node.target)
            values[node] = _applied(torch, double, node.target, layer, *operands)
        elif node.op in ("call_function", "call_method"):
            values[node] = _called(torch, node, operands, options)
        elif node.op == "output":
            values[node] = operands[0]
        else:
            expected = "one input, and parameters inside of layers"
            raise refused(str(node.target), f"a {node.op} beside the layers", expected)
    head = parts.head_of(values[nodes[-1]])
    result = imported(head.logits, lambda arrays: _written(torch, module, arrays))

    def outputs(rows: np.ndarray) -> np.ndarray:
        with torch.no_grad():
            return double(torch.from_numpy(rows).double()).numpy()

    verify(result.network, outputs, head.kind)
    return result


def _check_arrays(torch, module) -> None:
    """Parameters are floating, and nothing computes them from others."""
    floats = (torch.float16, torch.bfloat16, torch.float32, torch.float64)
    for name, parameter in module.named_parameters():
        if parameter.dtype not in floats:
            raise refused(name, str(parameter.dtype), "a floating dtype of 16, 32 or 64 bits")
    for name, layer in module.named_modules():
        if layer._forward_hooks or layer._forward_pre_hooks:
            expected = "none: make pruning or weight normalisation permanent (prune.remove)"
            raise refused(name or type(layer).__name__, "hooks", expected)


def _parameter(module, layer: str, role: str, neutral: np.ndarray | None = None) -> Parameter:
    """A layer's parameter by the first of its names, [n_in, n_out] or [n]; `neutral` if absent."""
    value = getattr(module.get_submodule(layer), role)
    if value is None:
        assert neutral is not None
        return Parameter(f"{layer}.{role}", neutral, absent=True)
    names = (name for name, each in module.named_parameters() if each is value)
    return Parameter(next(names), value.detach().numpy().T)


def _applied(torch, module, name: str, layer, value=None, *others) -> Any:
    """What a layer computes of `value`."""
    nn, kind = torch.nn, type(layer)
    if others or kind.__module__.partition(".")[0] != "torch":
        raise refused(name, kind.__name__, _EXPECTED)
    if kind is nn.Linear:
        bias = _parameter(module, name, "bias", np.zeros(layer.out_features))
        return parts.linear(name, value, _parameter(module, name, "weight"), bias)
    if kind is nn.BatchNorm1d:
        if layer.running_mean is None:
            raise refused(name, "no running statistics", "a BatchNorm1d that tracks them")
        mean, variance = layer.running_mean.numpy(), layer.running_var.numpy()
        scale, shift = None, None
        if layer.affine:
            scale, shift = layer.weight.detach().numpy(), _parameter(module, name, "bias")
        return parts.batch_norm(name, value, mean, variance, layer.eps, scale, shift)
    if kind is nn.LayerNorm:
        scale = _parameter(module, name, "weight", np.ones(layer.normalized_shape))
        shift = _parameter(module, name, "bias", np.zeros(layer.normalized_shape))
        return parts.layer_norm(name, value, layer.eps, scale, shift)
    if kind.__name__ in _SMOOTH:
        return _numberwise(torch, name, layer, (value,), {})
    if kind.__name__ in _HEADS and layer.dim in (1, -1, None):
        return parts.head(name, _HEADS[kind.__name__], value)
    if kind.__name__ in _IGNORED or (kind is nn.Flatten and layer.start_dim == 1):
        return value
    raise refused(name, kind.__name__, _EXPECTED)


def _called(torch, node, operands: tuple, options: dict) -> Any:
    """What a function or method computes."""
    method = isinstance(node.target, str)
    kind = node.target if method else getattr(node.target, "__name__", str(node.target))
    plain = kind.strip("_")
    if plain in ("add", "iadd") and len(operands) == 2 and not options:
        left, right = (float(x) if isinstance(x, int) else x for x in operands)
        return parts.add(node.name, left, right)
    if plain in _HEADS and {*operands[1:], options.get("dim")} <= {1, -1, None}:
        return parts.head(node.name, _HEADS[plain], operands[0])
    if plain in _IGNORED or (plain == "flatten" and {*operands[1:], *options.values()} == {1}):
        return operands[0]
    if plain in _NUMBERWISE:
        function = getattr(torch.Tensor, node.target) if method else node.target
        return _numberwise(torch, node.name, function, operands, options)
    raise refused(node.name, kind, _EXPECTED)


def _numberwise(torch, name: str, function, operands: tuple, options: dict) -> Value:
    """A function of single numbers, evaluated by PyTorch itself."""
    kinds = (parts.Features, parts.Sum, parts.Expression, parts.Head)
    places = [place for place, operand in enumerate(operands) if isinstance(operand, kinds)]

    def of_arrays(*arrays: np.ndarray) -> np.ndarray:
        full = list(operands)
        for place, array in zip(places, arrays, strict=True):
            full[place] = torch.from_numpy(array.copy())
        with torch.no_grad():
            return function(*full, **options).numpy()

    return parts.elementwise(name, of_arrays, *(operands[place] for place in places))


def _written(torch, module, arrays: Arrays):
    """A copy of `module` with these parameters."""
    result = copy.deepcopy(module)
    dtype = next(module.parameters()).dtype
    for key, array in arrays.items():
        path, _, role = key.rpartition(".")
        layer = result.get_submodule(path)
        parameter = getattr(layer, role)
        value = torch.from_numpy(np.ascontiguousarray(array.T))
        value = value.to(dtype if parameter is None else parameter.dtype)
        if not value.isfinite().all():
            raise refused(key, f"a number that is not finite in {value.dtype}", "smaller numbers")
        if parameter is None:
            device = next(layer.parameters(), next(module.parameters())).device
            setattr(layer, role, torch.nn.Parameter(value.to(device)))
        else:
            with torch.no_grad():
                parameter.copy_(value)
    return result
