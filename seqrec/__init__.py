"""seqrec: sequential recommendation on the Hugging Face stack, from a table of events to a model folder.

Names are imported when they are first used, so that `import seqrec` costs nothing.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from seqrec.data import PreparedData, prepare
    from seqrec.evaluation import evaluate
    from seqrec.model import SeqRecConfig, SeqRecForNextItem, SeqRecModel
    from seqrec.ranker import Ranker
    from seqrec.recommender import Recommender
    from seqrec.training import train

__version__ = "0.1.0"

__all__ = [
    "PreparedData",
    "Ranker",
    "Recommender",
    "SeqRecConfig",
    "SeqRecForNextItem",
    "SeqRecModel",
    "evaluate",
    "prepare",
    "train",
]

_HOMES = {
    "PreparedData": "seqrec.data",
    "Ranker": "seqrec.ranker",
    "Recommender": "seqrec.recommender",
    "SeqRecConfig": "seqrec.model",
    "SeqRecForNextItem": "seqrec.model",
    "SeqRecModel": "seqrec.model",
    "evaluate": "seqrec.evaluation",
    "prepare": "seqrec.data",
    "train": "seqrec.training",
}


def __getattr__(name: str) -> Any:  # noqa: ANN401 (a module attribute can be anything)
    """Import a public name from its home the first time it is asked for."""
    if name not in _HOMES:
        raise AttributeError(f"seqrec has no {name!r}; its public names are {', '.join(__all__)}.")
    value = getattr(import_module(_HOMES[name]), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    """List the public names, imported or not."""
    return sorted({*globals(), *__all__})
