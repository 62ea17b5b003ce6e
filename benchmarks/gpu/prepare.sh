#!/usr/bin/env bash
# Fill the git-ignored .gpu/ with what gpu_check.sh needs: data, and wheels for a GPU machine without network.
#
#     bash benchmarks/gpu/prepare.sh            # data and wheels: then copy the tree with .gpu/ to that machine
#     bash benchmarks/gpu/prepare.sh data       # data alone, without network: gpu_check.sh does it where it is missing
#
# Needs .venv (bash quickstart.sh setup) or PYTHON=other/bin/python; the wheels need PyPI. FOR_PYTHON (3.12) is the
# Python of the GPU machine, which is x86-64 Linux. What is there already is kept; delete .gpu/ to begin anew, as after
# a change of data formats or of config.json's vocab_size.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/../.."
NAMED=${PYTHON:-.venv/bin/python}
FOR_PYTHON=${FOR_PYTHON:-3.12}
GPU=.gpu
CONFIG=examples/quickstart/config.json

fail() { echo "error: $*" >&2; exit 2; }
[ $# -eq 0 ] || [ "$*" = data ] || fail "unknown words '$*'; usage: bash benchmarks/gpu/prepare.sh [data]"
PYTHON=$(command -v "$NAMED") || fail "no command $NAMED; run bash quickstart.sh setup, or name another: PYTHON=python3"
mkdir -p $GPU/wheels $GPU/data

# ---- data: the sample of the quickstart and its tokenizer, also filled up to the vocabulary of config.json ----
logged() {
    "$PYTHON" "$@" >> "$scratch/log" 2>&1 && return
    tail -30 "$scratch/log" >&2
    fail "$1 failed, see above; put that right, or make .gpu/ on another machine and copy it here"
}
make_data() {
    local size config flags
    flags=(--config $CONFIG --set "data.metadata=$scratch/raw/arxiv-metadata-oai-snapshot.json"
        --set "data.source=$scratch/raw/src" --set "data.out=$scratch/dataset" --set "tokenizer.out=$scratch/tokenizer")
    rm -rf $GPU/data
    logged tools/make_sample_corpus.py --out "$scratch/raw"
    logged data_prep/prepare_dataset.py "${flags[@]}"
    logged tokenizer/train_tokenizer.py "${flags[@]}"
    for size in small full; do
        mkdir -p $GPU/data/$size/dataset $GPU/data/$size/tokenizer
        cp "$scratch"/dataset/{train,val}.jsonl $GPU/data/$size/dataset/
        cp "$scratch"/tokenizer/{tokenizer.model,tokenizer.json,tokenizer_config.json,special_tokens_map.json} \
            $GPU/data/$size/tokenizer/
    done
    # Entries that no text gives: the model of config.json at its full size, on the small data.
    "$PYTHON" - $GPU/data/full/tokenizer/tokenizer.json <<'PYTHON'
import json
import sys
from pathlib import Path

path = Path(sys.argv[1])
spec, wanted = json.loads(path.read_text(encoding="utf-8")), json.loads(Path("config.json").read_text())["vocab_size"]
vocab = spec["model"]["vocab"]
size = 1 + max(*vocab.values(), *(token["id"] for token in spec["added_tokens"]))
vocab |= {f"<filling{number}>": number for number in range(size, wanted)}
path.write_text(json.dumps(spec, ensure_ascii=False), encoding="utf-8")
PYTHON
    for size in small full; do
        config=$CONFIG
        [ $size = full ] && config=config.json
        logged tokenizer/token_cache.py --config $config --set data.out=$GPU/data/$size/dataset \
            --set tokenizer.out=$GPU/data/$size/tokenizer
    done
    touch $GPU/data/made.txt
}

# ---- wheels, for the GPU machine ----
pin() { sed -n "s/^$1==\([^; ]*\).*/\1/p" requirements.txt | head -1; }
have() { compgen -G "$GPU/wheels/$1-*.whl" > /dev/null; }
pip() { "$PYTHON" -m pip "$@" -q --disable-pip-version-check 2> >(grep -v '^WARNING: Location' >&2); }
make_wheels() {
    local tag wheel cp=cp${FOR_PYTHON/./}
    local for_it=(--python-version "$FOR_PYTHON" --implementation cp --only-binary=:all:)
    for tag in manylinux_2_28 manylinux_2_27 manylinux_2_17 manylinux2014 manylinux1; do
        for_it+=(--platform ${tag}_x86_64)
    done
    # Of another version than requirements.txt asks for now: made anew.
    have "deepspeed" && ! have "deepspeed-$(pin deepspeed)" && rm -f $GPU/wheels/*.whl
    # PyPI has no wheel of these: made here, without compiled parts (DS_BUILD_OPS=0), so they run anywhere.
    have deepspeed || DS_BUILD_OPS=0 pip wheel --no-deps -w $GPU/wheels "deepspeed==$(pin deepspeed)"
    have langdetect || pip wheel --no-deps -w $GPU/wheels "langdetect==$(pin langdetect)"
    have hjson || pip wheel --no-deps -w $GPU/wheels hjson
    # With what they need: pydantic-core, annotated-types, typing-inspection, typing-extensions.
    have pydantic || pip download "${for_it[@]}" -d $GPU/wheels pydantic
    have zstandard || pip download "${for_it[@]}" --no-deps -d $GPU/wheels "zstandard==$(pin zstandard)"
    have liger_kernel || pip download "${for_it[@]}" --no-deps -d $GPU/wheels liger-kernel
    for wheel in $GPU/wheels/*.whl; do
        case $wheel in
            *-py3-none-any.whl | *-py2.py3-none-any.whl | *-"$cp-$cp"-*x86_64.whl) ;;
            *) fail "$wheel is not for Python $FOR_PYTHON on x86-64; delete it, then run this again" ;;
        esac
    done
    ls -l $GPU/wheels | awk 'NR > 1 {printf "  %9d  %s\n", $5, $9}'
}

if [ ! -f $GPU/data/made.txt ]; then
    scratch=$(mktemp -d)
    trap 'rm -rf "$scratch"' EXIT
    make_data
fi
[ "$*" = data ] && exit 0
make_wheels
git describe --always --dirty --exclude='*' > $GPU/commit.txt 2> /dev/null || echo unknown > $GPU/commit.txt
cat > $GPU/gpu_check.sh <<'BASH'
#!/usr/bin/env bash
exec bash "$(dirname "${BASH_SOURCE[0]}")/../benchmarks/gpu/gpu_check.sh" "$@"
BASH
echo "$GPU/ holds $(du -sm --apparent-size $GPU | cut -f1) MiB"
echo "next: copy the project with $GPU/ to the GPU machine, and there: OUT=FOLDER bash $GPU/gpu_check.sh"
