import shutil
from pathlib import Path

import torch
from diffusers import TextToVideoSDPipeline
from tests.backbones.family import PROMPTS, folder_of, inputs, sample, stock_sample
from tests.backbones.tiny_families import load_tiny

from mcm.backbones.loading import load_backbone


@torch.no_grad()
def test_predicts_as_the_stock_network() -> None:
    backbone = load_tiny(folder_of("modelscope"))
    pipeline = TextToVideoSDPipeline.from_pretrained(folder_of("modelscope"))
    x, t, condition = inputs(backbone)
    stock = pipeline.unet(x, t, condition.tokens_bld).sample
    ours = backbone.predict(x, t, condition, "epsilon")
    torch.testing.assert_close(ours, stock, atol=1e-5, rtol=1e-4)
    expected, _ = pipeline.encode_prompt(PROMPTS, "cpu", 1, False)
    torch.testing.assert_close(condition.tokens_bld, expected)


def test_guided_ddim_is_the_stock_pipeline() -> None:
    backbone = load_tiny(folder_of("modelscope"))
    pipeline = TextToVideoSDPipeline.from_pretrained(folder_of("modelscope"))
    ours, stock = sample(backbone, "ddim", 4), stock_sample(pipeline, backbone, 4)
    torch.testing.assert_close(ours, stock, atol=1e-4, rtol=1e-4)
    assert ours.std() > 0.1
    frames = stock_sample(pipeline, backbone, 4, output_type="pt")
    decoded = (backbone.decode_frames(ours) / 2 + 0.5).clamp(0, 1)
    torch.testing.assert_close(decoded, frames, atol=1e-4, rtol=1e-4)


def test_what_it_is_made_for(tmp_path: Path) -> None:
    folder = Path(shutil.copytree(folder_of("modelscope"), tmp_path / "copy"))
    (folder / "mcm.json").unlink()
    spec = load_backbone(folder, "cpu", "float32").spec
    assert (spec.family, spec.prediction, spec.frames, spec.fps) == ("modelscope", "epsilon", 16, 8)
    assert (spec.height, spec.width) == (256, 256)
    assert (spec.guidance, spec.guidance_range) == (9.0, (5.0, 15.0))


def test_an_adapter_reaches_temporal_layers() -> None:
    backbone = load_tiny(folder_of("modelscope"))
    backbone.add_adapter("student", 2, 2.0)
    names = list(backbone.adapter_parameters("student"))
    for part in (".temp_convs.0.conv1.2.", ".temp_attentions.0.proj_in.", ".resnets.1.conv2."):
        assert any(part in name for name in names), part


def test_a_copy_of_the_network_recomputes_itself() -> None:
    gradients = []
    for checkpointed in (False, True):
        backbone = load_tiny(folder_of("modelscope"), "full")
        if checkpointed:
            backbone.enable_gradient_checkpointing()
        backbone.add_adapter("student", 0, 0.0)
        with torch.no_grad():
            for parameter in backbone.adapter_parameters("student").values():
                parameter.mul_(1.1)
        x, t, condition = inputs(backbone)
        with backbone.using("student"):
            backbone.predict(x, t, condition).square().mean().backward()
        assert all(p.grad is None for p in backbone.variants.base.parameters())
        gradients.append([p.grad for p in backbone.adapter_parameters("student").values()])
    for plain, recomputed in zip(*gradients, strict=True):
        torch.testing.assert_close(recomputed, plain, atol=1e-5, rtol=1e-3)
