"""What launchers run and what they tell of it."""

from dataclasses import dataclass

from benchmark.runs.spec import RunSpec


@dataclass(frozen=True, eq=False)
class Job:
    """Seeds of one spec that are trained together; compared by identity."""

    spec: RunSpec
    seeds: tuple[int, ...]
    seconds: float
    """Estimated."""

    def __str__(self) -> str:
        seeds = ", ".join(map(str, self.seeds))
        return f"{self.spec.key}, seed{'s' if len(self.seeds) > 1 else ''} {seeds}"


@dataclass(frozen=True)
class Event:
    """What happened to a job: "start", "step", "done" or "failed"; "note" has a line worth saying,
    "again" comes before a second start, "elsewhere" says that another command has made it."""

    job: Job
    kind: str
    worker: int
    step: int = 0
    """Done so far, of the steps that the spec's budget has."""
    message: str = ""
    """One line."""
    traceback: str = ""
    """Of the exception that made the job fail, if one did."""
    finished: tuple[int, ...] = ()
    """Seeds whose runs are finished and stored, when the job has ended."""
