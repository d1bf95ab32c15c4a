import json
import math
from pathlib import Path

import pytest
import torch
from diffusers import AnimateDiffPipeline
from peft.utils.other import get_pattern_key
from safetensors import safe_open
from safetensors.torch import load_file, save_file
from tests.backbones.test_variants import run, stir
from tests.backbones.tiny import PROMPTS, load_tiny
from torch import Tensor

from mcm.backbones.adapters import (
    LORA_FILE,
    add_sum,
    load_adapter,
    merge_adapter,
    save_adapter,
)
from mcm.backbones.animatediff import AnimateDiff
from mcm.backbones.fingerprint import fingerprint
from mcm.backbones.lora_files import _of
from mcm.errors import UserError

KEY = "unet.mid_block.attentions.0.transformer_blocks.0.attn1.to_q.lora_A.weight"


@pytest.fixture
def student(backbone: AnimateDiff) -> AnimateDiff:
    backbone.add_adapter("student", rank=2, alpha=5.0)
    stir(backbone, "student")
    return backbone


@pytest.fixture
def saved(student: AnimateDiff, tmp_path: Path) -> Path:
    return save_adapter(student, "student", tmp_path / "student", {"recipe": "abc"})


def test_equal_weights_are_equal_bytes(student: AnimateDiff, tmp_path: Path) -> None:
    files = [save_adapter(student, "student", tmp_path / str(k)) / LORA_FILE for k in range(6)]
    assert len({file.read_bytes() for file in files}) == 1
    with safe_open(files[0], "pt") as file:
        assert set(file.metadata()) == {"format", "lora_adapter_metadata"}


def test_stock_pipeline_loads_the_file(
    student: AnimateDiff, saved: Path, tiny_teacher: Path, latents: Tensor, timesteps: Tensor
) -> None:
    pipeline = AnimateDiffPipeline.from_pretrained(tiny_teacher)
    tokens = student.encode_prompt(PROMPTS).tokens_bld.repeat_interleave(latents.shape[2], 0)
    with torch.no_grad():
        teacher = pipeline.unet(latents, timesteps, tokens).sample
        pipeline.load_lora_weights(saved)
        stock = pipeline.unet(latents, timesteps, tokens).sample
        ours = run(student, "student", latents, timesteps)
    assert pipeline.get_list_adapters()["unet"]
    assert (stock - teacher).abs().max() > 1e-2
    torch.testing.assert_close(ours, stock, atol=1e-5, rtol=1e-4)


def test_file_holds_nothing_else(student: AnimateDiff, saved: Path) -> None:
    keys = {f"unet.{name}" for name in student.adapter_parameters("student")}
    assert load_file(saved / LORA_FILE).keys() == keys
    notes = json.loads((saved / "mcm.json").read_text())
    assert notes == {
        "mode": "lora",
        "family": "animatediff",
        "base_fingerprint": fingerprint(student.network),
        "base_fingerprint_half": fingerprint(student.network, half=True),
        "rank": 2,
        "alpha": 5.0,
        "recipe": "abc",
    }


def test_round_trip_keeps_parameters_and_scale(
    student: AnimateDiff, saved: Path, tiny_teacher: Path, latents: Tensor, timesteps: Tensor
) -> None:
    again = load_tiny(tiny_teacher)
    notes = load_adapter(again, saved, "pupil", trainable=True)
    assert notes["recipe"] == "abc"
    theirs = again.adapter_parameters("pupil")
    for name, parameter in student.adapter_parameters("student").items():
        torch.testing.assert_close(theirs[name], parameter)
        assert theirs[name].requires_grad
    torch.testing.assert_close(
        run(again, "pupil", latents, timesteps), run(student, "student", latents, timesteps)
    )


def test_merging_gives_the_same_network(
    student: AnimateDiff, saved: Path, tiny_teacher: Path, latents: Tensor, timesteps: Tensor
) -> None:
    merged = load_tiny(tiny_teacher)
    assert merge_adapter(merged, saved / LORA_FILE)["rank"] == 2
    with torch.no_grad():
        expected = run(student, "student", latents, timesteps)
        ours = run(merged, None, latents, timesteps)
    torch.testing.assert_close(ours, expected, atol=1e-5, rtol=1e-4)


