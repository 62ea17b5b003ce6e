#!/usr/bin/env bash
# Tell whether everything of this project holds on this machine's GPU, and how fast it is, step by step.
#
#     bash benchmarks/gpu/gpu_check.sh                # all steps; results in gpu_check_out/
#     bash benchmarks/gpu/gpu_check.sh c              # this one again (with a where that is missing)
#     bash benchmarks/gpu/gpu_check.sh --cpu          # the same code with tiny models on a CPU
#
#   a  the card, versions; wheels from .gpu/ for what this Python lacks
#   b  b1: pytest -m gpu; b2: loss and gradients of every kernel against fp32 on the CPU        (beside c)
#   c  the main job: twice whole, kill -9 and resume, SIGTERM and resume, export, generate.py, perplexity.py
#   d  config.json's model through deepspeed train.py: memory against the forecast, tokens/s, MFU
#   e  the variants of benchmarks/training/train_gpu.py at 768 and 4096 tokens
#   f  the profile of a step of the best of them
#
# A step that fails or runs out of its time stops no other. Exit status: 0 all is ok, 1 something is not, 2 it could not
# begin. $OUT (gpu_check_out) gets summary.md, results.json, profile.txt and a log a step; README.md beside this file
# says how to read them. Set these to change it:
#   GPU_CHECK_SECONDS  time of all steps together (470; 1500 with --cpu)
#   GPU_CHECK_SLOWER   factor on each step's limit (1; 3 with --cpu)
#   GPU_CHECK_PYTHON   the Python (.venv/bin/python, else python3)
#   GPU_CHECK_WORK     scratch folder (/tmp/gpu_check-UID)
#   GPU_CHECK_DEVICE   cuda, or cpu as with --cpu
set -u
CALLER=$PWD
cd "$(dirname "${BASH_SOURCE[0]}")/../.."
HERE=benchmarks/gpu

fail() { echo "error: $*" >&2; exit 2; }
absolute() { case $1 in /*) echo "$1" ;; *) echo "$CALLER/$1" ;; esac; }

DEVICE=${GPU_CHECK_DEVICE:-cuda}
chosen=""
for word in "$@"; do
    case $word in
        --cpu) DEVICE=cpu ;;
        [a-f]) chosen+=" $word" ;;
        -h | --help) sed -n '2,/^set -u/{/^#/s/^# \{0,1\}//p}' "$HERE/gpu_check.sh"; exit 0 ;;
        *)
            echo "usage: bash $HERE/gpu_check.sh [--cpu] [a b c d e f]" >&2
            fail "unknown step '$word'; the steps are a to f, and --help describes them"
            ;;
    esac
done
chosen=${chosen:- a b c d e f}
has() { [[ "$chosen " == *" $1 "* ]]; }
case $DEVICE in
    cuda) BUDGET=${GPU_CHECK_SECONDS:-470} SLOWER=${GPU_CHECK_SLOWER:-1} ;;
    cpu) BUDGET=${GPU_CHECK_SECONDS:-1500} SLOWER=${GPU_CHECK_SLOWER:-3} ;;
    *) fail "GPU_CHECK_DEVICE is '$DEVICE'; set it to cuda or cpu" ;;
esac
[[ $BUDGET =~ ^[1-9][0-9]*$ ]] || fail "GPU_CHECK_SECONDS is '$BUDGET'; set it to whole seconds, e.g. 470"
[[ $SLOWER =~ ^[1-9][0-9]*$ ]] || fail "GPU_CHECK_SLOWER is '$SLOWER'; set it to a whole factor, e.g. 3"

# ---- which Python; its folder holds the deepspeed command ----
if [ -n "${GPU_CHECK_PYTHON:-}" ]; then
    PYTHON=$GPU_CHECK_PYTHON
    [[ $PYTHON == */* ]] && PYTHON=$(absolute "$PYTHON")
elif [ -x .venv/bin/python ]; then
    PYTHON=$PWD/.venv/bin/python
else
    PYTHON=python3
fi
PYTHON=$(command -v "$PYTHON") ||
    fail "GPU_CHECK_PYTHON is '${GPU_CHECK_PYTHON:-python3}', which is no command; name another Python"
"$PYTHON" -c 'import importlib.util as i, sys; sys.exit(not all(map(i.find_spec, ("torch", "transformers"))))' ||
    fail "$PYTHON lacks torch or transformers; run bash quickstart.sh setup, or name another Python: GPU_CHECK_PYTHON"

