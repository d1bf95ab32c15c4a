"""What a failed command tells its user, and with which exit code it ends."""

from __future__ import annotations

import errno
from dataclasses import dataclass

from mcm.errors import IncompleteError, UserError, install_hint

USER_ERROR = 2
FAILED = 1

EXTRAS = {
    "fastapi": "serve",
    "gradio": "ui",
    "prometheus_client": "serve",
    "resvg_py": "fluent",
    "sqlalchemy": "serve",
    "uvicorn": "serve",
    "wandb": "wandb",
}
"""Optional module to the extra of the distribution that installs it."""

MEMORY_ADVICE = {
    "distill": "lower trainer.batch_size (raise trainer.gradient_accumulation by as much), "
    "critic.frames_per_clip, or cache shorter or smaller clips (mcm data cache --frames, --size)",
    "generate": "lower --batch-size, --frames or --size, or use --dtype bfloat16",
    "data": "lower --batch-size",
}
"""Command to the knobs that lower its use of memory."""

_OUT_OF_MEMORY = ("out of memory", "DefaultCPUAllocator", "can't allocate memory")
_DISK_FULL = "No space left on device"


@dataclass(frozen=True)
class Failure:
    """A message for stderr and the exit code."""

    message: str
    code: int


def describe(error: Exception, command: str | None) -> Failure | None:
    """Return the failure to report, or `None` for an error that the parser reports itself."""
    if type(error).__module__.startswith("typer.") or isinstance(error, BrokenPipeError):
        return None
    if isinstance(error, UserError):
        return Failure(str(error), USER_ERROR)
    if isinstance(error, IncompleteError):
        return Failure(str(error), FAILED)
    if _is_validation_error(error):
        return Failure(" ".join(str(error).split()), USER_ERROR)
    if _is_out_of_memory(error):
        advice = MEMORY_ADVICE.get(command or "", "use a smaller input")
        return Failure(f"out of memory: {advice}", FAILED)
    if isinstance(error, OSError) or _DISK_FULL in str(error):
        return Failure(_system_message(error), FAILED)
    if isinstance(error, ModuleNotFoundError) and error.name in EXTRAS:
        hint = install_hint(EXTRAS[error.name])
        return Failure(f"{error.name} is not installed: {hint}", USER_ERROR)
    return Failure(
        f"internal error: {type(error).__name__}: {error}\n"
        "mcm: this is a fault of mcm; run again with --debug to see where it happened",
        FAILED,
    )


def _is_validation_error(error: Exception) -> bool:
    return type(error).__name__ == "ValidationError" and isinstance(error, ValueError)


def _is_out_of_memory(error: Exception) -> bool:
    if isinstance(error, MemoryError) or type(error).__name__ == "OutOfMemoryError":
        return True
    return isinstance(error, RuntimeError) and any(sign in str(error) for sign in _OUT_OF_MEMORY)


def _system_message(error: Exception) -> str:
    number = error.errno if isinstance(error, OSError) else errno.ENOSPC
    name = error.filename if isinstance(error, OSError) else None
    where = f"{name}: " if name else ""
    if number in (errno.ENOSPC, errno.EDQUOT):
        return f"{where}the disk is full: free some space or choose another output folder"
    if number in (errno.EACCES, errno.EPERM, errno.EROFS):
        return f"{where}no permission: choose another folder or change its permissions"
    reason = error.strerror if isinstance(error, OSError) else None
    return f"{where}{reason or error}"
