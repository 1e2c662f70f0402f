"""Files around a coach and an export: what the Hub, git and desktops add passes, what a loader would read does not; and damage."""

import json
import subprocess
from pathlib import Path

import pytest
import torch
from tiny_coach import TinyCoach, perturb

from mm_adapter.checkpoint import run_record as run_directory
from mm_adapter.checkpoint.coach import SavedCoach, copy_coach, last_complete_checkpoint
from mm_adapter.checkpoint.run_record import write_run_record
from mm_adapter.checkpoint.seal import added, identity, is_complete, is_for_loaders, problems, read_manifest, seal
from mm_adapter.cli import main as mm_coach
from mm_adapter.export.read import check_export
from mm_adapter.export.write import export_coach

HARMLESS = [
    ".gitattributes", ".gitignore", ".git/config", ".git/objects/aa/model.safetensors", ".cache/huggingface/.gitignore",
    ".cache/huggingface/download/config.json.metadata", ".DS_Store", "video/.DS_Store", "._config.json",
    "._model.safetensors", "Thumbs.db", "desktop.ini", "__MACOSX/config.json", "LICENSE", "LICENSE.txt", "NOTICE",
    "USE_POLICY.md", "CARD.md", "figure.png", ".ipynb_checkpoints/config.json", ".Trash-1000/files/model.safetensors",
]  # fmt: skip
READ = [
    "more.safetensors", "model-00002-of-00002.safetensors", "adapter_config.json", "other_template.jinja",
    "additional_chat_templates/tool_use.jinja", "modeling_other.py", "pytorch_model.bin", "tokenizer.model", "merges.txt",
    "video/other.safetensors", "consolidated.00.pth", "params", "licenses.json", "LICENSE.json",
]  # fmt: skip


def place(folder: Path, name: str) -> Path:
    path = folder / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(b"\x00\x05\x16\x07 whatever")
    return path


@pytest.fixture
def opened(coach: TinyCoach) -> SavedCoach:
    perturb(coach)
    return SavedCoach(coach.model.eval(), coach.processor, coach.pose_tokenizer, {})


@pytest.mark.parametrize("name", HARMLESS)
def test_what_nobody_loads(name: str) -> None:
    assert not is_for_loaders(name)


@pytest.mark.parametrize("name", READ)
def test_what_somebody_may_load(name: str) -> None:
    assert is_for_loaders(name)


def test_an_export_may_come_from_the_hub_and_over_a_desktop(opened: SavedCoach, tmp_path: Path) -> None:
    folder = tmp_path / "export"
    export_coach(opened, folder, "coach")
    for name in HARMLESS:
        place(folder, name)
    (folder / "README.md").write_text("edited on the Hub")
    check_export(folder)
    assert mm_coach(["checkpoint", "verify", str(folder)]) == 0
    (folder / "README.md").unlink()
    check_export(folder)
    for name in READ:
        path = place(folder, name)
        with pytest.raises(ValueError, match=rf"{name} was added.*Delete them"):
            check_export(folder)
        path.unlink()
    for name in ("tokenizer_config.json", "chat_template.jinja", "config.json", "pose_tokenizer/config.json"):
        content = (folder / name).read_text()
        (folder / name).write_text(f"{content} ")
        with pytest.raises(ValueError, match=rf"{name} has \d+ bytes"):
            check_export(folder)
        (folder / name).write_text(content)
    check_export(folder)


@pytest.mark.parametrize("mode", ["lora", "full"])
def test_a_coach_may_too(tiny: Path, tmp_path: Path, mode: str) -> None:
    coach, folder = TinyCoach(tiny, mode), tmp_path / "coach"
    perturb(coach)
    place(folder, ".DS_Store")
    SavedCoach(coach.model, coach.processor, coach.pose_tokenizer, {}).save_pretrained(folder)
    assert ".DS_Store" not in read_manifest(folder)["files"], "what a desktop changes is not sealed"
    for name in [*HARMLESS, "language_model/._model.safetensors", "adapter/.DS_Store", "README.md"]:
        place(folder, name)
    assert problems(folder, everything=True) == [] == added(folder)
    again = SavedCoach.from_pretrained(folder)
    assert torch.equal(again.model.pose_head.weight, coach.model.pose_head.weight)
    assert mm_coach(["checkpoint", "verify", str(folder)]) == 0
    copy_coach_of(folder, tmp_path / "copy")
    assert identity(tmp_path / "copy") == identity(folder)


def copy_coach_of(folder: Path, out: Path) -> None:
    content = json.loads((folder / "complete.json").read_text())
    (folder / "complete.json").write_text(json.dumps({"step": 3, "files": content["files"]}, indent=1))
    copy_coach(folder, out)


