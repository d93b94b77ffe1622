"""What `select` returns: all fits, their criteria, and the best of them."""

from collections.abc import Iterable, Sequence
from html import escape
from math import inf, isfinite, nan
from typing import TYPE_CHECKING, Any, Generic, NamedTuple

from fastem._api.mixture import Mixture
from fastem._criteria import CRITERIA
from fastem._plot.criterion import criterion
from fastem._report import FitReport, FitStatus

if TYPE_CHECKING:
    from typing_extensions import TypeVar

    S = TypeVar("S", bound=Mixture[FitReport], default=Mixture[FitReport], covariant=True)
else:
    from typing import TypeVar

    S = TypeVar("S", covariant=True)


class Candidate(NamedTuple):
    """One fit of a `Selection`.

    Attributes
    ----------
    k : int
        Number of components.
    covariance_type : str or None
        None for distributions without covariances.
    bic, icl, aic : float
        Bayesian information criterion, integrated completed likelihood (see `Mixture.icl`), Akaike
        information criterion. Lower is better.
    held_out : float or None
        Mean log-density of rows that were held out of the fit. Higher is better. None unless it was asked
        for.
    log_likelihood : float
    n_parameters, n_iter : int
    status : FitStatus
        Why the fit ended.
    degenerate : bool
        Whether a component is singular, or the fit failed. Such likelihoods have no upper bound and say
        nothing, so this fit is never chosen.
    """

    k: int
    covariance_type: str | None
    bic: float
    icl: float
    aic: float
    held_out: float | None
    log_likelihood: float
    n_parameters: int
    n_iter: int
    status: FitStatus
    degenerate: bool


class Table(list[Candidate]):
    """A list of `Candidate`, one for each fit."""

    def to_pandas(self) -> Any:
        """Return a DataFrame with a row for each fit. The status is its name. This needs pandas."""
        try:
            import pandas as pd
        except ImportError:
            raise ImportError("to_pandas needs pandas: pip install pandas.") from None
        return pd.DataFrame(
            [row._replace(status=row.status.name) for row in self],  # type: ignore[arg-type]
            columns=list(Candidate._fields),
        )


class Selection(Generic[S]):
    """Mixtures with different numbers of components and covariance types, and the best of them.

    Attributes
    ----------
    best : GaussianMixture or Mixture
        The model of the fit that the criterion prefers.
    chosen : Candidate
        Its row in the table.
    criterion : {"bic", "icl", "aic", "held-out"}
    table : list of Candidate
        A row for each fit. ``table.to_pandas()`` makes it a DataFrame.
    models : list of Mixture or None
        The model of each row of the table, or None if the fit failed.

    Raises
    ------
    ValueError
        By `best` and `chosen`, if all fits are degenerate, or none has a finite criterion. A held-out score
        is -inf if a row has a category, or a count, that the rows of the fit do not have.
    """

    def __init__(self, criterion: str, table: Iterable[Candidate], models: Sequence[S | None]) -> None:
        self.criterion, self.table, self.models = criterion, Table(table), list(models)

    @property
    def best(self) -> S:
        model = self.models[self._choice()]
        assert model is not None
        return model

    @property
    def chosen(self) -> Candidate:
        return self.table[self._choice()]

    def plot(self, *, ax: Any = None) -> Any:
        """Draw the criterion against k, a line for each covariance type (`fastem.plot.criterion`).

        Returns the Axes. This needs matplotlib (the extra ``plot``).
        """
        return criterion(self, ax=ax)

    def _choice(self) -> int:
        sound = [i for i, row in enumerate(self.table) if self._is_sound(row)]
        if not sound:
            raise ValueError(
                f"None of the {len(self.table)} fits can be chosen: all are degenerate, or their criterion "
                "is not finite (see the table). "
                "Try fewer components, a simpler covariance_type, or leave out columns that are constant or "
                "repeat others."
            )
        sign = 1 if CRITERIA[self.criterion].lower_is_better else -1
        return min(sound, key=lambda i: sign * self._value(self.table[i]))

    def __repr__(self) -> str:
        lines = [
            f"Selection by {self.criterion} ({CRITERIA[self.criterion].better} is better) "
            f"of {len(self.table)} fit{'s' * (len(self.table) != 1)}"
        ]
        chosen = None
        if not any(map(self._is_sound, self.table)):
            lines.append("none can be chosen: all are degenerate, or no criterion is finite")
        else:
            chosen = self.chosen
            kind = "" if chosen.covariance_type is None else f", {chosen.covariance_type}"
            lines.append(f"best: {chosen.k} component{'s' * (chosen.k != 1)}{kind}")
        types = list(dict.fromkeys(row.covariance_type for row in self.table))
        largest = max((abs(value) for value in map(self._value, self.table) if abs(value) < inf), default=1.0)
        digits = max(0, min(4, 6 - len(str(int(largest)))))
        lines += ["", "   k" + "".join(f"{name or self.criterion:>14}" for name in types)]
        cells = {(row.k, row.covariance_type): row for row in self.table}
        for k in dict.fromkeys(row.k for row in self.table):
            shown = (self._cell(cells.get((k, name)), chosen, digits) for name in types)
            lines.append(f"{k:>4}" + "".join(f"{cell:>14}" for cell in shown).rstrip())
        if any(row.degenerate for row in self.table):
            lines += ["", "(in brackets: degenerate, never chosen)"]
        return "\n".join(lines)

    def _is_sound(self, row: Candidate) -> bool:
        return not row.degenerate and isfinite(self._value(row))

    def _value(self, row: Candidate) -> float:
        value: float | None = getattr(row, CRITERIA[self.criterion].field)
        return nan if value is None else value

    def _cell(self, row: Candidate | None, chosen: Candidate | None, digits: int) -> str:
        if row is None:
            return ""
        number = f"{self._value(row):.{digits}f}"
        if row.degenerate:
            return f"({number})"
        return number + ("*" if row is chosen else " ")

    def _repr_html_(self) -> str:
        return f"<pre>{escape(repr(self))}</pre>"
