"""`fit`, the main function of fastem."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from typing import Any, Literal, Unpack, overload

from fastem._api.fitting import fit_by
from fastem._api.gaussian import GaussianMixture
from fastem._api.missing import Missing
from fastem._api.mixture import Mixture
from fastem._api.options import check_options
from fastem._api.prior import Prior
from fastem._api.signatures import Callback, FitOptions, GaussianCallback, InitLike, RegCovar
from fastem._api.translations import advised
from fastem._em.loop import StoppingRule
from fastem._families.distribution import Distribution
from fastem._report import FitReport
from fastem._typing import CovarianceType, DataLike, NoiseLike, RngLike, RowsLike


@overload
def fit(
    X: DataLike,
    k: int,
    *,
    distribution: Literal["gaussian"] = "gaussian",
    noise_component: Literal[False] = False,
    callback: GaussianCallback | None = None,
    **options: Unpack[FitOptions],
) -> GaussianMixture[FitReport]: ...


@overload
def fit(
    X: DataLike,
    k: int,
    *,
    distribution: Literal["gaussian"] = "gaussian",
    noise_component: Literal[True],
    callback: Callback | None = None,
    **options: Unpack[FitOptions],
) -> Mixture[FitReport]: ...


@overload
def fit(
    X: DataLike,
    k: int,
    *,
    distribution: str | Mapping[Any, str] | Distribution,
    noise_component: bool = False,
    callback: Callback | None = None,
    **options: Unpack[FitOptions],
) -> Mixture[FitReport]: ...


@advised(
    missing={
        "k": "It is the number of components: fastem.fit(X, 3). If you do not know it, fastem.select(X, "
        "range(1, 10)) compares several."
    }
)
def fit(
    X: DataLike,
    k: int,
    *,
    covariance_type: CovarianceType | None = None,
    distribution: str | Mapping[Any, str] | Distribution = "gaussian",
    sample_weight: RowsLike = None,
    labels: RowsLike = None,
    assignment: Literal["soft", "hard"] = "soft",
    columns: Sequence[str] | None = None,
    cache_dir: str | os.PathLike[str] | None = None,
    init: InitLike = "auto",
    n_init: int = 1,
    tol: float | StoppingRule = 1e-4,
    max_iter: int = 200,
    reg_covar: RegCovar = "auto",
    acceleration: Literal["auto"] | None = "auto",
    fixed: Sequence[str] | Mapping[str, Any] = (),
    prior: Literal["default"] | Prior | None = None,
    noise_component: bool = False,
    inference: Literal["em", "variational"] = "em",
    missing: Missing = "error",
    noise: NoiseLike = None,
    rng: RngLike = None,
    n_threads: int | None = None,
    callback: Any = None,
    progress: bool = False,
) -> Mixture[FitReport]:
    """Fit a mixture by Expectation-Maximization (Dempster, Laird and Rubin 1977).

    Parameters
    ----------
    X : array of shape (n, d), table, .csv, Parquet, store, chunks, or dask array or dataframe
        Finite real numbers (`missing` tells what becomes of gaps). If X is float32, fastem computes in
        float32 (and sums in float64), unless that would hide a variance: features that nearly agree need
        float64. Otherwise it computes in float64. It never copies an array of numbers as a whole, and never
        writes to it. Tables of pandas, polars, pyarrow and other libraries that narwhals supports (the extra
        ``tables``) are converted, and the path of a ``.csv`` is read, with or without names in its first
        line. The names of the columns become the `feature_names` of the model. With
        ``distribution="categorical"``, arrays and columns may also hold text; then another pass over chunks
        collects it.

        X need not fit in memory. The following are read again in each pass, and the result has the same
        bits as that of an array with the same rows:

        - a memory-mapped array;
        - a two-dimensional store with slices, ``shape`` and ``dtype`` (h5py, zarr);
        - the path of a Parquet file or folder, or a ``pyarrow.dataset.Dataset`` (the extra ``parquet``);
        - chunks, pairs (chunk, weights), or dicts with ``"X"`` and ``"sample_weight"``, ``"labels"`` or
          ``"noise"``, from an iterable that can be read again or from a function that returns an iterator.

        Each block of a dask array or dataframe (the extra ``dask``) is one task on the active scheduler. In
        float64 the result agrees with that of the array to 1e-9. Its bits depend on the blocks alone.
    k : int
        Number of components, at most n.
    covariance_type : {"full", "tied", "diag", "spherical"} or one of mclust's fourteen, optional
        Covariances of Gaussian components, or scales of Student components. ``"full"``: each component has
        a matrix. ``"tied"``: all components share one matrix. ``"diag"``: each component has a variance for
        each feature. ``"spherical"``: each component has one variance. Gaussian components also have the
        other models of mclust (Banfield and Raftery 1993): three letters for volume, shape and orientation,
        each equal (E), varying (V) or that of the identity (I), such as ``"VEV"``. Some are the types above:
        ``"VVV"``, ``"EEE"``, ``"VVI"`` and ``"VII"``. The default is ``"full"``, and ``"diag"`` for columns
        of different kinds.
    distribution : str, dict or Distribution
        Distribution of the components.

        - ``"gaussian"``, and ``"student"``: multivariate t distributions, which are robust to outliers. Their
          parameters are ``means``, ``scales`` in the shape of covariances, and ``degrees_of_freedom`` (k,),
          which are estimated (Peel and McLachlan 2000) between 0.1 and 1000. With 1000 a component is a
          Gaussian to all practical purposes.
        - Columns that are independent given the component: ``"bernoulli"`` (0 and 1, with
          ``probabilities`` (k, d) of a 1), ``"poisson"`` (counts, ``rates``), ``"exponential"`` (at least 0,
          ``rates``), ``"gamma"`` (above 0, ``shapes`` and ``rates``), ``"lognormal"`` (above 0, ``means`` and
          ``variances`` of the logarithms) and ``"categorical"`` (``probabilities`` (k, d, C)). The categories
          of a column are its distinct values in rows of positive weight, numbers or text, at most 65,536
          (`Mixture.categories`). ``"gamma"`` and ``"lognormal"`` compute in float64 also if X is float32.
        - a dict with one of these names, except ``"student"``, for each column of X by its name or number.
          The columns are independent given the component, unless `covariance_type` says otherwise for those
          that are ``"gaussian"``.
        - a `Distribution` of your own.
    sample_weight : array of shape (n,), or str, optional
        Weights of the rows, at least 0. An integer weight counts a row that many times. If X is a table, a
        .csv, Parquet or a dask dataframe, this may be the name of a column. If X is a dask array or
        dataframe, this may be a dask array or series with the same blocks as X.
    labels : array of shape (n,) of int, or str, optional
        The known component of each row, from 0 to k - 1, and -1 (or NaN) where it is unknown, in the order of
        the rows: an index is ignored. In every E-step
        a known row belongs to its component alone, and the log-likelihood is that of the rows and the known
        labels. Components keep the numbers of the labels. A component may have no known row. The name of a
        column and dask collections are taken as for `sample_weight`.
    assignment : {"soft", "hard"}
        ``"hard"``: in each E-step every row belongs to its likeliest component alone, the first one if there
        are several (classification EM, Celeux and Govaert 1992). This maximises the classification
        log-likelihood, which the `objective` and the `history` of the report hold. It is biased where
        components overlap. k-means is a special case.
    columns : sequence of str, optional
        Names of the columns to use, if X is a table, a .csv, Parquet, a dask dataframe or chunks that are
        tables. By default all columns are used except those of the weights and the labels, or those of the
        model if `init` is one.
    cache_dir : str or path, optional
        Folder for a temporary copy of the rows of X, if X is Parquet, a store or chunks. Then X is read and
        decoded only once, and all later passes read the memory-mapped copy. The copy takes 8 bytes per
        number (4 if X is float32). It is gone when the fit ends, even if the fit fails. If X is in memory
        or memory-mapped already, it is not copied.
    init : str, array, model or dict
        How to find the initial parameters.

        - ``"auto"``: EM on a sample of at most 16384 rows, from what k-means finds in several geometries
          after it has left its local optima, from values that repeat, from a dense spot, and from random
          seeds if X has few rows or no clear clusters. Starts that fall behind are dropped; the best goes on.
          If features are independent, it also begins from random responsibilities.
          Clusters of fewer than one row in a hundred or so may not show in the sample.
        - ``"k-means++"``: assign each row to the nearest of k seeds, which k-means++ chooses. The first
          start chooses greedily. Restarts alternate between plain and greedy choice, for variety.
        - ``"kmeans"``: the same, but with at most 20 of Lloyd's iterations after the choice of seeds.
        - ``"random_from_data"``: assign each row to the nearest of k rows drawn at random.
        - ``"random"``: draw responsibilities at random.
        - labels ``(n,)`` from 0 to k - 1, or responsibilities ``(n, k)``: begin with an M-step from these.
        - a `GaussianMixture` or `Mixture` of the same k, d and distribution: begin with its parameters.
        - a dict with some of the parameters, such as ``{"means": centres}`` or ``{"weights": w, "means": m}``
          (others: ``"rates"``, ``"probabilities"``): begin with these, in the shapes that a model has them
          in. The others are estimated from the rows that are nearest to each centre.
          ``"degrees_of_freedom"`` may be a number.

        The other methods with a name use a random sample of at most 32768 rows (fewer if X is wide, but at
        least 32 per component).
    n_init : int
        Number of starts. The fit returns the result with the highest log-likelihood. It returns a result
        with a singular component only if all starts ended with one, or if the component holds a mass: at
        least 2 % of the weight, 20 rows, and 2 d + 2 rows, at one point or in one plane, and three times as
        much as the nearest others. If `init` is an array, a dict or a model, there is only one start.
    tol : float or callable
        Stop when the mean log-likelihood per row has less than this to gain: in the last iteration, and in
        all that would follow if gains went on to fall at the same rate (Aitken; Boehning et al. 1994). With n
        rows, ``0.01 / n`` is less than any test or criterion notices. With 0 the fit makes all `max_iter`
        iterations. A callable replaces this rule: it takes the list of the mean log-likelihoods per row so
        far, starting with that of the initial parameters, and returns whether to stop. (The `history` of the
        report has totals.)
    max_iter : int
        Maximum number of passes after the first. 0 returns the initial model. So ``init=labels`` with
        ``max_iter=0`` gives the supervised maximum-likelihood fit (of Student components to about 5 % of a
        deviation).
    reg_covar : float or "auto"
        Amount added to the diagonals of the covariances in each M-step. ``"auto"`` adds a millionth of the
        variance of each feature, whatever its units. A float is absolute, as in scikit-learn. This option
        is for Gaussian and Student components only. For the latter, rows far out hardly count in the
        variance of a feature.
    acceleration : "auto" or None
        ``"auto"``: where EM converges slowly, leap along its path (SQUAREM, Varadhan and Roland 2008). A leap
        to a lower log-likelihood is taken back. This costs a pass, which counts for `max_iter`, but is no
        iteration in the report. Fits of up to 8 iterations are those of EM. None: EM alone. Hard assignment
        is never accelerated.
    fixed : sequence of str, or dict
        Names of parameters that stay as `init` gives them, bit for bit, or a dict of masks of shape (k,) by
        name, which tell in which components. The other parameters maximise the likelihood given these:
        covariances are about fixed means, and free weights share what fixed ones leave.

        - ``"weights"``, of every distribution.
        - ``"means"`` and ``"covariances"`` of Gaussian components. If components share some of their
          covariances (tied, and most of mclust's models), all are fixed or none.
        - ``"means"`` and ``"degrees_of_freedom"`` of Student components.

        A component with a fixed mean or covariance is never re-seeded, and a fixed covariance gets no floor.
        A free one without rows takes a part of those of the heaviest, which stays where it is if it is fixed.
        `n_parameters` counts fixed parameters all the same.
    prior : None, "default" or Prior
        Maximise the posterior under a conjugate prior of Gaussian components in place of the likelihood. A
        component that has rows at one point alone is sound then. ``"default"`` is ``fastem.Prior()``: means
        about the mean of all rows with the precision 0.01, d + 2 degrees of freedom, the scale
        S / k^(2 / d) and a flat prior of the weights (Fraley and Raftery 2007). S is the covariance of all
        rows with a millionth more on its diagonal. For diagonal and spherical models it is the mean of the
        variances of all features, so scale features in different units before. `reg_covar="auto"` adds
        nothing more.

        The report has the log-likelihood, and as `objective` and `history` the log-likelihood plus the log
        of the density of the prior, up to a constant that k, d and the prior determine. `bic` takes the
        likelihood at this estimate, as mclust does.
    noise_component : bool
        Add a component for outliers after the k Gaussians, uniform on the box of the rows: from the least to
        the largest value of each feature (Banfield and Raftery 1993). The model has k + 1 `weights`, the
        noise last, as `predict_proba` has it; `predict` and `sample` label it -1. Rows outside of the box,
        which a model may be given later, get the same density, so that they are noise too. One more
        pass over X finds the box. BIC counts two more parameters, as mclust does: the weight and the volume
        of the box. For Gaussians alone. Tied covariances come once for each component, (k, d, d).
    inference : {"em", "variational"}
        ``"variational"``: find a posterior of all parameters in place of their best values, by variational
        Bayes (Bishop 2006, section 10.2; Blei and Jordan 2006). It is for Gaussian components that are full,
        tied, diag or spherical. Components that the rows do not need lose their weight. The defaults of
        `prior` are those of scikit-learn: a Dirichlet process of concentration 1 / k (see
        `Prior.weight_concentration_type`), means about the mean of all rows with the precision 1, d degrees
        of freedom, and the covariance of all rows as the scale. The components of the process go by weight
        if `init` is a name. ``reg_covar="auto"`` adds nothing, and nothing is accelerated.

        The model has the expected weights and means, and the inverses of the expected precisions, as
        scikit-learn gives them. The `objective` and the `history` of the report hold the lower bound of the
        log-evidence (for covariances that are not full, see `docs/explanation/algorithm.md`).
        Callbacks get the bound as their log-likelihood.
    missing : {"error", "marginalise"}
        What becomes of NaN. ``"error"``: an error. ``"marginalise"``: NaN, None, a null of a table or of
        Parquet, an empty field of a .csv and a masked entry are numbers that are not known, and the
        likelihood is that of the numbers that are (Ghahramani and Jordan 1994). This is right if numbers are
        missing at random (Rubin 1976): whether one is missing may depend on what is observed in its row, but
        not on the number itself. A row may have no number at all; a column must have one. inf is an error in
        any case. The model remembers this option: its scores take such rows too, and `Mixture.impute` fills
        them. It does not go together with `noise_component`, ``inference="variational"`` and a
        `Distribution` of your own.
    noise : array or sequence of str, optional
        The known noise of the rows, if these are measurements with errors: the mixture is that of the values
        without noise (extreme deconvolution: Bovy, Hogg and Roweis 2011). A row is its true value plus
        Gaussian noise with the mean 0 and this covariance. Covariances (n, d, d) or variances (n, d) of each
        row, or (d, d) or (d,) for all rows; variances are squares of standard errors. A square (d, d) where X
        has d rows could be either, and is an error; (1, d, d) is one covariance for all rows. If X is a
        table, a .csv, Parquet or a dask dataframe, also the names of d columns with variances, in the order
        of the features. Dask collections are taken as for `sample_weight`, and chunks that are dicts may have
        ``"noise"``, which is that of their rows. Where X is missing, it may be NaN. It goes together with
        `missing`, weights, labels, priors and fixed parameters, but is for Gaussian components alone, without
        `noise_component`, by EM. The passes compute in float64.
    rng : None, int, numpy.random.Generator or RandomState
        Source of randomness (SPEC 7). The same seed gives the same bits, for any number of threads. A
        RandomState, as scikit-learn has them, gives the seed, and goes on.
    n_threads : int, optional
        Number of threads, but never more than ``NUMBA_NUM_THREADS``. None means numba's setting. Each dask
        task uses one thread.
    callback : callable, optional
        Function that is called as ``callback(iteration, log_likelihood, model)`` after each E-step, from
        iteration 0. If it returns True, the fit makes no more iterations or restarts and returns that
        model. Without it, and without `progress`, one kernel makes fits to a few hundred rows as a whole,
        which may differ in their last digits.
    progress : bool
        Show a progress bar with the mean log-likelihood per row. This needs tqdm (the extra ``progress``).

    Returns
    -------
    GaussianMixture, or Mixture of another distribution
        The fitted model. Its `report` says how the fit went. Annotations name the class with the type of the
        report: ``GaussianMixture[FitReport]``.

    Raises
    ------
    ValueError, TypeError
        If an argument is not valid (before any work starts), if X holds inf, or NaN that is not allowed, or
        if the rows of X differ between passes.
    FitInterrupted
        If the user interrupts (Ctrl-C), or X can no longer be read, during the iterations. The error holds
        the model so far. After Ctrl-C it is a `KeyboardInterrupt` too, and otherwise a `RuntimeError`.
    OSError
        If X cannot be read, or the disk of `cache_dir` gets full, before the first iteration.
    RuntimeError
        If dask cannot compute a block of X, before the first iteration.
    ImportError
        If ``progress=True`` and tqdm is missing, or if X is Parquet and pyarrow is missing.

    Warns
    -----
    FitWarning
        With a named `cause`: `max_iter` was reached before convergence (unless ``tol=0``), a component is
        singular (it names the columns that are constant or collinear), the log-likelihood fell, a start
        failed, the numbers in X have too few digits left, columns hold too few values for Gaussians, or
        the noise is larger than the rows vary.

    Examples
    --------
    >>> import numpy as np, fastem
    >>> rng = np.random.default_rng(0)
    >>> X = np.concatenate([rng.normal(0, 1, (500, 2)), rng.normal(6, 1, (500, 2))])
    >>> model = fastem.fit(X, 2, rng=0)
    >>> model.report.converged
    True
    """
    options = check_options(
        k,
        covariance_type,
        distribution,
        init,
        n_init,
        tol,
        max_iter,
        reg_covar,
        acceleration,
        callback,
        rng,
        assignment,
        fixed,
        prior,
        noise_component,
        inference,
        missing,
        noise is not None,
    )
    reading: dict[str, Any] = {"columns": columns, "cache_dir": cache_dir, "labels": labels, "noise": noise}
    return fit_by(options, init, X, sample_weight, n_threads, progress, asks=True, **reading)
