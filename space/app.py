"""The demo: pick what somebody has taken, see what comes next and why. Runs on a CPU.

    MODEL_ID=runs/demo/model python space/app.py

`MODEL_ID` is a model folder or a Hub id. With `mcp_server` the three functions below are tools for language models.
"""

import importlib.util
import os
import subprocess
import sys
import threading
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlencode

HERE = Path(__file__).parent
if importlib.util.find_spec("seqrec") is None:  # on a Space, whose requirements.txt cannot name a file beside it
    wheels = map(str, HERE.glob("seqrec-*.whl"))
    subprocess.run([sys.executable, "-m", "pip", "install", "--quiet", "--no-deps", *wheels], check=True)

import gradio as gr  # noqa: E402
import page  # noqa: E402
import torch  # noqa: E402
from drawing import draw_map  # noqa: E402
from shop import LONGEST_HISTORY, Shop  # noqa: E402

from seqrec import Recommender  # noqa: E402

torch.set_num_threads(1)  # each person's answer has a thread of its own
NAMED = (HERE / "model.txt").read_text().strip() if (HERE / "model.txt").is_file() else HERE.parent / "runs/demo/model"
try:
    SHOP = Shop(Recommender.from_pretrained(os.environ.get("MODEL_ID", NAMED)))
except ValueError as error:
    sys.exit(f"error: {error} MODEL_ID says which model is shown; `make demo` trains one.")
FEWEST, MOST, USUAL = 5, 30, 10
WHOLE_PAGE = """<meta name="viewport" content="width=device-width, initial-scale=1">
<style>
  .gradio-container { max-width: 1180px !important; min-width: 0 !important; width: 100%; margin: 0 auto !important; }
  @media (max-width: 760px) { .gradio-container > .main { padding: 12px !important; } }
</style>"""
"""What style.css cannot say, as gradio scopes it below its own page."""
WRITE_LINK = """(query) => {
  const here = new URL(window.location.href);
  here.search = query;
  window.history.replaceState(null, '', here);
}"""
COPY_LINK = "() => { navigator.clipboard?.writeText(window.location.href); }"


def recommend(history: list[str], k: int = USUAL) -> list[dict[str, Any]]:
    """Rank the items that somebody takes next.

    Args:
        history: What somebody has taken, oldest first: item ids or titles. May be empty.
        k: How many items are wanted, at most 30.

    Returns:
        Items with `item_id`, `title`, `score` and `because_of`: the events of the history that speak most for each.
    """
    return SHOP.recommend(named(history), min(max(1, int(k)), MOST))


def similar_items(item: str, k: int = USUAL) -> list[dict[str, Any]]:
    """Find the items that people take as they take this one.

    Args:
        item: An item id or a title.
        k: How many items are wanted, at most 30.

    Returns:
        Items with `item_id`, `title` and `score`, the cosine of the learned vectors.
    """
    return SHOP.similar(named([item])[0], min(max(1, int(k)), MOST))


def explain(history: list[str], item: str) -> list[dict[str, Any]]:
    """Say what in a history speaks for an item and what against it.

    Args:
        history: What somebody has taken, oldest first: item ids or titles.
        item: The item that is asked about: an item id or a title.

    Returns:
        The newest events with `item_id`, `title` and `contribution`: how far the item's score falls without the event.
    """
    events = SHOP.recommender.explain(named(history), named([item]))[0]
    return [{**event, "title": SHOP.shown(event["item_id"]).title} for event in events]


def named(items: list[str]) -> list[str]:
    """Return the ids of items that are called by an id or a title, the newest of too many."""
    try:
        return SHOP.recommender.find_items(items[-LONGEST_HISTORY:])
    except ValueError as error:
        raise gr.Error(str(error), print_exception=False) from error


def search(query: str) -> str:
    """Show what a few letters find."""
    return page.found_items(SHOP.search(query or ""), query or "")


def changed(history: list[str], k: int, event: gr.EventData) -> tuple[Any, ...]:
    """Do what a button of a list says, and empty the search."""
    act, item, place = event.act, event.id, getattr(event, "place", None)
    history = list(history)
    if act == "add" and item not in history[-1:]:
        history = SHOP.known([*history, item])
    elif (
        act in ("up", "down", "remove") and place is not None and 0 <= place < len(history) and history[place] == item
    ):
        history.pop(place)
        if act != "remove":
            history.insert(max(0, place + (1 if act == "down" else -1)), item)
    return *shown(history, k), "", ""


def entered(history: list[str], k: int, query: str) -> tuple[Any, ...]:
    """Add what a search finds first, as Enter asks."""
    best = SHOP.search(query or "", 1)
    if not best:
        return *shown(history, k), query, page.found_items([], query or "")
    return *shown(SHOP.known([*history, best[0].item_id]), k), "", ""


