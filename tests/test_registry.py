import numpy as np
import pytest
from flax import nnx

from jaxvision.catalogue import by_architecture
from jaxvision.paths import named_variables
from jaxvision.registry import ModelNameError, create_model, families, list_models, model_info

SMALL = "resnet18"


def values(model):
    return {name: np.asarray(variable.get_value()) for name, variable in named_variables(model).items()}


def abstract(*args, **kwargs):
    return nnx.eval_shape(lambda: create_model(*args, **kwargs))


@pytest.fixture(scope="module")
def weights(tmp_path_factory):
    """A file with weights of a ResNet-18 of ten classes, and the model they came from."""

    from jaxvision.weights.layout import to_timm  # noqa: F401


def test_listing_is_in_natural_order():
    names = list_models("resnet*")
    assert names.index("resnet18") < names.index("resnet34") < names.index("resnet101")
    assert set(list_models()) == set(families())


def test_listing_weights():
    tags = list_models("resnet50", pretrained=True)
    assert tags == list_models("resnet50.*")
    assert "resnet50.a1_in1k" in tags
    assert set(tags) == {info.name for info in by_architecture()["resnet50"]}
    assert list_models("resnet50.tv*") == ["resnet50.tv2_in1k", "resnet50.tv_in1k"]
    assert all("." in name for name in list_models(pretrained=True))
    assert list_models("no_such_*") == []


def test_an_architecture_stands_for_its_default_weights():
    assert model_info("resnet50").name == "resnet50.a1_in1k"
    assert model_info("resnet50.tv_in1k").tag == "tv_in1k"


def test_weights_for_research_only_are_never_a_default():
    assert by_architecture()["resnext101_32x4d"][0].license == "cc-by-nc-4.0"
    assert model_info("resnext101_32x4d").name == "resnext101_32x4d.gluon_in1k"
    assert by_architecture()["resnext101_32x16d"][0].non_commercial
    info = model_info("resnext101_32x16d")
    assert (info.name, info.tag, info.hub_id, info.pretrained) == ("resnext101_32x16d", None, None, False)
    assert not any(model_info(name).non_commercial for name in list_models())


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("resnet5O", "unknown model 'resnet5O'; did you mean 'resnet50'"),
        ("vit_bse_patch16_224", "did you mean 'vit_base_patch16_224'"),
        ("qqq", "unknown model 'qqq'$"),
        ("", "unknown model ''"),
        ("resnet18.a1_in1", "no weights tagged 'a1_in1'; did you mean 'a1_in1k'.*its tags are .*tv_in1k"),
        ("resnet18.zzz", "no weights tagged 'zzz'; its tags are a1_in1k"),
        ("seresnet18.a1_in1k", "it has no published weights"),
    ],
)
def test_wrong_names_are_answered_with_right_ones(name, message):
    for function in (model_info, create_model):
        with pytest.raises(ModelNameError, match=message):
            function(name)


def test_a_model_of_timm_that_is_not_here_yet_is_said_to_be_so():
    missing = next(name for name in by_architecture() if name not in families())
    with pytest.raises(ModelNameError, match=f"'{missing}' is a model of timm that jaxvision does not have yet"):
        create_model(missing)
