"""The model card: what a run knows about itself, written for somebody who knows nothing of it."""

import importlib.metadata
import json
import logging
import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from datasets import Dataset
from huggingface_hub import EvalResult, ModelCard, ModelCardData

from seqrec.data.catalogue import OWN_COLUMNS
from seqrec.data.named import NAMED_DATASETS
from seqrec.model import SeqRecConfig
from seqrec.model.configuration_seqrec import ATTRIBUTES
from seqrec.tables import cohorts_table, cuts_of, lists_table, runs_table

TEMPLATE = "model_card.md"
PLACES = (Path(__file__).parent, Path(__file__).parent.parent)  # in the wheel, and in a clone
HERE = "path/to/this/folder"
TOLD_BY = {"text": "their texts", "image": "their pictures", "audio": "their sound", ATTRIBUTES: "their attributes"}
SPLITS = {
    "leave_one_out": "the last item of each user is the test target, the one before it is for validation",
    "global_time": "everything after one time is for validation, after a later one for test",
    "none": "nothing was held out",
}
COUNTS = ("num_users", "num_items", "num_interactions")
SEEN = {
    "exclude_seen": "seen items excluded",
    "include_seen": "seen items included",
    "warm": "targets that training has",
    "cold": "targets new to training",
}
METRICS = {"ndcg": "NDCG", "hr": "HR", "mrr": "MRR"}
PAPERS = {
    "causal": """@inproceedings{kang2018sasrec,
  title = {Self-Attentive Sequential Recommendation},
  author = {Kang, Wang-Cheng and McAuley, Julian},
  booktitle = {ICDM},
  year = {2018}
}""",
    "bidirectional": """@inproceedings{sun2019bert4rec,
  title = {BERT4Rec: Sequential Recommendation with Bidirectional Encoder Representations from Transformer},
  author = {Sun, Fei and Liu, Jun and Wu, Jian and Pei, Changhua and Lin, Xiao and Ou, Wenwu and Jiang, Peng},
  booktitle = {CIKM},
  year = {2019}
}""",
}
"""What a model of each attention goes back to."""
NUMBERS = {2: "Two", 3: "Three", 4: "Four"}
MARK = (
    "<!-- Written by seqrec from the run, and again at every save. Take this line out to keep a text of your own. -->"
)
VERSIONS = ("torch", "transformers", "datasets")
HUB_ID = re.compile(r"[\w.-]+/[\w.-]+")


logger = logging.getLogger(__name__)


def is_generated(text: str) -> bool:
    """Whether a card was written here, and by nobody since."""
    return MARK in text


def versions() -> dict[str, str]:
    """Return the versions of what a model is trained with."""
    return {name: importlib.metadata.version(name) for name in VERSIONS}


def model_card(
    config: SeqRecConfig,
    items: Dataset,
    metrics: Mapping[str, Any],
    preparation: Mapping[str, Any],
    repo_id: str | None = None,
) -> str:
    """Return the README.md of a model folder.

    Args:
        config: The shape of the model.
        items: Its catalogue.
        metrics: Content of `metrics.json`.
        preparation: Content of `preparation.json`.
        repo_id: Where it will be on the Hub; a placeholder by default.

    Records that seqrec did not write so are left out, with a warning: a card never keeps a model from being saved.
    """
    try:
        return _filled(config, items, metrics, preparation, repo_id)
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        logger.warning(
            "The card says nothing of data and results: the records are not as seqrec writes them (%r).", error
        )
        return _filled(config, items, {}, {}, repo_id)


def _filled(
    config: SeqRecConfig,
    items: Dataset,
    metrics: Mapping[str, Any],
    preparation: Mapping[str, Any],
    repo_id: str | None,
) -> str:
    """The same, of records as seqrec writes them."""
    template = next(place / TEMPLATE for place in PLACES if (place / TEMPLATE).is_file())
    name = (repo_id or "").rpartition("/")[2] or f"Next items, {_source(preparation)}"
    card = ModelCard.from_template(
        _card_data(config, metrics, preparation, name),
        template_path=str(template),
        mark=MARK,
        name=name,
        repo_id=repo_id or HERE,
        num_items=f"{len(items):,}",
        width=config.score_size,
        history=_history(items),
        content=" and ".join(TOLD_BY.get(modality, modality) for modality in config.content_sizes or {}),
        architecture=_architecture(config),
        event=_event(preparation),
        shown="".join(f", their {plain(name)}" for name in items.column_names if name not in OWN_COLUMNS),
        training=cost(metrics),
        citation=PAPERS[config.attention],
        **_quality(metrics),
        **_data(metrics, preparation),
        new_items=_new_items(config),
        elsewhere=_elsewhere(config),
    )
    return str(card.content)


