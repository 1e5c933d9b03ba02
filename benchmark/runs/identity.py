"""What a run depends on, as hashes: its settings, the code that computes it and the data it sees.

The code hash is over syntax trees without docstrings and comments, so that rewording, reformatting
and moving lines change nothing, and covers what can change a rank: findrec/, the model's own file
with the modules of baselines/ that it imports, benchmark/data, benchmark/train and
benchmark/evaluate. Nothing above them counts: editing a renderer or a test of significance makes no
run stale, editing a loss does. The data hash comes from the bundle (`BundleMeta.data_hash`).
"""

import ast
import hashlib
import importlib.util
import json
from collections.abc import Iterable
from functools import cache
from pathlib import Path

from benchmark.errors import InputError
from benchmark.runs.schema import Hashes
from benchmark.runs.spec import RunSpec

ROOT = Path(__file__).resolve().parents[2]
"""The folder that holds findrec/, baselines/ and benchmark/."""

HASHED_FOLDERS = ("findrec", "benchmark/data", "benchmark/train", "benchmark/evaluate")
MODEL_PACKAGE = "baselines"


def hashes(spec: RunSpec, data_hash: str, *, root: Path = ROOT) -> Hashes:
    """What a run of the spec would depend on, were it made now.

    Raises InputError if the model's file is missing or a source file is not valid Python.
    """
    return Hashes(
        config=config_hash(spec), code=code_hash(spec.implementation, root=root), data=data_hash
    )


def identity(parts: Hashes, seed: int) -> str:
    """The name of one run: SHA-256 over its hashes and seed."""
    return _digest([parts.config, parts.code, parts.data, str(seed)])


def config_hash(spec: RunSpec) -> str:
    """SHA-256 over the resolved settings. The names of profile and variant are not among them: two
    names for the same settings are the same spec."""
    settings = spec.model_dump(mode="json", exclude={"profile", "variant", "model"})
    return _digest([json.dumps(settings, sort_keys=True, allow_nan=False)])


def code_hash(implementation: str, *, root: Path = ROOT) -> str:
    """SHA-256 over everything that can change a rank of this model, by path and syntax tree.

    implementation: "baselines.sasrec:SASRec".
    """
    files = {path for folder in HASHED_FOLDERS for path in (root / folder).rglob("*.py")}
    files |= _model_files(implementation.partition(":")[0], root)
    return _digest(
        f"{path.relative_to(root).as_posix()} {_tree_hash(_parse(path))}" for path in sorted(files)
    )


def _model_files(module: str, root: Path) -> set[Path]:
    """The model's file and the files of its package that it imports, directly or not."""
    pending, found = [module], set()
    while pending:
        name = pending.pop()
        path = _source(name, root)
        if path is None:
            if name == module:
                raise InputError(f"no source file for the model's module {module!r} under {root}")
            continue
        if path not in found:
            found.add(path)
            pending += [
                imported
                for imported in _imports(_parse(path), name, is_package=path.stem == "__init__")
                if imported.partition(".")[0] == MODEL_PACKAGE
            ]
    return found


def _source(module: str, root: Path) -> Path | None:
    base = root.joinpath(*module.split("."))
    candidates = (base.with_suffix(".py"), base / "__init__.py")
    return next((path for path in candidates if path.is_file()), None)


def _imports(tree: ast.Module, module: str, *, is_package: bool) -> Iterable[str]:
    """Names that may be modules: of `from a import b`, both a and a.b."""
    package = module if is_package else module.rpartition(".")[0]
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            name = "." * node.level + (node.module or "")
            origin = importlib.util.resolve_name(name, package) if node.level else name
            yield origin
            yield from (f"{origin}.{alias.name}" for alias in node.names)


def _parse(path: Path) -> ast.Module:
    try:
        return _tree(path.read_text(encoding="utf-8"))
    except SyntaxError as error:
        raise InputError(
            f"{path}, line {error.lineno}: not valid Python ({error.msg}); mend the file"
        ) from error


@cache
def _tree(source: str) -> ast.Module:
    return ast.parse(source)


@cache
def _tree_hash(tree: ast.Module) -> str:
    return _digest([_canonical(tree)])


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


def _digest(parts: Iterable[str]) -> str:
    return hashlib.sha256("\n".join(parts).encode()).hexdigest()
