"""The card of a published model: what it is, what it was trained on and how, what was measured. Imported, not run.

The metadata block is the hub's own format, written by `huggingface_hub`. What is not known is said to be not known.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from reports.numbers import amount

NOT_KNOWN = "not known"


@dataclass(frozen=True)
class Known:
    """What a model's run and its dataset tell; empty where they are not at hand."""

    run: dict[str, Any] = field(default_factory=dict)
    config: dict[str, Any] = field(default_factory=dict)
    manifest: dict[str, Any] = field(default_factory=dict)
    results: dict[str, Any] = field(default_factory=dict)
    validation: dict[str, Any] = field(default_factory=dict)
    steps: int | None = None
    tokens: int | None = None

    @property
    def train(self) -> dict[str, Any]:
        return self.config.get("train", {})

    @property
    def trained_at(self) -> int | None:
        """Tokens of the sequences of training."""
        return self.train.get("seq_len")


def model_card(name: str, model: dict[str, Any], parameters: int, known: Known, license: str | None, dtype: str) -> str:
    """README.md of the published folder."""
    parts = [
        _metadata(name, known, license),
        f"# {name}\n",
        "A causal language model of scientific text in LaTeX, trained from scratch on papers of arXiv. It continues "
        "text: it is "
        + ("trained on further after its pretraining (see below)" if known.train.get("init_from") else "a base model")
        + ", neither made for conversation nor for advice.\n",
        _use(name, model),
        _model(model, parameters, dtype),
        _data(known),
        _training(known),
        _evaluation(known),
        _limits(model, known),
        _license(license),
    ]
    return "\n".join(parts)


def _metadata(name: str, known: Known, license: str | None) -> str:
    from huggingface_hub import EvalResult, ModelCardData

    found = []
    of = known.results.get("perplexity", {})
    measured = f"{of['data']}, {of['documents']:,} documents" if of else "validation split of the training data"
    for metric, value in _headline(known).items():
        found.append(
            EvalResult(
                task_type="text-generation",
                dataset_type="validation",
                dataset_name=measured,
                metric_type=metric,
                metric_value=round(value, 4),
                metric_name=metric.replace("_", " "),
            )
        )
    data = ModelCardData(
        language="en",
        license=license or "other",
        library_name="transformers",
        pipeline_tag="text-generation",
        tags=["latex", "mathematics", "arxiv", "scientific"],
        model_name=name,
        eval_results=found or None,
    )
    return f"---\n{data.to_yaml()}\n---\n"


def _headline(known: Known) -> dict[str, float]:
    """Bits per byte and perplexity of perplexity.py, else of the run's last validation."""
    measured = known.results.get("perplexity", {})
    values = {
        "bits_per_byte": measured.get("bits_per_byte", known.validation.get("val_bits_per_byte")),
        "perplexity": measured.get("perplexity_per_token", known.validation.get("val_perplexity")),
    }
    return {key: value for key, value in values.items() if value is not None}


def _use(name: str, model: dict[str, Any]) -> str:
    return f"""## Use

A document begins after the end-of-text token, as in training:

```python
from transformers import pipeline

write = pipeline("text-generation", model="PATH/OF/{name}")
print(write("</s>\\\\begin{{theorem}}", max_new_tokens=200)[0]["generated_text"])
```

The context is {model.get("max_position_embeddings", 0):,} tokens.
"""


def _model(model: dict[str, Any], parameters: int, dtype: str) -> str:
    rope = model.get("rope_parameters") or {}
    shape = ", ".join(f"{model[key]:,}" for key in ("num_hidden_layers", "hidden_size", "intermediate_size"))
    heads = model["num_attention_heads"]
    return f"""## Model

| | |
| --- | --- |
| architecture | Llama: RMSNorm, rotary positions, gated SiLU |
| parameters | {parameters:,} |
| layers, hidden size, feed-forward | {shape} |
| attention heads (keys and values) | {heads} ({model.get("num_key_value_heads") or heads}) |
| vocabulary | {model["vocab_size"]:,} entries, LaTeX commands kept whole, digits single |
| positions | {", ".join(f"{key} {value}" for key, value in rope.items())} |
| weights | {dtype} |
"""


def _data(known: Known) -> str:
    manifest = known.manifest
    if not manifest:
        return f"## Training data\n\nThe manifest of the dataset is {NOT_KNOWN} here: its folder is not at hand.\n"
    rows = "".join(
        f"| {split} | {part['documents']:,} | {part['text_bytes'] / 1e6:,.1f} MB | `{part['sha256'][:16]}` |\n"
        for split, part in manifest["splits"].items()
    )
    text = (
        f"## Training data\n\n| split | documents | text | sha256 of the records |\n| --- | --- | --- | --- |\n{rows}\n"
    )
    if "mixture" in manifest:
        lines = [
            f"- {name}: {source['written']['train']:,} documents, {source['train_bytes'] / 1e6:,.2f} MB, read "
            f"{source['repeats']:.2f} times"
            for name, source in manifest["sources"].items()
        ]
        return text + "A mixture of sources:\n\n" + "\n".join(lines) + "\n"
    knobs = manifest.get("knobs", {})
    metadata, rules = knobs.get("metadata", {}), knobs.get("collection", {})
    years = f"{metadata.get('year_min') or 'the first'} to {metadata.get('year_max') or 'the last'}"
    licenses = ", ".join(metadata.get("licenses") or ()) or "any; each record names its own"
    lines = [
        f"- subjects: {', '.join(metadata.get('categories') or ('all',))}; years: {years}",
        f"- licences of the papers: {licenses}",
        f"- near-duplicates: {rules.get('near_duplicates', NOT_KNOWN)}; validation is split off by cluster",
    ]
    return text + "Papers of arXiv, their LaTeX cleaned:\n\n" + "\n".join(lines) + "\n"


