"""A network and a table for a report: trained by scikit-learn, on rows that it has not seen.

python examples/audit.py --dataset=adult --out=audit

Writes OUT/model.npz, which reads standardised features, and OUT/rows.csv: the test rows as the
published table has them. Then, for example:

python -m experiments.edit --editor=adult-fairness-probe --model=audit/model.npz
    --data=audit/rows.csv --require='eod<=0.2' --certify=0.95 --groups=sex --report --out=audit/edit
"""

import argparse
import pathlib

import numpy as np
import pandas as pd
from sklearn.neural_network import MLPClassifier

from metanet.data import load
from metanet.data.encoding import Encoding
from metanet.data.table import Table
from metanet.interop.files import write
from metanet.interop.sklearn_models import from_sklearn


def as_published(encoding: Encoding, table: Table) -> pd.DataFrame:
    """The rows of an encoded table, with the columns that they were encoded from."""
    x, columns = np.asarray(table.x, np.float64), {}
    for place, one in enumerate(encoding.features):
        numbers = np.rint(x[:, place] * one.std + one.mean).astype(int)
        columns[one.column] = np.array(one.categories)[numbers] if one.categories else numbers
    columns[encoding.label] = np.array(encoding.classes)[np.asarray(table.y)]
    return pd.DataFrame(columns)


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--dataset", default="adult", choices=["adult", "bank"])
    parser.add_argument("--out", default="audit")
    asked = parser.parse_args()
    data, out = load(asked.dataset, None, 0), pathlib.Path(asked.out)
    out.mkdir(parents=True, exist_ok=True)
    model = MLPClassifier((32, 16), early_stopping=True, random_state=0)
    model.fit(data.train.x, data.train.y)
    print(f"accuracy on {len(data.test.y)} test rows: {model.score(data.test.x, data.test.y):.4f}")
    write(from_sklearn(model), out / "model.npz")
    as_published(data.encoding, data.test).to_csv(out / "rows.csv", index=False)


if __name__ == "__main__":
    main()
