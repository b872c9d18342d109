# Sourced by the other scripts: creates and updates .venv. Prints nothing if there is nothing to do.
# shellcheck shell=bash

ROOT=$(CDPATH="" cd -- "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
VENV=$ROOT/.venv
NEEDED_GIB=10 # torch's CUDA build and its libraries take 5.6 GB, the gpu extra 2.5 GB more
MINIMUM_DRIVER=580

fail() {
    echo "$(basename "$0"): error: $*" >&2
    exit 1
}

find_python() {
    local candidate candidates=(python3 python3.13 python3.12 python3.11 python)
    if [[ -n ${PYTHON:-} ]]; then candidates=("$PYTHON"); fi
    for candidate in "${candidates[@]}"; do
        if "$candidate" -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null; then
            echo "$candidate"
            return
        fi
    done
    fail "Python 3.11 or newer is needed and none was found (${candidates[0]} is" \
        "$("${candidates[0]}" --version 2>&1 || true)); install one, or name it: PYTHON=/path/to/python3.12 $0"
}

has_new_enough_driver() {
    local version
    # Not through a pipe to head, which would end nvidia-smi early where there are many GPUs.
    version=$(nvidia-smi --query-gpu=driver_version --format=csv,noheader 2>/dev/null) || return 1
    [[ ${version%%.*} =~ ^[0-9]+$ ]] && ((${version%%.*} >= MINIMUM_DRIVER))
}

# ensure_environment [EXTRA]...: installs gpu-ssl with these extras, and with "gpu" if there is a driver.
ensure_environment() {
    local extras=("$@") stamp
    if has_new_enough_driver; then extras+=(gpu); fi
    # A stamp records that an extra was installed from this pyproject.toml.
    stamp=$(cksum <"$ROOT/pyproject.toml" | tr -dc '0-9')
    if is_installed "$stamp" base ${extras[@]+"${extras[@]}"}; then return; fi
    exec 9>"$VENV.lock" || fail "cannot write to $ROOT"
    if command -v flock >/dev/null; then flock 9; fi # of two concurrent scripts, one installs
    if ! is_installed "$stamp" base ${extras[@]+"${extras[@]}"}; then
        install_environment "$stamp" ${extras[@]+"${extras[@]}"}
    fi
    exec 9>&-
}

is_installed() {
    local stamp=$1 extra
    shift
    for extra; do [[ -e $VENV/.gpu-ssl-$extra-$stamp ]] || return 1; done
}

install_environment() {
    local stamp=$1 python free log target extra
    shift
    if ! "$VENV/bin/python" -m pip --version >/dev/null 2>&1; then
        python=$(find_python) || exit 1
        free=$(df -Pk "$ROOT" | awk 'NR == 2 { print int($4 / 1048576) }')
        ((free >= NEEDED_GIB)) || fail "$ROOT has $free GiB of free disk space; $NEEDED_GIB GiB are needed"
        echo "Creating $VENV with $("$python" --version)" >&2
        "$python" -m venv --clear "$VENV" >&2 ||
            fail "cannot make $VENV (on Debian and Ubuntu: apt-get install python3-venv)"
    fi
    target=$ROOT
    if (($#)); then target+="[$(IFS=,; echo "$*")]"; fi
    echo "Installing gpu-ssl and its dependencies (several GB, a few minutes)" >&2
    log=$VENV/install.log
    # The pip of Python 3.11 (23.2) finds no compatible versions of torch and cuML; 26.3 does.
    if ! { "$VENV/bin/python" -m pip install --disable-pip-version-check --upgrade pip &&
        "$VENV/bin/python" -m pip install --no-compile --editable "$target"; } >"$log" 2>&1; then
        fail "pip could not install the packages: $({ grep -i '^error' "$log" || cat "$log"; } | tail -n 1)" \
            "(all of it is in $log)"
    fi
    # pip compiles on one CPU, this on all. Some packages hold files that are not meant to be compiled.
    "$VENV/bin/python" -m compileall -qq -j 0 "$VENV"/lib/python3*/site-packages >>"$log" 2>&1 || true
    for extra in base "$@"; do : >"$VENV/.gpu-ssl-$extra-$stamp"; done
}

# ensure_layer FOLDER REQUIREMENT...: makes an environment in FOLDER with these packages and what they need; all
# else comes from .venv.
ensure_layer() {
    local folder=$1
    shift
    if [[ -e $folder/wanted && $(<"$folder/wanted") == "$*" ]]; then return; fi
    "$VENV/bin/python" -m venv --clear "$folder"
    "$folder/bin/python" -m pip install --quiet --disable-pip-version-check --no-compile "$@"
    borrow_packages "$folder/bin/python"
    echo "$*" >"$folder/wanted"
}

# borrow_packages PYTHON: lets another environment's Python import from .venv what it does not have itself.
borrow_packages() {
    local code='import sysconfig; print(sysconfig.get_path("purelib"))'
    "$VENV/bin/python" -c "$code" >"$("$1" -c "$code")/borrowed.pth"
}

# ensure_browser: installs chromium, used by the tests of pages, if it is missing and apt-get can.
ensure_browser() {
    local name log
    for name in chromium chromium-browser google-chrome; do
        if command -v "$name" >/dev/null; then return; fi
    done
    if ! command -v apt-get >/dev/null || [[ $(id -u) != 0 ]]; then
        echo "chromium is missing and cannot be installed: tests of pages are skipped" \
            "(as root, on Debian: apt-get install chromium)" >&2
        return
    fi
    echo "Installing chromium, for the tests of pages" >&2
    log=$(mktemp)
    if ! { apt-get update && DEBIAN_FRONTEND=noninteractive \
        apt-get install --yes --no-install-recommends chromium; } >"$log" 2>&1; then
        echo "chromium could not be installed (all of it is in $log): tests of pages are skipped" >&2
    fi
}
