"""What a recipe says of its flags and its configuration."""

import subprocess
import sys
from dataclasses import dataclass, field
from pathlib import Path

import pytest
from tiny_coach import ROOT

from mm_adapter.cli.recipe_parser import RecipeParser


@dataclass
class Settings:
    """Two settings."""

    learning_rate: float = field(default=1e-3)
    max_steps: int = field(default=5)


def parse(*words: str) -> Settings:
    return RecipeParser(Settings).parse_args_and_config(words)[0]


def test_flags_win_over_the_configuration(tmp_path: Path) -> None:
    config = tmp_path / "c.yaml"
    config.write_text("learning_rate: 0.5\nmax_steps: 7\n")
    for words in (("--config", str(config)), (f"--config={config}",)):
        assert parse(*words, "--max_steps", "9") == Settings(0.5, 9)
    assert parse() == Settings() and parse("--max-steps=2") == Settings(1e-3, 2)


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["--learning_rat", "1"], "Unknown flags: --learning_rat 1. Did you mean --learning_rate?"),
        (["--max", "1"], "Unknown flags: --max 1."),
        (["--max_steps", "x"], "invalid int value: 'x'. --help lists all flags."),
        (["--max_steps"], "expected one argument. --help lists all flags."),
        (["stray"], "Unknown flags: stray."),
        (["--config"], "--config needs a file."),
        (["--config", "PATH/tinny.yaml"], "PATH/tinny.yaml is not there. Did you mean tiny.yaml?"),
        (["--config", "PATH/none/c.yaml"], "PATH/none/c.yaml is not there."),
        (["--config", "PATH"], "PATH is not there."),
        (["--config", "PATH/list.yaml"], "list.yaml has to map names to values"),
        (["--config", "PATH/broken.yaml"], "broken.yaml is no YAML: "),
        (["--config", "PATH/keys.yaml"], "keys that this recipe does not know: max_step. Did you mean max_steps?"),
    ],
)
def test_what_is_wrong_is_a_sentence(words: list[str], said: str, tmp_path: Path) -> None:
    for name, content in (("tiny", "max_steps: 1"), ("list", "- 1"), ("broken", "a: [1"), ("keys", "max_step: 1")):
        (tmp_path / f"{name}.yaml").write_text(content)
    with pytest.raises((ValueError, FileNotFoundError)) as refused:
        parse(*(word.replace("PATH", str(tmp_path)) for word in words))
    assert said.replace("PATH", str(tmp_path)) in str(refused.value)


@pytest.mark.parametrize(
    ("failure", "traceback"),
    [("raise ValueError('Give --features.')", False), ("open('/no/such')", False), ("{}['clip_17']", True)],
)
def test_a_script_ends_with_a_sentence_or_with_a_fault_of_ours(failure: str, traceback: bool) -> None:
    code = f"from mm_adapter.errors import show_sentences\nshow_sentences()\n{failure}"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=ROOT)
    assert done.returncode == 1 and ("Traceback" in done.stderr) == traceback
    assert traceback or done.stderr.strip() in ("-c: Give --features.", "-c: /no/such is not there.")
