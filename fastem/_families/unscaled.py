"""Families that keep the units of the user: those of counts, categories and distributions of the user."""

from typing import Any

import numpy as np

from fastem._families.base import Family
from fastem._families.frame import Frame, Moments, identity_frame
from fastem._families.steps import P, S


class Unscaled(Family[P, S]):
    """A family whose standard coordinates are those of the user."""

    def to_user(self, parameters: P, frame: Frame) -> P:
        return parameters

    def from_user(self, parameters: P, frame: Frame) -> P:
        return parameters

    def frame(self, moments: Moments, dtype: np.dtype[Any]) -> Frame:
        return identity_frame(moments.mean)