def _card_data(
    config: SeqRecConfig, metrics: Mapping[str, Any], preparation: Mapping[str, Any], name: str
) -> ModelCardData:
    """The metadata: what the Hub sorts and compares models by."""
    encoders = [origin.get("encoder", "") for origin in (config.content_encoders or {}).values()]
    source = _source(preparation)
    return ModelCardData(
        library_name="seqrec",
        tags=["recommendation", "sequential-recommendation", "next-item", *_kinds(config), "custom_code"],
        datasets=[source] if HUB_ID.fullmatch(source) else None,
        base_model=[encoder for encoder in encoders if "/" in encoder] or None,
        model_name=name,
        eval_results=list(_eval_results(metrics, preparation)) or None,
    )


def _kinds(config: SeqRecConfig) -> list[str]:
    """What such models are looked for by."""
    if config.attention == "causal":
        return ["sasrec"]
    return ["bert4rec"] if config.appends_mask else ["bidirectional"]


def _eval_results(metrics: Mapping[str, Any], preparation: Mapping[str, Any]) -> Iterator[EvalResult]:
    """Every value on test, with the protocol that it depends on."""
    test, source = metrics.get("test", {}), _source(preparation)
    settings = preparation.get("settings", {})
    for part in ("exclude_seen", "include_seen", "warm", "cold"):
        values = test.get(part, {})
        args = {
            "split": metrics.get("split"),
            "candidates": "full catalogue",
            "num_items": metrics.get("num_items"),
            "num_users": values.get("num_users", test.get("num_users")),
            "min_interactions": settings.get("min_interactions"),
            "seen_items": "included" if part == "include_seen" else "excluded",
            "targets": part if part in ("warm", "cold") else "all",
        }
        for key, value in values.items():
            metric, _, cut = key.partition("@")
            if metric in METRICS and cut.isdigit():
                yield EvalResult(
                    task_type="sequential-recommendation",
                    task_name="Next item",
                    dataset_type=source,
                    dataset_name=f"{source}, {SEEN[part]}",
                    dataset_config=part,  # by which the client tells them apart, not by the protocol
                    dataset_split="test",
                    dataset_args=args,
                    metric_type=f"{metric}_at_{cut}",
                    metric_name=f"{METRICS[metric]}@{cut}, {SEEN[part]}",
                    metric_value=round(value, 5),
                    metric_args={"interval_95": [round(end, 5) for end in values[f"{key}_ci"]]},
                )


def _source(preparation: Mapping[str, Any]) -> str:
    return plain(str(preparation.get("source", {}).get("name", "a table")))


def plain(text: str) -> str:
    r"""Keep a name of the user's from being read as Markdown.

    >>> plain("price `net`\n# no heading")
    "price 'net' # no heading"
    """
    return " ".join(text.replace("`", "'").replace("|", "/").replace("<", "(").replace(">", ")").split())


def _history(items: Dataset) -> str:
    """Two items that many took, as Python."""
    return json.dumps(items.select(range(min(2, len(items))))["item_id"][:], ensure_ascii=False)


def _architecture(config: SeqRecConfig) -> str:
    """One sentence about the network."""
    kind = "sees the past only (SASRec)"
    if config.attention == "bidirectional":
        kind = "looks both ways"
        kind += " (BERT4Rec)" if config.appends_mask else " and answers from the state of the newest item"
    encoders = (
        f"{NUMBERS.get(config.ensemble_size, config.ensemble_size)} encoders, each"
        if config.ensemble_size > 1
        else "One encoder"
    )
    sentence = (
        f"{encoders} a Transformer of {config.num_hidden_layers} blocks, {config.hidden_size} wide, that {kind}."
    )
    if config.transition_size:
        sentence += " What follows what in training is counted, too, and added to the scores."
    return sentence


