"""The run folder: data, checkpoints, logs and the finished model of one training run."""

import dataclasses
import json
import logging
import re
import shutil
from pathlib import Path
from typing import Any

from transformers import TrainerState
from transformers.trainer import TRAINER_STATE_NAME

from seqrec.data import PreparedData
from seqrec.folders import read_json, write_json, written_whole_file
from seqrec.model import SeqRecConfig

logger = logging.getLogger(__name__)

CHECKPOINT = re.compile(r"checkpoint-(\d+)")
CHOSEN = "transition_weight"  # by a run at its end, whatever it was asked for
CHECKPOINT_FILES = ("config.json", "model.safetensors", "optimizer.pt", "scheduler.pt")


def is_whole(checkpoint: Path) -> bool:
    """Whether a checkpoint was written to its end: its state comes last, after all that a resumed run reads."""
    try:
        state = read_json(checkpoint / TRAINER_STATE_NAME)
    except ValueError:  # half of it
        return False
    return "global_step" in state and all((checkpoint / name).is_file() for name in CHECKPOINT_FILES)


class RunFolder:
    """One run's folder: `model/` when it is finished, beside it `data/`, `checkpoints/`, `logs/` and `plots/`.

    Args:
        path: Where it is, or will be.
    """

    def __init__(self, path: str | Path) -> None:
        self.path = Path(path)
        self.model = self.path / "model"
        self.adapter = self.path / "adapter"  # what a run with `lora` trained, alone
        self.data = self.path / "data"
        self.checkpoints = self.path / "checkpoints"
        self.logs = self.path / "logs"
        self.course = self.logs / "course.json"  # settings that may not change when the run is resumed
        self.state = self.logs / TRAINER_STATE_NAME  # there when the run is finished

    def last_checkpoint(self) -> Path | None:
        """Return the newest checkpoint that is whole."""
        whole = [folder for folder in self._checkpoint_folders() if is_whole(folder)]
        return max(whole, key=lambda folder: int(folder.name.split("-")[1]), default=None)

    def best_epoch(self) -> float:
        """Return the epoch of a finished run whose weights were kept: its best one, or its last."""
        state = read_json(self.state)
        if not read_json(self.course)["load_best_model_at_end"]:
            return float(state["epoch"])
        best = [entry["epoch"] for entry in state["log_history"] if entry["step"] == state["best_global_step"]]
        return float(best[0] if best else state["epoch"])

    def find_checkpoint(self, resume: str | None) -> Path | None:
        """Return the checkpoint to start from: the one that is named, the newest for `last`, or none.

        Raises:
            ValueError: If there is no such checkpoint, or none is asked for and an interrupted run stands here.
        """
        last = self.last_checkpoint()
        if resume is not None and self.state.is_file():
            raise ValueError(
                f"The run in {str(self.path)!r} is finished, so there is nothing to resume. Start a new one."
            )
        if resume is None:
            if last is not None and not self.state.is_file():
                raise ValueError(
                    f"{str(self.path)!r} holds an interrupted run ({last.name}). Continue it with "
                    "--resume_from_checkpoint, or choose another --output_dir, or remove its checkpoints."
                )
            return None
        if resume != "last" and not is_whole(Path(resume)):
            raise ValueError(f"There is no whole checkpoint {resume!r}; the last one here is {last and last.name!r}.")
        if resume == "last" and last is None and self.course.is_file():
            logger.warning("The run in %s was interrupted before its first checkpoint: it starts anew.", self.path)
        elif resume == "last" and last is None:
            raise ValueError(f"{str(self.checkpoints)!r} has no checkpoint to resume from; start without resuming.")
        return last if resume == "last" else Path(resume)

    def start(self, prepared: PreparedData, course: dict[str, Any]) -> None:
        """Make room for a new run: what an earlier, finished one has beside its model is replaced.

        Args:
            prepared: The data of the run.
            course: Settings that may not change when it is resumed.
        """
        self.forget()
        prepared.save(self.data)
        self.logs.mkdir(exist_ok=True)
        write_json(self.course, course)

    def forget(self) -> None:
        """Remove the checkpoints of an earlier run, and that it is finished."""
        for folder in self._checkpoint_folders():
            shutil.rmtree(folder)
        for file in self.adapter.glob("*"):
            file.unlink()
        self.state.unlink(missing_ok=True)  # last: until here it says that the folder holds a finished run

    def check_same(
        self, checkpoint: Path, prepared: PreparedData, config: SeqRecConfig, course: dict[str, Any]
    ) -> None:
        """See that a run goes on with what it was started with.

        Raises:
            ValueError: If the data, the model or the settings are not those of the checkpoint.
        """
        saved = SeqRecConfig.from_pretrained(checkpoint)
        shape = [(name, getattr(saved, name), getattr(config, name)) for name in SeqRecConfig.__annotations__]
        self._check(checkpoint.name, prepared, course, shape)

    def check_finished(self, prepared: PreparedData, course: dict[str, Any], shape: Any) -> None:
        """See that a finished run was of this data, and had these settings.

        Args:
            prepared: The data.
            course: Settings of training.
            shape: A dataclass with settings of the model.

        Raises:
            ValueError: Something is otherwise.
        """
        saved = SeqRecConfig.from_pretrained(self.model)
        asked = {name: value for name, value in dataclasses.asdict(shape).items() if name != CHOSEN}
        wanted = [(name, getattr(saved, name), value) for name, value in asked.items()]
        self._check(f"The run in {self.path.name}", prepared, course, wanted)

    def _check(
        self, what: str, prepared: PreparedData, course: dict[str, Any], shape: list[tuple[str, Any, Any]]
    ) -> None:
        data = PreparedData.load(self.data)
        before, now = data.report, prepared.report
        now_set = json.loads(json.dumps(course))  # as it was written
        compared = [
            ("data of sha256", before["source"]["sha256"], now["source"]["sha256"]),
            ("preparation", before["settings"], now["settings"]),
            *shape,
            *((name, value, now_set.get(name)) for name, value in read_json(self.course).items()),
        ]
        for name, was, wanted in compared:
            if was != wanted:
                raise ValueError(
                    f"{what} was trained with {name} {was!r:.80}, not {wanted!r:.80}. Resume with what it was started "
                    "with, or start anew in another folder."
                )
        if not data.items.data.table.equals(prepared.items.data.table):
            raise ValueError(
                f"{what} was trained with other items: a text or another column of the catalogue is new. "
                "Resume with the catalogue it was started with, or start anew in another folder."
            )

    def drop_half_written(self) -> None:
        """Remove the checkpoints that a killed run did not finish."""
        for folder in self._checkpoint_folders():
            if not is_whole(folder):
                shutil.rmtree(folder)

    def finish(self, state: TrainerState) -> None:
        """Keep the log of a finished run."""
        self.logs.mkdir(parents=True, exist_ok=True)
        with written_whole_file(self.state) as temporary:
            state.save_to_json(str(temporary))

    def _checkpoint_folders(self) -> list[Path]:
        """The folders that `Trainer` wrote; nothing else in `checkpoints/` is ours."""
        return [path for path in self.checkpoints.glob("checkpoint-*") if CHECKPOINT.fullmatch(path.name)]
