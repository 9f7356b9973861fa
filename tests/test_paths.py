import pytest
from flax import nnx

from jaxvision import paths

PATHS = ["", "blocks", "blocks.0", "blocks.0.mlp", "blocks.10.mlp", "blocks.0.attn.qkv", "head"]


@pytest.mark.parametrize(
    ("pattern", "expected"),
    [
        ("blocks.*.mlp", ["blocks.0.mlp", "blocks.10.mlp"]),
        ("blocks.?.mlp", ["blocks.0.mlp"]),
        ("blocks.[1-9]*.mlp", ["blocks.10.mlp"]),
        ("*", ["blocks", "head"]),
        ("", [""]),
        ("**", PATHS),
        ("**.mlp", ["blocks.0.mlp", "blocks.10.mlp"]),
        ("blocks.**", PATHS[1:6]),
        ("blocks.**.qkv", ["blocks.0.attn.qkv"]),
        (r"re:blocks\.\d\..*", ["blocks.0.mlp", "blocks.0.attn.qkv"]),
        (["head", "blocks"], ["blocks", "head"]),
    ],
)
def test_globs(pattern, expected):
    assert paths.select(pattern, PATHS) == expected


def test_a_star_stays_within_its_segment():
    assert not paths.matches("blocks.*", "blocks.0.mlp")
    assert not paths.matches("*.mlp", "blocks.0.mlp")


@pytest.mark.parametrize("pattern", ["block.*.mlp", "blocks.*.mpl"])
def test_no_match_names_the_nearest(pattern):
    with pytest.raises(paths.PatternError, match=r"no module matches .*did you mean 'blocks\.\*\.mlp'"):
        paths.select(pattern, PATHS)


def test_one_idle_pattern_among_several_is_an_error():
    with pytest.raises(paths.PatternError, match="'neck'"):
        paths.select(["head", "neck"], PATHS)


def test_bad_regex_and_empty_list():
    with pytest.raises(paths.PatternError, match="not a regular expression"):
        paths.select("re:(", PATHS)
    with pytest.raises(paths.PatternError, match="no pattern given"):
        paths.select([], PATHS)


class Tied(nnx.Module):
    def __init__(self, rngs):
        self.first = nnx.Linear(2, 2, rngs=rngs)
        self.layers = nnx.List([nnx.Linear(2, 2, rngs=rngs), self.first])
        self.named = nnx.Dict(a=nnx.BatchNorm(2, rngs=rngs))


def test_modules_come_under_all_their_names_and_variables_under_one():
    model = Tied(nnx.Rngs(0))
    modules = paths.named_modules(model)
    assert modules["layers.1"] is modules["first"] is model.first
    assert list(paths.named_variables(model)) == [
        "first.bias",
        "first.kernel",
        "layers.0.bias",
        "layers.0.kernel",
        "named.a.bias",
        "named.a.mean",
        "named.a.scale",
        "named.a.var",
    ]


def test_nest_and_flatten_are_inverse():
    flat = {"a.b.0": 1, "a.b.10": 2, "a.c": 3, "d": 4}
    assert paths.nest(flat) == {"a": {"b": {"0": 1, "10": 2}, "c": 3}, "d": 4}
    assert paths.flatten(paths.nest(flat)) == flat


def test_path_hash_is_the_same_in_every_process():
    assert paths.path_hash("blocks.0.mlp.drop1") == 2692508112
