"""The plots of a run."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from seqrec.extras import require
from seqrec.folders import written_whole_file
from seqrec.tables import cuts_of

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

MODEL_COLOUR, BASELINE_COLOUR, TEXT_COLOUR, GRID_COLOUR = "#2563eb", "#a3adbb", "#1f2937", "#e5e7eb"


def plot_comparison(results: Mapping[str, Mapping[str, Any]], path: str | Path) -> None:
    """Draw every ranker's NDCG with seen items excluded and its interval as a bar into a PNG.

    Args:
        results: What `evaluate` returned, by the ranker's name, the model first.
        path: The PNG to write.

    Raises:
        ImportError: matplotlib is not installed; the message holds the command that installs it.
    """
    metric = f"ndcg@{cuts_of(results)[0]}"
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
    with written_whole_file(path) as temporary:
        figure.savefig(temporary, format="png")
