"""Publish a model folder, or an adapter alone, on the Hub; make the folder of a Space that shows it.

    python scripts/publish.py runs/demo/model owner/name [--private]
    python scripts/publish.py runs/demo/model owner/name --columns
    python scripts/publish.py runs/adapted/adapter owner/name --base_model owner/base
    python scripts/publish.py --space FOLDER owner/name

Columns of items go out as they are; with `--columns` alone, items show ids and counts only. Log in before that by
`hf auth login`.
"""

import argparse
import sys
from pathlib import Path
from typing import Any

from seqrec import Recommender
from seqrec.adapter_files import CONFIG_FILE
from seqrec.publishing import push_adapter_to_hub
from seqrec.space_folder import make_space_folder


def main(model: Path | None, repo_id: str, space: Path | None, **options: Any) -> None:
    """Do what is asked for, and say where it is."""
    if (model is None) == (space is None):
        raise ValueError("Name a model or adapter folder to publish, or `--space FOLDER` to make one; not both.")
    if space is not None:
        if options:
            raise ValueError(f"--space makes a folder and publishes nothing, so {sorted(options)} have no effect.")
        make_space_folder(space, repo_id)
        print(f"{space} is ready: hf upload OWNER/NAME {space} --repo-type space")
    elif model is not None and (model / CONFIG_FILE).is_file():
        print(push_adapter_to_hub(model, repo_id, **options))
    elif "base_model" in options:
        raise ValueError(f"{model} is no adapter ({CONFIG_FILE} is missing), so it has no base_model. Leave it out.")
    else:
        print(Recommender.from_pretrained(str(model)).push_to_hub(repo_id, **options))


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model", type=Path, nargs="?", help="the model or adapter folder that training wrote")
    parser.add_argument("repo_id", help="owner/name")
    parser.add_argument(
        "--space", type=Path, metavar="FOLDER", help="make the folder of a Space for the model repo_id"
    )
    parser.add_argument("--private", action="store_true", default=None, help="make a private repository")
    parser.add_argument("--revision", help="a branch, made if there is none")
    parser.add_argument("--commit_message", help="what the commit says")
    parser.add_argument("--create_pr", action="store_true", default=None, help="ask for the change in a pull request")
    parser.add_argument("--columns", nargs="*", help="columns of items that go out; all that are shown by default")
    parser.add_argument(
        "--have_rights", action="store_true", default=None, help="pass on what a licence forbids others"
    )
    parser.add_argument("--base_model", help="of an adapter: the Hub id of the model that it is for")
    given = {name: value for name, value in vars(parser.parse_args()).items() if value is not None}
    try:
        main(given.pop("model", None), given.pop("repo_id"), given.pop("space", None), **given)
    except (ValueError, OSError) as error:
        print(f"error: {error}", file=sys.stderr)
        sys.exit(2)
