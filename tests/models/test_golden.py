"""Float32 logits against timm's, for weights and images that both sides make from names and seeds."""

import dataclasses
import functools
from pathlib import Path

import numpy as np
import pytest
from flax import nnx

import jaxvision
from jaxvision import registry
from jaxvision.paths import named_variables
from jaxvision.weights.layout import timm_name, timm_shape
from tests.compiled import run
from tests.reference.cases import families
from tests.reference.options import options
from tests.reference.synthetic import images, state_dict

REFERENCE = Path(__file__).parents[1] / "reference"
FAMILIES = families()
CASES = [pytest.param(family, case, id=case.id) for family, cases in FAMILIES.items() for case in cases]


@functools.cache
def golden(family: str) -> dict[str, np.ndarray]:
    return dict(np.load(REFERENCE / "golden" / f"{family}.npz"))


def synthetic(model, gain: float) -> dict[str, np.ndarray]:
    """The state dict that timm's model of the same name was given."""
    shapes = {timm_name(n): timm_shape(n, v.get_value().shape) for n, v in named_variables(model).items()}
    return state_dict(shapes, gain)


def abstract(name, **options):
    return nnx.eval_shape(lambda: jaxvision.create_model(name, **{"num_classes": 1000, **options}))


def ours(case, **options):
    size = {"img_size": case.size} if case.in_model else {}
    model = abstract(case.model, **{**case.options, **size, **options})
    made_for = model if case.loaded is None else abstract(case.model, **case.loaded)
    jaxvision.load_weights(model, synthetic(made_for, case.gain))
    return model


@pytest.mark.parametrize(("family", "case"), CASES)
def test_logits_are_timms(family, case):
    logits = run(ours(case), images((2, *case.size, 3)))
    expected = golden(family)[case.id]
    assert np.ptp(expected, axis=0).std() > 1e-3, "the golden logits must depend on the image"
    np.testing.assert_allclose(logits, expected, atol=1e-4 * max(1.0, np.abs(expected).max()), rtol=0)


@pytest.mark.parametrize("family", FAMILIES)
def test_every_case_is_stored(family):
    assert set(golden(family)) == {case.id for case in FAMILIES[family]}


def test_every_option_has_a_case():
    """Whatever any registered model has that is not a number is in a golden vector too."""
    covered = set()
    for cases in FAMILIES.values():
        for case in cases:
            config = registry.families()[case.model].variants[case.model]
            fields = {field.name for field in dataclasses.fields(config)}
            changes = {name: value for name, value in case.options.items() if name in fields}
            covered |= {(type(config), *option) for option in options(dataclasses.replace(config, **changes))}
    needed = {
        (type(family.variants[name]), *option): name
        for name, family in registry.families().items()
        for option in options(family.variants[name])
    }
    assert {option: name for option, name in needed.items() if option not in covered} == {}
