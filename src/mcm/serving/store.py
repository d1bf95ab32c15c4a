"""Jobs on SQLite: every change of state is one transaction, so a killed server loses none.

A job is `queued`, then `in_progress`, then `completed` or `failed`. Only this room's one process
writes (a lock on the folder sees to it), one thread at a time.
"""

from __future__ import annotations

import sqlite3
import threading
import time
import uuid
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from sqlalchemy import (
    ColumnElement,
    create_engine,
    delete,
    event,
    func,
    inspect,
    select,
    update,
)
from sqlalchemy.exc import DatabaseError
from sqlalchemy.orm import Session, sessionmaker

from mcm.errors import UserError
from mcm.serving.order import Order
from mcm.serving.source import Source
from mcm.serving.tables import Digest, Job, Removed, Table, Upload

QUEUED, RUNNING, COMPLETED, FAILED = "queued", "in_progress", "completed", "failed"
STATES = (QUEUED, RUNNING, COMPLETED, FAILED)
OPEN = (QUEUED, RUNNING)
CONNECTIONS = 32


class QueueFullError(Exception):
    """As many jobs wait or run as the server takes."""


class TokenReusedError(Exception):
    """A client sent one idempotency key with two different requests."""


@dataclass(frozen=True)
class Token:
    """A client's idempotency key, and what it came with.

    Attributes:
        key: What the client sent.
        digest: Equal for equal requests.
    """

    key: str
    digest: str


