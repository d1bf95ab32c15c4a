"""Who takes part in an evaluation: a model, how it is sampled, at which numbers of steps."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from mcm.backbones.hub import split_name
from mcm.backbones.lora_files import adapter_rank
from mcm.backbones.pipeline import PipelineBackbone
from mcm.diffusion.consistency import check_num_steps
from mcm.digests import digest_files
from mcm.errors import UserError, nearest
from mcm.evaluation.clips import EvaluationClip
from mcm.evaluation.embedded import Request
from mcm.evaluation.protocol import Protocol
from mcm.sampling.catalog import Student, find_model
from mcm.sampling.loading import load
from mcm.sampling.options import check_guidance, check_steps, check_stochasticity, resolve
from mcm.sampling.pipeline import VideoModel
from mcm.sampling.samplers import find_sampler

_OPTIONS = ("guidance", "label", "sampler", "stochasticity")


@dataclass(frozen=True)
class Contender:
    """One model sampled one way.

    Attributes:
        model: Embedded name or folder.
        label: Its name in tables.
        steps: Numbers of network steps to evaluate.
        guidance: Guidance scale; the model's own by default.
        sampler: Name of the sampler; the model's own by default.
        stochasticity: γ of the consistency sampler; the model's own by default.
        text: Model and options as the user wrote them, without steps.
        device: Where it runs.
        dtype: Number format of its weights.
    """

    model: str
    label: str
    steps: tuple[int, ...]
    guidance: float | None = None
    sampler: str | None = None
    stochasticity: float | None = None
    text: str = ""
    device: str = "auto"
    dtype: str = "auto"

    @property
    def with_steps(self) -> str:
        """Model, options and steps as :func:`parse_contender` reads them."""
        return f"{self.text}@{','.join(map(str, self.steps))}"

    @cached_property
    def video_model(self) -> VideoModel:
        """The model, loaded when first used."""
        return load(self.model, self.device, self.dtype)

    def release(self) -> None:
        """Let the model go; it is loaded again if it is used again."""
        self.__dict__.pop("video_model", None)

    def header(self, steps: int) -> dict[str, Any]:
        """Return what identifies a run and is known before the model is loaded."""
        return {
            "model": self.label,
            "weights": self._weights,
            "steps": steps,
            "guidance": self.guidance,
            "sampler": self.sampler,
            "stochasticity": self.stochasticity,
        }

    def resolved(self, steps: int, protocol: Protocol) -> dict[str, Any]:
        """Return what else decides its clips: the model's own settings, format and device."""
        model = self.video_model
        backbone = model.backbone
        assert isinstance(backbone, PipelineBackbone)
        settings = resolve(model.defaults, backbone.spec, **self._options(steps, protocol))
        format_ = str(backbone.dtype).removeprefix("torch.")
        return {**settings.as_dict(), "dtype": format_, "device": model.device.type}

    def _options(self, steps: int, protocol: Protocol) -> dict[str, Any]:
        return {
            "steps": steps,
            "guidance": self.guidance,
            "sampler": self.sampler,
            "frames": protocol.frames,
            "size": protocol.size,
            "stochasticity": self.stochasticity,
        }

    @property
    def asked_format(self) -> dict[str, str]:
        """What of format and device the user chose; a finished run of others is not this one's."""
        asked = {"dtype": self.dtype, "device": self.device.partition(":")[0]}
        return {name: value for name, value in asked.items() if value != "auto"}

    def is_sampled_as(self, other: Contender) -> bool:
        """Return whether another contender's clips are the same at equal steps."""
        facts = [
            (one.guidance, one.sampler, one.stochasticity, one._weights) for one in (self, other)
        ]
        return facts[0] == facts[1]

    @cached_property
    def _weights(self) -> str:
        return weights_digest(self.model)

    def make(self, request: Request, steps: int, protocol: Protocol) -> EvaluationClip:
        """Generate the clip of a request in the protocol's size."""
        made = self.video_model.generate(
            request.prompt, seed=request.seed, **self._options(steps, protocol)
        )
        return EvaluationClip(
            request.key, made.frames, request.prompt, request.combination, made.seconds
        )


