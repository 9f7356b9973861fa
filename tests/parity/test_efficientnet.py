"""Every EfficientNet's names and shapes, and what its table says, against timm, live: ``make parity``.

The logits are `test_models.py`'s, but for dilated networks; else nothing is allocated here, so that the largest are
compared too.
"""

import itertools

import pytest

from jaxvision.models.efficientnet import FAMILY, VARIANTS, EfficientNetConfig, Stage
from jaxvision.paths import named_variables
from jaxvision.weights.layout import timm_name, timm_shape
from tests.parity.plan import Plan
from tests.parity.table import BOUND

pytestmark = pytest.mark.parity


@pytest.mark.parametrize("name", list(VARIANTS))
def test_every_name_has_timms_state_dict(name):
    timm = pytest.importorskip("timm")
    reference = timm.create_model(name, device="meta").state_dict()
    theirs = {path: tuple(v.shape) for path, v in reference.items() if not path.endswith("num_batches_tracked")}
    variables = named_variables(FAMILY.abstract(VARIANTS[name]))
    assert {timm_name(path): timm_shape(path, v.get_value().shape) for path, v in variables.items()} == theirs


@pytest.mark.parametrize("name", [name for name, config in VARIANTS.items() if config.pruned])
def test_pruned_channels_are_timms(name):
    pytest.importorskip("timm")
    from tests.reference.make_pruned import stages

    assert VARIANTS[name].pruned == tuple(stages(name))


@pytest.mark.parametrize(
    ("name", "output_stride"),
    [
        ("efficientnet_b0", 8),
        ("tf_efficientnet_b0", 16),
        ("tf_mixnet_s", 8),
        ("tf_efficientnet_cc_b0_4e", 16),
        ("mobilenet_edgetpu_v2_m", 16),
        ("efficientnet_x_b3", 8),
        ("mobilenetv1_100", 2),
    ],
)
def test_dilated_networks_are_timms(name, output_stride):
    pytest.importorskip("timm")
    from tests.parity.compare import compare

    row = compare(Plan(name, (75, 65), {"num_classes": 10, "output_stride": output_stride}))
    print(row)
    assert float(row.relative) <= BOUND


@pytest.mark.parametrize("rounding", ["ceil", "round"])
def test_rows_share_a_stages_blocks_as_timms_do(rounding):
    builder = pytest.importorskip("timm.models._efficientnet_builder")
    for rows in [*itertools.product((1, 2, 3, 6), repeat=2), (1, 1, 2), (1, 1, 1, 1), (2, 3, 1)]:
        for depth in (0.6, 1.1, 1.4, 2.2, 3.1):
            strings = [f"ir_r{repeats}_k3_s1_e{index}_c16" for index, repeats in enumerate(rows, 1)]
            blocks = builder.decode_arch_def([strings], depth, depth_trunc=rounding)[0]
            stage = tuple(Stage("mbconv", repeats, 3, 1, index, 16) for index, repeats in enumerate(rows, 1))
            config = EfficientNetConfig((stage,), stem_size=16, depth=depth, round_depth=rounding == "round")
            ours = [shape.hidden // shape.in_features for _, shape in config.plan()[0]]
            assert ours == [block["exp_ratio"] for block in blocks]
