"""Edits trained networks so that they meet what is demanded of them.

python -m experiments.edit --editor=DIR|NAME --model=FILE|FOLDER --data=TABLE
    --require="features<=6" --out=DIR [--newton=3] [--refine=100] [--reads=numbers]
    [--certify=0.95 [--groups=sex,race]
    [--report [--report_by=sex,race] [--purpose=TEXT]]]
    [--activation=relu] [--imports=MODULE]

Of one network writes DIR/model.EXT in the format of FILE, DIR/edit.json and DIR/front.png. Exit
status as of experiments.run; 2 too if the demand cannot be met: then nothing is written, and the
line says by how much.

With --certify, a quarter of the rows order edits and the others test them, see
metanet.certificates.chosen. The verdict is in DIR/edit.json, and with --report in DIR/report.html
and DIR/report.json, which experiments.verify checks. All is written whatever the verdict is; exit
status 1 if it is "not certified".

Of a folder edits every file, also in sub-folders, and writes DIR/NAME in its format, a row of
DIR/edits.jsonl (see metanet.editing.summary) and at last DIR/edit.json. What is no network for the
editor, or cannot meet the demand, is named on stderr and in its row. The same command goes on after
a stop. Status 2 if a file was not edited, 0 if all were.
"""

import pathlib
import sys

from absl import flags

from experiments import edit_file, edit_folder, launch
from experiments.edit_request import Request
from metanet.core import UserError
from metanet.editor.release import load_editor
from metanet.mlp.sampling import READS

_EDITOR = flags.DEFINE_string("editor", None, "Folder of a trained editor, or the name of one.")
_MODEL = flags.DEFINE_string(
    "model", None, "File of a network, in a format of metanet.interop, or a folder of such files."
)
_DATA = flags.DEFINE_string("data", None, "Table of rows like those of the editor's training.")
_REQUIRE = flags.DEFINE_multi_string("require", [], "NAME<=NUMBER; may be given several times.")
_OUT = flags.DEFINE_string("out", None, "Output folder.")
_NEWTON = flags.DEFINE_integer("newton", 0, "Gauss-Newton steps after the edit.")
_REFINE = flags.DEFINE_integer("refine", 0, "Steps of gradient descent after the edit.")
_CERTIFY = flags.DEFINE_float("certify", None, "Probability with which the demand is to hold.")
_GROUPS = flags.DEFINE_list("groups", [], "Columns whose intersections --certify compares.")
_REPORT = flags.DEFINE_bool("report", False, "Write a report of a certified edit.")
_REPORT_BY = flags.DEFINE_list(
    "report_by", [], "Columns whose groups and intersections the report shows; --groups if none."
)
_PURPOSE = flags.DEFINE_string("purpose", "", "Who asked for the edit and why, for the report.")
_READS = flags.DEFINE_enum("reads", READS[0], list(READS), "What the network reads.")
_IMPORTS = flags.DEFINE_list(
    "imports", [], "Modules to import first: of a requirement or layer that is not metanet's."
)
_ACTIVATION = flags.DEFINE_string("activation", None, "Of a file that does not say it.")


def _given(flag: flags.FlagHolder[str | None]) -> str:
    if flag.value is None:
        raise UserError(f"--{flag.name}: found nothing, expected {flags.FLAGS[flag.name].help}")
    return flag.value


def _check_flags(folder: bool) -> None:
    """Raises UserError if a demand is missing, or a flag would not be read."""
    if not _REQUIRE.value:
        raise UserError("--require: found nothing, expected NAME<=NUMBER, as features<=6")
    certify = _CERTIFY.value is not None
    if _CERTIFY.value is not None and not 0 < _CERTIFY.value < 1:
        raise UserError(f"--certify: found {_CERTIFY.value}, expected a number between 0 and 1")
    if not _PURPOSE.value.isprintable():
        raise UserError("--purpose: found characters that do not print, expected text in one line")
    for flag, when, ok in (
        (_CERTIFY, "for the file of one network", not folder),
        (_CERTIFY, "with one --require", len(_REQUIRE.value) == 1),
        (_GROUPS, "with --certify", certify),
        (_REPORT, "with --certify", certify),
        (_REPORT_BY, "with --report", _REPORT.value),
        (_PURPOSE, "with --report", _REPORT.value),
    ):
        if flags.FLAGS[flag.name].present and not ok:
            raise UserError(f"--{flag.name}: found {flag.value}, expected it only {when}")


def _main(argv: list[str]) -> None:
    launch.parse_flags(argv)
    launch.import_named(_IMPORTS.value)
    release, out = load_editor(_given(_EDITOR)), pathlib.Path(_given(_OUT))
    model, table = pathlib.Path(_given(_MODEL)), pathlib.Path(_given(_DATA))
    _check_flags(model.is_dir())
    request = Request(
        place=_given(_EDITOR), release=release, model=model, table=table, out=out,
        require=tuple(_REQUIRE.value), reads=_READS.value, newton=_NEWTON.value,
        refine=_REFINE.value, activation=_ACTIVATION.value, confidence=_CERTIFY.value,
        groups=tuple(_GROUPS.value), report=_REPORT.value,
        report_by=tuple(_REPORT_BY.value), purpose=_PURPOSE.value,
    )  # fmt: skip
    (edit_folder if model.is_dir() else edit_file).run(request)


if __name__ == "__main__":
    sys.exit(launch.status(_main, sys.argv))
