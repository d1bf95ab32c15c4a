"""The official client against a real server of a tiny AnimateDiff student."""

import io
import zipfile
from collections.abc import Iterator
from pathlib import Path

import httpx
import numpy as np
import openai
import pytest
from PIL import Image
from tests.serving.live import running, tiny_student

import mcm
from mcm.data.video import read_video
from mcm.media import read_metadata, save_video
from mcm.safety.verify import verify
from mcm.sampling.loading import load
from mcm.serving.config import ServeConfig
from mcm.serving.models import load_models

pytestmark = pytest.mark.filterwarnings("ignore:The Sora API:DeprecationWarning")
FOX = "a fox moving left on a blue background"


@pytest.fixture(scope="module")
def client(tmp_path_factory: pytest.TempPathFactory) -> Iterator[openai.OpenAI]:
    student = tiny_student()
    config = ServeConfig(models=(str(student), str(student.parent / "tiny")), device="cpu")
    models = load_models(config)
    with running(tmp_path_factory.mktemp("serve"), models) as server:
        yield openai.OpenAI(api_key="any", base_url=f"{server.address}/v1", max_retries=0)


def test_create_poll_download_list_delete(client: openai.OpenAI, tmp_path: Path) -> None:
    video = client.videos.create_and_poll(
        prompt=FOX, extra_body={"steps": 2, "seed": 7}, poll_interval_ms=20
    )
    assert (video.status, video.progress, video.object) == ("completed", 100, "video")
    assert (video.model, video.size, video.seconds, video.prompt) == (
        "tiny-mcm",
        "32x32",
        "0.5",
        FOX,
    )
    file = tmp_path / "fox.mp4"
    client.videos.download_content(video.id).write_to_file(file)
    assert read_metadata(file)["seed"] == 7
    assert read_video(file, frames=4, fps=8, size=(32, 32)).shape == (4, 32, 32, 3)
    assert [one.id for one in client.videos.list()] == [video.id]
    assert client.videos.delete(video.id).deleted
    assert list(client.videos.list()) == []
    with pytest.raises(openai.NotFoundError):
        client.videos.retrieve(video.id)


def test_the_clip_is_that_of_the_command_line(client: openai.OpenAI) -> None:
    video = client.videos.create_and_poll(
        prompt=FOX, extra_body={"steps": 2, "seed": 7, "format": "frames"}, poll_interval_ms=20
    )
    archive = zipfile.ZipFile(io.BytesIO(client.videos.download_content(video.id).content))
    frames = [np.asarray(Image.open(archive.open(name))) for name in sorted(archive.namelist())]
    expected = load(tiny_student(), "cpu").generate(FOX, steps=2, seed=7).frames
    assert np.abs(np.stack(frames).astype(int) - expected).max() <= 1


def test_every_option_of_the_command_line_is_there(client: openai.OpenAI) -> None:
    options = {"sampler": "ddim", "stochasticity": 0.5, "loop": True, "negative_prompt": "blur"}
    video = client.videos.create_and_poll(
        prompt=FOX,
        model="tiny",
        seconds="0.75",  # type: ignore[arg-type]
        extra_body={**options, "steps": 2, "seed": 7, "format": "frames"},
        poll_interval_ms=20,
    )
    archive = zipfile.ZipFile(io.BytesIO(client.videos.download_content(video.id).content))
    frames = [np.asarray(Image.open(archive.open(name))) for name in sorted(archive.namelist())]
    model = load(tiny_student().parent / "tiny", "cpu")
    expected = model.generate(FOX, steps=2, seed=7, frames=6, **options).frames  # type: ignore[arg-type]
    assert np.abs(np.stack(frames).astype(int) - expected).max() <= 1
    assert video.model_extra is not None
    assert {name: video.model_extra[name] for name in options} == options