def _event(preparation: Mapping[str, Any]) -> str:
    """What one interaction of the training data is."""
    dataset, settings = NAMED_DATASETS.get(_source(preparation)), preparation.get("settings", {})
    if dataset:
        sentence = dataset.event
    else:
        sentence = (
            f"A row of `{_source(preparation)}`: one user took one item. Whether that was a view, a purchase or a "
            "rating, the table does not say, and the model cannot know."
        )
    if settings.get("min_value") is not None:
        sentence += f" Rows with a value below {settings['min_value']:g} do not count."
    return sentence


def _quality(metrics: Mapping[str, Any]) -> dict[str, str]:
    """The tables of test results, or why there are none."""
    test = metrics.get("test")
    if not test:
        found = metrics.get("validation", {}).get("exclude_seen", {})
        value = next((key for key in found if key.startswith("ndcg@") and not key.endswith("_ci")), None)
        why = f"; on validation its {value.upper()} was {found[value]:.4f}" if value else ""
        return {"results": "", "why_unmeasured": why, "bias": ""}
    rankers = {"this model": test} | metrics.get("baselines", {})
    popularity = f"popularity@{cuts_of(rankers)[0]}"
    bias = ""
    if popularity in test.get("lists", {}):
        bias = f": an item in its lists was taken {test['lists'][popularity]:,.0f} times in training, in the mean"
    return {
        "protocol": (
            f"{test['num_users']:,} users, one target each; all {metrics.get('num_items', 0):,} items are ranked, "
            "without the seen ones where not said otherwise. Ties count against a ranker. In brackets: 95 % intervals "
            "over users."
        ),
        "results": runs_table({name: [result] for name, result in rankers.items()}),
        "cohorts": f"```text\n{cohorts_table(rankers)}\n```" if "cohorts" in test else "",
        "lists": f"```text\n{lists_table(rankers)}\n```" if "lists" in test else "",
        "bias": bias,
    }


def _data(metrics: Mapping[str, Any], preparation: Mapping[str, Any]) -> dict[str, str]:
    """What it was trained on, and what was dropped on the way."""
    split = SPLITS.get(metrics.get("split", ""), "what was held out is not recorded")
    order = "time" if "timestamp" in preparation.get("order", []) else "the rows of the table"
    hashed = preparation.get("source", {}).get("sha256", "not recorded")
    sentence = f"`{_source(preparation)}` (sha256 of its interactions: {hashed}), in the order of {order}; {split}."
    dataset = NAMED_DATASETS.get(_source(preparation))
    if dataset:
        sentence += f" {dataset.licence}"
    rows = ["| step | users | items | interactions |", "|---|---:|---:|---:|"]
    for step in preparation.get("steps", []):
        counts = [f"{step['before'][name]:,} to {step['after'][name]:,}" for name in COUNTS]
        rows.append(f"| {step['name']} | {' | '.join(counts)} |")
    left = [f"{preparation[name]:,}" for name in COUNTS if name in preparation]
    rows.append(f"| **left** | {' | '.join(left)} |")
    return {"data": sentence, "steps": "\n".join(rows)}


def _new_items(config: SeqRecConfig) -> str:
    """What it does with items that training never saw."""
    if not config.content_sizes:
        return "It cannot rank an item that nobody took in training: it knows items by their ids alone."
    compared = config.use_item_ids and set(config.content_sizes) != {ATTRIBUTES}
    where = "where items stand whose content is nearest" if compared else "where its content says"
    return f"A new item stands {where}; how well that works depends on the content."


def _elsewhere(config: SeqRecConfig) -> str:
    """What it is worth for other data."""
    if config.use_item_ids:
        return "Another shop, language or year needs its own training."
    return "It ranks the catalogue of another shop, too (`set_catalogue`), but has not learned from its people."


def cost(metrics: Mapping[str, Any]) -> str:
    """Return what training cost, and with what, as a sentence."""
    of_run = metrics.get("train", {})
    parts = [f"{of_run['parameters']:,} learned numbers" if "parameters" in of_run else ""]
    if "seconds" in of_run:
        where = of_run.get("device", "what was there")
        parts.append(f"{of_run['epochs']:g} epochs in {of_run['seconds'] / 60:.1f} minutes on {where}")
    if "peak_memory_mb" in of_run:
        parts.append(f"{of_run['peak_memory_mb']:,} MB at the peak")
    parts.append(f"seed {of_run['seed']}" if "seed" in of_run else "")
    parts += [f"{name} {version}" for name, version in of_run.get("versions", {}).items()]
    return f"{', '.join(part for part in parts if part) or 'Not recorded'}. The energy it took was not measured."
