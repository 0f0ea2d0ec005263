#!/usr/bin/env bash
# Compares the public interface with that of an earlier commit or tag: which version number do the changes ask for?
#
#     scripts/semver.sh REVISION
#
# Nothing is published yet, so the baseline is a revision. Installs cargo-semver-checks where it is missing.
set -euo pipefail
cd "$(dirname "$0")/.."

cargo semver-checks --version >/dev/null 2>&1 || cargo install cargo-semver-checks --locked
cargo semver-checks --package brasa --baseline-rev "${1:?the revision to compare with}"