OUT=$(absolute "${OUT:-$PWD/gpu_check_out}")
WORK=${GPU_CHECK_WORK:-${TMPDIR:-/tmp}/gpu_check-$UID}
WORK=$(absolute "$WORK") SITE=$WORK/site PARTS=$WORK/parts
export OUT WORK SITE PARTS PYTHON DEVICE GPU_CHECK_WORK=$WORK GPU_CHECK_DEVICE=$DEVICE GPU_CHECK_FOR="$PYTHON $DEVICE"
mkdir -p "$WORK" "$PARTS" "$OUT" || fail "$OUT and $WORK must be writable; set OUT and GPU_CHECK_WORK to other folders"
exec 8> "$WORK/lock"
flock -n 8 || fail "another gpu_check.sh uses $WORK; wait for it, or set GPU_CHECK_WORK to another folder"

# For the tests of this script: a step of this name fails, or hangs.
BROKEN=${GPU_CHECK_BROKEN:-} HANGS=${GPU_CHECK_HANGS:-}
[ "$(cat "$SITE/installed" 2> /dev/null)" = "$GPU_CHECK_FOR" ] || has a || chosen=" a$chosen"
# Only what this call finds; but f reads the figures of an earlier e.
rm -f "$PARTS"/*.status "$PARTS"/*.md
for file in "$PARTS"/*.json; do
    [ "$file" = "$PARTS/e.json" ] && has f && ! has e || rm -f "$file"
done
rm -f "$OUT"/{summary.md,results.json} "$WORK/stopped"
export PYTHONPATH=$SITE${PYTHONPATH:+:$PYTHONPATH} PATH=$SITE/bin:$(dirname "$PYTHON"):$PATH
export PYTHONUNBUFFERED=1 TOKENIZERS_PARALLELISM=false
export HF_HUB_OFFLINE=1 DS_SKIP_CUDA_CHECK=1
# Where a GPU is, it is left alone; DeepSpeed's launcher sets the first variable anew, the second holds.
[ "$DEVICE" = cpu ] && export CUDA_VISIBLE_DEVICES= DS_ACCELERATOR=cpu

left() { echo $((BUDGET - SECONDS)); }

# Ends what a step has left running, by the mark in its environment.
sweep() { # MARK
    local file pid
    for file in /proc/[0-9]*/environ; do
        pid=${file#/proc/} pid=${pid%/environ}
        [ "$pid" = $$ ] || [ "$pid" = "$BASHPID" ] && continue
        if tr '\0' '\n' 2> /dev/null < "$file" | grep -qx "GPU_CHECK_MARK=$1"; then kill -9 "$pid" 2> /dev/null; fi
    done
}

commit() {
    git describe --always --dirty --exclude='*' 2> /dev/null || echo "$(cat .gpu/commit.txt 2> /dev/null) when prepared"
}

