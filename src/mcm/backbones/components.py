"""Single components of a diffusers folder, with errors that name what is wrong."""

from __future__ import annotations

import importlib
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch

from mcm.errors import UserError

_OF_TRANSFORMERS = ("CLIP", "T5", "UMT5")
FULL_WEIGHTS = (
    "diffusion_pytorch_model.safetensors",
    "diffusion_pytorch_model.safetensors.index.json",
    "model.safetensors",
    "model.safetensors.index.json",
    "adapter_model.safetensors",
)
"""Names of weights in full precision; those of a variant are ``….fp16.safetensors``."""
_FLOATS = ("F64", "F32", "F16", "BF16")
_VOCABULARIES = ("tokenizer.json", "vocab.json", "spiece.model")
_PICKLED = (b"PK\x03\x04", b"\x80\x02")
"""How files of `torch.save` begin, the present ones and those of before."""
_REMEDY = "fetch or copy the folder again"


def load_component(folder: Path, name: str, kind: str, dtype: torch.dtype) -> Any:
    """Load a model from ``folder/name``, complete and from safetensors, without network access.

    Weights of the variant ``fp16`` are taken where there are no others.

    Args:
        folder: Of the whole pipeline.
        name: Of the component, such as ``vae``.
        kind: Its class, such as `AutoencoderDC`.
        dtype: Of its weights.

    Raises:
        UserError: The component is missing, half there or of other shapes.
    """
    path = component_folder(folder, name, kind)
    variant = check_weights(path, name, kind)
    loader = component_class(kind)
    key = "torch_dtype" if _library(kind) == "diffusers" else "dtype"
    try:
        with quiet_libraries():
            model, info = loader.from_pretrained(
                path,
                local_files_only=True,
                use_safetensors=True,
                output_loading_info=True,
                variant=variant,
                **{key: dtype},
            )
    except Exception as error:
        raise broken(path, name, kind, error) from error
    missing = sorted(info["missing_keys"])
    if missing or info["mismatched_keys"]:
        what = missing[0] if missing else next(iter(info["mismatched_keys"]))
        raise UserError(
            f"{path}: component {name} ({kind}) is incomplete or of other shapes than its "
            f"config.json says: {what}; {_REMEDY}"
        )
    return model


def load_tokenizer(folder: Path, name: str, kind: str) -> Any:
    """Load a tokenizer from ``folder/name``.

    Raises:
        UserError: It is missing, broken or of an unknown class.
    """
    path = component_folder(folder, name, kind)
    if not any((path / file).is_file() for file in _VOCABULARIES):
        raise UserError(
            f"{path}: component {name} ({kind}) has none of {', '.join(_VOCABULARIES)}; {_REMEDY}"
        )
    try:
        return component_class(kind).from_pretrained(path, local_files_only=True)
    except Exception as error:
        raise broken(path, name, kind, error) from error


def check_readable(path: Path) -> None:
    """Make sure that a file can be opened; safetensors says of any that it is not there.

    Raises:
        UserError: It cannot.
    """
    try:
        path.open("rb").close()
    except OSError as error:
        raise UserError(
            f"{path}: cannot be read ({error.strerror}); allow it, or give another file"
        ) from None


def share_weights(card: Path) -> None:
    """Let who may read a card read the weights in its folder, which safetensors keeps from them."""
    for file in card.parent.rglob("*.safetensors"):
        shutil.copymode(card, file)


def refuse_pickle(path: Path) -> str:
    """Return the message on a pickled file, with the way to convert it."""
    return (
        f"{path}: not a safetensors file; pickled weights can run code when they are read, so "
        'they are refused. If you trust it, convert it: python -c "import torch, '
        f"safetensors.torch as s; s.save_file(torch.load('{path.name}', weights_only=True), "
        f"'{path.stem}.safetensors')\""
    )


def unreadable_weights(path: Path, error: Exception) -> str:
    """Return the message on a safetensors file that cannot be read: damaged, or a pickle."""
    with path.open("rb") as file:
        start = file.read(4)
    if start.startswith(_PICKLED):
        return refuse_pickle(path)
    return f"{path}: broken or half-downloaded ({error}); fetch it again"


