"""What a run shows: metrics.json, the table in the terminal, the plots."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from seqrec.extras import require
from seqrec.folders import read_json, write_json

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

KEYS = ("dataset", "split", "num_items", "num_users", "protocol", "validation", "test", "baselines", "train")
MODEL_COLOUR, BASELINE_COLOUR, TEXT_COLOUR, GRID_COLOUR = "#2563eb", "#a3adbb", "#1f2937", "#e5e7eb"


def update_metrics(path: str | Path, **parts: Any) -> dict[str, Any]:  # noqa: ANN401 (JSON values)
    """Put parts into metrics.json beside those already there, in one step, and return the whole.

    The file is written under a temporary name and renamed, so that a reader never sees half of it.

    Args:
        path: The file.
        parts: Any of the keys of metrics.json; a given one replaces the old one.

    Raises:
        ValueError: A key that metrics.json does not have, or a number that JSON cannot hold (NaN).
    """
    unknown = sorted(set(parts) - set(KEYS))
    if unknown:
        raise ValueError(f"metrics.json has no {unknown}; its keys are {list(KEYS)}. Use one of them.")
    merged = read_json(path) | parts
    metrics = {key: merged[key] for key in sorted(merged, key=lambda key: (KEYS + (key,)).index(key))}
    write_json(path, metrics)
    return metrics


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
    first, *others = _cuts(results)
    names = [f"ndcg@{first}", f"hr@{first}", f"mrr@{first}", *(f"ndcg@{cut}" for cut in others)]
    header = ["ranker", names[0].upper(), "95 % interval", *(name.upper() for name in names[1:])]
    rows = [[*header, f"{names[0].upper()}, seen included"]]
    for ranker, result in results.items():
        values = result["exclude_seen"]
        low, high = values[f"{names[0]}_ci"]
        cells = [f"{values[names[0]]:.4f}", f"{low:.4f} - {high:.4f}", *(f"{values[name]:.4f}" for name in names[1:])]
        rows.append([ranker, *cells, f"{result['include_seen'][names[0]]:.4f}"])
    widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))]
    rows.insert(1, ["-" * width for width in widths])
    lines = [
        "  ".join([row[0].ljust(widths[0]), *(cell.rjust(w) for cell, w in zip(row[1:], widths[1:], strict=True))])
        for row in rows
    ]
    return "\n".join([*lines, _caption(results)])


def _cuts(results: Mapping[str, Mapping[str, Any]]) -> list[int]:
    """Return the cuts of the first result, ascending."""
    if not results:
        raise ValueError("There are no results to compare. Evaluate at least one ranker.")
    names = next(iter(results.values()))["exclude_seen"]
    return sorted(int(name.removeprefix("ndcg@")) for name in names if name.startswith("ndcg@") and name[5:].isdigit())


def _caption(results: Mapping[str, Mapping[str, Any]]) -> str:
    """Return the line under the table: how many users, which protocol, and targets nobody could rank."""
    result = next(iter(results.values()))
    caption = (
        f"{result['num_users']:,} users, full catalogue, seen items excluded where not said otherwise, "
        "ties count against the ranker"
    )
    unranked = result["exclude_seen"]["num_unranked"]
    return f"{caption}\n{unranked:,} targets are seen items or not in the catalogue: misses" if unranked else caption


def plot_comparison(results: Mapping[str, Mapping[str, Any]], path: str | Path) -> None:
    """Draw every ranker's NDCG with seen items excluded and its interval as a bar into a PNG.

    Args:
        results: What `evaluate` returned, by the ranker's name, the model first.
        path: The PNG to write.

    Raises:
        ImportError: matplotlib is not installed; the message holds the command that installs it.
    """
    metric = f"ndcg@{_cuts(results)[0]}"
    values = [result["exclude_seen"][metric] for result in results.values()]
    bounds = [result["exclude_seen"][f"{metric}_ci"] for result in results.values()]
    errors = [
        [max(0.0, value - low) for value, (low, _) in zip(values, bounds, strict=True)],
        [max(0.0, high - value) for value, (_, high) in zip(values, bounds, strict=True)],
    ]
    figure = _figure(height=1.5 + 0.55 * len(values))
    axes = figure.subplots()
    colours = [MODEL_COLOUR] + [BASELINE_COLOUR] * (len(values) - 1)
    style = {"ecolor": TEXT_COLOUR, "elinewidth": 1.2, "capsize": 3}
    axes.barh(list(results), values, xerr=errors, color=colours, height=0.62, error_kw=style)
    axes.invert_yaxis()
    axes.set_xlim(0, 1.16 * max(high for _, high in bounds) or 1)
    for row, (value, (_, high)) in enumerate(zip(values, bounds, strict=True)):
        axes.annotate(f"{value:.4f}", (high, row), xytext=(8, 0), textcoords="offset points", va="center_baseline")
    axes.set_xlabel("full catalogue, seen items excluded, 95 % interval over users")
    _tidy(axes, grid="x")
    axes.tick_params(axis="y", length=0)
    num_users = next(iter(results.values()))["num_users"]
    axes.set_title(f"{metric.upper()} of the next item, {num_users:,} users", loc="left", pad=12, weight="bold")
    _save(figure, path)


def plot_training(log_history: Sequence[Mapping[str, Any]], path: str | Path) -> None:
    """Draw the training loss and the validation NDCG over the epochs into a PNG.

    Args:
        log_history: What `transformers.Trainer` logged (`trainer.state.log_history`).
        path: The PNG to write.

    Raises:
        ValueError: Nothing was logged that could be drawn.
        ImportError: matplotlib is not installed; the message holds the command that installs it.
    """
    metric = next((key for entry in log_history for key in entry if key.startswith("eval_ndcg@")), None)
    wanted = [("loss", "Training loss", BASELINE_COLOUR)]
    if metric:
        wanted.append((metric, f"Validation {metric.removeprefix('eval_').upper()}", MODEL_COLOUR))
    curves = [(label, colour, _curve(log_history, key)) for key, label, colour in wanted]
    curves = [curve for curve in curves if curve[2][0]]
    if not curves:
        raise ValueError(
            "The log holds neither a loss nor an eval_ndcg, so there is nothing to draw. Log while training."
        )
    figure = _figure(height=1.2 + 2.0 * len(curves))
    for axes, (label, colour, (epochs, values)) in zip(
        figure.subplots(len(curves), sharex=True, squeeze=False)[:, 0], curves, strict=True
    ):
        axes.plot(epochs, values, color=colour, linewidth=1.8, marker="o" if len(values) < 40 else "", markersize=4)
        axes.set_title(label, loc="left", weight="bold")
        axes.margins(x=0.03, y=0.15)
        _tidy(axes, grid="y")
        if label.startswith("Validation"):
            _mark_best(axes, epochs, values)
    axes.set_xlabel("epoch")
    _save(figure, path)


def _curve(log_history: Sequence[Mapping[str, Any]], key: str) -> tuple[list[float], list[float]]:
    """Return the epochs at which a value was logged, and the values.

    >>> _curve([{"epoch": 1.0, "loss": 7.1}, {"epoch": 1.0, "eval_ndcg@10": 0.1}, {"epoch": 2.0, "loss": 6.5}], "loss")
    ([1.0, 2.0], [7.1, 6.5])
    """
    points = [(float(entry["epoch"]), float(entry[key])) for entry in log_history if key in entry and "epoch" in entry]
    return [epoch for epoch, _ in points], [value for _, value in points]


def _mark_best(axes: Axes, epochs: Sequence[float], values: Sequence[float]) -> None:
    """Ring the highest point and write its value beside it."""
    best = max(range(len(values)), key=values.__getitem__)
    axes.plot(epochs[best], values[best], "o", markersize=9, markerfacecolor="white", markeredgecolor=MODEL_COLOUR)
    axes.annotate(
        f"{values[best]:.4f}", (epochs[best], values[best]), xytext=(0, 9), textcoords="offset points", ha="center"
    )


def _figure(height: float) -> Figure:
    """Return an empty figure that belongs to no window system."""
    figure = require("matplotlib.figure", "plots").Figure(figsize=(8, height), dpi=150)
    figure.set_layout_engine("constrained", w_pad=0.15, h_pad=0.12)
    return figure


def _tidy(axes: Axes, grid: Literal["x", "y"]) -> None:
    """Leave of the frame only what is read."""
    axes.spines[["top", "right", "left" if grid == "x" else "bottom"]].set_visible(False)
    axes.grid(axis=grid, color=GRID_COLOUR)
    axes.set_axisbelow(True)


def _save(figure: Figure, path: str | Path) -> None:
    """Write the PNG, making its folder."""
    Path(path).parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path)


def trainer_log(run: str | Path) -> list[dict[str, Any]]:
    """Return the log history of the run in a run folder, empty without one."""
    return list(read_json(Path(run) / "logs" / "trainer_state.json").get("log_history", []))
