#!/usr/bin/env bash
# Makes a fresh machine able to build, test and run earwitness: system packages through apt where they are missing and
# it may, and the pinned ONNX Runtime library into .deps/onnxruntime/. Safe to run again; offline once it has succeeded.
#
#   scripts/setup.sh           what building and running need
#   scripts/setup.sh --tests   and what the tests need
#   scripts/setup.sh --fuzz    and a C++ compiler, for libFuzzer
#
# EARWITNESS_DEPS overrides the folder .deps; with EARWITNESS_ORT, a runtime library of your own, none is fetched.
set -euo pipefail

ONNXRUNTIME=1.31.1
# SHA-256 of the wheels of that version. To move on: change the version, then put in what the error line shows after
# comparing it with the hash that the package index publishes.
SHA256_x86_64=1f3dea47f2f0e5117c2404cea7d21fd253ae7836a3bf167a501cdfbb2600d536
SHA256_aarch64=0b9a492176886992e0e875f06bc0367e333f5fff11711a2d642e18b02f3009cc

root=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
deps=${EARWITNESS_DEPS:-$root/.deps}
runtime=$deps/onnxruntime
library=$runtime/libonnxruntime.so
stamp=$runtime/stamp

say() { printf 'setup: %s\n' "$*" >&2; }
fail() { say "$*"; exit 1; }

# --- Rust -----------------------------------------------------------------------------------------------------------

check_rust() {
    local wanted found
    wanted=$(sed -n 's/^rust-version = "\(.*\)"/\1/p' "$root/Cargo.toml")
    command -v cargo >/dev/null && command -v rustc >/dev/null ||
        fail "no Rust toolchain found: install Rust $wanted or newer (rustup does it), then run this again"
    found=$(rustc --version | sed 's/^rustc \([0-9.]*\).*/\1/')
    [ "$(printf '%s\n%s\n' "$wanted" "$found" | sort -V | head -n 1)" = "$wanted" ] ||
        fail "Rust $wanted or newer is needed, found $found: run 'rustup update'"
}

# --- System packages ------------------------------------------------------------------------------------------------

# Prints the Debian packages that are missing, one a line.
missing_packages() {
    command -v cc >/dev/null || printf 'gcc\nlibc6-dev\n'
    command -v make >/dev/null || echo make
    command -v cmake >/dev/null || echo cmake
    if command -v pkg-config >/dev/null; then
        pkg-config --exists alsa || echo libasound2-dev
    else
        # Without pkg-config nobody can tell whether the ALSA headers are there.
        printf 'pkg-config\nlibasound2-dev\n'
    fi
    if [ "$need_runtime" = yes ]; then
        if ! command -v python3 >/dev/null; then
            printf 'python3\npython3-pip\n'
        elif ! python3 -m pip --version >/dev/null 2>&1; then
            echo python3-pip
        fi
    fi
    # For libFuzzer.
    [ "$fuzz" = no ] || command -v c++ >/dev/null || echo g++
    [ "$tests" = yes ] || return 0
    PATH=$PATH:/usr/sbin command -v mosquitto >/dev/null || echo mosquitto
    command -v mosquitto_sub >/dev/null || echo mosquitto-clients
    command -v openssl >/dev/null || echo openssl
}

install_packages() {
    local missing as_root
    missing=$(missing_packages | tr '\n' ' ')
    missing=${missing% }
    [ -n "$missing" ] || return 0
    command -v apt-get >/dev/null ||
        fail "missing: $missing (Debian's names); install them with this system's package manager, then run this again"
    if [ "$(id -u)" = 0 ]; then
        as_root=
    elif command -v sudo >/dev/null && sudo -n true 2>/dev/null; then
        as_root=sudo
    else
        fail "missing: $missing; run: sudo apt-get install -y $missing"
    fi
    say "installing $missing"
    apt_install() {
        # shellcheck disable=SC2086
        $as_root env DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends $missing
    }
    local log=$deps/apt.log
    mkdir -p "$deps"
    # The package lists of a fresh machine or container are empty or old: fetched only when they turn out to be.
    apt_install >"$log" 2>&1 || { $as_root apt-get update -qq && apt_install; } >"$log" 2>&1 ||
        fail "apt could not install: $missing; its last word: $(tail -n 1 "$log" 2>/dev/null); run: sudo apt-get update && sudo apt-get install -y $missing"
    missing=$(missing_packages | tr '\n' ' ')
    [ -z "$missing" ] || fail "still missing after apt installed it: $missing"
}

