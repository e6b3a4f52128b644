"""Files that are no networks, or may be none any more: damaged, lying, or with a payload."""

import io
import json
import os
import pickle
import struct
import warnings
import zipfile

import numpy as np
import torch
from onnx import TensorProto, helper, numpy_helper

WIDTHS = (3, 4, 2)
RNG = np.random.default_rng(0)
STATE = {
    "0.weight": RNG.normal(size=(4, 3)).astype(np.float32),
    "0.bias": RNG.normal(size=4).astype(np.float32),
    "2.weight": RNG.normal(size=(2, 4)).astype(np.float32),
    "2.bias": RNG.normal(size=2).astype(np.float32),
}
OWN = {
    "weights.0": STATE["0.weight"].T.copy(),
    "weights.1": STATE["2.weight"].T.copy(),
    "biases.0": STATE["0.bias"],
    "biases.1": STATE["2.bias"],
}
HEADER = {
    "format": "metanet-network",
    "version": 1,
    "widths": list(WIDTHS),
    "skips": [],
    "norm": "none",
    "activation": "relu",
}
HUGE = 10_000_000_000


def safetensors(arrays, header=None, *, entries=None, data=None, length=None):
    """A safetensors file; `entries` and `data` replace what the arrays make."""
    parts, content = {}, b""
    codes = {"float32": "F32", "float64": "F64", "int8": "I8", "int64": "I64"}
    for name, array in arrays.items():
        end = len(content) + array.nbytes
        code = codes[array.dtype.name]
        parts[name] = {"dtype": code, "shape": array.shape, "data_offsets": [len(content), end]}
        content += array.tobytes()
    if header is not None:
        text = header if isinstance(header, str) else json.dumps(header)
        parts["__metadata__"] = {"metanet": text}
    raw = (
        json.dumps(parts if entries is None else entries) if not isinstance(entries, bytes) else ""
    )
    raw = entries if isinstance(entries, bytes) else raw.encode()
    size = len(raw) if length is None else length
    return struct.pack("<Q", size) + raw + (content if data is None else data)


def npy(array=None, header=None, data=b"", magic=b"\x93NUMPY\x01\x00"):
    """A file of one array; a `header` (text) and `data` replace it."""
    if header is None:
        file = io.BytesIO()
        np.lib.format.write_array(file, np.asarray(array), allow_pickle=True)
        return file.getvalue()
    text = header.encode() + b"\n"
    return magic + struct.pack("<H", len(text)) + text + data


def archive(members, compression=zipfile.ZIP_STORED):
    """A zip of (name, bytes) pairs."""
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w", compression) as target, warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of a name that is there twice
        for name, content in members:
            target.writestr(name, content)
    return file.getvalue()


def npz(arrays, header=None, **members):
    """An npz file; `members` are further files in it, by their names without .npy."""
    content = {name: npy(array) for name, array in arrays.items()} | members
    if header is not None:
        text = header if isinstance(header, str) else json.dumps(header)
        content["header"] = npy(np.array(text))
    return archive([(f"{name}.npy", each) for name, each in content.items()])


def saved(value, **options):
    """What torch.save makes of a value."""
    file = io.BytesIO()
    torch.save(value, file, **options)
    return file.getvalue()


def tensors(**changes):
    """The state dict as tensors; names in `changes` have _ for dots."""
    state = {key: torch.from_numpy(value) for key, value in STATE.items()}
    return state | {key.replace("_", "."): value for key, value in changes.items()}


def repacked(content, change, compression=zipfile.ZIP_STORED):
    """A file of torch.save whose pickle is changed."""
    with zipfile.ZipFile(io.BytesIO(content)) as source:
        members = [(name, source.read(name)) for name in source.namelist()]
    return archive(
        [(name, change(each) if name.endswith("data.pkl") else each) for name, each in members],
        compression,
    )


class Payload:
    """Whoever unpickles this makes a folder."""

    def __reduce__(self):
        return os.mkdir, ("unpickled",)


