"""Pictures: the data of what they draw, against the model. Every picture is also rendered once."""

import subprocess
import sys
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest
from scipy.stats import norm

import fastem
from fastem import plot

matplotlib = pytest.importorskip("matplotlib")
matplotlib.use("Agg")

import matplotlib.pyplot as plt  # noqa: E402
from matplotlib.colors import to_rgb  # noqa: E402
from matplotlib.patches import Ellipse  # noqa: E402


@pytest.fixture(autouse=True)
def rendered():
    """Render what a test has drawn, since some mistakes show only then."""
    before = dict(matplotlib.rcParams)
    yield
    for number in plt.get_fignums():
        plt.figure(number).canvas.draw()
    plt.close("all")
    assert dict(matplotlib.rcParams) == before


@pytest.fixture(scope="module")
def model(faithful):
    return fastem.fit(faithful, 2, rng=0)


@pytest.fixture(scope="module")
def iris_model(iris):
    return fastem.fit(iris, 3, rng=0)


def offsets(ax):
    """The points of each scatter that has any."""
    return [points for c in ax.collections if len(points := c.get_offsets().data)]


def matrix_of(ellipse):
    """The matrix whose ellipse one deviation from the centre is drawn."""
    angle = np.radians(ellipse.angle)
    turn = np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
    return turn @ np.diag([ellipse.width**2, ellipse.height**2]) / 4 @ turn.T


def test_rows_have_the_colour_of_their_component(model, faithful):
    copy = faithful.copy()
    ax = plot.classification(model, faithful)
    assert np.array_equal(copy, faithful)
    labels = model.predict(faithful)
    assert len(ax.collections) == 2
    for component, scatter in enumerate(ax.collections):
        assert np.array_equal(scatter.get_offsets(), faithful[labels == component])
        assert np.allclose(scatter.get_facecolor()[0, :3], plot_colour(component))
    assert len({tuple(c.get_facecolor()[0, :3]) for c in ax.collections}) == 2
    assert len({len(c.get_paths()[0].vertices) for c in ax.collections}) == 2  # shapes differ too


def plot_colour(component):
    from fastem._plot.canvas import colour_of

    return to_rgb(colour_of(component))


@pytest.mark.parametrize("kind", ["full", "tied", "diag", "spherical"])
@pytest.mark.parametrize("distribution", ["gaussian", "student"])
def test_ellipses_are_those_of_the_covariances(kind, distribution):
    rng = np.random.default_rng(0)
    means, roots = rng.normal(size=(4, 4)), rng.normal(size=(4, 4, 4))
    stored, full = {
        "full": lambda m: (m, m),
        "tied": lambda m: (m[0], np.broadcast_to(m[0], (4, 4, 4))),
        "diag": lambda m: (np.diagonal(m, axis1=1, axis2=2), m * np.eye(4)),
        "spherical": lambda m: (m[:, 0, 0], m[:, :1, :1] * np.eye(4)),
    }[kind](roots @ roots.transpose(0, 2, 1) + 0.1 * np.eye(4))
    if distribution == "gaussian":
        fitted = fastem.GaussianMixture(np.full(4, 0.25), means, stored, kind)
    else:
        parameters = {"means": means, "scales": stored, "degrees_of_freedom": 4}
        fitted = fastem.Mixture(np.full(4, 0.25), parameters, "student", covariance_type=kind)
    pair = [3, 1]
    ax = plot.ellipses(fitted, features=pair, levels=(1, 2))
    drawn = [patch for patch in ax.patches if isinstance(patch, Ellipse)]
    assert len(drawn) == 8
    for number, ellipse in enumerate(drawn):
        component, level = divmod(number, 2)
        assert np.allclose(ellipse.center, means[component, pair])
        assert np.allclose(matrix_of(ellipse), (level + 1) ** 2 * full[component][np.ix_(pair, pair)])


