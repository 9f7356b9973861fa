"""Writes torch_values.json: what PyTorch's losses and PyTorch's and timm's optimisers give.

Run in the environment that `make parity` builds: .venv-parity/bin/python -m tests.training.make_torch_values
"""

import json
from pathlib import Path

import numpy as np
import timm
import torch
import torch.nn.functional as F  # noqa: N812
from timm.loss import BinaryCrossEntropy
from timm.optim import create_optimizer_v2
from torchvision.ops import sigmoid_focal_loss

from tests.training.torch_cases import LABELS, LOGITS, MULTIHOT, WEIGHTS

OPTIMIZERS = {
    "sgd": {"momentum": 0.9},
    "momentum": {"momentum": 0.9},
    "sgdw": {"momentum": 0.9},
    "adam": {},
    "adamw": {},
    "radam": {},
    "adamax": {},
    "adabelief": {},
    "adagrad": {},
    "adadelta": {"lr": 1.0},
    "rmsprop": {"momentum": 0.9, "lr": 0.01},
    "rmsproptf": {"momentum": 0.9, "lr": 0.01},
    "lamb": {},
    "lars": {"momentum": 0.9, "lr": 5.0},
    "lion": {},
}


def losses():
    logits, labels = torch.tensor(LOGITS), torch.tensor(LABELS)
    weights, multihot = torch.tensor(WEIGHTS), torch.tensor(MULTIHOT)
    one, binary = logits[:, :1], torch.tensor(LABELS % 2, dtype=torch.float32)[:, None]
    focal = {"alpha": 0.25, "gamma": 2.0, "reduction": "mean"}
    return {
        "cross_entropy": F.cross_entropy(logits, labels),
        "smoothed": F.cross_entropy(logits, labels, label_smoothing=0.1),
        "weighted": F.cross_entropy(logits, labels, weight=weights),
        "weighted_smoothed": F.cross_entropy(logits, labels, weight=weights, label_smoothing=0.1),
        "timm_bce": BinaryCrossEntropy(smoothing=0.1)(logits, labels),
        "binary": F.binary_cross_entropy_with_logits(one, binary),
        "binary_focal": sigmoid_focal_loss(one, binary, **focal),
        "multilabel": F.binary_cross_entropy_with_logits(logits, multihot),
        "multilabel_weighted": F.binary_cross_entropy_with_logits(logits, multihot, pos_weight=weights),
        "multilabel_focal": sigmoid_focal_loss(logits, multihot, **focal),
        "regression": F.mse_loss(logits, multihot),
        "heteroscedastic": F.gaussian_nll_loss(logits[:, :2], multihot[:, :2], logits[:, 2:4].exp()),
    }


def run(name, lr=0.05, **options):
    """Ten steps on a bumpy bowl: a matrix that decays and a vector that does not."""
    w = torch.nn.Parameter(torch.tensor(np.sin(np.arange(12.0)).reshape(3, 4), dtype=torch.float32))
    b = torch.nn.Parameter(torch.tensor(np.cos(np.arange(4.0)), dtype=torch.float32))
    groups = [{"params": [w], "weight_decay": 0.1}, {"params": [b], "weight_decay": 0.0}]
    optimizer = create_optimizer_v2(groups, opt=name, lr=lr, weight_decay=0.1, **options)
    for _ in range(10):
        optimizer.zero_grad()
        loss = (torch.square(w - 0.3) * torch.arange(1, 5)).sum() / 2 + torch.cos(3 * w).sum()
        (loss + (torch.square(b + 0.2) * torch.arange(1, 5)).sum()).backward()
        optimizer.step()
    return {"lr": lr, "w": w.detach().numpy().round(7).ravel().tolist(), "b": b.detach().numpy().round(7).tolist()}


if __name__ == "__main__":
    values = {
        "versions": {"torch": torch.__version__, "timm": timm.__version__},
        "losses": {name: round(value.item(), 7) for name, value in losses().items()},
        "optimizers": {name: run(name, **options) for name, options in OPTIMIZERS.items()},
    }
    Path(__file__).with_name("torch_values.json").write_text(json.dumps(values, indent=1) + "\n")