def pickled(value, protocol=2):
    return archive([("archive/data.pkl", pickle.dumps(value, protocol)), ("archive/version", b"3")])


def nested(depth):
    """A pickle of tuples in tuples, which no recursion survives."""
    return b"\x80\x02)" + b"\x85" * depth + b"."


def doubled(depth):
    """A pickle of a dict whose key has 2**depth parts."""
    pairs = b"".join(b"q" + bytes([i]) + b"h" + bytes([i]) + b"\x86" for i in range(depth))
    return b"\x80\x02}(" + b")" + pairs + b"K\x01u."


NODES = [
    ("Gemm", ["x", "w", "b"], ["p"], {}),
    ("Relu", ["p"], ["h"], {}),
    ("Gemm", ["h", "v", "c"], ["z"], {}),
]
ARRAYS = {"w": OWN["weights.0"], "b": OWN["biases.0"], "v": OWN["weights.1"], "c": OWN["biases.1"]}


def model(nodes=NODES, arrays=ARRAYS, change=lambda proto: None, domain=""):
    """An ONNX file; `change` is given the message."""
    proto = helper.make_model(
        helper.make_graph(
            [helper.make_node(kind, ins, outs, **more) for kind, ins, outs, more in nodes],
            "g",
            [helper.make_tensor_value_info("x", TensorProto.FLOAT, ("n", 3))],
            [helper.make_tensor_value_info("z", TensorProto.FLOAT, ("n", 2))],
            [numpy_helper.from_array(array, name) for name, array in arrays.items()],
        ),
        opset_imports=[helper.make_opsetid(domain, 17)],
        ir_version=9,
    )
    change(proto)
    return proto.SerializeToString()


def first(**fields):
    """A change of the first initialiser."""

    def change(proto):
        weight = proto.graph.initializer[0]
        for name, value in fields.items():
            weight.ClearField(name)
            if isinstance(value, list):
                getattr(weight, name).extend(value)
            else:
                setattr(weight, name, value)

    return change


def external(location):
    def change(proto):
        weight = proto.graph.initializer[0]
        weight.ClearField("raw_data")
        weight.data_location = TensorProto.EXTERNAL
        weight.external_data.add(key="location", value=location)

    return change


def subgraph(kind):
    body = helper.make_graph([helper.make_node("Relu", ["p"], ["h"])], "body", [], [])
    return model([NODES[0], (kind, ["p"], ["h"], {"body": body}), NODES[2]])


def with_nan(array, value=np.nan):
    changed = array.copy()
    changed.flat[0] = value
    return changed


