import json
import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxvision.training.schedules import EarlyStopping, Plateau, make_schedule


def rates(schedule, steps):
    return np.asarray(jax.jit(jax.vmap(schedule))(jnp.asarray(steps, jnp.int32)))


def test_cosine_with_warmup_against_its_formula():
    schedule = make_schedule("cosine", 0.4, epochs=10, steps_per_epoch=5, warmup_epochs=2, warmup_lr=0.1, min_lr=0.02)
    steps = np.arange(70)
    t = np.clip((steps - 10) / 40, 0, 1)
    expected = np.where(steps < 10, 0.1 + 0.3 * steps / 10, 0.02 + 0.38 * (1 + np.cos(np.pi * t)) / 2)
    np.testing.assert_allclose(rates(schedule, steps), expected, rtol=1e-5)


def test_step_multistep_poly_and_constant():
    options = {"epochs": 6, "steps_per_epoch": 10}
    schedule = make_schedule("step", 1.0, decay_epochs=2, decay_rate=0.1, min_lr=0.005, **options)
    np.testing.assert_allclose(rates(schedule, [0, 19, 20, 39, 40, 60, 99]), [1, 1, 0.1, 0.1, 0.01, 0.005, 0.005])
    schedule = make_schedule("multistep", 1.0, decay_milestones=[1, 1.5], decay_rate=0.5, warmup_epochs=0.5, **options)
    np.testing.assert_allclose(rates(schedule, [0, 2, 5, 9, 10, 14, 15, 50]), [0, 0.4, 1, 1, 0.5, 0.5, 0.25, 0.25])
    schedule = make_schedule("poly", 1.0, min_lr=0.1, power=2.0, **options)
    np.testing.assert_allclose(rates(schedule, [0, 30, 60, 90]), [1, 0.1 + 0.9 / 4, 0.1, 0.1], rtol=1e-6)
    for name in ("constant", "plateau"):
        np.testing.assert_allclose(
            rates(make_schedule(name, 0.3, warmup_epochs=1, **options), [5, 10, 99]), [0.15, 0.3, 0.3]
        )


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"name": "cosin"}, "did you mean 'cosine'"),
        ({"warmup_epochs": 9}, "warmup_epochs <= epochs"),
        ({"min_lr": 2.0}, "between 0 and lr"),
        ({"name": "multistep"}, "needs decay_milestones"),
        ({"name": "step", "decay_epochs": 0}, "decay_epochs"),
    ],
)
def test_what_makes_no_schedule_is_refused(arguments, message):
    with pytest.raises(ValueError, match=message):
        make_schedule(**{"name": "cosine", "lr": 1.0, "epochs": 5, "steps_per_epoch": 10, **arguments})


def test_plateau_lowers_the_rate_as_pytorch_does():
    """patience bad epochs are let pass, the next one lowers the rate, and the count starts again."""
    plateau = Plateau(0.1, patience=1, factor=0.5, min_lr=0.03)
    values = [1.0, 0.9, 0.95, 0.9, 0.91, 0.92, 0.8, math.nan, 0.9, 0.9, 0.9]
    scales = [plateau.update(value) for value in values]
    assert scales == [1, 1, 1, 0.5, 0.5, 0.3, 0.3, 0.3, 0.3, 0.3, 0.3]
    rising = Plateau(0.1, patience=0, factor=0.1, mode="max")
    assert [rising.update(value) for value in (0.5, 0.6, 0.6)] == [1, 1, 0.1]


def test_early_stopping_counts_epochs_without_an_improvement():
    stopping = EarlyStopping(patience=2, min_delta=0.1, mode="max")
    assert [stopping.update(value) for value in (0.5, 0.7, 0.75, 0.9, 0.9, math.nan)] == [False] * 5 + [True]


@pytest.mark.parametrize(
    "make", [lambda: Plateau(0.1, patience=1, factor=0.5), lambda: EarlyStopping(patience=3)], ids=["plateau", "stop"]
)
def test_both_go_on_from_a_checkpoint(make):
    values = [3.0, 2.0, 2.5, 2.5, 1.0, 1.5, 1.5, 1.5, 1.5]
    whole = make()
    expected = [whole.update(value) for value in values]
    first = make()
    start = [first.update(value) for value in values[:6]]
    second = make()
    second.load_state_dict(json.loads(json.dumps(first.state_dict())))
    assert start + [second.update(value) for value in values[6:]] == expected


def test_wrong_settings_are_refused():
    with pytest.raises(ValueError, match="mode"):
        Plateau(0.1, mode="least")
    with pytest.raises(ValueError, match="factor"):
        Plateau(0.1, factor=1.5)
    with pytest.raises(ValueError, match="patience"):
        EarlyStopping(patience=0)
