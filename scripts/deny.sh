#!/usr/bin/env bash
# Checks the dependencies' licences, sources and bans (deny.toml), and known vulnerabilities where the network has the
# list of them: `scripts/deny.sh advisories`. Installs cargo-deny where it is missing.
set -euo pipefail
cd "$(dirname "$0")/.."

cargo deny --version >/dev/null 2>&1 || cargo install cargo-deny --locked
cargo deny check bans licenses sources "$@"
