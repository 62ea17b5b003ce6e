import json
import re

import pytest

from settings import ROOT, UserError, load_settings
from training.engine import resolve_deepspeed_config, single_process_environment

SHIPPED = ROOT / "ds_config.json"


def test_auto_is_resolved_from_config_json():
    config = resolve_deepspeed_config(SHIPPED, load_settings(), processes=2)
    assert config["train_batch_size"] == 2048
    assert config["train_micro_batch_size_per_gpu"] == config["gradient_accumulation_steps"] == 32
    assert config["gradient_clipping"] == 1.0
    assert config["bf16"]["enabled"] is True and config["fp16"]["enabled"] is False
    assert config["zero_optimization"]["stage"] == 2
    assert "auto" not in json.dumps(config)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"gradient_accumulation_steps": 8}, "'gradient_accumulation_steps' is 8, config.json makes it 32"),
        ({"bf16": {"enabled": False}}, "'bf16.enabled' is false, config.json makes it true"),
        ({"optimizer": {"type": "AdamW"}}, "'optimizer' is train.py's own"),
        ({"zero_optimization": {"stage": 3}}, "zero_optimization.stage is 3"),
    ],
)
def test_contradictions_are_refused(tmp_path, change, message):
    path = tmp_path / "ds.json"
    path.write_text(json.dumps(json.loads(SHIPPED.read_text()) | change))
    with pytest.raises(UserError, match=re.escape(message)):
        resolve_deepspeed_config(path, load_settings(), processes=2)


def test_unreadable_file_is_refused(tmp_path):
    with pytest.raises(UserError, match="cannot be read"):
        resolve_deepspeed_config(tmp_path / "none.json", load_settings(), processes=2)


def test_launcher_variables_are_not_overwritten(monkeypatch):
    monkeypatch.setenv("RANK", "3")
    for name in ("LOCAL_RANK", "WORLD_SIZE", "MASTER_ADDR", "MASTER_PORT"):
        monkeypatch.setenv(name, "1")
        monkeypatch.delenv(name)
    single_process_environment()
    import os

    assert os.environ["RANK"] == "3" and os.environ["WORLD_SIZE"] == "1"


def test_deepspeed_still_has_the_table_that_switches_the_build_off():
    import deepspeed.ops

    assert "deepspeed_shm_comm" in deepspeed.ops.__compatible_ops__
