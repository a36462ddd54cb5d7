"""What evaluation found, as tables to read."""

from __future__ import annotations

import statistics
from collections.abc import Mapping, Sequence
from typing import Any

from seqrec.metrics import PairedDifference

SIGNIFICANT = 0.05
LIST_MEASURES = {
    "coverage": "share of the catalogue in any list",
    "gini": "0 recommends all items equally often, 1 always the same",
    "novelty": "bits of surprise in an item, by how rare it is in training",
    "popularity": "interactions of an item in training",
    "cold_items": "share of a list's items that training never saw",
    "diversity": "1 - cosine of the texts of two items in a list",
}


def comparison_table(results: Mapping[str, Mapping[str, Any]]) -> str:
    """Return the rankers' metrics as aligned plain text, one row a ranker.

    Args:
        results: What `evaluate` returned, by the ranker's name, in the order of the rows; all with the same cuts.

    >>> values = {"num_unranked": 0, "ndcg@1": 0.5, "ndcg@1_ci": [0.25, 0.75], "hr@1": 0.5, "mrr@1": 0.5}
    >>> print(comparison_table({"seqrec": {"num_users": 4, "exclude_seen": values, "include_seen": values}}))
    ranker  NDCG@1  95 % interval    HR@1   MRR@1   NDCG@1, seen included
    ------  ------  ---------------  ------  ------  ---------------------
    seqrec  0.5000  0.2500 - 0.7500  0.5000  0.5000                 0.5000
    4 users, full catalogue, seen items excluded where not said otherwise, ties count against the ranker
    """
    first, *others = cuts_of(results)
    names = [f"ndcg@{first}", f"hr@{first}", f"mrr@{first}", *(f"ndcg@{cut}" for cut in others)]
    header = ["ranker", names[0].upper(), "95 % interval", *(name.upper() for name in names[1:])]
    rows = [[*header, f"{names[0].upper()}, seen included"]]
    for ranker, result in results.items():
        values = result["exclude_seen"]
        low, high = values[f"{names[0]}_ci"]
        cells = [f"{values[names[0]]:.4f}", f"{low:.4f} - {high:.4f}", *(f"{values[name]:.4f}" for name in names[1:])]
        rows.append([ranker, *cells, f"{result['include_seen'][names[0]]:.4f}"])
    return f"{_aligned(rows)}\n{_caption(results)}"


def lists_table(results: Mapping[str, Mapping[str, Any]]) -> str:
    """Return what kind of items the rankers recommend as aligned plain text, one row a ranker.

    Args:
        results: What `evaluate` returned with the catalogue, by the ranker's name.

    >>> print(lists_table({"seqrec": {"exclude_seen": {"ndcg@1": 0.5}, "lists": {"coverage@1": 0.5, "gini@1": 0.25}}}))
    ranker  coverage@1  gini@1
    ------  ----------  ------
    seqrec      0.5000  0.2500
    coverage: share of the catalogue in any list
    gini: 0 recommends all items equally often, 1 always the same
    """
    first = cuts_of(results)[0]
    every = dict.fromkeys(name for result in results.values() for name in result["lists"])
    names = [name for name in every if name.endswith(f"@{first}")]
    rows = [["ranker", *names]]
    for ranker, result in results.items():
        rows.append([ranker, *(_number(result["lists"].get(name)) for name in names)])
    meanings = [f"{measure}: {LIST_MEASURES[measure]}" for measure, _, _ in (name.partition("@") for name in names)]
    return "\n".join([_aligned(rows), *meanings])


def cohorts_table(results: Mapping[str, Mapping[str, Any]]) -> str:
    """Return every cohort's NDCG at the first cut with its interval as aligned plain text, one row a ranker.

    Args:
        results: What `evaluate` returned with the catalogue, by the ranker's name; all of the same rows.
    """
    metric = f"ndcg@{cuts_of(results)[0]}"
    cohorts = {
        ranker: {name: result[name] for name in ("cold", "warm") if name in result} | result["cohorts"]
        for ranker, result in results.items()
    }
    shown = next(iter(cohorts.values()))
    rows = [[metric.upper(), *(f"{name} ({cohort['num_users']:,} users)" for name, cohort in shown.items())]]
    for ranker, of_ranker in cohorts.items():
        rows.append([ranker, *(_with_interval(cohort, metric) for cohort in of_ranker.values())])
    return "\n".join([_aligned(rows), *(f"{name}: {cohort['definition']}" for name, cohort in shown.items())])