def test_grid_of_pairs(iris_model, iris):
    axes = plot.classification(iris_model, iris)
    assert axes.shape == (4, 4)
    assert [ax.get_visible() for ax in axes.flat] == [j <= i for i in range(4) for j in range(4)]
    labels = iris_model.predict(iris)
    for component, points in enumerate(offsets(axes[3, 1])):
        assert np.array_equal(points, iris[labels == component][:, [1, 3]])
    ellipse = axes[3, 1].patches[2]
    assert np.allclose(matrix_of(ellipse), iris_model.covariances[2][np.ix_([1, 3], [1, 3])])
    x, y = axes[2, 2].lines[1].get_data()
    deviation = np.sqrt(iris_model.covariances[1, 2, 2])
    assert np.allclose(y, iris_model.weights[1] * norm.pdf(x, iris_model.means[1, 2], deviation), rtol=1e-9)


def test_one_feature_is_a_curve(faithful):
    X = faithful[:, 1:]
    one = fastem.fit(X, 2, rng=0)
    for ax in (plot.classification(one, X), plot.density(one), plot.density(one, X)):
        whole = next(line for line in ax.lines if line.get_label() == "mixture")
        x, y = whole.get_data()
        assert np.allclose(np.log(y), one.score_samples(x[:, None]))
    ax = plot.uncertainty(one, X)
    x, y = ax.lines[0].get_data()
    assert np.allclose(y, 1 - one.predict_proba(x[:, None]).max(axis=1))


def test_uncertain_rows_are_large_and_dark(iris_model, iris):
    ax = plot.uncertainty(iris_model, iris, features=[2, 3])
    unsure = 1 - iris_model.predict_proba(iris).max(axis=1)
    labels = iris_model.predict(iris)
    for component, scatter in enumerate(ax.collections):
        order = np.argsort(unsure[labels == component], kind="stable")
        assert np.array_equal(scatter.get_offsets(), iris[labels == component][order][:, [2, 3]])
        expected = 7 + 73 * np.sqrt(np.sort(unsure[labels == component]) * 1.5)
        assert np.allclose(scatter.get_sizes(), expected)
        assert (np.diff(scatter.get_facecolor()[:, 3]) >= 0).all()


def test_contours_enclose_their_share(model, faithful):
    ax = plot.density(model, faithful, shares=(0.5, 0.9))
    lines = next(c for c in ax.collections if type(c).__name__.endswith("ContourSet") and not c.filled)
    rows, _ = model.sample(50_000, 1)
    logs = model.score_samples(rows)
    assert np.allclose([(logs > level).mean() for level in lines.levels], [0.9, 0.5], atol=0.01)
    for level, path in zip(lines.levels, lines.get_paths(), strict=True):
        assert np.allclose(model.score_samples(path.vertices), level, atol=0.02)


def test_marginal_densities(iris_model, iris):
    """The contours of a pair in a grid are those of the Gaussian of these two features."""
    axes = plot.density(iris_model, iris, features=[0, 2, 3])
    pair = [0, 3]
    alone = fastem.GaussianMixture(
        iris_model.weights, iris_model.means[:, pair], iris_model.covariances[:, pair][:, :, pair]
    )
    lines = axes[2, 0].collections[-1]
    for level, path in zip(lines.levels, lines.get_paths(), strict=True):
        assert np.allclose(alone.score_samples(path.vertices), level, atol=0.1)


def test_other_distributions(faithful):
    rng = np.random.default_rng(0)
    counts = rng.poisson(np.where(rng.random(200) < 0.4, 3, 12)[:, None] * np.ones(3))
    fitted = fastem.fit(counts, 2, distribution="poisson", rng=0)
    axes = plot.classification(fitted, counts)
    x, y = axes[1, 1].lines[0].get_data()
    assert np.array_equal(x, np.arange(counts[:, 1].min(), counts[:, 1].max() + 1))
    alone = fastem.Mixture([1.0], {"rates": fitted.parameters["rates"][:1, 1:2]}, "poisson")
    assert np.allclose(y, fitted.weights[0] * np.exp(alone.score_samples(x[:, None])))
    assert plot.density(fitted, counts).shape == (3, 3)
    kinds = {"size": "gaussian", "count": "poisson", "kind": "categorical"}
    table = pd.DataFrame(
        {"size": rng.normal(counts[:, 0]), "count": counts[:, 1], "kind": rng.choice(["a", "b"], 200)}
    )
    mixed = fastem.fit(table, 2, distribution=kinds, rng=0)
    axes = plot.classification(mixed, table)
    assert [ax.get_xlabel() for ax in axes[2]] == ["size", "count", "kind"]
    assert [text.get_text() for text in axes[2, 0].get_yticklabels()] == ["a", "b"]
    with pytest.raises(TypeError, match="density of features"):
        plot.density(mixed, table, features=["size", "count"])


