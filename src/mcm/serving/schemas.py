"""What the API answers: OpenAI's video object with fields of ours beside its own."""

from __future__ import annotations

import math
from typing import Any, Literal

from pydantic import BaseModel, Field

from mcm.serving.feed import News
from mcm.serving.store import COMPLETED
from mcm.serving.tables import Job

Status = Literal["queued", "in_progress", "completed", "failed"]


class VideoError(BaseModel):
    """Why a job failed; a cancelled one has the code `cancelled`."""

    code: str
    message: str


class Video(BaseModel):
    """A job and its clip."""

    id: str
    object: Literal["video"] = "video"
    status: Status
    progress: int = Field(description="Percent; after every network step it grows.")
    created_at: int
    completed_at: int | None = None
    expires_at: int | None = Field(
        None, description="When job and clip are deleted; null for never."
    )
    error: VideoError | None = None
    model: str
    prompt: str
    seconds: str
    size: str
    remixed_from_video_id: None = None
    steps: int
    seed: int
    guidance: float
    negative_prompt: str
    frames: int
    fps: float
    format: str
    sampler: str | None
    stochasticity: float | None
    loop: bool
    alpha: bool
    strength: float | None = Field(description="Of an edit; null where nothing was edited.")
    settings: dict[str, Any] | None = Field(
        None, description="All that makes the same clip again; also stored in its files."
    )
    timings: dict[str, float] | None = Field(
        None, description="Seconds in text encoder, network and decoder, of the whole batch."
    )
    warnings: list[str] = []


class VideoList(BaseModel):
    """Some of the jobs."""

    object: Literal["list"] = "list"
    data: list[Video]
    first_id: str | None
    last_id: str | None
    has_more: bool


class Deleted(BaseModel):
    """Says that a job and its clip are gone."""

    id: str
    object: Literal["video.deleted"] = "video.deleted"
    deleted: Literal[True] = True


class Model(BaseModel):
    """A served model."""

    id: str
    object: Literal["model"] = "model"
    created: int
    owned_by: Literal["mcm"] = "mcm"
    role: Literal["student", "teacher"]
    teacher: str | None = Field(description="A student's teacher, if it is served as well.")
    steps: int = Field(description="Steps when a request names none.")
    size: str
    frames: int
    fps: float


class ModelList(BaseModel):
    """The served models; the first is the default."""

    object: Literal["list"] = "list"
    data: list[Model]


class Health(BaseModel):
    """Whether the server works."""

    status: Literal["ok", "failing"]
    jobs: dict[str, int]


class Event(BaseModel):
    """The data of a server-sent event `video.progress`."""

    id: str
    status: Status
    progress: int
    step: int
    steps: int
    preview: str | None = Field(None, description="Data URL of an animated webp of some frames.")


def video_of(job: Job, news: News, keep_seconds: float) -> Video:
    """Describe a job.

    Args:
        job: What is stored of it.
        news: How far it is.
        keep_seconds: How long finished jobs are kept, infinity for ever.
    """
    order, facts, done = job.read_order(), job.facts or {}, job.completed_at
    open = done is None
    expires = math.inf if done is None else done + keep_seconds
    return Video(
        id=job.id,
        status=job.status,
        progress=news.percent if open else 100 * (job.status == COMPLETED),
        created_at=int(job.created_at),
        completed_at=None if done is None or job.status != COMPLETED else int(done),
        expires_at=int(expires) if math.isfinite(expires) else None,
        error=None
        if job.error_code is None
        else VideoError(code=job.error_code, message=job.error_message or ""),
        model=order.model,
        prompt=order.prompt,
        seconds=f"{order.seconds:g}",
        size=order.size,
        steps=order.steps,
        seed=order.seed,
        guidance=order.guidance,
        negative_prompt=order.negative_prompt,
        frames=order.frames,
        fps=order.fps,
        format=order.format,
        sampler=order.sampler,
        stochasticity=order.stochasticity,
        loop=order.loop,
        alpha=order.alpha,
        strength=order.strength,
        settings=facts.get("settings"),
        timings=facts.get("timings"),
        warnings=facts.get("warnings", []),
    )
