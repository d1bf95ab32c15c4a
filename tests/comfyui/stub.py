"""Stand-ins for the part of ComfyUI's node API (`comfy_api.latest`) that the nodes use.

Signatures follow ComfyUI's: an input has an id and its own keywords, a schema names the node, and
unknown keywords are errors.
"""

import sys
from abc import ABC, abstractmethod
from dataclasses import dataclass, field
from types import ModuleType
from typing import Any

SHARED = {"display_name", "optional", "tooltip", "lazy", "advanced"}
KEYWORDS = {
    "STRING": {"default", "multiline", "placeholder", "force_input"},
    "INT": {"default", "min", "max", "step", "control_after_generate", "display_mode"},
    "FLOAT": {"default", "min", "max", "step", "round", "display_mode"},
    "BOOLEAN": {"default", "label_on", "label_off"},
    "COMBO": {"options", "default", "control_after_generate"},
}


@dataclass
class Port:
    kind: str
    id: str | None = None
    display_name: str | None = None
    optional: bool = False
    keywords: dict[str, Any] = field(default_factory=dict)


class Kind:
    def __init__(self, kind: str) -> None:
        self.kind = kind

    def Input(self, id: str, **keywords: Any) -> Port:
        unknown = keywords.keys() - SHARED - KEYWORDS.get(self.kind, set())
        assert not unknown, f"{self.kind} input {id}: {unknown}"
        return Port(
            self.kind, id, keywords.get("display_name"), keywords.get("optional", False), keywords
        )

    def Output(self, id: str | None = None, display_name: str | None = None) -> Port:
        return Port(self.kind, id, display_name)


@dataclass
class Schema:
    node_id: str
    display_name: str
    category: str
    inputs: list[Port]
    outputs: list[Port]
    description: str = ""
    is_output_node: bool = False


class NodeOutput:
    def __init__(self, *result: Any) -> None:
        self.result = result


class ComfyNode(ABC):
    @classmethod
    @abstractmethod
    def define_schema(cls) -> Schema: ...


class ComfyExtension(ABC):
    @abstractmethod
    async def get_node_list(self) -> list[type[ComfyNode]]: ...


def install() -> None:
    """Put the stand-ins where the nodes import the real ones from."""
    latest, package, io = (ModuleType(n) for n in ("comfy_api.latest", "comfy_api", "io"))
    kinds = ["String", "Int", "Float", "Boolean", "Combo", "Image", "Mask", "Model", "Sigmas"]
    vars(io).update({name: Kind(name.upper()) for name in kinds})
    vars(io).update(Schema=Schema, NodeOutput=NodeOutput, ComfyNode=ComfyNode, Custom=Kind)
    vars(latest).update(io=io, ComfyExtension=ComfyExtension)
    sys.modules.update({"comfy_api": package, "comfy_api.latest": latest})
