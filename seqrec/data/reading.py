"""Tables out of files, `datasets`, the Hub, and everything that speaks the Arrow C stream."""

import codecs
import glob
import io
import os
import re
from collections.abc import Collection, Sequence
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
LARGEST_COMPRESSION = 30  # of a text file by gzip, about
HUB_NAME = re.compile(r"[\w-][\w.-]*/[\w.-]+")


def read_table(source: Tabular, columns: Collection[str] | None = None) -> pa.Table:
    """Return a table as its source has it, except that plain types stand for dictionaries and views.

    CSV and TSV know no types, so all their columns are text; an empty field is missing.

    Args:
        source: The place or the table.
        columns: The columns that matter; the others keep their names but are empty and cost no memory. All by default.

    Raises:
        ValueError: The source is not there, cannot be read, or is no table.
    """
    if isinstance(source, str | os.PathLike):
        table = _read_place(os.fspath(source), columns)
    elif isinstance(source, Sequence) and all(isinstance(place, str | os.PathLike) for place in source):
        paths = [path for place in source for path in _matches(os.fspath(place)) or [os.fspath(place)]]
        table = _read_files(paths, columns)
    elif isinstance(source, datasets.Dataset):
        table = _read_dataset(source, columns)
    elif hasattr(source, "__arrow_c_stream__"):
        table = _read_arrow_stream(source)
    else:
        kind = type(source).__name__
        raise ValueError(
            f"Cannot read a table from a {kind}; expected a path, a list of paths, a datasets.Dataset, "
            "a table with the Arrow C stream (pandas, polars, pyarrow, DuckDB), or a data set's name."
            + FIRST_STEPS.get(kind, "")
        )
    names = [name for name in table.column_names if not name.startswith("__index_level_")]  # the index of pandas
    _refuse_repeated(names)
    wanted = names if columns is None else [name for name in names if name in columns]
    return with_unread(pa.table({name: decoded(table[name]) for name in wanted}), names, table.num_rows)


def with_unread(table: pa.Table, names: Sequence[str], num_rows: int) -> pa.Table:
    """Return a table with these columns; those that it lacks are empty and cost no memory.

    >>> with_unread(pa.table({"b": [1, 2]}), ["a", "b"], num_rows=2).to_pydict()
    {'a': [None, None], 'b': [1, 2]}
    """
    present = set(table.column_names)
    return pa.table({name: table[name] if name in present else pa.nulls(num_rows) for name in names})


def _refuse_repeated(names: Sequence[str]) -> None:
    repeated = sorted({name for name in names if names.count(name) > 1})
    if repeated:
        raise ValueError(
            f"The columns {repeated} occur twice in {names}; expected different names. Rename them first."
        )


def _read_place(place: str, columns: Collection[str] | None) -> pa.Table:
    """A file, several behind a glob, or a data set of the Hub."""
    if os.path.isdir(place):
        raise ValueError(f"{place!r} is a folder; expected files. Name them, e.g. '{place.rstrip('/')}/*.parquet'.")
    paths = _matches(place)
    if paths:
        return _read_files(paths, columns)
    if is_hub_name(place):
        return _read_hub(place, columns)
    raise ValueError(
        f"There is no file {place!r} (from the folder {os.getcwd()!r}), and it names no data set; expected a path, "
        "a glob, a named data set such as 'movielens-100k', or a Hub data set such as 'owner/name'."
    )


def is_hub_name(place: str) -> bool:
    """Say whether a string that names no file here can only mean a data set of the Hub.

    >>> is_hub_name("owner/clicks-v1.0"), is_hub_name("folder/clicks.csv"), is_hub_name("folder/part-*")
    (True, False, False)
    """
    is_file = _suffix(place) in FILE_READERS or bool(_matches(place))
    return HUB_NAME.fullmatch(place) is not None and not is_file


def _read_arrow_stream(source: Tabular) -> pa.Table:
    try:
        return pa.table(source)
    except (pa.ArrowException, ValueError, TypeError, OverflowError) as error:
        raise ValueError(
            f"The {type(source).__name__} cannot be read ({_first_line(error)}); expected columns of different names, "
            "each of one type. Convert that column first, e.g. to text."
        ) from error