def test_header_of_diffusers_sets_the_scale(
    student: AnimateDiff, saved: Path, tiny_teacher: Path, latents: Tensor, timesteps: Tensor
) -> None:
    weights = {
        key: value / 3 if ".lora_B." in key else value
        for key, value in load_file(saved / LORA_FILE).items()
    }
    header = {"lora_adapter_metadata": json.dumps({"unet.r": 2, "unet.lora_alpha": 6})}
    path = saved.parent / "other.safetensors"
    save_file(weights, path, metadata=header)
    again = load_tiny(tiny_teacher)
    assert load_adapter(again, path, "student") == {}
    torch.testing.assert_close(
        run(again, "student", latents, timesteps),
        run(student, "student", latents, timesteps),
        atol=1e-5,
        rtol=1e-4,
    )


def test_a_full_student_is_a_stock_network(
    tiny_teacher: Path, tmp_path: Path, latents: Tensor, timesteps: Tensor
) -> None:
    whole = load_tiny(tiny_teacher, "full")
    whole.add_adapter("student", 0, 0.0)
    stir(whole, "student")
    folder = save_adapter(whole, "student", tmp_path / "whole")
    again = load_tiny(tiny_teacher, "full")
    assert load_adapter(again, folder, "student")["mode"] == "full"
    expected = run(whole, "student", latents, timesteps)
    torch.testing.assert_close(run(again, "student", latents, timesteps), expected)


def rewrite(folder: Path, change: dict[str, Tensor | None]) -> Path:
    weights = load_file(folder / LORA_FILE) | change
    kept = {key: value for key, value in weights.items() if value is not None}
    path = folder / "changed.safetensors"
    save_file(kept, path)
    return path


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({KEY: torch.zeros(2, 7)}, r"another base: .*to_q.lora_A.weight has shape \(2, 7\), "),
        ({"unet.nowhere.lora_A.weight": torch.zeros(2, 7)}, "nowhere.lora_B.weight is missing"),
        (
            {f"unet.nowhere.lora_{part}.weight": torch.zeros(2, 2) for part in "AB"},
            "another base: it changes unet.nowhere.lora_A.weight",
        ),
        ({"base_model.model.x.lora_A.weight": torch.zeros(2, 7)}, "key base_model.* is not known"),
        ({KEY: None}, f"{KEY} is missing"),
        ({KEY: torch.tensor(1.0)}, rf"{KEY} has shape \(\), expected \(rank"),
        ({KEY: torch.zeros(0, 16)}, rf"{KEY} has shape \(0, 16\), expected \(rank"),
        ({KEY: torch.full((2, 16), torch.nan)}, f"{KEY} holds numbers that are not finite"),
        ({KEY: torch.full((2, 16), torch.inf)}, f"{KEY} holds numbers that are not finite"),
    ],
)
def test_foreign_files_are_refused(
    saved: Path, tiny_teacher: Path, change: dict[str, Tensor | None], message: str
) -> None:
    path = rewrite(saved, change)
    backbone = load_tiny(tiny_teacher)
    for load in (lambda: load_adapter(backbone, path, "x"), lambda: merge_adapter(backbone, path)):
        with pytest.raises(UserError, match=message) as caught:
            load()
        assert str(path) in str(caught.value)
    assert backbone.variants.active is None
    with pytest.raises(UserError, match="'x': not there"):
        backbone.adapter_parameters("x")


def saved_as(folder: Path, place: Path, header: object, **change: object) -> Path:
    """Write the adapter elsewhere, without `mcm.json`, with another header."""
    metadata = None if header is None else {"lora_adapter_metadata": json.dumps(header)}
    weights = load_file(folder / LORA_FILE)
    prefix = change.get("prefix")
    if prefix is not None:
        weights = {key.replace("unet.", str(prefix), 1): value for key, value in weights.items()}
    if "dtype" in change:
        weights = {key: value.to(change["dtype"]) for key, value in weights.items()}
    place.mkdir()
    save_file(weights, place / LORA_FILE, metadata=metadata)
    return place


HEADER: dict[str, object] = {"unet.r": 2, "unet.lora_alpha": 2}


