"""What a table or figure was asked to show, kept as tables/NAME.json or figures/NAME.json.

So `verify` derives the same cells anew, and the report shows each table as it was rendered.
"""

from collections.abc import Sequence
from pathlib import Path

from pydantic import BaseModel, ConfigDict, ValidationError

from benchmark.errors import InputError
from benchmark.plan import Planned, plan, plan_stored, specs
from benchmark.runs.runset import RunSet
from benchmark.settings.registry import Profile, methods


class NotDrawn(InputError):
    """A table or figure that what was asked for, or what is there, leaves empty."""


class Selection(BaseModel):
    """Datasets, rows and seeds of one request, and which of their runs it shows."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    datasets: tuple[str, ...] | None = None
    """None: the profile's."""
    models: tuple[str, ...] | None = None
    """None: all of the experiment's."""
    seeds: tuple[int, ...]
    reuse_stale: bool = False
    """Whether runs of other code, settings or data are shown, with a mark."""
    source: Path | None = None
    """Results folder from elsewhere, whose runs are taken as they are; None: this folder's runs."""
    data: Path | None = None
    """Folder of bundles, if not the usual one."""

    def covers(self, other: "Selection", profile: Profile) -> bool:
        """Whether it shows all datasets, rows and seeds that the other shows."""
        return (
            self._datasets(profile) >= other._datasets(profile)
            and self._rows() >= other._rows()
            and set(self.seeds) >= set(other.seeds)
        )

    def _datasets(self, profile: Profile) -> set[str]:
        return set(self.datasets or profile.run_on)

    def _rows(self) -> set[str]:
        if self.models is not None:
            return set(self.models)
        return {name for name, method in methods().items() if not method.by_name_alone}

    def planned(
        self, names: Sequence[str], profile: Profile, runs: RunSet, *, as_stored: bool
    ) -> list[Planned]:
        """The specs of the named experiments and how they stand in `runs`; nothing is trained.

        as_stored: take runs as they are, whatever they were made with.
        """
        if as_stored:
            return plan_stored(
                names,
                profile,
                self.seeds,
                runs,
                datasets=self.datasets,
                models=self.models,
                data=self.data,
            )
        return plan(
            specs(names, profile, datasets=self.datasets, models=self.models, data=self.data),
            self.seeds,
            runs,
            data=self.data,
        )


def read_selection(path: Path) -> Selection:
    """Raises InputError, with the remedy, where the file is missing or damaged."""
    try:
        return Selection.model_validate_json(path.read_bytes())
    except (OSError, ValidationError) as error:
        raise InputError(
            f"{path}: does not say what its table shows ({type(error).__name__}); render the table "
            "again"
        ) from error
