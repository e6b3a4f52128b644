"""Docstrings as a table wants them: one parameter or attribute per entry."""

import re

import griffe

_ENTRY = re.compile(r"^( +)(\w+(?:, \w+)+): (.*)$")
_NEXT = re.compile(r";  (?=\w+(?:, \w+)*: )")


class OneEach(griffe.Extension):
    """Splits entries that the source writes together: `a, b: ...` and `a: ...;  b: ...`."""

    def on_instance(self, *, obj, **kwargs):
        """Rewrites the docstring of a module, class, function or attribute."""
        if obj.docstring is not None:
            obj.docstring.value = split(obj.docstring.value)


def split(text: str) -> str:
    """The docstring with every entry on lines of its own; others refer to the first."""
    lines, waiting, depth = [], [], 0
    for line in text.splitlines():
        indent = re.match(" *", line).group()
        for part in _NEXT.split(line.strip()):
            if len(indent) <= depth:  # the entry before has ended
                lines, waiting = lines + waiting, []
            found = _ENTRY.match(f"{indent}{part}")
            if found is None:
                lines.append(f"{indent}{part}")
                continue
            first, *others = found.group(2).split(", ")
            lines.append(f"{indent}{first}: {found.group(3)}")
            waiting = [f"{indent}{name}: see `{first}`." for name in others]
            depth = len(indent)
    return "\n".join(lines + waiting)
