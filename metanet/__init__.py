"""Graph metanetworks that edit trained MLPs: `load_editor`, `edit`, `compact`, `certify`."""

import importlib

# Imported when they are asked for: importing a part of metanet does not import all of it.
_PLACES = {
    "load_editor": "metanet.editor.release",
    "certify": "metanet.certificates.certificate",
    "certify_family": "metanet.certificates.family",
    "edit_certified": "metanet.certificates.chosen",
    "edit": "metanet.editing.edit",
    "compact": "metanet.interop.compact",
}
__all__ = ["certify", "certify_family", "compact", "edit", "edit_certified", "load_editor"]


def __getattr__(name: str):
    if name in _PLACES:
        return getattr(importlib.import_module(_PLACES[name]), name)
    raise AttributeError(f"module 'metanet' has no attribute {name!r}")
