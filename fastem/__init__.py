"""fastem: Gaussian mixtures fitted by Expectation-Maximization, on millions of points, in seconds."""

from fastem._api.fit import e_step, fit, m_step
from fastem._api.interrupted import FitInterrupted
from fastem._api.mixture import GaussianMixture, load
from fastem._api.online import partial_fit
from fastem._families.statistics import Statistics
from fastem._report import FitReport, FitStatus, FitWarning, WarningCause
from fastem._sklearn.accelerate import accelerate

__all__ = [
    "FitInterrupted",
    "FitReport",
    "FitStatus",
    "FitWarning",
    "GaussianMixture",
    "Statistics",
    "WarningCause",
    "accelerate",
    "e_step",
    "fit",
    "load",
    "m_step",
    "partial_fit",
]

__version__ = "0.1.0"
