#!/usr/bin/env bash
# Runs each fuzz target for a while, two side by side, on what the tests have as a start: scripts/fuzz.sh [SECONDS] [TARGET…]
#
# A stable compiler does: the targets are built with libFuzzer's view of which branches were taken, but without a sanitizer, which
# would need a nightly one and has nothing to find in parsers without unsafe code. The driver comes from crates.io, once, into .deps/.
set -euo pipefail

CARGO_FUZZ=0.13.2
root=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
deps=${EARWITNESS_DEPS:-$root/.deps}
seconds=${1:-60}
cd "$root"
export PATH=$deps/cargo/bin:$PATH

scripts/setup.sh --fuzz
if ! cargo fuzz --version 2>/dev/null | grep -qF "$CARGO_FUZZ"; then
    cargo install --quiet --locked --root "$deps/cargo" --version "$CARGO_FUZZ" cargo-fuzz
fi
if [ $# -gt 1 ]; then targets=("${@:2}"); else mapfile -t targets < <(cargo fuzz list); fi
cargo fuzz build --sanitizer none

# What passes is the best start: random bytes hardly ever do.
seeds() {
    case $1 in
        onnx) find tests/fixtures -name '*.onnx' -size -64k ;;
        *) find "tests/fixtures/fuzz/$1" -type f 2>/dev/null ;;
    esac
}

run() {
    local corpus=fuzz/corpus/$1 log
    log=$(mktemp)
    mkdir -p "$corpus"
    seeds "$1" | while read -r seed; do cp "$seed" "$corpus/$(sha256sum <"$seed" | cut -c1-40)"; done
    if cargo fuzz run --sanitizer none "$1" -- -max_total_time="$seconds" -max_len=65536 -timeout=5 -rss_limit_mb=1024 >"$log" 2>&1; then
        echo "fuzz $1: nothing found, $(grep '^Done ' "$log" | cut -d' ' -f2-)"
    else
        cat "$log"
        echo "fuzz $1: failed; the input lies in fuzz/artifacts/$1" >&2
        return 1
    fi
}
export -f run seeds
export seconds
printf '%s\n' "${targets[@]}" | xargs -P2 -I{} bash -euo pipefail -c 'run {}'