def parse_contender(
    text: str, default_steps: Sequence[int], device: str = "auto", dtype: str = "auto"
) -> Contender:
    """Read ``MODEL[:option=value,…][@steps,…]``, as ``fluent:sampler=unipc,guidance=5@4,8``.

    A model of a hub may have a revision, as in ``owner/name@v1.0:sampler=ddim@4``.

    Args:
        text: What the user wrote. Options are ``guidance``, ``label``, ``sampler`` and
            ``stochasticity``.
        default_steps: Steps when the text names none.
        device: Where the model is to run.
        dtype: Number format of its weights.

    Raises:
        UserError: The model is not there, an option is unknown or a value does not fit.
    """
    body, steps = _split_steps(text)
    model, _, rest = body.partition(":")
    files = find_model(model)
    if files.student is not None and files.student.mode == "lora":
        adapter_rank(files.student.folder)  # a broken file is told before anything is made
    options = _read_options(rest, text)
    own_label = " ".join([Path(model).name, *rest.split(",")]).strip()
    contender = Contender(
        model,
        options.get("label", own_label),
        parse_steps(steps, text) if steps else tuple(default_steps),
        _number(options, "guidance", text),
        options.get("sampler"),
        _number(options, "stochasticity", text),
        body,
        device,
        dtype,
    )
    _check_options(contender, files.student, text)
    return contender


def _split_steps(text: str) -> tuple[str, str]:
    """Return what stands before and after the last @, unless that begins a hub's revision."""
    body, at, steps = text.rpartition("@")
    of_hub = split_name(text.partition(":")[0]) is not None
    if not at or (of_hub and not re.fullmatch(r"[\d,\s]+", steps)):
        return text, ""
    return body, steps


def parse_steps(text: str, where: str = "steps") -> tuple[int, ...]:
    """Read numbers of steps such as ``1,2,4,8``.

    Raises:
        UserError: One is not a whole number from 1 to 50.
    """
    words = [word.strip() for word in text.split(",")]
    wrong = [word for word in words if not word.isdecimal()]
    if wrong:
        raise UserError(f"{where}: got {wrong[0]!r} for steps, expected numbers such as 1,2,4,8")
    return tuple(dict.fromkeys(check_steps(int(word), where) for word in words))


def weights_digest(model: str) -> str:
    """Return a digest of all files that make a model, so that runs of other weights differ."""
    files = find_model(model)
    student = files.student.folder if files.student else None
    return digest_files(f for f in (files.teacher, student, files.motion_adapter) if f is not None)


def _check_options(contender: Contender, student: Student | None, where: str) -> None:
    """Refuse now what the sampler would refuse after all that comes before it."""
    try:
        if contender.sampler is not None:
            find_sampler(contender.sampler)
        if contender.guidance is not None:
            check_guidance(contender.guidance)
        if contender.stochasticity is not None:
            check_stochasticity(contender.stochasticity)
        if student is not None and contender.sampler in (None, "consistency"):
            check_num_steps(max(contender.steps), student.card.original_steps)
    except UserError as error:
        raise UserError(f"{where}: {error}") from None


def _read_options(text: str, where: str) -> dict[str, str]:
    options: dict[str, str] = {}
    for part in filter(None, text.split(",")):
        name, value = _option(part, where)
        if name in options:
            raise UserError(f"{where}: {name} is given twice; leave out one")
        options[name] = value
    return options


def _option(part: str, where: str) -> tuple[str, str]:
    name, equals, value = part.partition("=")
    if name not in _OPTIONS or not equals or not value:
        guess = nearest(name, _OPTIONS)
        hint = f"; did you mean {guess}?" if guess and guess != name else ""
        raise UserError(f"{where}: got {part!r}, expected one of {', '.join(_OPTIONS)}=value{hint}")
    return name, value


def _number(options: dict[str, str], name: str, where: str) -> float | None:
    try:
        return float(options[name]) if name in options else None
    except ValueError:
        raise UserError(f"{where}: {name}: got {options[name]!r}, expected a number") from None
