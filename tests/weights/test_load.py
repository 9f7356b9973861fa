"""Strict loading on a small network whose parts have timm's names."""

from dataclasses import dataclass

import jax
import jax.numpy as jnp
import ml_dtypes
import numpy as np
import pytest
import safetensors.numpy
from flax import nnx

import jaxvision.weights.load as load_module
from jaxvision.nn.conv import Conv2d
from jaxvision.nn.norm import BatchNorm
from jaxvision.paths import PatternError, named_variables
from jaxvision.weights import WeightsError, WeightsFile, WeightsMismatchError, load_weights
from tests.weights.torch_files import float_archive


@dataclass(frozen=True)
class Config:
    padding: str = "SAME"


class Net(nnx.Module):
    """A convolution, a norm, position embeddings and a classifier."""

    input_conv = "conv_stem"
    heads = ("classifier",)

    def __init__(self, num_classes=4, in_chans=3, tokens=2, padding="SAME", param_dtype=jnp.float32, seed=0):
        rngs = nnx.Rngs(seed)
        self.config = Config(padding)
        self.conv_stem = Conv2d(in_chans, 5, 3, use_bias=False, param_dtype=param_dtype, rngs=rngs)
        self.bn1 = BatchNorm(5, param_dtype=param_dtype, rngs=rngs)
        self.pos_embed = nnx.Param(jnp.zeros((1, tokens, 5), param_dtype))
        self.classifier = nnx.Linear(5, num_classes, param_dtype=param_dtype, rngs=rngs) if num_classes else None
        self.classifiers = ("classifier",) if num_classes else ()
        self.position_ids = nnx.Variable(jnp.arange(tokens))

    def adapt_weights(self, weights):
        adapted, tokens = dict(weights), self.pos_embed.shape[1]
        if "pos_embed" in adapted and adapted["pos_embed"].shape[1] != tokens:
            adapted["pos_embed"] = np.repeat(adapted["pos_embed"].mean(axis=1, keepdims=True), tokens, axis=1)
        return adapted


SHAPES = {
    "conv_stem.weight": (5, 3, 3, 3),
    "bn1.weight": (5,),
    "bn1.bias": (5,),
    "bn1.running_mean": (5,),
    "bn1.running_var": (5,),
    "pos_embed": (1, 2, 5),
    "classifier.weight": (4, 5),
    "classifier.bias": (4,),
}


def weights(**changes: np.ndarray | None) -> dict[str, np.ndarray]:
    rng = np.random.default_rng(0)
    made = {name: rng.normal(size=shape).astype(np.float32) for name, shape in SHAPES.items()}
    made["bn1.num_batches_tracked"] = np.int64(7)
    for name, array in changes.items():
        if array is None:
            del made[name.replace("__", ".")]
        else:
            made[name.replace("__", ".")] = array
    return made


def values(model: nnx.Module) -> dict[str, np.ndarray]:
    return {name: np.asarray(variable.get_value()) for name, variable in named_variables(model).items()}


def assert_loaded(model: nnx.Module, source: dict[str, np.ndarray], *, but: tuple[str, ...] = ()) -> None:
    expected = {
        "conv_stem.kernel": source["conv_stem.weight"].transpose(2, 3, 1, 0),
        "bn1.scale": source["bn1.weight"],
        "bn1.bias": source["bn1.bias"],
        "bn1.mean": source["bn1.running_mean"],
        "bn1.var": source["bn1.running_var"],
        "pos_embed": source["pos_embed"],
        "classifier.kernel": source["classifier.weight"].T,
        "classifier.bias": source["classifier.bias"],
    }
    found = values(model)
    for name in expected.keys() - set(but):
        np.testing.assert_array_equal(found[name], expected[name], err_msg=name)


def test_every_variable_is_filled_and_reported():
    model, source = Net(), weights()
    report = load_weights(model, source)
    assert_loaded(model, source)
    assert set(report.loaded) == values(model).keys() - {"position_ids"}
    assert report.dropped == ("bn1.num_batches_tracked",)
    assert report.complete
    assert (report.missing, report.unused, report.misshapen, report.reinitialised, report.empty) == ((),) * 5
    assert str(report).startswith("8 variables loaded from a dictionary (timm names)")


