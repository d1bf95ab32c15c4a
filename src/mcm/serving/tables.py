"""The tables of a server's jobs."""

from __future__ import annotations

from typing import Any

from sqlalchemy import JSON
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column

from mcm.serving.order import Order


class Table(DeclarativeBase):
    """Base of the tables."""

    type_annotation_map = {dict[str, Any]: JSON}  # noqa: RUF012


class Job(Table):
    """One accepted request.

    Attributes:
        number: Grows with every job.
        id: Name of the job, and of its folder.
        owner: Whose key asked for it.
        token: The client's idempotency key, if it sent one.
        status: One of `mcm.serving.store.STATES`.
        order: What is to be made, as `Order` reads it.
        group: Equal for jobs that can be made together.
        attempts: How often it was begun.
        created_at: When it was accepted, in seconds since 1970.
        completed_at: When it was completed or failed.
        error_code: Why it failed, in a word.
        error_message: Why it failed, in a sentence.
        facts: Settings and timings of the finished clip.
    """

    __tablename__ = "jobs"

    number: Mapped[int] = mapped_column(primary_key=True)
    id: Mapped[str] = mapped_column(unique=True)
    owner: Mapped[str] = mapped_column(index=True)
    token: Mapped[str | None] = mapped_column(index=True)
    status: Mapped[str] = mapped_column(index=True)
    order: Mapped[dict[str, Any]]
    group: Mapped[str]
    attempts: Mapped[int] = mapped_column(default=0)
    created_at: Mapped[float]
    completed_at: Mapped[float | None]
    error_code: Mapped[str | None]
    error_message: Mapped[str | None]
    facts: Mapped[dict[str, Any] | None]

    def read_order(self) -> Order:
        """Return what is to be made."""
        return Order(**self.order)


class Upload(Table):
    """The file that an open job is to edit.

    Attributes:
        id: Name of the job.
        content: The file as it was sent.
        ending: That of its name.
    """

    __tablename__ = "uploads"

    id: Mapped[str] = mapped_column(primary_key=True)
    content: Mapped[bytes]
    ending: Mapped[str]


class Digest(Table):
    """Of the request that a job with an idempotency key came from.

    Attributes:
        id: Name of the job.
        digest: As `mcm.serving.store.Token` has it.
    """

    __tablename__ = "digests"

    id: Mapped[str] = mapped_column(primary_key=True)
    digest: Mapped[str]


class Removed(Table):
    """A job that is forgotten, though its clip may not be deleted yet.

    Attributes:
        id: Name of the job.
    """

    __tablename__ = "removed"

    id: Mapped[str] = mapped_column(primary_key=True)
