"""Give a teacher's image layers the looks of an image set: the first of two stages.

What MCM is compared with: AnimateLCM (Wang et al., 2024, arXiv 2402.00769) learns looks on images
and motion on videos one after the other, where MCM keeps them apart in one stage.
"""

from __future__ import annotations

from pathlib import Path

import torch
from diffusers import AutoencoderDC, UNet2DConditionModel, UNetMotionModel
from safetensors.torch import load_file, save_file
from torch import Tensor

from mcm.data.image import read_image
from mcm.data.samples import Sample
from mcm.data.sources import open_source
from mcm.errors import UserError
from mcm.teacher.assemble import copy_all_but_network
from mcm.teacher.corpus import LatentCorpus
from mcm.teacher.denoiser import train_image_unet
from mcm.teacher.loop import LoopConfig

_IMAGE_KEYS = (
    "sample_size",
    "in_channels",
    "out_channels",
    "block_out_channels",
    "layers_per_block",
    "cross_attention_dim",
    "norm_num_groups",
)


def adapt_to_images(
    teacher: Path,
    images: Path,
    output: Path,
    config: LoopConfig,
    batch_size: int = 32,
    minutes: float | None = None,
    compiled: bool = False,
) -> None:
    """Train a teacher's image layers on stills and write the whole teacher again.

    Args:
        teacher: Folder in the layout of diffusers, as the embedded teacher's.
        images: Image shards, or a folder with captions.
        output: Folder to write; holds the run as well, which is resumed if there.
        config: The schedule.
        batch_size: Images in a batch.
        minutes: Stop after this time even if steps remain.
        compiled: Compile the network first; needs a C++ compiler.

    Raises:
        UserError: There is not a single readable image.
    """
    run = output / "run"
    run.mkdir(parents=True, exist_ok=True)
    video = UNetMotionModel.from_pretrained(teacher / "unet")
    image_unet(video).save_pretrained(run / "start")
    stills = _encoded(images, teacher / "vae", run / "images.safetensors")
    train_image_unet(stills, teacher, run, config, batch_size, minutes, run / "start", compiled)
    copy_all_but_network(teacher, output)
    adapted = UNet2DConditionModel.from_pretrained(run / "unet")
    with_image_layers(video, adapted).save_pretrained(output / "unet")


def image_unet(video: UNetMotionModel) -> UNet2DConditionModel:
    """Return the image layers of a video network as a network of their own."""
    config = video.config
    levels = len(config["block_out_channels"])
    network = UNet2DConditionModel(
        down_block_types=("CrossAttnDownBlock2D",) * levels,
        up_block_types=("CrossAttnUpBlock2D",) * levels,
        attention_head_dim=config["num_attention_heads"],
        **{key: config[key] for key in _IMAGE_KEYS},
    )
    network.load_state_dict(_image_layers(video.state_dict()))
    return network


def with_image_layers(video: UNetMotionModel, image: UNet2DConditionModel) -> UNetMotionModel:
    """Put image layers back under the motion modules, in place."""
    found = video.load_state_dict(image.state_dict(), strict=False)
    assert not found.unexpected_keys
    return video


def _image_layers(state: dict[str, Tensor]) -> dict[str, Tensor]:
    return {name: value for name, value in state.items() if "motion_modules." not in name}


def _encoded(images: Path, vae: Path, path: Path) -> LatentCorpus:
    """Return the images as clips of one latent frame; encoded once, kept in a file."""
    samples = [sample for sample in open_source(images) if isinstance(sample, Sample)]
    if not samples:
        raise UserError(f"{images}: holds no readable image with a caption")
    if not path.is_file():
        model = AutoencoderDC.from_pretrained(vae, torch_dtype=torch.float32)
        save_file({"latents": torch.stack([_encode(s, model) for s in samples])}, path)
    latents = load_file(path)["latents"]
    captions = [sample.caption for sample in samples]
    return LatentCorpus(latents, captions)


@torch.no_grad()
def _encode(sample: Sample, vae: AutoencoderDC) -> Tensor:
    """Return the latent of a still, (c, 1, h, w)."""
    pixels = torch.from_numpy(read_image(sample.media)).permute(2, 0, 1)[None].float()
    latent: Tensor = vae.encode(pixels / 127.5 - 1).latent * vae.config.scaling_factor
    return latent[0][:, None].half()
