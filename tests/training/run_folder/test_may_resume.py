from pathlib import Path

import pytest

from common.errors import UserError
from common.settings.load import load_settings
from training.run_folder.config_diff import changes, changes_text
from training.run_folder.may_resume import CHANGEABLE, check_changes

HERE = {"hidden_size": 32, "train": {"learning_rate": 0.1, "seed": 0}, "deepspeed": {"zero_optimization": {"stage": 2}}}
THERE = {
    "hidden_size": 32,
    "train": {"learning_rate": 0.2, "seed": 0},
    "deepspeed": {"zero_optimization": {"stage": 2}},
}


def test_what_differs_is_listed_old_and_new():
    found = changes(THERE, HERE)
    assert found == {"train.learning_rate": (0.2, 0.1)}
    check_changes(Path("runs/x"), found)
    assert changes_text(found) == "  train.learning_rate  0.2 -> 0.1"
    assert changes(HERE, HERE) == {}


def test_a_key_of_one_side_alone_differs():
    assert changes({}, {"train": {"on_spike": "log"}}) == {"train.on_spike": (None, "log")}


@pytest.mark.parametrize("section", ["hidden_size", "train.seed", "deepspeed.zero_optimization.stage", "data.out"])
def test_what_would_make_another_run_is_refused(section):
    with pytest.raises(UserError, match=rf"runs/x: cannot go on with {section}: 1 there, 2 here.*runs/x/config.json"):
        check_changes(Path("runs/x"), {section: (1, 2)})


def test_what_may_change_exists():
    settings = load_settings().to_dict()
    for key in CHANGEABLE:
        section, _, name = key.partition(".")
        assert section == "deepspeed" or name in settings[section], key