def safetensors_files():
    entry = {"dtype": "F32", "shape": [4, 3], "data_offsets": [0, 48]}
    own = {
        "no-json": "widths",
        "json-list": "[]",
        "nested-json": "[" * 100_000,
        "other-format": HEADER | {"format": "x"},
        "version-2": HEADER | {"version": 2},
        "huge-version": HEADER | {"version": "9" * 100_000},
        "no-widths": {k: v for k, v in HEADER.items() if k != "widths"},
        "another-key": HEADER | {"pickle": "x"},
        "huge-widths": HEADER | {"widths": [3, HUGE, 2]},
        "text-widths": HEADER | {"widths": "342"},
        "negative-width": HEADER | {"widths": [3, -4, 2]},
        "zero-width": HEADER | {"widths": [3, 0, 2]},
        "true-width": HEADER | {"widths": [3, True, 2]},
        "two-widths": HEADER | {"widths": [3, 2]},
        "float-width": HEADER | {"widths": [3, 4.0, 2]},
        "nested-widths": HEADER | {"widths": [[]] * 3},
        "many-widths": HEADER | {"widths": [1] * 100_000},
        "other-widths": HEADER | {"widths": [4, 3, 2]},
        "more-layers": HEADER | {"widths": [3, 4, 4, 2]},
        "skip-to-the-output": HEADER | {"skips": [[0, 2]]},
        "skips-of-text": HEADER | {"skips": ["01"]},
        "skip-backwards": HEADER | {"skips": [[2, 0]]},
        "unknown-norm": HEADER | {"norm": "x"},
        "norm-of-none": HEADER | {"norm": None},
        "layer-norm-without-arrays": HEADER | {"norm": "layer"},
        "unknown-activation": HEADER | {"activation": "x\n" * 100_000},
        "activation-list": HEADER | {"activation": []},
        "three-classes": HEADER | {"classes": ["a", "b", "c"]},
        "numbers-as-names": HEADER | {"features": [1, 2, 3]},
    }
    return {
        "empty": b"",
        "seven-bytes": b"\1" * 7,
        "endless-header": safetensors(STATE, length=2**63),
        "header-longer-than-the-file": safetensors(STATE, length=10_000),
        "large-header": safetensors({}, length=90_000_000),
        "header-of-zero-bytes": safetensors(STATE, length=0),
        "no-json-at-all": safetensors(STATE, entries=b"\xff\xfe" * 20),
        "nested-header": safetensors(STATE, entries=b'{"a":' * 100_000),
        "list": safetensors(STATE, entries=[1, 2]),
        "no-arrays": safetensors({}),
        "ten-gigabytes": safetensors({}, entries={"0.weight": entry | {"shape": [HUGE, 1]}}),
        "ten-gigabytes-of-offsets": safetensors(
            {}, entries={"0.weight": entry | {"shape": [HUGE // 4], "data_offsets": [0, HUGE]}}
        ),
        "overflow": safetensors({}, entries={"0.weight": entry | {"shape": [2**62, 2**62]}}),
        "negative-shape": safetensors(
            {}, entries={"a.weight": entry | {"shape": [-4, -3]}}, data=b"0" * 48
        ),
        "overlap": safetensors({}, entries={"0.weight": entry, "1.weight": entry}, data=b"0" * 48),
        "duplicate-name": safetensors(
            {},
            entries=b'{"a.weight":%b,"a.weight":%b}' % (2 * (json.dumps(entry).encode(),)),
            data=b"0" * 96,
        ),
        "zero-size": safetensors(STATE | {"0.weight": np.zeros((0, 3), np.float32)}),
        "int8": safetensors(STATE | {"0.weight": np.zeros((4, 3), np.int8)}),
        "int64": safetensors(STATE | {"0.weight": np.zeros((4, 3), np.int64)}),
        "nan": safetensors(STATE | {"0.weight": with_nan(STATE["0.weight"])}),
        "wrong-shape": safetensors(STATE | {"2.weight": np.zeros((2, 5), np.float32)}),
        "own-nan": safetensors(OWN | {"weights.0": with_nan(OWN["weights.0"])}, HEADER),
        "own-inf": safetensors(OWN | {"biases.1": with_nan(OWN["biases.1"], np.inf)}, HEADER),
        "own-float64": safetensors(OWN | {"biases.1": np.zeros(2)}, HEADER),
        "own-more-arrays": safetensors(OWN | {"weights.2": np.zeros(2)}, HEADER),
        "own-fewer-arrays": safetensors({k: OWN[k] for k in ("weights.0",)}, HEADER),
        "a-pickle": pickle.dumps(Payload()),
        **{f"own-{name}": safetensors(OWN, header) for name, header in own.items()},
    }


def npz_files():
    claim = "{'descr': '<f4', 'fortran_order': False, 'shape': (%s), }"
    bomb = io.BytesIO()
    with zipfile.ZipFile(bomb, "w", zipfile.ZIP_DEFLATED) as target:
        with target.open("0.weight.npy", "w", force_zip64=True) as member:
            for _ in range(200):
                member.write(bytes(2**20))
    lying = bytearray(npz(STATE))
    place = lying.rindex(b"PK\1\2")
    lying[place + 20 : place + 28] = struct.pack("<II", 2**31, 2**31)
    return {
        "empty": b"",
        "no-zip": b"PK\3\4" + b"0" * 100,
        "no-members": archive([]),
        "objects": npz(STATE | {"0.weight": np.array([Payload()], object)}),
        "object-header": npz(OWN | {"header": np.array([Payload()], object)}),
        "bomb": bomb.getvalue(),
        "lying-directory": bytes(lying),
        "ten-gigabytes": npz({}, **{"0.weight": npy(header=claim % f"{HUGE},")}),
        "overflow": npz({}, **{"0.weight": npy(header=claim % "2**62, 4")}),
        "negative": npz({}, **{"0.weight": npy(header=claim % "-4, -3", data=b"0" * 48)}),
        "zero-size": npz(STATE | {"0.weight": np.zeros((0, 3), np.float32)}),
        "nested-header": npz({}, **{"0.weight": npy(header="(" * 9_000)}),
        "long-header": npz({}, **{"0.weight": npy(header=" " * 60_000)}),
        "code-as-header": npz(
            {}, **{"0.weight": npy(header="__import__('os').mkdir('unpickled')")}
        ),
        "wrong-magic": npz({}, **{"0.weight": b"NUMPY" + b"0" * 100}),
        "version-9": npz({}, **{"0.weight": npy(header=claim % "1,", magic=b"\x93NUMPY\x09\x00")}),
        "short": npz({}, **{"0.weight": npy(STATE["0.weight"])[:-1]}),
        "long": npz({}, **{"0.weight": npy(STATE["0.weight"]) + b"0"}),
        "complex": npz(STATE | {"0.weight": STATE["0.weight"].astype(complex)}),
        "texts": npz(STATE | {"0.weight": np.array([["a"] * 3] * 4)}),
        "bytes": npz(STATE | {"0.weight": np.array([[b"a"] * 3] * 4)}),
        "booleans": npz(STATE | {"0.weight": STATE["0.weight"] > 0}),
        "int8": npz(STATE | {"0.weight": np.zeros((4, 3), np.int8)}),
        "records": npz(STATE | {"0.weight": np.zeros((4, 3), [("a", "f4")])}),
        "dates": npz(STATE | {"0.weight": np.zeros((4, 3), "M8[s]")}),
        "nan": npz(STATE | {"0.bias": with_nan(STATE["0.bias"])}),
        "duplicate-name": archive([("0.weight.npy", npy(STATE["0.weight"]))] * 2),
        "path": archive([("../../0.weight.npy", npy(STATE["0.weight"]))]),
        "other-member": archive([("run.sh", b"rm")]),
        "own-header-of-numbers": npz(OWN | {"header": np.zeros(3)}),
        "own-no-json": npz(OWN, "x" * 100_000),
        "own-huge-widths": npz(OWN, HEADER | {"widths": [3, HUGE, 2]}),
        "own-missing": npz({}, HEADER),
        "own-inf": npz(OWN | {"biases.0": with_nan(OWN["biases.0"], -np.inf)}, HEADER),
        "lzma": archive([("a.npy", npy(STATE["0.bias"]))], zipfile.ZIP_LZMA),
    }


def torch_files():
    good = saved(tensors())
    module = torch.nn.Sequential(torch.nn.Linear(3, 4), torch.nn.ReLU(), torch.nn.Linear(4, 2))
    script = io.BytesIO()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        torch.jit.save(torch.jit.trace(module, torch.zeros(1, 3)), script)
    weight = torch.from_numpy(STATE["0.weight"])
    twelve = b"K\x0c"  # of the first storage
    return {
        "empty": b"",
        "no-zip": b"PK\3\4" + b"0" * 100,
        "payload": pickled(Payload()),
        "payload-of-protocol-4": pickled(Payload(), 4),
        "payload-in-a-dict": pickled({"0.weight": Payload()}),
        "bare-payload": pickle.dumps(Payload()),
        "legacy": saved(tensors(), _use_new_zipfile_serialization=False),
        "module": saved(module),
        "script": script.getvalue(),
        "list": saved([weight]),
        "nested-dict": saved({"state_dict": tensors()}),
        "empty-dict": saved({}),
        "number": saved(3),
        "storage-larger-than-the-file": repacked(
            good, lambda each: each.replace(twelve, b"J\xff\xff\xff\x7f", 1)
        ),
        "storage-of-long-number": repacked(
            good, lambda each: each.replace(twelve, b"\x8a\x09" + b"\xff" * 8 + b"\x00", 1)
        ),
        "storage-without-end": repacked(
            good, lambda each: each.replace(twelve, b"J\xff\xff\xff\xff", 1)
        ),
        "shape-larger-than-its-storage": repacked(
            good, lambda each: each.replace(b"K\x04K\x03\x86", b"M\xff\xffM\xff\xff\x86", 1)
        ),
        "offset": repacked(good, lambda each: each.replace(b"QK\x00", b"QK\x63", 1)),
        "negative-shape": repacked(
            good, lambda each: each.replace(b"K\x04K\x03\x86", b"J\xff\xff\xff\xffK\x03\x86", 1)
        ),
        "expanded": saved(tensors(**{"0_weight": torch.zeros(1).expand(10**5, 10**5)})),
        "nested-tuples": repacked(good, lambda each: nested(1_000_000)),
        "doubled-tuples": repacked(good, lambda each: doubled(60)),
        "wrong-checksum": good.replace(STATE["0.weight"].tobytes(), bytes(48)),
        "no-end": repacked(good, lambda each: each[:-1]),
        "no-stack": repacked(good, lambda each: b"\x80\x020."),
        "memo": repacked(good, lambda each: b"\x80\x02h\x63."),
        "bytearray": repacked(
            good,
            lambda each: (
                b"\x80\x02cbuiltins\nbytearray\n\x8a\x05" + struct.pack("<Q", HUGE)[:5] + b"\x85R."
            ),
        ),
        "long-pickle": repacked(good, lambda each: b"\x80\x02" + b"K\x01" * 3_000_000 + b"."),
        "compressed": repacked(good, lambda each: each, zipfile.ZIP_DEFLATED),
        "duplicate-parts": archive([("a/data.pkl", b"\x80\x02}.")] * 2),
        "two-pickles": archive([("a/data.pkl", b"\x80\x02}."), ("b/data.pkl", b"\x80\x02}.")]),
        "outside": archive([("a/data.pkl", b"\x80\x02}."), ("../b", b"")]),
        "no-pickle": archive([("a/version", b"3")]),
        "int8": saved(tensors(**{"0_weight": weight.to(torch.int8)})),
        "int64": saved(tensors(**{"0_weight": weight.to(torch.int64)})),
        "complex": saved(tensors(**{"0_weight": weight.to(torch.complex64)})),
        "sparse": saved(tensors(**{"0_weight": weight.to_sparse()})),
        "meta": saved(tensors(**{"0_weight": torch.empty(10**6, 10**6, device="meta")})),
        "nan": saved(tensors(**{"0_weight": torch.full((4, 3), torch.nan)})),
        "zero-size": saved(tensors(**{"0_weight": torch.zeros(0, 3)})),
        "text": saved(tensors(**{"0_weight": "x"})),
        "cube": saved(tensors(**{"0_weight": torch.zeros(4, 3, 3)})),
        "wrong-shape": saved(tensors(**{"2_weight": torch.zeros(2, 5)})),
    }


def onnx_files():
    def add(**fields):
        def change(proto):
            proto.graph.initializer.add(**fields)

        return change

    def many(proto):
        for _ in range(21_000):
            proto.graph.node.add(op_type="Identity", input=["x"], output=["y"])

    def sparse(proto):
        proto.graph.sparse_initializer.add()

    def function(proto):
        proto.functions.add(name="f", domain="")

    def second_input(proto):
        proto.graph.input.add(name="y")

    def no_output(proto):
        del proto.graph.output[:]

    def self_reading(proto):
        proto.graph.node[1].input[0] = "h"

    square = np.zeros((1000, 1000), np.float32)
    power = [("Mul", [f"y{i}", f"y{i}"], [f"y{i + 1}"], {}) for i in range(200)]
    wide = [("MatMul", ["x", "w"], [f"p{i}"], {}) for i in range(1_000)]
    return {
        "empty": b"",
        "text": b"not a model at all" * 10,
        "many-empty-nodes": model() + b"\x3a" + _varint(2 * 5_000_000) + b"\x0a\x00" * 5_000_000,
        "many-empty-messages": b"\x42\x00" * 5_000_000,
        "many-nodes": model(change=many),
        "ten-gigabytes": model(change=first(dims=[HUGE, 1])),
        "overflow": model(change=first(dims=[2**62, 2**62])),
        "negative-dims": model(change=first(dims=[-3, -4])),
        "zero-dims": model(change=first(dims=[0, 4], raw_data=b"")),
        "short-data": model(change=first(raw_data=b"0" * 47)),
        "long-data": model(change=first(raw_data=b"0" * 52)),
        "no-data": model(change=first(raw_data=b"")),
        "typed-data-too-short": model(
            change=lambda p: (
                first(float_data=[1.0])(p),
                p.graph.initializer[0].ClearField("raw_data"),
            )
        ),
        "int8": model(arrays=ARRAYS | {"w": np.zeros((3, 4), np.int8)}),
        "int64": model(arrays=ARRAYS | {"w": np.zeros((3, 4), np.int64)}),
        "booleans": model(arrays=ARRAYS | {"w": np.zeros((3, 4), bool)}),
        "complex": model(arrays=ARRAYS | {"w": np.zeros((3, 4), np.complex64)}),
        "texts": model(arrays=ARRAYS | {"w": np.array([["a"] * 4] * 3, object)}),
        "unknown-type": model(change=first(data_type=99)),
        "nan": model(arrays=ARRAYS | {"w": with_nan(ARRAYS["w"])}),
        "inf": model(arrays=ARRAYS | {"c": with_nan(ARRAYS["c"], np.inf)}),
        "external": model(change=external("weights.bin")),
        "external-above": model(change=external("../../../../etc/passwd")),
        "external-root": model(change=external("/etc/passwd")),
        "external-device": model(change=external("/dev/zero")),
        "cycle": model([("Relu", ["b"], ["a"], {}), ("Relu", ["a"], ["b"], {})], {}),
        "cycle-of-one": model(change=self_reading),
        "out-of-order": model(NODES[::-1]),
        "no-nodes": model([]),
        "no-input": model(change=lambda p: p.graph.ClearField("input")),
        "second-input": model(change=second_input),
        "no-output": model(change=no_output),
        "unknown-output": model(NODES[:2]),
        "duplicate-name": model(change=add(name="w", dims=[1], data_type=1, raw_data=b"0000")),
        "nameless": model(change=add(name="", dims=[1], data_type=1, raw_data=b"0000")),
        "output-twice": model([*NODES, NODES[2]]),
        "initialiser-as-output": model([*NODES[:2], ("Relu", ["p"], ["w"], {}), NODES[2]]),
        "if": subgraph("If"),
        "loop": subgraph("Loop"),
        "subgraph-of-relu": subgraph("Relu"),
        "function": model(change=function),
        "sparse": model(change=sparse),
        "other-domain": model(domain="evil.com"),
        "no-opset": model(change=lambda proto: proto.ClearField("opset_import")),
        "unknown-operator": model([NODES[0], ("Nonsense\n" * 1000, ["p"], ["h"], {}), NODES[2]]),
        "expand": model([NODES[0], ("Expand", ["p", "b"], ["h"], {}), NODES[2]]),
        "powers-of-powers": model(
            [("Gemm", ["x", "w", "b"], ["y0"], {}), *power, ("Gemm", ["y200", "v", "c"], ["z"], {})]
        ),
        "one-weight-read-often": model([("MatMul", ["w", "w"], ["q"], {}), *wide], {"w": square}),
        "a-weight-for-every-node": model(wide, {"w": square}),
        "scalar-weight": model(arrays=ARRAYS | {"w": np.float32(3)}),
        "missing-inputs": model([("Gemm", [], ["p"], {}), *NODES[1:]]),
        "empty-inputs": model([("Gemm", ["", "", ""], ["p"], {}), *NODES[1:]]),
        "empty-first-input": model([("Gemm", ["", "w"], ["p"], {}), *NODES[1:]]),
        "batch-norm-without-arrays": model(
            [NODES[0], ("BatchNormalization", ["p"], ["h"], {}), NODES[2]]
        ),
        "negative-variance": model(
            [
                NODES[0],
                ("BatchNormalization", ["p", "m", "m", "m", "m"], ["q"], {}),
                ("Relu", ["q"], ["h"], {}),
                NODES[2],
            ],
            ARRAYS | {"m": np.full(4, -1, np.float32)},
        ),
        "relu-of-two": model([NODES[0], ("Relu", ["p", "p"], ["h"], {}), NODES[2]]),
        "wide-power": model([NODES[0], ("Pow", ["p", "b"], ["h"], {}), NODES[2]]),
        "text-alpha": model([("Gemm", ["x", "w", "b"], ["p"], {"alpha": "x"}), *NODES[1:]]),
        "nan-alpha": model([("Gemm", ["x", "w", "b"], ["p"], {"alpha": float("nan")}), *NODES[1:]]),
        "text-epsilon": model(
            [
                NODES[0],
                ("LayerNormalization", ["p", "b", "b"], ["q"], {"epsilon": "x"}),
                ("Relu", ["q"], ["h"], {}),
                NODES[2],
            ]
        ),
        "negative-epsilon": model(
            [
                NODES[0],
                ("LayerNormalization", ["p", "b", "b"], ["q"], {"epsilon": -1.0}),
                ("Relu", ["q"], ["h"], {}),
                NODES[2],
            ]
        ),
        "tensor-of-nothing": model([("Constant", [], ["k"], {"value": TensorProto()}), *NODES]),
    }


def _varint(value):
    found = b""
    while value > 127:
        found += bytes([value & 127 | 128])
        value >>= 7
    return found + bytes([value])


def hostile():
    """(extension, name, bytes) of files that no reader may accept."""
    groups = {
        ".safetensors": safetensors_files(),
        ".npz": npz_files(),
        ".pt": torch_files(),
        ".onnx": onnx_files(),
    }
    for extension, files in groups.items():
        for name, content in files.items():
            yield extension, name, content


def valid():
    """(extension, bytes) of files that readers accept."""
    yield ".safetensors", safetensors(STATE)
    yield ".safetensors", safetensors(OWN, HEADER)
    yield ".npz", npz(STATE)
    yield ".npz", npz(OWN, HEADER)
    yield ".pt", saved(tensors())
    yield ".onnx", model()


def damaged(count, seed=0):
    """(extension, name, bytes) of `count` files that were valid: cut off, or with other bytes."""
    rng = np.random.default_rng(seed)
    files = list(valid())
    for index in range(count):
        extension, content = files[index % len(files)]
        if index // len(files) % 2:
            cut = int(rng.integers(len(content)))
            yield extension, f"cut-{index}", content[:cut]
            continue
        changed = bytearray(content)
        for place in rng.integers(len(content), size=int(rng.integers(1, 9))):
            changed[place] = rng.integers(256)
        yield extension, f"flipped-{index}", bytes(changed)