def test_alpha_is_in_every_format_that_holds_it(
    client: openai.OpenAI, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("mcm.media.matte._LEAST_PLAIN", 0.0)
    monkeypatch.setattr("mcm.media.matte._MOST_NOISE", 999.0)
    video = client.videos.create_and_poll(
        prompt=FOX, extra_body={"steps": 1, "alpha": True}, poll_interval_ms=20
    )
    assert video.status == "completed", video.error
    webp = client.videos.download_content(video.id)
    assert Image.open(io.BytesIO(webp.content)).mode == "RGBA"
    sheet = client.videos.download_content(video.id, extra_query={"format": "sheet"}).content
    png = zipfile.ZipFile(io.BytesIO(sheet)).read("clip.png")
    assert Image.open(io.BytesIO(png)).mode == "RGBA"
    mp4 = client.videos.download_content(video.id, extra_query={"format": "mp4"}).content
    assert mp4[4:8] == b"ftyp"
    with pytest.raises(openai.BadRequestError, match="alpha: gif holds no transparency"):
        client.videos.create(prompt=FOX, extra_body={"alpha": True, "format": "gif"})


@pytest.mark.parametrize("name", ["in.mp4", "in.png"])
def test_an_upload_is_edited_as_on_the_command_line(
    client: openai.OpenAI, tmp_path: Path, name: str
) -> None:
    frames = np.random.default_rng(0).integers(0, 256, (6, 40, 48, 3), dtype=np.uint8)
    save_video(frames, tmp_path / "in.mp4", fps=8)
    Image.fromarray(frames[0]).save(tmp_path / "in.png")
    video = client.videos.create_and_poll(
        prompt=FOX,
        input_reference=tmp_path / name,
        extra_body={"steps": 2, "seed": 7, "strength": 0.5, "format": "frames"},
        poll_interval_ms=20,
    )
    assert (video.status, video.model_extra["strength"]) == ("completed", 0.5)  # type: ignore[index]
    archive = zipfile.ZipFile(io.BytesIO(client.videos.download_content(video.id).content))
    made = [np.asarray(Image.open(archive.open(one))) for one in sorted(archive.namelist())]
    expected = mcm.edit(tmp_path / name, FOX, tiny_student(), strength=0.5, steps=2, seed=7)
    assert np.abs(np.stack(made).astype(int) - expected.frames).max() <= 1
    mp4 = tmp_path / "out.mp4"
    client.videos.download_content(video.id, extra_query={"format": "mp4"}).write_to_file(mp4)
    manifest = verify(mp4).manifest
    assert manifest.ingredients == [f"source{Path(name).suffix}"]


@pytest.mark.parametrize("format", ["mp4", "webm", "gif", "webp", "png", "jpeg"])
def test_an_upload_without_a_name_is_known_by_its_first_bytes(
    client: openai.OpenAI, tmp_path: Path, format: str
) -> None:
    frames = np.random.default_rng(0).integers(0, 256, (6, 40, 48, 3), dtype=np.uint8)
    path = tmp_path / f"in.{format}"
    if format in ("png", "jpeg"):
        Image.fromarray(frames[0]).save(path)
    else:
        save_video(frames, path, fps=8)
    video = client.videos.create(prompt=FOX, input_reference=path.read_bytes())
    assert video.model_extra is not None
    assert video.model_extra["strength"] == 0.6
    client.videos.delete(video.id)


def test_every_format_and_variant_comes_from_one_job(client: openai.OpenAI) -> None:
    video = client.videos.create_and_poll(prompt=FOX, extra_body={"steps": 1}, poll_interval_ms=20)

    def get(**query: str) -> tuple[str, bytes]:
        answer = client.videos.with_raw_response.download_content(video.id, extra_query=query)
        return answer.headers["content-type"], answer.content

    starts = {
        "mp4": ("video/mp4", b"\x00\x00\x00"),
        "webm": ("video/webm", b"\x1a\x45\xdf\xa3"),
        "gif": ("image/gif", b"GIF89a"),
        "webp": ("image/webp", b"RIFF"),
        "frames": ("application/zip", b"PK"),
        "sheet": ("application/zip", b"PK"),
    }
    for name, (kind, start) in starts.items():
        found, body = get(format=name)
        assert (found, body[: len(start)]) == (kind, start), name
    assert get(variant="thumbnail")[1].startswith(b"\x89PNG")
    kind, manifest = get(variant="c2pa")
    assert kind == "application/c2pa"
    parts = {"file": get(format="webm")[1], "c2pa": manifest}
    told = httpx.post(f"{client.base_url}verify", files=parts, timeout=120).json()
    assert told["manifest"]["state"] == "valid"
    assert told["manifest"]["actions"] == ["c2pa.created"]
    sheet = zipfile.ZipFile(io.BytesIO(get(variant="spritesheet")[1]))
    assert sorted(sheet.namelist()) == ["clip.json", "clip.png"]


def test_pages_of_the_list_follow_each_other(client: openai.OpenAI) -> None:
    for one in client.videos.list():
        client.videos.delete(one.id)
    ids = [client.videos.create(prompt=f"a star {n}").id for n in range(5)]
    assert [one.id for one in client.videos.list(limit=2)] == ids[::-1]
    assert [one.id for one in client.videos.list(limit=2, order="asc")] == ids
    page = client.videos.list(limit=3)
    assert (len(page.data), page.has_more) == (3, True)


def test_models_are_listed(client: openai.OpenAI) -> None:
    assert [model.id for model in client.models.list()] == ["tiny-mcm", "tiny"]
    assert client.models.retrieve("tiny").owned_by == "mcm"
    with pytest.raises(openai.NotFoundError):
        client.models.retrieve("sora-2")


def test_the_teacher_has_its_own_steps_and_guidance(client: openai.OpenAI) -> None:
    video = client.videos.create(prompt=FOX, model="tiny")
    assert video.model_extra is not None
    assert (video.model_extra["steps"], video.model_extra["guidance"]) == (50, 3.0)
    client.videos.delete(video.id)


@pytest.mark.parametrize(
    ("values", "param"),
    [
        ({"prompt": ""}, "prompt"),
        ({"prompt": "   "}, "prompt"),
        ({"prompt": "\u200b\u200b"}, "prompt"),
        ({"prompt": "\u2060 \ufe0f\u00a0\n"}, "prompt"),
        ({"prompt": "a" * 10_000}, "prompt"),
        ({"prompt": "a\x00fox"}, "prompt"),
        ({"prompt": "a\x1b[31mfox"}, "prompt"),
        ({"model": "sora-2"}, "model"),
        ({"seconds": "12"}, "seconds"),
        ({"seconds": "-1"}, "seconds"),
        ({"size": "1280x720000"}, "size"),
        ({"size": "30x30"}, "size"),
        ({"steps": 99}, "steps"),
        ({"steps": 30}, "steps"),
        ({"steps": 21, "sampler": "consistency"}, "steps"),
        ({"steps": "many"}, "steps"),
        ({"guidance": "nan"}, "guidance"),
        ({"seed": -1}, "seed"),
        ({"format": "../../etc/passwd"}, "format"),
        ({"stepps": 4}, "stepps"),
    ],
)
def test_mistakes_are_told_in_openais_shape(
    client: openai.OpenAI, values: dict[str, object], param: str
) -> None:
    with pytest.raises(openai.BadRequestError) as caught:
        client.videos.create(**{"prompt": FOX}, extra_body=values)  # type: ignore[arg-type]
    assert caught.value.param == param
    assert caught.value.type == "invalid_request_error"
    assert param in caught.value.message


@pytest.mark.parametrize(
    "prompt", ["🦊 → ⭐ 👩‍🚀", "ثعلب يتحرك إلى اليسار", "a fox\nmoving", "狐狸"]
)
def test_prompts_of_every_script_are_made(client: openai.OpenAI, prompt: str) -> None:
    video = client.videos.create_and_poll(
        prompt=prompt, extra_body={"steps": 1}, poll_interval_ms=20
    )
    assert (video.status, video.prompt) == ("completed", prompt)
    assert client.videos.download_content(video.id).content


def test_uploads_are_refused(client: openai.OpenAI) -> None:
    for name in ("../../etc/passwd", "a\\b.png", "\u202egnp.exe", "x" * 5000):
        with pytest.raises(openai.BadRequestError, match=r"input_reference|multipart"):
            client.videos.create(prompt=FOX, input_reference=(name, b"\x89PNG", "image/png"))


def test_a_cut_prompt_is_told(client: openai.OpenAI) -> None:
    video = client.videos.create_and_poll(
        prompt=f"{FOX} and a star going up", extra_body={"steps": 1}, poll_interval_ms=20
    )
    assert video.model_extra is not None
    assert "over the limit of 12 tokens" in video.model_extra["warnings"][0]
