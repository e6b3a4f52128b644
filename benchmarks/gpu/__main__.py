"""All GPU tables within 9 minutes, on a machine with one GPU.

python -m benchmarks.gpu [--budget=SECONDS] [--parts=PART,...] [--tiny]; benchmarks/gpu/run installs
what it needs.

Writes gpu.json and gpu.md, after every table, to $OUT or else to results/benchmarks. A part whose
time is over ends; one that fails says so, and the next one starts.
"""

import argparse
import dataclasses
import os
import pathlib
import subprocess  # nosec B404 # only for nvidia-smi, without a shell
import sys
import tempfile
import threading
import time

BUDGET = 525  # seconds
CLOSING = 8  # seconds of it in which no part runs


def main(argv: list[str]) -> int:
    start = time.monotonic()
    parser = argparse.ArgumentParser(prog="python -m benchmarks.gpu")
    parser.add_argument("--budget", type=float, default=BUDGET, help="seconds in all")
    parser.add_argument("--parts", help="these alone, with commas between them; default: all")
    parser.add_argument("--tiny", action="store_true", help="a test of the script, on any device")
    arguments = parser.parse_args(argv)
    os.environ.setdefault("XLA_PYTHON_CLIENT_PREALLOCATE", "false")  # PyTorch needs memory too
    with tempfile.TemporaryDirectory() as scratch:
        return _run(arguments, start, pathlib.Path(scratch))


def _run(arguments, start: float, scratch: pathlib.Path) -> int:
    import jax

    from benchmarks.gpu import parts
    from benchmarks.gpu.sizes import FULL, TINY
    from benchmarks.harness import PACKAGES, RESULTS
    from metanet.core import versions
    from metanet.pipeline.provenance import about_this_process

    # Programs that one part forgets, the next one loads.
    if not jax.config.jax_compilation_cache_dir:
        jax.config.update("jax_compilation_cache_dir", str(scratch / "jax"))
    jax.config.update("jax_persistent_cache_min_compile_time_secs", 0.2)
    chosen = list(parts.PARTS) if arguments.parts is None else arguments.parts.split(",")
    if unknown := [name for name in chosen if name not in parts.PARTS]:
        found, expected = ", ".join(unknown), ", ".join(parts.PARTS)
        print(f"error: --parts: found {found}, expected some of {expected}", file=sys.stderr)
        return 2
    results = Results(pathlib.Path(os.environ.get("OUT") or RESULTS))
    if jax.default_backend() == "cpu" and not arguments.tiny:
        print(f"error: found the devices {jax.devices()}, expected a GPU", file=sys.stderr)
        return 2
    about = about_this_process("benchmarks.gpu")
    results.content |= about | {"gpu": _gpu(), "versions": about["versions"] | versions(PACKAGES)}
    end = start + arguments.budget - CLOSING
    watch = threading.Timer(max(start + arguments.budget - time.monotonic(), 0.1), results.give_up)
    watch.daemon = True
    watch.start()
    some = {name: parts.PARTS[name] for name in chosen}
    sizes, share = TINY if arguments.tiny else FULL, sum(s for _, s in some.values())
    due = time.monotonic()
    factor = max(end - due, 0.0) / share
    for name, (part, seconds) in some.items():
        due += factor * seconds
        results.run(name, part, sizes, scratch, due)
    watch.cancel()
    return 0


class Results:
    """What is measured so far, on disk after every table."""

    def __init__(self, folder: pathlib.Path):
        self.folder, self.content = folder, {"parts": {}}
        self.current = ""

    def run(self, name: str, part, sizes, scratch: pathlib.Path, due: float) -> None:
        """The tables of a part, until the moment `due`."""
        begin, tables = time.monotonic(), {}
        entry = self.content["parts"][name] = {"status": "started", "tables": []}
        self.current = name

        def left() -> float:
            return due - time.monotonic()

        try:
            if left() <= 0:
                entry["status"] = "skipped: no time left"
            else:
                for table in part(sizes, scratch, left):
                    tables[table.title] = dataclasses.asdict(table)
                    entry["tables"] = list(tables.values())
                    self.write()
                entry["status"] = "done" if left() > 0 else "ended: its time was over"
        except Exception as error:  # the other parts have their own
            entry["status"] = f"failed: {type(error).__name__}: {error}"
        entry["seconds"] = round(time.monotonic() - begin, 1)
        print(f"{name}: {entry['status']}, {entry['seconds']} s", flush=True)
        self.write()

    def give_up(self) -> None:
        """Ends the process with what there is: a call did not return in time."""
        self.content["parts"][self.current]["status"] = "ended: a call did not return in time"
        self.write()
        print(f"{self.current}: the budget is over", flush=True)
        os._exit(0)

    def write(self) -> None:
        """gpu.json and gpu.md."""
        from metanet.storage import atomic_path, write_json

        write_json(self.folder / "gpu.json", self.content)
        with atomic_path(self.folder / "gpu.md") as temporary:
            temporary.write_text(markdown(self.content))


def markdown(content: dict) -> str:
    """The tables, part by part, under the machine and the versions."""
    names = ", ".join(f"{name} {version}" for name, version in content["versions"].items())
    lines = [f"{content['gpu'] or content['device']}; {names}.", ""]
    for name, part in content["parts"].items():
        if part["status"] != "done":
            lines += [f"{name}: {part['status']}.", ""]
        for table in part["tables"]:
            columns = table["columns"]
            lines += [f"### {table['title']}", "", f"| {' | '.join(columns)} |",
                      "|" + "---|" * len(columns)]  # fmt: skip
            lines += [f"| {' | '.join(str(cell) for cell in row)} |" for row in table["rows"]]
            lines.append("")
    return "\n".join(lines)


def _gpu() -> str | None:
    """Name, memory and driver of the GPU, where there is one."""
    query = ["nvidia-smi", "--query-gpu=name,memory.total,driver_version", "--format=csv,noheader"]
    try:
        done = subprocess.run(  # nosec B603 # the fixed query above
            query, capture_output=True, text=True, timeout=20, check=True
        )
    except (OSError, subprocess.SubprocessError):
        return None
    return done.stdout.strip()


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
