"""Whole fits of small plain data by one kernel. Also runs interpreted."""

import warnings

import naive
import numpy as np
import pytest
import whole_twin

import fastem
from fastem._em import clear, labellings, whole
from fastem._em.labellings import most_random
from fastem._families.registry import GAUSSIANS
from fastem._kernels import _whole_fit
from fastem._kernels._whole_fit import fit_slots
from fastem._report import FitStatus

TYPES = ["full", "tied", "diag", "spherical"]
compiled_only = pytest.mark.skipif(
    not hasattr(fit_slots, "py_func"), reason="a fit by interpreted kernels takes long"
)
SIZES = [(60, 1, 2, 4), (200, 2, 2, 1), (90, 2, 3, 9), (300, 4, 3, 2)]
if not hasattr(fit_slots, "py_func"):
    SIZES = [(150, 2, 2, 2)]


def clusters(n, d, k, apart, seed=0):
    rng = np.random.default_rng([seed, n, d, k])
    places = apart * rng.normal(size=(k, d))
    return (places[rng.integers(k, size=n)] + rng.normal(size=(n, d))) * np.linspace(1, 3, d)


@pytest.mark.parametrize("kind", TYPES)
@pytest.mark.parametrize(("n", "d", "k", "apart"), SIZES)
def test_a_whole_fit_is_its_twin(n, d, k, apart, kind):
    X, family = clusters(n, d, k, apart), GAUSSIANS[kind]
    extra = most_random(n * k * family.multiply_adds(d))
    shape = whole._Shape(n, d, k, kind, 6 + extra)
    more = family.n_parameters(k + 1, d) - family.n_parameters(k, d)
    uniforms = whole._uniforms(shape, [np.random.default_rng(3)])
    which = whole._workspace(shape, 1e-4, more)[0].which
    start, _ = whole_twin.start_of(X, kind, k, uniforms, which, more)
    found = whole.whole_fits(X[None], family, k, 1e-4, [np.random.default_rng(3)])
    passes = found.passes[0]
    assert passes >= 2
    means, scales, rows = whole_twin.standardised(X, kind)
    covariances = start.covariances[0] if kind == "tied" else start.covariances
    ended, history = naive.em(
        rows, np.ones(n), start.weights, start.means, covariances, kind, passes - 1, 1e-6
    )
    expected = np.array(history) / n - np.log(scales).sum()
    np.testing.assert_allclose(found.history[0, :passes], expected[:passes], rtol=1e-9)
    weights, places, _ = whole.parameters_of(found, kind, 0)
    np.testing.assert_allclose(weights, ended[0], rtol=1e-5)
    np.testing.assert_allclose((places - means) / scales, ended[1], rtol=1e-5, atol=1e-6)


@compiled_only
@pytest.mark.parametrize("kind", TYPES)
def test_a_whole_fit_says_what_its_model_does(kind):
    X = clusters(300, 3, 3, 2)
    model = fastem.fit(X, 3, rng=0, covariance_type=kind)
    report, history = model.report, np.array(model.report.history)
    assert (report.status, report.repairs) == (FitStatus.CONVERGED, ())
    assert report.n_iter == len(history) - 1 > 0
    assert report.log_likelihood == report.objective == history[-1]
    assert np.diff(history).min() > -1e-9 * abs(history[-1])
    assert report.log_likelihood == pytest.approx(300 * model.score(X), rel=1e-13)
    watched = fastem.fit(X, 3, rng=0, covariance_type=kind, callback=lambda *_: None)  # by passes from Python
    np.testing.assert_allclose(model.means, watched.means, rtol=1e-6, atol=1e-6)
    np.testing.assert_allclose(model.covariances, watched.covariances, rtol=1e-6, atol=1e-6)
    np.testing.assert_allclose(history, watched.report.history, rtol=1e-9)


@compiled_only
def test_fits_of_many_sizes_are_the_single_ones_for_any_number_of_threads():
    sets = [clusters(n, 2, 2, 2, seed) for seed, n in enumerate([80, 200, 80, 300, 80, 200] * 3)]
    sets[4] = np.round(sets[4])
    generators = np.random.default_rng(1).spawn(len(sets))
    for rng, singles in ((4, [4] * len(sets)), (np.random.default_rng(1), generators)):
        alone = [fastem.fit(X, 2, rng=one) for X, one in zip(sets, singles, strict=True)]
        for n_threads in (1, 2):
            states = np.random.default_rng(1) if isinstance(rng, np.random.Generator) else rng
            many = fastem.fit_many(sets, 2, rng=states, n_threads=n_threads)
            for model, other in zip(many, alone, strict=True):
                np.testing.assert_array_equal(model.means, other.means)
                assert model.report.history == other.report.history


@compiled_only
@pytest.mark.parametrize("layout", ["F", "memmap", "chunks", "int-like"])
def test_the_bits_do_not_depend_on_where_rows_are(layout, tmp_path):
    X = clusters(200, 2, 2, 2)
    other = {"F": np.asfortranarray(X), "chunks": [X[:70], X[70:]], "int-like": X[::-1][::-1]}.get(layout)
    if layout == "memmap":
        np.save(tmp_path / "X.npy", X)
        other = np.load(tmp_path / "X.npy", mmap_mode="r")
    model, same = fastem.fit(X, 2, rng=0), fastem.fit(other, 2, rng=0)
    np.testing.assert_array_equal(model.means, same.means)
    assert model.report.history == same.report.history


