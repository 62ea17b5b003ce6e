import json
import re
from dataclasses import fields

import pytest

from common.errors import UserError
from common.paths import ROOT
from common.settings import load
from common.settings.load import load_settings
from common.settings.model import ModelSettings

REFERENCE, QUICKSTART = ROOT / "config.json", ROOT / "examples/quickstart/config.json"


def test_reference_values_are_the_published_recipe():
    reference = load_settings(REFERENCE)
    model, train = reference.model, reference.train
    assert (model.num_hidden_layers, model.hidden_size, model.intermediate_size) == (24, 2048, 5504)
    assert (model.num_attention_heads, model.vocab_size, model.tie_word_embeddings) == (16, 102_400, False)
    assert (model.max_position_embeddings, train.seq_len, model.dtype) == (4096, 768, "bfloat16")
    assert (train.learning_rate, train.warmup_steps, train.weight_decay) == (2e-4, 500, 0.1)
    assert (train.gradient_accumulation_steps, train.gradient_checkpointing) == (32, "auto")
    assert reference.data.categories == [
        *("math", "cs", "math-ph", "hep-th", "hep-ph", "hep-lat", "gr-qc", "quant-ph", "stat.ML")
    ]


def test_quickstart_has_the_keys_of_the_reference():
    def keys(config):
        return {k: (sorted(v) if isinstance(v, dict) else None) for k, v in json.loads(config.read_text()).items()}

    assert keys(QUICKSTART) == keys(REFERENCE)


def test_every_config_key_is_spelt_out_in_the_shipped_file():
    raw = json.loads(REFERENCE.read_text())
    for name, kind in load.SECTIONS.items():
        assert list(raw[name]) == [field.name for field in fields(kind)]


def test_config_is_a_valid_transformers_config():
    from transformers import AutoConfig, LlamaConfig

    config = AutoConfig.from_pretrained(ROOT)
    assert isinstance(config, LlamaConfig)
    assert config.rope_parameters and config.rope_parameters["rope_theta"] == 10_000.0


def test_model_keys_are_fields_of_llama_config():
    from transformers import LlamaConfig

    known = LlamaConfig().to_dict()
    assert {field.name for field in fields(ModelSettings)} <= set(known) | {"head_dim"}


@pytest.mark.parametrize(
    ("override", "value"),
    [
        ("train.seq_len=512", 512),
        ("train.learning_rate=1", 1.0),
        ("train.run_name=mine", "mine"),
        ("train.max_steps=1e6", 1_000_000),
        ("data.categories=null", None),
        ('data.languages=["en", "fr"]', ["en", "fr"]),
        ("data.year_min=2007", 2007),
    ],
)
def test_set_overrides_a_section_key(override, value):
    section, key = override.partition("=")[0].split(".")
    found = getattr(getattr(load_settings(overrides=[override]), section), key)
    assert found == value and type(found) is type(value)


def test_set_overrides_a_model_key():
    assert load_settings(overrides=["vocab_size=8192"]).model.vocab_size == 8192


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("train.seqlen=1", "unknown key 'train.seqlen'; did you mean 'train.seq_len'"),
        ("vocab_sise=1", "unknown key 'vocab_sise'; did you mean 'vocab_size'"),
        ("hiden_size=1", "did you mean 'hidden_size'"),
        ("train.seq_len=0", "'train.seq_len' is 0, must be at least 1"),
        ("train.seq_len=1.5", "'train.seq_len' is 1.5, expected a whole number"),
        ("train.seq_len=true", "'train.seq_len' is true, expected a whole number"),
        ("train.seq_len=long", "'train.seq_len' is \"long\", expected a whole number"),
        ("train.wandb=on", "expected one of 'online', 'offline', 'disabled'"),
        ("train.run_name=..", "it names a folder"),
        ("train.run_name=a/b", "it names a folder"),
        ("data.drop_withdrawn=1", "'data.drop_withdrawn' is 1, expected true or false"),
        ("data.categories=math", "expected a list"),
        ("data.val_fraction=0.9", "must be between 0 and 0.5"),
        ("train.learning_rate=NaN", "must be at least 0"),
        ("train.seq_len=8192", "more than max_position_embeddings 4096"),
        ("hidden_size=2050", "not a multiple of num_attention_heads"),
        ("train.warmup_steps=99999999", "leaves nothing of train.max_steps"),
        ("eos_token_id=200000", "outside vocab_size"),
        ("data.year_max=2000", None),
        ("train", "expected KEY=VALUE"),
        ("train=3", "'train' is a section"),
        ("data.a.b=1", "no such key"),
    ],
)
def test_bad_override_is_refused_by_name(override, message):
    overrides = ["data.year_min=2010", override]
    with pytest.raises(UserError, match=re.escape(message or "data.year_min 2010 is after data.year_max 2000")):
        load_settings(overrides=overrides)


def test_bad_files_are_refused(tmp_path):
    path = tmp_path / "config.json"
    with pytest.raises(UserError, match="no such configuration file"):
        load_settings(path)
    path.write_text('{"vocab_size": 1,\n oops}')
    with pytest.raises(UserError, match=r"config\.json:2:2: not valid JSON"):
        load_settings(path)
    for content in ('{"vocab_size": ' + "9" * 5000 + "}", "[" * 100_000):
        path.write_text(content)
        with pytest.raises(UserError, match=r"config\.json: cannot be read: "):
            load_settings(path)
    with pytest.raises(UserError, match="--set vocab_size: cannot be read: "):
        load_settings(overrides=["vocab_size=" + "9" * 5000])
    for key in ("vocab_size", "train.max_steps", "train.learning_rate"):
        with pytest.raises(UserError, match=f"'{key}' is a number of 401 digits, must be below"):
            load_settings(overrides=[f"{key}=1" + "0" * 400])
    for number in ("NaN", "-Infinity", "1e999"):
        with pytest.raises(UserError, match=r"'rope_parameters' is .*; its numbers must be finite"):
            load_settings(overrides=[f"rope_parameters.rope_theta={number}"])
    path.write_text("[]")
    with pytest.raises(UserError, match="expected a JSON object"):
        load_settings(path)
    raw = json.loads(REFERENCE.read_text())
    del raw["train"]["seq_len"]
    path.write_text(json.dumps(raw))
    with pytest.raises(UserError, match=r"key 'train\.seq_len' is missing"):
        load_settings(path)
    del raw["train"]
    path.write_text(json.dumps(raw))
    with pytest.raises(UserError, match="section 'train' is missing"):
        load_settings(path)


def test_resolved_configuration_can_be_loaded_again(tmp_path):
    path = tmp_path / "config.json"
    path.write_text(json.dumps(load_settings(overrides=["train.seq_len=64"]).to_dict()))
    assert load_settings(path) == load_settings(overrides=["train.seq_len=64"])


def test_exported_config_has_model_keys_alone():
    assert not set(load_settings().model_dict()) & set(load.SECTIONS)
