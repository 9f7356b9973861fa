"""Which classifiers may be drawn anew, told from shapes alone."""

from types import SimpleNamespace

import pytest

from jaxvision.weights.heads import other_heads

LINEAR = {"fc.kernel": (8, 5), "fc.bias": (5,)}
MLP = {
    "fc.hidden.0.linear.kernel": (8, 4),
    "fc.hidden.0.linear.bias": (4,),
    **{f"fc.hidden.0.norm.{leaf}": (4,) for leaf in ("scale", "bias", "mean", "var")},
    "fc.out.kernel": (4, 5),
    "fc.out.bias": (5,),
}
OTHER_MLP = MLP | {"fc.out.kernel": (4, 3), "fc.out.bias": (3,)}
WIDER_MLP = {name: tuple(6 if size == 4 else size for size in shape) for name, shape in MLP.items()}


def others(ours, theirs, *heads):
    """Numbers of classes by path, of what is there instead."""
    model = SimpleNamespace(classifiers=heads or ("fc",), head_widths=(8, 16))
    body = {"conv.kernel": (3, 3, 3, 8), "fcn.kernel": (8, 8)}
    return {head: other.num_classes for head, other in other_heads(model, body | ours, body | theirs).items()}


def linear(width, classes, head="fc"):
    return {f"{head}.kernel": (width, classes), f"{head}.bias": (classes,)}


def without(shapes, *names):
    return {name: shape for name, shape in shapes.items() if name not in names}


@pytest.mark.parametrize(
    ("ours", "theirs", "classes"),
    [
        (LINEAR, {}, 0),
        (LINEAR, linear(8, 3), 3),
        (LINEAR, linear(16, 3), 3),  # of the same network, pooled by catavgmax
        (LINEAR, linear(8, 3) | {"fc.pre_logits.bias": (8,)}, 3),
        (MLP, {}, 0),
        (MLP, OTHER_MLP, 3),
        (MLP, linear(8, 3), None),
        (MLP, linear(8, 5), None),
    ],
)
def test_a_classifier_is_new_where_the_file_has_another_one_or_none(ours, theirs, classes):
    assert others(ours, theirs) == {"fc": classes}


@pytest.mark.parametrize(
    ("ours", "theirs"),
    [
        (LINEAR, LINEAR),
        (LINEAR, {"fc.bias": (5,)}),
        (LINEAR, {"fc.bias": (3,)}),
        (LINEAR, {"fc.kernel": (8, 3)}),
        (LINEAR, {"fc.kernell": (8, 3), "fc.bias": (3,)}),
        (LINEAR, {"fc.kernell": (8, 5), "fc.biass": (5,)}),
        (LINEAR, linear(9, 3)),
        (LINEAR, linear(16, 5)),
        (LINEAR, {"fc.kernel": (8, 3), "fc.bias": (5,)}),
        (LINEAR, {"fc.kernel": (8, 3), "fc.bias": (4,)}),
        (LINEAR, {"fc.kernel": (8, 3), "fc.bias": ()}),
        (LINEAR, MLP),
        (LINEAR, OTHER_MLP),
        (MLP, WIDER_MLP),
        (MLP, without(OTHER_MLP, "fc.hidden.0.norm.mean")),
        (MLP, without(MLP, "fc.out.kernel", "fc.out.bias")),
        (MLP, linear(9, 3)),
        (MLP, {"fc.kernel": (8, 3)}),
        (MLP, {"fc.kernel": (3,), "fc.bias": (3,)}),
    ],
)
def test_damaged_or_other_classifiers_are_left_to_be_told(ours, theirs):
    assert others(ours, theirs) == {}


def test_two_classifiers_are_new_together_or_not_at_all():
    ours = linear(8, 5, "head") | linear(8, 5, "head_dist")
    heads = ("head", "head_dist")
    assert others(ours, linear(8, 3, "head") | linear(8, 3, "head_dist"), *heads) == {"head": 3, "head_dist": 3}
    assert others(ours, linear(8, 3, "head"), *heads) == {"head": 3, "head_dist": 0}
    assert others(ours, linear(8, 5, "head"), *heads) == {}
    assert others(ours, linear(8, 5, "head") | linear(8, 3, "head_dist"), *heads) == {}