def component_folder(folder: Path, name: str, kind: str) -> Path:
    """Return ``folder/name``.

    Raises:
        UserError: There is no such folder.
    """
    path = folder / name
    if not path.is_dir():
        raise UserError(f"{path}: component {name} ({kind}) is missing; {_REMEDY}")
    return path


def check_weights(path: Path, name: str, kind: str) -> str | None:
    """Return the variant of the weights there, after a look at their headers.

    Raises:
        UserError: There are pickled weights only, quantised ones, or a file that is half there.
    """
    from safetensors import SafetensorError, safe_open

    if not any((path / file).is_file() for file in FULL_WEIGHTS):
        pickles = sorted(
            file for end in ("bin", "pt", "pth", "ckpt") for file in path.glob(f"*.{end}")
        )
        if list(path.glob("*.fp16.safetensors")):
            return "fp16"
        if pickles:
            raise UserError(f"component {name} ({kind}): {refuse_pickle(pickles[0])}")
    for file in sorted(path.glob("*.safetensors")):
        check_readable(file)
        try:
            with safe_open(file, "pt") as content:
                formats = {k: content.get_slice(k).get_dtype() for k in content.keys()}  # noqa: SIM118
        except SafetensorError as error:
            raise broken(path, name, kind, error) from error
        wrong = next(
            (k for k, found in formats.items() if k.endswith("weight") and found not in _FLOATS),
            None,
        )
        if wrong is not None:
            raise UserError(
                f"{file}: component {name} ({kind}): {wrong} is of {formats[wrong]}; expected "
                "float32, float16 or bfloat16. Take the weights before they were quantised"
            )
    return None


def stored_dtype(path: Path) -> torch.dtype:
    """Return the number format of the weights that `load_component` takes from a folder.

    It is that of the first weight; float32 where there is none, or one of another format.
    """
    from safetensors import SafetensorError, safe_open

    full = any((path / file).is_file() for file in FULL_WEIGHTS)
    files = [f for f in sorted(path.glob("*.safetensors")) if not (full and ".fp16" in f.name)]
    try:
        with safe_open(files[0], "pt") as content:
            keys = [key for key in content.keys() if key.endswith("weight")]  # noqa: SIM118
            found = content.get_slice(keys[0]).get_dtype()
    except (IndexError, SafetensorError):
        return torch.float32
    return {"F16": torch.float16, "BF16": torch.bfloat16}.get(found, torch.float32)


def component_class(kind: str) -> Any:
    """Return a class of diffusers or transformers by its name."""
    return getattr(importlib.import_module(_library(kind)), kind)


def _library(kind: str) -> str:
    return "transformers" if kind.startswith(_OF_TRANSFORMERS) else "diffusers"


def broken(path: Path, name: str, kind: str, error: Exception) -> UserError:
    """Return the error on a component that its library cannot make."""
    reason = (str(error).strip() or type(error).__name__).splitlines()[0]
    return UserError(
        f"{path}: component {name} ({kind}) cannot be loaded: {reason:.300}. Expected a complete "
        f"config.json and safetensors weights that fit it; {_REMEDY}"
    )


@contextmanager
def quiet_libraries() -> Iterator[None]:
    """Keep the libraries' warnings and progress bars back; what matters is raised instead."""
    import diffusers.utils.logging as of_diffusers
    import transformers.utils.logging as of_transformers

    before = [(library, library.get_verbosity()) for library in (of_diffusers, of_transformers)]
    bars = of_transformers.is_progress_bar_enabled()
    for library, _ in before:
        library.set_verbosity_error()
    of_transformers.disable_progress_bar()
    try:
        yield
    finally:
        for library, verbosity in before:
            library.set_verbosity(verbosity)
        if bars:
            of_transformers.enable_progress_bar()


def stock_class(name: str) -> Any:
    """Return a class of diffusers, without what its import says of libraries that are not there."""
    import diffusers

    with quiet_libraries():
        return getattr(diffusers, name)
