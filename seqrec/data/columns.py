"""Columns of any type turned into the canonical ones: ids as text, timestamps as integers, values as numbers."""

import re
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

SPECIAL_TOKENS = ("[PAD]", "[UNK]", "[MASK]")
"""Words of the tokenizer that no item may have as its id."""

LATEST_SECOND = 10**11  # the year 5138
NUMBER = re.compile(r"[+-]?\d+(\.\d*)?([eE][+-]?\d+)?")


def ids_as_strings(column: pa.ChunkedArray, name: str) -> pa.ChunkedArray:
    """Return ids of any type as strings; whole numbers stored as floats lose their `.0`.

    >>> ids_as_strings(pa.chunked_array([[1500.0, 7.0]]), "item_id").to_pylist()
    ['1500', '7']

    Raises:
        ValueError: An id is missing, is a fraction, is a special token, or has a type without one written form.
    """
    column = decoded(column)
    if pa.types.is_floating(column.type) or pa.types.is_decimal(column.type):
        column = _whole_numbers(column, name)
    if pa.types.is_null(column.type):
        column = column.cast(pa.string())
    try:
        ids = column.cast(pa.string())
    except (pa.ArrowInvalid, pa.ArrowNotImplementedError) as error:
        raise ValueError(
            f"Column {name!r} has the type {column.type}, from which no id can be read ({_first_line(error)}). "
            "Ids are text or whole numbers; convert the column first."
        ) from error
    _refuse_missing(pc.or_kleene(pc.is_null(ids), pc.equal(ids, "")), name)
    for token in SPECIAL_TOKENS if name == "item_id" else ():
        if pc.any(pc.equal(ids, token)).as_py():
            raise ValueError(
                f"Column {name!r} has an id {token!r}, which the tokenizer keeps for itself; expected ids other than "
                f"{', '.join(SPECIAL_TOKENS)}. Rename it, e.g. to {token.strip('[]').lower()!r}."
            )
    return ids


def timestamps_as_integers(column: pa.ChunkedArray) -> tuple[pa.ChunkedArray, int]:
    """Return timestamps as int64 that sort exactly like the given ones, and how many of their units make a second.

    Whole numbers (also as text or floats) stay as they are. Fractions count as seconds and become microseconds,
    dates and ISO texts become microseconds since 1970; either becomes nanoseconds where microseconds would merge two
    different times. Dates without a time zone count as UTC. The unit of whole numbers is not written anywhere: they
    count as seconds, and as milli-, micro- or nanoseconds where they are too large for the unit before (10^11 seconds
    are the year 5138).

    >>> times, per_second = timestamps_as_integers(pa.chunked_array([["1970-01-01T00:00:01", "1970-01-02"]]))
    >>> times.to_pylist(), per_second
    ([1000000, 86400000000], 1000000)

    Raises:
        ValueError: A timestamp is missing, or is neither a number, a date nor an ISO text.
    """
    column = decoded(column)
    _refuse_missing(
        column.is_null(nan_is_null=True), "timestamp", "or leave the whole column out to keep the row order"
    )
    if pa.types.is_string(column.type):
        column = _parsed_times(column)
    if pa.types.is_integer(column.type):
        try:
            column = column.cast(pa.int64())
        except pa.ArrowInvalid as error:
            raise ValueError(f"A timestamp does not fit int64 ({_first_line(error)}); use a coarser unit.") from error
        return column, _likely_unit(column)
    if pa.types.is_floating(column.type) or pa.types.is_decimal(column.type):
        return _float_times(column)
    if pa.types.is_date(column.type):
        column = column.cast(pa.timestamp("us"))
    if not pa.types.is_timestamp(column.type):
        raise ValueError(
            f"Column 'timestamp' has the type {column.type}; expected whole numbers, fractions (seconds), ISO texts "
            "or dates. Convert it first."
        )
    try:
        return column.cast(pa.timestamp("us", column.type.tz)).cast(pa.int64()), 10**6
    except pa.ArrowInvalid:  # digits below a microsecond
        return column.cast(pa.int64()), 10**9


def values_as_floats(column: pa.ChunkedArray) -> pa.ChunkedArray:
    """Return values (ratings, amounts, play counts) as float64; missing ones stay missing.

    >>> values_as_floats(pa.chunked_array([["3", None, "4.5"]])).to_pylist()
    [3.0, None, 4.5]

    Raises:
        ValueError: A value is no number.
    """
    try:
        values = decoded(column).cast(pa.float64())
        return pc.if_else(values.is_null(nan_is_null=True), None, values)
    except (pa.ArrowInvalid, pa.ArrowNotImplementedError) as error:
        raise ValueError(
            f"Column 'value' cannot be read as numbers ({_first_line(error)}); expected numbers such as ratings. "
            "Clean the column, or leave it out."
        ) from error


