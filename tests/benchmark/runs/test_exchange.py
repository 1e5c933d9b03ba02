"""Runs through archives: what comes out is what went in, and nothing that is hostile, cut off or
different gets into a store.

The oracle of a round trip is the store's own reader on the other side; a refused archive must leave
every byte of the store as it was.
"""

import hashlib
import io
import json
import os
import random
import shutil
import stat
import zipfile
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from benchmark.errors import InputError
from benchmark.runs.archive import MANIFEST, SMALLEST
from benchmark.runs.checkpoint import CheckpointFile, Owner
from benchmark.runs.code import digest
from benchmark.runs.exchange import Taken, export_runs, import_runs
from benchmark.runs.identity import identity
from benchmark.runs.store import Store
from tests.benchmark.results import (
    ENVIRONMENT,
    HASHES,
    draw_above,
    failed_result,
    make_result,
    make_spec,
)

SPEC = make_spec("SASRec (MM)", variant="lambda=0.01")
OTHER_CODE = HASHES.model_copy(update={"code": "other"})


def current(record):
    """Whether a record is of the hashes that tests have by default."""
    return "" if record.hashes.code == HASHES.code else "made with other code"


def unknown(record):
    return None


def filled(root: Path, seeds=range(3), *, users: int = 400, top: int = 50) -> Store:
    store = Store(root)
    for seed in seeds:
        rng = np.random.default_rng(seed)
        result = make_result(SPEC, seed, draw_above(rng, users), top=top)
        noise = rng.integers(1, 500, result.test.top.shape).astype(np.int32) if top else None
        ranks = replace(result.test, top=noise, top_masked=noise)
        store.write(replace(result, test=ranks))
    return store


def contents(root: Path) -> dict[str, bytes]:
    return {
        path.relative_to(root).as_posix(): path.read_bytes()
        for path in root.rglob("*")
        if path.is_file() and path.name != ".lock"
    }


def take(paths, root: Path, why=current) -> list[tuple[str, str]]:
    paths = [paths] if isinstance(paths, Path) else paths
    return [(t.what, t.why) for t in import_runs(paths, Store(root), why)]


def test_a_round_trip_is_exact(tmp_path):
    """Byte by byte; failed runs are not carried; a second time there is nothing to take."""
    store = filled(tmp_path / "a")
    store.write(failed_result(SPEC, 9))
    done = export_runs(store, tmp_path / "out.zip")
    assert (done.runs, done.left_out) == (3, [])
    assert take(done.paths, tmp_path / "b") == [("added", "")] * 3
    there = contents(tmp_path / "b")
    assert there == {k: v for k, v in contents(tmp_path / "a").items() if "seed-9" not in k}
    assert take(done.paths, tmp_path / "b") == [("there", "")] * 3
    assert contents(tmp_path / "b") == there


def test_parts_keep_their_size_and_can_be_taken_in_one_by_one(tmp_path):
    """Twelve runs of some 40 kB in parts of at most 256 kB; of at most two parts the rest is
    named."""
    store = filled(tmp_path / "a", range(12))
    done = export_runs(store, tmp_path / "out.zip", max_size=SMALLEST)
    number = len(done.paths)
    assert number > 2
    assert [p.name for p in done.paths] == [
        f"out-{at}-of-{number}.zip" for at in range(1, number + 1)
    ]
    assert all(path.stat().st_size <= SMALLEST for path in done.paths)
    assert sum(path.stat().st_size for path in done.paths) > 0.7 * SMALLEST * (number - 1)
    for path in reversed(done.paths):
        assert {what for what, _ in take(path, tmp_path / "b")} == {"added"}
    assert contents(tmp_path / "a") == contents(tmp_path / "b")
    few = export_runs(store, tmp_path / "few.zip", max_size=SMALLEST, max_parts=2)
    assert (len(few.paths), few.runs) == (2, 12 - len(few.left_out))
    assert "does not fit" in few.left_out[0]


