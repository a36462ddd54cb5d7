"""Tables out of files, `datasets`, the Hub, and everything that speaks the Arrow C stream."""

import glob
import os
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import datasets
import pyarrow as pa
import pyarrow.csv
import pyarrow.json
import pyarrow.parquet

from seqrec.data.columns import decoded

Tabular = Any
"""A path, a glob or a list of paths; a `datasets.Dataset`; a table with the Arrow C stream; a data set's name."""

MIN_BLOCK_BYTES = 1 << 20
MAX_BLOCK_BYTES = 1 << 30
HUB_NAME = re.compile(r"[\w-][\w.-]*/[\w.-]+")


def read_table(source: Tabular) -> pa.Table:
    """Return a table as its source has it, except that plain types stand for dictionaries and views.

    CSV and TSV know no types, so all their columns are text; an empty field is missing.

    Raises:
        ValueError: The source is not there, cannot be read, or is no table.
    """
    if isinstance(source, str | os.PathLike):
        table = _read_place(os.fspath(source))
    elif isinstance(source, Sequence) and all(isinstance(place, str | os.PathLike) for place in source):
        table = _read_files([path for place in source for path in _matches(os.fspath(place)) or [os.fspath(place)]])
    elif isinstance(source, datasets.Dataset):
        table = source.with_format("arrow")[:]
    elif hasattr(source, "__arrow_c_stream__"):
        table = _read_arrow_stream(source)
    else:
        raise ValueError(
            f"Cannot read a table from an object of type {type(source).__name__}; expected a path, a list of paths, "
            "a datasets.Dataset, a table with the Arrow C stream (pandas, polars, pyarrow), or a data set's name."
        )
    names = [name for name in table.column_names if not name.startswith("__index_level_")]  # the index of pandas
    repeated = sorted({name for name in names if names.count(name) > 1})
    if repeated:
        raise ValueError(
            f"The columns {repeated} occur twice in {names}; expected different names. Rename them first."
        )
    return pa.table({name: decoded(table[name]) for name in names})


def _read_place(place: str) -> pa.Table:
    """A file, several behind a glob, or a data set of the Hub."""
    if os.path.isdir(place):
        raise ValueError(f"{place!r} is a folder; expected files. Name them, e.g. '{place.rstrip('/')}/*.parquet'.")
    paths = _matches(place)
    if paths:
        return _read_files(paths)
    if is_hub_name(place):
        return _read_hub(place)
    raise ValueError(
        f"There is no file {place!r} (from the folder {os.getcwd()!r}), and it names no data set; expected a path, "
        "a glob, a named data set such as 'movielens-100k', or a Hub data set such as 'owner/name'."
    )


def is_hub_name(place: str) -> bool:
    """Say whether a string that names no file here can only mean a data set of the Hub.

    >>> is_hub_name("owner/clicks-v1.0"), is_hub_name("folder/clicks.csv"), is_hub_name("folder/part-*")
    (True, False, False)
    """
    is_file = Path(place).suffix.lower() in FILE_READERS or bool(_matches(place))
    return HUB_NAME.fullmatch(place) is not None and not is_file


def _read_arrow_stream(source: Tabular) -> pa.Table:
    try:
        return pa.table(source)
    except pa.ArrowException as error:
        raise ValueError(
            f"The {type(source).__name__} cannot be read ({str(error).splitlines()[0]}); expected each column of one "
            "type. Convert that column first, e.g. to text."
        ) from error


def _matches(place: str) -> list[str]:
    """The files that a path or a glob stands for, in the order of their names."""
    return [place] if os.path.isfile(place) else sorted(glob.glob(place, recursive=True))


def _read_hub(name: str) -> pa.Table:
    try:
        dataset = datasets.load_dataset(name, split="train")
    except (OSError, ValueError, RuntimeError) as error:
        raise ValueError(
            f"{name!r} is no file here, and the Hub gave no data set of that name ({str(error).splitlines()[0]}); "
            "expected a path, or a data set that can be reached and has a split 'train'."
        ) from error
    return dataset.with_format("arrow")[:]


def _read_files(paths: Sequence[str]) -> pa.Table:
    """Rows of all files, in the order given; a column that a file lacks is missing there."""
    tables = []
    for path in paths:
        reader = FILE_READERS.get(Path(path).suffix.lower())
        if reader is None:
            raise ValueError(
                f"Cannot tell the format of {path!r}; expected a name ending in {', '.join(FILE_READERS)}."
            )
        try:
            tables.append(reader(path))
        except FileNotFoundError as error:
            raise ValueError(
                f"There is no file {path!r}; expected files that exist. Check the list of paths."
            ) from error
        except pa.ArrowException as error:
            raise ValueError(
                f"{path!r} cannot be read ({str(error).splitlines()[0]}); expected a {Path(path).suffix} file in "
                "UTF-8, each column of one type. Repair that place, or convert the file to Parquet."
            ) from error
    if not tables:
        raise ValueError("The list of paths is empty; expected at least one file.")
    try:
        return pa.concat_tables(tables, promote_options="permissive")
    except pa.ArrowException as error:
        raise ValueError(
            f"The files do not fit together ({str(error).splitlines()[0]}); expected equal columns of equal types "
            f"in all {len(paths)} files, first {paths[0]!r}."
        ) from error


def _read_csv(path: str) -> pa.Table:
    return _read_delimited(path, ",")


def _read_tsv(path: str) -> pa.Table:
    return _read_delimited(path, "\t")


def _read_delimited(path: str, delimiter: str) -> pa.Table:
    """Every column as text, so that an id such as `007` stays what it is."""
    parse = pyarrow.csv.ParseOptions(delimiter=delimiter, newlines_in_values=True)
    with pyarrow.csv.open_csv(path, parse_options=parse) as start:
        names = start.schema.names
    convert = pyarrow.csv.ConvertOptions(
        column_types=dict.fromkeys(names, pa.string()), strings_can_be_null=True, null_values=[""]
    )
    return pyarrow.csv.read_csv(path, parse_options=parse, convert_options=convert)


def _read_jsonl(path: str) -> pa.Table:
    """One block, so that types are inferred from all lines; texts that look like dates stay texts."""
    block = min(max(os.path.getsize(path), MIN_BLOCK_BYTES), MAX_BLOCK_BYTES)
    options = pyarrow.json.ReadOptions(block_size=block)
    table = pyarrow.json.read_json(path, read_options=options)
    dates = [field.name for field in table.schema if pa.types.is_timestamp(field.type)]
    if not dates:
        return table
    texts = pa.schema([(name, pa.string()) for name in dates])
    return pyarrow.json.read_json(
        path, read_options=options, parse_options=pyarrow.json.ParseOptions(explicit_schema=texts)
    ).select(table.column_names)


def _read_parquet(path: str) -> pa.Table:
    return pyarrow.parquet.read_table(path, partitioning=None)


FILE_READERS = {
    ".csv": _read_csv,
    ".tsv": _read_tsv,
    ".jsonl": _read_jsonl,
    ".ndjson": _read_jsonl,
    ".parquet": _read_parquet,
}
