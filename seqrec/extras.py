"""Optional packages: import one, or say which command installs it."""

import sys
from importlib import import_module
from types import ModuleType


def require(module: str, extra: str) -> ModuleType:
    """Return an optional module, imported now.

    Args:
        module: Dotted name, for example `matplotlib.pyplot`; its first part is the name of the package on PyPI.
        extra: The extra of pyproject.toml that brings it.

    Raises:
        ImportError: The package is not installed; the message holds the command that installs it.
    """
    package = module.partition(".")[0]
    try:
        return import_module(module)
    except ModuleNotFoundError as error:
        if error.name != package:
            raise
        raise ImportError(
            f"This needs the optional package {package}, which is not installed. "
            f"Install it with `{sys.executable} -m pip install {package}`; "
            f"in a clone of seqrec `make install` brings it with the extra `{extra}`.",
            name=package,
        ) from error
