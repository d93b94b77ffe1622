"""Files that commands write: they are tried before the work, and appear once they are complete."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


def check_written(name: str, path: Path, *read: Path) -> None:
    """Raise an error if this file cannot be written, or is one of those that the command reads."""
    if not path.parent.is_dir():
        raise FileNotFoundError(f"{name} must be in a folder that exists; got {str(path)!r}.")
    if path.is_dir():
        raise IsADirectoryError(f"{name} must be a file; {str(path)!r} is a folder. Add a name to it.")
    if any(path.exists() and other.exists() and path.samefile(other) for other in read):
        raise ValueError(f"{name} must be another file than those that the command reads; got {str(path)!r}.")
    if any(other.is_dir() and other.resolve() in path.resolve().parents for other in read):
        raise ValueError(
            f"{name} must not be in a folder that the command reads, where it would count as rows; "
            f"got {str(path)!r}. Choose another folder."
        )
    try:
        if path.exists() and not os.access(path, os.W_OK):
            raise PermissionError("it is there, and may not be changed")
        if not _is_special(path):
            _partial(path).open("ab").close()
            _partial(path).unlink()
    except OSError as error:
        raise ValueError(
            f"{name} must be a file that can be written; {str(path)!r} cannot: {error.strerror or error}. "
            "Choose another folder or name."
        ) from None


@contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """Yield where to write what becomes this file once it is complete. Until then, an older one stays."""
    if _is_special(path):
        yield path
        return
    partial = _partial(path)
    try:
        yield partial
        with naming(path):
            os.replace(partial, path.resolve())
    finally:
        partial.unlink(missing_ok=True)


@contextmanager
def naming(path: Path) -> Iterator[None]:
    """Name the file in errors of writing it, most of which are those of a full disk."""
    try:
        yield
    except BrokenPipeError:
        raise
    except OSError as error:
        raise OSError(
            f"{str(path)!r} could not be written: {error.strerror or error}. Make room on its disk, or "
            "choose another folder, and run the command again."
        ) from error


def _is_special(path: Path) -> bool:
    """Return whether this is a device or a pipe, beside which no file shall appear."""
    return path.exists() and not path.is_file()


def _partial(path: Path) -> Path:
    path = path.resolve()
    return path.with_name(f"{path.name}.partial")