@pytest.mark.parametrize("meanwhile", ["trained anew", "deleted"])
def test_a_run_that_changes_while_it_is_exported_is_named(tmp_path, meanwhile):
    """Its record is read first: an archive of it and of other arrays could not be taken in."""

    class Busy(Store):
        def scan(self):
            for run in super().scan():
                if meanwhile == "deleted":
                    run.path.with_suffix(".npz").unlink()
                else:
                    filled(self.root, [run.record.seed], users=300)
                yield run

    filled(tmp_path / "a")
    with pytest.raises(InputError, match=r"seed-0\.npz changed while it was exported"):
        export_runs(Busy(tmp_path / "a"), tmp_path / "runs.zip", keep_top=True)
    assert not list(tmp_path.glob("*.zip"))


def test_without_top_lists_the_ranks_are_the_same(tmp_path):
    """Taken in over the whole run there is nothing new; the whole run over it brings its lists."""
    store = filled(tmp_path / "a")
    thin = export_runs(store, tmp_path / "thin.zip", keep_top=False).paths[0]
    whole = export_runs(store, tmp_path / "whole.zip").paths[0]
    assert thin.stat().st_size < whole.stat().st_size / 3
    assert take(thin, tmp_path / "a") == [("there", "")] * 3
    take(thin, tmp_path / "b")
    run = Store(tmp_path / "b").read(SPEC.key, 1)
    assert np.array_equal(run.test.above, store.read(SPEC.key, 1).test.above)
    assert run.test.top is None
    assert take(whole, tmp_path / "b") == [("replaced", "the same without top lists")] * 3
    assert contents(tmp_path / "a") == contents(tmp_path / "b")


def test_nothing_to_export_says_so(tmp_path):
    store = Store(tmp_path / "a")
    store.write(failed_result(SPEC, 0))
    with pytest.raises(InputError, match="no finished run"):
        export_runs(store, tmp_path / "out.zip")
    path = filled(tmp_path / "a", [1]).path(SPEC.key, 1).with_suffix(".npz")
    path.write_bytes(path.read_bytes()[:-1])
    with pytest.raises(InputError, match=r"no finished run .*SHA-256 is not the one"):
        export_runs(store, tmp_path / "out.zip")


# ---------------------------------------------------------------- what stands there already


def of_other_code(seed: int, quality: float = 1.0):
    above = draw_above(np.random.default_rng(99), 50, quality)
    return make_result(SPEC, seed, above, hashes=OTHER_CODE, identity=identity(OTHER_CODE, seed))


def of_this_code(seed: int, quality: float = 1.0, **fields):
    return make_result(SPEC, seed, draw_above(np.random.default_rng(7), 50, quality), **fields)


GPU = ENVIRONMENT.model_copy(update={"device": "H100"})


@pytest.mark.parametrize(
    ("comes", "stands", "why", "what", "said"),
    [
        (of_this_code(0), None, current, "added", ""),
        (of_other_code(0), None, current, "added", "stale: made with other code"),
        (of_this_code(0), failed_result(SPEC, 0), current, "replaced", "the failed one"),
        (of_this_code(0), of_this_code(0), current, "there", ""),
        (of_this_code(0, environment=GPU), of_this_code(0), current, "there", ""),
        (of_this_code(0, 1.5), of_this_code(0), current, "refused", "with other ranks"),
        (of_this_code(0), of_other_code(0), current, "replaced", "one that is stale"),
        (of_other_code(0), of_this_code(0), current, "refused", "and the one here is not"),
        (of_other_code(0), of_this_code(0), unknown, "refused", "different settings, code or data"),
    ],
)
def test_a_finished_run_gives_way_to_a_current_one_alone(tmp_path, comes, stands, why, what, said):
    source, target = Store(tmp_path / "a"), Store(tmp_path / "b")
    source.write(comes)
    if stands is not None:
        target.write(stands)
    before = contents(target.root) if stands is not None else {}
    path = export_runs(source, tmp_path / "out.zip").paths[0]
    ((done, reason),) = take(path, target.root, why)
    assert (done, said in reason) == (what, True), reason
    if what in ("added", "replaced"):
        assert contents(target.root) == contents(source.root)
    else:
        assert contents(target.root) == before


