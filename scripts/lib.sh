# Shared by scripts: one virtual environment, made once and reused.
# CLIPSONIC_VENV names it (default: .venv in the checkout); CLIPSONIC_PYTHON names the Python to make it with.

find_python() {
    if [ -n "${CLIPSONIC_PYTHON:-}" ]; then echo "$CLIPSONIC_PYTHON"; return; fi
    for candidate in python3.11 python3.12 python3.13 python3; do
        if "$candidate" -c 'import sys; sys.exit(not (3, 11) <= sys.version_info[:2] <= (3, 13))' 2>/dev/null; then
            echo "$candidate"; return
        fi
    done
    echo "no Python 3.11, 3.12 or 3.13 was found: install one, or name it by CLIPSONIC_PYTHON" >&2
    return 1
}

# use_environment EXTRAS PROBE: an environment that holds clipsonic (with EXTRAS) and the module PROBE
use_environment() {
    local venv=${CLIPSONIC_VENV:-.venv} extras=$1 probe=$2
    local stamp="$venv/.clipsonic-$(cat pyproject.toml constraints.txt | cksum | cut -d' ' -f1)-$probe"
    [ -x "$venv/bin/python" ] || "$(find_python)" -m venv "$venv"
    if [ ! -e "$stamp" ]; then
        echo "installing into $venv (about 6 GB, 3 to 5 minutes the first time)"
        "$venv/bin/python" -m pip install --quiet --disable-pip-version-check -e ".$extras" -c constraints.txt
        touch "$stamp"
    fi
    PATH="$PWD/$venv/bin:$PATH"
    case $venv in /*) PATH="$venv/bin:$PATH" ;; esac
    export PATH
}
