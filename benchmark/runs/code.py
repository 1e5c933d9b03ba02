"""Which source files decide a run's ranks, their hashes, and whether those are all.

The files are the import closure of the core (`benchmark/core.py`, from a loaded bundle to ranks)
and of the model's class: every module of the project or of the user's own folder that they import,
directly or not. What is installed from a registry is not followed; its version is recorded instead.
Files are hashed by syntax tree without docstrings and comments, so that rewording, reformatting and
moving lines change nothing.

A package's `__init__` is read for the names that are taken from it, and followed into the modules
that define those names alone: `from findrec import Recommender` does not make a row depend on every
model that `findrec/__init__.py` exports. What else the file does counts for every module below it.

A static reading of imports cannot see all that Python can import; `benchmark/runs/imports.py` notes
what the core really imports.
"""

import ast
import hashlib
import importlib.util
import sys
import sysconfig
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from types import ModuleType

from benchmark.errors import InputError

ROOT = Path(__file__).resolve().parents[2]
"""The folder that holds findrec/, baselines/, rankaudit/ and benchmark/."""

PACKAGES = ("findrec", "baselines", "benchmark", "rankaudit")
"""The project's own; installed, they may stand beside other people's in one folder."""

CORE = "benchmark.core"

RAISE_ALONE = frozenset({"benchmark.errors", "rankaudit.errors"})
"""Modules that word errors. They can end a run and change no rank, so they are not hashed."""

HASH_DIGITS = 16


@dataclass(frozen=True)
class Code:
    """The files that a run's ranks depend on."""

    modules: Mapping[str, Path]
    """Name of the module -> its file."""
    followed: frozenset[str]
    """Those whose imports were followed: all but the `__init__` of packages."""
    files: Mapping[str, str]
    """Path below its root, "findrec/mamba.py" -> the first `HASH_DIGITS` digits of the SHA-256 of
    its syntax tree."""

    @property
    def hash(self) -> str:
        """SHA-256 over all files."""
        return digest(f"{path} {tree}" for path, tree in sorted(self.files.items()))


def code_of(implementation: str, *, roots: Sequence[Path] | None = None) -> Code:
    """Everything that can change a rank of a model.

    implementation: "baselines.sasrec:SASRec". roots: folders that modules are looked up in, by
    default the project's and those of `sys.path` that hold no installed packages.
    Raises InputError if the model's file is missing or a source file is not valid Python.
    """
    sources = _Sources(roots)
    model = implementation.partition(":")[0]
    if sources.find(model) is None:
        where = ", ".join(dict.fromkeys(map(str, [*sources.of_project, *sources.of_user])))
        raise InputError(f"no source file for the model's module {model!r} in {where}")
    pending, modules, files = [CORE, model], {}, {}
    followed: set[str] = set()
    while pending:
        name = pending.pop()
        found = sources.find(name)
        if found is None or name in followed or name in RAISE_ALONE:
            continue
        root, path = found
        followed.add(name)
        modules[name] = path
        files[_key(path, root)] = _tree_hash(_parse(path))
        pending += _imported(name, path, sources)
        for package in _packages_of(name):
            initial = sources.find(package)
            if initial is not None and package not in modules:
                modules[package] = initial[1]
                files[_key(initial[1], initial[0])] = _own_hash(_parse(initial[1]))
    return Code(modules, frozenset(followed), files)


def changed_files(old: Mapping[str, str], new: Mapping[str, str]) -> list[str]:
    """What differs between two sets of files: "findrec/mamba.py", "x.py (new)", "y.py (gone)"."""
    return [
        path + ("" if path in old and path in new else " (new)" if path in new else " (gone)")
        for path in sorted({*old, *new})
        if old.get(path) != new.get(path)
    ]


def is_ours(module: ModuleType) -> bool:
    """Whether a loaded module is the project's or the user's."""
    file = getattr(module, "__file__", None)
    if file is None:
        return False
    found = _Sources().find(module.__name__)
    return found is not None and found[1] == Path(file).resolve()


# ---------------------------------------------------------------- where a module's file lies


class _Sources:
    """Finds the files of modules that are not installed from a registry."""

    def __init__(self, roots: Sequence[Path] | None = None) -> None:
        self.of_project = [ROOT] if roots is None else list(roots)
        self.of_user = _user_folders() if roots is None else list(roots)

    def find(self, module: str) -> tuple[Path, Path] | None:
        """(root, file) of a module of the project or the user; None for any other."""
        ours = module.partition(".")[0] in PACKAGES
        for root in self.of_project if ours else self.of_user:
            base = root.joinpath(*module.split("."))
            for path in (base.with_suffix(".py"), base / "__init__.py"):
                if path.is_file():
                    return root, path
        return None


def _user_folders() -> list[Path]:
    """Folders of `sys.path` that hold neither the standard library nor installed packages."""
    installed = {Path(sysconfig.get_path(name)).resolve() for name in ("stdlib", "purelib")}
    installed.add(Path(sysconfig.get_path("platlib")).resolve())
    found = []
    for entry in dict.fromkeys(sys.path):
        folder = Path(entry).resolve()
        inside = any(folder == own or own in folder.parents for own in installed)
        if folder.is_dir() and not inside and folder.name not in ("site-packages", "dist-packages"):
            found.append(folder)
    return found


