"""From two tables to a data set that a model trains on: clean, k-core, split, catalogue, report."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, Self

import datasets
import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet

from seqrec.data.catalogue import build_catalogue
from seqrec.data.cleaning import clean, number_ids
from seqrec.data.histories import Histories
from seqrec.data.leaks import check_leaks
from seqrec.data.provenance import describe_source
from seqrec.data.reading import Tabular
from seqrec.data.sources import load_tables, ticks_per_second
from seqrec.data.splits import SPLITS, SplitRows, global_time, leave_one_out, nothing_held_out
from seqrec.folders import read_json, write_json, written_whole

ITEMS_FILE = "items.parquet"
REPORT_FILE = "preparation.json"
TIME_FRACTION = 0.1  # of the interactions: the test period of global_time, unless another one is asked for
COLD_SEED = 0  # of the items that cold_item_fraction draws
FOLDER_NAMES = ("train", "validation", "test", "dataset_dict.json", ITEMS_FILE, REPORT_FILE)
COUNTS = {"num_users": int, "num_items": int, "num_interactions": int}
STEP_ENTRIES = {"name": str, "before": dict, "after": dict}
REPORT_ENTRIES = {"source": dict, "settings": dict, "steps": list, "split": dict, "content": dict, **COUNTS}


@dataclass(frozen=True)
class PreparedData:
    """A prepared data set: histories with targets, the catalogue, and how both came to be.

    Attributes:
        dataset: Splits `train`, `validation`, `test`; rows `user_id`, `history`, `targets` (empty in train) and, where
            the source has times, `timestamps` parallel to `history`.
        items: The catalogue in token order (count in train descending, then `item_id`): `item_id`, `count`, content.
        report: Source hash, settings, counts before and after each step, split (with global_time also its cuts). No
            paths, no user ids.
    """

    dataset: datasets.DatasetDict
    items: datasets.Dataset
    report: dict[str, Any]

    def save(self, folder: str | Path) -> None:
        """Write everything into a folder, which appears only when it is complete and replaces an older one.

        `datasets.load_from_disk` reads the splits from it without seqrec.

        Raises:
            ValueError: Something else is in the folder already.
        """
        with written_whole(folder, FOLDER_NAMES) as complete:
            shards = {name: None if len(rows) else 1 for name, rows in self.dataset.items()}  # none cannot be loaded
            self.dataset.save_to_disk(complete, num_shards=shards)
            pyarrow.parquet.write_table(self.items.data.table, complete / ITEMS_FILE)
            write_json(complete / REPORT_FILE, self.report)

    @classmethod
    def load(cls, folder: str | Path) -> Self:
        """Read what `save` wrote, and see that no split of it knows the future (`check_leaks`).

        Raises:
            ValueError: The folder is missing, is not one that `save` wrote, or was changed so that training may see
                targets.
        """
        folder = Path(folder)
        missing = [name for name in (REPORT_FILE, ITEMS_FILE, "dataset_dict.json") if not (folder / name).is_file()]
        if missing:
            raise ValueError(
                f"{str(folder)!r} is not a prepared data set: {missing} are missing; expected a folder that "
                "PreparedData.save wrote. Make one with scripts/prepare.py."
            )
        report = read_json(folder / REPORT_FILE)
        try:
            dataset = datasets.DatasetDict.load_from_disk(folder)
            items = datasets.Dataset(pyarrow.parquet.read_table(folder / ITEMS_FILE))
        except (OSError, ValueError, LookupError, TypeError, AttributeError, pa.ArrowException) as error:
            raise ValueError(
                f"{str(folder)!r} is damaged ({str(error).splitlines()[0] if str(error) else type(error).__name__}); "
                "expected a folder as PreparedData.save wrote it. Make it again with scripts/prepare.py."
            ) from error
        if items.features.get("item_id") != datasets.Value("string") or "count" not in items.column_names:
            raise ValueError(
                f"{str(folder / ITEMS_FILE)!r} has the columns {dict(items.features)}; expected 'item_id' as text and "
                "'count' among them. Make the folder again with scripts/prepare.py."
            )
        unsaid = _unsaid(report)
        if unsaid:
            raise ValueError(
                f"{str(folder / REPORT_FILE)!r} says nothing right of {unsaid[0]!r}; expected the report that "
                "PreparedData.save wrote. Make the folder again with scripts/prepare.py."
            )
        try:
            check_leaks(dataset, report["split"])
        except ValueError as error:
            raise ValueError(f"{str(folder)!r} may not be used: {error}") from None
        return cls(dataset, items, report)


def _unsaid(report: dict[str, Any]) -> list[str]:
    """What a report lacks of that which training says of its data."""
    unsaid = _lacking(report, REPORT_ENTRIES)
    if unsaid:
        return unsaid
    steps = report["steps"]
    wrong = not steps or any(_lacking(step, STEP_ENTRIES) or _lacking(step["before"], COUNTS) for step in steps)
    return ["source"] * bool(_lacking(report["source"], {"name": str})) + ["steps"] * wrong


def _lacking(entries: Any, kinds: Mapping[str, type]) -> list[str]:
    """The names that are not there, or are of another kind."""
    return [
        name
        for name, kind in kinds.items()
        if not isinstance(entries, Mapping) or not isinstance(entries.get(name), kind)
    ]


def prepare(
    interactions: Tabular,
    items: Tabular | None = None,
    *,
    column_mapping: Mapping[str, str] | None = None,
    dataset_files: Sequence[str | Path] = (),
    split: Literal["leave_one_out", "global_time", "none"] = "leave_one_out",
    time_fraction: float | None = None,
    min_interactions: int = 5,
    min_value: float | None = None,
    drop_duplicates: bool = True,
    burst_seconds: float | None = None,
    max_daily_interactions: int | None = None,
    cold_item_fraction: float = 0.0,
) -> PreparedData:
    """Clean interactions, split them and put the catalogue beside them.

    A user's history is ordered by (timestamp, row in the source), by the row alone where there are no timestamps.

    Args:
        interactions: Anything that `load_interactions` takes.
        items: Anything that `load_items` takes; a named data set brings its own.
        column_mapping: Their column name to ours, for both tables.
        dataset_files: Files of a named data set that are here already; they are not downloaded.
        split: `leave_one_out` (each user's last item is the test target, the second last the validation target),
            `global_time` (two cuts in time; the target is each user's first item after the cut), or `none` (everything
            is for training).
        time_fraction: With `global_time`: share of the interactions, the newest ones, that make the test period; the
            same share before it makes the validation period. 0.1 by default.
        min_interactions: Least number of interactions of every user and every item (iterative k-core).
        min_value: Least `value` that counts as an interaction; without it all count.
        drop_duplicates: Count rows with equal user, item and timestamp once.
        burst_seconds: Leave out an event that comes at most so many seconds after the same user's last event with the
            same item.
        max_daily_interactions: Leave out users with more events than this within any 24 hours of the source.
        cold_item_fraction: Share of the items whose events are taken out of the training histories, so that
            evaluation can say how items rank that nobody has taken yet. Histories and targets of validation and test
            keep them.

    Raises:
        ValueError: A table cannot be read, a setting does not fit it, or no interaction is left.
    """
    log, content = load_tables(interactions, items, column_mapping, dataset_files)
    cleaning: dict[str, Any] = {
        "min_interactions": min_interactions,
        "min_value": min_value,
        "drop_duplicates": drop_duplicates,
        "burst_seconds": burst_seconds,
        "max_daily_interactions": max_daily_interactions,
    }
    settings = {
        "split": split,
        "time_fraction": _time_fraction(split, time_fraction),
        **cleaning,
        "cold_item_fraction": cold_item_fraction,
    }
    _check_settings(log, settings)
    source = describe_source(interactions, log)
    ticks = ticks_per_second(log)
    numbered, user_ids, item_ids = number_ids(log)
    del log  # the ids as text are the largest thing here
    kept, steps = clean(numbered, **cleaning, ticks_per_second=ticks or 1)
    del numbered
    if not kept.num_rows:
        raise ValueError(_nothing_left(source["num_interactions"], steps, settings))
    histories = Histories.from_sorted(kept, user_ids, item_ids)
    splits, cuts = _cut(histories, settings)
    cold = _cold_items(histories, cold_item_fraction)
    train = histories.shown_in(splits["train"], without=cold)
    catalogue, coverage = build_catalogue(item_ids, train.item_counts(), histories.item_counts(), content)
    report = {
        "source": source,
        "settings": settings,
        "steps": steps,
        "order": ["timestamp", "row"] if ticks else ["row"],
        "ticks_per_second": ticks,
        "split": _split_report(settings, splits, cuts) | _cold_report(cold, len(train.items), splits["train"]),
        "content": coverage,
        "num_users": len(histories.user_ids),
        "num_items": catalogue.num_rows,
        "num_interactions": kept.num_rows,
    }
    tables = {name: train.whole() if name == "train" else histories.rows(rows) for name, rows in splits.items()}
    dataset = datasets.DatasetDict({name: datasets.Dataset(table) for name, table in tables.items()})
    check_leaks(dataset, report["split"])
    return PreparedData(dataset, datasets.Dataset(catalogue), report)


def _time_fraction(split: str, asked: float | None) -> float | None:
    """The share of the test period; None where the split has no period."""
    if split not in SPLITS:
        raise ValueError(f"split={split!r}; expected one of {', '.join(SPLITS)}.")
    if split != "global_time":
        if asked is not None:
            raise ValueError(
                f"time_fraction={asked} belongs to split: global_time; leave it out, or ask for that one."
            )
        return None
    if asked is not None and not 0 < asked < 0.5:
        raise ValueError(
            f"time_fraction={asked}; expected above 0 and below 0.5: test and validation are each as large."
        )
    return TIME_FRACTION if asked is None else asked


def _check_settings(log: pa.Table, settings: Mapping[str, Any]) -> None:
    if settings["min_interactions"] < 1:
        raise ValueError(
            f"min_interactions={settings['min_interactions']}; expected at least 1, which keeps every user and item."
        )
    if not 0 <= settings["cold_item_fraction"] < 1:
        raise ValueError(
            f"cold_item_fraction={settings['cold_item_fraction']}; expected a share of the items, at least 0 and "
            "below 1."
        )
    if settings["cold_item_fraction"] and settings["split"] == "none":
        raise ValueError(
            f"cold_item_fraction={settings['cold_item_fraction']} takes items out of training to measure how they "
            "rank, and split='none' measures nothing. Leave one of them out."
        )
    if settings["burst_seconds"] is not None and not 0 < settings["burst_seconds"] < math.inf:
        raise ValueError(f"burst_seconds={settings['burst_seconds']}; expected a number of seconds above 0.")
    if settings["max_daily_interactions"] is not None and settings["max_daily_interactions"] < 1:
        raise ValueError(f"max_daily_interactions={settings['max_daily_interactions']}; expected at least 1.")
    if settings["min_value"] is not None and "value" not in log.column_names:
        raise ValueError(
            f"min_value={settings['min_value']} needs the column 'value', but the interactions have "
            f"{log.column_names}. Say which column it is, e.g. column_mapping={{'rating': 'value'}}, or leave "
            "min_value out."
        )
    timed = [name for name in ("time_fraction", "burst_seconds", "max_daily_interactions") if settings[name]]
    if timed and "timestamp" not in log.column_names:
        asked = "split='global_time'" if timed[0] == "time_fraction" else f"{timed[0]}={settings[timed[0]]}"
        raise ValueError(
            f"{asked} needs the column 'timestamp', but the interactions have {log.column_names}. Say which column it "
            "is, e.g. column_mapping={'when': 'timestamp'}, or leave the setting out."
        )


def _nothing_left(num_rows: int, steps: list[dict[str, Any]], settings: dict[str, Any]) -> str:
    if not num_rows:
        return "The interactions have columns but no rows; expected at least one. Look whether it is the right source."
    counts = "; ".join(f"{step['name']} left {step['after']['num_interactions']:,}" for step in steps)
    return (
        f"No interaction is left of {num_rows:,} ({counts}) with the settings {settings}; expected some. "
        "Lower min_interactions or min_value, or bring more data."
    )


def _cold_items(histories: Histories, fraction: float) -> np.ndarray[Any, np.dtype[np.bool_]]:
    """Draw so large a share of the items that have an event, always the same of the same items, shape (items,)."""
    cold = np.zeros(len(histories.item_ids), dtype=bool)
    taken = np.flatnonzero(histories.item_counts())
    by_id = taken[pc.sort_indices(histories.item_ids.take(pa.array(taken))).to_numpy()]
    drawn = np.random.default_rng(COLD_SEED).permutation(len(by_id))[: round(fraction * len(by_id))]
    cold[by_id[drawn]] = True
    return cold


def _cold_report(
    cold: np.ndarray[Any, np.dtype[np.bool_]], num_left: int, train: SplitRows
) -> dict[str, dict[str, int]]:
    """What was taken out of training, if anything."""
    if not cold.any():
        return {}
    num_taken_out = int(train.history_lengths.sum()) - num_left
    return {"cold_items": {"num_items": int(cold.sum()), "num_train_interactions_taken_out": num_taken_out}}


def _cut(histories: Histories, settings: Mapping[str, Any]) -> tuple[dict[str, SplitRows], dict[str, int]]:
    """The rows of each split, and the cuts in time where the split has some."""
    if settings["split"] == "global_time" and histories.timestamps is not None:
        return global_time(histories.timestamps, histories.lengths, settings["time_fraction"])
    cut = nothing_held_out if settings["split"] == "none" else leave_one_out
    return cut(histories.lengths), {}


def _split_report(
    settings: Mapping[str, Any], splits: dict[str, SplitRows], cuts: Mapping[str, int]
) -> dict[str, Any]:
    """How many users each split asks about, and how many interactions its histories and targets hold."""
    counts: dict[str, dict[str, int]] = {
        name: {
            "num_users": len(rows.users),
            "num_history_interactions": int(rows.history_lengths.sum()),
            "num_targets": int(rows.num_targets.sum()),
        }
        for name, rows in splits.items()
    }
    report: dict[str, Any] = {"name": settings["split"], **counts}
    for name, cut in cuts.items():
        counts[name] |= {"cut": cut, "num_users_without_history": int((splits[name].history_lengths == 0).sum())}
    asked = np.union1d(splits["validation"].users, splits["test"].users)
    return report | {"num_users_only_in_train": len(np.setdiff1d(splits["train"].users, asked))}
