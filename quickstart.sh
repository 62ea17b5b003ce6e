#!/usr/bin/env bash
# The whole path on a small sample: archives -> dataset -> tokenizer -> trained model -> perplexity and generated LaTeX.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")"
source tools/setup.sh

OUT=quickstart_out
CONFIG=examples/quickstart/config.json
MODEL=$OUT/runs/quickstart/export
STAGES="setup sample data tokenizer train perplexity generate"

usage() {
    cat <<TEXT
usage: bash quickstart.sh [STAGE...]

Without a stage, all of them in this order, each reusing what an earlier run made:
  setup       makes .venv and installs requirements.txt (once; see README.md for its size)
  sample      writes a sample of arXiv: metadata snapshot, bulk tars, manifest      -> $OUT/raw/
  data        archives to train.jsonl and val.jsonl, with the funnel report        -> $OUT/dataset_train_val/
  tokenizer   trains a tokenizer of 4,096 entries                                   -> $OUT/tokenizer/
  train       trains a 5-million-parameter model with DeepSpeed, ZeRO-2             -> $OUT/runs/quickstart/
  perplexity  bits per byte and perplexity on the validation split
  generate    writes LaTeX after a prompt

It takes under ten minutes on two cores after the installation. Delete $OUT/ to start afresh.
example: bash quickstart.sh train generate
TEXT
}

for stage in "$@"; do
    case "$stage" in
        -h | --help) usage; exit 0 ;;
        *) [[ " $STAGES " == *" $stage "* ]] || { usage >&2; echo "error: unknown stage '$stage'" >&2; exit 2; } ;;
    esac
done

CHOSEN="${*:-$STAGES}"
wanted() { [[ " $CHOSEN " == *" $1 "* ]]; }

# An empty CUDA_VISIBLE_DEVICES means the CPU; DeepSpeed's launcher writes it anew for the processes that it starts.
[ -n "${CUDA_VISIBLE_DEVICES-0}" ] || export DS_ACCELERATOR=cpu

# Two processes where there are two GPUs, or two cores and no GPU. Torch counts those that a run can use: nvidia-smi
# also lists hidden ones, and each slice of one.
processes() {
    local devices
    devices=$(python -c 'import torch; print(torch.cuda.device_count())')
    [ "$devices" -gt 0 ] || devices=$(nproc)
    echo $((devices > 2 ? 2 : devices))
}

set_up
wanted sample && run python tools/make_sample_corpus.py --out $OUT/raw
wanted data && run python data_prep/prepare_dataset.py --config $CONFIG
wanted tokenizer && run python tokenizer/train_tokenizer.py --config $CONFIG
wanted train && run deepspeed --num_accelerators "$(processes)" train.py --config $CONFIG
wanted perplexity && run python evaluation/perplexity.py --config $CONFIG \
    --model $MODEL --data $OUT/dataset_train_val
wanted generate && run python evaluation/generate.py --config $CONFIG \
    --model $MODEL --prompt '\begin{theorem}' --seed 1 | tee $OUT/sample.tex

if [ "$CHOSEN" = "$STAGES" ]; then
    cat <<TEXT

Where to look:
  funnel of the dataset   $OUT/dataset_train_val/report/report.html (funnel.png)
  tokenizer               $OUT/tokenizer/report/report.html
  loss of the run         $OUT/runs/quickstart/loss.png
  perplexity              $OUT/runs/quickstart/perplexity/report.html
  generated LaTeX         $OUT/sample.tex
  the model               $MODEL (AutoModelForCausalLM.from_pretrained)
The real run is the same commands without --config: see README.md.
TEXT
fi
