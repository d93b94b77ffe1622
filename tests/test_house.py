"""The structure of the package: public names, imports that point down, numba's options in one place."""

import ast
import re
import subprocess
import sys
from pathlib import Path

import pytest

import fastem

# Optional packages. These modules import them inside functions, and work without them.
OPTIONAL = {
    "_api.interop": {"sklearn"},
    "_api.progress": {"tqdm"},
    "_api.selection": {"pandas"},
    "_plot.animation": {"matplotlib"},
    "_plot.canvas": {"matplotlib"},
    "_plot.ellipses": {"matplotlib"},
    "_sklearn.accelerate": {"sklearn"},
    "_sources.dask": {"dask"},
    "_sources.dask_graph": {"dask"},
    "_sources.parquet": {"pyarrow"},
    "_sources.tables": {"narwhals"},
    "_tools.peers": {"sklearn", "daal4py"},
    "_tools.written": {"pyarrow"},
}
# These modules are only imported if scikit-learn is installed. No other module imports it at the top.
# For type checkers alone, which all know it.
OPTIONAL |= {name: {*OPTIONAL.get(name, ()), "typing_extensions"} for name in ("_report", "_api.selection")}
OPTIONAL |= {"sklearn": {"sklearn"}, "_sklearn.drop_in": {"sklearn", "threadpoolctl"}}

PACKAGE = Path(fastem.__file__).parent
CONTRIBUTING = Path(__file__).parents[1] / "CONTRIBUTING.md"


def name_of(path):
    """The name of a module within the package. An ``__init__`` has the name of its folder."""
    parts = path.relative_to(PACKAGE).with_suffix("").parts
    return ".".join(parts[:-1] if len(parts) > 1 and parts[-1] == "__init__" else parts)


MODULES = {name_of(path): path for path in sorted(PACKAGE.rglob("*.py"))}
FOLDERS = {name for name, path in MODULES.items() if path.name == "__init__.py" and name != "__init__"}


def imports_of(path):
    """All modules that are imported anywhere in a file."""
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            for alias in node.names:
                inner = f"{node.module}.{alias.name}"
                yield inner if inner.removeprefix("fastem.") in MODULES else node.module


def inner_imports_of(path):
    """The imported modules of the package, by their names within it."""
    for name in imports_of(path):
        if name == "fastem":
            yield "__init__"
        elif name.startswith("fastem."):
            yield name.removeprefix("fastem.")


def drawn_house():
    """The modules on each line of the drawing in CONTRIBUTING, from the top."""
    drawing = CONTRIBUTING.read_text().split("## The house")[1].split("```")[1]
    folder = ""
    for line in drawing.strip("\n").splitlines():
        names = re.split(r"\s{2,}", line.strip())[0].split(", ")
        if names[0].endswith("/"):
            folder = names[0].strip("/")
            yield [folder]
        elif line.startswith("    "):
            yield [f"{folder}.{name}" for name in names]
        else:
            yield names


checkout_only = pytest.mark.skipif(not CONTRIBUTING.exists(), reason="not in a checkout")


@checkout_only
def test_every_module_is_drawn_once():
    drawn = [name for names in drawn_house() for name in names]
    assert sorted(drawn) == sorted(MODULES)


@checkout_only
def test_every_import_points_down_the_drawing():
    rank = {name: i for i, names in enumerate(drawn_house()) for name in names}
    for name, path in MODULES.items():
        for other in inner_imports_of(path):
            assert rank[name] < rank[other], f"{name} imports {other}, which is not drawn below it"


def test_the_first_look_shows_the_architecture():
    """There are few top modules, few rooms (top modules and folders), few levels, and few imports between."""
    top = [name for name in MODULES if "." not in name and name not in FOLDERS]
    assert len(top) <= 10
    arrows = set()
    for name, path in MODULES.items():
        room = name.split(".")[0]
        arrows |= {(room, other.split(".")[0]) for other in inner_imports_of(path)}
    arrows = {(room, other) for room, other in arrows if room != other}
    rooms = {*top, *FOLDERS}
    assert len(rooms) <= 24
    assert len(arrows) <= 90

    def level(room):
        return 1 + max((level(other) for start, other in arrows if start == room), default=0)

    assert max(map(level, rooms)) <= 12


def test_public_names_are_sorted_and_documented():
    assert fastem.__all__ == sorted(fastem.__all__)
    for name in fastem.__all__:
        assert getattr(fastem, name).__doc__


def test_nothing_else_is_public():
    stray = {name for name in vars(fastem) if not name.startswith("_")} - set(fastem.__all__)
    assert stray <= {"datasets", "sklearn"}  # these appear once someone imports the modules


def test_kernels_import_nothing_above_them():
    for name, path in MODULES.items():
        if name.startswith("_kernels"):
            assert all(other.startswith("_kernels") for other in inner_imports_of(path)), name


def test_the_core_imports_numpy_and_numba_only():
    for name, path in MODULES.items():
        roots = {imported.split(".")[0] for imported in imports_of(path)} - set(sys.stdlib_module_names)
        assert roots <= {"fastem", "numpy", "numba", "llvmlite", *OPTIONAL.get(name, ())}, name


# Private names of other libraries that these modules may use.
FOREIGN = {
    "_sklearn.drop_in": r"^estimator\._",
    "_sklearn.likelihood": r"^estimator\._",
    "_sklearn.variational": r"^estimator\._",
    "_sklearn.ways": r"^estimator\._|^import_mixture\(\)\._",
    "_api.interop": r"^(estimator|import_mixture\(\))\._",
    "_sources.dask": r"^X\._meta$",
    "_report": r"^sys\._getframe$",
}


def test_no_module_touches_private_attributes_of_another():
    for name, path in MODULES.items():
        if name.startswith("_kernels"):  # test_numba_names tests the private names of numba
            continue
        tree = ast.parse(path.read_text())
        own = {node.name for node in ast.walk(tree) if isinstance(node, ast.FunctionDef)}
        own |= {node.attr for node in ast.walk(tree) if _is_of_self(node)}
        own |= {node.target.id for node in ast.walk(tree) if _is_annotated_name(node)}
        for node in ast.walk(tree):
            if isinstance(node, ast.Attribute) and re.match(r"_[a-z]", node.attr) and not _is_of_self(node):
                text = ast.unparse(node)
                named_tuple = node.attr in ("_replace", "_asdict", "_fields")
                foreign = name in FOREIGN and re.search(FOREIGN[name], text)
                assert node.attr in own or named_tuple or foreign, f"{name}: {text}"


def _is_of_self(node):
    return (
        isinstance(node, ast.Attribute)
        and isinstance(node.value, ast.Name)
        and node.value.id in ("self", "cls")
    )


def _is_annotated_name(node):
    return isinstance(node, ast.AnnAssign) and isinstance(node.target, ast.Name)


def test_only_one_module_names_numba_options():
    pattern = re.compile(r"@(nb\.|numba\.)?n?jit\b|fastmath=|nogil=|parallel=")
    for name, path in MODULES.items():
        if name != "_kernels._jit":
            assert not pattern.search(path.read_text()), name


def test_modules_have_one_idea():
    for name, path in MODULES.items():
        assert len(path.read_text().splitlines()) <= 400, name


def test_import_brings_nothing_that_numba_does_not():
    script = (
        "import sys, numba; before = {name.split('.')[0] for name in sys.modules}; import fastem;"
        "after = {name.split('.')[0] for name in sys.modules};"
        "print(sorted(after - before - set(sys.stdlib_module_names)))"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "['fastem']"