def test_lines_of_equal_density_need_numbers():
    rng = np.random.default_rng(0)
    table = pd.DataFrame({"size": rng.normal(size=200), "kind": rng.choice(["a", "b"], 200)})
    mixed = fastem.fit(table, 2, distribution={"size": "gaussian", "kind": "categorical"}, rng=0)
    for X in (None, table):
        with pytest.raises(TypeError, match=r"^features must .* column 'kind' holds categories, such as 'a'"):
            plot.density(mixed, X)
        for feature in ("size", "kind"):
            assert plot.density(mixed, X, features=[feature]).get_xlabel() == feature


def test_the_density_of_counts_beside_measurements():
    rng = np.random.default_rng(0)
    table = pd.DataFrame({"size": rng.normal(size=200), "count": rng.poisson(5, 200)})
    mixed = fastem.fit(table, 2, distribution={"size": "gaussian", "count": "poisson"}, rng=0)
    for ax in (plot.density(mixed), plot.density(mixed, table)):
        assert (ax.get_xlabel(), ax.get_ylabel()) == ("size", "count")


def test_k_means_has_centres(faithful):
    centres = np.array([[2.0, 55.0], [4.3, 80.0]])
    distances = lambda X: ((X[:, None] - centres) ** 2).sum(axis=2)  # noqa: E731
    clusters = SimpleNamespace(centers=centres, predict=lambda X: distances(X).argmin(axis=1))
    ax = plot.classification(clusters, faithful)
    assert np.array_equal(np.concatenate([line.get_xydata() for line in ax.lines]), centres)
    assert np.array_equal(offsets(ax)[1], faithful[distances(faithful).argmin(axis=1) == 1])
    with pytest.raises(TypeError, match="responsibilities"):
        plot.uncertainty(clusters, faithful)
    with pytest.raises(TypeError, match="must have a density"):
        plot.density(clusters, faithful)


def test_many_rows_are_sampled_from_any_source(tmp_path):
    truth = fastem.GaussianMixture([0.5, 0.5], [[0.0, 0.0], [5.0, 5.0]], [1.0, 1.0], "spherical")
    X, _ = truth.sample(30_000, 0)
    table = pd.DataFrame(X, columns=["length", "width"])
    path = tmp_path / "rows.parquet"
    table.to_parquet(path)
    seen = []
    for given in (X, table, path, [X[:9000], X[9000:]]):
        ax = plot.classification(truth, given, max_points=1000)
        assert "1,000 of 30,000 rows" in ax.get_title()
        seen.append(np.concatenate(offsets(ax)))
        named = given is table or given is path
        assert ax.get_xlabel() == ("length" if named else "feature 0")
    assert all(np.array_equal(seen[0], other) for other in seen[1:])
    assert len(seen[0]) == 1000
    assert not set(map(tuple, seen[0])) - set(map(tuple, X))


def test_convergence_shows_the_history_and_its_limit(faithful):
    options = {"init": "random_from_data", "acceleration": None, "rng": 0, "max_iter": 500}
    fitted = fastem.fit(faithful, 2, tol=1e-5, **options)
    ax = plot.convergence(fitted)
    assert np.array_equal(ax.lines[0].get_ydata(), fitted.report.history)
    end = fastem.fit(faithful, 2, tol=1e-13, **options).report.log_likelihood
    foretold = ax.lines[1].get_ydata()[0]
    assert foretold > fitted.report.objective
    assert abs(foretold - end) < 0.5 * (end - fitted.report.objective)
    assert np.allclose(ax.child_axes[0].lines[0].get_ydata(), np.diff(fitted.report.history))
    assert fitted.report.status.name in ax.get_title()
    with pytest.raises(ValueError, match="not fitted"):
        plot.convergence(fastem.GaussianMixture([1.0], [[0.0]], [1.0], "spherical"))


