"""What a load says to who keeps no report."""

import logging
import warnings

import pytest
from safetensors.numpy import save_file

import jaxvision
from jaxvision.weights import WeightsWarning
from tests.reference.source_cases import CASES, read, weights

CASE = next(case for case in CASES if case.id == "transformers_vit")


@pytest.fixture
def file(tmp_path):
    path = tmp_path / "model.safetensors"
    save_file(weights(read(CASE)[0]), path)
    return str(path)


def test_another_epsilon_is_a_warning_where_the_model_is_built(file):
    with pytest.warns(WeightsWarning, match=r"model\.safetensors: transformers' .* 1e-12 .* has 1e-06") as told:
        jaxvision.create_model(CASE.model, file, **CASE.options)
    assert [warning.filename for warning in told] == [__file__]


def test_what_is_done_without_a_word_is_in_the_log(file, caplog):
    caplog.set_level(logging.INFO, "jaxvision")
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        jaxvision.create_model(CASE.model, file, **CASE.options | {"img_size": 64, "norm_eps": 1e-12})
    (record,) = caplog.records
    assert record.name.startswith("jaxvision.")
    assert f"variables loaded from {file} (transformers names)" in record.message
    assert "vit.embeddings.position_embeddings: (1, 5, 16) to (1, 17, 16)" in record.message
