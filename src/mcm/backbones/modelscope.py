"""ModelScopeT2V: an image UNet with temporal convolutions and attention.

Wang et al., *ModelScope Text-to-Video Technical Report*, 2023 (arXiv 2308.06571).
"""

from __future__ import annotations

from typing import Any

from torch import Tensor

from mcm.backbones.animatediff import check_fit
from mcm.backbones.attention import use_folded_attention
from mcm.backbones.base import Condition
from mcm.backbones.checkpointing import checkpoint_function, checkpoint_module
from mcm.backbones.folder import PipelineFolder
from mcm.backbones.latents import FrameCodec
from mcm.backbones.native import Native
from mcm.backbones.pipeline import Parts, PipelineBackbone
from mcm.backbones.text import ClipText
from mcm.backbones.token_order import use_token_order
from mcm.backbones.variants import Mode

_RESIDUAL = ("conv1", "conv2", "conv_shortcut", "time_emb_proj")
_TEMPORAL = ("conv1.2", "conv2.3", "conv3.3", "conv4.3")
LORA_TARGETS = (
    "to_q",
    "to_k",
    "to_v",
    "to_out.0",
    "proj_in",
    "proj_out",
    "ff.net.0.proj",
    "ff.net.2",
    *(f"resnets.{number}.{layer}" for number in range(3) for layer in _RESIDUAL),
    *(f"temp_convs.{number}.{layer}" for number in range(3) for layer in _TEMPORAL),
    "downsamplers.0.conv",
    "upsamplers.0.conv",
)
"""The layers of the released MCM, and the temporal convolutions."""
_RECOMPUTED = ("resnets", "temp_convs", "attentions", "temp_attentions")
_USUAL = Native(16, 256, 256, 8, guidance=9.0, guidance_range=(5.0, 15.0))


class ModelScope(PipelineBackbone):
    """The contract of `mcm.backbones.base.Backbone` over a `UNet3DConditionModel`."""

    component = "unet"
    pipeline = "TextToVideoSDPipeline"

    def enable_gradient_checkpointing(self) -> None:
        """Recompute the network's layers in the backward pass instead of keeping their states.

        Layer by layer, as the states inside a whole block are many times those of a layer.
        """
        network: Any = self.variants.base
        blocks = (*network.down_blocks, network.mid_block, *network.up_blocks)
        layers = [
            layer for block in blocks for kind in _RECOMPUTED for layer in getattr(block, kind, ())
        ]
        for layer in (network.transformer_in, *layers):
            checkpoint_module(layer, checkpoint_function(self.variants))
        self.codec.enable_gradient_checkpointing()

    def _run(self, x_bcthw: Tensor, t_b: Tensor, condition: Condition) -> Tensor:
        output: Tensor = self.network(x_bcthw, t_b, condition.tokens_bld).sample
        return output


def load(folder: PipelineFolder, mode: Mode = "lora") -> ModelScope:
    """Load a `TextToVideoSDPipeline`.

    Raises:
        UserError: A component is missing, broken or does not fit the others.
    """
    network = folder.model("unet", "UNet3DConditionModel")
    use_folded_attention(network)
    use_token_order(network)
    codec = FrameCodec(folder.model("vae", "AutoencoderKL"))
    text = ClipText(
        folder.tokenizer("CLIPTokenizer"), folder.model("text_encoder", "CLIPTextModel")
    )
    check_fit(folder, network, codec, text)
    scheduler = folder.scheduler()
    prediction = folder.prediction(scheduler)
    spec = folder.native(_USUAL).spec("modelscope", prediction, codec, text, LORA_TARGETS)
    schedule = folder.variance_schedule(scheduler)
    return ModelScope(spec, Parts(network, codec, text, scheduler, schedule), mode)
