"""Settings of `mm-coach data build` and `label`: a YAML file, flags that win, and what is refused."""

from pathlib import Path

import pytest
from tiny_coach import ROOT

from mm_adapter.cli import app, main
from mm_adapter.cli.data.build import DataConfig
from mm_data.tuples.build import BuildOptions


def settings(*words: str) -> DataConfig:
    """What the words of `mm-coach data build` come to."""
    _, bound, _ = app.parse_args(["data", "build", *words])
    return bound.arguments.get("settings", DataConfig())


@pytest.mark.parametrize("preset", sorted((ROOT / "recipes/configs/data").glob("*.yaml")), ids=lambda path: path.stem)
def test_presets_are_read(preset: Path) -> None:
    config = settings("DATA", "TUPLES", "--config", str(preset))
    assert config.paths() == (Path("DATA"), Path("TUPLES"))
    assert config.options().activities == ("Basketball", "Soccer", "Rock Climbing")
    assert config.options().pairing.experts_train == 5
    assert config.reviewed_only is (preset.stem == "egoexo4d_gold")


def test_without_a_flag_the_library_decides() -> None:
    assert settings("DATA", "TUPLES").options() == BuildOptions()


def test_flags_win_over_the_file_and_a_switch_can_be_turned_off(tmp_path: Path) -> None:
    file = tmp_path / "build.yaml"
    file.write_text("source: A\nout: B\nstride: 6\ntimeout: 3\nreviewed_only: true\nallow_unaligned: true\n")
    config = settings("--config", str(file))
    assert config.paths() == (Path("A"), Path("B"))
    assert (config.stride, config.timeout, config.reviewed_only, config.allow_unaligned) == (6, 3.0, True, True)
    config = settings("C", "--stride", "2", "--no-reviewed-only", "--no-allow-unaligned", "--config", str(file))
    assert config.paths() == (Path("C"), Path("B"))
    assert (config.stride, config.timeout, config.reviewed_only, config.allow_unaligned) == (2, 3.0, False, False)


@pytest.mark.parametrize("step", ["build", "label"])
@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("windw: 2.0", "unknown key 'windw'; known are source, out,"),
        ("experts_trian: 2", "Did you mean experts_train?"),
        ("config: other.yaml", "unknown key 'config'"),
        ("estimate: true", "unknown key 'estimate'"),
        ("stride: three", "stride is 'three'; expected int."),
        ("stride: 2.5", "stride is 2.5; expected int."),
        ("stride: true", "stride is True; expected int."),
        ("workers:", "workers is None; expected int."),
        ("reviewed_only: 1", "reviewed_only is 1; expected bool."),
        ("activities: [Soccer]", "activities is ['Soccer']; expected str."),
        ("labeller: gut", 'Choose from: "rules", "polarity", "llm"'),
        ("- stride", "holds a list; lines like `stride: 3` are needed."),
        ("stride: [", "not valid YAML"),
    ],
)
def test_a_file_that_says_something_else_is_refused(
    step: str, text: str, message: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / "build.yaml"
    file.write_text(text)
    assert main(["data", step, "DATA", str(tmp_path / "out"), "--config", str(file)]) == 2
    printed = capsys.readouterr().err
    assert message in printed and str(file) in printed and "Traceback" not in printed
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ([], "Give a data set and a folder for the result"),
        (["DATA"], "Give a data set and a folder for the result"),
        (
            ["DATA", "OUT", "--config", "nosuch.yaml"],
            "nosuch.yaml does not exist; recipes/configs/data/ holds examples.",
        ),
        (["DATA", "OUT", "--reviewd-only"], "Did you mean"),
        (["DATA", "OUT", "--no-stride"], "--no-stride"),
        (["DATA", "OUT", "--stride", "many"], "--stride"),
        (["nosuch", "OUT"], "Data set folder nosuch does not exist."),
    ],
)
def test_a_command_line_that_cannot_be_meant_is_refused(
    words: list[str], message: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    assert main(["data", "build", *words]) == 2
    assert message in capsys.readouterr().err and not list(tmp_path.iterdir())
