"""fastem: Gaussian mixtures fitted by Expectation-Maximization, on millions of points, in seconds."""

from fastem._accelerate import accelerate
from fastem._fit import e_step, fit, m_step
from fastem._interrupted import FitInterrupted
from fastem._model import GaussianMixture, load
from fastem._online import partial_fit
from fastem._report import FitReport, FitStatus, FitWarning, WarningCause
from fastem._statistics import Statistics

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
