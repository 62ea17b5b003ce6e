import json
from dataclasses import asdict

import pytest

from settings import UserError, load_settings
from tests import tiny_world
from training.checkpoint import State
from training.run_folder import find_run, hold_run, identity, record_run, tokenizer_origin


def settings_of(tmp_path, *overrides):
    return load_settings(tmp_path / "config.json", overrides)


@pytest.fixture
def world(tmp_path):
    tiny_world.make_world(tmp_path)
    return tmp_path


def checkpoint_at(run, step):
    folder = run.checkpoints / f"step-{step:08d}"
    folder.mkdir(parents=True)
    (folder / "state.json").write_text(json.dumps(asdict(State(step, 1, 0, "t", "s"))))
    return folder


def test_paths_and_logging_do_not_make_another_run(world):
    plain = settings_of(world)
    same = settings_of(world, "train.log_every=7", "data.workers=9", "train.wandb=offline", "train.runs=elsewhere")
    assert identity(plain, {}) == identity(same, {})
    for change in ("train.learning_rate=0.1", "hidden_size=64", "data.min_chars=1", "train.seed=1"):
        assert identity(plain, {}) != identity(settings_of(world, change), {})
    assert identity(plain, {}) != identity(plain, {"zero_optimization": {"stage": 1}})


def test_a_run_is_new_then_resumed_then_finished(world):
    settings = settings_of(world)
    run = find_run(settings, {}, new=False)
    assert run.resume is None and len(run.name) == 8
    record_run(run, settings, {}, {"processes": 1})
    assert find_run(settings, {}, new=False) == run
    checkpoint = checkpoint_at(run, 2)
    assert find_run(settings, {}, new=False).resume == checkpoint
    checkpoint_at(run, settings.train.max_steps)
    assert not find_run(settings, {}, new=False).finished
    run.export.mkdir()
    assert find_run(settings, {}, new=False).finished
    assert find_run(settings, {}, new=True).name == f"{run.name}-2"


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
    (run.folder / "run.json").write_text("{")
    with pytest.raises(UserError, match=r"run\.json: cannot be read.*--new"):
        find_run(settings, {}, new=False)


def test_a_run_is_held_by_one_process(world):
    run = find_run(settings_of(world), {}, new=False)
    held = hold_run(run)
    with pytest.raises(UserError, match="another process is training this run"):
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
