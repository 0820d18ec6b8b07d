#!/usr/bin/env bash
# Lint, types, tests: tools/test.sh [--all] [arguments of pytest]. --all runs every recipe too.
# All of them run even if one fails; the exit code is 0 only if all passed. Types are a test among the others (tests/test_types.py).
set -euo pipefail
cd -- "$(dirname -- "${BASH_SOURCE[0]}")/.."

select=()
if [[ ${1:-} == --all ]]; then
  shift
  export CYCLE_TEST_ALL=1
  select=(-m '') # pyproject.toml leaves the tests marked `all` out
fi

# A browser for the test of the report's page. Where it cannot be installed that test is skipped, and says so.
if ! command -v chromium >/dev/null && command -v apt-get >/dev/null && [[ $(id -u) == 0 ]]; then
  { timeout 600 apt-get update && DEBIAN_FRONTEND=noninteractive timeout 900 apt-get install -y --no-install-recommends chromium; } >/dev/null 2>&1 </dev/null &
fi

python=$(tools/install.sh)
wait # for the browser
export PYTHONSAFEPATH=1 PYTHONPATH=$PWD
# The models of the tests are so small that handing work to threads costs more than the work.
export OMP_NUM_THREADS=1 MKL_NUM_THREADS=1 OPENBLAS_NUM_THREADS=1

status=0
"$python" -m ruff check . || status=1
"$python" -m ruff format --check --quiet --diff . || status=1
((status == 0)) || echo "error: lint or format: see above; the tests run all the same" >&2
# Two processes, each with whole files: what a file shares is made once. In the order of tests/conftest.py.
"$python" -m pytest --numprocesses 2 --dist loadfile --no-loadscope-reorder "${select[@]}" "$@" || status=$?
exit "$status"