def decoded(column: pa.ChunkedArray) -> pa.ChunkedArray:
    """Return a column in its `plain_type`."""
    plain = plain_type(column.type)
    if pa.types.is_dictionary(column.type):
        return pa.chunked_array([chunk.dictionary.cast(plain).take(chunk.indices) for chunk in column.chunks], plain)
    return column.cast(plain)


def plain_type(given: pa.DataType) -> pa.DataType:
    """Return the type without dictionaries, views and 64-bit offsets, which `datasets` and Parquet both keep.

    >>> plain_type(pa.large_list(pa.large_string()))
    ListType(list<item: string>)
    """
    if pa.types.is_large_string(given) or pa.types.is_string_view(given):
        return pa.string()
    if pa.types.is_large_binary(given) or pa.types.is_binary_view(given):
        return pa.binary()
    if pa.types.is_dictionary(given):
        return plain_type(given.value_type)
    if pa.types.is_list(given) or pa.types.is_large_list(given):
        return pa.list_(plain_type(given.value_type))
    if pa.types.is_struct(given):
        return pa.struct([pa.field(field.name, plain_type(field.type), field.nullable) for field in given.fields])
    return given


def _whole_numbers(column: pa.ChunkedArray, name: str) -> pa.ChunkedArray:
    """Floats as int64; NaN is a missing id."""
    column = pc.if_else(column.is_null(nan_is_null=True), None, column)
    try:
        return column.cast(pa.int64())
    except pa.ArrowInvalid as error:
        raise ValueError(
            f"Column {name!r} has ids that are not whole numbers ({_first_line(error)}); expected whole numbers or "
            "text. Convert the column to text first."
        ) from error


def _likely_unit(times: pa.ChunkedArray) -> int:
    """How many units of whole numbers make a second, by the largest of them."""
    bounds = pc.min_max(times).as_py()
    largest = max(abs(bounds["min"] or 0), abs(bounds["max"] or 0))
    return next((unit for unit in (1, 10**3, 10**6) if largest < LATEST_SECOND * unit), 10**9)


def _float_times(column: pa.ChunkedArray) -> tuple[pa.ChunkedArray, int]:
    """Whole floats as they are, fractions of seconds in the coarsest unit that keeps different times apart."""
    seconds: np.ndarray[Any, np.dtype[np.float64]] = column.cast(pa.float64()).to_numpy()
    if not np.isfinite(seconds).all():
        raise ValueError("A timestamp is infinite or no number; expected finite numbers. Remove or repair that row.")
    whole = np.floor(seconds)
    num_different = len(np.unique(seconds))
    for per_second in (1,) if (whole == seconds).all() else (10**6, 10**9):
        if np.abs(whole).max(initial=0) < 2**63 / per_second - 1:
            ticks = whole.astype(np.int64) * per_second + np.round((seconds - whole) * per_second).astype(np.int64)
            if len(np.unique(ticks)) == num_different:
                times = pa.chunked_array([ticks])
                return times, _likely_unit(times) if per_second == 1 else per_second
    raise ValueError(
        f"Timestamps such as {float(np.abs(seconds).max())!r} do not fit whole numbers without merging "
        "different times; expected seconds. Convert the column to integers first."
    )


def _parsed_times(column: pa.ChunkedArray) -> pa.ChunkedArray:
    """Texts as numbers where all are numbers, else as dates."""
    readings = [pa.int64(), pa.float64()]
    readings += [pa.timestamp(unit, zone) for unit in ("us", "ns") for zone in (None, "UTC")]
    trimmed = pc.utf8_trim_whitespace(column)
    for reading in readings:
        try:
            return trimmed.cast(reading)
        except pa.ArrowInvalid:
            continue
    texts = trimmed.to_pylist()
    odd = next((text for text in texts if not _is_readable(text)), None) or _odd_one(texts)
    raise ValueError(
        f"Column 'timestamp' cannot be read: {odd!r} does not fit the rest; expected only numbers or only ISO texts "
        "such as '2024-05-01T12:30:00', all with or all without a time zone. Convert the column first."
    )


def _odd_one(texts: list[str]) -> str:
    """The first text of the rarer kind, numbers or dates."""
    numbers = [NUMBER.fullmatch(text) is not None for text in texts]
    return texts[numbers.index(sum(numbers) * 2 < len(texts))] if any(numbers) and not all(numbers) else texts[0]


def _is_readable(text: str) -> bool:
    try:
        pa.array([text]).cast(pa.float64() if NUMBER.fullmatch(text) else pa.timestamp("ns"))
    except pa.ArrowInvalid:
        return False
    return True


def _refuse_missing(missing: pa.ChunkedArray, name: str, alternative: str = "") -> None:
    row = pc.index(missing, True).as_py()
    if row >= 0:
        count = pc.sum(missing).as_py()
        raise ValueError(
            f"Column {name!r} is empty in {count} row{'s' * (count > 1)}, first in row {row} (counting from 0); "
            f"expected one in every row. Remove or repair such rows{', ' + alternative if alternative else ''}."
        )


def _first_line(error: Exception) -> str:
    return str(error).splitlines()[0]
