#!/usr/bin/env bash
# Checks that the library, its programs and tests compile with the version of Rust that Cargo.toml promises
# (`rust-version`), which rustup installs where it is missing.
set -euo pipefail
cd "$(dirname "$0")/.."

version=$(sed -n 's/^rust-version = "\(.*\)"/\1/p' Cargo.toml | head -1)
rustup toolchain install "$version" --profile minimal
cargo "+$version" check --all-targets --locked