def acted_on_card(history: list[str], k: int, near: str, event: gr.EventData) -> tuple[Any, ...]:
    """Add a recommended item, or show what is like it."""
    if event.act == "near":
        return *shown(history, k), event.id, gr.Tabs(selected="alike")
    return *shown(SHOP.known([*history, event.id]), k), near, gr.Tabs()


def asked(event: gr.EventData) -> tuple[str, str, str]:
    """Ask about a found item, and empty the search."""
    return event.id, "", ""


def shown(history: list[str], k: int) -> tuple[list[str], str, str, str, str]:
    """Return a history and what shows it: its list, what comes next, both as the query of a link, and its length."""
    rows = SHOP.recommend(history, int(k))
    count = f"{len(history)} of at most {LONGEST_HISTORY}" if history else ""
    query = urlencode({"h": history, "k": int(k)}, doseq=True) if history else ""
    return history, page.history_list(SHOP, history), page.recommended_list(SHOP, rows, bool(history)), query, count


def opened(request: gr.Request) -> tuple[Any, ...]:
    """Take history and length of the list from the link that the page was opened by."""
    asked = parse_qs(str(request.query_params))
    wanted = asked.get("k", [str(USUAL)])[0]
    k = min(max(FEWEST, int(wanted)), MOST) if wanted.isdecimal() and len(wanted) < 9 else USUAL
    return *shown(SHOP.known(asked.get("h", [])), k), k


def uploaded(path: str, history: list[str], k: int) -> tuple[Any, ...]:
    """Take a history from a file."""
    try:
        found, missing = SHOP.read_csv(path)
    except (ValueError, OSError) as error:
        return *shown(history, k), page.problem(str(error))
    finally:
        Path(path).unlink(missing_ok=True)  # nothing that people enter is kept
    if not found:
        said = "No line of the file names an item of this catalogue by its id or its whole title."
        return *shown(history, k), page.problem(said)
    some = ", ".join(missing[:3]) + (" …" if len(missing) > 3 else "")
    said = f"{len(missing)} of {len(found) + len(missing)} were not found: {some}"
    return *shown(found, k), page.problem(said) if missing else ""


def nearest(item: str) -> str:
    """Show what is like an item."""
    return page.similar_list(SHOP, item, SHOP.similar(item, USUAL)) if item else ""


def imagined(history: list[str], *cells: str) -> str:
    """Show where a made-up item would stand."""
    try:
        return page.placed(SHOP.place(dict(zip(SHOP.fields, cells, strict=True)), history))
    except (ValueError, OSError) as error:
        return page.problem(str(error))


def drawn(history: list[str]) -> Any:
    """Draw the map with the history and what is recommended after it."""
    return draw_map(SHOP, history, [row["item_id"] for row in SHOP.recommend(history, USUAL)])


def examples() -> list[tuple[str, list[str]]]:
    """Return histories to begin with: one item that many took of each of the largest kinds, and two like it."""
    column, kinds = SHOP.groups
    frequent = sorted({kind for kind in kinds if kind not in ("", "other")}, key=lambda kind: -kinds.count(kind))
    starts = [(kind, kinds.index(kind)) for kind in frequent[:4]] if column else [("A first try", 0)]
    return [
        (name, [SHOP.item_ids[row], *(near["item_id"] for near in SHOP.similar(SHOP.item_ids[row], 2))])
        for name, row in starts
    ]


def about() -> str:
    """Return what the model is and how good, in a few lines of Markdown."""
    metrics, config = SHOP.recommender.folder.metrics, SHOP.recommender.model.config
    lines = [
        f"A sequential recommender of {len(SHOP.item_ids):,} items, trained on `{metrics.get('dataset', 'a table')}`. "
        "It reads a history as a sentence of items and scores every item of the catalogue as the next one.",
        f"It knows items by {'who took them' if config.use_item_ids else ''}"
        f"{' and by ' if config.use_item_ids and config.content_sizes else ''}"
        f"{', '.join(config.content_sizes or {}) and 'what is said of them'}.",
    ]
    test, popular = metrics.get("test", {}), metrics.get("baselines", {}).get("popularity", {})
    if "hr@10" in test.get("exclude_seen", {}):
        hit = test["exclude_seen"]["hr@10"]
        beside = f" (what most people took: {popular['exclude_seen']['hr@10']:.1%})" if popular else ""
        lines.append(f"For {hit:.1%} of people the next item was among its first ten{beside}.")
    lines.append(
        "A reason is measured, not guessed: an event is left out, and the score falls by so much. The page keeps "
        "nothing that you enter; your list stands in its address. It says what people like these took next, not what "
        "is good for anybody."
    )
    return "\n\n".join(lines)


