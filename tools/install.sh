#!/usr/bin/env bash
# Makes the Python environment in $CYCLE_VENV (default: .venv), or finds it up to date, and prints its interpreter's path.
#
# May be called at any time, by several clones that share one environment too, and killed at any moment: a lock lets one
# process work, a stamp written last says that the environment is whole, and one without a stamp is built anew.
set -euo pipefail
unset PYTHONPATH PYTHONHOME PIP_USER PIP_TARGET PIP_PREFIX # they would mix other packages in

root=$(CDPATH='' cd -- "$(dirname -- "${BASH_SOURCE[0]}")/.." && pwd)
venv=${CYCLE_VENV:-$root/.venv}
[[ $venv == /* ]] || venv=$PWD/$venv
python=$venv/bin/python
lock=$venv/.cycle-lock # also the sign that the folder is ours to wipe
stamp=$venv/.cycle-stamp
log=$venv/.cycle-install.log
wanted=$(cd "$root/tools" && cat requirements.txt constraints.txt install.sh | sha256sum)

say() { printf '%s\n' "$*" >&2; }
fail() {
  say "error: $*"
  exit 2
}

up_to_date() { [[ -r $stamp && $(<"$stamp") == "$wanted" ]] && "$python" -I -S -c '' 2>/dev/null; }
finish() {
  printf '%s\n' "$python"
  exit 0
}

# Only running a candidate tells: pyenv's shims exist for versions that are not active, Debian's Python lacks ensurepip.
runs() {
  "$1" -I -c 'import ensurepip, ssl, sys, sysconfig, venv
sys.exit(not (3, 12) <= sys.version_info < (3, 14) or bool(sysconfig.get_config_var("Py_GIL_DISABLED")))' >/dev/null 2>&1
}

find_python() {
  local candidate folder
  folder=${PYENV_ROOT:-$(pyenv root 2>/dev/null || echo "${HOME:-}/.pyenv")}/versions
  for candidate in "${PYTHON:-}" python3.12 python3.13 "$folder"/3.12.*/bin/python "$folder"/3.13.*/bin/python; do
    if [[ -n $candidate ]] && runs "$candidate"; then
      printf '%s\n' "$candidate"
      return
    fi
  done
  for candidate in 3.12 3.13; do
    uv python find --system "$candidate" 2>/dev/null && return
  done
  uv python install 3.12 >/dev/null 2>&1 && uv python find --system 3.12 2>/dev/null
}

wipe() {
  rm -f "$stamp" # first: what is left by a kill in the middle must not look whole
  find "$venv/" -mindepth 1 -maxdepth 1 ! -name "${lock##*/}" ! -name "${log##*/}" -exec rm -rf {} +
}

# Everything goes to the log; a terminal also sees one line that changes.
record() {
  local line
  [[ -t 2 ]] || exec cat >>"$log"
  while IFS= read -r line; do
    printf '%s\n' "$line" >>"$log"
    [[ $line =~ ^\ *(Collecting|Downloading|Installing) ]] && printf '\r\033[K  %.76s' "${line#"${line%%[! ]*}"}" >&2
  done
  printf '\r\033[K' >&2
}

pip_install() { "$python" -m pip --disable-pip-version-check --no-input install --no-compile -c "$root/tools/constraints.txt" "$@" 2>&1 | record; }

# Packages that come as source only are built with the pinned setuptools, not with whatever is newest on the day.
fill() { pip_install "$@" setuptools && pip_install "$@" --no-build-isolation --use-pep517 -r "$root/tools/requirements.txt"; }

# pip would do it file by file, a third of its time. The packages' own tests, a quarter of it all, are left out, and another quarter that is
# hardly ever loaded: Python compiles that when it is. Where processes cannot share the work, one does it; what cannot be compiled stays as it is.
compile() {
  local seldom='torch/(_inductor|testing|sparse)|sympy/(physics|stats|combinatorics|parsing)|networkx|espnet3|sklearn|mypyc?|jieba|pygments|av'
  seldom+='|huggingface_hub|narwhals|aiohttp|setuptools|torchgen|numba/cuda|grpc|espnet2/(enh|speechlm|svs|gan_svs|gan_codec)|anyio|httpx2|urllib3'
  local work=("$python" -I -m compileall -q -x "site-packages/(.*/tests?|$seldom)/" "$venv/lib")
  trap 'exit 130' INT # compileall ends as if all were well
  "${work[@]}" -j "$(env -u OMP_NUM_THREADS nproc)" >>"$log" 2>&1 || "${work[@]}" >>"$log" 2>&1 || true
  trap - INT
}

give_up() {
  local what="the packages could not be installed" remedy="read $log"
  if grep -qi 'no space left' "$log" || (($(df -Pk "$venv" | awk 'NR == 2 {print $4}') < 100000)); then
    what="the disk is full" remedy="free 8 GB for $venv (and some in ${TMPDIR:-/tmp})"
  elif grep -qiE 'connection|resolv|timed out|proxy|certificate|no matching distribution|conflicting dependencies' "$log"; then
    what="the packages could not be downloaded" remedy="check the network and pip's settings (details: $log)"
  fi
  [[ -e $stamp ]] || wipe || true
  fail "$venv: $what; $remedy, then run the same command again"
}

up_to_date && finish

mkdir -p "$venv" 2>/dev/null || fail "$venv: cannot make this folder; name another one in CYCLE_VENV"
content=$(ls -A "$venv") || fail "$venv: cannot read this folder; name another one in CYCLE_VENV"
[[ -z $content || $'\n'$content$'\n' == *$'\n'"${lock##*/}"$'\n'* ]] ||
  fail "$venv: is not empty and was not made by tools/install.sh; name a new folder in CYCLE_VENV, or remove it yourself"
{ exec 9>>"$lock"; } 2>/dev/null || fail "$venv: cannot write to this folder; name another one in CYCLE_VENV"
if ! flock -n 9 2>/dev/null; then
  say "Waiting for another process that sets up $venv"
  flock 9 2>/dev/null || fail "$lock: cannot lock this file; install flock (util-linux) or choose a local disk with CYCLE_VENV"
fi
up_to_date && finish

if [[ -e $stamp ]] && "$python" -I -m pip --version >/dev/null 2>&1; then
  say "Refreshing the Python environment in $venv: the pinned versions have changed"
  : >"$log"
  fill --dry-run || give_up # without a network the environment stays as it was
  rm -f "$stamp"
else
  base=$(find_python) || fail "no Python 3.12 or 3.13 with its venv module runs here; install one" \
    "(Debian and Ubuntu: python3.12-venv; anywhere: pyenv or uv) or set PYTHON to its path"
  say "Setting up the Python environment in $venv: about 6 GB and some minutes, only this once"
  wipe
  "$base" -m venv "$venv" >"$log" 2>&1 || give_up
fi
fill || give_up
compile
{ printf '%s\n' "$wanted" >"$stamp.new" && mv -f "$stamp.new" "$stamp"; } 2>/dev/null || give_up
say "The Python environment is ready"
finish
