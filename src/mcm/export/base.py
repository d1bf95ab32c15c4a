"""Where others find the teacher of an export."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from mcm.backbones.hub import split_name
from mcm.errors import UserError
from mcm.sampling.catalog import base_name, embedded_models
from mcm.sampling.published import PUBLISHED

_HUB_NAMES = {
    name for base in PUBLISHED.values() for name in (base.model, base.motion_adapter) if name
}


@dataclass(frozen=True)
class Place:
    """A model or motion modules, as others find them.

    Attributes:
        name: ``OWNER/NAME@REVISION`` of a hub, an embedded name, or a folder of this machine.
    """

    name: str

    @classmethod
    def of(cls, folder: Path, said: str | None = None) -> Place:
        """Return where others find what is in a folder here.

        Args:
            folder: The folder.
            said: What the student calls it.
        """
        return cls(said if said in _HUB_NAMES else base_name(folder))

    @property
    def is_embedded(self) -> bool:
        """Whether it comes with the package."""
        return self.name in embedded_models()

    @property
    def is_public(self) -> bool:
        """Whether others have it: from a hub, or with the package."""
        return self.is_embedded or split_name(self.name) is not None

    @property
    def repository(self) -> str:
        """Its repository on a hub, or an empty string."""
        return (split_name(self.name) or ("", None))[0]

    @property
    def revision(self) -> str:
        """Its revision there, if one is known."""
        return (split_name(self.name) or ("", None))[1] or ""

    @property
    def title(self) -> str:
        """Its name for readers, which is no path."""
        return self.repository or Path(self.name).name


def said_place(name: str) -> Place:
    """Return the place that the user says.

    Raises:
        UserError: It is not of the form of a hub's names.
    """
    if split_name(name) is None:
        raise UserError(f"base: got {name!r}, expected OWNER/NAME or OWNER/NAME@REVISION of a hub")
    return Place(name)