# --- ONNX Runtime ---------------------------------------------------------------------------------------------------

sha256() { sha256sum "$1" | cut -d ' ' -f 1; }

# The stamp holds the version and the hash of the unpacked library, so that a damaged or older one is noticed.
runtime_is_ready() {
    [ -f "$library" ] && [ -f "$stamp" ] && [ "$(cat "$stamp")" = "$ONNXRUNTIME $(sha256 "$library")" ]
}

install_runtime() {
    local machine expected work wheel found
    machine=$(uname -m)
    [ "$(uname -s)" = Linux ] || machine=unsupported
    case $machine in
        x86_64) expected=$SHA256_x86_64 ;;
        aarch64) expected=$SHA256_aarch64 ;;
        *) fail "no pinned ONNX Runtime for $(uname -s) $(uname -m): put a libonnxruntime $ONNXRUNTIME somewhere and set EARWITNESS_ORT to its path" ;;
    esac
    mkdir -p "$deps"
    work=$(mktemp -d "$deps/.unpack.XXXXXX")
    # shellcheck disable=SC2064
    trap "rm -rf '$work'" EXIT
    say "fetching ONNX Runtime $ONNXRUNTIME"
    # Only the shared library inside is of interest: the tags name one wheel whatever Python runs here.
    python3 -m pip download --quiet --disable-pip-version-check --no-deps --only-binary=:all: \
        --implementation cp --python-version 3.12 --platform "manylinux_2_28_$machine" \
        --dest "$work" "onnxruntime==$ONNXRUNTIME" >"$work/log" 2>&1 ||
        fail "cannot fetch the Python package onnxruntime==$ONNXRUNTIME (offline?): $(tail -n 1 "$work/log"); with network access run 'make setup', or set EARWITNESS_ORT to a libonnxruntime $ONNXRUNTIME"
    wheel=$(find "$work" -name 'onnxruntime-*.whl' | head -n 1)
    [ -n "$wheel" ] || fail "pip reported success but left no wheel of onnxruntime==$ONNXRUNTIME"
    found=$(sha256 "$wheel")
    [ "$found" = "$expected" ] ||
        fail "the package onnxruntime==$ONNXRUNTIME has SHA-256 $found, expected $expected: refused; look at who serves your packages"
    python3 - "$wheel" "$work/libonnxruntime.so" <<'PYTHON'
import shutil, sys, zipfile

wheel, target = sys.argv[1:]
with zipfile.ZipFile(wheel) as archive:
    names = [name for name in archive.namelist() if name.startswith("onnxruntime/capi/libonnxruntime.so.")]
    if len(names) != 1:
        sys.exit(f"setup: expected one libonnxruntime.so.* in the wheel, found {names}")
    with archive.open(names[0]) as source, open(target, "wb") as library:
        shutil.copyfileobj(source, library)
PYTHON
    printf '%s %s\n' "$ONNXRUNTIME" "$(sha256 "$work/libonnxruntime.so")" >"$work/stamp"
    chmod 644 "$work/libonnxruntime.so"
    mkdir -p "$runtime"
    # Renames last, the stamp after the library: an interrupted run is never taken for a finished one.
    mv -f "$work/libonnxruntime.so" "$library"
    mv -f "$work/stamp" "$stamp"
}

# --------------------------------------------------------------------------------------------------------------------

tests=no fuzz=no
for argument in "$@"; do
    case $argument in
        --tests) tests=yes ;;
        --fuzz) fuzz=yes ;;
        *) fail "unknown argument '$argument', expected --tests or --fuzz" ;;
    esac
done

check_rust
if [ -n "${EARWITNESS_ORT:-}" ]; then
    [ -f "$EARWITNESS_ORT" ] || fail "EARWITNESS_ORT names $EARWITNESS_ORT, which is not there: correct it or unset it"
    need_runtime=no
elif runtime_is_ready; then
    need_runtime=no
else
    need_runtime=yes
fi
install_packages
if [ "$need_runtime" = yes ]; then
    install_runtime
fi
say "ready (ONNX Runtime ${EARWITNESS_ORT:-$ONNXRUNTIME})"
