"""The demo's own pieces of HTML: text of a catalogue is always escaped."""

from collections.abc import Mapping, Sequence
from html import escape
from typing import Any

from shop import Shop, Shown

ON_CLICK = """
element.addEventListener('click', (event) => {
  const button = event.target.closest('button[data-act]');
  if (button) trigger('click', {act: button.dataset.act, id: button.dataset.id, place: Number(button.dataset.place)});
});
"""
"""Lets buttons inside a piece of HTML speak to Python: what they do, with which item, at which place."""


def found_items(items: Sequence[Shown], query: str) -> str:
    """Return what a search found, each item a button that adds it."""
    if not query.strip():
        return ""
    if not items:
        return f'<p class="quiet" role="status">Nothing is called “{escape(query.strip()[:60])}” here.</p>'
    rows = "".join(
        f"<li><button type='button' data-act='add' data-id='{_attribute(item.item_id)}'>{_picture(item)}"
        f"<span><b>{escape(item.title)}</b><small>{escape(item.subtitle)}</small></span><i aria-hidden='true'>+</i>"
        "</button></li>"
        for item in items
    )
    return f"<ul class='found' aria-label='Found'>{rows}</ul>"


def history_list(shop: Shop, history: Sequence[str]) -> str:
    """Return the history, oldest first, with buttons that move and remove."""
    if not history:
        return "<p class='quiet'>Nothing yet. Search above, or take an example; an empty list is a question, too.</p>"
    rows = []
    for place, item in enumerate(history):
        shown = shop.shown(item)
        moves = (
            ("up", "↑", "Earlier", place > 0),
            ("down", "↓", "Later", place < len(history) - 1),
            ("remove", "×", "Remove", True),
        )
        buttons = "".join(
            f"<button type='button' data-act='{act}' data-id='{_attribute(item)}' data-place='{place}' "
            f"aria-label='{name}: {_attribute(shown.title)}'{'' if possible else ' disabled'}>{sign}</button>"
            for act, sign, name, possible in moves
        )
        rows.append(f"<li>{_picture(shown)}<span><b>{escape(shown.title)}</b></span><nav>{buttons}</nav></li>")
    return f"<ol class='history' aria-label='History, oldest first'>{''.join(rows)}</ol>"


def recommended_list(shop: Shop, rows: Sequence[Mapping[str, Any]], anything: bool) -> str:
    """Return the next items as cards: rank, title, how strong, because of what."""
    if not rows:
        return "<p class='quiet'>Every item is in the list already.</p>"
    scores = [row["score"] for row in rows]
    low, high = min(scores), max(scores)
    cards = []
    for rank, row in enumerate(rows, start=1):
        shown = shop.shown(row["item_id"])
        strength = 100 if high == low else 25 + 75 * (row["score"] - low) / (high - low)
        reasons = "".join(
            f"<li style='--share:{reason['share']:.2f}' title='{reason['share']:.0%} of what speaks for it'>"
            f"{escape(reason['title'])}</li>"
            for reason in row["because_of"]
        )
        because = f"<ul class='because' aria-label='Because of'>{reasons}</ul>" if reasons else ""
        identity = f"data-id='{_attribute(row['item_id'])}'"
        cards.append(
            f"<li class='card'><span class='rank'>{rank}</span>{_picture(shown)}<div><h3>{escape(shown.title)}</h3>"
            f"<p>{escape(shown.subtitle)}</p>{because}</div>"
            f"<div class='score'><meter min='0' max='100' value='{strength:.0f}' aria-label='Score'></meter>"
            f"<output>{row['score']:.2f}</output>"
            f"<button type='button' data-act='add' {identity} aria-label='Add to the history: {escape(shown.title)}'>"
            f"Add</button><button type='button' data-act='near' {identity} "
            f"aria-label='What is like it: {escape(shown.title)}'>Alike</button></div></li>"
        )
    lead = (
        "What people take next who took these, and which of them speaks for it"
        if anything
        else "What people start with"
    )
    return f"<p class='lead'>{lead}</p><ol class='cards'>{''.join(cards)}</ol>"


def similar_list(shop: Shop, item: str, rows: Sequence[Mapping[str, Any]]) -> str:
    """Return the neighbours of an item."""
    cards = "".join(
        f"<li>{_picture(shop.shown(row['item_id']))}<span><b>{escape(row['title'])}</b>"
        f"<small>{escape(shop.shown(row['item_id']).subtitle)}</small></span><output>{row['score']:.2f}</output></li>"
        for row in rows
    )
    return f"<p class='lead'>Nearest to <b>{escape(shop.shown(item).title)}</b></p><ol class='near'>{cards}</ol>"


def placed(answer: Mapping[str, Any]) -> str:
    """Return where a made-up item would stand."""
    share = answer["rank"] / answer["of"]
    neighbours = "".join(f"<li>{escape(row['title'])}</li>" for row in answer["neighbours"])
    return (
        f"<p class='place'>Place <b>{answer['rank']:,}</b> of {answer['of']:,} for this history</p>"
        f"<meter min='0' max='1' value='{1 - share:.3f}' aria-label='How far up'></meter>"
        f"<p class='lead'>The model takes it for something like</p><ol class='near plain'>{neighbours}</ol>"
    )


def problem(text: str) -> str:
    """Return a sentence about what did not work."""
    return f"<p class='problem' role='alert'>{escape(text)}</p>"


def _picture(item: Shown) -> str:
    return f"<img src='{_attribute(item.picture)}' alt='' loading='lazy'>" if item.picture else ""


def _attribute(text: str) -> str:
    return escape(text, quote=True)
