"""Answers from vLLM over an exported coach, with the prompts that `Coach` builds.

Two routes: an export in layout ``coach`` takes video features beside the token ids (the model is ours, inside vLLM); one in
layout ``llama`` takes ids where there is no video, and otherwise the embeddings of the whole prompt (the model is vLLM's).
"""

import json
import os
from collections.abc import Iterator, Sequence
from dataclasses import replace
from itertools import groupby, islice
from pathlib import Path
from typing import Any

import numpy as np
import torch

from mm_adapter.export.read import RECORD, check_export, open_mappers
from mm_adapter.inference.continuations import continuations
from mm_adapter.inference.own_clip import decode_codes
from mm_adapter.inference.sampling import GREEDY, Sampling
from mm_adapter.model.config import CoachConfig, read_config
from mm_adapter.model.language_model import word_embeddings
from mm_adapter.model.processor import CoachProcessor, Encoded
from mm_adapter.samples.clip_stores import ClipPoses, NoPoses, check_inputs
from mm_adapter.serving.memory import cache_flags
from mm_adapter.serving.vllm.plugin import GRAMMAR, check_vllm_version, use_first_model_runner
from mm_data.conversation import Message
from mm_data.features import FeatureStore
from mm_data.ground.digests import uniform
from mm_data.tasks.coaching import shows_poses
from mm_data.tasks.questions import Choice, ClipChoice, Likelihoods, Poses, Words
from mm_tokenizers import load_tokenizer

MAX_MODEL_LEN = 8192


