"""A PyTorch network with batch normalisation and one logit, edited to read fewer features.

python examples/pytorch_adult.py [--editor=NAME] [--require='features<=6'] [--out=DIR]
"""

import pathlib

import numpy as np
import onnxruntime
import torch
from measures import arguments, features_read, report
from torch import nn

import metanet
from metanet.data import load
from metanet.interop.files import write


def network() -> nn.Module:
    return nn.Sequential(
        nn.Linear(14, 32), nn.BatchNorm1d(32), nn.ReLU(), nn.Dropout(0.1),
        nn.Linear(32, 16), nn.BatchNorm1d(16), nn.ReLU(),
        nn.Linear(16, 1),
    )  # fmt: skip


def train(model: nn.Module, x: np.ndarray, y: np.ndarray, epochs: int = 10) -> nn.Module:
    """Plain PyTorch: Adam on the binary cross-entropy."""
    rows = torch.utils.data.TensorDataset(torch.tensor(x), torch.tensor(y, dtype=torch.float32))
    batches = torch.utils.data.DataLoader(rows, 256, shuffle=True)
    adam, loss = torch.optim.Adam(model.parameters(), 3e-3), nn.BCEWithLogitsLoss()
    for _ in range(epochs):
        for rows_x, rows_y in batches:
            adam.zero_grad()
            loss(model(rows_x)[:, 0], rows_y).backward()
            adam.step()
    return model.eval()


def probabilities(logit: np.ndarray) -> np.ndarray:
    """Of both classes [rows, 2], from the logit of the second [rows, 1]."""
    p = 1 / (1 + np.exp(-np.asarray(logit, np.float64)))
    return np.concatenate([1 - p, p], 1)


def main() -> None:
    asked = arguments("adult-dm-probe", "features<=6")
    torch.manual_seed(0)
    data, out = load("adult", "sex", 0), pathlib.Path(asked.out)
    out.mkdir(exist_ok=True)
    model = train(network(), data.train.x, data.train.y)

    editor = metanet.load_editor(asked.editor)
    edited = metanet.edit(editor, model, require=[asked.require], data=data.select)
    print(f"still read: {', '.join(edited.features)}")

    torch.save(edited.model.state_dict(), out / "model.pt")
    again = network()
    again.load_state_dict(torch.load(out / "model.pt", weights_only=True))
    small = metanet.compact(edited.network)
    write(small.network, out / "small.onnx")
    session = onnxruntime.InferenceSession(out / "small.onnx")

    x, y = data.test.x, data.test.y

    def outputs(module: nn.Module, x: np.ndarray) -> np.ndarray:
        with torch.no_grad():
            return probabilities(module.eval()(torch.tensor(x)).numpy())

    before, after = outputs(model, x), outputs(again, x)
    counts = [features_read(lambda x, one=one: outputs(one, x), x) for one in (model, again)]
    print(f"features read, by PyTorch: {counts[0]} -> {counts[1]}")
    report("original, by PyTorch", before, before, y)
    report("edited, by PyTorch", after, before, y)
    (logits,) = session.run(None, {"x": x[:, small.features]})
    report("compact, by ONNX Runtime", probabilities(logits[:, 1:] - logits[:, :1]), before, y)
    print(f"parameters: {small.report.parameters[0]} -> {small.report.parameters[1]}")


if __name__ == "__main__":
    main()