def test_the_source_can_be_a_file_of_any_kind(tmp_path):
    source = weights(bn1__num_batches_tracked=None)
    safetensors.numpy.save_file(source, tmp_path / "model.safetensors")
    float_archive(**source).write(tmp_path / "model.pth")
    np.savez(tmp_path / "model.npz", **source)
    for path in ("model.safetensors", "model.pth", "model.npz"):
        for given in (tmp_path / path, str(tmp_path / path), WeightsFile(tmp_path / path)):
            model = Net()
            report = load_weights(model, given)
            assert_loaded(model, source)
            assert report.origin == str(tmp_path / path)
    load_weights(Net(), tmp_path)  # a folder: its model.safetensors


def test_later_changes_of_the_source_do_not_reach_the_model():
    model, source = Net(), weights()
    load_weights(model, source)
    kept = {name: array.copy() for name, array in source.items()}
    for array in source.values():
        if array.ndim:
            array[...] = 0
    assert_loaded(model, kept)


def test_prefixes_of_wrappers_are_taken_off_and_said():
    model, source = Net(), weights()
    report = load_weights(model, {f"module._orig_mod.{name}": array for name, array in source.items()})
    assert_loaded(model, source)
    assert report.notes == ("took 'module.' off every name", "took '_orig_mod.' off every name")


def test_all_problems_are_named_at_once_and_nothing_is_changed():
    model = Net()
    before = values(model)
    source = weights(bn1__bias=None, bn1__bais=np.zeros(5), conv_stem__weight=np.zeros((6, 3, 5, 5)), extra=np.zeros(1))
    with pytest.raises(WeightsMismatchError) as error:
        load_weights(model, source)
    message = str(error.value)
    assert "the weights from a dictionary (timm names) do not fit Net" in message
    assert "1 missing in the file:\n    bn1.bias; did you mean 'bn1.bais'?" in message
    assert "2 unused, the model has no such variable:\n    bn1.bais; did you mean 'bn1.bias'?\n    extra" in message
    assert "conv_stem.weight: got (6, 3, 5, 5), expected (5, 3, 3, 3)" in message
    report = error.value.report
    assert report.missing == ("bn1.bias",)
    assert report.unused == ("bn1.bais", "extra")
    assert [misfit.name for misfit in report.misshapen] == ["conv_stem.kernel"]
    for name, array in values(model).items():
        np.testing.assert_array_equal(array, before[name])


def test_long_lists_are_cut_with_their_counts():
    source = weights() | {f"blocks.{index}.gamma": np.zeros(1) for index in range(100)}
    with pytest.raises(WeightsMismatchError, match=r"(?s)100 unused.*\.\.\. and 90 more"):
        load_weights(Net(), source)


def test_dropped_counters_of_many_blocks_take_one_line():
    source = weights() | {f"blocks.{index}.bn1.num_batches_tracked": np.int64(0) for index in range(30)}
    text = str(load_weights(Net(), source))
    assert "31 dropped:\n    bn1.num_batches_tracked\n    blocks.*.bn1.num_batches_tracked (30 times)" in text


def test_what_fits_is_loaded_if_that_is_asked_for():
    model, source = Net(), weights(bn1__bias=None, pos_embed=np.zeros((1, 2, 6)), extra=np.zeros(1))
    report = load_weights(model, source, strict=False)
    assert (report.missing, report.unused) == (("bn1.bias",), ("extra",))
    assert report.misshapen[0][1:] == ("pos_embed", "(1, 2, 6)", "(1, 2, 5)")
    assert not report.complete
    fresh = values(Net())
    assert_loaded(model, weights(), but=("bn1.bias", "pos_embed"))
    np.testing.assert_array_equal(values(model)["pos_embed"], fresh["pos_embed"])
    assert "bn1.bias" in str(report)


@pytest.mark.parametrize("dtype", [np.float64, np.float16, ml_dtypes.bfloat16])
def test_floats_are_cast_to_the_variables_type(dtype):
    model = Net()
    source = {name: array.astype(dtype) for name, array in weights().items()}
    load_weights(model, source)
    assert model.conv_stem.kernel.get_value().dtype == jnp.float32
    assert_loaded(model, {name: array.astype(np.float32) for name, array in source.items()})