def _key(path: Path, root: Path) -> str:
    return path.relative_to(root).as_posix()


# ---------------------------------------------------------------- what a module imports


def _imported(module: str, path: Path, sources: _Sources) -> Iterator[str]:
    """Names of the modules that a file imports, those behind a package's exports included."""
    package = module if path.name == "__init__.py" else module.rpartition(".")[0]
    for node in _import_nodes(_parse(path)):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            origin = _origin(node, package)
            for alias in node.names:
                yield from _provider(origin, alias.name, sources)
        elif node.args:
            target = node.args[0]
            if isinstance(target, ast.Constant) and isinstance(target.value, str):
                yield importlib.util.resolve_name(target.value, package)


def _provider(origin: str, name: str, sources: _Sources) -> Iterator[str]:
    """The module that `from origin import name` takes the name from."""
    found = sources.find(origin)
    if found is None:
        return
    path = found[1]
    if path.name != "__init__.py":
        yield origin
        return
    if sources.find(f"{origin}.{name}") is not None:
        yield f"{origin}.{name}"
        return
    for node in _import_nodes(_parse(path)):
        if isinstance(node, ast.ImportFrom):
            for alias in node.names:
                if (alias.asname or alias.name) == name:
                    yield from _provider(_origin(node, origin), alias.name, sources)
                    return
    yield origin  # defined in the package itself, or a star: all that it imports counts


@cache
def _import_nodes(tree: ast.Module) -> tuple[ast.Import | ast.ImportFrom | ast.Call, ...]:
    """Import statements and calls of `import_module`."""
    return tuple(
        node
        for node in _nodes(tree)
        if isinstance(node, ast.Import | ast.ImportFrom)
        or (isinstance(node, ast.Call) and _named(node.func) == "import_module")
    )


def _nodes(tree: ast.AST) -> Iterator[ast.AST]:
    """All nodes but those that only a type checker sees."""
    for node in ast.iter_child_nodes(tree):
        if isinstance(node, ast.If) and _named(node.test) == "TYPE_CHECKING":
            for other in node.orelse:
                yield other
                yield from _nodes(other)
            continue
        yield node
        yield from _nodes(node)


def _origin(node: ast.ImportFrom, package: str) -> str:
    name = "." * node.level + (node.module or "")
    return importlib.util.resolve_name(name, package) if node.level else name


def _named(node: ast.AST) -> str:
    """The last part of a dotted name."""
    if isinstance(node, ast.Attribute):
        return node.attr
    return node.id if isinstance(node, ast.Name) else ""


def _packages_of(module: str) -> list[str]:
    parts = module.split(".")
    return [".".join(parts[:at]) for at in range(1, len(parts))]


# ---------------------------------------------------------------- hashes of syntax trees


def digest(parts: Iterable[str]) -> str:
    """SHA-256 of lines of text, in hexadecimal."""
    return hashlib.sha256("\n".join(parts).encode()).hexdigest()


def _parse(path: Path) -> ast.Module:
    try:
        return _tree(path.read_text(encoding="utf-8"))
    except (SyntaxError, UnicodeDecodeError) as error:
        line = f", line {error.lineno}" if isinstance(error, SyntaxError) else ""
        why = error.msg if isinstance(error, SyntaxError) else "not UTF-8"
        raise InputError(f"{path}{line}: not valid Python ({why}); mend the file") from error


@cache
def _tree(source: str) -> ast.Module:
    return ast.parse(source)


@cache
def _tree_hash(tree: ast.Module) -> str:
    return digest([_canonical(tree)])[:HASH_DIGITS]


@cache
def _own_hash(tree: ast.Module) -> str:
    """Of what a package's `__init__` does itself: without its imports and its list of exports."""
    own = [node for node in tree.body if not _only_exports(node)]
    return digest([_canonical(ast.Module(own, []))])[:HASH_DIGITS]


def _only_exports(node: ast.stmt) -> bool:
    if isinstance(node, ast.Assign):
        return all(_named(target) == "__all__" for target in node.targets)
    return isinstance(node, ast.Import | ast.ImportFrom)


def _canonical(node: ast.AST) -> str:
    """The tree as text: no positions, no docstrings (a string that stands alone, be it a module's,
    a class's or a field's), and nothing empty, in which Python's versions differ."""
    parts = []
    for name, value in ast.iter_fields(node):
        if isinstance(value, list):
            kept = [item for item in value if not (_is_docstring(item) or _is_no_text(node, item))]
            text = ",".join(_canonical(i) if isinstance(i, ast.AST) else repr(i) for i in kept)
        elif isinstance(value, ast.AST):
            text = _canonical(value)
        else:
            text = "" if value is None and name != "value" else repr(value)
        if text:
            parts.append(f"{name}=[{text}]")
    return f"{type(node).__name__}({';'.join(parts)})"


def _is_docstring(node: object) -> bool:
    return (
        isinstance(node, ast.Expr)
        and isinstance(node.value, ast.Constant)
        and isinstance(node.value.value, str)
    )


def _is_no_text(parent: ast.AST, node: object) -> bool:
    """The empty piece that some versions leave at the end of an f-string's format."""
    return isinstance(parent, ast.JoinedStr) and isinstance(node, ast.Constant) and not node.value