def _read_dataset(dataset: datasets.Dataset, columns: Collection[str] | None) -> pa.Table:
    """A `datasets.Dataset` as it is stored: nothing is decoded."""
    names = dataset.column_names
    read = names if columns is None else [name for name in names if name in columns]
    table = dataset.select_columns(read).with_format("arrow")[:] if read else pa.table({})
    return with_unread(table, names, len(dataset))


def _matches(place: str) -> list[str]:
    """The files that a path or a glob stands for, in the order of their names."""
    return [place] if os.path.isfile(place) else sorted(glob.glob(place, recursive=True))


def _read_hub(name: str, columns: Collection[str] | None) -> pa.Table:
    try:
        dataset = datasets.load_dataset(name, split="train")
    except (OSError, ValueError, RuntimeError, datasets.exceptions.DatasetsError) as error:
        raise ValueError(
            f"{name!r} is no file here, and the Hub gave no data set of that name ({_first_line(error)}); "
            "expected a path, or a data set that can be reached and has a split 'train'. A private one needs "
            "`hf auth login`."
        ) from error
    return _read_dataset(dataset, columns)


def _read_files(paths: Sequence[str], columns: Collection[str] | None) -> pa.Table:
    """Rows of all files, in the order given; a column that a file lacks is missing there."""
    if not paths:
        raise ValueError("The list of paths is empty; expected at least one file.")
    tables = [_read_file(path, columns) for path in paths]
    try:
        return pa.concat_tables(tables, promote_options="permissive")
    except pa.ArrowException as error:
        raise ValueError(
            f"The files do not fit together ({_first_line(error)}); expected equal columns of equal types "
            f"in all {len(paths)} files, first {paths[0]!r}."
        ) from error


def _read_file(path: str, columns: Collection[str] | None) -> pa.Table:
    reader = FILE_READERS.get(_suffix(path))
    if reader is None:
        raise ValueError(f"Cannot tell the format of {path!r}; expected a name ending in {', '.join(FILE_READERS)}.")
    try:
        table = reader(path, columns)
        table.validate(full=True)  # neither JSON nor Parquet is checked to be UTF-8
        return table
    except FileNotFoundError as error:
        raise ValueError(f"There is no file {path!r}; expected files that exist. Check the list of paths.") from error
    except PermissionError as error:
        raise ValueError(f"{path!r} may not be read; expected a file that you may. Change its permissions.") from error
    except (pa.ArrowException, OSError) as error:
        expected = "a whole .parquet file" if reader is _read_parquet else f"a {_suffix(path)} file in UTF-8"
        raise ValueError(
            f"{path!r} cannot be read ({_first_line(error)}{_encoding(path)}); expected {expected}, each column of "
            "one type. Repair that place, or write the file anew, e.g. as Parquet."
        ) from error


def _encoding(path: str) -> str:
    """What the bytes of a text file say of another encoding than UTF-8."""
    if _suffix(path).startswith(".parquet"):
        return ""
    try:
        with io.BufferedReader(_opened(path)) as file:
            return next((said for number, line in enumerate(file, 1) if (said := _not_utf8(number, line))), "")
    except (pa.ArrowException, OSError):  # the file ends within its compression, which the message says already
        return ""


def _not_utf8(number: int, line: bytes) -> str:
    """What is wrong with the encoding of one line, if anything."""
    if number == 1 and line.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)):
        return "; it begins like UTF-16"
    try:
        line.decode()
    except UnicodeDecodeError as error:
        return f"; line {number} is no UTF-8: {line[max(error.start - 20, 0) : error.end + 20]!r}"
    return ""


def _suffix(path: str) -> str:
    """What a file's name says of its format; text files may be compressed.

    >>> _suffix("log.CSV"), _suffix("log.csv.gz"), _suffix("log.parquet.gz")
    ('.csv', '.csv.gz', '.parquet.gz')
    """
    return "".join(Path(path).suffixes[-2 if path.lower().endswith(".gz") else -1 :]).lower()


