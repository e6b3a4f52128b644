"""ONNX graphs of PyTorch and scikit-learn as networks, and edited networks as graphs."""

import io
import warnings

import numpy as np
import pytest
from helpers import edited_network

from metanet.core import UserError
from metanet.interop.onnx_graph import from_onnx, read_onnx
from metanet.interop.verify import logits

onnx = pytest.importorskip("onnx")
onnxruntime = pytest.importorskip("onnxruntime")
helper, numpy_helper = onnx.helper, onnx.numpy_helper
TensorProto = onnx.TensorProto

X = np.random.default_rng(0).normal(size=(30, 5)).astype(np.float32)


def run(model, x=X):
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    session = onnxruntime.InferenceSession(model.SerializeToString(), options)
    return session.run(None, {session.get_inputs()[0].name: x})


def exported(module, opset=17):
    torch = pytest.importorskip("torch")
    file = io.BytesIO()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        torch.onnx.export(
            module.eval(), torch.zeros(2, 5), file, dynamo=False, opset_version=opset,
            input_names=["x"], output_names=["z"], dynamic_axes={"x": {0: "rows"}},
        )  # fmt: skip
    return onnx.load_from_string(file.getvalue())


def check(model, activation, *, head=lambda z: z, output=0):
    """Outputs agree, an unedited graph is the same bytes, an edited one computes the edit."""
    before = model.SerializeToString(deterministic=True)
    read = from_onnx(model)
    assert read.network.activation == activation
    np.testing.assert_allclose(run(model)[output], head(logits(read.network, X)), atol=1e-5)
    assert read.restore(read.network).SerializeToString(deterministic=True) == before
    other = edited_network(read.network)
    new = read.restore(other)
    onnx.checker.check_model(new)
    np.testing.assert_allclose(run(new)[output], head(logits(other, X)), atol=1e-5)
    assert model.SerializeToString(deterministic=True) == before
    return read, new


def _softmax(z):
    return np.exp(z) / np.exp(z).sum(-1, keepdims=True)


@pytest.fixture(scope="module")
def nn():
    torch = pytest.importorskip("torch")
    torch.manual_seed(0)
    return torch.nn


def test_pytorch_s_activations(nn):
    for layer, opset, name in [
        (nn.ReLU(), 17, "relu"),
        (nn.LeakyReLU(), 17, "leaky_relu"),
        (nn.Tanh(), 17, "tanh"),
        (nn.SiLU(), 17, "silu"),
        (nn.GELU(), 17, "gelu_erf"),
        (nn.GELU(), 20, "gelu_erf"),
        (nn.GELU(approximate="tanh"), 17, "gelu"),
        (nn.GELU(approximate="tanh"), 20, "gelu"),
    ]:
        module = nn.Sequential(nn.Linear(5, 6), layer, nn.Dropout(), nn.Linear(6, 3))
        check(exported(module, opset), name)


def test_pytorch_s_normalisations(nn):
    before = nn.Sequential(
        nn.Linear(5, 6, bias=False), nn.BatchNorm1d(6), nn.SiLU(), nn.Linear(6, 3)
    )
    after = nn.Sequential(
        nn.BatchNorm1d(5), nn.Linear(5, 6), nn.ReLU(), nn.BatchNorm1d(6), nn.Linear(6, 3),
        nn.Softmax(-1),
    )  # fmt: skip
    for module in (before, after):
        for layer in module:
            if isinstance(layer, nn.BatchNorm1d):
                layer.running_mean.normal_()
                layer.running_var.uniform_(0.5, 2)
    assert check(exported(before), "silu")[0].network.spec.norm == "batch"
    check(exported(after), "relu", head=_softmax)
    layers = nn.Sequential(nn.Linear(5, 6), nn.LayerNorm(6, eps=1e-3), nn.Tanh(), nn.Linear(6, 3))
    assert check(exported(layers), "tanh")[0].network.spec.norm == "layer"


def test_pytorch_s_skips_and_missing_biases(nn):
    class Skips(nn.Module):
        def __init__(self):
            super().__init__()
            self.a, self.b, self.c = nn.Linear(5, 6, bias=False), nn.Linear(6, 4), nn.Linear(4, 3)
            self.skip = nn.Linear(5, 4, bias=False)

        def forward(self, x):
            return self.c((self.skip(x) + self.b(self.a(x).relu())).relu())

    read, _ = check(exported(Skips()), "relu")
    assert read.network.spec.skips == ((0, 2),)


