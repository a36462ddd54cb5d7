"""What settings name as data, to prepared data."""

from pathlib import Path
from typing import TypeGuard

import pyarrow as pa

from seqrec.data import PreparedData, prepare
from seqrec.data.reading import Tabular
from seqrec.settings import Arguments


def load_data(arguments: Arguments, interactions: Tabular | None = None, items: Tabular | None = None) -> PreparedData:
    """Prepare the named, passed or already prepared data.

    Raises:
        ValueError: If no data is named, or it cannot be used.
    """
    data, source = arguments.data, source_of(arguments, interactions)
    catalogue = items if items is not None else data.items
    if is_prepared(source):
        return _load_prepared(Path(source), arguments, catalogue)
    return prepare(
        source,
        catalogue,
        column_mapping=data.mapping(),
        dataset_files=data.dataset_files or (),
        **data.preparation(),
    )


def source_of(arguments: Arguments, interactions: Tabular | None) -> Tabular:
    """Return what the interactions are read from, passed or named.

    Raises:
        ValueError: If it is neither, or both.
    """
    named = arguments.data.interactions or arguments.data.dataset
    if interactions is not None and named is not None:
        raise ValueError(f"Interactions are passed and {named!r} is named in the settings; leave one of them out.")
    source = named if interactions is None else interactions
    if source is None:
        raise ValueError(
            "No data is named. Pass `--interactions FILE` (with columns user_id and item_id), "
            "or `dataset: movielens-100k` for a named data set."
        )
    return source


def is_prepared(source: Tabular) -> TypeGuard[str | Path]:
    """Say whether a source is a folder that `PreparedData.save` wrote."""
    return isinstance(source, str | Path) and Path(source).is_dir()


def to_read_twice(source: Tabular | None) -> Tabular | None:
    """Return a source that can be read more than once: a stream is read to its end."""
    return source.read_all() if isinstance(source, pa.RecordBatchReader) else source


def _load_prepared(folder: Path, arguments: Arguments, catalogue: Tabular | None) -> PreparedData:
    """Load prepared data; settings that say something else than it was prepared with are an error."""
    prepared = PreparedData.load(folder)
    used = prepared.report["settings"]
    asked = {name: value for name, value in arguments.data.preparation().items() if name in arguments.given}
    ignored = [f"{name}={value!r}" for name, value in asked.items() if name not in used or used[name] != value]
    ignored += ["items"] * (catalogue is not None)
    ignored += [name for name in ("column_mapping", "dataset_files") if getattr(arguments.data, name) is not None]
    if ignored:
        raise ValueError(
            f"{str(folder)!r} is already prepared with {used}, so {ignored[0]} has no effect on it. Leave it out, or "
            "prepare the source again with it."
        )
    return prepared
