"""The shape of the package: public names, imports that point down, one owner of numba's options."""

import ast
import re
import subprocess
import sys
from pathlib import Path

import fastem

# Imported inside a function, when asked for, and missing without harm.
OPTIONAL = {
    "progress.py": {"tqdm"},
    "tables.py": {"narwhals"},
    "parquet.py": {"pyarrow"},
    "dask.py": {"dask"},
    "dask_graph.py": {"dask"},
    "peers.py": {"sklearn", "daal4py"},
    "interop.py": {"sklearn"},
    "accelerate.py": {"sklearn"},
}
# Imported by users who have scikit-learn; nothing else imports it at the top.
OPTIONAL |= {"sklearn.py": {"sklearn"}, "drop_in.py": {"sklearn"}}

PACKAGE = Path(fastem.__file__).parent
MODULES = sorted(PACKAGE.rglob("*.py"))


def module_name(path):
    parts = path.relative_to(PACKAGE.parent).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


def imports_of(path):
    """Modules imported anywhere in a file."""
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            names = {module_name(module) for module in MODULES}
            for alias in node.names:
                inner = f"{node.module}.{alias.name}"
                yield inner if inner in names else node.module


def test_public_names_are_sorted_and_documented():
    assert fastem.__all__ == sorted(fastem.__all__)
    for name in fastem.__all__:
        assert getattr(fastem, name).__doc__


def test_nothing_else_is_public():
    stray = {name for name in vars(fastem) if not name.startswith("_")} - set(fastem.__all__)
    assert stray <= {"sklearn"}  # an attribute as soon as someone imports that module


def test_kernels_import_nothing_above_them():
    for path in MODULES:
        if "_kernels" in path.parts:
            for name in imports_of(path):
                assert name.startswith("fastem._kernels") or name.split(".")[0] != "fastem", (path.name, name)


def test_the_core_imports_numpy_and_numba_only():
    for path in MODULES:
        roots = {name.split(".")[0] for name in imports_of(path)} - set(sys.stdlib_module_names)
        allowed = {"fastem", "numpy", "numba", "llvmlite"}
        allowed |= OPTIONAL.get(path.name, set())
        assert roots <= allowed, path.name


def test_imports_make_no_circle():
    graph = {module_name(path): set(imports_of(path)) for path in MODULES}
    graph.pop("fastem")
    order, visiting = [], set()

    def visit(name):
        if name in order or name not in graph:
            return
        assert name not in visiting, f"{name} imports itself"
        visiting.add(name)
        for other in graph[name]:
            visit(other)
        order.append(name)

    for name in graph:
        visit(name)


def test_only_one_module_names_numba_options():
    pattern = re.compile(r"@(nb\.|numba\.)?n?jit\b|fastmath=|nogil=|parallel=")
    for path in MODULES:
        if path.name != "_jit.py":
            assert not pattern.search(path.read_text()), path.name


def test_modules_have_one_idea():
    for path in MODULES:
        assert len(path.read_text().splitlines()) <= 400, path.name


def test_import_brings_nothing_that_numba_does_not():
    script = (
        "import sys, numba; before = {name.split('.')[0] for name in sys.modules}; import fastem;"
        "after = {name.split('.')[0] for name in sys.modules};"
        "print(sorted(after - before - set(sys.stdlib_module_names)))"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "['fastem']"
