"""Teachers and students behind one contract, one file per family."""

from mcm.backbones.base import Backbone, BackboneSpec, Condition

__all__ = ["Backbone", "BackboneSpec", "Condition"]
