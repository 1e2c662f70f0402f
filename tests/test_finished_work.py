"""Commands that leave finished work alone: only if it is what they would make again; otherwise they say what differs."""

import json
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from tiny_coach import FRAMES, TinyCoach, perturb

from mm_adapter.checkpoint import coach as checkpoints
from mm_adapter.checkpoint import embedded
from mm_adapter.checkpoint.coach import SavedCoach
from mm_adapter.cli import main as mm_coach
from mm_adapter.inference.coach import Coach
from mm_adapter.tasks.nae.format import NaeFormat
from mm_adapter.tasks.nae.miniature import write_dives
from mm_data.items.store import read_items, write_items
from mm_data.tasks import Answer
from mm_eval.answers.test_sets import OURS, TestItem, write_answers
from mm_tokenizers import PoseTokenizer, PoseTokenizerConfig, load_tokenizer, save_tokenizer

Shown = pytest.CaptureFixture[str]


@pytest.fixture(scope="module")
def saved(tiny: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two coaches of the same inputs, in the folders ``one`` and ``two``."""
    coach, folder = TinyCoach(tiny), tmp_path_factory.mktemp("coaches")
    for name in ("one", "two"):
        perturb(coach)
        SavedCoach(coach.model, coach.processor, coach.pose_tokenizer, {}).save_pretrained(folder / name)
    return folder


def files(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def retold(out: Path, command: list[str], capsys: Shown) -> str:
    """What a command says that has to refuse, and that it left the folder as it was."""
    before = files(out)
    capsys.readouterr()
    assert mm_coach(command) == 2, capsys.readouterr().out
    assert files(out) == before, "nothing is overwritten"
    return capsys.readouterr().err.replace("\n", " ")


def other_features(tiny: Path, folder: Path) -> Path:
    """The same encoder's store, another clip left out."""
    shutil.copytree(tiny / "features", folder)
    manifest = json.loads((folder / "manifest.json").read_text())
    manifest["sha256"] = {**manifest["sha256"], "index.json": "0" * 64}
    (folder / "manifest.json").write_text(json.dumps(manifest))
    return folder


def other_tuples(tiny: Path, folder: Path, split: str) -> Path:
    """The same tuples, one of them summarised in other words."""
    folder.mkdir()
    for path in (tiny / "tuples").iterdir():
        (folder / path.name).symlink_to(path)
    first, *others = read_items(tiny / "tuples", split)
    (folder / f"{split}.parquet").unlink()
    write_items(folder / f"{split}.parquet", [replace(first, references=["Jump."], truth=Answer("Jump.")), *others])
    return folder


def other_codes(tiny: Path, folder: Path) -> Path:
    return other_codes_of(tiny / "pose_codes", folder)


def other_codes_of(codes: Path, folder: Path) -> Path:
    """Codes of the same tokenizer and clips, some of them others."""
    shutil.copytree(codes, folder)
    changed = np.load(folder / "codes.npy")
    changed[:, 0, 0] = (changed[:, 0, 0] + 1) % 4
    np.save(folder / "codes.npy", changed)
    return folder


def test_answering_goes_on_with_the_same_inputs_alone(
    saved: Path, tiny: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: Shown
) -> None:
    out = tmp_path / "out"

    def command(
        coach: object = saved / "one",
        tuples: Path = tiny / "tuples",
        codes: Path = tiny / "pose_codes",
        features: Path = tiny / "features",
        *options: str,
    ) -> list[str]:
        inputs = [str(coach), str(tuples), str(out), "--codes", str(codes), "--features", str(features)]
        return ["answer", *inputs, *(options or ("--max-items", "3"))]

    assert mm_coach(command()) == 0
    monkeypatch.setattr(Coach, "answer_words", None)  # whoever asks, fails
    before = files(out)
    assert mm_coach(command()) == 0
    assert {n: c for n, c in files(out).items() if n[0] != "."} == {n: c for n, c in before.items() if n[0] != "."}
    assert "no/such/coach is neither a folder" in retold(out, command("/no/such/coach"), capsys)
    assert "holds no finished items" in retold(out, command(tuples=tmp_path / "none"), capsys)
    assert "coach was '" in retold(out, command(saved / "two"), capsys)
    for split in ("train", "test"):
        assert "content was '" in retold(out, command(tuples=other_tuples(tiny, tmp_path / split, split)), capsys)
    assert "poses was '" in retold(out, command(codes=other_codes(tiny, tmp_path / "codes")), capsys)
    assert "features was '" in retold(out, command(features=other_features(tiny, tmp_path / "features")), capsys)
    args = (saved / "one", tiny / "tuples", tiny / "pose_codes", tiny / "features")
    for options, said in (
        (["--max-items", "2"], "items was 3, is 2"),
        (["--max-items", "3", "--set", "privileged=true"], "privileged was False, is True"),
        (["--max-items", "3", "--set", "gallery=all"], "gallery was 'activity', is 'all'"),
        (["--max-items", "3", "--demonstrator", str(saved / "two")], "coach was '"),
        (["--max-items", "3", "--temperature", "0.5"], "sampling was"),
    ):
        assert said in retold(out, command(*args, *options), capsys)
    shutil.copytree(tiny / "tuples", tmp_path / "moved")
    assert mm_coach(command(tuples=tmp_path / "moved")) == 0, "where the inputs lie does not matter"


def test_a_run_that_is_scored_twice_gets_the_same_numbers(tiny: Path, tmp_path: Path) -> None:
    out, table = tmp_path / "run", tmp_path / "table"
    inputs = ["--codes", str(tiny / "pose_codes"), "--features", str(tiny / "features")]
    assert mm_coach(["answer", "nearest-neighbour:pose", str(tiny / "tuples"), str(out), *inputs]) == 0
    assert mm_coach(["eval", str(out), "--out", str(table)]) == 0
    first = (table / "table.md").read_text()
    before = json.loads((out / "metrics.json").read_text())
    assert mm_coach(["eval", str(out), "--out", str(table)]) == 0
    assert (table / "table.md").read_text() == first and json.loads((out / "metrics.json").read_text()) == before


def test_a_page_is_of_one_run(tmp_path: Path, capsys: Shown) -> None:
    def run(name: str, text: str) -> Path:
        items = [TestItem(f"item {n}", f"take {n}", "Soccer", Answer("Bend."), {OURS: Answer(text)}) for n in range(2)]
        write_answers(tmp_path / name, items)
        return tmp_path / name

    first, second, out = run("a", "Good one."), run("b", "Bad one."), tmp_path / "page"
    for name in ("training", "others"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "trainer_state.json").write_text(json.dumps({"log_history": [], "name": name}))
    task = ["--task", "desccoach"]
    training = ["--training", str(tmp_path / "training"), *task]
    assert mm_coach(["report", str(first), str(out), *training]) == 0, capsys.readouterr().err
    assert "Good one." in (out / "index.html").read_text()
    capsys.readouterr()
    assert mm_coach(["report", str(first), str(out), *training, "--started", "1"]) == 0
    assert "is up to date" in capsys.readouterr().out
    assert "answers was '" in retold(out, ["report", str(second), str(out), *training], capsys)
    assert "training was '" in retold(out, ["report", str(first), str(out), *task], capsys)
    other = ["--training", str(tmp_path / "others"), *task]
    assert "training was '" in retold(out, ["report", str(first), str(out), *other], capsys)
    assert "`mm-coach answer` writes it" in retold(out, ["report", str(tmp_path / "none"), str(out), *task], capsys)
    assert mm_coach(["report", str(first), str(first), *task]) == 2, (
        "the page's numbers would be written over the run's"
    )


def test_codes_are_of_one_tokenizer_and_of_these_poses(tiny: Path, tmp_path: Path, capsys: Shown) -> None:
    source, out = tmp_path / "tuples", tmp_path / "codes"
    shutil.copytree(tiny / "tuples", source)
    tokenizer = tiny / "pose_tokenizer" / "tokenizer"
    shape = load_tokenizer(tokenizer).architecture
    torch.manual_seed(1)
    save_tokenizer(PoseTokenizer(PoseTokenizerConfig(**vars(shape))), tmp_path / "another")

    def command(tokenizer: Path = tokenizer, frames: int = FRAMES) -> list[str]:
        return ["tokenizer", "encode", str(source), str(tokenizer), str(out), "--frames", str(frames)]

    assert mm_coach(command()) == 0
    before = files(out)
    capsys.readouterr()
    assert mm_coach(command()) == 0
    assert "is up to date" in capsys.readouterr().out and files(out) == before
    assert "tokenizer was " in retold(out, command(tmp_path / "another"), capsys)
    assert f"frames was {FRAMES}, is 5" in retold(out, command(frames=5), capsys)
    index = json.loads((out / "codes.json").read_text())
    codes = np.load(out / "codes.npy")
    (out / "codes.json").write_text(json.dumps({**index, "clips": index["clips"][:-2]}))
    np.save(out / "codes.npy", codes[:-2])
    assert mm_coach(command()) == 0, "clips that are new are encoded"
    assert files(out) == before
    (out / "codes.json").write_text(json.dumps({**index, "clips": ["elsewhere", *index["clips"][1:]]}))
    assert "1 of its" in retold(out, command(), capsys)
    (out / "codes.json").write_bytes(before["codes.json"])
    for path in (source / "poses").glob("*.npy"):
        poses = np.load(path)
        poses[..., 2] += 1
        np.save(path, poses)
    assert "clips have other poses than their codes" in retold(out, command(), capsys)


def test_a_language_model_folder_is_this_commands_own(
    tiny: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: Shown
) -> None:
    gguf, out = tmp_path / "model.gguf", tmp_path / "out"
    gguf.write_bytes(b"weights")
    monkeypatch.setattr(embedded, "_embedded_source", lambda: gguf)
    written = []

    def write(folder: Path) -> None:
        written.append(folder)
        shutil.copytree(tiny / "language_model", folder, dirs_exist_ok=True)

    monkeypatch.setattr(embedded, "write_embedded_language_model", write)
    assert mm_coach(["language-model", str(out)]) == 0
    assert mm_coach(["language-model", str(out)]) == 0 and written == [out]
    assert "is there already" in capsys.readouterr().out
    gguf.write_bytes(b"others")
    assert "source was '" in retold(out, ["language-model", str(out)], capsys)
    shutil.copytree(tiny / "language_model", tmp_path / "foreign")
    foreign = tmp_path / "foreign"
    assert "holds no finished model of this command" in retold(foreign, ["language-model", str(foreign)], capsys)
    (foreign / "model.safetensors").unlink()
    assert "is not empty" in retold(foreign, ["language-model", str(foreign)], capsys), "half of one is none"


@pytest.mark.parametrize("task", ["nae", "cot-afa", "desccoach", "expertaf"])
def test_a_miniature_is_one_task_size_and_seed(task: str, tmp_path: Path, capsys: Shown) -> None:
    out = tmp_path / "out"

    def command(*changes: str) -> list[str]:
        return ["miniature", str(out), "--task", task, "--takes", "8", "--no-videos", "--workers", "1", *changes]

    assert mm_coach(command()) == 0
    before = files(out)
    assert mm_coach(command()) == 0
    assert files(out) == before
    assert "seed was 0, is 1" in retold(out, command("--seed", "1"), capsys)
    assert "takes was 8, is 12" in retold(out, command("--takes", "12"), capsys)
    other = "nae" if task != "nae" else "cot-afa"
    assert f"task was '{task}', is '{other}'" in retold(out, command("--task", other), capsys)
    foreign = tmp_path / "foreign"
    foreign.mkdir()
    (foreign / "notes.txt").write_text("mine")
    assert "holds notes.txt" in retold(foreign, ["miniature", str(foreign), "--task", task, "--no-videos"], capsys)


def test_answers_go_on_with_the_same_items_and_poses_alone(
    tiny: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: Shown
) -> None:
    monkeypatch.setattr(NaeFormat, "max_new_tokens", 8)
    coach, out = TinyCoach(tiny, video=False), tmp_path / "answers"
    SavedCoach(coach.model, coach.processor, coach.pose_tokenizer, {}).save_pretrained(tmp_path / "coach")
    write_dives(tmp_path / "release", 32, seed=0, workers=1, videos=False)
    poses, tokenizer = tmp_path / "release" / "poses", tiny / "pose_tokenizer" / "tokenizer"
    items = tmp_path / "items"
    assert mm_coach(["task", "read", "nae", str(tmp_path / "release"), str(items), "--poses", str(poses)]) == 0
    encode = ["tokenizer", "encode", str(items), str(tokenizer), str(items / "pose_codes"), "--frames", str(FRAMES)]
    assert mm_coach(encode) == 0
    asked = []

    def fetch(name: str, revision: str | None = None) -> str:
        asked.append(name)
        return str(tmp_path / "coach")

    monkeypatch.setattr(checkpoints, "snapshot_download", fetch)
    command = ["answer", "someone/coach", str(items), str(out), "--max-items", "2"]
    assert mm_coach(command) == 0 and asked == ["someone/coach"]
    assert mm_coach([*command[:1], str(tmp_path / "coach"), *command[2:]]) == 0, "the same coach"
    other = ["--codes", str(other_codes_of(items / "pose_codes", tmp_path / "codes"))]
    assert "poses was '" in retold(out, [*command, *other], capsys)
    assert "items was 2, is 3" in retold(out, [*command[:-1], "3"], capsys)
    first, *others = read_items(items, "test")
    write_items(items / "test.parquet", [replace(first, references=["Another dive."]), *others])
    assert "content was '" in retold(out, command, capsys)


def test_a_tables_row_is_of_its_settings_and_its_coach(
    saved: Path, tiny: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: Shown
) -> None:
    """A row that is there is shown again only for the same settings, the same flags and the coach that was evaluated."""
    config = {
        "tuples": str(tiny / "tuples"),
        "pose_codes": str(tiny / "pose_codes"),
        "features": str(tiny / "features"),
    }
    (tmp_path / "preset.yaml").write_text(json.dumps({**config, "max_steps": 2}))
    rows = tmp_path / "rows.yaml"
    rows.write_text("- {row: mine, train: {lora_r: 4}}")
    trained = []

    def train(command: list[str]) -> None:
        folder = Path(command[command.index("--output_dir") + 1])
        trained.append(command[-2:])
        shutil.copytree(saved / "one", folder / "coach")
        (folder / "trainer_state.json").write_text(json.dumps({"log_history": [{"train_runtime": 60.0}]}))

    monkeypatch.setattr("mm_adapter.evaluation.table.run_training", train)
    out = tmp_path / "out"
    command = ["table", "expertaf", str(out), "--config", str(tmp_path / "preset.yaml"), "--variants", str(rows)]
    command += ["--max-items", "2"]

    def note(*options: str) -> str:
        assert mm_coach([*command, *options]) == 1
        return capsys.readouterr().err

    assert mm_coach(command) == 0 and mm_coach(command) == 0
    assert trained == [["--lora_r", "4"]]
    assert "was trained with other settings" in note("--set", "max_steps=3")
    rows.write_text("- {row: mine, train: {lora_r: 8}}")
    assert "was trained with other settings" in note()
    rows.write_text("- {row: mine, train: {lora_r: 4}}")
    shutil.rmtree(out / "mine" / "training" / "coach")
    shutil.copytree(saved / "two", out / "mine" / "training" / "coach")
    assert "coach was" in note()
    assert mm_coach([*command, "--collect"]) == 0, "collecting takes what is there"
