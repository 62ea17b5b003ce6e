import json
import re

import pytest

from common.errors import UserError
from evaluation.plan_run import main


def planned(tmp_path, capsys, *arguments):
    assert main([*arguments, "--json", str(tmp_path / "plan.json")]) == 0
    return json.loads((tmp_path / "plan.json").read_text()), capsys.readouterr().out


def test_the_reference_run_on_two_a100(tmp_path, capsys):
    plan, shown = planned(tmp_path, capsys, "--gpu", "A100 80GB", "--gpus", "2", "--price", "2")
    assert "1,633,781,760 parameters in bfloat16" in shown and "ZeRO-2" in shown
    assert re.search(r"time +17\.4 days", shown) and "52.2B" in shown and "836 GPU-hours" in shown
    assert re.search(r"1,67\d", shown)  # 836 hours at 2 each
    (taken,) = re.findall(r"(\d+) of 24 .*<- taken", shown)
    assert int(taken) <= 1
    (chosen,) = (choice for choice in plan["choices"] if choice["auto"])
    assert chosen["layers"] == int(taken) and chosen["fits"] and sum(chosen["memory"].values()) == chosen["total"]


def test_less_memory_takes_more_checkpointing_and_says_what_does_not_fit(tmp_path, capsys):
    _, shown = planned(tmp_path, capsys, "--gpu", "A100 40GB", "--gpus", "2")
    (taken,) = re.findall(r"(\d+) of 24 .*<- taken", shown)
    assert 0 < int(taken) <= 24
    _, small = planned(tmp_path, capsys, "--gpu", "A100", "--memory", "10")
    assert "<- taken" not in small and small.count("does not fit") == 6


def test_hours_instead_of_tokens(tmp_path, capsys):
    _, shown = planned(tmp_path, capsys, "--gpu", "H100", "--hours", "24", "--mfu", "0.4")
    # 989e12 x 0.4 FLOP/s over 8.998e9 FLOPs a token, for a day
    assert re.search(r"3\.\d+B", shown) and "at 40% MFU" in shown


def test_a_plot_is_drawn(tmp_path, capsys):
    planned(tmp_path, capsys, "--gpu", "H200", "--plot", str(tmp_path / "plan.png"))
    assert (tmp_path / "plan.png").read_bytes().startswith(b"\x89PNG")


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (["--gpu", "Abacus"], "A100"),
        (["--gpu", "A100", "--gpus", "0"], "gpus"),
        (["--gpu", "A100", "--mfu", "2"], "mfu"),
    ],
)
def test_wrong_input_is_named(arguments, told, capsys):
    with pytest.raises((UserError, SystemExit)) as raised:
        main(arguments)
    assert told in str(raised.value) + capsys.readouterr().err
