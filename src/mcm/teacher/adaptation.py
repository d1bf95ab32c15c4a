"""Give a teacher's image layers the looks of an image set: the first of two stages.

What MCM is compared with: AnimateLCM (Wang et al., 2024, arXiv 2402.00769) learns looks on images
and motion on videos one after the other, where MCM keeps them apart in one stage.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

import torch
from diffusers import AutoencoderDC, UNet2DConditionModel, UNetMotionModel
from safetensors.torch import load_file, save
from torch import Tensor

from mcm.backbones.adapters import save_adapter
from mcm.backbones.animatediff import LORA_TARGETS, MOTION_MARK
from mcm.backbones.folder import SCHEDULER as SCHEDULER_FILE
from mcm.backbones.json_files import read_json
from mcm.backbones.loading import load_backbone
from mcm.backbones.lora_files import A
from mcm.backbones.variants import LoraVariants
from mcm.data.files import write_atomically
from mcm.data.image import read_image
from mcm.data.samples import Sample, digest_samples
from mcm.data.sources import open_source
from mcm.digests import digest_files
from mcm.distillation.target import copy_values
from mcm.errors import UserError
from mcm.teacher.assemble import copy_all_but_network
from mcm.teacher.corpus import LatentCorpus
from mcm.teacher.denoiser import SCHEDULER, train_on_frames
from mcm.teacher.loop import LoopConfig

_LOOKS = "looks"
_IMAGE_KEYS = (
    "sample_size",
    "in_channels",
    "out_channels",
    "block_out_channels",
    "layers_per_block",
    "cross_attention_dim",
    "norm_num_groups",
)
_NOISE_KEYS = ("num_train_timesteps", "beta_schedule", "prediction_type", "rescale_betas_zero_snr")


def adapt_to_images(
    teacher: Path,
    images: Path,
    output: Path,
    config: LoopConfig,
    batch_size: int = 32,
    minutes: float | None = None,
    compiled: bool = False,
    rank: int | None = None,
) -> None:
    """Train a teacher's image layers on stills and write the whole teacher again, or an adapter.

    Args:
        teacher: Folder in the layout of diffusers, as the embedded teacher's.
        images: Image shards, or a folder with captions.
        output: Folder to write; holds the run as well, which is resumed if there.
        config: The schedule.
        batch_size: Images in a batch.
        minutes: Stop after this time even if steps remain.
        compiled: Compile the network first; needs a C++ compiler.
        rank: Train LoRA of this rank on the image layers instead, and write that alone.

    Raises:
        UserError: There is not a single readable image, the teacher is of another kind than the
            embedded one, or the run found there began with others.
    """
    _check_kind(teacher)
    samples = [sample for sample in open_source(images) if isinstance(sample, Sample)]
    if not samples:
        raise UserError(f"{images}: holds no readable image with a caption")
    run = output / "run"
    run.mkdir(parents=True, exist_ok=True)
    _check_same(run / "made.json", teacher, samples)
    stills = _encoded(samples, teacher / "vae", run / "images.safetensors")
    torch.manual_seed(config.seed)
    video = UNetMotionModel.from_pretrained(teacher / "unet")
    network = image_unet(video)
    layers = None if rank is None else _add_lora(network, rank)
    train_on_frames(network, stills, teacher, run, config, batch_size, minutes, compiled)
    if layers is not None:
        _write_lora(layers, teacher, output)
        return
    copy_all_but_network(teacher, output)
    with_image_layers(video, network).save_pretrained(output / "unet")


def _add_lora(network: UNet2DConditionModel, rank: int) -> LoraVariants:
    """Put LoRA on the layers that a student's adapter changes; all else is frozen."""
    layers = LoraVariants(network, LORA_TARGETS)
    layers.add(_LOOKS, rank, float(rank), trainable=True)
    layers.wear(_LOOKS)
    return layers


