# Makes .venv and installs requirement files where that has not been done; sourced by quickstart.sh and test.sh.
# PYTHON=python3.11 chooses the interpreter of a new .venv.

set_up() {  # [FILE...]: further requirement files
    install_requirements "$@"
    python tools/check_gpu.py
}

# Leaves .venv active with these files installed.
install_requirements() {
    local python="${PYTHON:-python3}" stamp=.venv/installed.txt build
    local files=(requirements.txt "$@")
    if [ -f "$stamp" ] && cat "${files[@]}" | cmp -s - "$stamp"; then
        source .venv/bin/activate
        return
    fi
    # What the tests have installed is more than enough for the rest.
    if [ -f "$stamp" ] && [ $# -eq 0 ] && head -c "$(wc -c < requirements.txt)" "$stamp" | cmp -s - requirements.txt; then
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
    # PyPI has one build of torch. Where it is too new for the driver, or for the GPU, the one that fits comes first:
    # requirements.txt is content with it, now and when the files change.
    build=$(python tools/check_gpu.py --build)
    if [ -n "$build" ]; then
        # shellcheck disable=SC2086  # several arguments
        run python -m pip install --quiet $build || {
            echo "error: this machine's GPU needs that build of torch; make its index reachable, or leave the GPU" \
                "alone: DS_ACCELERATOR=cpu bash $0" >&2
            exit 2
        }
    fi
    run python -m pip install --quiet "${files[@]/#/-r}"
    cat "${files[@]}" > "$stamp"
}

# Echo a command so that it can be copied, then run it.
run() {
    printf '\n$' >&2
    printf ' %q' "$@" >&2
    printf '\n' >&2
    "$@"
}
