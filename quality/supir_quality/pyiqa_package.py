"""The door to pyiqa, a package of quality metrics that is licensed for noncommercial use only.

Place in the flow: whoever is asked for one of its metrics imports it here. The law: it is never needed unless one of
its metrics is asked for by name, and then its absence is one line with what to install.
"""

from __future__ import annotations

from types import ModuleType

from supir_quality.errors import MeasureMissing

INSTALL = "pip install 'supir-stack[iqa]' (pyiqa's licence is PolyForm Noncommercial)"


def import_pyiqa(asked: str) -> ModuleType:
    """Returns the module `pyiqa`.

    Args:
        asked: what needs it, for the message, e.g. "metric musiq".

    Raises:
        MeasureMissing: pyiqa, or something that it imports, is not installed.
    """
    try:
        import pyiqa
    except ImportError as error:
        raise MeasureMissing(f"{asked} needs pyiqa ({error}); type: {INSTALL}") from error
    module: ModuleType = pyiqa
    return module
