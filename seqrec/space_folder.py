"""The folder of a Space: the demo's page with all that it needs to be installed."""

import re
import shutil
import subprocess
import sys
from importlib.metadata import requires, version
from pathlib import Path

from huggingface_hub import metadata_load, metadata_save

from seqrec.card import HUB_ID
from seqrec.folders import written_whole

CLONE = Path(__file__).parent.parent
PAGE = CLONE / "space"
REQUIREMENTS, MODEL_FILE = "requirements.txt", "model.txt"


def make_space_folder(path: str | Path, model_id: str) -> None:
    """Write the folder of a Space that shows a model of the Hub.

    `hf upload owner/name PATH --repo-type space` sends it. It holds the page, a wheel of this seqrec, which the page
    installs where there is none, and the model's id.

    Args:
        path: The folder, new or an older one of the kind.
        model_id: `owner/name` of the model.

    Raises:
        ValueError: The model is named otherwise, or this seqrec is no clone and so has no page.
    """
    if not HUB_ID.fullmatch(model_id):
        raise ValueError(f"{model_id!r:.200} is no id of the Hub; expected owner/name. Publish the model first.")
    if not (PAGE / "app.py").is_file():
        raise ValueError(f"The demo's page is not in {str(PAGE)!r}: it comes with a clone of seqrec. Run it there.")
    files = [file for file in PAGE.iterdir() if file.is_file()]
    wheel = f"seqrec-{version('seqrec')}-py3-none-any.whl"
    with written_whole(path, (*(file.name for file in files), wheel, MODEL_FILE)) as folder:
        for file in files:
            shutil.copy(file, folder)
        _build_wheel(folder)
        with (folder / REQUIREMENTS).open("a", encoding="utf-8") as requirements:
            requirements.write("\n".join(_dependencies()) + "\n")
        (folder / MODEL_FILE).write_text(f"{model_id}\n", encoding="utf-8")
        readme = folder / "README.md"
        metadata_save(readme, {**(metadata_load(readme) or {}), "models": [model_id]})


def _build_wheel(folder: Path) -> None:
    command = [sys.executable, "-m", "pip", "wheel", "--quiet", "--no-deps", "--wheel-dir", str(folder), str(CLONE)]
    built = subprocess.run(command, capture_output=True, text=True, check=False)
    if built.returncode:
        reason = (built.stderr.strip().splitlines() or ["no reason given"])[-1]
        raise ValueError(f"The wheel of seqrec could not be built ({reason:.300}). See `make wheel`.")


def _dependencies() -> list[str]:
    """What seqrec needs, without its extras."""
    return [line for line in requires("seqrec") or [] if not re.search(r";.*extra\s*==", line)]
