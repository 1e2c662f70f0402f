"""Nearest neighbours as systems: every test item is answered with what is taught of the training item nearest to it."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
from transformers import AutoTokenizer

from mm_adapter.checkpoint.seal import identity
from mm_adapter.evaluation.item_set import ItemSet
from mm_adapter.evaluation.matcher import MatcherInputs, load_matcher
from mm_adapter.evaluation.system import Answers, System, with_variants
from mm_adapter.model.language_model import find_base_model, word_embeddings
from mm_adapter.samples.clip_stores import JointStore
from mm_data.features import FeatureStore, pooled_features
from mm_data.ground.progress import Progress
from mm_data.tasks import Answer, TaskFormat, TaskItem
from mm_eval.metrics.pose import sequence_error

Kind = Literal["video", "pose"]
"""What is similar: the video's features, or the poses."""
Similarity = Callable[[str, str], float]
"""How similar two clips are, by their ids: the higher, the more."""


@dataclass(frozen=True)
class NearestNeighbours(System):
    """The training items whose clips are most similar; of ExpertAF's Table 1, InternVideo2-NN.

    Attributes:
        kind: What is similar.
        switches: Switches of the task.
    """

    kind: Kind
    switches: dict[str, Any]

    def form(self, items: ItemSet) -> tuple[TaskFormat, Any]:
        """Returns the task's format."""
        return items.form(self.switches)

    def made_of(self) -> dict[str, Any]:
        """Returns its name."""
        return {"nearest_neighbour": self.kind}

    def answer(self, items: ItemSet, form: TaskFormat, out: Path, progress: Progress) -> Answers:
        """Answers every item with its neighbour; a test item that lacks what is compared is a ``ValueError``."""
        nearest, lacking = nearest_items(items.test, items.training, items.joints, items.store)
        if any(self.kind not in of_item for of_item in nearest.values()):
            needs = "--features" if self.kind == "video" and items.store is None else "; ".join(lacking)
            raise ValueError(
                f"Nearest neighbours by {self.kind} cannot answer {items.folder}: {needs or 'no item has any'}."
            )
        by_id = {item.item_id: item for item in items.training}
        return {
            item.item_id: with_variants(
                _answer(form, items, item, by_id[nearest[item.item_id][self.kind]], self._similarity(items)), {}
            )
            for item in items.test
        }

    def _similarity(self, items: ItemSet) -> Similarity:
        """Returns a function of two clips' ids."""
        if self.kind == "pose":
            return lambda one, other: -sequence_error(items.joints[other], items.joints[one])
        assert items.store is not None
        store = items.store
        return lambda one, other: float(_unit(pooled_features(store, one)) @ _unit(pooled_features(store, other)))