def difference_table(differences: Mapping[str, PairedDifference], name: str, other: str) -> str:
    """Return a paired comparison as aligned plain text, and in words.

    Args:
        differences: What `seqrec.evaluation.compare` returned, by metric.
        name: What the first ranker is called.
        other: What the second is called.

    >>> found = PairedDifference(0.5, 0.25, 0.25, (0.125, 0.375), 0.001, 40)
    >>> print(difference_table({"ndcg@1": found}, "runs/a", "runs/b"))
            runs/a  runs/b  difference     95 % interval       p
    ------  ------  ------  ----------  ----------------  ------
    NDCG@1  0.5000  0.2500     +0.2500  +0.1250, +0.3750  0.0010
    40 users, seen items excluded; paired bootstrap, two-sided randomisation test
    NDCG@1: runs/a is better than runs/b by 0.2500 [0.1250, 0.3750], p=0.0010.
    """
    rows = [["", name, other, "difference", "95 % interval", "p"]]
    for metric, found in differences.items():
        low, high = found.interval
        cells = [f"{found.value:.4f}", f"{found.other:.4f}", f"{found.difference:+.4f}", f"{low:+.4f}, {high:+.4f}"]
        rows.append([metric.upper(), *cells, f"{found.p_value:.4f}"])
    metric, found = next(iter(differences.items()))
    return (
        f"{_aligned(rows)}\n{found.num_users:,} users, seen items excluded; paired bootstrap, two-sided randomisation "
        f"test\n{metric.upper()}: {_in_words(found, name, other)}"
    )


def runs_table(rankers: Mapping[str, Sequence[Mapping[str, Any]]]) -> str:
    """Return rankers with NDCG and HR at the first cut, seen items excluded and included, as a Markdown table.

    A ranker with one result has its 95 % interval over users, one with several (runs with other seeds) their mean and
    standard deviation.

    Args:
        rankers: What `evaluate` returned for each run, by the ranker's name, in the order of the rows.

    Raises:
        ValueError: A ranker has no result, or the results are not of the same number of users or the same cuts.

    >>> values = {"ndcg@1": 0.5, "ndcg@1_ci": [0.2, 0.7], "hr@1": 0.5, "hr@1_ci": [0.2, 0.7]}
    >>> result = {"num_users": 4, "exclude_seen": values, "include_seen": values}
    >>> print(runs_table({"floor": [result], "ours": [result, result]}))
    | ranker | NDCG@1 | HR@1 | NDCG@1, seen included | HR@1, seen included |
    |---|---|---|---|---|
    | floor | 0.5000 [0.2000, 0.7000] | 0.5000 [0.2000, 0.7000] | 0.5000 [0.2000, 0.7000] | 0.5000 [0.2000, 0.7000] |
    | ours | 0.5000 ± 0.0000 | 0.5000 ± 0.0000 | 0.5000 ± 0.0000 | 0.5000 ± 0.0000 |
    """
    empty = [ranker for ranker, results in rankers.items() if not results]
    if empty:
        raise ValueError(f"There is no result of {empty}. Evaluate a run of it with scripts/evaluate.py.")
    cut = _common_cuts(rankers)[0]
    columns = [(part, f"{metric}@{cut}") for part in ("exclude_seen", "include_seen") for metric in ("ndcg", "hr")]
    titles = [name.upper() + (", seen included" if part == "include_seen" else "") for part, name in columns]
    lines = [f"| {' | '.join(['ranker', *titles])} |", "|" + "---|" * (1 + len(columns))]
    for ranker, results in rankers.items():
        cells = [_over_runs([result[part] for result in results], name) for part, name in columns]
        lines.append(f"| {' | '.join([ranker, *cells])} |")
    return "\n".join(lines)


