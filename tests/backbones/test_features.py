import pytest
import torch
from tests.backbones.family import every_family, folder_of, inputs
from tests.backbones.tiny_families import load_tiny

from mcm.backbones.features import middle


@every_family
@pytest.mark.parametrize("checkpointed", [False, True])
def test_features_are_a_clip_of_the_teachers_middle(family: str, checkpointed: bool) -> None:
    """They keep the clip's frames or fewer, differ with text and noise, and lead back to it."""
    torch.manual_seed(0)
    backbone = load_tiny(folder_of(family))
    backbone.add_adapter("student", 2, 2.0)
    if checkpointed:
        backbone.enable_gradient_checkpointing()
    x_bcthw, _, condition = inputs(backbone)
    x_bcthw.requires_grad_()
    t_b = torch.tensor([600, 600])
    with backbone.using(None):
        features = backbone.features(x_bcthw, t_b, condition)
        again = backbone.features(x_bcthw, t_b, condition[torch.tensor([1, 0])])
    batch, width, frames, rows, columns = features.shape
    assert (batch, width) == (2, backbone.feature_width)
    assert 1 <= frames <= x_bcthw.shape[2]
    assert rows <= x_bcthw.shape[3]
    assert columns <= x_bcthw.shape[4]
    assert features.dtype == torch.float32
    assert not torch.equal(features, again)
    features[0].square().mean().backward()
    assert x_bcthw.grad is not None
    assert x_bcthw.grad[0].abs().sum() > 0
    assert x_bcthw.grad[1].abs().sum() == 0
    for network in backbone.networks().values():
        assert not middle(network)._forward_hooks
