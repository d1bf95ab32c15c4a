"""Where the judges' trained networks are, and what to do when one is not there."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import nn

from mcm.digests import digest_files
from mcm.errors import UserError

PACKAGE = Path(__file__).parents[1] / "weights" / "judges"

Network = Literal["concept", "frames", "clips"]

TRAINED_BY: Mapping[Network, str] = {
    "concept": "mcm judges concept SHARDS -o FOLDER",
    "frames": "mcm judges frames -o FOLDER",
    "clips": "mcm judges clips -o FOLDER",
}
"""The command that trains each network; ``FOLDER`` is then that of the judges."""

_TOLERATED = ("num_batches_tracked",)
"""Ends of the keys that a file may lack: counters of training, which no inference reads."""


@dataclass(frozen=True)
class Judges:
    """The trained networks of an evaluation.

    Attributes:
        folder: Holds ``NAME.safetensors``; a network that is not there is the package's. ``None``
            takes all from the package.

    Raises:
        UserError: The folder is none, or holds no network at all.
    """

    folder: Path | None = None

    def __post_init__(self) -> None:
        folder = self.folder
        if folder and not any(_weights(folder, name).is_file() for name in TRAINED_BY):
            names = ", ".join(f"{name}.safetensors" for name in TRAINED_BY)
            raise UserError(f"judges: {folder}: no network there; expected one of {names}")

    def file(self, network: Network) -> Path:
        """Return the weights of a network.

        Raises:
            UserError: They are nowhere; names the command that trains it.
        """
        places = [_weights(place, network) for place in (self.folder, PACKAGE) if place]
        found = next((place for place in places if place.is_file()), None)
        if found is None:
            raise UserError(
                f"judge {network!r}: no network at {places[0]}; train it with "
                f"`{TRAINED_BY[network]}` and give the folder to the command or recipe"
            )
        return found

    def has(self, network: Network) -> bool:
        """Return whether a network is there."""
        return self.digest(network) is not None

    def digest(self, network: Network) -> str | None:
        """Return a digest of a network's weights and vocabulary; ``None`` where it is missing."""
        try:
            weights = self.file(network)
        except UserError:
            return None
        words = [weights.with_suffix(".json")] if network == "clips" else []
        return digest_files([weights, *(path for path in words if path.is_file())])


def _weights(folder: Path, network: Network) -> Path:
    return folder / f"{network}.safetensors"


def load_network(network: nn.Module, weights: Path) -> None:
    """Load weights in float32 and stop training.

    Raises:
        UserError: The file is missing, broken, or of another network.
    """
    if not weights.is_file():
        raise UserError(f"weights of a judge {weights}: file not found")
    try:
        state = {name: value.float() for name, value in load_file(weights).items()}
        found = network.load_state_dict(state, strict=False)
    except (SafetensorError, RuntimeError) as error:
        reason = str(error).strip().splitlines()[-1].strip()
        raise UserError(f"{weights}: not the weights of this judge: {reason:.200}") from None
    missing = [name for name in found.missing_keys if not name.endswith(_TOLERATED)]
    for problem, names in (("lacks", missing), ("has the unknown", found.unexpected_keys)):
        if names:
            raise UserError(f"{weights}: not the weights of this judge: {problem} {names[0]}")
    network.eval()
