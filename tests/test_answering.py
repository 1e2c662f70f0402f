"""A coach answers a folder of items: sampling, grammar, resuming, sharing work, and what is refused."""

import json
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from tiny_coach import TinyCoach, launch, perturb, poses_after, remarks_of

from mm_adapter.checkpoint.coach import SavedCoach
from mm_adapter.cli import main as mm_coach
from mm_adapter.distributed import launch_name
from mm_adapter.inference.coach import Coach
from mm_adapter.inference.sampling import GumbelNoise, Sampling
from mm_adapter.model.grammar import AnswerGrammar
from mm_data.ground.shared_records import SharedRecords, join_all
from mm_data.tasks.gallery import PRIOR_PROMPTS
from mm_eval.answers.test_sets import read_answers
from mm_tokenizers import PoseVocabulary

# --- sampling --------------------------------------------------------------------------------------------------------


def test_what_is_drawn_depends_on_seed_and_sample_alone(coach: TinyCoach) -> None:
    perturb(coach)
    asked = Coach(coach.model.eval(), coach.processor, coach.codes, coach.features)
    learners = list(dict.fromkeys(t.learner.clip_id for t in coach.test))[:4]
    warm = Sampling(temperature=1.0, top_p=0.95, top_k=200, seed=3)
    together = remarks_of(asked, learners, sampling=warm, batch_size=4, limit=8)
    assert together == remarks_of(asked, learners, sampling=warm, batch_size=1, limit=8)
    assert together != remarks_of(asked, learners, sampling=Sampling(1.0, seed=4), limit=8)
    shown = poses_after(asked, learners, ["Bend."] * 4, sampling=warm)
    assert all(codes is not None for codes in shown), "a drawn sequence is well-formed too"
    np.testing.assert_array_equal(shown[2:], poses_after(asked, learners[2:], ["Bend."] * 2, sampling=warm))  # type: ignore[arg-type]


def test_gumbel_noise_draws_from_the_softmax() -> None:
    logits = torch.tensor([[2.0, 1.0, 0.0, -torch.inf]])
    noise = GumbelNoise(0, ["a"])
    drawn = torch.stack([noise(torch.empty(0), logits).argmax() for _ in range(4000)])
    shares = drawn.bincount(minlength=4) / len(drawn)
    torch.testing.assert_close(shares, logits.softmax(-1)[0], atol=0.03, rtol=0)


@pytest.mark.parametrize("settings", [{"temperature": -1.0}, {"top_p": 0.0}, {"top_p": 1.5}, {"top_k": -1}])
def test_impossible_sampling_is_refused(settings: dict) -> None:
    with pytest.raises(ValueError, match="cannot be used"):
        Sampling(**settings)


def test_an_answer_is_words_or_one_pose_sequence() -> None:
    vocabulary, end = PoseVocabulary(10, 6, 2, 2), 3

    def allowed(grammar: AnswerGrammar, output: list[int]) -> set[int]:
        return set(torch.isfinite(grammar(output, torch.zeros(20))).nonzero().flatten().tolist())

    words, codes, clip = set(range(10)), set(range(10, 16)), [11, 12, 16, 13, 14, 16, 17]
    grammar = AnswerGrammar(vocabulary, [end])
    assert allowed(grammar, []) == words | codes, "the first token decides"
    assert allowed(grammar, [5]) == words
    for position in range(1, len(clip)):
        assert clip[position] in allowed(grammar, clip[:position]) <= set(range(10, 18))
    assert allowed(grammar, clip) == {end}
    assert allowed(AnswerGrammar(vocabulary, [end], "poses"), []) == codes
    assert allowed(AnswerGrammar(vocabulary, [end], "words"), []) == words


# --- records ---------------------------------------------------------------------------------------------------------


def test_records_of_several_processes_become_one_file(tmp_path: Path) -> None:
    items = [f"t{i}" for i in range(7)]
    first, second = (SharedRecords(tmp_path, "x", rank, 2, "launch") for rank in range(2))
    assert sorted(first.mine(items) + second.mine(items)) == items
    for records in (second, first):
        for item in records.mine(items)[:3]:
            records.append(item, {"value": int(item[1])})
    assert not join_all([(first, items)]), "t6 is missing"
    with (tmp_path / "x.0.jsonl").open("a") as file:
        file.write('{"item_id": "t6", "val')  # a crash
    alone = SharedRecords(tmp_path, "x")
    alone.append("t6", {"value": 6})
    assert join_all([(second, items)]) and not join_all([(first, items)]), "one process of a launch goes on"
    assert join_all([(alone, items)]) and join_all([(alone, items)]), "and one that is alone always"
    lines = [json.loads(line) for line in (tmp_path / "x.jsonl").read_text().splitlines()]
    assert [line["item_id"] for line in lines] == items and [line["value"] for line in lines] == [*range(7)]
    assert sorted(path.name for path in tmp_path.iterdir()) == [".joined", ".lock", "x.jsonl"]


