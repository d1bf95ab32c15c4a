import pytest
import torch
from torch import Tensor
from torch.nn.functional import avg_pool2d, interpolate

from mcm.appearance.critic import Critic, CriticConfig
from mcm.errors import UserError

TEXT = 6


def seeded(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def small(backbone: str = "scratch", **fields: object) -> Critic:
    fields = {"levels": (0, 1), "width": 16, **fields}
    return Critic(CriticConfig(text_dim=TEXT, backbone=backbone, **fields))  # type: ignore[arg-type]


def sharp(batch: int, side: int, generator: torch.Generator) -> Tensor:
    """Coloured rectangles with hard edges on a coloured ground."""
    frames = torch.rand(batch, 3, 1, 1, generator=generator).repeat(1, 1, side, side) * 2 - 1
    for frame in frames:
        for _ in range(4):
            y, x, h, w = torch.randint(side // 8, side // 2, (4,), generator=generator).tolist()
            frame[:, y : y + h, x : x + w] = torch.rand(3, 1, 1, generator=generator) * 2 - 1
    return frames


def poor(frames: Tensor) -> Tensor:
    """Blurred by resampling and stamped in the middle."""
    side = frames.shape[-1]
    blurred = interpolate(avg_pool2d(frames, 4), scale_factor=4, mode="bilinear")
    stamp = torch.zeros(side, side)
    stamp[side * 3 // 8 : side * 5 // 8 : 3, side // 4 : side * 3 // 4] = 0.4
    return (blurred + stamp).clamp(-1, 1)


def batch(count: int = 4, side: int = 32) -> tuple[Tensor, Tensor, Tensor]:
    real = sharp(count, side, seeded(1))
    return real, poor(real), torch.randn(count, TEXT, generator=seeded(2))


@pytest.mark.parametrize("backbone", ["scratch", "efficientnet"])
@pytest.mark.parametrize("loss", ["hinge", "relativistic"])
def test_student_gradients_reach_the_frames_and_nothing_else(backbone: str, loss: str) -> None:
    critic = small(backbone, loss=loss)
    real, fake, text = batch()
    fake.requires_grad_()
    critic.generator_loss(fake, text, seeded(), real, text).backward()
    assert fake.grad is not None and (fake.grad.flatten(1).abs().sum(1) > 0).all()
    assert all(p.grad is None for p in critic.parameters())
    trained = [p.requires_grad for n, p in critic.named_parameters() if critic._is_trained(n)]
    assert trained and all(trained)


@pytest.mark.parametrize("penalty", ["none", "features", "pixels"])
@pytest.mark.parametrize("backbone", ["scratch", "efficientnet"])
def test_critic_gradients_reach_what_trains_and_nothing_else(backbone: str, penalty: str) -> None:
    critic = small(backbone, penalty=penalty, penalty_side="both")
    real, fake, text = batch()
    fake.requires_grad_()
    result = critic.critic_loss(real, fake, text, text, seeded())
    result["loss"].backward()
    assert fake.grad is None
    for name, parameter in critic.named_parameters():
        assert (parameter.grad is not None) == critic._is_trained(name), name
    assert (result["penalty"] > 0) == (penalty != "none")


def test_the_loss_is_adversarial_plus_half_the_weighted_penalty() -> None:
    critic = small("efficientnet", penalty_weight=3.0).eval()
    real, fake, text = batch()
    result = critic.critic_loss(real, fake, text, text, seeded())
    expected = result["adversarial"] + 1.5 * result["penalty"]
    torch.testing.assert_close(result["loss"].detach(), expected)


def test_r2_adds_to_r1() -> None:
    real, fake, text = batch()
    penalties = []
    for side in ("real", "both"):
        torch.manual_seed(0)
        critic = small("efficientnet", penalty_side=side, augment=()).eval()
        penalties.append(critic.critic_loss(real, fake, text, text, seeded())["penalty"])
        swapped = critic.critic_loss(fake, real, text, text, seeded())["penalty"]
        if side == "both":
            torch.testing.assert_close(swapped, penalties[1])
    assert penalties[1] > penalties[0]


def test_feature_penalty_matches_its_definition() -> None:
    critic = small("efficientnet", augment=(), levels=(1, 2)).eval()
    real, fake, text = batch()
    features = [f.detach().requires_grad_() for f in critic.features(real)]
    levels = critic.score(features, text)
    (sum(level.mean(1).sum() for level in levels) / 2).backward()
    expected = sum(f.grad.square().sum() for f in features) / len(real)
    got = critic.critic_loss(real, fake, text, text, seeded())["penalty"]
    torch.testing.assert_close(got, expected)


def test_forward_joins_the_levels_and_is_deterministic_under_the_generator() -> None:
    critic = small("efficientnet", levels=None).eval()
    real, _, text = batch(2, 64)
    logits = critic(real, text, seeded(5))
    assert logits.shape == (2, 3 * 16 + 4)
    assert torch.equal(logits, critic(real, text, seeded(5)))
    assert not torch.equal(logits, critic(real, text, seeded(6)))


def test_frames_of_two_sizes_are_judged_together() -> None:
    critic = small("efficientnet", size=32)
    real, text = sharp(3, 48, seeded(3)), torch.randn(3, TEXT)
    fake = torch.rand(2, 3, 32, 40) * 2 - 1
    result = critic.critic_loss(real, fake, text, text[:2], seeded())
    assert result["loss"].isfinite()


@pytest.mark.parametrize(
    "fields",
    [
        {"backbone": "scratch"},
        {"backbone": "efficientnet"},
        {"backbone": "efficientnet", "layout": "tokens", "loss": "relativistic"},
    ],
)
def test_learns_to_tell_sharp_from_blurred_and_stamped(fields: dict[str, object]) -> None:
    critic = small(augment=("color", "translation"), **fields)
    optimiser = torch.optim.Adam([p for p in critic.parameters() if p.requires_grad], lr=5e-3)
    generator, text = seeded(4), torch.zeros(6, TEXT)
    for _ in range(40):
        real, fake = sharp(6, 48, generator), poor(sharp(6, 48, generator))
        optimiser.zero_grad()
        critic.critic_loss(real, fake, text, text, generator)["loss"].backward()
        optimiser.step()
    critic.eval()
    unseen = sharp(32, 48, seeded(99))
    with torch.no_grad():
        real, fake = (
            critic(f, torch.zeros(32, TEXT), seeded(7)).mean(1) for f in (unseen, poor(unseen))
        )
    assert (real > fake).float().mean() > 0.95
    assert real.mean() - fake.mean() > real.std() + fake.std()


def test_learns_which_text_belongs_to_which_frame() -> None:
    critic = small("efficientnet", augment=("translation",))
    optimiser = torch.optim.Adam([p for p in critic.parameters() if p.requires_grad], lr=5e-3)
    frames = torch.full((4, 3, 32, 32), -1.0)
    frames[:2, 0], frames[2:, 2] = 1.0, 1.0
    right = torch.eye(2, TEXT).repeat_interleave(2, 0)
    wrong, generator = right.flip(0), seeded(1)
    for _ in range(30):
        optimiser.zero_grad()
        critic.critic_loss(frames, frames, right, wrong, generator)["loss"].backward()
        optimiser.step()
    with torch.no_grad():
        matched, swapped = (critic(frames, t, seeded()).mean(1) for t in (right, wrong))
    assert (matched > 0.5).all() and (swapped < -0.5).all()


def test_checkpoint_holds_heads_only_and_restores_them_exactly() -> None:
    first, second = small("efficientnet"), small("efficientnet")
    real, fake, text = batch()
    first.critic_loss(real, fake, text, text, seeded())
    state = first.trainable_state_dict()
    assert state and all(name.startswith("heads.") for name in state)
    second.load_trainable_state_dict(state)
    results = [c.critic_loss(real, fake, text, text, seeded())["loss"] for c in (first, second)]
    assert torch.equal(results[0], results[1])


def test_checkpoint_of_a_trainable_backbone_holds_it() -> None:
    names = small("scratch").trainable_state_dict()
    assert any(name.startswith("features.") for name in names)


def test_checkpoint_of_another_critic_is_a_user_error() -> None:
    with pytest.raises(UserError, match="do not fit this critic"):
        small("scratch").load_trainable_state_dict(small("efficientnet").trainable_state_dict())


def test_relativistic_student_loss_needs_real_frames() -> None:
    critic = small(loss="relativistic")
    _, fake, text = batch()
    with pytest.raises(UserError, match="pass real_b3hw"):
        critic.generator_loss(fake, text, seeded())
    assert all(p.requires_grad for p in critic.parameters())


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("backbone", "vgg"),
        ("layout", "grid"),
        ("loss", "wgan"),
        ("penalty", "gradient"),
        ("penalty_side", "fake"),
        ("penalty_weight", -1.0),
        ("augment", ("colour",)),
        ("size", 0),
        ("width", 0),
    ],
)
def test_wrong_fields_are_user_errors(field: str, value: object) -> None:
    with pytest.raises(UserError, match=f"critic.{field}"):
        CriticConfig(text_dim=TEXT, **{field: value})  # type: ignore[arg-type]
