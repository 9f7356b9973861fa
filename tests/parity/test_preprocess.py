"""Our evaluation preprocessing against timm's, live: equal to the last bit."""

import numpy as np
import pytest

from jaxvision.catalogue import entries
from jaxvision.data import Preprocess
from tests.data.preprocess_cases import CASES, MEAN, STD, picture

pytestmark = pytest.mark.parity
timm_data = pytest.importorskip("timm.data")


@pytest.mark.parametrize("case", CASES, ids=str)
def test_equals_timm(case):
    picture_size, (size, crop_pct, crop_mode, interpolation) = case
    reference = timm_data.create_transform(
        input_size=(3, *size), crop_pct=crop_pct, crop_mode=crop_mode, interpolation=interpolation, mean=MEAN, std=STD
    )(picture(*picture_size))
    ours = Preprocess(size, crop_pct, crop_mode, interpolation, MEAN, STD)(picture(*picture_size))
    np.testing.assert_array_equal(ours, reference.permute(1, 2, 0).numpy())


def test_every_published_size_is_timms():
    timm = pytest.importorskip("timm")
    for info in entries().values():
        config = timm.get_pretrained_cfg(info.name).to_dict()
        for use_test_size in (False, True):
            theirs = timm_data.resolve_data_config(pretrained_cfg=config, use_test_size=use_test_size)
            ours = info.preprocess(use_test_size=use_test_size)
            assert (ours.size, ours.crop_pct) == (theirs["input_size"][1:], theirs["crop_pct"]), info.name