def test_a_second_launch_goes_on_whatever_its_processes_are_called(tmp_path: Path) -> None:
    """Launchers of containers have one pid, again and again; every launch has one process that scores."""
    items = ["a", "b", "c"]
    for name in ("first", "second", "third"):
        processes = [SharedRecords(tmp_path, "x", rank, 2, name) for rank in range(2)]
        there = processes[0].read()
        for process in processes:
            for item in process.mine(items):
                if item not in there:
                    process.append(item, {})
        assert [join_all([(process, items)]) for process in processes] == [True, False], name
    assert launch_name() != launch_name(), "no two launches are called alike"
    with pytest.raises(ValueError, match=r"2 processes share .*x; give the name of their launch"):
        SharedRecords(tmp_path, "x", 0, 2)


# --- commands --------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def saved(tiny: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    coach = TinyCoach(tiny)
    perturb(coach)
    folder = tmp_path_factory.mktemp("coach") / "coach"
    SavedCoach(coach.model, coach.processor, coach.pose_tokenizer, {}).save_pretrained(folder)
    return folder


def command(saved: Path, tiny: Path, out: Path, *options: str) -> list[str]:
    inputs = [saved, tiny / "tuples", out, "--codes", tiny / "pose_codes", "--features", tiny / "features"]
    return ["answer", *map(str, inputs), "--max-items", "5", *options]


def contents(folder: Path) -> dict[str, bytes]:
    """Its files but for those that say who is at work."""
    return {path.name: path.read_bytes() for path in folder.iterdir() if not path.name.startswith(".")}


def test_two_processes_do_the_work_of_one_and_nothing_is_done_twice(
    saved: Path, tiny: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    one, two = tmp_path / "one", tmp_path / "two"
    assert mm_coach(command(saved, tiny, one)) == 0
    ddp = ["--config_file", "recipes/accelerate/ddp.yaml", "-m", "mm_adapter.cli"]
    done = launch("accelerate", "launch", *ddp, *command(saved, tiny, two))
    assert done.stdout.count("mm-coach report") == 1 and "others still have items" in done.stdout
    alone, shared = read_answers(one), read_answers(two)
    assert [record.item_id for record in alone] == [record.item_id for record in shared] and len(alone) == 5
    for ours, theirs in zip(alone, shared, strict=True):
        for name, answer in ours.answers.items():
            assert theirs.answers[name].text == answer.text and theirs.answers[name].poses == answer.poses
            assert theirs.answers[name].ranking == pytest.approx(answer.ranking, abs=1e-5)
    before = contents(one)
    prompts = [json.loads(line)["item_id"] for line in (one / "shared_answers.jsonl").read_text().splitlines()]
    assert len(prompts) == len(set(prompts)) and len(prompts) % PRIOR_PROMPTS == 0, "asked once for all items"

    monkeypatch.setattr(Coach, "answer_words", None)  # whoever asks, fails
    monkeypatch.setattr(Coach, "answer_choices", None)
    assert mm_coach(command(saved, tiny, one)) == 0
    assert contents(one) == before


def test_a_run_goes_on_behind_what_a_killed_one_wrote(
    saved: Path, tiny: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert mm_coach(command(saved, tiny, tmp_path)) == 0
    answers, records = (tmp_path / "answers.jsonl").read_bytes(), tmp_path / "raw_answers.jsonl"
    whole = records.read_text()
    (tmp_path / "answers.jsonl").unlink()
    lines = whole.splitlines(keepends=True)
    records.write_text("".join(lines[:3]) + lines[3][:40])
    asked: list[str] = []
    answer_words = Coach.answer_words

    def counted(coach: Coach, questions: Any, *how: Any, **named: Any) -> list[str]:
        asked.extend(name for name, _ in questions)
        return answer_words(coach, questions, *how, **named)

    monkeypatch.setattr(Coach, "answer_words", counted)
    assert mm_coach(command(saved, tiny, tmp_path)) == 0
    assert asked == [json.loads(line)["item_id"] for line in lines[3:]]
    assert records.read_text() == whole and (tmp_path / "answers.jsonl").read_bytes() == answers


def test_other_settings_are_refused(
    saved: Path, tiny: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    only = ["--set", "retrieval=false", "--set", "poses=false"]
    assert mm_coach(command(saved, tiny, tmp_path, *only)) == 0
    assert mm_coach(command(saved, tiny, tmp_path, *only, "--temperature", "0.7")) == 2
    said = capsys.readouterr().err
    assert "begun with other settings" in said and "'temperature': 0.7" in said
    assert mm_coach(command(saved, tiny, tmp_path, "--set", "retrieval=false")) == 2
    assert "poses was False, is True" in capsys.readouterr().err


def test_the_module_is_the_command() -> None:
    assert "answer" in launch(sys.executable, "-m", "mm_adapter.cli", "--help").stdout