@dataclass(frozen=True)
class MatcherSystem(System):
    """A trained matcher, in whose space a learner's clip finds remarks and demonstrations directly: InternVideo2-FT of ExpertAF's Table 1.

    Attributes:
        folder: Folder of the matcher.
        base_model: Where its language model is, if not where training had it.
        switches: Switches of the task.
    """

    folder: Path
    base_model: str | None
    switches: dict[str, Any]

    def form(self, items: ItemSet) -> tuple[TaskFormat, Any]:
        """Returns the task's format."""
        return items.form(self.switches)

    def made_of(self) -> dict[str, Any]:
        """Returns the hash of its weights."""
        return {"matcher": identity(self.folder)}

    @torch.no_grad()
    def answer(self, items: ItemSet, form: TaskFormat, out: Path, progress: Progress) -> Answers:
        """Answers every item by what lies nearest; lacking features, those of another encoder, and items without experts are a ``ValueError``."""
        matcher, store = load_matcher(self.folder), items.store
        if store is None or store.manifest.made_by != matcher.architecture.video_encoder:
            made_by = "there are none" if store is None else f"these were made by {store.manifest.encoder}"
            raise ValueError(f"The matcher needs the features of the encoder that it was trained on; {made_by}.")
        experts = [item.expert for item in items.training if item.expert is not None]
        if len(experts) < len(items.training):
            raise ValueError(f"{items.folder} has training items without an expert's clip; the matcher matches those.")
        recorded = matcher.architecture
        name = find_base_model(
            recorded.language_model, recorded.language_model_fingerprint, self.folder, self.base_model
        )
        inputs = MatcherInputs(items.training, store, AutoTokenizer.from_pretrained(name), word_embeddings(name))
        clips = list(dict.fromkeys(clip.clip_id for item in (*items.test, *items.training) for clip in item.clips))
        clips += [clip.clip_id for clip, _ in items.gallery if clip.clip_id not in set(clips)]
        placed = dict(zip(clips, matcher.embed_clips(inputs.clips(clips, recorded.views)).numpy(), strict=True))
        remarks = matcher.embed_remarks(inputs.words).numpy()
        demonstrations = np.stack([placed[expert.clip_id] for expert in experts])

        def similarity(one: str, other: str) -> float:
            return float(placed[other] @ placed[one])

        answers: Answers = {}
        for item in items.test:
            query = placed[item.clip.clip_id]
            shown = items.training[int((demonstrations @ query).argmax())]
            said = form.taught(items.training[int((remarks @ query).argmax())])
            answer = replace(_answer(form, items, item, shown, similarity), text=said.text)
            answers[item.item_id] = with_variants(answer, {})
        return answers


def _answer(form: TaskFormat, items: ItemSet, item: TaskItem, neighbour: TaskItem, similarity: Similarity) -> Answer:
    """Answers with what is taught of a neighbour; where experts are ranked, by their similarity to the learner, and with its expert's poses."""
    answer, candidates = form.taught(neighbour), form.candidates(item)
    if not candidates or neighbour.expert is None:
        return answer
    ranking = {clip: similarity(item.clip.clip_id, clip) for clip in candidates}
    poses = items.joints[neighbour.expert.clip_id][..., :3].tolist() if item.has_poses else None
    return replace(answer, ranking=ranking, poses=poses)


def nearest_items(
    items: Sequence[TaskItem], training: Sequence[TaskItem], joints: JointStore, store: FeatureStore | None
) -> tuple[dict[str, dict[str, str]], list[str]]:
    """Looks for the training item that is nearest to each test item, by features and by poses.

    A kind of similarity counts only where every test item has it: a baseline answers all items or none.

    Args:
        items: Test items.
        training: Training items.
        joints: Poses of their clips.
        store: Their video features, or None.

    Returns:
        Test item id to kind of similarity ("video", "pose") to training item id, and notes about kinds that do not count.
    """
    spaces: dict[str, dict[str, np.ndarray]] = {}
    if store is not None:
        spaces["video"] = {i.item_id: _unit(pooled_features(store, i.clip.clip_id)) for i in (*items, *training)}
    posed = [item for item in (*items, *training) if item.has_poses]
    if posed:
        spaces["pose"] = {i.item_id: np.nan_to_num(joints[i.clip.clip_id][..., :3]).ravel() for i in posed}
    nearest: dict[str, dict[str, str]] = {item.item_id: {} for item in items}
    notes = []
    for kind, space in spaces.items():
        candidates = [item for item in training if item.item_id in space]
        without = sum(item.item_id not in space for item in items)
        if without or not candidates:
            notes.append(f"no {kind} nearest neighbour: {without} of {len(items)} test items have no poses")
            continue
        matrix = np.stack([space[item.item_id] for item in candidates])
        for item in items:
            distances = np.linalg.norm(matrix - space[item.item_id], axis=1)
            nearest[item.item_id][kind] = candidates[int(distances.argmin())].item_id
    return nearest, notes


def _unit(vector: np.ndarray) -> np.ndarray:
    return vector / max(float(np.linalg.norm(vector)), 1e-12)