@pytest.mark.parametrize(
    ("change", "plain"),
    [
        (lambda X: X, True),
        (lambda X: np.clip(np.round(X), 0, 2), False),
        (lambda X: np.round(1000 * X), True),
        (lambda X: 1e150 * X, True),
        (lambda X: 1e-150 * X, True),
        (lambda X: np.where(np.arange(len(X))[:, None] < 20, X[0], X), False),
        (lambda X: np.where(X > 0, 0.5, 1.5), False),
        (lambda X: np.where(X == X[3, 1], np.nan, X), False),
        (lambda X: np.where(X == X[3, 1], -np.inf, X), False),
    ],
)
def test_values_that_repeat_are_left_to_python(change, plain):
    assert whole.are_plain(change(clusters(100, 2, 2, 2))[None])[0] == plain


@compiled_only
@pytest.mark.parametrize("kind", TYPES)
def test_what_is_not_plain_is_not_found(kind):
    X = clusters(60, 2, 2, 2)
    flat, constant, wrong = (X.copy() for _ in range(3))
    flat[:30] = np.outer(X[:30, 0], [1, 2])  # a mass in a line
    constant[:, 0], wrong[7, 1] = 0.1, np.inf
    sets = np.array([constant, X + 1e9, wrong])
    found = whole.whole_fits(sets, GAUSSIANS[kind], 2, 1e-4, [np.random.default_rng(0)])
    assert not found.passes.any()
    if kind == "full":
        found = whole.whole_fits(flat[None], GAUSSIANS[kind], 2, 1e-4, [np.random.default_rng(0)])
        assert found.passes[0] == -1  # and labels that lead to the mass
        with pytest.warns(fastem.FitWarning, match="MASS"):
            assert fastem.fit(flat, 2, rng=0).report.status is FitStatus.DEGENERATE


@compiled_only
def test_without_addresses_fits_are_made_by_passes(monkeypatch):
    X = clusters(200, 2, 2, 3)
    plain = fastem.fit(X, 2, rng=0)
    monkeypatch.setattr(whole, "_codes", lambda: None)
    assert fastem.fit(X, 2, rng=0).report.log_likelihood == pytest.approx(
        plain.report.log_likelihood, rel=1e-4
    )


@compiled_only
def test_a_generator_goes_on_after_a_whole_fit():
    X, rng = clusters(200, 2, 2, 0.5), np.random.default_rng(0)
    fastem.fit(X, 2, rng=rng)
    assert rng.bit_generator.seed_seq.n_children_spawned == 1


@compiled_only
@pytest.mark.parametrize(("rows", "deviation"), [(20, 1e-4), (12, 1e-2), (6, 2e-2)])
def test_narrow_clusters_of_few_rows_are_found(rows, deviation):
    lower = 0
    for seed in range(10):
        rng = np.random.default_rng(seed)
        X = np.r_[1 + deviation * rng.normal(size=(rows, 2)), 3 * rng.normal(size=(180, 2))]
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", fastem.FitWarning)
            model, by_passes = fastem.fit(X, 2, rng=0), fastem.fit(X, 2, rng=0, sample_weight=np.ones(len(X)))
        lower += model.score(X) < by_passes.score(X) - 0.01
    assert lower <= 1


@compiled_only
@pytest.mark.parametrize("kind", ["full", "diag", "spherical"])
def test_ascents_to_a_few_stray_rows_do_not_end_a_race(kind):
    sets = np.array([clusters(200, 2, 3, 1, seed) for seed in range(100)])
    found = whole.whole_fits(sets, GAUSSIANS[kind], 3, 1e-4, [np.random.default_rng(0)])
    assert (found.passes > 0).mean() >= 0.98


@compiled_only
def test_a_mass_that_the_kernel_meets_is_found():
    rng = np.random.default_rng([0, 3, 2, 120, 24])
    X = (2 * rng.normal(size=(2, 3)))[rng.integers(2, size=120)] + rng.normal(size=(120, 3))
    X[:24, 0] = X[0, 0]
    seeds = [np.random.SeedSequence(seed).spawn(1)[0] for seed in range(60)]
    found = whole.whole_fits(
        np.array([X] * 60), GAUSSIANS["full"], 2, 1e-4, [*map(np.random.default_rng, seeds)]
    )
    met, told = found.passes == -1, 0
    assert met.sum() >= 5
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", fastem.FitWarning)
        for seed in np.flatnonzero(met).tolist():
            told += fastem.fit(X, 2, rng=seed).report.status is FitStatus.DEGENERATE
    assert told >= met.sum() - 1


def test_the_look_at_clear_clusters_has_the_same_numbers_in_python():
    iterations = "_QUICK_ITERATIONS", "_LLOYD_ITERATIONS", "_HEAT", "_FIRST", "_REST"
    for name in (*iterations, "_SEEDS", "_TOL", "_DOUBT", "_LITTLE", "_HOPELESS", "_GAIN", "_ALIKE"):
        assert getattr(_whole_fit, name) == getattr(clear, name)
    assert (_whole_fit._MOST_RANDOM, _whole_fit._SAME) == (clear._RANDOM, labellings._SAME)
