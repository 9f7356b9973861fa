"""Golden vectors of the ResNet family."""

from tests.reference.cases.case import Case

_SHORT = {"layers": (1, 1, 1, 1), "num_classes": 10}

CASES: tuple[Case, ...] = (
    Case("resnet18", "resnet18", (64, 64)),
    Case("resnet18_odd", "resnet18", (75, 65)),
    Case("resnet50", "resnet50", (64, 64)),
    Case("resnet50_dilated", "resnet50", (64, 64), {"output_stride": 8}),
    Case("resnet26t", "resnet26t", (64, 64), gain=1.2),
    Case("resnet50d_odd", "resnet50d", (75, 65)),
    Case("resnet50s", "resnet50s", (64, 64), gain=1.2),
    Case("resnext50", "resnext50_32x4d", (64, 64)),
    Case("wide_resnet50", "wide_resnet50_2", (64, 64)),
    Case("seresnet18", "seresnet18", (64, 64)),
    Case("seresnext26d", "seresnext26d_32x4d", (64, 64), gain=1.2),
    Case("resnetaa34d", "resnetaa34d", (64, 64), gain=1.2),
    Case("resnetrs50", "resnetrs50", (64, 64), gain=1.2),
    Case("resnetblur18_odd", "resnetblur18", (75, 65), _SHORT),
    Case("resnetblur50d_dilated", "resnetblur50d", (64, 64), {**_SHORT, "output_stride": 8}, gain=2.0),
    Case("ecaresnetlight", "ecaresnetlight", (64, 64), _SHORT, gain=2.0),
    Case("resnet50_gn", "resnet50_gn", (64, 64), _SHORT, gain=2.0),
    Case("ecaresnet50d_pruned", "ecaresnet50d_pruned", (64, 64), {"num_classes": 10}, gain=1.4),
    Case("test_resnet", "test_resnet", (64, 64), {"num_classes": 10}, gain=1.2),
)