# --- damage ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "content", ["", "{", "[]", "null", '{"files": {"a": 1}}', '{"files": {}}', '{"step": 1}', "\x00\x00"]
)
def test_a_damaged_seal_is_damage(tmp_path: Path, content: str) -> None:
    run = tmp_path / "run"
    for step in (1, 2):
        place(run, f"checkpoint-{step}/coach.safetensors")
        write_run_record(run / f"checkpoint-{step}", {"identity": "mine"})
        seal(run / f"checkpoint-{step}", step=step)
    write_run_record(run, {"identity": "mine"})
    (run / "checkpoint-2" / "complete.json").write_text(content)
    for read in (read_manifest, identity):
        with pytest.raises(ValueError, match=r"complete\.json (is damaged|lists no file)"):
            read(run / "checkpoint-2")
    assert not is_complete(run / "checkpoint-2") and is_complete(run / "checkpoint-1")
    assert len(problems(run / "checkpoint-2", everything=True)) == 1
    with pytest.raises(ValueError, match=r"complete\.json"):
        SavedCoach.from_pretrained(run / "checkpoint-2")
    assert last_complete_checkpoint(run) == run / "checkpoint-1"


def test_files_that_cannot_be_read_are_named(
    opened: SavedCoach, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = tmp_path / "coach"
    opened.save_pretrained(folder)
    whole = Path.open

    def denied(path: Path, *args: object, **options: object) -> object:
        if path.name == "coach.safetensors":
            raise PermissionError(13, "Permission denied")
        return whole(path, *args, **options)  # type: ignore[arg-type, call-overload]

    monkeypatch.setattr(Path, "open", denied)
    with pytest.raises(ValueError, match=r"coach\.safetensors cannot be read \(Permission denied\)"):
        SavedCoach.from_pretrained(folder)


def test_every_file_of_a_coach_can_be_cut(opened: SavedCoach, tmp_path: Path) -> None:
    folder = tmp_path / "coach"
    opened.save_pretrained(folder)
    for name in read_manifest(folder)["files"]:
        content = (folder / name).read_bytes()
        (folder / name).write_bytes(b"")
        with pytest.raises(ValueError, match=rf"is damaged: {name} has 0 bytes, {len(content)} were written"):
            SavedCoach.from_pretrained(folder)
        (folder / name).write_bytes(content)
    SavedCoach.from_pretrained(folder)


def test_another_kind_of_folder_is_no_coach(
    opened: SavedCoach, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    place(tmp_path / "matcher", "matcher.safetensors")
    seal(tmp_path / "matcher")
    with pytest.raises(FileNotFoundError, match=r"coach_config\.json is missing: the folder holds no coach"):
        SavedCoach.from_pretrained(tmp_path / "matcher")
    export_coach(opened, tmp_path / "export", "llama")
    with pytest.raises(ValueError, match="is an export; give the coach that it was made of"):
        SavedCoach.from_pretrained(tmp_path / "export")
    for command in (
        ["export", str(tmp_path / "export"), str(tmp_path / "again")],
        ["checkpoint", "inspect", str(tmp_path / "matcher")],
    ):
        assert mm_coach(command) == 2
        assert "Traceback" not in capsys.readouterr().err


# --- the commit that made a run --------------------------------------------------------------------------------------


def git(folder: Path, *arguments: str) -> str:
    settings = ["-c", "user.name=x", "-c", "user.email=x@y"]
    done = subprocess.run(["git", "-C", str(folder), *settings, *arguments], capture_output=True, text=True, check=True)
    return done.stdout.strip()


def test_the_commit_is_of_our_own_repository(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """An installed package lies inside its user's repository, which knows nothing of it."""
    package = tmp_path / "project" / ".venv" / "lib" / "mm_adapter"
    package.mkdir(parents=True)
    source = package / "run_directory.py"
    source.write_text("")
    monkeypatch.setattr(run_directory, "__file__", str(source))
    assert run_directory.git_commit() == "unknown"
    project = tmp_path / "project"
    git(project, "init", "-q")
    (project / "mine.txt").write_text("1")
    git(project, "add", "mine.txt")
    git(project, "commit", "-qm", "mine")
    assert run_directory.git_commit() == "unknown", "untracked there"
    (project / ".gitignore").write_text(".venv\n")
    assert run_directory.git_commit() == "unknown", "ignored there"
    git(project, "add", "-f", str(source))
    git(project, "commit", "-qm", "ours")
    commit = git(project, "rev-parse", "HEAD")
    assert run_directory.git_commit() == commit
    source.write_text("# changed")
    assert run_directory.git_commit() == f"{commit}+changes"
    monkeypatch.setenv("PATH", str(tmp_path))
    assert run_directory.git_commit() == "unknown", "no git"
