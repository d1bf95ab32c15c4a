"""The models of a server: loaded once, called by their short names."""

from __future__ import annotations

import os
import re
import threading
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

from mcm.backbones.hub import split_name
from mcm.errors import UserError, nearest
from mcm.sampling.catalog import STUDENT_FOLDER, ModelFiles, find_model
from mcm.sampling.loading import load
from mcm.sampling.pipeline import VideoModel
from mcm.serving.config import ServeConfig


@dataclass(frozen=True, eq=False)
class ServedModel:
    """A model and what the server tells of it.

    Attributes:
        model: Ready to generate; its name is the one that requests use.
        is_student: Whether it is made for few steps.
        source: Its embedded name or folder, as `mcm generate --model` takes it.
        teacher: Name of its teacher, if that one is served as well.
    """

    model: VideoModel
    is_student: bool
    source: str
    teacher: str | None = None

    @property
    def name(self) -> str:
        """What requests call it."""
        return self.model.name


class Models:
    """Served models in the order of the command line; the first is the default.

    Attributes:
        turn: Held by whoever lets a model work: one batch or one window at a time.
    """

    def __init__(self, served: list[ServedModel]) -> None:
        assert served, "a server has a model"
        self._served = {one.name: one for one in served}
        self.turn = threading.Lock()

    def __iter__(self) -> Iterator[ServedModel]:
        return iter(self._served.values())

    def __getitem__(self, name: str | None) -> ServedModel:
        """Return the model of a name, or the default for ``None``.

        Raises:
            UserError: There is none of that name.
        """
        if name is None:
            return next(iter(self._served.values()))
        if name not in self._served:
            guess = nearest(name, self._served)
            hint = f"; did you mean {guess}?" if guess else ""
            known = ", ".join(self._served)
            raise UserError(f"model: {name[:60]!r} is not served here, but {known}{hint}")
        return self._served[name]


def load_models(config: ServeConfig) -> Models:
    """Load the models of a server.

    Raises:
        UserError: A model cannot be found or loaded, or two have one name.
    """
    files: dict[str, ModelFiles] = {}
    for text in config.models:
        name, source = name_and_source(text)
        if name in files:
            raise UserError(
                f"models: {files[name].name} and {source} are both called {name}; name one of "
                f"them: NAME={source}"
            )
        files[name] = find_model(source)
    teachers = {f.teacher.resolve(): name for name, f in files.items() if f.student is None}
    return Models([_load(name, one, teachers, config) for name, one in files.items()])


def name_and_source(text: str) -> tuple[str, str]:
    """Return what requests call a model, and its embedded name or folder.

    Args:
        text: ``NAME=FOLDER``, or a folder, which gives its own name; a distillation's folder
            `student` takes that of the folder around it, a hub's OWNER/NAME that after the owner.
    """
    name, equals, source = text.partition("=")
    if equals and re.fullmatch(r"[\w.-]+", name) and not Path(text).exists():
        return name, source
    of_hub = split_name(text)
    if of_hub and not Path(text).exists():
        return Path(of_hub[0]).name, text
    folder = Path(os.path.abspath(Path(text).expanduser()))
    return (folder.parent if folder.name == STUDENT_FOLDER else folder).name, text


def _load(
    name: str, files: ModelFiles, teachers: dict[Path, str], config: ServeConfig
) -> ServedModel:
    model = replace(load(files.name, config.device, config.dtype), name=name)
    if files.student is None:
        return ServedModel(model, False, files.name)
    return ServedModel(model, True, files.name, teachers.get(files.teacher.resolve()))
