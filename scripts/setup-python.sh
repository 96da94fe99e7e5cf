#!/usr/bin/env bash
# Makes .venv: a Python with torch, the agent's packages and the tools of the tests.
#
# torch comes, first match wins: from an interpreter that has it ($PYTHON, python3 on PATH, the system's python3);
# on Debian as root from the package python3-torch (the index's Linux wheel drags in gigabytes of CUDA); else from pip.
set -euo pipefail
cd "$(dirname "$0")/.."
. scripts/lib.sh

usable() { # an interpreter that is new enough
	[[ -n $1 ]] && command -v "$1" >/dev/null 2>&1 && "$1" -c 'import sys; sys.exit(sys.version_info < (3, 9))' 2>/dev/null
}
has_torch() { "$1" -c 'import torch.distributed as d, sys; sys.exit(not d.is_available())' >/dev/null 2>&1; }
has_venv() { "$1" -c 'import venv, ensurepip' >/dev/null 2>&1; }

candidates=()
for python in "${PYTHON:-}" python3 /usr/bin/python3 python3.14 python3.13 python3.12 python3.11 python3.10 python3.9; do
	if usable "$python"; then candidates+=("$(command -v "$python")"); fi
done

base=
for python in "${candidates[@]}"; do
	if has_torch "$python"; then base=$python; break; fi
done

pip_torch=
if [[ -z $base ]] && debian_root; then
	if apt_install "no Python here has torch, and the package index's is gigabytes with CUDA" python3-torch python3-venv && has_torch /usr/bin/python3; then
		base=/usr/bin/python3
	else
		say "Debian's python3-torch could not be installed; trying pip"
	fi
fi
if [[ -z $base ]]; then
	(( ${#candidates[@]} )) || fail "no Python 3.9 or newer found; install one (on Debian: apt-get install python3 python3-venv)" \
		"or run: PYTHON=/path/to/python make setup"
	base=${candidates[0]}
	pip_torch=torch
fi
if ! has_venv "$base"; then
	if debian_root; then apt_install "$base cannot make a virtual environment" python3-venv || true; fi
	has_venv "$base" || fail "$base cannot make a virtual environment; on Debian run: apt-get install python3-venv"
fi

say "using $base ($("$base" -c 'import platform; print(platform.python_version())'))${pip_torch:+, torch from pip}"
# Built beside and renamed at the end, so that an interrupted setup is not taken for a finished one.
rm -rf .venv
told "making .venv" "$base" -m venv --system-site-packages .venv || fail "could not make .venv; remove it and run: make setup"

# A virtual environment sees only its base interpreter's packages, not those of another virtual environment.
"$base" - .venv <<'PY'
import pathlib, sys, sysconfig
if sys.prefix != sys.base_prefix:
    lib = pathlib.Path(sys.argv[1]) / "lib" / f"python{sys.version_info[0]}.{sys.version_info[1]}" / "site-packages"
    (lib / "parent-environment.pth").write_text(sysconfig.get_path("purelib") + "\n")
PY

pip_install() { # WHAT ARGUMENT…
	local what=$1
	shift
	told "installing $what into .venv" .venv/bin/python -m pip install -q --disable-pip-version-check "$@"
}
if [[ -n $pip_torch ]]; then
	pip_install "torch, from the package index (this can be gigabytes)" "$pip_torch" ||
		fail "pip could not install torch; install it yourself, then run: PYTHON=/path/to/that/python make setup"
fi
has_torch .venv/bin/python || fail "torch does not import in .venv; see: .venv/bin/python -c 'import torch.distributed'"

# torch before 2.3 was compiled against NumPy 1 and cannot share arrays with NumPy 2.
numpy=$(.venv/bin/python -c 'import torch; print("numpy<2" if tuple(map(int, torch.__version__.split(".")[:2])) < (2, 3) else "numpy")' 2>/dev/null)
pip_install "the agent's packages" -r ranks/agent/requirements-dev.txt "$numpy" ||
	fail "pip could not install the agent's packages; check the network, then run: make setup"

# fastai and accelerate are for the tests of their apps only, which are skipped without them.
if .venv/bin/python -c 'import sys, torch; sys.exit(sys.version_info >= (3, 12) or tuple(map(int, torch.__version__.split(".")[:2])) >= (2, 2))'; then
	pip_install "fastai and accelerate" --no-deps -r ranks/agent/requirements-apps.txt ||
		say "fastai and accelerate could not be installed: the tests of their apps will be skipped"
else
	say "no fastai and accelerate are pinned for this Python and torch: the tests of their apps will be skipped"
fi
touch .venv/.ready
say "ready: .venv/bin/python ($(.venv/bin/python -c 'import torch, IPython; print("torch", torch.__version__, "· IPython", IPython.__version__)' 2>/dev/null))"
