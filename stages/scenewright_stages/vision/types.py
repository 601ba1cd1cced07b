"""Types of arrays that signatures name; shapes stand in the docstrings."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

Float32Array = NDArray[np.float32]
Float64Array = NDArray[np.float64]
FloatArray = NDArray[np.floating]
"""Any floating-point type: the function keeps or converts it, as it says."""
Uint8Array = NDArray[np.uint8]
Mask = NDArray[np.bool_]
