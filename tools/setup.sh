# Makes .venv and installs requirements.txt where that has not been done; sourced by quickstart.sh and test.sh.
# PYTHON=python3.11 chooses the interpreter of a new .venv.

set_up() {
    local python="${PYTHON:-python3}" stamp=.venv/installed.txt
    if [ -f "$stamp" ] && cmp -s requirements.txt "$stamp"; then
        source .venv/bin/activate
        return
    fi
    if ! "$python" -c 'import sys; sys.exit(sys.version_info < (3, 10))'; then
        echo "error: $python is older than Python 3.10 or missing; name another one: PYTHON=python3.11 bash $0" >&2
        exit 2
    fi
    if [ ! -x .venv/bin/python ]; then
        run "$python" -m venv .venv || {
            echo "error: $python has no venv module; install it (Debian, Ubuntu: apt install python3-venv)" >&2
            exit 2
        }
    fi
    run source .venv/bin/activate
    run python -m pip install --quiet -r requirements.txt
    cp requirements.txt "$stamp"
}

# Echo a command so that it can be copied, then run it.
run() {
    printf '\n$' >&2
    printf ' %q' "$@" >&2
    printf '\n' >&2
    "$@"
}