def _common_cuts(rankers: Mapping[str, Sequence[Mapping[str, Any]]]) -> list[int]:
    """Return the cuts of all results, and see that they are of as many users."""
    measured = [
        (ranker, result["num_users"], cuts_of({ranker: result}))
        for ranker, results in rankers.items()
        for result in results
    ]
    for ranker, num_users, cuts in measured:
        first, of_first, cuts_of_first = measured[0]
        if (num_users, cuts) != (of_first, cuts_of_first):
            raise ValueError(
                f"A result of {ranker!r} is of {num_users:,} users at the cuts {cuts}, that of {first!r} of "
                f"{of_first:,} at {cuts_of_first}; expected results of the same users and cuts. Evaluate them alike."
            )
    return measured[0][2] if measured else cuts_of({})


def cuts_of(results: Mapping[str, Mapping[str, Any]]) -> list[int]:
    """Return the cuts of the first result, ascending.

    Raises:
        ValueError: There is no result.
    """
    if not results:
        raise ValueError("There are no results to compare. Evaluate at least one ranker.")
    names = next(iter(results.values()))["exclude_seen"]
    return sorted(int(name.removeprefix("ndcg@")) for name in names if name.startswith("ndcg@") and name[5:].isdigit())


def _aligned(rows: list[list[str]]) -> str:
    """Return a table with a rule under its header, the first column to the left and the others to the right."""
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    header, *others = [
        "  ".join([row[0].ljust(widths[0]), *(cell.rjust(w) for cell, w in zip(row[1:], widths[1:], strict=True))])
        for row in rows
    ]
    return "\n".join([header, "  ".join("-" * width for width in widths), *others])


def _caption(results: Mapping[str, Mapping[str, Any]]) -> str:
    """Return the line under the table: how many users, which protocol, and targets nobody could rank."""
    result = next(iter(results.values()))
    caption = (
        f"{result['num_users']:,} users, full catalogue, seen items excluded where not said otherwise, "
        "ties count against the ranker"
    )
    unranked = result["exclude_seen"]["num_unranked"]
    return (
        f"{caption}\n{unranked:,} targets cannot be ranked (seen, not in the catalogue, or without a score): misses"
        if unranked
        else caption
    )


def _number(value: float | None) -> str:
    """Return a value with five digits or so, `-` where there is none.

    >>> _number(0.12345), _number(12.345), _number(1234.5), _number(None)
    ('0.1235', '12.35', '1,234', '-')
    """
    if value is None:
        return "-"
    return f"{value:.4f}" if value < 10 else f"{value:.2f}" if value < 1000 else f"{value:,.0f}"


def _with_interval(values: Mapping[str, Any], metric: str) -> str:
    low, high = values[f"{metric}_ci"]
    return f"{values[metric]:.4f} [{low:.4f}, {high:.4f}]"


def _over_runs(results: Sequence[Mapping[str, Any]], metric: str) -> str:
    """Return one run's value with its interval, or the mean of several and their standard deviation."""
    if len(results) == 1:
        return _with_interval(results[0], metric)
    values = [result[metric] for result in results]
    return f"{statistics.mean(values):.4f} ± {statistics.stdev(values):.4f}"


def _in_words(found: PairedDifference, name: str, other: str) -> str:
    """Return a sentence that says whether the first is better."""
    low, high = found.interval
    if found.p_value >= SIGNIFICANT:
        return f"no difference is shown: {found.difference:+.4f} [{low:+.4f}, {high:+.4f}], p={found.p_value:.4f}."
    verdict, sign = ("better", 1) if found.difference > 0 else ("worse", -1)
    low, high = sorted((sign * low, sign * high))
    by = f"{abs(found.difference):.4f} [{low:.4f}, {high:.4f}]"
    return f"{name} is {verdict} than {other} by {by}, p={found.p_value:.4f}."
