"""What a pattern selects, against timm's own list."""

from typing import Any

import pytest

from jaxvision.catalogue import by_architecture
from jaxvision.registry import list_models

pytestmark = pytest.mark.parity
timm = pytest.importorskip("timm")


@pytest.mark.parametrize(
    "call",
    [
        {},
        {"filter": ""},
        {"filter": "*resnet*", "exclude_filters": "*v2*"},
        {"filter": "resnet50", "pretrained": True},
        {"filter": "*dino*", "pretrained": True},
        {"filter": "*in21k*", "pretrained": True},
        {"filter": "*.fb_*", "pretrained": True},
        {"filter": "vit_*", "pretrained": True, "exclude_filters": "*in21k*"},
        {"filter": ["vit_*", "deit*"], "pretrained": True, "exclude_filters": ["*clip*", "*.fb_in1k"]},
        {"pretrained": True, "exclude_filters": ""},
    ],
    ids=str,
)
def test_patterns_select_what_they_do_in_timm(call: dict[str, Any]):
    theirs = [name for name in timm.list_models(**call) if name.partition(".")[0] in by_architecture()]
    ours = {"pattern" if name == "filter" else name: value for name, value in call.items()}
    assert theirs
    assert sorted(list_models(**ours)) == sorted(theirs)
