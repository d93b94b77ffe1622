"""Some of the features or components of what a pass needs."""

from typing import Any

import numpy as np

from fastem._families.frame import Frame
from fastem._typing import Array


def of_columns(frame: Frame, columns: Array) -> Frame:
    return Frame(*(array[columns] for array in frame))


def parted(whole: Any, shifts: Array, inverse_scales: Array) -> Any:
    """Return what kernels need of mixtures that were packed as one, with the mixtures along a first axis.

    Each has coordinates of its own, (P, d).
    """
    frame = {"shift": shifts, "inverse_scale": inverse_scales}
    values = {
        name: parted(value, shifts, inverse_scales)
        if isinstance(value, tuple)
        else np.ascontiguousarray(value).reshape(len(shifts), -1, *value.shape[1:])
        for name, value in whole._asdict().items()
        if name not in frame
    }
    return whole._replace(**values, **frame)


def stacked(parts: list[Any]) -> Any:
    """Return NamedTuples of arrays as one, with a first axis more."""
    fields = (
        stacked(list(arrays)) if isinstance(arrays[0], tuple) else np.ascontiguousarray(np.stack(arrays))
        for arrays in zip(*parts, strict=True)
    )
    return type(parts[0])(*fields)
