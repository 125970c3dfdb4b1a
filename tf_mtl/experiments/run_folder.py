"""RunFolder: where a training run keeps its files, and whether it is finished."""

import dataclasses
import json
import os
import pathlib
import shutil
from typing import Any

from tf_mtl.experiments.config import FOLDERS, TrainConfig
from tf_mtl.files import write_json


class RunFolder:
    """Files of one run.

    `config.json` is written first and `metrics.json` last: a folder with the first
    and without the second holds a run that was stopped. Files of these names without
    `config.json` belong to somebody else, and are left alone.

    Args:
        path: the folder; made by `start`.
    """

    def __init__(self, path: str | os.PathLike[str]) -> None:
        self.path = pathlib.Path(path).expanduser()
        self.config = self.path / "config.json"
        self.metrics = self.path / "metrics.json"
        self.checkpoints = self.path / "checkpoints"
        self.logs = self.path / "logs"
        self.saved_model = self.path / "saved_model"

    def check(
        self, config: TrainConfig, resume: bool = False, overwrite: bool = False
    ) -> None:
        """Checks that `start` may claim the folder. Changes nothing.

        Args:
            config: the choices of the run.
            resume: bool. Goes on with a run of the same choices, if there is one.
            overwrite: bool. Deletes the files of an earlier run, and no others.

        Raises:
            FileExistsError: if there is a run and neither is asked for, or there are
                files of the names of a run that are none.
            ValueError: if both are asked for, or the run has other choices.
        """
        if resume and overwrite:
            raise ValueError(
                "`resume` and `overwrite` exclude each other. Received: both."
            )
        if not self.config.exists():
            found = [path.name for path in self._outputs() if path.exists()]
            if found:
                raise FileExistsError(
                    f"`output_dir` must be free for the files of a run. Received: "
                    f"{os.fspath(self.path)!r}, where {found} are, and no run. Choose "
                    "another folder."
                )
        elif resume:
            self._check_same(config)
        elif not overwrite:
            state = "a finished" if self.metrics.exists() else "an unfinished"
            raise FileExistsError(
                f"`output_dir` must not hold a run yet. Received: "
                f"{os.fspath(self.path)!r}, which holds {state} run. Go on with it "
                "(--resume), delete it (--overwrite) or choose another folder."
            )

    def start(
        self, config: TrainConfig, resume: bool = False, overwrite: bool = False
    ) -> None:
        """Claims the folder for a run. Arguments and errors are those of `check`."""
        self.check(config, resume, overwrite)
        if overwrite and self.config.exists():
            self._delete()
        self.path.mkdir(parents=True, exist_ok=True)
        write_json(self.config, dataclasses.asdict(config))

    def finished(self) -> dict[str, Any] | None:
        """The content of `metrics.json`, or `None` before the end of the run."""
        if not self.metrics.exists():
            return None
        return json.loads(self.metrics.read_text())

    def _outputs(self) -> list[pathlib.Path]:
        return [self.metrics, self.checkpoints, self.logs, self.saved_model]

    def _check_same(self, config: TrainConfig) -> None:
        # Where the files of the data lie may change from machine to machine.
        saved = json.loads(self.config.read_text())
        chosen = dataclasses.asdict(config)
        for folder in FOLDERS:
            saved[folder] = chosen[folder]
        differing = [
            f"{name}: {saved.get(name)!r} then, {chosen.get(name)!r} now"
            for name in sorted(saved.keys() | chosen.keys())
            if saved.get(name) != chosen.get(name)
        ]
        if differing:
            raise ValueError(
                "`resume` needs the choices that the run began with. Received: "
                f"{'; '.join(differing)}. Pass the same ones, or another `output_dir`."
            )

    def _delete(self) -> None:
        # The sign of a finished run goes first, the sign of a run last.
        self.metrics.unlink(missing_ok=True)
        for folder in (self.checkpoints, self.logs, self.saved_model):
            shutil.rmtree(folder, ignore_errors=True)
        self.config.unlink(missing_ok=True)