def _training(known: Known) -> str:
    train, run = known.train, known.run
    if not train:
        return f"## Training\n\nThe run is {NOT_KNOWN} here.\n"
    sequences = train["micro_batch_size"] * train["gradient_accumulation_steps"] * run.get("processes", 1)
    versions = ", ".join(f"{name} {version}" for name, version in run.get("versions", {}).items())
    rows = [
        ("steps", f"{known.steps:,}" if known.steps is not None else NOT_KNOWN),
        ("tokens", amount(known.tokens) if known.tokens is not None else NOT_KNOWN),
        ("sequence length", f"{train['seq_len']:,}"),
        ("sequences a step", f"{sequences:,}"),
        ("learning rate", f"{train['learning_rate']:g}, {train['warmup_steps']:,} steps of warm-up, cosine"),
        ("AdamW", f"betas {train['adam_beta1']:g}, {train['adam_beta2']:g}, weight decay {train['weight_decay']:g}"),
        ("precision", str(known.config.get("dtype"))),
        ("devices", f"{run.get('processes', '?')} x {run.get('device', NOT_KNOWN)}"),
        ("software", versions or NOT_KNOWN),
        ("commit", str(run.get("git_commit") or NOT_KNOWN)),
    ]
    if train.get("init_from"):
        learnt = "answers alone" if train.get("learn_from") == "answers" else "all of the text"
        rows.insert(0, ("began with the weights of", f"`{Path(train['init_from']).name}`; the loss counts {learnt}"))
    body = "".join(f"| {name} | {value} |\n" for name, value in rows)
    return f"## Training\n\n| | |\n| --- | --- |\n{body}"


def _evaluation(known: Known) -> str:
    lines = ["## Evaluation\n"]
    measured = known.results.get("perplexity")
    if measured:
        error = measured.get("standard_error")
        spread = f" ± {error:.4f}" if error is not None else ""
        lines += [
            f"On {measured['documents']:,} documents of `{measured['data']}`, in windows of {measured['context']:,} "
            "tokens (± is a standard error over documents):\n",
            "| | |\n| --- | --- |",
            f"| bits per byte | {measured['bits_per_byte']:.4f}{spread} |",
            f"| perplexity per token, its own tokenizer | {measured['perplexity_per_token']:.3f} |",
            *(f"| bits per byte, {kind} | {value:.4f} |" for kind, value in measured.get("kinds", {}).items()),
        ]
    elif known.validation:
        lines.append(
            f"Validation at step {known.validation['step']:,}: {known.validation['val_bits_per_byte']:.4f} bits per "
            f"byte, perplexity {known.validation['val_perplexity']:.3f} per token of its own tokenizer."
        )
    if (before := known.validation.get("pretraining_val_bits_per_byte")) is not None:
        lines.append(f"\nValidation split of the pretraining: {before:.4f} bits per byte at the end.")
    for name, title in (("generations", "What it writes"), ("benchmarks", "Benchmarks")):
        if found := known.results.get(name):
            lines.append(f"\n{title}:\n\n| | |\n| --- | --- |")
            lines += [f"| {key.replace('_', ' ')} | {_text(value)} |" for key, value in _flat(found).items()]
    if len(lines) == 1:
        lines.append("Nothing was measured, or its results are not at hand.")
    return "\n".join(lines) + "\n"


def _flat(values: dict[str, Any], before: str = "") -> dict[str, Any]:
    found: dict[str, Any] = {}
    for key, value in values.items():
        found |= _flat(value, f"{before}{key}, ") if isinstance(value, dict) else {before + key: value}
    return found


def _text(value: Any) -> str:
    return f"{value:.4g}" if isinstance(value, float) else "not measured" if value is None else str(value)


def _limits(model: dict[str, Any], known: Known) -> str:
    trained, context = known.trained_at, model.get("max_position_embeddings", 0)
    rope = (model.get("rope_parameters") or {}).get("rope_type", "default")
    lines = [
        "- Mathematics that it writes can be well-formed and false; citations can be invented.",
        "- One domain, one language; what the cleaning of the LaTeX lost, the model never saw.",
        "- It can repeat passages of its training data.",
    ]
    if trained and rope != "default":
        lines.append(
            f"- Trained on {trained:,} tokens; the context of {context:,} is {rope}'s, without training at that length."
        )
    elif trained and trained < context:
        lines.append(
            f"- Trained on sequences of {trained:,} tokens: beyond that, within the {context:,} of its configuration, "
            "it predicts worse (perplexity.py --positions shows it)."
        )
    return "## Limitations\n\n" + "\n".join(lines) + "\n"


def _license(license: str | None) -> str:
    said = f"Weights: {license}." if license else "No licence was chosen for the weights."
    return (
        f"## License\n\n{said} The papers that it was trained on carry their authors' licences, which the dataset's "
        "records name; arXiv's default licence allows arXiv to distribute a paper, and says nothing of others.\n"
    )