def _write_lora(layers: LoraVariants, teacher: Path, output: Path) -> None:
    """Write LoRA of the image layers as an adapter of the whole teacher."""
    backbone = load_backbone(teacher, "cpu", "float32")
    learnt = layers.parameters(_LOOKS)
    rank, alpha = layers.rank_alpha(_LOOKS)
    modules = [name.removesuffix(A) for name in learnt if name.endswith(A)]
    assert isinstance(backbone.variants, LoraVariants)
    backbone.variants.add(_LOOKS, rank, alpha, trainable=False, targets=modules)
    copy_values(backbone.adapter_parameters(_LOOKS), learnt)
    save_adapter(backbone, _LOOKS, output, dtype=torch.float16)


def image_unet(video: UNetMotionModel) -> UNet2DConditionModel:
    """Return the image layers of a video network as a network of their own."""
    config = video.config
    network = UNet2DConditionModel(
        down_block_types=_blocks_2d(config["down_block_types"]),
        up_block_types=_blocks_2d(config["up_block_types"]),
        attention_head_dim=config["num_attention_heads"],
        **{key: config[key] for key in _IMAGE_KEYS},
    )
    network.load_state_dict(_image_layers(video.state_dict()))
    return network


def _blocks_2d(types: Sequence[str]) -> tuple[str, ...]:
    """Return the names of a video network's blocks without their motion modules."""
    return tuple(name.replace("Motion", "2D") for name in types)


def with_image_layers(video: UNetMotionModel, image: UNet2DConditionModel) -> UNetMotionModel:
    """Put image layers back under the motion modules, in place."""
    found = video.load_state_dict(image.state_dict(), strict=False)
    assert not found.unexpected_keys
    return video


def _image_layers(state: dict[str, Tensor]) -> dict[str, Tensor]:
    return {name: value for name, value in state.items() if MOTION_MARK not in name}


def _check_kind(teacher: Path) -> None:
    """Refuse a teacher whose layers, autoencoder or noise are not those of the embedded one."""
    wanted = {
        Path("unet", "config.json"): {"_class_name": "UNetMotionModel"},
        Path("vae", "config.json"): {"_class_name": "AutoencoderDC"},
        SCHEDULER_FILE: {key: SCHEDULER[key] for key in _NOISE_KEYS},
    }
    for file, values in wanted.items():
        found = read_json(teacher / file, "a teacher of the embedded kind")
        for key, value in values.items():
            if found.get(key) != value:
                raise UserError(
                    f"{teacher / file}: {key}: got {found.get(key)!r}, expected {value!r}: looks "
                    "are learnt on a teacher of the embedded kind, such as fluent"
                )


def _check_same(card: Path, teacher: Path, samples: Sequence[Sample]) -> None:
    """Note what a run is made of, or refuse to go on with anything else.

    Raises:
        UserError: The run began with another teacher or other images.
    """
    made = {"teacher": digest_files([teacher]), "images": digest_samples(samples)}
    if not card.is_file():
        write_atomically(card, json.dumps(made).encode())
    before = read_json(card, "what a run was begun with")
    for name, other in (("teacher", "another teacher"), ("images", "other images")):
        if before.get(name) != made[name]:
            raise UserError(
                f"{card.parent}: a run that began with {other}; give another output folder, or "
                "what it began with"
            )


def _encoded(samples: Sequence[Sample], vae: Path, path: Path) -> LatentCorpus:
    """Return images as clips of one latent frame; encoded once, kept in a file."""
    if not path.is_file():
        model = AutoencoderDC.from_pretrained(vae, torch_dtype=torch.float32)
        latents = torch.stack([_encode(sample, model) for sample in samples])
        write_atomically(path, save({"latents": latents}))
    latents = load_file(path)["latents"]
    captions = [sample.caption for sample in samples]
    return LatentCorpus(latents, captions)


@torch.no_grad()
def _encode(sample: Sample, vae: AutoencoderDC) -> Tensor:
    """Return the latent of a still, (c, 1, h, w)."""
    pixels = torch.tensor(read_image(sample.media)).permute(2, 0, 1)[None].float()
    latent: Tensor = vae.encode(pixels / 127.5 - 1).latent * vae.config.scaling_factor
    return latent[0][:, None].half()
