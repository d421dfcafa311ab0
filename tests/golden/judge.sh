#!/usr/bin/env bash
# Judges the committed records of devices again, and writes tests/golden/judged-*.txt: read the difference.
set -euo pipefail
cd "$(dirname "$0")/../.."
UPDATE_GOLDEN=1 cargo test --release --test program -- claims::the_records_of_devices
git --no-pager diff --stat -- tests/golden
