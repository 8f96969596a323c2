#!/usr/bin/env bash
# Proves that the harness finds what it is made to find: builds keelson with its planted defects
# and hunts each of them. Fails unless all are caught. Options go to `keelson-jepsen defects`.
set -euo pipefail
cd "$(dirname "$0")/.."
out="${CARGO_TARGET_DIR:-target}/debug"

# The ordinary program comes back whatever happens: tests find it there.
trap 'cargo build --quiet --locked -p keelson-server' EXIT
cargo build --locked -p keelson-jepsen
cargo build --locked -p keelson-server --features planted-defects
cp "$out/keelson" "$out/keelson-planted"
"$out/keelson-jepsen" defects --binary "$out/keelson-planted" "$@"
