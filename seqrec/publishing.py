"""A model folder or an adapter onto the Hub: what of it goes out, and whether it may."""

import json
import logging
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, TypedDict, Unpack, cast

from huggingface_hub import HfApi, ModelCard, ModelCardData

from seqrec.adapter_card import THE_BASE, adapter_card
from seqrec.adapter_files import Adapter
from seqrec.card import HERE, HUB_ID, is_generated
from seqrec.data.named import NAMED_DATASETS
from seqrec.model.configuration_seqrec import ATTRIBUTES
from seqrec.model_folder import CARD_FILE, ModelFolder

PEFT_FORM = "# Model Card for Model ID"

logger = logging.getLogger(__name__)


class PushOptions(TypedDict, total=False):
    """How a model is published.

    Attributes:
        private: Whether a repository that is made is private; its owner's habit by default.
        commit_message: What the commit says.
        revision: The branch, made if there is none; main by default.
        create_pr: Ask for the change in a pull request.
        columns: What goes out of an item beside its id and its count in training; all display columns by default.
        have_rights: The caller may pass on the columns of a data set whose data others may not pass on.
        token: Of the Hub; the one that `hf auth login` stored by default.
    """

    private: bool | None
    commit_message: str | None
    revision: str | None
    create_pr: bool
    columns: Sequence[str] | None
    have_rights: bool
    token: str | None


def push_to_hub(folder: ModelFolder, repo_id: str, **options: Unpack[PushOptions]) -> str:
    """Write a model folder into a repository of the Hub, which is made if there is none.

    Args:
        folder: The model with its catalogue and records.
        repo_id: `owner/name`.
        **options: `PushOptions`.

    Returns:
        The address of what was written.

    Raises:
        ValueError: An unknown option; columns that are not shown, or may not go out; a private model for a repository
            that is public; or the Hub refuses or does not answer.

    What items are made of goes out in the weights whatever columns are shown: vectors of texts, images and sounds, and
    attributes as they are. So do removed items, which keep their rows.
    """
    if unknown := sorted(set(options) - set(PushOptions.__annotations__)):
        raise ValueError(f"push_to_hub has no option {unknown[0]!r}; it has {', '.join(PushOptions.__annotations__)}.")
    columns, revision = _outgoing(folder, options), options.get("revision")
    logger.warning("Publishing items with their ids, counts in training and %s.", ", ".join(columns) or "no column")
    with TemporaryDirectory() as place:
        path = Path(place) / "model"
        with _showing(folder, columns):
            folder.save(path, repo_id)
        return _upload(path, repo_id, revision, options, "Upload a seqrec model")


def push_adapter_to_hub(
    path: str | Path, repo_id: str, base_model: str | None = None, **options: Unpack[PushOptions]
) -> str:
    """Write an adapter alone into a repository of the Hub, which is made if there is none.

    Args:
        path: The folder `adapter/` of a run with `lora`, or one of peft's.
        repo_id: `owner/name`.
        base_model: The Hub id of the model that it is for, where the adapter names it otherwise.
        **options: `PushOptions`, without those about items: an adapter holds none.

    Returns:
        The address of what was written.

    Raises:
        ValueError: As in `push_to_hub`, or if the folder holds no adapter.
    """
    of_items = sorted(
        {"columns", "have_rights"} & {name for name, value in options.items() if value not in (None, False)}
    )
    if of_items or (unknown := sorted(set(options) - set(PushOptions.__annotations__))):
        raise ValueError(f"An adapter is published without {of_items or unknown}; leave it out.")
    adapter = Adapter.load(path)
    named = base_model or adapter.base_model
    if not HUB_ID.fullmatch(named):
        raise ValueError(
            f"The adapter says that it is for {named!r:.200}, which is no Hub id. Name the model that it is for where "
            "others find it: base_model='owner/name' (`--base_model`)."
        )
    content = json.loads(adapter.config)
    if named != adapter.base_model:
        content |= {"base_model_name_or_path": named, "revision": None}
    config = json.dumps(content, indent=2)
    adapter = replace(adapter, config=f"{config}\n".encode(), card=_adapter_card(adapter, named, repo_id).encode())
    with TemporaryDirectory() as place:
        adapter.save(Path(place) / "adapter")
        said = "Upload a seqrec adapter"
        return _upload(Path(place) / "adapter", repo_id, options.get("revision"), options, said)


