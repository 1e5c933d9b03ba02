"""What a run's core really imported, held against the files that its code hash covers."""

import builtins
import importlib
import importlib.util
import sys
from collections.abc import Iterator, Mapping, Sequence
from types import FunctionType, ModuleType, TracebackType
from typing import Any, Self

from benchmark.runs.code import RAISE_ALONE, Code, is_ours


class ImportWatch:
    """Notes, while it is open, which modules the hashed ones import.

    Python keeps a module that it has once loaded, so an import at the top of a module leaves no
    trace in a later run of the same process; therefore `missing` also looks at what the hashed
    modules hold: modules, classes and functions that another file of the project or of the user
    defines.
    """

    def __init__(self, code: Code) -> None:
        self.code = code
        self._seen: set[tuple[str, str]] = set()

    def __enter__(self) -> Self:
        self._import, self._import_module = builtins.__import__, importlib.import_module
        builtins.__import__ = self._noted_import
        importlib.import_module = self._noted_import_module
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        builtins.__import__, importlib.import_module = self._import, self._import_module

    def missing(self) -> list[str]:
        """ "importer uses module (file)" of every module outside the closure that was used."""
        found = set(self._seen)
        for name in self.code.followed:
            module = sys.modules.get(name)
            if module is not None:
                found |= {(name, used) for used in _held_by(module)}
        known = {*self.code.modules, *RAISE_ALONE}
        return [
            f"{importer} uses {used} ({sys.modules[used].__file__})"
            for importer, used in sorted(found)
            if used not in known and used in sys.modules and is_ours(sys.modules[used])
        ]

    def _noted_import(
        self,
        name: str,
        globals: Mapping[str, Any] | None = None,
        locals: Mapping[str, Any] | None = None,
        fromlist: Sequence[str] | None = (),
        level: int = 0,
    ) -> ModuleType:
        module = self._import(name, globals, locals, fromlist or (), level)
        importer = str((globals or {}).get("__name__", ""))
        if importer in self.code.followed:
            package = str((globals or {}).get("__package__") or "")
            origin = importlib.util.resolve_name("." * level + name, package) if level else name
            self._note(importer, origin, fromlist or ())
        return module

    def _noted_import_module(self, name: str, package: str | None = None) -> ModuleType:
        module = self._import_module(name, package)
        importer = str(sys._getframe(1).f_globals.get("__name__", ""))
        if importer in self.code.followed:
            self._seen.add((importer, module.__name__))
        return module

    def _note(self, importer: str, origin: str, names: Sequence[str]) -> None:
        """A package is not used as a whole where names are taken from it."""
        module = sys.modules.get(origin)
        if module is None or not names or not hasattr(module, "__path__"):
            self._seen.add((importer, origin))
            return
        for name in names:
            taken = getattr(module, name, None)
            owner = taken.__name__ if isinstance(taken, ModuleType) else _owner(taken)
            self._seen.add((importer, owner or origin))


def _held_by(module: ModuleType) -> Iterator[str]:
    """Names of the modules that define what stands in a module's namespace."""
    for value in list(vars(module).values()):
        if isinstance(value, ModuleType):
            if not hasattr(value, "__path__"):  # of a package, its modules are what counts
                yield value.__name__
        elif (owner := _owner(value)) is not None:
            yield owner


def _owner(value: object) -> str | None:
    if isinstance(value, type | FunctionType):
        return value.__module__
    return None
