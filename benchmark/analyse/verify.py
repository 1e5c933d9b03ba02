"""The long CSV of a table: how it is written, and whether it still says what the ranks say."""

import io
from pathlib import Path

import pandas as pd

from benchmark.analyse.cells import COLUMNS, NAMES
from benchmark.errors import InputError


def to_csv(cells: pd.DataFrame) -> str:
    """The long form as text: six significant digits, NaN as nothing. The one format, so that
    `verify` can compare to the digit."""
    buffer = io.StringIO()
    cells.to_csv(buffer, index=False, float_format="%.6g", lineterminator="\n")
    return buffer.getvalue()


def verify(path: Path, derived: pd.DataFrame) -> list[str]:
    """Differences between a rendered long CSV and the cells derived anew, each naming its cell.

    Raises InputError if the file cannot be read as a table of cells.
    """
    there, here = _read(path), _strings(to_csv(derived))
    differences = []
    for name in sorted({*there, *here}):
        where = f"{path}: table {name[0]}, " + ", ".join(part for part in name[1:] if part)
        if name not in here:
            differences.append(f"{where}: no run stands behind this cell")
        elif name not in there:
            differences.append(f"{where}: the cell is not in the file")
        else:
            differences += [
                f"{where}: {column} is {there[name][column] or 'empty'}, "
                f"the stored ranks give {here[name][column] or 'nothing'}"
                for column in COLUMNS[len(NAMES) :]
                if there[name][column] != here[name][column]
            ]
    return differences


def _read(path: Path) -> dict[tuple[str, ...], dict[str, str]]:
    try:
        return _strings(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise InputError(f"{path}: cannot be read ({error.strerror})") from error
    except (ValueError, KeyError) as error:
        raise InputError(f"{path}: not a table of cells ({error}); render it again") from error


def _strings(text: str) -> dict[tuple[str, ...], dict[str, str]]:
    frame = pd.read_csv(io.StringIO(text), dtype=str, keep_default_na=False)
    if tuple(frame.columns) != COLUMNS:
        raise ValueError(f"its columns are not {','.join(COLUMNS)}")
    return {
        tuple(record[column] for column in NAMES): {str(name): v for name, v in record.items()}
        for record in frame.to_dict("records")
    }
