"""Students of every family as files."""

from pathlib import Path
from typing import Any

import pytest
import torch
from diffusers import DiffusionPipeline
from tests.backbones.family import every_family, folder_of, predict, with_student
from tests.backbones.tiny_families import FAMILIES, load_tiny

from mcm.backbones.adapters import load_adapter, merge_adapter, save_adapter


@every_family
@torch.no_grad()
def test_adapters_are_saved_loaded_and_merged(family: str, tmp_path: Path) -> None:
    backbone = with_student(family)
    expected = predict(backbone, "student")
    folder = save_adapter(backbone, "student", tmp_path, {"recipe": "abc"})
    apart, merged = load_tiny(folder_of(family)), load_tiny(folder_of(family))
    assert load_adapter(apart, folder, "pupil")["family"] == backbone.spec.family
    torch.testing.assert_close(predict(apart, "pupil"), expected, atol=1e-5, rtol=1e-4)
    merge_adapter(merged, folder / "pytorch_lora_weights.safetensors")
    torch.testing.assert_close(predict(merged), expected, atol=1e-4, rtol=1e-4)


@pytest.mark.parametrize("family", [name for name in FAMILIES if name != "modelscope"])
@torch.no_grad()
def test_stock_pipelines_load_the_files(family: str, tmp_path: Path) -> None:
    backbone = with_student(family)
    folder = save_adapter(backbone, "student", tmp_path)
    pipeline: Any = DiffusionPipeline.from_pretrained(folder_of(family))
    pipeline.load_lora_weights(folder)
    if family == "wan-2.2":
        second = "pytorch_lora_weights_2.safetensors"
        pipeline.load_lora_weights(folder, weight_name=second, load_into_transformer_2=True)
    assert set(pipeline.get_list_adapters()) == set(backbone.networks())
    expected = predict(backbone, "student")
    for name, network in backbone.networks().items():
        network.forward = getattr(pipeline, name).forward
    stock = predict(backbone)
    torch.testing.assert_close(stock, expected, atol=1e-5, rtol=1e-4)


@every_family
@torch.no_grad()
def test_full_students_are_saved_and_loaded(family: str, tmp_path: Path) -> None:
    whole, again = (load_tiny(folder_of(family), "full") for _ in range(2))
    whole.add_adapter("student", 0, 0.0)
    for parameter in whole.adapter_parameters("student").values():
        parameter.add_(torch.randn_like(parameter), alpha=0.05)
    folder = save_adapter(whole, "student", tmp_path)
    assert load_adapter(again, folder, "student")["mode"] == "full"
    torch.testing.assert_close(predict(again, "student"), predict(whole, "student"))