def test_a_half_precision_model_keeps_its_type_and_float32_statistics():
    model = Net(param_dtype=jnp.bfloat16)
    load_weights(model, weights())
    assert model.classifier.kernel.get_value().dtype == jnp.bfloat16
    assert model.bn1.var.get_value().dtype == jnp.float32


@pytest.mark.parametrize("dtype", [np.int8, np.int64, np.bool_, np.complex64])
def test_numbers_of_another_kind_are_refused(dtype):
    source = weights(bn1__bias=np.ones(5, dtype))
    with pytest.raises(WeightsMismatchError, match=rf"bn1.bias: got {np.dtype(dtype)}, expected float32"):
        load_weights(Net(), source)


def test_skipped_variables_stay_and_their_entries_are_dropped():
    model = Net()
    report = load_weights(model, weights(), skip=["classifier.*", "pos_embed"])
    assert_loaded(model, weights(), but=("classifier.kernel", "classifier.bias", "pos_embed"))
    assert set(report.reinitialised) == {"classifier.kernel", "classifier.bias", "pos_embed"}
    assert set(report.dropped) == {"bn1.num_batches_tracked", "classifier.weight", "classifier.bias", "pos_embed"}
    np.testing.assert_array_equal(values(model)["classifier.kernel"], values(Net())["classifier.kernel"])
    load_weights(Net(), weights(classifier__weight=None, classifier__bias=None), skip=["classifier.*"])


def test_a_skip_that_matches_nothing_is_an_error():
    with pytest.raises(PatternError, match=r"no variable matches 'clasifier\.\*'"):
        load_weights(Net(), weights(), skip=["clasifier.*"])


def test_another_number_of_classes_needs_a_word():
    with pytest.raises(
        WeightsMismatchError, match=r"is for 4 classes: .* num_classes=4 to keep that;.*reset_head=True"
    ):
        load_weights(Net(num_classes=9), weights())
    model = Net(num_classes=9)
    report = load_weights(model, weights(), reset_head=True)
    assert report.new_heads == ("the classifier 'classifier' is new: the file's classifier is for 4 classes",)
    assert report.new_heads[0] in str(report)
    assert set(report.reinitialised) == {"classifier.kernel", "classifier.bias"}
    assert {"classifier.weight", "classifier.bias"} < set(report.dropped)
    np.testing.assert_array_equal(values(model)["classifier.kernel"], values(Net(num_classes=9))["classifier.kernel"])


def test_a_head_that_fits_is_loaded_though_it_may_be_reset():
    model, source = Net(), weights()
    assert load_weights(model, source, reset_head=True).reinitialised == ()
    assert_loaded(model, source)


def test_a_head_that_the_file_does_not_have_needs_a_word():
    source = weights(classifier__weight=None, classifier__bias=None)
    with pytest.raises(WeightsMismatchError, match=r"no classifier: .* num_classes=0 to keep that;.*reset_head=True"):
        load_weights(Net(), source)
    report = load_weights(Net(), source, reset_head=True)
    assert set(report.reinitialised) == {"classifier.kernel", "classifier.bias"}
    assert report.new_heads == ("the classifier 'classifier' is new: the file has no classifier",)


@pytest.mark.parametrize(
    "changes",
    [
        {"classifier__weight": None},
        {"classifier__bias": None},
        {"classifier__weight": None, "classifier__weigth": np.zeros((4, 5))},
        {"classifier__weight": np.zeros((4, 6))},
    ],
)
def test_a_damaged_head_is_not_taken_for_another_one(changes):
    for classes in (4, 9):
        with pytest.raises(
            WeightsMismatchError, match=r"classifier\.(?s:.*)leave the file's classifier aside .*num_classes=0"
        ):
            load_weights(Net(num_classes=classes), weights(**changes), reset_head=True)
    load_weights(Net(num_classes=0), weights(**changes))


def test_what_else_does_not_fit_is_not_put_down_to_the_head():
    with pytest.raises(WeightsMismatchError) as error:
        load_weights(Net(num_classes=9), weights(bn1__bias=None))
    assert "num_classes" not in str(error.value)