def _read_csv(path: str, columns: Collection[str] | None) -> pa.Table:
    return _read_delimited(path, ",", columns)


def _read_tsv(path: str, columns: Collection[str] | None) -> pa.Table:
    return _read_delimited(path, "\t", columns)


def _read_delimited(path: str, delimiter: str, columns: Collection[str] | None) -> pa.Table:
    """Every column as text, so that an id such as `007` stays what it is."""
    parse = pyarrow.csv.ParseOptions(delimiter=delimiter, newlines_in_values=True)
    try:
        return _read_blocks(path, parse, columns, MIN_BLOCK_BYTES)
    except pa.ArrowInvalid as error:
        if "straddling" not in str(error):
            raise
        return _read_blocks(path, parse, columns, MAX_BLOCK_BYTES)  # a row longer than a block


def _read_blocks(
    path: str, parse: pyarrow.csv.ParseOptions, columns: Collection[str] | None, block_size: int
) -> pa.Table:
    read = pyarrow.csv.ReadOptions(block_size=block_size)
    with _opened(path) as file, pyarrow.csv.open_csv(file, read_options=read, parse_options=parse) as start:
        names = start.schema.names
    _refuse_repeated(names)
    convert = pyarrow.csv.ConvertOptions(
        column_types=dict.fromkeys(names, pa.string()),
        include_columns=names if columns is None else [name for name in names if name in columns] or names[:1],
        strings_can_be_null=True,
        null_values=[""],
    )
    with _opened(path) as file:
        table = pyarrow.csv.read_csv(file, read_options=read, parse_options=parse, convert_options=convert)
    return with_unread(table, names, table.num_rows)


def _opened(path: str) -> pa.NativeFile:
    """A text file, decompressed by its name, which pyarrow would read in lower case only."""
    return pa.input_stream(path, compression="gzip" if _suffix(path).endswith(".gz") else None)


def _read_jsonl(path: str, columns: Collection[str] | None) -> pa.Table:
    """One block, so that types are inferred from all lines; texts that look like dates stay texts."""
    size = os.path.getsize(path) * (LARGEST_COMPRESSION if path.lower().endswith(".gz") else 1)
    options = pyarrow.json.ReadOptions(block_size=min(max(size, MIN_BLOCK_BYTES), MAX_BLOCK_BYTES))
    with _opened(path) as file:
        table = pyarrow.json.read_json(file, read_options=options)
    dates = [field.name for field in table.schema if pa.types.is_timestamp(field.type)]
    if not dates:
        return table
    texts = pa.schema([(name, pa.string()) for name in dates])
    parse = pyarrow.json.ParseOptions(explicit_schema=texts)
    with _opened(path) as file:
        return pyarrow.json.read_json(file, read_options=options, parse_options=parse).select(table.column_names)


def _read_parquet(path: str, columns: Collection[str] | None) -> pa.Table:
    with pyarrow.parquet.ParquetFile(path) as file:
        names = file.schema_arrow.names
        _refuse_repeated(names)
        read = names if columns is None else [name for name in names if name in columns]
        return with_unread(file.read(columns=read), names, file.metadata.num_rows)


def _first_line(error: Exception) -> str:
    """The first line of a message, without what no terminal shows."""
    line = next(iter(str(error).splitlines()), type(error).__name__)
    return "".join(letter if letter.isprintable() else "?" for letter in line[:300])


FIRST_STEPS = {
    "LazyFrame": " Call its collect() first.",
    "IterableDataset": " Load the data set without streaming=True.",
    "DatasetDict": " Choose one of its splits.",
}
FILE_READERS = {
    ".csv": _read_csv,
    ".tsv": _read_tsv,
    ".jsonl": _read_jsonl,
    ".ndjson": _read_jsonl,
    ".csv.gz": _read_csv,
    ".tsv.gz": _read_tsv,
    ".jsonl.gz": _read_jsonl,
    ".parquet": _read_parquet,
}