@pytest.mark.parametrize(
    ("header", "change", "message"),
    [
        (None, {}, "nothing says its scale alpha/rank: neither lora_adapter_metadata in its"),
        ({"unet.r": 2}, {}, "nothing says its scale alpha/rank"),
        ({"unet.r": 4, "unet.lora_alpha": 4}, {}, "has rank 2, but its metadata says 4"),
        (HEADER, {"prefix": ""}, r"The keys lack their prefix: write unet\. before each"),
        (HEADER, {"prefix": "base_model.model."}, "keys are PEFT's: name the file adapter_model"),
        (HEADER, {"prefix": "transformer."}, r"key transformer\..* is not known; expected unet"),
        (HEADER, {"dtype": torch.int8}, r"is of torch.int8; expected float32, float16 or bfloat16"),
        (HEADER, {"dtype": torch.float8_e4m3fn}, "is of torch.float8_e4m3fn; expected float32"),
        (HEADER, {"dtype": torch.float64}, "is of torch.float64; expected float32.* Convert it"),
        ([], {}, r"lora_adapter_metadata: got \[\], expected a JSON object with r and"),
        (HEADER | {"unet.lora_alpha": None}, {}, "lora_alpha: got None, expected a number above 0"),
        (HEADER | {"unet.lora_alpha": "2"}, {}, "lora_alpha: got '2', expected a number above 0"),
        (HEADER | {"unet.lora_alpha": math.nan}, {}, "metadata: cannot be read .*NaN is no number"),
        (HEADER | {"unet.rank_pattern": [2]}, {}, r"rank_pattern: got \[2\], expected numbers"),
        (HEADER | {"unet.alpha_pattern": {"to_q": "2"}}, {}, "alpha_pattern: got {'to_q': '2'}"),
        (HEADER | {"unet.alpha_pattern": {"(": 2}}, {}, "alpha_pattern: .*regular expressions"),
    ],
)
def test_what_would_load_wrongly_is_refused(
    saved: Path,
    tiny_teacher: Path,
    tmp_path: Path,
    header: object,
    change: dict[str, object],
    message: str,
) -> None:
    place = saved_as(saved, tmp_path / "other", header, **change)
    with pytest.raises(UserError, match=message) as caught:
        merge_adapter(load_tiny(tiny_teacher), place)
    assert str(place) in str(caught.value)


def test_notes_of_another_student_are_refused(saved: Path, tiny_teacher: Path) -> None:
    notes = json.loads((saved / "mcm.json").read_text())
    (saved / "mcm.json").write_text(json.dumps(notes | {"rank": 4, "alpha": 2.0}))
    with pytest.raises(UserError, match=r"has rank 2, but mcm.json beside it says rank 4"):
        load_adapter(load_tiny(tiny_teacher), saved, "x")


def test_other_weights_of_the_same_shapes_are_refused(saved: Path, tiny_teacher: Path) -> None:
    other = load_tiny(tiny_teacher)
    with torch.no_grad():
        other.network.conv_in.weight.mul_(2)
    with pytest.raises(UserError, match="made for another base: it was trained on weights with"):
        load_adapter(other, saved, "x")
    notes = json.loads((saved / "mcm.json").read_text())
    del notes["base_fingerprint"]
    (saved / "mcm.json").write_text(json.dumps(notes))
    assert load_adapter(other, saved, "x")["rank"] == 2


@pytest.mark.parametrize(
    "pattern",
    [
        {"to_q": 3.0},
        {"attn1.to_q": 3.0, "to_q": 5.0},
        {".*attn1.*to_q": 3.0},
        {"^down_blocks.*to_k": 3.0},
        {r"down_blocks\..*to_q": 3.0, "to_k|to_v": 7.0},
        {"q": 3.0},
    ],
)
def test_patterns_of_rank_and_alpha_are_read_as_peft_reads_them(pattern: dict[str, float]) -> None:
    for block in ("down_blocks.0", "mid_block"):
        for layer in ("to_q", "to_k", "to_v", "to_out.0"):
            module = f"{block}.attentions.0.attn1.{layer}"
            theirs = pattern.get(get_pattern_key(pattern.keys(), module), 1.0)
            assert _of(pattern, module, 1.0) == theirs, module