def test_a_damaged_run_is_replaced(tmp_path):
    store = filled(tmp_path / "a", [0])
    path = export_runs(store, tmp_path / "out.zip").paths[0]
    good = contents(tmp_path / "a")
    store.path(SPEC.key, 0).write_text("{}")
    assert take(path, tmp_path / "a") == [("replaced", "the damaged one")]
    assert contents(tmp_path / "a") == good


def test_a_name_with_the_same_file_name_is_refused_and_the_rest_taken(tmp_path):
    source, target = filled(tmp_path / "a", [0, 1]), Store(tmp_path / "b")
    clash = SPEC.model_copy(update={"model": "SASRec MM"})
    target.write(make_result(clash, 0, np.arange(9)))
    before = target.path(SPEC.key, 0).read_bytes()
    taken = take(export_runs(source, tmp_path / "out.zip").paths, target.root)
    assert [what for what, _ in taken] == ["refused", "added"]
    assert "rename one of them" in taken[0][1]
    assert target.path(SPEC.key, 0).read_bytes() == before


# ---------------------------------------------------------------- hostile and broken archives


@pytest.fixture(scope="module")
def good(tmp_path_factory) -> tuple[Path, dict[str, bytes]]:
    """An archive, and its members."""
    place = tmp_path_factory.mktemp("good")
    path = export_runs(filled(place / "a", [0]), place / "out.zip").paths[0]
    with zipfile.ZipFile(path) as archive:
        return path, {name: archive.read(name) for name in archive.namelist()}


def build(path: Path, members, *, listed=None, manifest=None, tamper=None) -> Path:
    """An archive with right checksums of whatever members; listed: names for its list."""
    members = {k: v for k, v in members.items() if k != MANIFEST}
    listed = members if listed is None else listed
    fields = {
        "format": 1,
        "part": 1,
        "parts": 1,
        "members": {
            name: {"size": len(data), "sha256": hashlib.sha256(data).hexdigest()}
            for name, data in listed.items()
        },
        "pieces": {},
    } | (manifest or {})
    with zipfile.ZipFile(path, "w") as archive:
        for name, data in members.items():
            entry = zipfile.ZipInfo(name)
            entry.external_attr = 0o644 << 16
            if tamper is not None:
                tamper(entry)
            archive.writestr(entry, data)
        archive.writestr(MANIFEST, json.dumps(fields))
    return path


def refused(tmp_path: Path, archive: Path, why: str) -> None:
    """The archive is refused with such words; neither the store nor anything beside it changes."""
    root = tmp_path / "deep" / "store"
    filled(root, [5])
    before = contents(tmp_path)
    with pytest.raises(InputError, match=why) as caught:
        import_runs([archive], Store(root), current)
    assert "\n" not in str(caught.value)
    assert contents(tmp_path) == before


RUN = "runs/quick/toy/sasrec-mm/lambda=0.01/seed-0.json"


@pytest.mark.parametrize(
    "name",
    [
        "../evil.json",
        "/etc/evil.json",
        "runs/../../../../evil/seed-0.json",
        "runs/../quick/toy/x/seed-0.json",
        "runs/quick/toy/x/base/../seed-0.json",
        "runs\\quick\\toy\\x\\base\\seed-0.json",
        "runs/quick/toy/x/base/seed-0.pkl",
        "runs/quick/toy/x/base/seed-0.json/",
        "checkpoints/../../evil.pt",
        "checkpoints/0123456789abcdeg.pt",
        "runs/quick/toy/x/base/.lock",
        "C:/evil.json",
        "seed-0.json\n",
    ],
)
def test_names_that_export_never_writes_are_refused(tmp_path, good, name):
    archive = build(tmp_path / "bad.zip", good[1] | {name: b"{}"})
    refused(tmp_path, archive, "which `export` never writes")


