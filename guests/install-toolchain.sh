#!/bin/sh
# Installs, on Debian, the compilers that build.py needs: clang with wasi-libc for the C guests, and the modern Rust
# that Debian keeps for its browsers, whose standard library comes as source. Packages that are there stay as they are.
# apt removes Debian's older rustc where it is installed; a rustup beside it is not touched.
# wasm-tools, which makes components, is put under ~/.cache, where build.py looks for it.
set -eu

wanted=$(dirname "$0")/wasm-tools.txt
tools=$HOME/.cache/guesthouse-wasm-tools/$(sha256sum "$wanted" | cut -c1-16)
if [ ! -x "$tools/bin/wasm-tools" ]; then
    rm -rf "$tools"
    python3 -m venv "$tools"
    "$tools/bin/python" -m pip install --quiet --disable-pip-version-check --require-hashes --ignore-requires-python \
        --requirement "$wanted"
fi

packages="clang-19 lld-19 wasi-libc libclang-rt-19-dev-wasm32
          rustc-web cargo-web rust-web-src rust-web-llvm lld-22"

missing=""
for package in $packages; do
    status=$(dpkg-query --show --showformat='${db:Status-Status}' "$package" 2>/dev/null || true)
    [ "$status" = installed ] || missing="$missing $package"
done
[ -n "$missing" ] || { echo "all there"; exit 0; }

sudo=""
[ "$(id -u)" = 0 ] || sudo=sudo
$sudo apt-get update
# shellcheck disable=SC2086  # a list of names
$sudo env DEBIAN_FRONTEND=noninteractive apt-get install --yes --no-install-recommends $missing
