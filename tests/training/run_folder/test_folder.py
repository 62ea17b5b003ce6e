import json
import os

import pytest

from common.errors import UserError
from common.settings.load import load_settings
from tests.helpers import tiny_world
from training.run_folder.folder import (
    hold_run,
    holder,
    identity,
    note_finished,
    record_run,
    run_folder,
    tokenizer_origin,
)
from training.run_folder.may_resume import find_run, resumed_run


def settings_of(tmp_path, *overrides):
    return load_settings(tmp_path / "config.json", overrides)


@pytest.fixture
def world(tmp_path):
    tiny_world.make_world(tmp_path)
    return tmp_path


def test_paths_and_logging_do_not_make_another_run(world):
    plain = settings_of(world)
    same = settings_of(world, "train.log_every=7", "data.workers=9", "train.wandb=offline", "train.runs=elsewhere")
    assert identity(plain, {}) == identity(same, {})
    for change in ("train.learning_rate=0.1", "hidden_size=64", "data.min_chars=1", "train.seed=1"):
        assert identity(plain, {}) != identity(settings_of(world, change), {})
    assert identity(plain, {}) != identity(plain, {"zero_optimization": {"stage": 1}})


def test_a_run_is_new_then_goes_on_then_is_finished(world):
    settings = settings_of(world)
    run = find_run(settings, {}, new=False)
    assert not run.finished and len(run.name) == 8
    record_run(run, settings, {}, {"processes": 1})
    assert find_run(settings, {}, new=False) == run
    note_finished(run, settings.train.max_steps, early=False)
    assert not find_run(settings, {}, new=False).finished  # no export: killed in between
    run.export.mkdir()
    assert find_run(settings, {}, new=False).finished
    assert find_run(settings, {}, new=True).name == f"{run.name}-2"
    note_finished(run, settings.train.max_steps - 1, early=False)
    assert not find_run(settings, {}, new=False).finished
    note_finished(run, 1, early=True)
    assert find_run(settings, {}, new=False).finished
    (run.folder / "finished.json").write_text("{")
    with pytest.raises(UserError, match=r"finished\.json: cannot be read"):
        find_run(settings, {}, new=False)


def test_a_run_goes_on_with_what_may_change_and_keeps_its_name(world):
    settings = settings_of(world)
    run = find_run(settings, {}, new=False)
    record_run(run, settings, {}, {"step": 0})
    edited = settings_of(world, "train.learning_rate=0.5", "train.max_steps=9")
    resumed = resumed_run(run.folder, edited, {})
    assert resumed.folder == run.folder
    assert resumed.changed == {"train.learning_rate": (0.002, 0.5), "train.max_steps": (4, 9)}
    record_run(resumed, edited, {}, {"step": 2})
    starts = json.loads((run.folder / "run.json").read_text())["starts"]
    assert [start["step"] for start in starts] == [0, 2]
    assert starts[1]["changed"] == {"train.learning_rate": [0.002, 0.5], "train.max_steps": [4, 9]}
    assert find_run(edited, {}, new=False).folder == run.folder  # the plain command finds it
    with pytest.raises(UserError, match=r"another configuration \(train.learning_rate: 0.5 there, 0.002 here"):
        find_run(settings, {}, new=False)
    with pytest.raises(UserError, match="cannot go on"):
        resumed_run(run.folder, settings_of(world, "hidden_size=64"), {})


@pytest.mark.parametrize(
    "change",
    ["hidden_size=64", "train.seq_len=16", "train.seed=1", "data.min_chars=1", "dtype=float32", "train.adam_beta1=0.5"],
)
def test_what_would_make_another_run_is_refused_with_both_values(world, change):
    settings = settings_of(world, "dtype=bfloat16")
    run = find_run(settings, {}, new=False)
    record_run(run, settings, {}, {})
    with pytest.raises(UserError, match=rf"{change.partition('=')[0]}: .* there, .* here"):
        resumed_run(run.folder, settings_of(world, "dtype=bfloat16", change), {})


def test_an_export_of_an_earlier_end_is_not_that_of_a_run_that_goes_on(world):
    settings = settings_of(world)
    run = find_run(settings, {}, new=False)
    record_run(run, settings, {}, {"step": 0})
    run.export.mkdir()
    note_finished(run, settings.train.max_steps, early=False)
    record_run(run, settings, {}, {"step": 4})
    assert not run.export.exists() and (run.folder / "export.previous").exists()
    assert not find_run(settings, {}, new=False).finished