def test_a_base_that_is_stored_in_half_precision_is_the_same(
    saved: Path, tiny_teacher: Path
) -> None:
    """Its values were rounded, so that they have another digest than those of the training."""
    rounded = load_tiny(tiny_teacher)
    with torch.no_grad():
        for parameter in rounded.network.parameters():
            parameter.copy_(parameter.half())
    notes = json.loads((saved / "mcm.json").read_text())
    assert fingerprint(rounded.network) != notes["base_fingerprint"]
    assert load_adapter(rounded, saved, "x")["rank"] == 2
    with torch.no_grad():
        rounded.network.conv_in.weight.mul_(2)
    with pytest.raises(UserError, match="made for another base"):
        load_adapter(rounded, saved, "y")


@pytest.mark.parametrize("alpha", [0, "x", None, [2]])
def test_notes_with_a_wrong_alpha_are_told(saved: Path, tiny_teacher: Path, alpha: object) -> None:
    notes = json.loads((saved / "mcm.json").read_text())
    (saved / "mcm.json").write_text(json.dumps(notes | {"alpha": alpha}))
    with pytest.raises(UserError, match=r"mcm\.json: alpha: got .*, expected a number above 0"):
        load_adapter(load_tiny(tiny_teacher), saved, "x")


def test_other_readers_may_read_the_weights_too(saved: Path) -> None:
    assert (saved / LORA_FILE).stat().st_mode == (saved / "mcm.json").stat().st_mode


def test_unsafe_and_broken_files_are_refused(saved: Path, backbone: AnimateDiff) -> None:
    pickled = saved / "pytorch_lora_weights.bin"
    torch.save({}, pickled)
    with pytest.raises(UserError, match="not a safetensors file; pickled"):
        load_adapter(backbone, pickled, "x")
    with pytest.raises(UserError, match="no such file"):
        load_adapter(backbone, saved / "nothing.safetensors", "x")
    renamed = pickled.rename(saved / "renamed.safetensors")
    with pytest.raises(UserError, match=r"renamed\.safetensors: not a safetensors file; pickled"):
        load_adapter(backbone, renamed, "x")
    half = saved / "half.safetensors"
    half.write_bytes((saved / LORA_FILE).read_bytes()[:-100])
    with pytest.raises(UserError, match="half-downloaded"):
        load_adapter(backbone, half, "x")
    (saved / "mcm.json").write_text("[]")
    with pytest.raises(UserError, match=r"mcm.json: got \[\], expected a JSON object"):
        load_adapter(backbone, saved, "x")


def test_a_sum_does_what_its_adapters_do_together(
    student: AnimateDiff, saved: Path, tiny_teacher: Path, latents: Tensor, timesteps: Tensor
) -> None:
    """Merged one after the other they change the weights as the sum does; room left is nothing."""
    student.add_adapter("looks", rank=3, alpha=1.5)
    stir(student, "looks")
    looks = save_adapter(student, "looks", saved.parent / "looks")
    both = load_tiny(tiny_teacher)
    for path in (saved, looks):
        merge_adapter(both, _without_base(path))
    summed = load_tiny(tiny_teacher)
    add_sum(summed, [saved, looks], "student", rank=8, alpha=4.0)
    torch.testing.assert_close(
        run(summed, "student", latents, timesteps),
        run(both, None, latents, timesteps),
        atol=1e-4,
        rtol=1e-3,
    )
    assert all(p.requires_grad for p in summed.adapter_parameters("student").values())


def test_a_sum_must_have_room_for_all(
    student: AnimateDiff, saved: Path, tiny_teacher: Path
) -> None:
    with pytest.raises(UserError, match=r"student\.rank: got 3, .* 2 \+ 2 = 4"):
        add_sum(load_tiny(tiny_teacher), [saved, saved], "student", rank=3, alpha=3.0)


def _without_base(folder: Path) -> Path:
    """Let an adapter be merged into weights that another one has changed."""
    notes = json.loads((folder / "mcm.json").read_text())
    other = folder.parent / f"{folder.name}-free"
    other.mkdir()
    (other / LORA_FILE).write_bytes((folder / LORA_FILE).read_bytes())
    del notes["base_fingerprint"]
    (other / "mcm.json").write_text(json.dumps(notes))
    return other
