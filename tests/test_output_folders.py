"""Recipes in folders and with features that are not what they expect: nothing of others is touched, views are the features'."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
from tiny_coach import CONFIG, ROOT, paths

# --- what others wrote ----------------------------------------------------------------------------------------------


def content(folder: Path) -> dict[str, bytes]:
    """Every file below a folder."""
    return {str(path.relative_to(folder)): path.read_bytes() for path in sorted(folder.rglob("*")) if path.is_file()}


@pytest.mark.parametrize(
    ("names", "message"),
    [
        (["checkpoint-5000/adapter_model.safetensors"], "holds checkpoint-5000, which this run did not write"),
        (["checkpoint-2/trainer_state.json"], "holds checkpoint-2, which this run did not write"),
        (["checkpoint-2/complete.json", "checkpoint-4/model.bin"], "holds checkpoint-2, checkpoint-4, which"),
        (["coach/adapter_model.safetensors"], "holds coach, which this run did not write"),
        (["trainer_state.json", "model.safetensors"], "holds trainer_state.json, which this run did not write"),
    ],
)
def test_an_output_folder_of_others_is_refused_and_stays_as_it_was(
    tiny: Path, tmp_path: Path, run_recipe: Callable[..., None], names: list[str], message: str
) -> None:
    for name in names:
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text("{}")
    before = content(tmp_path)
    with pytest.raises(ValueError, match=message):
        run_recipe(*CONFIG, *paths(tiny, tmp_path), "--max_steps", "2")
    assert content(tmp_path) == before


@pytest.mark.parametrize("record", ['{"data": {}, "architecture": {}}', "[]", "no JSON"])
def test_the_folder_of_another_kind_of_run_is_refused(
    tiny: Path, tmp_path: Path, run_recipe: Callable[..., None], record: str
) -> None:
    (tmp_path / "run_config.json").write_text(record)
    with pytest.raises(ValueError, match=r"belongs to something else|is no run's record"):
        run_recipe(*CONFIG, *paths(tiny, tmp_path), "--max_steps", "2")
    assert (tmp_path / "run_config.json").read_text() == record


def test_a_run_begun_with_other_settings_keeps_its_half_written_checkpoint(
    tiny: Path, tmp_path: Path, run_recipe: Callable[..., None]
) -> None:
    flags = [*CONFIG, *paths(tiny, tmp_path), "--max_steps", "2", "--save_steps", "2"]
    run_recipe(*flags)
    shutil.rmtree(tmp_path / "coach")
    (tmp_path / "checkpoint-2" / "complete.json").unlink()
    (tmp_path / "checkpoint-2" / "unfinished.json").write_text(
        json.dumps({"identity": json.loads((tmp_path / "run_config.json").read_text())["identity"]})
    )
    before = content(tmp_path)
    with pytest.raises(ValueError, match=r"learning_rate was 0.001, is 0.5"):
        run_recipe(*flags, "--learning_rate", "0.5")
    assert content(tmp_path) == before


def test_names_beside_checkpoints_are_passed_over(
    tiny: Path, tmp_path: Path, run_recipe: Callable[..., None], capsys: pytest.CaptureFixture[str]
) -> None:
    """A link to the last one, a copy of the best, an archive, a note, an empty folder and one from elsewhere."""
    flags = [*CONFIG, *paths(tiny, tmp_path), "--max_steps", "4", "--save_steps", "2", "--save_total_limit", "1"]
    run_recipe(*flags)
    assert [path.name for path in tmp_path.glob("checkpoint-*")] == ["checkpoint-4"]
    shutil.rmtree(tmp_path / "coach")
    for name in ("checkpoint-best", "checkpoint-100-from-cluster", "checkpoint-04"):
        shutil.copytree(tmp_path / "checkpoint-4", tmp_path / name)
    (tmp_path / "checkpoint-best" / "complete.json").unlink()
    (tmp_path / "checkpoint-latest").symlink_to("checkpoint-4")
    (tmp_path / "checkpoint-gone").symlink_to("nowhere")
    (tmp_path / "checkpoint-5.zip").write_bytes(b"zip")
    (tmp_path / "checkpoint-notes.txt").write_text("note")
    (tmp_path / "checkpoint-7").mkdir()
    names = {path.name for path in tmp_path.glob("checkpoint-*")}
    capsys.readouterr()
    run_recipe(*flags)
    assert f"Resuming from {tmp_path / 'checkpoint-4'}" in capsys.readouterr().out
    assert {path.name for path in tmp_path.glob("checkpoint-*")} == names
    assert (tmp_path / "coach" / "complete.json").is_file()


# --- views -----------------------------------------------------------------------------------------------------------


def with_views(store: Path, folder: Path, *views: str) -> Path:
    """A copy of a feature store that has only these views."""
    shutil.copytree(store, folder)
    for path in folder.rglob("*.npy"):
        if path.stem not in views:
            path.unlink()
    content = json.loads((folder / "manifest.json").read_text())
    content["views"] = list(views)
    content["sha256"] = {
        name: value for name, value in content["sha256"].items() if Path(name).stem in (*views, "index")
    }
    (folder / "manifest.json").write_text(json.dumps(content))
    return folder


@pytest.mark.parametrize("view", ["ego", "exo"])
def test_a_store_of_one_view_trains_a_coach_of_that_view(
    tiny: Path, tmp_path: Path, run_recipe: Callable[..., None], view: str
) -> None:
    features = ["--features", str(with_views(tiny / "features", tmp_path / "features", view))]
    flags = [*CONFIG, *paths(tiny, tmp_path / "run"), *features, "--max_steps", "1"]
    for asked in ([["exo"], ["ego"]][view == "exo"], ["ego", "exo"]):
        with pytest.raises(ValueError, match=f"--views .*: the features have {view} alone, so .* cannot be shown"):
            run_recipe(*flags, "--views", *asked)
    run_recipe(*flags)
    assert json.loads((tmp_path / "run" / "coach" / "coach_config.json").read_text())["views"] == [view]
    inputs = [f"--{name}={tiny / name}" for name in ("language_model", "tuples")]
    matcher = ["--config", "recipes/configs/matcher/tiny.yaml", *inputs, *features, "--max_steps", "1"]
    run_recipe(*matcher, "--output_dir", str(tmp_path / "matcher"), recipe="matcher")
    config = json.loads((tmp_path / "matcher" / "coach" / "matcher_config.json").read_text())
    assert config["views"] == [view]


def test_views_that_nothing_shows_are_refused(tiny: Path, tmp_path: Path, run_recipe: Callable[..., None]) -> None:
    (tmp_path / "blind.yaml").write_text(
        "".join(line for line in (ROOT / CONFIG[1]).read_text().splitlines(True) if not line.startswith("features"))
    )
    flags = [flag for flag in paths(tiny, tmp_path) if flag not in ("--features", str(tiny / "features"))]
    with pytest.raises(ValueError, match="--views ego: no features were given, so ego cannot be shown"):
        run_recipe("--config", str(tmp_path / "blind.yaml"), *flags, "--views", "ego")
    exo = with_views(tiny / "features", tmp_path / "exo", "exo")
    mixed = [
        f"--mix.0.tuples={tiny / 'tuples'}",
        f"--mix.0.pose_codes={tiny / 'pose_codes'}",
        f"--mix.0.features={exo}",
    ]
    with pytest.raises(
        ValueError, match=r"dialogue: the coach sees ego and exo, and .* exo alone, no ego. Give --views"
    ):
        run_recipe(*CONFIG, *paths(tiny, tmp_path), *mixed)
