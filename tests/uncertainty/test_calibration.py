import json
from dataclasses import replace

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from jaxvision import uncertainty as uq
from jaxvision.uncertainty.calibration_file import CalibrationError, load_calibration
from jaxvision.uncertainty.overlap import OverlapError
from jaxvision.uncertainty.scale import nll
from jaxvision.uncertainty.tune import tune

KEY = jax.random.key(0)
RATES = (0.02, 0.2)


def network(hidden=8, outputs=1):
    def layer(width, following):
        return nnx.Linear(width, following, kernel_init=initial, rngs=nnx.Rngs(0))

    return nnx.Sequential(layer(3, hidden), jax.nn.relu, layer(hidden, outputs))


def initial(key, shape, dtype):
    """Kernels from NumPy: nothing to compile."""
    return jnp.asarray(np.random.default_rng(shape).normal(size=shape) / np.sqrt(shape[0]), dtype)


@pytest.fixture(scope="module")
def rows():
    return np.random.default_rng(0).normal(size=(70, 3)).astype(np.float32)


@pytest.fixture(scope="module")
def calibrations(rows):
    """A regression and a classification, each with its model."""
    numbers, classes = network(), network(outputs=3)
    y = np.asarray(uq.inject(numbers, "layers.0").deterministic(rows))[:, 0] + rows[:, 0]
    labels = np.asarray(uq.inject(classes, "layers.0").deterministic(rows)).argmax(-1)
    labels[::4] = 0
    return [
        (
            model,
            tune(uq.inject(model, "layers.0", task=task), rows[:40], truth[:40], KEY, rates=RATES, num_samples=8),
            truth,
        )
        for model, task, truth in ((numbers, "regression", y), (classes, "classification", labels))
    ]


@pytest.mark.parametrize("which", [0, 1])
def test_a_file_holds_all_that_is_needed(calibrations, rows, tmp_path, which):
    model, cal, _ = calibrations[which]
    cal.save(tmp_path / "cal.json")
    again = load_calibration(tmp_path / "cal.json", model)
    assert again.to_json() == cal.to_json()
    assert (again.rate, again.scale, again.temperature, again.center) == (
        cal.rate,
        cal.scale,
        cal.temperature,
        cal.center,
    )
    for a, b in zip(*(jax.tree.leaves(c.predict(rows[:30], KEY)) for c in (cal, again)), strict=True):
        np.testing.assert_array_equal(a, b)
    with pytest.raises(OverlapError):
        again.evaluate(rows[:40], np.zeros(40, int), KEY)
    assert load_calibration(tmp_path / "cal.json", uq.inject(model, "layers.0")).task == cal.task


def test_evaluating_on_tuned_rows_is_refused(calibrations, rows):
    _, cal, y = calibrations[0]
    with pytest.raises(OverlapError, match=r"^10 of these 30 rows are among the 40 that the calibration was tuned on"):
        cal.evaluate(rows[30:60], y[30:60], KEY)
    found = cal.evaluate(rows[30:60], y[30:60], KEY, allow_overlap=True)
    prediction = cal.predict(rows[30:60], KEY)
    assert found["nll"] == pytest.approx(nll(prediction.mean[:, 0], prediction.variance[:, 0], y[30:60]), rel=1e-4)
    assert found["rmse"] == pytest.approx(
        np.sqrt(np.mean((np.asarray(prediction.mean)[:, 0] - y[30:60]) ** 2)), rel=1e-4
    )
    assert {"picp", "crps", "miscalibration_area", "ause"} <= set(found)
    # In batches, too: rows have their own masks wherever they lie.
    batched = cal.evaluate([rows[30:36], rows[36:60]], y[30:60], KEY, allow_overlap=True, batch_size=7)
    assert batched["nll"] == pytest.approx(found["nll"], rel=1e-4)


def test_a_classification_measures_itself(calibrations, rows):
    _, cal, labels = calibrations[1]
    found = cal.evaluate(rows[40:], labels[40:], KEY)
    prediction = cal.predict(rows[40:], KEY)
    assert found["accuracy"] == pytest.approx(np.mean(np.asarray(prediction.predicted) == labels[40:]))
    assert found["flipped"] == pytest.approx(np.mean(prediction.flipped))
    assert {"nll", "brier", "ece", "aurc"} <= set(found)
    with pytest.raises(ValueError, match="one label a row"):
        cal.evaluate(rows[40:], labels[41:], KEY)


def test_the_table_has_the_baselines_beside_the_result(calibrations):
    for _, cal, _ in calibrations:
        table = str(cal)
        assert all(name in table for name in cal.baselines)
        (arrow,) = (line for line in table.splitlines() if line.startswith("->"))
        assert cal.result.name in arrow
        assert f"{cal.result.nll:.4f}" in arrow
        assert "40 rows, none set aside" in table
    assert set(calibrations[1][1].baselines) == {
        "deterministic softmax",
        "temperature-scaled softmax",
        "averaged softmax",
    }


def test_a_wrong_file_or_model_is_named(calibrations, tmp_path):
    model, cal, _ = calibrations[0]
    path = tmp_path / "cal.json"
    good = cal.to_json()
    damaged = {**good, "result": {"nll": 1}}
    for document, message in (
        ("{", "not JSON"),
        ([1], "not a calibration"),
        ({"format": "other"}, "not a calibration"),
        ({**good, "schema": 99}, "schema 99, written by jaxvision .* reads schema 1"),
        (damaged, "damaged calibration: ValueError: a candidate has"),
        ({name: value for name, value in good.items() if name != "plan"}, "damaged calibration: KeyError: 'plan'"),
    ):
        path.write_text(document if isinstance(document, str) else json.dumps(document))
        with pytest.raises(CalibrationError, match=message):
            load_calibration(path, model)
    cal.save(path)
    with pytest.raises(ValueError, match=r"the plan's sites are not the model's: layers\.0"):
        load_calibration(path, nnx.Linear(3, 1, rngs=nnx.Rngs(0)))
    with pytest.raises(CalibrationError, match=r"for the sites layers\.0; the given network has layers\.2"):
        load_calibration(path, uq.inject(model, "layers.2"))


def test_a_result_with_test_numbers_survives_too(calibrations, tmp_path):
    model, cal, _ = calibrations[0]
    tested = replace(cal, test_metrics=(("nll", 1.5),), result=replace(cal.result, test_nll=1.5))
    tested.save(tmp_path / "cal.json")
    again = load_calibration(tmp_path / "cal.json", model)
    assert again.test == {"nll": 1.5}
    assert again.result.test_nll == 1.5
