"""Optional packages: import one, or say which command installs it."""

import sys
from importlib import import_module
from types import ModuleType

PACKAGES = {"PIL": "pillow"}  # on PyPI, where they are called otherwise than their module


def require(module: str, extra: str) -> ModuleType:
    """Return an optional module, imported now.

    Args:
        module: Dotted name, for example `matplotlib.pyplot`.
        extra: The extra of pyproject.toml that brings it.

    Raises:
        ImportError: The package is not installed; the message holds the command that installs it.
    """
    name = module.partition(".")[0]
    package = PACKAGES.get(name, name)
    try:
        return import_module(module)
    except ModuleNotFoundError as error:
        if error.name != name:
            raise
        raise ImportError(
            f"This needs the optional package {package}, which is not installed. "
            f"Install it with `{sys.executable} -m pip install {package}`; "
            f"in a clone of seqrec `make install` brings it with the extra `{extra}`.",
            name=name,
        ) from error
