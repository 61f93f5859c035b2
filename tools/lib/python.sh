# Find a Python that can run this project. To be sourced.

readonly WANTED_PYTHON='3.11 to 3.14'

# Print the first usable interpreter: $PYTHON alone if it is set, else what is on the path.
# Say what to install, and fail, if there is none.
find_python() {
  local candidate without_venv=''
  local candidates=(python3 python3.14 python3.13 python3.12 python3.11 python)
  [[ -z "${PYTHON:-}" ]] || candidates=("$PYTHON")
  for candidate in "${candidates[@]}"; do
    _has_the_right_version "$candidate" || continue
    if _has_venv "$candidate"; then
      "$candidate" -c 'import sys; print(sys.executable)'
      return
    fi
    without_venv=$candidate
  done
  if [[ -n "$without_venv" ]]; then
    echo "error: $without_venv cannot make virtual environments;" \
      "on Debian and Ubuntu: sudo apt install python3-venv" >&2
  else
    echo "error: no Python $WANTED_PYTHON here${PYTHON:+ (PYTHON=$PYTHON)};" \
      "on Debian and Ubuntu: sudo apt install python3 python3-venv" >&2
  fi
  return 1
}

_has_the_right_version() {
  "$1" -c 'import sys; sys.exit(not (3, 11) <= sys.version_info < (3, 15))' 2>/dev/null
}

# Debian has the module venv without python3-venv, but not ensurepip, which venv calls.
_has_venv() {
  "$1" -c 'import ensurepip, venv' 2>/dev/null
}