class JobStore:
    """The jobs of a folder; every method may be called from any thread."""

    def __init__(self, file: Path) -> None:
        """Open the jobs of a file, which is made if it is not there.

        Raises:
            UserError: It is none of a server's jobs, or cannot be opened.
        """
        url = f"sqlite:///{file}"
        self._engine = create_engine(url, pool_size=CONNECTIONS, connect_args={"timeout": 30})
        event.listen(self._engine, "connect", _on_connect)
        self._session = sessionmaker(self._engine, expire_on_commit=False)
        self._writing = threading.Lock()
        try:
            self._make_tables()
        except (sqlite3.DatabaseError, DatabaseError) as error:
            self.close()
            reason = getattr(error, "orig", None) or error
            raise UserError(
                f"output: {file}: cannot be read as the jobs of a server: {reason}; choose another "
                "folder, or move this file and the clips beside it away"
            ) from None

    def _make_tables(self) -> None:
        """Make the tables that are missing, unless the file is somebody else's database."""
        if inspect(self._engine).get_table_names():
            with self._session() as session:
                session.scalar(select(Job).limit(1))
        Table.metadata.create_all(self._engine)

    def close(self) -> None:
        """Close the database."""
        self._engine.dispose()

    def accept(
        self,
        order: Order,
        owner: str,
        token: Token | None,
        limit: int,
        source: Source | None = None,
    ) -> Job:
        """Write a new job down; it is safe once this returns.

        Args:
            order: What is to be made.
            owner: Whose it is.
            token: If a job of this owner has the same key, that one is returned.
            limit: Jobs that may be open.
            source: What is to be edited; such a job is made alone.

        Raises:
            TokenReusedError: That one came from a different request.
            QueueFullError: There are as many open jobs.
        """
        with self._write() as session:
            if token is not None and (job := self._known(session, owner, token)) is not None:
                return job
            if self._count(session, Job.status.in_(OPEN)) >= limit:
                raise QueueFullError
            id = f"video_{uuid.uuid4().hex}"
            job = Job(
                id=id,
                owner=owner,
                token=None if token is None else token.key,
                status=QUEUED,
                order=order.as_dict(),
                group=order.group if source is None else id,
                created_at=time.time(),
            )
            session.add(job)
            if token is not None:
                session.add(Digest(id=id, digest=token.digest))
            if source is not None:
                session.add(Upload(id=id, content=source.content, ending=source.ending))
        return job

    def claim(self, most: int) -> list[Job]:
        """Begin the oldest waiting job and others that can be made with it.

        A job that was begun before goes alone, as it may be what killed the server.
        """
        with self._write() as session:
            waiting = select(Job).where(Job.status == QUEUED).order_by(Job.number)
            first = session.scalar(waiting.limit(1))
            if first is None:
                return []
            jobs = [first]
            if first.attempts == 0:
                alike = waiting.where(Job.group == first.group, Job.attempts == 0)
                jobs = list(session.scalars(alike.limit(most)))
            for job in jobs:
                job.status, job.attempts = RUNNING, job.attempts + 1
        return jobs

    def complete(self, id: str, facts: dict[str, Any]) -> bool:
        """Mark a running job as done; `False` if it was cancelled or deleted meanwhile."""
        values = {"status": COMPLETED, "completed_at": time.time(), "facts": facts}
        return self._change(Job.id == id, (RUNNING,), values)

    def fail(self, id: str, code: str, message: str) -> bool:
        """Mark an open job as failed; `False` if it is open no more."""
        values = {"status": FAILED, "completed_at": time.time(), "error_code": code}
        return self._change(Job.id == id, OPEN, {**values, "error_message": message})

    def put_back(self, ids: Sequence[str]) -> None:
        """Let running jobs wait again, as if they had not been begun."""
        values = {"status": QUEUED, "attempts": Job.attempts - 1}
        self._change(Job.id.in_(ids), (RUNNING,), values)

    def recover(
        self, attempts: int, facts_of: Callable[[str], dict[str, Any] | None]
    ) -> Iterator[Job]:
        """Settle the jobs that run according to the table, though nobody works on them.

        Args:
            attempts: How often a job may be begun.
            facts_of: Facts of a job whose clip is written whole, or `None`: what is written is
                done and not made again.

        Yields:
            Each of them, when it is settled, with its new status.
        """
        with self._session() as session:
            cut_off = list(session.scalars(select(Job).where(Job.status == RUNNING)))
        for job in cut_off:
            facts = facts_of(job.id)
            if facts is not None:
                status, changed = COMPLETED, self.complete(job.id, facts)
            elif job.attempts >= attempts:
                reason = f"the server was killed or failed during it, {job.attempts} times"
                status, changed = FAILED, self.fail(job.id, "attempts_exhausted", reason)
            else:
                status = QUEUED
                changed = self._change(Job.id == job.id, (RUNNING,), {"status": QUEUED})
            if changed:
                job.status = status
                yield job

    def get(self, id: str, owner: str) -> Job | None:
        """Return an owner's job."""
        with self._session() as session:
            return session.scalar(select(Job).where(Job.id == id, Job.owner == owner))

    def source(self, id: str) -> Source | None:
        """Return what an open job is to edit; `None` if nothing, or if it is open no more."""
        with self._session() as session:
            found = session.get(Upload, id)
        return None if found is None else Source(found.content, found.ending)

    def page(self, owner: str, after: Job | None, limit: int, newest_first: bool) -> list[Job]:
        """Return some of an owner's jobs, those that follow ``after`` in their order."""
        query = select(Job).where(Job.owner == owner).limit(limit)
        query = query.order_by(Job.number.desc() if newest_first else Job.number)
        if after is not None:
            before = Job.number < after.number
            query = query.where(before if newest_first else Job.number > after.number)
        with self._session() as session:
            return list(session.scalars(query))

    def remove(self, id: str) -> None:
        """Forget a job, but that its clip has to be deleted; see `swept`."""
        with self._write() as session:
            job = session.scalar(select(Job).where(Job.id == id))
            if job is not None:
                session.delete(job)
                session.add(Removed(id=id))
            for table in (Upload, Digest):
                session.execute(delete(table).where(table.id == id))

    def removed(self) -> list[str]:
        """Return the names of forgotten jobs whose clips may be left."""
        with self._session() as session:
            return list(session.scalars(select(Removed.id)))

    def swept(self, ids: Sequence[str]) -> None:
        """Note that no clip of some forgotten jobs is left."""
        with self._write() as session:
            for id in ids:
                session.execute(delete(Removed).where(Removed.id == id))

    def ids(self, finished_before: float | None = None) -> list[str]:
        """Return the names of all jobs, or of those finished before a time."""
        query = select(Job.id)
        if finished_before is not None:
            query = query.where(Job.completed_at < finished_before)
        with self._session() as session:
            return list(session.scalars(query))

    def counts(self) -> dict[str, int]:
        """Return the number of jobs in every state."""
        query = select(Job.status, func.count()).group_by(Job.status)
        with self._session() as session:
            found = {row[0]: row[1] for row in session.execute(query)}
        return {state: found.get(state, 0) for state in STATES}

    @staticmethod
    def _known(session: Session, owner: str, token: Token) -> Job | None:
        """Return an owner's job of a token; one of an older server has no digest to compare."""
        job = session.scalar(select(Job).where(Job.owner == owner, Job.token == token.key))
        stored = None if job is None else session.get(Digest, job.id)
        if stored is not None and stored.digest != token.digest:
            raise TokenReusedError
        return job

    def _change(
        self, which: ColumnElement[bool], states: Sequence[str], values: dict[str, Any]
    ) -> bool:
        with self._write() as session:
            changed = session.execute(
                update(Job).where(which, Job.status.in_(states)).values(**values)
            )
            if "completed_at" in values:
                done = select(Job.id).where(which, Job.completed_at.is_not(None))
                session.execute(delete(Upload).where(Upload.id.in_(done)))
            return bool(changed.rowcount)  # type: ignore[attr-defined]

    @contextmanager
    def _write(self) -> Iterator[Session]:
        with self._writing, self._session.begin() as session:
            yield session

    @staticmethod
    def _count(session: Session, which: ColumnElement[bool]) -> int:
        return session.scalar(select(func.count()).select_from(Job).where(which)) or 0


def _on_connect(connection: Any, _: object) -> None:
    """Let readers go on while one writes, and write through to the disk at every commit."""
    connection.execute("PRAGMA journal_mode=WAL")
    connection.execute("PRAGMA synchronous=FULL")