summary() {
    (
        flock 9
        {
            echo "# GPU check: $(cat "$PARTS/card" 2> /dev/null || echo 'no card seen')"
            echo
            echo "$(date -u +%F), commit $(commit); steps:$chosen; ${SECONDS} s"
            echo
            echo "| step | what | | seconds |"
            echo "| --- | --- | --- | --- |"
            cat "$PARTS"/*.status 2> /dev/null
            for part in a b1 b2 c d e f; do
                [ -s "$PARTS/$part.md" ] && [ -f "$PARTS/$part.status" ] || continue
                printf '\n## %s\n\n' $part && cat "$PARTS/$part.md"
            done
        } > "$WORK/summary.new"
        mv "$WORK/summary.new" "$OUT/summary.md"
    ) 9> "$WORK/summary.lock"
}

code=0 # exit status of the last step that ran in the foreground
step() { # KEY WHAT LIMIT LOG COMMAND...
    local key=$1 what=$2 limit=$3 log=$OUT/$4 began=$SECONDS verdict now
    shift 4
    now=$(left) limit=$((limit * SLOWER))
    if [ "$now" -lt 12 ]; then
        echo "| $key | $what | not reached | 0 |" > "$PARTS/$key.status"
        return
    fi
    [ "$limit" -gt $((now - 5)) ] && limit=$((now - 5))
    [ "$key" = "$BROKEN" ] && set -- bash -c 'echo broken on purpose; exit 3'
    [ "$key" = "$HANGS" ] && set -- bash -c 'trap "" TERM; setsid sleep 1000 & sleep 1000'
    echo "== $key: $what (at most $limit s)"
    echo "---- $(date '+%F %T') \$ $*" >> "$log" # an earlier call's log is kept above
    GPU_STEP_SECONDS=$((limit - 2)) GPU_CHECK_MARK=$key-$$ \
        timeout --kill-after=5 "$limit" "$@" >> "$log" 2>&1 < /dev/null 8>&- &
    wait $! # so that a signal is heard at once
    code=$?
    sweep "$key-$$"
    [ -f "$WORK/stopped" ] && code=stopped
    case $code in
        stopped) verdict="stopped by a signal" ;;
        0) verdict=ok ;;
        124 | 137) verdict="OUT OF TIME after $limit s" ;;
        *) verdict="FAILED, exit $code" ;;
    esac
    echo "| $key | $what | $verdict | $((SECONDS - began)) |" > "$PARTS/$key.status"
    echo "== $key: $verdict, $((SECONDS - began)) s"
    summary
}

finish() {
    local status=$? bad key
    if [ -f "$WORK/stopped" ]; then
        for key in a b1 b2 c d e f; do sweep "$key-$$"; done
        wait
    fi
    summary
    "$PYTHON" "$HERE/step.py" results "$OUT/results.json"
    for log in "$OUT"/*.log; do # no file over 8 MB
        [ -f "$log" ] && [ "$(stat -c %s "$log")" -gt 8000000 ] || continue
        tail -c 8000000 "$log" > "$WORK/short" && mv "$WORK/short" "$log"
    done
    echo
    cut -c1-700 "$OUT/summary.md"
    printf '\n-- in short\n' # the end of a long output is what one sees
    sed '/^## /,$d' "$OUT/summary.md"
    bad=$(cat "$PARTS"/*.status 2> /dev/null | awk -F' [|] ' '$3 != "ok" {sub(/^[|] /, "", $1); printf " %s", $1}')
    if [ -n "$bad" ]; then
        echo "not ok:$bad; search $OUT/summary.md for WRONG and FAILED, then the step's log beside it"
        [ $status -eq 0 ] && status=1
    elif [ $status -eq 0 ]; then
        echo "all steps are ok; the figures are in $OUT/summary.md and results.json"
    fi
    exit $status
}
trap finish EXIT
trap 'touch "$WORK/stopped"; exit 143' TERM INT

card() {
    nvidia-smi 2>&1 || echo "no nvidia-smi"
    local seen=name,driver_version,memory.total,memory.used,clocks.sm,clocks.max.sm,power.limit,temperature.gpu
    nvidia-smi --query-gpu=$seen --format=csv 2> /dev/null
    nproc; free -g | head -2; df -h "$WORK" | tail -1; which nvcc && nvcc --version | tail -2
    "$PYTHON" benchmarks/gpu/step.py card
}
tests() {
    local code=0 where=()
    if [ "$DEVICE" = cpu ]; then
        where=(tests/training/test_loss.py tests/training/test_kernels.py)
    else
        # Only the files that have such tests: the others may need packages that this Python lacks.
        mapfile -t where < <(grep -rl --include='test_*.py' 'pytest\.mark\.gpu' tests | sort)
        [ ${#where[@]} -gt 0 ] || { echo "no file below tests/ has a test marked gpu" | tee "$PARTS/b1.md"; return 1; }
        where+=(-m gpu)
    fi
    "$PYTHON" -m pytest -p no:cacheprovider -q -rA --durations=10 --timeout 120 --tb=short "${where[@]}" \
        > "$WORK/tests.log" 2>&1 || code=$?
    cat "$WORK/tests.log"
    {
        grep -E '^(FAILED|ERROR) ' "$WORK/tests.log" | cut -c1-300 | sed 's/^/- /'
        grep -E '^SKIPPED ' "$WORK/tests.log" | sed 's/^/- /'
        grep -E '^PASSED ' "$WORK/tests.log" | head -40 | sed 's/^/- /'
        echo
        tail -1 "$WORK/tests.log"
    } > "$PARTS/b1.md"
    return $code
}
export -f card tests

STEP=("$PYTHON" "$HERE/step.py")
if has a; then
    step a "card, versions, wheels" 75 checks.log bash -c card
    if [ $code -eq 42 ]; then
        echo "error: torch of $PYTHON sees no GPU; see $OUT/summary.md, or run it on the CPU: --cpu" >&2
        exit 2
    fi
fi
if { has c || has d; } && [ ! -f .gpu/data/made.txt ]; then # beyond the time of the steps
    echo "== .gpu/data is missing; making it (a minute or two, once)"
    began=$SECONDS
    bash "$HERE/prepare.sh" data 8>&- || fail "no data for steps c and d; see above"
    BUDGET=$((BUDGET + SECONDS - began))
fi
# None of these is timed, and none fills the card: together they take as long as the longest.
has b && step b1 "pytest -m gpu" 150 checks.log bash -c tests &
has b && step b2 "kernels against fp32 on the CPU" 150 kernels.log "${STEP[@]}" kernels &
has c && step c "the main job, killed, stopped, resumed, used" 150 end_to_end.log "${STEP[@]}" main_job &
wait
has d && step d "the reference model under DeepSpeed" 150 reference.log "${STEP[@]}" reference
if has e; then
    rest=$(left)
    has f && rest=$((rest - 40))
    step e "train_gpu.py's variants" $((rest < 230 ? rest : 230)) speed.log "${STEP[@]}" speed
fi
has f && step f "profile of the best variant" 60 speed.log "${STEP[@]}" profile "$OUT/profile.txt"
exit 0
