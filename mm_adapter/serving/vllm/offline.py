"""Answers from vLLM over an exported coach, with the prompts that `Coach` builds.

Two routes: an export in layout ``coach`` takes video features beside the token ids (the model is ours, inside vLLM); one in
layout ``llama`` takes ids where there is no video, and otherwise the embeddings of the whole prompt (the model is vLLM's).
"""

import json
import os
from collections.abc import Iterator, Sequence
from dataclasses import replace
from itertools import groupby
from pathlib import Path
from typing import Any

import numpy as np
import torch

from mm_adapter.export.read import RECORD, check_export, open_mappers
from mm_adapter.inference.sampling import GREEDY, Sampling
from mm_adapter.model.config import CoachConfig, read_config
from mm_adapter.model.language_model import word_embeddings
from mm_adapter.model.processor import CoachProcessor, Encoded
from mm_adapter.samples.clip_stores import check_inputs
from mm_adapter.serving.memory import cache_flags
from mm_adapter.serving.vllm.plugin import GRAMMAR, check_vllm_version, use_first_model_runner
from mm_data.conversation import Message
from mm_data.features import FeatureStore
from mm_data.ground.digests import uniform
from mm_data.tasks.expertaf import commentary_prompt, demonstration_prompt, shows_poses
from mm_tokenizers.codes import PoseCodeStore

MAX_MODEL_LEN = 8192
_AT_ONCE = 256  # requests handed to the engine together; it batches them as it sees fit


class VllmCoach:
    """An exported coach in vLLM, with the inputs of the clips that it is asked about; answers like `inference.coach.Coach`.

    A context manager: the engine ends with it.

    Args:
        folder: Folder of the export.
        poses: Pose codes of all clips.
        features: Video features of all clips, or None for a pose-only coach.
        flags: Flags of vLLM's command line, such as ``--tensor-parallel-size 2``. ``--max-model-len`` is by default what the
            model was made for, up to `MAX_MODEL_LEN`.

    Raises:
        RuntimeError: A version of vLLM that was not tested.
        ValueError: The export was changed, or poses or features are not those of its tokenizer and encoder.
    """

    def __init__(
        self, folder: Path, poses: PoseCodeStore, features: FeatureStore | None, flags: Sequence[str] = ()
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
        self.poses, self.features = poses, features
        self.embeds = None
        if layout == "llama" and features is not None:
            self.embeds = PromptEmbeddings(folder, self.config)
            settings.enable_prompt_embeds = True
        if layout == "llama":  # vLLM's own model: nobody else adds the grammar
            use_first_model_runner()
            settings.logits_processors = [GRAMMAR]
        formats = json.loads((folder / RECORD).read_text())["source"]["formats"]
        self.can_demonstrate = shows_poses(formats)
        if settings.max_model_len is None:
            settings.max_model_len = min(MAX_MODEL_LEN, self.config.text_config.max_position_embeddings)
        self.engine = LLM.from_engine_args(settings)

    @property
    def can_rank(self) -> bool:
        """Whether it can rank: prompts of embeddings have no log-probabilities, so layout llama ranks without video alone."""
        return self.can_demonstrate and self.embeds is None

    def __enter__(self) -> "VllmCoach":
        return self

    def __exit__(self, *_: object) -> None:
        self.engine.llm_engine.engine_core.shutdown()  # left to the interpreter's exit, it may wait forever

    def comments(
        self,
        learners: Sequence[str],
        experts: Sequence[str] | None = None,
        sampling: Sampling = GREEDY,
        max_new_tokens: int = 64,
    ) -> Iterator[str]:
        """Comments on clips, as `Coach.comments` does.

        Args:
            learners: Ids of the learners' clips.
            experts: Ids of the experts' clips, shown too for "full-sup" of ExpertAF's Table 1.
            sampling: How tokens are drawn.
            max_new_tokens: Longest remark.

        Yields:
            A remark on each clip.
        """
        pairs = zip(learners, experts or [None] * len(learners), strict=True)
        encoded = [self._encode(commentary_prompt(learner, expert), learner) for learner, expert in pairs]
        for ids in self._answers(encoded, "words", max_new_tokens, sampling):
            yield self.processor.tokenizer.decode(ids, skip_special_tokens=True).strip()  # type: ignore[union-attr]

    def demonstrations(
        self, learners: Sequence[str], remarks: Sequence[str], sampling: Sampling = GREEDY
    ) -> Iterator[np.ndarray | None]:
        """Corrects clips, as `Coach.demonstrations` does.

        Args:
            learners: Ids of the learners' clips.
            remarks: Remark on each clip, which the correction follows.
            sampling: How tokens are drawn.

        Yields:
            Codes ``[T, M]``.
        """
        encoded = [
            self._encode(demonstration_prompt(learner, remark), f"{learner} after {remark!r}")
            for learner, remark in zip(learners, remarks, strict=True)
        ]
        vocabulary = self.processor.vocabulary
        for ids in self._answers(encoded, "poses", vocabulary.clip_length, sampling):
            yield vocabulary.parse(ids)

    def rank(self, learner: str, remark: str, pool: list[str]) -> torch.Tensor:
        """Scores candidates' poses: a check on `ranking.rank_by_demonstration`, not a replacement.

        The engine runs every pair in full: prompt log-probabilities do not use its prefix cache.

        Args:
            learner: Id of the learner's clip.
            remark: What the learner was told.
            pool: Ids of the candidates.

        Returns:
            Mean log-likelihoods ``[N]``.

        Raises:
            ValueError: The export cannot rank.
        """
        from vllm import SamplingParams

        if not self.can_rank:
            raise ValueError(
                "This export cannot rank: it comments alone, or its prompts are embeddings (use layout coach)."
            )
        prefix = self._encode(demonstration_prompt(learner, remark), learner)
        answers = [self.processor.answer_ids(self.poses[clip]) for clip in pool]
        prompts = [self._prompt(replace(prefix, input_ids=prefix.input_ids + answer)) for answer in answers]
        done = self.engine.generate(prompts, SamplingParams(max_tokens=1, prompt_logprobs=0), use_tqdm=False)
        means = []
        for answer, result in zip(answers, done, strict=True):
            entries = (result.prompt_logprobs or [])[-len(answer) :]
            likely = [entry[token].logprob for entry, token in zip(entries, answer, strict=True) if entry]
            means.append(np.mean(likely))
        return torch.tensor(means)

    def _encode(self, messages: list[Message], sample_id: str) -> Encoded:
        return self.processor.encode_prompt(messages, self.poses.__getitem__, sample_id)

    def _answers(self, encoded: Sequence[Encoded], answer: str, limit: int, sampling: Sampling) -> Iterator[list[int]]:
        from vllm import SamplingParams

        end = self.processor.end_of_turn_id
        for start in range(0, len(encoded), _AT_ONCE):
            batch = encoded[start : start + _AT_ONCE]
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
                for one in batch
            ]
            for done in self.engine.generate([self._prompt(one) for one in batch], params, use_tqdm=False):
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
