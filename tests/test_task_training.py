"""Coaches of the other tasks through the real recipes and commands, on miniatures without videos and a random model."""

import json
import re
import runpy
import shutil
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from tiny_coach import ROOT, TinyCoach, collated

from mm_adapter.cli import main
from mm_adapter.inference.asking import hold
from mm_adapter.inference.coach import Coach
from mm_adapter.samples.clip_stores import NoPoses
from mm_adapter.samples.dataset import CoachDataset
from mm_adapter.samples.sources import TaskSource, tuple_sources
from mm_adapter.tasks.cot_afa import COT_AFA
from mm_adapter.tasks.cot_afa.format import CotAfaFormat, CotAfaOptions
from mm_adapter.tasks.cot_afa.miniature import write_gym
from mm_adapter.tasks.nae import NAE
from mm_adapter.tasks.nae.format import NaeFormat, NaeOptions
from mm_adapter.tasks.nae.miniature import write_dives
from mm_data.conversation import Message
from mm_data.features import FeatureStore
from mm_data.items.manifest import ItemManifest
from mm_data.items.store import read_items, write_items
from mm_data.tasks.questions import Choice, Words
from mm_data.tasks.task import EXPECTED_SCORE
from mm_eval.answers.test_sets import OURS, TRAINING, About, evenly_spaced, read_answers, variant_of_ours
from mm_tokenizers.codes import PoseCodeStore

SETTINGS = [
    "--config", "recipes/configs/expertaf/tiny.yaml", "--max_steps", "2", "--save_strategy", "no", "--pose_frames", "3",
    "--max_length", "4096",
]  # fmt: skip


