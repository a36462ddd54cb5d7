"""The map of a catalogue: who is taken alike lies near each other."""

from collections.abc import Sequence
from typing import Any

import plotly.graph_objects as go
from shop import Shop

COLOURS = (
    *("#0f766e", "#c2410c", "#4338ca", "#a16207", "#be185d", "#15803d", "#7c3aed", "#0369a1"),
    *("#b91c1c", "#4d7c0f", "#86198f", "#57534e"),
)
MARKED = (("recommended", "star", "#ea580c", 15), ("history", "circle", "#1c1917", 11))  # the last one lies on top


def draw_map(shop: Shop, history: Sequence[str], recommended: Sequence[str]) -> Any:
    """Return a figure of the items that most people took, with a history and recommendations marked."""
    rows, places = shop.map
    column, kinds = shop.groups
    figure = go.Figure()
    of_row = {int(row): place for place, row in enumerate(rows)}
    shown_kinds = sorted({kinds[row] for row in rows}, key=lambda kind: (kind == "other", kind))
    for number, kind in enumerate(shown_kinds):
        chosen = [place for place, row in enumerate(rows) if kinds[row] == kind]
        figure.add_trace(
            go.Scattergl(
                x=places[chosen, 0],
                y=places[chosen, 1],
                mode="markers",
                name=kind or "items",
                text=[shop.shown(shop.item_ids[rows[place]]).title for place in chosen],
                hoverinfo="text",
                marker={"size": 5, "opacity": 0.65, "color": COLOURS[number % len(COLOURS)]},
            )
        )
    place_of = {item: of_row[row] for row, item in enumerate(shop.item_ids) if row in of_row}
    for (name, symbol, colour, size), items in zip(MARKED, (recommended, history), strict=True):
        there = [item for item in dict.fromkeys(items) if item in place_of]
        figure.add_trace(
            go.Scattergl(
                x=[places[place_of[item], 0] for item in there],
                y=[places[place_of[item], 1] for item in there],
                mode="markers",
                name=name,
                text=[shop.shown(item).title for item in there],
                hoverinfo="text",
                marker={"size": size, "symbol": symbol, "color": colour, "line": {"width": 1, "color": "white"}},
            )
        )
    figure.update_layout(
        height=560,
        margin={"l": 0, "r": 0, "t": 30, "b": 0},
        legend={"orientation": "h", "y": -0.02, "title": column},
        plot_bgcolor="rgba(0,0,0,0)",
        paper_bgcolor="rgba(0,0,0,0)",
        hoverlabel={"font": {"size": 13}},
        title={"text": f"The {len(rows):,} items that most people took; near is alike", "font": {"size": 14}},
    )
    figure.update_xaxes(visible=False)
    figure.update_yaxes(visible=False)
    return figure
