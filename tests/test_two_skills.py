"""A participant who learns in one take and shows in another of the same task, which the miniature does not have."""

import json
from dataclasses import replace
from pathlib import Path

from tiny_coach import Silent

from mm_data.records import CoachingTuple
from mm_data.tuples.build import BuildOptions, build_tuples
from mm_data.tuples.pairing import PairingOptions
from mm_data.tuples.store import read_tuples

EVERYBODY = BuildOptions(PairingOptions(experts_train=100, experts_test=100, runners_up=0, stride=15, horizon=2.0))


def pairs(rows: list[CoachingTuple]) -> dict[tuple[str, str], CoachingTuple]:
    return {(t.provenance.learner_remark, t.expert.take_uid): t for t in rows}


def test_a_learner_who_is_an_expert_too_is_not_their_own_example(copy: Path, tmp_path: Path) -> None:
    build_tuples(copy, tmp_path / "before", EVERYBODY, Silent())
    before = read_tuples(tmp_path / "before", "train")
    chosen = before[0]
    takes = json.loads((copy / "takes.json").read_text())
    learner, expert = (
        next(take for take in takes if take["take_uid"] == clip.take_uid) for clip in (chosen.learner, chosen.expert)
    )
    for name in ("participant_uid", "university_name"):
        expert[name] = learner[name]
    (copy / "takes.json").write_text(json.dumps(takes))
    build_tuples(copy, tmp_path / "after", EVERYBODY, Silent())
    after = read_tuples(tmp_path / "after", "train")
    two_skills = {t.expert.participant for t in after} & {t.learner.participant for t in after}
    assert two_skills == {chosen.learner.participant}, "they show others, and learn from others"
    assert not [t.tuple_id for t in after if t.learner.participant == t.expert.participant]
    was, now = pairs(before), pairs(after)
    lost = was.keys() - now.keys()
    of_both = (chosen.learner.participant, chosen.expert.take_uid)
    assert lost == {key for key, t in was.items() if (t.learner.participant, t.expert.take_uid) == of_both}
    assert now.keys() < was.keys() and lost
    for (remark, _), t in now.items():
        fewer = remark in {name for name, _ in lost}
        expected = was[remark, t.expert.take_uid]
        assert t.provenance.experts_considered == expected.provenance.experts_considered - fewer
        assert replace(t.expert, participant="") == replace(expected.expert, participant="")
        assert t.alignment_mm == expected.alignment_mm