def test_criterion_marks_the_chosen_and_the_degenerate():
    rows = [(1, "full", 30.0, False), (2, "full", 20.0, False), (3, "full", 5.0, True)]
    rows += [(1, "diag", 31.0, False), (2, "diag", np.nan, False)]
    table = [SimpleNamespace(k=k, covariance_type=t, bic=v, degenerate=g) for k, t, v, g in rows]
    selection = SimpleNamespace(criterion="bic", table=table, chosen=table[1])
    ax = plot.criterion(selection)
    data = {line.get_label(): line.get_xydata().tolist() for line in ax.lines}
    assert data["full"] == [[1, 30], [2, 20], [3, 5]]
    assert data["diag"] == [[1, 31]]
    assert data["chosen"] == [[2, 20]]
    hollow = [line for line in ax.lines if line.get_markerfacecolor() == ax.get_facecolor()]
    assert [line.get_xydata().tolist() for line in hollow] == [[[3, 5]]]
    assert "lower is better" in ax.get_ylabel()
    with pytest.raises(TypeError, match="must be a Selection"):
        plot.criterion(table)


def test_animation_shows_each_iteration(faithful, tmp_path):
    film = plot.animate(faithful, 2, max_iter=3, tol=0, interval=50)
    film.save(tmp_path / "em.gif", writer="pillow", dpi=30)
    seen = []
    fastem.fit(faithful, 2, init="random_from_data", acceleration=None, rng=0, max_iter=3, tol=0,
               callback=lambda i, value, model: seen.append((i, value, model)))  # fmt: skip
    assert len(list(film.new_frame_seq())) == len(seen) == 4
    ax = plt.gcf().axes[0]
    last = seen[-1][2]
    assert f"iteration 3: log-likelihood {seen[-1][1]:,.2f}" in ax.get_title()
    ellipses = [patch for patch in ax.patches if isinstance(patch, Ellipse)]
    assert np.allclose(ellipses[2].center, last.means[1])
    assert np.allclose(matrix_of(ellipses[2]), last.covariances[1])
    assert np.allclose(matrix_of(ellipses[3]), 4 * last.covariances[1])
    colours = ax.collections[0].get_facecolor()[:, :3]
    expected = last.predict_proba(faithful) @ np.array([plot_colour(0), plot_colour(1)])
    assert np.allclose(colours, expected)


def test_animation_of_one_feature_leaves_late_iterations_out(faithful, tmp_path):
    film = plot.animate(faithful[:, 1:], 2, max_iter=30, tol=0, max_frames=4)
    assert len(list(film.new_frame_seq())) == 4
    film.save(tmp_path / "em.gif", writer="pillow", dpi=20)
    ax = plt.gcf().axes[0]
    assert "iteration 30" in ax.get_title()
    fitted = fastem.fit(
        faithful[:, 1:], 2, init="random_from_data", acceleration=None, rng=0, max_iter=30, tol=0
    )
    x, y = ax.lines[-1].get_data()
    assert np.allclose(np.log(y), fitted.score_samples(x[:, None]))


def test_animation_reads_rows_as_the_fit_does(faithful):
    table = pd.DataFrame(faithful, columns=["a", "b"]).assign(w=np.arange(272) % 2, known=-1)
    table.loc[:1, "known"] = [0, 1]
    film = plot.animate(table, 2, columns=["b", "a"], sample_weight="w", labels="known", max_iter=1, tol=0)
    ax = plt.gcf().axes[0]
    ax.figure.canvas.draw()
    assert len(list(film.new_frame_seq())) == 2
    assert (ax.get_xlabel(), ax.get_ylabel()) == ("b", "a")
    assert np.allclose(ax.collections[0].get_offsets().data, faithful[1::2, ::-1])