def test_links_and_encrypted_members_are_refused(tmp_path, good):
    def link(entry):
        entry.external_attr = (stat.S_IFLNK | 0o777) << 16

    archive = build(tmp_path / "bad.zip", {RUN: b"/etc/passwd"}, tamper=link)
    refused(tmp_path, archive, "is a link, a folder or encrypted")


def test_members_that_would_fill_the_disk_are_refused(tmp_path, good):
    """A record that unpacks to 100 MB from 100 kB, and arrays to 8 GB from some MB: by the sizes
    that they declare, so that nothing is unpacked."""
    bomb = tmp_path / "bomb.zip"
    with zipfile.ZipFile(bomb, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr(RUN, b" " * (100 << 20))
        archive.writestr(MANIFEST, "{}")
    refused(tmp_path, bomb, "would have 104,857,600 bytes, more than a run has")


def test_arrays_that_would_fill_the_memory_are_refused(tmp_path, good):
    inner = io.BytesIO()
    with zipfile.ZipFile(inner, "w", zipfile.ZIP_DEFLATED) as npz:
        npz.writestr("length.npy", b"")
        npz.filelist[0].file_size = (1 << 30) + 1  # what its list says, not what is there
    members = good[1] | {RUN.replace(".json", ".npz"): inner.getvalue()}
    refused(tmp_path, build(tmp_path / "bad.zip", members), r"would unpack to 1,073,741,825 bytes")


def test_a_size_that_is_declared_falsely_is_refused(tmp_path, good):
    """The list says less than there is, and the other way round."""
    data = good[1][RUN]
    for wrong in (data[:-1], data + b" "):
        archive = build(tmp_path / "bad.zip", good[1], listed=good[1] | {RUN: wrong, MANIFEST: b""})
        # MANIFEST itself is no member of the list
        refused(tmp_path, archive, "and not in both|another size than its list says")


STATE = f"checkpoints/{'0' * 16}.pt"


@pytest.mark.parametrize(
    ("manifest", "why"),
    [
        ({"format": 2}, "newer than this program's"),
        ({"members": {}}, "and not in both"),
        ({"members": []}, "and not in both|cannot be read"),
        ({"members": [["a", {"size": 1, "sha256": ""}]]}, "cannot be read"),
        ({"members": {RUN: {"size": float("inf"), "sha256": ""}}}, "cannot be read"),
        ({"members": {RUN: {"size": 1, "sha256": 1}}}, "cannot be read"),
        ({"pieces": {"../evil": {"pieces": 1, "sha256": ""}}}, "never writes"),
        ({"format": None}, "cannot be read"),
        ({"format": "1"}, "cannot be read"),
        ({"format": -1}, "cannot be read"),
        ({"pieces": {STATE: {"pieces": -1, "sha256": ""}}}, "cannot be read"),
        ({"pieces": {STATE: {"pieces": 10**9, "sha256": ""}}}, "cannot be read"),
        ({"pieces": {f"{STATE}.piece-0001": {"pieces": 1, "sha256": ""}}}, "never writes"),
    ],
)
def test_other_lists_are_refused(tmp_path, good, manifest, why):
    refused(tmp_path, build(tmp_path / "bad.zip", good[1], manifest=manifest), why)


def test_a_list_that_is_nested_too_deep_is_refused(tmp_path):
    with zipfile.ZipFile(tmp_path / "bad.zip", "w") as archive:
        archive.writestr(MANIFEST, "[" * 200_000)
    refused(tmp_path, tmp_path / "bad.zip", "cannot be read")


def test_other_files_are_refused(tmp_path, good):
    for name, data in (
        ("text.zip", b"not a zip"),
        ("empty.zip", b""),
        ("cut.zip", good[0].read_bytes()[:-100]),
        ("half.zip", good[0].read_bytes()[: good[0].stat().st_size // 2]),
    ):
        (tmp_path / name).write_bytes(data)
        refused(tmp_path, tmp_path / name, "not a whole archive of `export`")
    refused(tmp_path, tmp_path / "none.zip", "cannot be read")
    refused(tmp_path, tmp_path, "cannot be read")
    with zipfile.ZipFile(tmp_path / "other.zip", "w"):
        pass
    refused(tmp_path, tmp_path / "other.zip", "it is not an archive of `export`")


@pytest.mark.parametrize("seed", range(40))
def test_a_changed_byte_anywhere_is_refused_or_harmless(tmp_path, good, seed):
    """One flipped bit: the archive is refused, or what is taken in is exactly what was exported
    (headers have bytes that mean nothing)."""
    rng, data = random.Random(seed), bytearray(good[0].read_bytes())
    data[rng.randrange(len(data))] ^= 1 << rng.randrange(8)
    path = tmp_path / "bad.zip"
    path.write_bytes(data)
    try:
        import_runs([path], Store(tmp_path / "b"), current)
    except InputError:
        assert contents(tmp_path / "b") == {}
    else:
        assert contents(tmp_path / "b") == contents(good[0].parent / "a")


def test_a_run_that_is_not_its_own_is_refused(tmp_path, good):
    """Right checksums all the way, of a record in another's place, of another identity, and of
    ranks of another run."""
    moved = {k.replace("seed-0", "seed-1"): v for k, v in good[1].items()}
    refused(tmp_path, build(tmp_path / "a.zip", moved), "it was moved here")
    store = Store(tmp_path / "forged")
    store.write(of_this_code(0, identity="0" * 64))
    forged = export_runs(store, tmp_path / "forged.zip").paths[0]
    refused(tmp_path, forged, "its identity is not that of its hashes")
    npz = RUN.replace(".json", ".npz")
    swapped = good[1] | {npz: contents(store.root)[npz.removeprefix("runs/")]}
    refused(tmp_path, build(tmp_path / "b.zip", swapped), "its SHA-256 is not the one that")
    deep = good[1] | {RUN: b'{"sha256": ' + b"[" * 100_000}
    refused(tmp_path, build(tmp_path / "c.zip", deep), "not a run's record")


def test_files_of_no_run_and_runs_that_failed_are_refused(tmp_path, good):
    """A member that nothing refers to is what is left of a run: passed over, it would be missed."""
    npz = RUN.replace(".json", ".npz")
    lost = {k.replace("seed-0", "seed-1"): v for k, v in good[1].items() if k == npz}
    refused(tmp_path, build(tmp_path / "a.zip", good[1] | lost), "seed-1.npz: belongs to none of")
    more = good[1] | {npz.replace(".npz", ".snapshot.npz"): good[1][npz]}
    refused(tmp_path, build(tmp_path / "b.zip", more), "seed-0.snapshot.npz: belongs to none of")
    for change, why in (
        ({"status": "failed", "message": "x"}, r"seed 0: a failed run \(x\), which `export` never"),
        ({"schema_version": "3"}, "its schema is '3', which is no number"),
    ):
        fields = json.loads(good[1][RUN]) | change
        del fields["sha256"]
        own = hashlib.sha256(json.dumps(fields, sort_keys=True).encode()).hexdigest()
        made = good[1] | {RUN: json.dumps(fields | {"sha256": own}).encode()}
        refused(tmp_path, build(tmp_path / "c.zip", made), why)


def test_one_bad_archive_among_good_ones_stops_all(tmp_path, good):
    store = filled(tmp_path / "a", range(12))
    paths = export_runs(store, tmp_path / "out.zip", max_size=SMALLEST).paths
    paths[-1].write_bytes(paths[-1].read_bytes()[:-1])
    with pytest.raises(InputError, match="nothing was taken in"):
        import_runs(paths, Store(tmp_path / "b"), current)
    assert contents(tmp_path / "b") == {}


def test_what_stands_in_two_archives_is_taken_once(tmp_path, good):
    """Parts of two exports overlap; with other content under one name nothing is taken."""
    once, twice = Store(tmp_path / "once"), Store(tmp_path / "twice")
    import_runs([good[0]], once, current)
    import_runs([good[0], good[0]], twice, current)
    assert contents(once.root) == contents(twice.root) != {}
    other = build(tmp_path / "o.zip", good[1] | {RUN: good[1][RUN] + b" "})
    with pytest.raises(InputError, match="with other content; nothing was taken in"):
        import_runs([good[0], other], Store(tmp_path / "none"), current)
    assert contents(tmp_path / "none") == {}


def test_parts_of_an_earlier_export_are_not_left_among_the_new(tmp_path):
    """`import out*.zip` would take both."""
    export_runs(filled(tmp_path / "a", range(12)), tmp_path / "out.zip", max_size=SMALLEST)
    before = contents(tmp_path)
    with pytest.raises(InputError, match=r"out-1-of-\d+\.zip: a part of another export"):
        export_runs(Store(tmp_path / "a"), tmp_path / "out.zip")
    assert contents(tmp_path) == before


def test_another_profiles_damage_stops_no_export(tmp_path):
    store = filled(tmp_path / "a", [0])
    damaged = tmp_path / "a" / "rolling" / "toy" / "sasrec" / "base" / "seed-0.json"
    damaged.parent.mkdir(parents=True)
    damaged.write_text("{}")
    assert not export_runs(store, tmp_path / "q.zip", profile="quick").left_out
    assert len(export_runs(store, tmp_path / "all.zip").left_out) == 1


def test_an_import_that_is_cut_off_goes_on(tmp_path, monkeypatch):
    """After every number of runs: those are whole, the rest comes the next time, and nothing of the
    first try is left."""
    path = export_runs(filled(tmp_path / "a", range(3)), tmp_path / "out.zip").paths[0]

    class Killed(BaseException):
        pass

    write, left = Store.write, [2]

    def dying(self, result):
        if not left[0]:
            raise Killed
        left[0] -= 1
        return write(self, result)

    monkeypatch.setattr(Store, "write", dying)
    with pytest.raises(Killed):
        import_runs([path], Store(tmp_path / "b"), current)
    monkeypatch.undo()
    assert [run.status for run in Store(tmp_path / "b").scan()] == ["complete"] * 2
    staged = tmp_path / "b" / ".import.host-1.xyz" / "runs"  # of an import that was killed
    shutil.copytree(tmp_path / "a", staged)
    assert [run.status for run in Store(tmp_path / "b").scan()] == ["complete"] * 2
    shutil.rmtree(staged.parent)
    assert sorted(take(path, tmp_path / "b")) == [("added", ""), ("there", ""), ("there", "")]
    assert contents(tmp_path / "a") == contents(tmp_path / "b")


# ---------------------------------------------------------------- unfinished runs


def state(root: Path, seeds, step: int, size: int = 0) -> Path:
    """A checkpoint as training leaves it; size: bytes of noise in it."""
    owner = Owner(SPEC.key, {seed: identity(HASHES, seed) for seed in seeds})
    path = root / ".checkpoints" / f"{digest(owner.identities.values())[:16]}.pt"
    noise = torch.randint(0, 255, (size,), dtype=torch.uint8)
    CheckpointFile(path, owner).save({"step": step, "noise": noise})
    return path


@pytest.mark.parametrize("size", [1000, 200_000, 1_300_000])
def test_states_of_unfinished_runs_travel_in_pieces(tmp_path, size):
    """To the byte, also where one needs several parts; a part alone has not all of a state."""
    store = filled(tmp_path / "a", range(4))
    path = state(store.root, [7, 8], 40, size)
    done = export_runs(store, tmp_path / "out.zip", checkpoints=True, max_size=SMALLEST)
    assert all(part.stat().st_size <= SMALLEST for part in done.paths)
    assert (done.runs, done.states, done.left_out) == (4, 1, [])
    taken = import_runs(done.paths, Store(tmp_path / "b"), current)
    assert taken[-1] == Taken(f"{SPEC.key}, seed 7, 8, unfinished", "added", "at step 40")
    assert contents(tmp_path / "a") == contents(tmp_path / "b")
    if size > SMALLEST:
        (refusal,) = [
            t
            for t in import_runs(done.paths[1:], Store(tmp_path / "c"), current)
            if t.what == "refused"
        ]
        assert "give all at once" in refusal.why
        few = export_runs(
            store, tmp_path / "few.zip", checkpoints=True, max_size=SMALLEST, max_parts=3
        )
        assert few.left_out == [f"{path}: does not fit"]
        assert (len(few.paths), few.runs, few.states) == (1, 4, 0)


def test_what_trials_share_is_no_state_of_a_run(tmp_path):
    """`tune` leaves trunks beside the states; the archive holds what `import` takes."""
    store = filled(tmp_path / "a", [0])
    made = state(store.root, [7], 40)
    CheckpointFile(made.with_name(f"trunk-{'0' * 16}.pt")).save({"step": 3})
    done = export_runs(store, tmp_path / "out.zip", checkpoints=True)
    assert (done.runs, done.states, done.left_out) == (1, 1, [])
    assert [what for what, _ in take(done.paths[0], tmp_path / "b")] == ["added", "added"]


def test_the_state_that_is_further_stays(tmp_path):
    a, b = filled(tmp_path / "a", [0]).root, tmp_path / "b"
    state(a, [7], 40)
    path = export_runs(Store(a), tmp_path / "out.zip", checkpoints=True).paths[0]
    further = state(b, [7], 50)
    before = further.read_bytes()
    assert take(path, b)[-1] == ("there", "at step 50, that of the archive at 40")
    assert further.read_bytes() == before
    state(b, [7], 30)
    assert take(path, b)[-1] == ("replaced", "at step 40")
    assert contents(a) == contents(b)
    further.write_bytes(b"damaged")
    assert take(path, b)[-1] == ("replaced", "at step 40")


def test_states_that_nobody_needs_or_can_use_are_not_taken(tmp_path):
    """Of a run that is finished here; under another name; not readable."""
    a = filled(tmp_path / "a", [0]).root
    made = state(a, [0], 40)
    path = export_runs(Store(a), tmp_path / "out.zip", checkpoints=True).paths[0]
    assert take(path, tmp_path / "b")[-1] == ("there", "its runs are finished")
    moved = made.rename(made.with_name("0" * 16 + ".pt"))
    path = export_runs(Store(a), tmp_path / "out.zip", checkpoints=True).paths[0]
    assert take(path, tmp_path / "b")[-1] == ("refused", "not a state of an unfinished run")
    moved.unlink()
    made = state(a, [3], 40)
    made.write_bytes(made.read_bytes()[:-1])
    path = export_runs(Store(a), tmp_path / "out.zip", checkpoints=True).paths[0]
    what, why = take(path, tmp_path / "b")[-1]
    assert (what, "is damaged" in why) == ("refused", True)
    assert not list((tmp_path / "b" / ".checkpoints").glob("*"))


@pytest.mark.skipif(os.name == "nt" or os.geteuid() == 0, reason="root writes everywhere")
def test_a_read_only_store_says_so(tmp_path, good):
    (root := tmp_path / "b").mkdir()
    root.chmod(0o500)
    with pytest.raises(InputError, match="cannot be written"):
        import_runs([good[0]], Store(root), current)
    root.chmod(0o700)