@pytest.fixture(scope="module")
def tasks(tiny: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Items of NAE and CoT-AFA with pose codes."""
    root = tmp_path_factory.mktemp("tasks")
    write_dives(root / "nae_release", 32, seed=0, workers=1, videos=False)
    write_gym(root / "cot-afa_release", 32, seed=0, workers=1, videos=False)
    for task in ("nae", "cot-afa"):
        release = root / f"{task}_release"
        for command in (
            ["task", "read", task, release, root / task, "--poses", release / "poses"],
            ["tokenizer", "encode", root / task, tiny / "pose_tokenizer" / "tokenizer", root / task / "pose_codes", "--frames", "3"],
        ):  # fmt: skip
            assert main([str(part) for part in command]) == 0
    return root


@pytest.fixture(autouse=True)
def short_answers(monkeypatch: pytest.MonkeyPatch) -> None:
    """A random model never stops by itself."""
    for form in (NaeFormat, CotAfaFormat):
        monkeypatch.setattr(form, "max_new_tokens", 24)


@pytest.fixture
def recipe(tiny: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Callable[..., Path]:
    """Runs a recipe in this process and returns the coach."""
    text = (ROOT / "recipes/configs/expertaf/tiny.yaml").read_text()
    shared = "\n".join(
        line for line in text.splitlines() if not re.match(r"tuples|pose_codes|features|formats|expert_drop|#", line)
    )
    (tmp_path / "tiny.yaml").write_text(shared)

    def run(path: str, out: str, *flags: str | Path) -> Path:
        monkeypatch.chdir(ROOT)
        common = [
            *SETTINGS, "--language_model", tiny / "language_model", "--pose_tokenizer", tiny / "pose_tokenizer" / "tokenizer",
            "--output_dir", tmp_path / out,
        ]  # fmt: skip
        common[1] = tmp_path / "tiny.yaml"
        monkeypatch.setattr(sys, "argv", [path, *(str(part) for part in (*common, *flags))])
        runpy.run_path(path, run_name="__main__")
        return tmp_path / out / "coach"

    return run


def source(tasks: Path, coach: TinyCoach, options: NaeOptions = NaeOptions(), share: float = 1.0) -> TaskSource:  # noqa: B008
    form = NAE.format(ItemManifest.read(tasks / "nae").knowledge, options)
    codes = PoseCodeStore.load(tasks / "nae" / "pose_codes")
    return TaskSource("nae", read_items(tasks / "nae", "train"), form, share, codes, None, seed=0)


# --- samples ---------------------------------------------------------------------------------------------------------


def test_a_mixture_measures_what_it_encodes_and_its_references_take_turns(tasks: Path, tiny: Path) -> None:
    coach = TinyCoach(tiny, video=False)
    tuples = tuple_sources(coach.train[:4], {"dialogue": 1.0}, coach.codes, None, 1.0, seed=0)
    data = CoachDataset([*tuples, source(tasks, coach, share=0.5)], coach.processor, 4096, seed=0)
    assert [number for number, _ in data.items].count(1) == 12, "half of the 24 dives"
    seen: dict[str, set[str]] = {}
    for epoch in range(10):
        data.set_epoch(epoch)
        assert data.lengths(epoch) == [len(data.encode(i).input_ids) for i in range(len(data))]
        for i, (number, _) in enumerate(data.items):
            if number:
                name, _, reference = data.conversation(i).sample_id.partition("#")
                seen.setdefault(name, set()).add(reference)
    assert len(seen) == 24 and all(len(references) == 5 for references in seen.values())
    one = source(tasks, coach)
    begun = TaskSource("nae", one.items, one.form, 1.0, one.poses, None, seed=0, short_epochs=2)
    data = CoachDataset([begun], coach.processor, 4096, seed=0)
    for epoch in (0, 1, 2):
        data.set_epoch(epoch)
        assert data.lengths(epoch) == [len(data.encode(i).input_ids) for i in range(len(data))]
        assert data.conversation(0).sample_id.endswith("#short") == (epoch < 2)


def test_clips_without_poses_or_without_a_view_share_a_batch_with_whole_ones(tasks: Path, tiny: Path) -> None:
    """An item with the exo view alone fills no ego placeholder, and its loss is what it is alone."""
    coach = TinyCoach(tiny)
    store = FeatureStore(tiny / "features")
    clip = next(iter(store))
    item = replace(read_items(tasks / "nae", "train")[0], has_poses=False)
    item = replace(item, clip=replace(item.clip, clip_id=clip, videos={"exo": "x.mp4"}))
    form = NAE.format(ItemManifest.read(tasks / "nae").knowledge, NaeOptions())
    one = TaskSource("nae", [item], form, 1.0, NoPoses(), store, seed=0)
    tuples = tuple_sources(coach.train[:1], {"commentary": 1.0}, coach.codes, coach.features, 1.0, seed=0)
    data = CoachDataset([*tuples, one], coach.processor, 4096, seed=0)
    samples = [data[0], data[1]]
    assert samples[1]["ego"] is None and samples[1]["exo"].shape[0] == 1
    coach.model.eval()
    with torch.no_grad():
        losses = [float(coach.model(**collated(coach, part, "packed"), num_items_in_batch=1).loss) for part in (samples, samples[:1], samples[1:])]  # fmt: skip
    assert losses[0] == pytest.approx(losses[1] + losses[2], rel=1e-5)
    blind = replace(item, clip=replace(item.clip, videos={"side": "x.mp4"}))
    with pytest.raises(ValueError, match="the clip has none of them"):
        CoachDataset([TaskSource("nae", [blind], form, 1.0, NoPoses(), store, seed=0)], coach.processor, 4096, seed=0)


def test_the_first_pass_ranks_by_the_whole_name(tasks: Path, tiny: Path) -> None:
    """A name that begins another one gains nothing by being shorter: ends of turns count. The expected score is the mean that it says."""
    coach = TinyCoach(tiny, video=False)
    coach.model.eval()
    asked = Coach(coach.model, coach.processor, PoseCodeStore.load(tasks / "cot-afa" / "pose_codes"), None)
    item = read_items(tasks / "cot-afa", "test")[0]
    form = COT_AFA.format({"steps": {"squat": ["a", "b"], "squat jump": ["a", "b"]}}, CotAfaOptions())
    record = hold({item.item_id: form.questions(item)}, asked)[item.item_id]
    (choice,) = next(form.questions(item))
    assert isinstance(choice, Choice) and list(record["ranking"]) == list(choice.candidates)

    def alone(messages: list[Message], begun: str, answer: str, ends: bool = True) -> float:
        """Log-likelihood of an answer's tokens behind what it begins with, in one pass over all of it."""
        tokenizer, end = coach.processor.tokenizer, [coach.processor.end_of_turn_id]
        prompt = [*asked.prompt(messages, "x")["input_ids"], *tokenizer.encode(begun, add_special_tokens=False)]
        ids = tokenizer.encode(answer, add_special_tokens=False) + (end if ends else [])
        whole = torch.tensor([[*prompt, *ids]])
        with torch.no_grad():
            logits = coach.model(input_ids=whole, attention_mask=torch.ones_like(whole)).logits[0].log_softmax(-1)
        return sum(float(logits[len(prompt) + n - 1, token]) for n, token in enumerate(ids))

    for name, likely in record["ranking"].items():
        assert likely == pytest.approx(alone(choice.messages, "", name), abs=1e-3)
    dive = read_items(tasks / "nae", "test")[0]
    nae = NAE.format({**ItemManifest.read(tasks / "nae").knowledge, "scores": [10.0, 20.0]}, NaeOptions())
    asked = Coach(coach.model, coach.processor, PoseCodeStore.load(tasks / "nae" / "pose_codes"), None)
    record = hold({"x": nae.questions(dive)}, asked)["x"]
    (question,) = next(nae.questions(dive))
    assert isinstance(nae, NaeFormat) and isinstance(question, Words)
    slot = nae.score_slot(record["text"])
    likely = [alone(question.messages, slot.before, f" {text}", slot.last) for text in slot.values]
    shares = np.exp(np.array(likely) - max(likely)) / np.exp(np.array(likely) - max(likely)).sum()
    assert record["expected"] == pytest.approx(shares @ [10.0, 20.0], abs=1e-3) and 10 < record["expected"] < 20


# --- answers made elsewhere ------------------------------------------------------------------------------------------


def answer_file(tasks: Path, path: Path, content: str, capsys: pytest.CaptureFixture[str]) -> tuple[int, str]:
    """Status and message of `answer` with a file for a system."""
    path.write_text(content)
    status = main(["answer", str(path), str(tasks / "nae"), str(path.with_suffix(".out")), "--max-items", "2"])
    return status, capsys.readouterr().err


def test_answers_made_elsewhere_stand_in_the_same_table(
    tasks: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """What a row states counts; what it does not is read from its text as every answer is."""
    test = read_items(tasks / "nae", "test")
    first, second = (item.item_id for item in evenly_spaced(test, 2))
    rows = [f"{item.item_id};A pike dive. It scores 61.5 points.;;" for item in test if item.item_id != first]
    content = "\n".join(["item_id;text;score;actions", f"{first};Nice.;55.5;pike; ", *rows]).replace("pike; ", "pike")
    assert answer_file(tasks, tmp_path / "theirs.csv", content, capsys)[0] == 0
    by_id = {item.item_id: item for item in read_answers(tmp_path / "theirs.out")}
    assert by_id.keys() == {first, second}
    stated, read = by_id[first].answers[OURS], by_id[second].answers[OURS]
    assert (stated.text, stated.score, stated.actions, stated.unread) == ("Nice.", 55.5, ["pike"], None)
    assert (read.score, read.actions) == (61.5, ["pike"]) and by_id[first].nearest.keys() == {"pose"}
    notes = About.read(tmp_path / "theirs.out").notes
    assert "theirs.csv, made elsewhere: what their system was trained on and shown is not known here." in notes[0]
    lines = [{"item_id": item.item_id, "text": "A dive.", "ranking": {"a": -1, "b": -2.5}} for item in test]
    content = "\n".join(map(json.dumps, lines))
    assert answer_file(tasks, tmp_path / "lines.jsonl", content, capsys)[0] == 0
    assert read_answers(tmp_path / "lines.out")[0].answers[OURS].ranking == {"a": -1.0, "b": -2.5}
    runs = [f"theirs={tmp_path / 'theirs.out'}", f"lines={tmp_path / 'lines.out'}"]
    assert main(["eval", *runs, "--out", str(tmp_path / "table")]) == 0
    assert "| lines |" in (tmp_path / "table" / "table.md").read_text()
    assert answer_file(tasks, tmp_path / "lines.jsonl", content + "\n", capsys)[0] == 2, "another file, another folder"


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("item_id,text\nnobody,Fine.", r"theirs.csv:2: .* has no test item 'nobody'; ids look like"),
        ("item_id,text\nFIRST,Fine.\nFIRST,Bad.", r"theirs.csv:3: item 'FIRST' has a row above already"),
        ("item_id,text\nFIRST,Fine.", r"no answer to 'SECOND' \(1 of 2 test items\)"),
        ('item_id,text,score\nFIRST,Fine.,"61,5"', r"theirs.csv:2: score '61,5' is not a number"),
        ("item_id,text,grade\nFIRST,Fine.,1", r"theirs.csv:2: unknown column 'grade'; known are actions, confidence"),
        ("item_id,actions\nFIRST,pike;;tuck", r"theirs.csv:2: actions 'pike;;tuck' has to be a list of texts"),
        ("item_id,ranking\nFIRST,a", r"theirs.csv:2: ranking 'a' has to map every class to its score"),
        ("text\nFine.", r"lacks the columns item_id"),
    ],
)
def test_a_wrong_file_of_answers_is_refused_by_line(
    content: str, message: str, tasks: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    first, second = (item.item_id for item in evenly_spaced(read_items(tasks / "nae", "test"), 2))
    content, message = (text.replace("FIRST", first).replace("SECOND", second) for text in (content, message))
    status, error = answer_file(tasks, tmp_path / "theirs.csv", content, capsys)
    assert status == 2 and re.search(message, error), error


def test_flags_that_a_system_cannot_follow_are_refused(
    tasks: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file, items, out = tmp_path / "a.csv", str(tasks / "nae"), str(tmp_path / "out")
    file.write_text("item_id,text\n")
    for system, flags, message in (
        (file, ["--vllm.enforce-eager", "true"], "--vllm"),
        (file, ["--engine", "http://127.0.0.1:9"], "--engine"),
        (file, ["--temperature", "1"], "--temperature and the like"),
        (tmp_path / "export", ["--base-model", "x"], "--base-model"),
        (tmp_path / "export", ["--demonstrator", "x"], "--demonstrator"),
    ):
        if system.name == "export":
            system.mkdir(exist_ok=True)
            (system / "export.json").write_text("{}")
        assert main(["answer", str(system), items, out, *flags]) == 2
        assert f"{message}: {system} has no use for it; leave it out." in capsys.readouterr().err


# --- recipes ---------------------------------------------------------------------------------------------------------


def test_nae_trains_answers_and_is_scored(
    tasks: Path, recipe: Callable[..., Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    coach = recipe("recipes/nae.py", "run", "--items", tasks / "nae", "--score_intervals", "3")
    record = json.loads((tmp_path / "run" / "run_config.json").read_text())
    assert (
        record["tasks"] == {"nae": {"difficulty": False, "score_intervals": 3, "category": False}}
        and record["formats"] == []
    )
    with pytest.raises(ValueError, match="score_intervals was 3, is 0"):
        recipe("recipes/nae.py", "run", "--items", tasks / "nae")
    out = tmp_path / "answers"
    command = ["answer", str(coach), str(tasks / "nae"), str(out), "--max-items", "4"]
    assert main(command) == 0
    assert "difficulty: not told; score intervals: 3" in capsys.readouterr().out
    items = read_answers(out)
    assert (
        len(items) == 4
        and {OURS, variant_of_ours(EXPECTED_SCORE)} <= items[0].answers.keys()
        and len(items[0].references) == 5
    )
    assert items[0].nearest.keys() == {"pose"} and items[0].truth.actions and len(read_answers(out, TRAINING)) == 24
    before = (out / "answers.jsonl").read_bytes()
    assert main(command) == 0 and (out / "answers.jsonl").read_bytes() == before, "a second run asks nothing again"
    assert main([*command, "--set", "difficulty=true"]) == 2
    assert "difficulty was False, is True" in capsys.readouterr().err
    assert main([*command[:3], str(tmp_path / "told"), "--max-items", "4", "--set", "difficulty=true"]) == 0
    assert main(["eval", f"plain={out}", f"told={tmp_path / 'told'}", "--out", str(tmp_path / "table")]) == 0
    table = (tmp_path / "table" / "table.md").read_text()
    assert "inputs:difficulty: told" in table and "inputs:difficulty: not told" in table
    assert "plain: Inputs beside the clip: difficulty: not told; score intervals: 3." in table
    for row in (
        "constant per category",
        "pose nearest neighbour",
        "shuffled",
        variant_of_ours(EXPECTED_SCORE),
        "unread, %",
        "not readable of 4",
    ):
        assert row in table, row


def test_cot_afa_answers_in_two_passes_and_names_its_leak(
    tasks: Path, recipe: Callable[..., Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    coach = recipe("recipes/cot_afa.py", "run", "--items", tasks / "cot-afa")
    command = ["answer", str(coach), str(tasks / "cot-afa"), str(tmp_path / "leak"), "--max-items", "2"]
    assert main([*command, "--set", "steps=ground-truth"]) == 0
    assert main(["eval", str(tmp_path / "leak"), "--out", str(tmp_path / "table")]) == 0
    answers = [item.answers[OURS] for item in read_answers(tmp_path / "leak")]
    assert all(
        a.ranking and len(a.ranking) == 8 and a.label == max(a.ranking, key=a.ranking.__getitem__) for a in answers
    )
    table = (tmp_path / "table" / "table.md").read_text()
    assert "leak: tells the class" in table and "| top-5 ↑ |" in table
    assert About.read(tmp_path / "leak").inputs == ["steps: ground-truth (leak: tells the class)"]


def test_mixtures_need_one_encoder_and_each_task_once(
    tiny: Path, tasks: Path, recipe: Callable[..., Path], capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    cot_afa = ["--mix.0.items", tasks / "cot-afa"]
    tuples = ["--mix.0.tuples", tiny / "tuples", "--mix.0.pose_codes", tiny / "pose_codes"]
    second = [str(flag).replace("mix.0", "mix.1") for flag in (*tuples, "--mix.0.weight", "0.2")]
    coach = recipe("recipes/nae.py", "mix", "--items", tasks / "nae", *cot_afa, *second)
    record = json.loads((coach.parent / "run_config.json").read_text())
    assert set(record["tasks"]) == {"nae", "cot-afa"} and record["formats"] == ["dialogue"]
    for flags, message in (
        ([*tuples, "--mix.0.features", tiny / "features"], "One coach has one video encoder"),
        (["--mix.0.items", tasks / "nae"], "The mixture holds nae twice"),
        ([*cot_afa, "--mix.0.options.colour", "red"], "cot-afa has no switch 'colour'"),
        ([*tuples, "--mix.0.options.steps", "none"], "tuples have no switch 'steps'"),
        (tuples[:2], "so they need pose_codes: FOLDER"),
    ):
        with pytest.raises(ValueError, match=message):
            recipe("recipes/nae.py", "wrong", "--items", tasks / "nae", *flags)
    with pytest.raises(ValueError, match="holds items of cot-afa; this recipe trains nae"):
        recipe("recipes/nae.py", "wrong", "--items", tasks / "cot-afa")
    with pytest.raises(
        ValueError, match=r"--short_epochs 9 takes \d+ steps .* the coach would never see a whole answer"
    ):
        recipe("recipes/nae.py", "wrong", "--items", tasks / "nae", "--short_epochs", "9")
    with pytest.raises(ValueError, match="--mode: invalid choice: 'contrastive'"):
        recipe("recipes/nae.py", "wrong", "--items", tasks / "nae", "--mode", "contrastive", "--dry_run")
    empty = tmp_path / "empty"
    shutil.copytree(tasks / "nae", empty)
    write_items(empty / "train.parquet", [])
    for flags, message in (
        (["--items", empty], "nothing to train on: 0 items in its training split"),
        (["--items", tasks / "nae", "--mix.0.items", empty], "nothing to train on: 0 items in its training split"),
        (
            ["--items", tasks / "nae", "--validation_share", "0.99"],
            r"nae has nothing to train on: 24 items in .* 24 held out",
        ),
        (["--items", tasks / "nae", "--max_train_items", "0"], "--max_train_items 0 has to be at least 1"),
    ):
        with pytest.raises(ValueError, match=message):
            recipe("recipes/nae.py", "wrong", *flags)
    capsys.readouterr()
    recipe("recipes/desccoach.py", "plan", "--items", "/nowhere", "--dry_run")
    assert "items at /nowhere" in capsys.readouterr().out


# --- features --------------------------------------------------------------------------------------------------------


def test_published_arrays_and_joints_become_stores_with_a_mapper_of_their_width(
    tasks: Path, recipe: Callable[..., Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    names = [item.clip.clip_id for split in ("train", "test") for item in read_items(tasks / "nae", split)]
    arrays = tmp_path / "swin"
    arrays.mkdir()
    for n, name in enumerate(names):
        rows = np.full((5 + n % 3, 12), n, np.float32) + np.arange(5 + n % 3)[:, None] / 10
        if n % 2:
            torch.save(torch.from_numpy(rows), arrays / f"{name}.pt")
        else:
            np.save(arrays / f"{name}.npy", rows)
    command = ["features", "import-arrays", str(tasks / "nae"), str(arrays), str(tmp_path / "store"), "--name", "Video Swin-B", "--tokens", "3"]  # fmt: skip
    assert main(command) == 0
    store = FeatureStore(tmp_path / "store")
    assert store.manifest.width == 12 and store.manifest.views == ("exo",)
    # Five rows, three intervals: their middles fall into rows 0, 2 and 4.
    np.testing.assert_allclose(store.get(names[0], "exo")[:, 0], [0.0, 0.2, 0.4], atol=1e-3)
    (arrays / f"{names[0]}.npy").unlink()
    np.save(arrays / f"{names[2]}.npy", np.full((4, 12), np.nan))
    assert main([*command[:4], str(tmp_path / "partial"), *command[5:]]) == 2
    assert "2 of 32 clips could not be encoded" in capsys.readouterr().err
    coach = recipe(
        "recipes/nae.py", "swin", "--items", tasks / "nae", "--features", tmp_path / "store", "--pose_form", "none"
    )
    config = json.loads((coach / "coach_config.json").read_text())
    assert (
        config["video_width"] == 12
        and config["views"] == ["exo"]
        and config["video_encoder"].startswith("Video Swin-B")
    )
    assert main(["features", "from-poses", str(tasks / "nae"), str(tmp_path / "joints"), "--frames", "4"]) == 0
    joints = FeatureStore(tmp_path / "joints")
    of_training = [joints.get(item.clip.clip_id, "exo") for item in read_items(tasks / "nae", "train")]
    training = np.stack(of_training).astype(float).reshape(-1, 49)
    np.testing.assert_allclose(training[:, :32].mean(0), 0, atol=0.01)
    covariance = np.cov(training[:, :32].T)
    variances = np.diag(covariance)
    np.testing.assert_allclose(covariance, np.diag(variances), atol=0.01)  # components do not move together
    np.testing.assert_allclose(variances[:8], 1, atol=0.1)
    assert (variances < 1.01).all(), "the last ones are mostly noise and stay below one"
    assert (training[:, 32:] == 0).all(), "no joint is missing"