def build() -> gr.Blocks:
    """Return the page."""
    with gr.Blocks(title="What comes next") as demo:
        history, asked_about = gr.State([]), gr.Textbox(visible=False)
        link = gr.Textbox(visible=False)
        gr.HTML(
            "<header><h1>What comes next?</h1><p>Tell it what you took. It ranks the rest, and says why.</p></header>"
        )
        with gr.Row(elem_id="desk"):
            with gr.Column(scale=2, min_width=0, elem_id="left"):
                query = gr.Textbox(
                    label="Search",
                    placeholder="A few letters of a title",
                    elem_id="search",
                    max_lines=1,
                    autofocus=True,
                )
                found = gr.HTML(js_on_load=page.ON_CLICK, elem_id="found")
                with gr.Row(elem_id="head-of-history"):
                    gr.HTML("<h2>Your history</h2>")
                    count = gr.HTML(elem_id="count")
                picked = gr.HTML(page.history_list(SHOP, []), js_on_load=page.ON_CLICK, elem_id="history")
                told = gr.HTML(elem_id="told")
                with gr.Row(elem_id="tools"):
                    clear = gr.Button("Clear", size="sm", elem_id="clear")
                    upload = gr.UploadButton("Upload a CSV", file_types=[".csv", ".txt"], size="sm", elem_id="upload")
                    copy = gr.Button("Copy link", size="sm", elem_id="copy")
                gr.HTML("<h2>Examples</h2>")
                with gr.Row(elem_id="examples"):
                    first_tries = [(gr.Button(name, size="sm"), items) for name, items in examples()]
            with gr.Column(scale=5, min_width=0, elem_id="right"), gr.Tabs(elem_id="tabs") as tabs:
                with gr.Tab("Next", id="next"):
                    recommended = gr.HTML(js_on_load=page.ON_CLICK, elem_id="recommended")
                    length = gr.Slider(FEWEST, MOST, USUAL, step=1, label="How many", elem_id="length")
                with gr.Tab("Alike", id="alike"):
                    near_query = gr.Textbox(
                        label="Search", placeholder="A few letters of a title", max_lines=1, elem_id="near-search"
                    )
                    near_found = gr.HTML(js_on_load=page.ON_CLICK)
                    alike = gr.HTML(
                        "<p class='quiet'>Search an item, or press Alike beside a recommended one.</p>",
                        elem_id="alike",
                    )
                if SHOP.fields:
                    with gr.Tab("Made up", id="made-up"):
                        gr.HTML("<p class='lead'>An item that nobody has taken yet. Where would it stand?</p>")
                        cells = [gr.Textbox(label=name.capitalize(), max_lines=2) for name in SHOP.fields]
                        ask = gr.Button("Where does it stand?", variant="primary", elem_id="ask")
                        stands = gr.HTML(elem_id="stands")
                        ask.click(imagined, [history, *cells], stands, queue=False, api_visibility="private")
                with gr.Tab("Map", id="map") as map_tab:
                    plot = gr.Plot(show_label=False, elem_id="map")
                with gr.Tab("About", id="about"):
                    gr.Markdown(about())
        quick: dict[str, Any] = {"queue": False, "show_progress": "hidden", "api_visibility": "private"}
        # change, as Gradio's input comes with a key press alone: not by a paste, Backspace or a phone's keyboard
        query.change(search, query, found, trigger_mode="always_last", **quick)
        near_query.change(search, near_query, near_found, trigger_mode="always_last", **quick)
        near_found.click(asked, None, [asked_about, near_query, near_found], **quick)
        asked_about.change(nearest, asked_about, alike, **quick)
        copy.click(None, js=COPY_LINK)
        link.change(None, link, js=WRITE_LINK)
        map_tab.select(drawn, history, plot, queue=False, api_visibility="private")
        now, view = [history, length], [history, picked, recommended, link, count]
        query.submit(entered, [*now, query], [*view, query, found], **quick)
        found.click(changed, now, [*view, query, found], **quick)
        picked.click(changed, now, [*view, query, found], **quick)
        recommended.click(acted_on_card, [*now, asked_about], [*view, asked_about, tabs], **quick)
        clear.click(lambda k: (*shown([], k), ""), length, [*view, told], **quick)
        upload.upload(uploaded, [upload, *now], [*view, told], **quick)
        length.release(shown, now, view, **quick)
        for button, items in first_tries:
            button.click(lambda k, items=items: shown(items, k), length, view, **quick)
        demo.load(opened, None, [*view, length], **quick)
        for tool in (recommend, similar_items, explain):
            gr.api(tool, api_name=tool.__name__)
    return demo


def main() -> None:
    """Serve the page; the map is prepared meanwhile."""
    SHOP.recommend([], USUAL)  # makes the vectors of all items, which would have the first person wait
    threading.Thread(target=lambda: SHOP.map, daemon=True).start()
    theme = gr.themes.Base(
        primary_hue="teal", neutral_hue="stone", radius_size="md", font=["ui-sans-serif", "system-ui", "sans-serif"]
    ).set(body_background_fill="#faf8f4", body_background_fill_dark="#16130f")
    build().launch(
        theme=theme,
        css_paths=HERE / "style.css",
        head=WHOLE_PAGE,
        mcp_server=True,
        footer_links=["api"],
        max_file_size="2mb",
        run_history=False,
    )


if __name__ == "__main__":
    main()