def _adapter_card(adapter: Adapter, named: str, repo_id: str) -> str:
    """The card of an adapter as it goes out: its own, unless that is peft's form, which names a path."""
    card = adapter.card.decode(errors="replace")
    if not card or PEFT_FORM in card:
        of_text = not any(name.startswith("model.encoders.") for name in adapter.layers())
        card = adapter_card(named, {}, of_text)
    if not is_generated(card):
        return card
    written = ModelCard(card.replace(HERE, repo_id).replace(THE_BASE, named))
    cast(ModelCardData, written.data).base_model = named
    return str(written)


def _upload(path: Path, repo_id: str, revision: str | None, options: PushOptions, said: str) -> str:
    """Bring the files of a folder to the Hub, and return the address."""
    api = HfApi(token=options.get("token"))
    private = options.get("private")
    with _asking_the_hub(repo_id):
        url = api.create_repo(repo_id, private=private, exist_ok=True)
        repo_id = url.repo_id  # with its owner
        is_private = private and api.repo_info(repo_id).private
    if private and not is_private:
        raise ValueError(f"{repo_id!r} is there already and is public. Make it private first, or choose another name.")
    with _asking_the_hub(repo_id):
        if revision is not None:
            api.create_branch(repo_id, branch=revision, exist_ok=True)
        keeps_card = _has_own_card(api, repo_id, revision)
        if keeps_card:
            logger.warning("The card that %s has was written by hand and stays; change it there.", repo_id)
        commit = api.upload_folder(
            repo_id=repo_id,
            folder_path=path,
            ignore_patterns=[CARD_FILE] if keeps_card else None,
            commit_message=options.get("commit_message") or said,
            revision=revision,
            create_pr=options.get("create_pr", False),
        )
    return commit.pr_url or (str(url) if revision is None else f"{url}/tree/{revision}")


@contextmanager
def _asking_the_hub(repo_id: str) -> Iterator[None]:
    """Say in a sentence what the client raises, each transport in ways of its own."""
    try:
        yield
    except Exception as error:
        reason = " ".join(str(error).split())
        raise ValueError(
            f"The model could not be pushed to {repo_id!r} ({type(error).__name__}: {reason:.300}). Name it "
            "`owner/name`, log in with `hf auth login` as somebody who may write there, and be online."
        ) from error


def _has_own_card(api: HfApi, repo_id: str, revision: str | None) -> bool:
    """Whether somebody has written the repository's card by hand."""
    if not api.file_exists(repo_id, CARD_FILE, revision=revision):
        return False
    path = api.hf_hub_download(repo_id, CARD_FILE, revision=revision)
    return not is_generated(Path(path).read_text(encoding="utf-8"))


def _outgoing(folder: ModelFolder, options: PushOptions) -> list[str]:
    """The columns that go out; an error where they are not there or may not."""
    shown, columns = folder.shown, options.get("columns")
    if isinstance(columns, str):
        raise ValueError(f"columns must be a list of names, not {columns!r}: wrap it in a list.")
    chosen = shown if columns is None else list(columns)
    if unknown := sorted(set(chosen) - set(shown)):
        raise ValueError(f"columns names {unknown}; the items show {shown}. Choose among those.")
    sources = [folder.preparation.get("source", {}).get("name"), *base_data(folder.metrics)]
    bound = [name for name in sources if name in NAMED_DATASETS and not NAMED_DATASETS[name].redistributable]
    if not bound or options.get("have_rights"):
        return chosen
    source = bound[0]
    if ATTRIBUTES in (folder.model.config.content_sizes or {}):
        raise ValueError(
            f"The model was trained on {source!r}, whose data may not be passed on, and it holds the attributes of "
            "its items as they are. Train without attributes, or pass have_rights=True (`--have_rights`) if you "
            "have the right."
        )
    if chosen:
        raise ValueError(
            f"The model was trained on {source!r}, whose data may not be passed on, and {chosen} of its items would "
            "go out. Pass columns=[] (`--columns` alone) to show ids and counts only, or have_rights=True "
            "(`--have_rights`) if you have the right."
        )
    return chosen


def base_data(metrics: Mapping[str, Any]) -> list[str]:
    """Return the data that the base of an adapted model was trained on, some of whose items it may still hold."""
    return list(metrics.get("train", {}).get("lora", {}).get("base_data", []))


@contextmanager
def _showing(folder: ModelFolder, columns: list[str]) -> Iterator[None]:
    """Let a folder show these columns only, for a while."""
    config = folder.model.config
    shown = config.display_columns
    config.display_columns = columns
    try:
        yield
    finally:
        config.display_columns = shown