def test_one_logit(nn):
    layers = [nn.Linear(5, 6), nn.ReLU(), nn.Linear(6, 1)]
    check(exported(nn.Sequential(*layers)), "relu", head=lambda z: z[:, 1:] - z[:, :1])
    module = nn.Sequential(*layers, nn.Sigmoid())
    check(exported(module), "relu", head=lambda z: _softmax(z)[:, 1:])


def test_other_dtypes(nn):
    module = nn.Sequential(nn.Linear(5, 6), nn.ReLU(), nn.Linear(6, 3))
    for kind in (np.float16, np.float64):
        model = exported(module)
        for each in model.graph.initializer:
            each.CopyFrom(
                numpy_helper.from_array(numpy_helper.to_array(each).astype(kind), each.name)
            )
        code = helper.np_dtype_to_tensor_dtype(np.dtype(kind))
        model.graph.input[0].type.tensor_type.elem_type = code
        model.graph.output[0].type.tensor_type.elem_type = code
        read = from_onnx(model)
        new = read.restore(edited_network(read.network))
        assert {each.data_type for each in new.graph.initializer} == {code}
        np.testing.assert_allclose(
            run(new, X.astype(kind))[0], logits(edited_network(read.network), X), atol=0.02
        )


@pytest.mark.parametrize("n_classes", [2, 3])
@pytest.mark.parametrize("zipmap", [False, True])
def test_scikit_learn_s_graphs(n_classes, zipmap):
    to_onnx = pytest.importorskip("skl2onnx").to_onnx
    from sklearn.neural_network import MLPClassifier
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    model = make_pipeline(StandardScaler(), MLPClassifier((6, 4), max_iter=2, random_state=0))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        model.fit(3 * X + 1, np.array(["no", "yes", "perhaps"])[np.arange(30) % n_classes])
        graph = to_onnx(model, X[:1], options={"zipmap": zipmap})
    labels = sorted(["no", "yes", "perhaps"][:n_classes])

    read = from_onnx(graph)
    assert read.network.spec.widths == (5, 6, 4, n_classes)
    assert read.classes == tuple(labels)
    for network in (read.network, edited_network(read.network)):
        names, found = run(read.restore(network))
        ours = _softmax(logits(network, X))
        if zipmap:
            found = np.array([[row[name] for name in labels] for row in found])
        np.testing.assert_allclose(found, ours, atol=1e-5)
        assert names.tolist() == [labels[i] for i in ours.argmax(1)]


def graph_of(nodes, arrays, *, shape=("n", 5), elem=TensorProto.FLOAT, outputs=("z",)):
    """A model of these nodes and initialisers."""
    return helper.make_model(
        helper.make_graph(
            [helper.make_node(*node[:3], **(node[3] if len(node) > 3 else {})) for node in nodes],
            "g",
            [helper.make_tensor_value_info("x", elem, shape)],
            [helper.make_tensor_value_info(name, TensorProto.FLOAT, ("n", 3)) for name in outputs],
            [numpy_helper.from_array(np.asarray(array), name) for name, array in arrays.items()],
        ),
        opset_imports=[helper.make_opsetid("", 17)],
        ir_version=9,
    )


def normal(*shape, seed=0):
    return np.random.default_rng(seed).normal(size=shape).astype(np.float32)


ARRAYS = {"w": normal(5, 6), "b": normal(6), "v": normal(6, 3), "c": normal(3)}
FIRST = ("MatMul", ["x", "w"], ["p"])
LAST = ("Gemm", ["h", "v", "c"], ["z"])


def test_products_without_biases_get_one_and_shared_arrays_are_told_apart():
    square = {"w": normal(5, 5), "b": normal(5), "v": normal(5, 3)}
    nodes = [
        ("MatMul", ["x", "w"], ["p"]), ("Add", ["p", "b"], ["q"]), ("Relu", ["q"], ["h"]),
        ("MatMul", ["h", "w"], ["r"]), ("Add", ["b", "r"], ["s"]), ("Relu", ["s"], ["i"]),
        ("MatMul", ["i", "v"], ["z"]),
    ]  # fmt: skip
    _, new = check(graph_of(nodes, square), "relu")
    assert len(new.graph.initializer) == 6 and len(new.graph.node) == 8