def test_a_folder_that_is_no_run_is_named(world):
    with pytest.raises(UserError, match="not a run that was started"):
        resumed_run(world, settings_of(world), {})
    assert run_folder("name", settings_of(world)) == world / "runs/name"
    with pytest.raises(UserError, match="no run is named"):
        run_folder(" ", settings_of(world))
    assert run_folder(str(world), settings_of(world)) == world


def test_a_name_taken_by_another_configuration_is_refused(world):
    first = settings_of(world, "train.run_name=mine")
    record_run(find_run(first, {}, new=False), first, {}, {})
    edited = settings_of(world, "train.run_name=mine", "train.learning_rate=0.5")
    with pytest.raises(UserError, match=r"learning_rate: 0\.002 there, 0\.5 here"):
        find_run(edited, {}, new=False)
    assert find_run(edited, {}, new=True).name == "mine-2"


def test_the_recorded_configuration_can_be_used_again(world):
    settings = settings_of(world)
    run = find_run(settings, {}, new=False)
    record_run(run, settings, {}, {})
    assert load_settings(run.folder / "config.json") == settings
    assert set(json.loads((run.folder / "run.json").read_text())) >= {"versions", "git_commit", "identity", "command"}


def test_of_several_runs_of_a_name_the_one_of_this_configuration_goes_on(world):
    first = settings_of(world, "train.run_name=mine")
    record_run(find_run(first, {}, new=False), first, {}, {})
    edited = settings_of(world, "train.run_name=mine", "train.learning_rate=0.5")
    record_run(find_run(edited, {}, new=True), edited, {}, {})
    assert find_run(first, {}, new=False).name == "mine"
    assert find_run(edited, {}, new=False).name == "mine-2"


def test_a_damaged_record_is_named(world):
    settings = settings_of(world, "train.run_name=mine")
    run = find_run(settings, {}, new=False)
    record_run(run, settings, {}, {})
    for content in ("{", '{"identity": 5}', '{"identity": {}, "starts": 3}', "[]"):
        (run.folder / "run.json").write_text(content)
        with pytest.raises(UserError, match=r"run\.json: cannot be read.*--new"):
            find_run(settings, {}, new=False)


def test_a_run_is_held_by_one_process(world):
    run = find_run(settings_of(world), {}, new=False)
    held = hold_run(run)
    assert holder(run.folder) == (os.getpid(), os.uname().nodename)
    with pytest.raises(UserError, match=rf"process {os.getpid()} on .* is training this run; .*--stop"):
        hold_run(run)
    held.close()
    hold_run(run).close()


def test_a_tokenizer_of_another_text_or_other_knobs_is_told_and_makes_no_other_run(world):
    settings, manifest = settings_of(world), world / "tokenizer/tokenizer_manifest.json"

    def origin(settings):
        return tokenizer_origin(world / "tokenizer", settings, "a" * 64)

    assert origin(settings) == {"input_sha256": None, "knobs": None, "differences": []}
    knobs = {"vocab_size": settings.model.vocab_size, "seed": 0, "a knob of earlier days": 1}
    manifest.write_text(json.dumps({"input": {"sha256": "a" * 64}, "knobs": knobs}))
    assert origin(settings) == {"input_sha256": "a" * 64, "knobs": knobs, "differences": []}
    changed = settings_of(world, "tokenizer.seed=5")
    assert identity(changed, {}) == identity(settings, {})
    (told,) = origin(changed)["differences"]
    assert told.endswith("was trained with seed 0, the configuration has 5")
    manifest.write_text(json.dumps({"input": {"sha256": "b" * 64}, "knobs": knobs}))
    (told,) = origin(settings)["differences"]
    assert "another text (sha256 bbbbbbbbbbbb) than this run's train split (aaaaaaaaaaaa)" in told
    for damaged in ("", "{}", "[]", '{"input": 3}'):
        manifest.write_text(damaged)
        (told,) = origin(settings)["differences"]
        assert "tokenizer_manifest.json: cannot be read" in told


def test_the_layout_of_the_splits_makes_no_other_run(world):
    layout = ("data.compress=true", "data.output_file_bytes=1000000")
    assert identity(settings_of(world), {}) == identity(settings_of(world, *layout), {})
