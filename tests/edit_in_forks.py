"""experiments.edit on many files, each in a process of its own, forked after the imports.

python tests/edit_in_forks.py FOLDER OUT FLAGS...  Prints a JSON list per file: name, exit status,
seconds, peak resident memory in KiB, standard error.
"""

import json
import os
import pathlib
import sys
import tempfile
import time

from experiments import edit, launch


def child(argv: list[str], errors: int) -> None:
    os.dup2(errors, 2)
    status = 70  # of an exception
    try:
        status = launch.status(edit._main, argv)
    finally:
        sys.stderr.flush()
        os._exit(status)


def main(folder: str, out: str, *flags: str) -> None:
    for path in sorted(pathlib.Path(folder).iterdir()):
        argv = ["edit", f"--model={path}", f"--out={out}", *flags]
        with tempfile.TemporaryFile() as errors:
            start = time.monotonic()
            process = os.fork()
            if not process:
                child(argv, errors.fileno())
            _, status, usage = os.wait4(process, 0)
            seconds = time.monotonic() - start
            errors.seek(0)
            text = errors.read().decode(errors="replace")
        code = os.waitstatus_to_exitcode(status)
        print(json.dumps([path.name, code, seconds, usage.ru_maxrss, text]), flush=True)


if __name__ == "__main__":
    main(*sys.argv[1:])
