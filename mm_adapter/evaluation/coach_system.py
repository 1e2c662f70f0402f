"""A coach as a system: whatever runs it, alone or with another coach that demonstrates for it."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
from scipy.interpolate import interp1d

from mm_adapter.distributed import launch_name, launched_processes
from mm_adapter.evaluation.item_set import ItemSet
from mm_adapter.evaluation.system import Answers, System, with_variants
from mm_adapter.inference.asking import hold
from mm_adapter.inference.protocols import Answerer
from mm_adapter.inference.sampling import GREEDY, Sampling
from mm_adapter.samples.clip_stores import ClipPoses
from mm_adapter.training.data import trained_on
from mm_data.ground.progress import Progress
from mm_data.ground.shared_records import SharedRecords, join_all
from mm_data.tasks import TaskFormat
from mm_data.tasks.overlap import Material, material_of_items, overlap
from mm_data.tasks.questions import Choice, ClipChoice, Dialogue, Likelihoods, Poses, Words
from mm_tokenizers.codes import PoseCodeStore

RECORDS, SHARED = "raw_answers", "shared_answers"
"""Names of the files that keep what was answered, item by item, and what is asked once for all items."""
Engine = Literal["transformers", "vllm"]
"""What runs a coach."""


@dataclass(frozen=True)
class PairedAnswerer:
    """Two coaches that answer as one: ExpertAF trains commentary apart from retrieval and poses.

    Attributes:
        commentator: Coach that answers in words.
        demonstrator: Coach that chooses and shows.
    """

    commentator: Answerer
    demonstrator: Answerer

    @property
    def at_once(self) -> int:
        """Number of questions that both take together."""
        return min(self.commentator.at_once, self.demonstrator.at_once)

    @property
    def can_choose(self) -> bool:
        """Whether the demonstrator has likelihoods."""
        return self.demonstrator.can_choose

    @property
    def can_demonstrate(self) -> bool:
        """Whether the demonstrator learned to."""
        return self.demonstrator.can_demonstrate

    def answer_words(self, questions: Sequence[tuple[str, Words]], sampling: Sampling = GREEDY) -> list[str]:
        """Lets the commentator answer."""
        return self.commentator.answer_words(questions, sampling)

    def answer_choices(self, questions: Sequence[tuple[str, Choice | ClipChoice]]) -> list[Likelihoods]:
        """Lets the demonstrator choose."""
        return self.demonstrator.answer_choices(questions)

    def answer_poses(
        self, questions: Sequence[tuple[str, Poses]], sampling: Sampling = GREEDY
    ) -> list[np.ndarray | None]:
        """Lets the demonstrator show."""
        return self.demonstrator.answer_poses(questions, sampling)

    def decode(self, codes: np.ndarray) -> np.ndarray:
        """Decodes the demonstrator's codes."""
        return self.demonstrator.decode(codes)


@dataclass(frozen=True)
class CoachSystem(System):
    """A coach.

    Attributes:
        answerer: Whatever runs it.
        identity: Hash of its weights and settings; those of two coaches where one demonstrates for the other.
        engine: Name of what runs it.
        poses: Poses of the clips that it looks at, or None.
        records: Records of the runs that trained it: their data and their tasks' switches; empty for an export, which does not tell its data.
        tasks: Switches of the tasks that it was trained on, by task.
        switches: Switches where they are others than in training.
        sampling: How tokens are drawn.
    """

    answerer: Answerer
    identity: str
    engine: Engine
    poses: ClipPoses | None
    records: Sequence[dict[str, Any]]
    tasks: Mapping[str, dict[str, Any]]
    switches: Mapping[str, Any]
    sampling: Sampling = GREEDY

    def form(self, items: ItemSet) -> tuple[TaskFormat, Any]:
        """Returns the task's format with the switches of the training, or those that were given instead."""
        return items.form({**self.tasks.get(items.task.name, {}), **self.switches})

    def made_of(self) -> dict[str, Any]:
        """Returns the coach's hash, what runs it and how it draws."""
        poses = self.poses.digest if isinstance(self.poses, PoseCodeStore) else None  # joints are the items' own files
        return {"coach": self.identity, "backend": self.engine, "poses": poses, "sampling": vars(self.sampling)}

    def answer(self, items: ItemSet, form: TaskFormat, out: Path, progress: Progress) -> Answers | None:
        """Answers the items that have no record in ``out`` yet, and shares them among launched processes."""
        state = launched_processes()
        place = state.process_index, state.num_processes, launch_name()
        shared, records = SharedRecords(out, SHARED, *place), SharedRecords(out, RECORDS, *place)
        once = form.shared_questions(items.training)
        by_id = {item.item_id: item for item in items.test}
        self._hold("asking what is asked once", once, shared, 1, progress)
        asking = {name: form.questions(item) for name, item in by_id.items()}
        self._hold("answering", asking, records, self.answerer.at_once, progress)
        if not join_all([(shared, [*once]), (records, [*by_id])]):
            return None
        common, answers = shared.read(), {}
        for name, record in ((name, records.read()[name]) for name in by_id):
            shown = self._with_joints(record, items.frames)
            answers[name] = with_variants(form.read(shown, common), form.variants(shown, common))
        return answers

    def _hold(
        self, what: str, dialogues: Mapping[str, Dialogue], records: SharedRecords, at_once: int, progress: Progress
    ) -> None:
        """Holds the dialogues of this process that have no record yet, so many at a time."""
        pending = records.pending([*dialogues])
        for start in range(0, len(pending), at_once):
            batch = pending[start : start + at_once]
            for name, record in hold({name: dialogues[name] for name in batch}, self.answerer, self.sampling).items():
                records.append(name, record)
            progress(what, start + len(batch), len(pending))

    def _with_joints(self, record: dict[str, Any], frames: int) -> dict[str, Any]:
        """Decodes codes, and reads joints at the frames of the others: a coach that writes poses as text may write fewer."""
        if record.get("poses") is None:
            return record
        joints = np.array(record["poses"])
        if joints.ndim == 2:
            joints = self.answerer.decode(joints)
        elif len(joints) != frames:
            joints = interp1d(np.linspace(0, 1, len(joints)), joints, axis=0)(np.linspace(0, 1, frames))
        return {**record, "poses": joints.astype(np.float32).tolist()}

    def round_trip(self, clip_id: str) -> np.ndarray | None:
        """Decodes a clip's own codes."""
        if not isinstance(self.poses, PoseCodeStore) or self.poses.missing([clip_id]):
            return None
        return self.answerer.decode(self.poses[clip_id])

    def notes(self, items: ItemSet) -> list[str]:
        """Says what training shares with the test items, and whether the coach was trained on the task at all."""
        material, unread = Material(), [] if self.records else ["what the export's coach was trained on"]
        for record in self.records:
            further, lacking = trained_on(record)
            material, unread = material | further, unread + lacking
        notes = [overlap(material, material_of_items(items.task.name, items.test), unread).sentence()]
        if items.task.name not in self.tasks:
            notes.append(f"the coach was never trained on {items.task.name}")
        return notes
