"""A scikit-learn pipeline of a scaler and an MLPClassifier, edited to keep fewer weights.

python examples/sklearn_adult.py [--editor=adult-pruning] [--require='weights<=0.2'] [--out=edited]
"""

import pathlib

import numpy as np
import onnxruntime
from measures import arguments, report
from sklearn.neural_network import MLPClassifier
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

import metanet
from metanet.data import load
from metanet.interop.files import write


def main() -> None:
    asked = arguments("adult-pruning", "weights<=0.2")
    data, out = load("adult", "sex", 0), pathlib.Path(asked.out)
    out.mkdir(exist_ok=True)

    def numbers(table):
        """The table's own numbers, which the pipeline scales itself."""
        return np.asarray(table.x) * data.std + data.mean

    model = make_pipeline(
        StandardScaler(), MLPClassifier((32, 16), early_stopping=True, random_state=0)
    )
    model.fit(numbers(data.train), data.train.y)

    editor = metanet.load_editor(asked.editor)
    edited = metanet.edit(editor, model, require=[asked.require], data=data.select, reads="numbers")
    kept = sum(float(block.sum()) for block in edited.mask) / edited.network.spec.n_weights
    print(f"weights kept: {kept:.3f}")

    write(edited.network, out / "pipeline.onnx")
    session = onnxruntime.InferenceSession(out / "pipeline.onnx")
    x, y = numbers(data.test), data.test.y
    before = model.predict_proba(x)
    report("original, by scikit-learn", before, before, y)
    report("edited, by scikit-learn", edited.model.predict_proba(x), before, y)
    (logits,) = session.run(None, {"x": x.astype(np.float32)})
    exact = logits.astype(np.float64)
    p = np.exp(exact - exact.max(1, keepdims=True))
    report("edited, by ONNX Runtime", p / p.sum(1, keepdims=True), before, y)


if __name__ == "__main__":
    main()