def test_a_model_without_a_head_drops_the_files():
    report = load_weights(Net(num_classes=0), weights())
    assert set(report.dropped) == {"bn1.num_batches_tracked", "classifier.weight", "classifier.bias"}


def test_a_model_that_is_not_ours_is_owed_every_entry():
    class Plain(nnx.Module):
        def __init__(self):
            self.fc1 = nnx.Linear(2, 3, rngs=nnx.Rngs(0))

    source = {"fc1.weight": np.ones((3, 2), np.float32), "fc1.bias": np.ones(3, np.float32)}
    load_weights(Plain(), source, format="timm")
    with pytest.raises(WeightsMismatchError, match=r"(?s)1 unused.*head\.weight"):
        load_weights(Plain(), source | {"head.weight": np.ones(1)}, format="timm")


def test_other_numbers_of_input_channels():
    for channels in (1, 4):
        report = load_weights(Net(in_chans=channels), weights())
        assert report.adapted == (f"conv_stem.weight: (5, 3, 3, 3) to (5, {channels}, 3, 3)",)
    with pytest.raises(WeightsMismatchError, match=r"got \(5, 4, 3, 3\), expected \(5, 3, 3, 3\)"):
        load_weights(Net(), weights(conv_stem__weight=np.zeros((5, 4, 3, 3))))


def test_the_models_own_adaptation_comes_before_the_checks():
    model, source = Net(tokens=6), weights()
    report = load_weights(model, source)
    assert report.adapted == ("pos_embed: (1, 2, 5) to (1, 6, 5)",)
    np.testing.assert_allclose(values(model)["pos_embed"][0, 3], source["pos_embed"][0].mean(0), rtol=1e-6)


def test_an_adaptation_that_cannot_be_is_our_error():
    class Strict(Net):
        def adapt_weights(self, weights):
            raise ValueError("195 patches do not make a square grid")

    with pytest.raises(WeightsError, match="do not fit Strict: 195 patches"):
        load_weights(Strict(), weights())


def test_abstract_models_are_filled_and_what_stays_empty_is_told():
    model = nnx.eval_shape(lambda: Net(num_classes=9))
    report = load_weights(model, weights(), reset_head=True)
    assert set(report.empty) == {"classifier.kernel", "classifier.bias"}
    assert isinstance(model.conv_stem.kernel.get_value(), jax.Array)
    assert isinstance(model.classifier.kernel.get_value(), jax.ShapeDtypeStruct)
    assert load_weights(nnx.eval_shape(Net), weights()).empty == ()


def test_variables_stay_where_they_were_placed():
    mesh = jax.make_mesh((1,), ("data",), axis_types=(jax.sharding.AxisType.Auto,))
    sharding = jax.sharding.NamedSharding(mesh, jax.sharding.PartitionSpec("data"))
    model = Net()
    model.bn1.scale.set_value(jax.device_put(model.bn1.scale.get_value(), sharding))
    load_weights(model, weights())
    assert model.bn1.scale.get_value().sharding == sharding
    assert not model.bn1.bias.get_value().committed


def test_an_unknown_format_names_the_known_ones():
    with pytest.raises(WeightsError, match=r"'tim'; did you mean 'timm'\? there are 'timm', .*'lukemelas', and None"):
        load_weights(Net(), weights(), format="tim")


def test_googles_weights_in_a_symmetrically_padding_model():
    source = {"_conv_stem.weight": np.zeros((5, 3, 3, 3)), "_fc.weight": np.zeros((4, 5))}
    with pytest.raises(WeightsError, match=r"pads symmetrically.*'tf_efficientnet_lite0'"):
        load_weights(Net(padding="symmetric"), source)
    with pytest.warns(UserWarning, match="pads symmetrically"):
        load_weights(Net(padding="symmetric"), source, strict=False)
    with pytest.raises(WeightsMismatchError, match="missing"):
        load_weights(Net(padding="SAME"), source)


def test_nothing_is_fetched_for_a_file_that_is_not_there(monkeypatch):
    monkeypatch.setattr(load_module, "read_contents", lambda path: pytest.fail("read something"))
    with pytest.raises(WeightsError, match=r"there is no file 'absent\.pth'"):
        load_weights(Net(), "absent.pth")