def test_errors_of_numpy_may_be_set_to_raise(tmp_path):
    X = np.random.default_rng(0).normal(size=(100, 2))
    X[50:] += 80
    wide, one = fastem.fit(X, 2, rng=0), fastem.fit(X[:, :1], 2, rng=0)
    with np.errstate(all="raise"):
        for picture in (plot.classification, plot.uncertainty, plot.density):
            picture(wide, X)
            picture(one, X[:, :1])
        plot.ellipses(wide)
        plot.convergence(wide)
        plot.animate(X[:, :1], 2, max_frames=2).save(tmp_path / "em.gif", writer="pillow")


@pytest.mark.parametrize("d", [1, 2, 3])
def test_few_rows_and_dollars(d, iris):
    """One row, so that most components have none, and names that matplotlib would take for formulas."""
    names = ["cost in $ or $\\frac", "$", "a_b"][:d]
    means, shares = iris[[0, 100], :d], [0.5, 0.5]
    model = fastem.GaussianMixture(shares, means, np.ones((2, d)), "diag", feature_names=names)
    drawn = plot.uncertainty(model, iris[:1, :d])
    plot.classification(model, iris[:1, :d])
    last = np.atleast_1d(drawn).flat[0 if d < 3 else 6]
    assert last.get_xlabel() == names[0].replace("$", r"\$")


def test_many_components_have_numbers(faithful):
    many = fastem.fit(faithful, 13, covariance_type="tied", rng=0, max_iter=2, tol=0)
    ax = plot.classification(many, faithful)
    assert ax.get_legend() is None
    assert [text.get_text() for text in ax.texts] == [str(component) for component in range(13)]


def test_bad_input(model, iris_model, faithful, iris):
    _, ax = plt.subplots()
    bad = [
        (lambda: plot.classification(object(), faithful), TypeError, "model must be"),
        (lambda: plot.classification(model, iris), ValueError, "must have 2 features"),
        (lambda: plot.classification(model, faithful * np.nan), ValueError, "must be finite"),
        (lambda: plot.classification(iris_model, iris, ax=ax), ValueError, "ax must be None for 4 features"),
        (lambda: plot.classification(model, faithful, ax=ax, fig=ax.figure), ValueError, "not both"),
        (lambda: plot.classification(model, faithful, ax=3), TypeError, "matplotlib Axes"),
        (lambda: plot.classification(iris_model, iris, fig=3), TypeError, "matplotlib Figure"),
        (lambda: plot.classification(model, faithful, features=["age"]), ValueError, "features must be num"),
        (lambda: plot.classification(model, faithful, features=[0, 2]), ValueError, "from 0 to 1; got 2"),
        (lambda: plot.classification(model, faithful, features=[0, 0]), ValueError, "once"),
        (lambda: plot.classification(model, faithful, max_points=0), ValueError, "max_points"),
        (lambda: plot.ellipses(iris_model, features=(0, 1, 2)), ValueError, "two columns"),
        (lambda: plot.ellipses(model, levels=(0, 1)), ValueError, "levels"),
        (lambda: plot.ellipses(model, levels="wide"), ValueError, "levels"),
        (lambda: plot.classification(model, faithful, features=np.array(2)), ValueError, "got 2"),
        (lambda: plot.density(model, shares=(0.5, 1)), ValueError, "shares"),
        (lambda: plot.density(model, shares="half"), ValueError, "shares"),
        (lambda: plot.animate(faithful, 2, interval=-1), ValueError, "interval"),
        (lambda: plot.animate(lambda: 1 / 0, 2, interval=0), ValueError, "interval must be .* above 0"),
        (lambda: plot.animate(lambda: 1 / 0, 2, max_points=0), ValueError, "max_points"),
        (lambda: plot.animate(faithful, 0), ValueError, "k must be"),
    ]
    for call, error, message in bad:
        with pytest.raises(error, match=message):
            call()


def test_matplotlib_is_imported_only_when_needed():
    script = (
        "import sys, fastem; fastem.plot; assert 'matplotlib' not in sys.modules\n"
        "sys.modules['matplotlib'] = None\n"
        "model = fastem.GaussianMixture([1.0], [[0.0, 0.0]], [1.0], 'spherical')\n"
        "try: fastem.plot.ellipses(model)\n"
        "except ImportError as error: print(error)"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert "pip install matplotlib" in done.stdout
