"""Every architecture against timm, live: ``make parity`` compares and writes ``docs/parity.csv``.

``-k`` selects architectures; ``--missing`` goes on with a sweep that was stopped.
"""

import pytest

import jaxvision
from tests.parity.plan import plan
from tests.parity.table import BOUND, keep

pytestmark = pytest.mark.parity


@pytest.mark.parametrize("name", jaxvision.list_models())
def test_logits_are_timms(name: str) -> None:
    pytest.importorskip("timm")
    from tests.parity.compare import compare

    row = compare(plan(name))
    keep(row)
    print(row)
    assert float(row.relative) <= BOUND
