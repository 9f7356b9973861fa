"""The arrays on which our losses and PyTorch's are compared."""

import numpy as np

LOGITS = np.round(3 * np.sin(np.arange(20) * 1.7).reshape(4, 5), 3).astype(np.float32)
LABELS = np.array([0, 3, 1, 3])
MULTIHOT = np.array([[1, 0, 0, 1, 0], [0, 0, 0, 0, 0], [1, 1, 1, 1, 1], [0, 1, 0, 0, 1]], np.float32)
WEIGHTS = np.array([1.0, 2.0, 0.5, 3.0, 1.5], np.float32)