def test_gemm_s_factors():
    arrays = ARRAYS | {"w": ARRAYS["w"].T.copy()}
    first = ("Gemm", ["x", "w", "b"], ["p"], {"transB": 1, "alpha": 0.3, "beta": 0.7})
    last = ("Gemm", ["h", "v"], ["z"], {"alpha": 2.0, "beta": 3.0})
    check(graph_of([first, ("Relu", ["p"], ["h"]), last], arrays), "relu")


def test_one_bias_for_all_neurons():
    arrays = ARRAYS | {"b": np.float32([0.5])}
    first = ("Gemm", ["x", "w", "b"], ["p"])
    check(graph_of([first, ("Relu", ["p"], ["h"]), LAST], arrays), "relu")


RELU = ("Relu", ["p"], ["h"])


@pytest.mark.parametrize(
    ("nodes", "message"),
    [
        ([FIRST, ("Elu", ["p"], ["h"]), LAST], r"Elu \(node 1\): found Elu, expected Gemm"),
        ([FIRST, RELU, ("Gemm", ["h", "v", "c"], ["z"], {"transA": 1})], "found transA, alpha 0"),
        ([FIRST, ("Gemm", ["p", "v", "c"], ["z"])], r"Gemm \(node 1\): found it directly after"),
        ([RELU, FIRST, LAST], r"Relu \(node 0\): found input 'p', which nothing before it"),
        ([FIRST, RELU, ("Relu", ["h"], ["p"]), LAST], "found an output that has a value already"),
        ([FIRST, ("Add", ["p", "c"], ["q"]), ("Relu", ["q"], ["h"]), LAST],
         r"Add \(node 1\): found a constant of shape \(3,\), expected one number"),
        ([FIRST, RELU, LAST, ("Neg", ["z"], ["y"])],
         None),
        ([FIRST, RELU, ("Gemm", ["h", "v", "c"], ["y"]), ("Neg", ["y"], ["z"])],
         r"Neg \(node 3\): found an activation or normalisation at the end"),
        ([FIRST, RELU, ("Gemm", ["h", "v", "c"], ["y"]), ("Sigmoid", ["y"], ["z"])],
         "found a sigmoid of 3 outputs"),
        ([FIRST, RELU, ("Gemm", ["h", "v", "c"], ["y"]), ("Softmax", ["y"], ["z"], {"axis": 0})],
         "found axis 0, expected -1"),
        ([FIRST, RELU, ("Cast", ["h"], ["i"], {"to": 7}), ("Gemm", ["i", "v", "c"], ["z"])],
         r"Cast \(node 2\): found Cast"),
        ([("MatMul", ["w", "x"], ["z"])], r"MatMul \(node 0\): found MatMul"),
    ],
)  # fmt: skip
def test_graphs_that_are_no_networks_are_refused_by_node(nodes, message):
    model = graph_of(nodes, ARRAYS)
    if message is None:
        assert from_onnx(model).network.spec.widths == (5, 6, 3)
        return
    with pytest.raises(ValueError, match=message):
        from_onnx(model)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"shape": ("n", 7)}, r"input 'x': found shape \[0, 7\], expected \[rows, 5\]"),
        ({"shape": (1, "n", 5)}, r"input 'x': found shape"),
        ({"elem": TensorProto.INT64}, "input 'x': found data type 7, expected floating"),
        ({"outputs": ("z", "nowhere")}, "graph: found an output 'nowhere' that no node"),
    ],
)
def test_inputs_and_outputs_are_checked(options, message):
    with pytest.raises(ValueError, match=message):
        from_onnx(graph_of([FIRST, RELU, LAST], ARRAYS, **options))


def test_a_file_is_named_in_errors_and_external_data_are_never_read(tmp_path):
    path = tmp_path / "model.onnx"
    model = graph_of([FIRST, RELU, LAST], ARRAYS)
    path.write_bytes(model.SerializeToString())
    np.testing.assert_array_equal(read_onnx(path).network.params.weights[0], ARRAYS["w"])
    with pytest.raises(UserError, match=r"no\.onnx: found what cannot be read \(FileNotFound"):
        read_onnx(tmp_path / "no.onnx")
    weight = model.graph.initializer[0]
    weight.ClearField("raw_data")
    weight.data_location = TensorProto.EXTERNAL
    weight.external_data.add(key="location", value="../../../../etc/passwd")
    path.write_bytes(model.SerializeToString())
    with pytest.raises(UserError, match=r"model\.onnx: initialiser 'w': found numbers in another"):
        read_onnx(path)