class VllmCoach:
    """An exported coach in vLLM, with the inputs of the clips that it is asked about; answers like `inference.coach.Coach`.

    A context manager: the engine ends with it.

    Args:
        folder: Folder of the export.
        poses: Pose codes of the clips, or None where no clip has poses.
        features: Video features of all clips, or None for a pose-only coach.
        flags: Flags of vLLM's command line, such as ``--tensor-parallel-size 2``. ``--max-model-len`` is by default what the
            model was made for, up to `MAX_MODEL_LEN`.

    Raises:
        RuntimeError: A version of vLLM that was not tested.
        ValueError: The export was changed, or poses or features are not those of its tokenizer and encoder.
    """

    at_once = 256
    """Requests handed to the engine together; it batches them as it sees fit."""

    def __init__(
        self, folder: Path, poses: ClipPoses | None, features: FeatureStore | None, flags: Sequence[str] = ()
    ) -> None:
        check_vllm_version()
        layout = json.loads((folder / "config.json").read_text())["model_type"]
        if layout == "llama":
            check_export(folder)  # in layout coach our model does it, in every process that loads weights
        from vllm import LLM, EngineArgs
        from vllm.utils.argparse_utils import FlexibleArgumentParser

        parser = EngineArgs.add_cli_args(FlexibleArgumentParser(prog="--vllm"))
        parsed = parser.parse_args(["--model", str(folder), *cache_flags(folder, flags, os.environ), *flags])
        settings = EngineArgs.from_cli_args(parsed)  # type: ignore[arg-type]
        self.config = read_config(folder)
        features = features if self.config.video_tokens else None
        check_inputs(self.config, poses, features, "export")
        self.processor = CoachProcessor.load(folder, self.config)
        self.poses, self.features = NoPoses() if poses is None else poses, features
        self.embeds = None
        if layout == "llama" and features is not None:
            self.embeds = PromptEmbeddings(folder, self.config)
            settings.enable_prompt_embeds = True
        if layout == "llama":  # vLLM's own model: nobody else adds the grammar
            use_first_model_runner()
            settings.logits_processors = [GRAMMAR]
        formats = json.loads((folder / RECORD).read_text())["source"]["formats"]
        self.can_demonstrate, self.pose_tokenizer = shows_poses(formats), load_tokenizer(folder / "pose_tokenizer")
        if settings.max_model_len is None:
            settings.max_model_len = min(MAX_MODEL_LEN, self.config.text_config.max_position_embeddings)
        self.engine = LLM.from_engine_args(settings)

    @property
    def can_choose(self) -> bool:
        """Whether it can say how likely candidates are: prompts of embeddings have no log-probabilities, so layout llama can without video alone."""
        return self.embeds is None

    def __enter__(self) -> "VllmCoach":
        return self

    def __exit__(self, *_: object) -> None:
        self.engine.llm_engine.engine_core.shutdown()  # left to the interpreter's exit, it may wait forever

    def answer_words(self, questions: Sequence[tuple[str, Words]], sampling: Sampling = GREEDY) -> list[str]:
        """Answers questions in words."""
        encoded = [self._encode(question.messages, sample_id) for sample_id, question in questions]
        limits = [question.limit for _, question in questions]
        tokenizer = self.processor.tokenizer
        answers = self._answers(encoded, "words", limits, sampling)
        return [tokenizer.decode(ids, skip_special_tokens=True).strip() for ids in answers]  # type: ignore[union-attr]

    def answer_choices(self, questions: Sequence[tuple[str, Choice | ClipChoice]]) -> list[Likelihoods]:
        """Computes how likely the candidates of choices are, as `Coach.answer_choices` does.

        The engine runs every pair of prompt and candidate in full: prompt log-probabilities do not use its prefix cache.

        Args:
            questions: An id and the question.

        Returns:
            Log-likelihoods of each choice's candidates.

        Raises:
            ValueError: The export's prompts are embeddings, or a candidate is the beginning of another one.
        """
        if not self.can_choose:
            raise ValueError(
                "This export's prompts are embeddings, which have no likelihoods; export it in layout coach."
            )
        pairs: list[tuple[Encoded, Sequence[int]]] = []
        counts: list[int] = []
        for sample_id, question in questions:
            prefix = self._encode(question.messages, sample_id)
            choice = continuations(self.processor, self.poses, question, sample_id)
            begun = replace(prefix, input_ids=[*prefix.input_ids, *choice.begun])
            pairs += [(begun, candidate) for candidate in choice.candidates]
            counts.append(len(choice.candidates))
        likely = self._likelihoods(pairs)
        groups = [list(islice(likely, count)) for count in counts]
        return [Likelihoods.of_tokens(group) for group in groups]

    def answer_poses(
        self, questions: Sequence[tuple[str, Poses]], sampling: Sampling = GREEDY
    ) -> list[np.ndarray | None]:
        """Answers questions in pose codes ``[T, M]``."""
        encoded = [self._encode(question.messages, sample_id) for sample_id, question in questions]
        vocabulary = self.processor.vocabulary
        limits = [vocabulary.clip_length] * len(encoded)
        return [vocabulary.parse(ids) for ids in self._answers(encoded, "poses", limits, sampling)]

    def decode(self, codes: np.ndarray) -> np.ndarray:
        """Decodes pose codes ``[T, M]`` to joints ``[T, 17, 3]`` in metres."""
        return decode_codes(self.pose_tokenizer, codes)

    def _encode(self, messages: list[Message], sample_id: str) -> Encoded:
        return self.processor.encode_prompt(messages, self.poses.__getitem__, sample_id)

    def _likelihoods(self, pairs: Sequence[tuple[Encoded, Sequence[int]]]) -> Iterator[np.ndarray]:
        """Yields the log-likelihoods ``[C]`` of a candidate's tokens behind its prefix, for every pair of prefix and candidate."""
        from vllm import SamplingParams

        params = SamplingParams(max_tokens=1, prompt_logprobs=0)
        for batch in (pairs[start : start + self.at_once] for start in range(0, len(pairs), self.at_once)):
            prompts = [self._prompt(replace(p, input_ids=[*p.input_ids, *candidate])) for p, candidate in batch]
            for (_, candidate), done in zip(batch, self.engine.generate(prompts, params, use_tqdm=False), strict=True):
                entries = (done.prompt_logprobs or [])[-len(candidate) :]
                yield np.array([entry[t].logprob for entry, t in zip(entries, candidate, strict=True) if entry])

    def _answers(
        self, encoded: Sequence[Encoded], answer: str, limits: Sequence[int], sampling: Sampling
    ) -> Iterator[list[int]]:
        from vllm import SamplingParams

        end = self.processor.end_of_turn_id
        for start in range(0, len(encoded), self.at_once):
            part = slice(start, start + self.at_once)
            params = [
                SamplingParams(
                    max_tokens=limit,
                    temperature=sampling.temperature,
                    top_p=sampling.top_p,
                    top_k=sampling.top_k,
                    seed=int(uniform(f"{sampling.seed}/{one.sample_id}") * 2**31),
                    stop_token_ids=[end],
                    detokenize=False,
                    extra_args={"coach_answer": answer},
                )
                for one, limit in zip(encoded[part], limits[part], strict=True)
            ]
            prompts = [self._prompt(one) for one in encoded[part]]
            for done in self.engine.generate(prompts, params, use_tqdm=False):
                ids = list(done.outputs[0].token_ids)
                yield ids[:-1] if ids and ids[-1] == end else ids

    def _prompt(self, encoded: Encoded) -> Any:
        if self.features is None:
            return {"prompt_token_ids": encoded.input_ids}
        clips = [encoded.clips[view] for view in self.config.views]
        if any(of_view != clips[0] for of_view in clips):
            raise ValueError(
                f"{encoded.sample_id}: the engine tells views apart by their turn, "
                f"so every clip needs all of {', '.join(self.config.views)}."
            )
        views = [
            torch.from_numpy(np.asarray(self.features.get(clip, view), np.float32))
            for clip in clips[0]
            for view in self.config.views
        ]
        if self.embeds is not None:
            return {"prompt_embeds": self.embeds(encoded.input_ids, views)}
        video = {self.config.ego_id, self.config.exo_id}
        ids: list[int] = []
        for token, run in groupby(encoded.input_ids):
            # One placeholder per video; the engine expands it.
            count = len([*run])
            ids += [self.config.ego_id] * (count // self.config.video_tokens) if token in video else [token] * count
        return {"prompt_token_ids": ids, "multi_modal_data": {"video": views}}


class PromptEmbeddings:
    """Computes input embeddings outside the engine.

    Args:
        folder: Folder of an export in layout ``llama``.
        config: Configuration of the coach.
    """

    def __init__(self, folder: Path, config: CoachConfig) -> None:
        self.config, self.mappers = config, open_mappers(folder)
        self.table = word_embeddings(str(folder))

    @torch.inference_mode()
    def __call__(self, input_ids: list[int], videos: list[torch.Tensor]) -> torch.Tensor:
        """Embeds a prompt.

        Args:
            input_ids: Ids of the prompt ``[S]``.
            videos: Features ``[V, C]`` of the videos in the order of their placeholders.

        Returns:
            Embeddings ``[S, H]``.
        """
        ids = torch.tensor(input_ids)
        embeddings = self.table[ids.clamp(max=self.config.num_predictable - 1)].clone()
        for view, token in (("ego", self.config.ego_id), ("exo", self.config.exo_id)):
            if view in self.config.views:
                turn = self.config.views.index(view)
                features = torch.stack(videos[turn :: len(self.config.views)])
                mapper = self.mappers[view]
                mapped = mapper(features.to(mapper.norm.weight.dtype)).flatten(0, 1)
                embeddings[ids == token] = mapped.to(embeddings.dtype)
        return embeddings
