"""The coach's model, processor, batches, checkpoints and inference, on a tiny random Llama."""

import dataclasses
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest
import torch
from tiny_coach import FRAMES, TinyCoach, batch_of, collated, collator, dataset, perturb, poses_after, remarks_of

from mm_adapter.inference.asking import hold
from mm_adapter.inference.coach import Coach
from mm_adapter.inference.scoring import score
from mm_adapter.model.config import CoachConfig
from mm_adapter.model.processor import CoachProcessor
from mm_adapter.tasks.expertaf.format import ExpertafFormat, ExpertafOptions, priors
from mm_data.tasks.coaching import (
    Conversation,
    commentary_prompt,
    demonstration_prompt,
    offers_expert,
    training_conversation,
)
from mm_data.tasks.gallery import PRIOR_PROMPTS, Gallery, distinct_clips, prior_prompts
from mm_data.tuples.store import item_of

# --- labels ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("template", ["CHATML", "LLAMA3"])
def test_labels_are_exactly_the_answers_and_their_end(coach: TinyCoach, make_tiny: ModuleType, template: str) -> None:
    tokenizer = make_tiny.word_tokenizer([t.summary for t in coach.train], getattr(make_tiny, template))
    shape = coach.pose_tokenizer.architecture
    config = CoachConfig(
        num_pose_codes=shape.num_codes, pose_tokens_per_frame=shape.num_tokens, pose_frames=FRAMES, video_tokens=4
    )
    processor = CoachProcessor(tokenizer, config)
    end = "<|im_end|>" if template == "CHATML" else "<|eot_id|>"
    item = coach.train[0]
    conversation = training_conversation(item, "dialogue")
    encoded = processor.encode(conversation, coach.codes.__getitem__)
    supervised = [label for label in encoded.labels if label != -100]
    poses = processor.vocabulary.to_ids(coach.codes[item.expert.clip_id])
    expected = [
        *tokenizer.encode(item.summary, add_special_tokens=False),
        *tokenizer.encode(end, add_special_tokens=False),
    ]
    assert supervised == [*expected, *poses, expected[-1]]
    assert tokenizer.decode(supervised[: len(expected)]) == item.summary + end
    assert all(label in (-100, token) for label, token in zip(encoded.labels, encoded.input_ids, strict=True))
    if template == "LLAMA3":
        assert encoded.input_ids.count(tokenizer.bos_token_id) == 1, "one BOS"
    prompt = processor.encode_prompt(
        demonstration_prompt(item.learner.clip_id, item.summary), coach.codes.__getitem__, "x"
    )
    assert encoded.input_ids[: len(prompt.input_ids)] == prompt.input_ids, "inference sees what training saw"


def test_a_sample_without_supervised_tokens_is_an_error(coach: TinyCoach) -> None:
    messages = commentary_prompt(coach.train[0].learner.clip_id)
    with pytest.raises(ValueError, match="Sample mute: no token is supervised"):
        coach.processor.encode(Conversation("mute", messages, ()), coach.codes.__getitem__)


def test_samples_are_never_truncated(coach: TinyCoach) -> None:
    with pytest.raises(ValueError, match=r"has \d+ tokens, more than max_length 40"):
        dataset(coach, ["dialogue"], count=2, max_length=40)


# --- media -----------------------------------------------------------------------------------------------------------


def test_media_count_mismatch_names_sample_and_both_numbers(coach: TinyCoach) -> None:
    sample = dataset(coach, ["commentary"], count=1)[0]
    sample["ego"] = sample["ego"][:1]
    with pytest.raises(ValueError, match=r"~0#commentary: 4 ego placeholders in the text, but 2 ego video tokens"):
        collator(coach)([sample])
    batch = batch_of(coach, ["commentary"], count=1)
    batch["exo_features"] = batch["exo_features"][:1]
    with pytest.raises(ValueError, match="4 exo placeholders, but 2 exo video tokens"):
        coach.model(**batch)


def test_with_the_expert_dropped_no_expert_token_reaches_the_model(coach: TinyCoach) -> None:
    item = next(
        t for t in coach.train if not np.array_equal(coach.codes[t.learner.clip_id], coach.codes[t.expert.clip_id])
    )
    vocabulary = coach.processor.vocabulary
    for offer, clips in ((False, [item.learner]), (True, [item.learner, item.expert])):
        conversation = training_conversation(item, "commentary", offer)
        encoded = coach.processor.encode(conversation, coach.codes.__getitem__)
        poses = [t for t in encoded.input_ids if vocabulary.first_id <= t < vocabulary.first_id + vocabulary.size]
        assert poses == [t for clip in clips for t in vocabulary.to_ids(coach.codes[clip.clip_id])]
        assert encoded.clips == {view: [clip.clip_id for clip in clips] for view in ("ego", "exo")}
    inference = coach.processor.encode_prompt(commentary_prompt(item.learner.clip_id), coach.codes.__getitem__, "x")
    assert inference.clips == {view: [item.learner.clip_id] for view in ("ego", "exo")}


def test_the_expert_is_dropped_with_the_set_probability_whatever_the_rank(coach: TinyCoach) -> None:
    item = coach.train[0]
    drawn = [offers_expert(item, 0.3, 0, epoch) for epoch in range(2000)]
    assert np.mean(drawn) == pytest.approx(0.7, abs=0.04)
    assert drawn == [offers_expert(item, 0.3, 0, epoch) for epoch in range(2000)]


def test_every_mapper_gets_a_gradient_without_any_video(coach: TinyCoach) -> None:
    """A rank whose batch lacks video must still take part in the mappers' collectives."""
    sample = dataset(coach, ["commentary"], count=1, expert_drop=1.0)[0]
    first = coach.processor.vocabulary.first_id + coach.processor.vocabulary.size
    kept = [i for i, token in enumerate(sample["input_ids"]) if token < first]
    for name in ("input_ids", "labels"):
        sample[name] = [sample[name][i] for i in kept]
    sample["ego"] = sample["exo"] = None
    batch = collated(coach, [sample])
    assert batch["ego_features"].shape[0] == 0
    coach.model(**batch).loss.backward()
    assert all(p.grad is not None for n, p in coach.model.named_parameters() if p.requires_grad)
    assert all((p.grad == 0).all() for n, p in coach.model.named_parameters() if n.startswith("ego_mapper"))


# --- model -----------------------------------------------------------------------------------------------------------


def test_the_future_is_hidden(coach: TinyCoach) -> None:
    batch = batch_of(coach, ["dialogue"], count=2)
    labels = batch.pop("labels")
    changed = {**batch, "input_ids": batch["input_ids"].clone()}
    changed["input_ids"][:, -4:] = coach.processor.vocabulary.first_id
    assert (labels[:, -4:] != -100).any()
    coach.model.eval()
    kept = batch["input_ids"].shape[1] - 4
    torch.testing.assert_close(
        coach.model(**batch).logits[:, :kept], coach.model(**changed).logits[:, :kept], atol=0, rtol=0
    )


@pytest.mark.parametrize("pose_input", ["mapper", "rows"])
def test_overfits_one_batch(tiny: Path, pose_input: str) -> None:
    coach = TinyCoach(tiny, mode="full", pose_input=pose_input)
    batch = batch_of(coach, ["dialogue"], count=3)
    optimizer = torch.optim.AdamW([p for p in coach.model.parameters() if p.requires_grad], lr=3e-3)
    for _ in range(300):
        optimizer.zero_grad()
        loss = coach.model(**batch).loss
        loss.backward()
        optimizer.step()
    assert loss.item() < 0.05


def test_fresh_parts_match_the_language_models_embeddings(coach: TinyCoach) -> None:
    words: torch.Tensor = coach.model.language_model.get_input_embeddings().weight
    table = coach.model.pose_embedding()
    spread = (words - words.mean(0)).pow(2).mean().sqrt()
    torch.testing.assert_close((table[:-2] - table[:-2].mean(0)).pow(2).mean().sqrt(), spread, rtol=0.05, atol=0)
    torch.testing.assert_close(table[:-2].mean(0), words[: coach.model.config.first_pose_id].mean(0), atol=1e-5, rtol=0)


# --- inference -------------------------------------------------------------------------------------------------------


def as_coach(coach: TinyCoach) -> Coach:
    return Coach(coach.model.eval(), coach.processor, coach.codes, coach.features)


def test_packed_scores_equal_one_forward_per_pair(coach: TinyCoach) -> None:
    perturb(coach)
    asked = as_coach(coach)
    item = coach.test[0]
    prompt = asked.prompt(demonstration_prompt(item.learner.clip_id, "Bend the knees."), "q")
    vocabulary = coach.processor.vocabulary
    candidates = [vocabulary.to_ids(coach.codes[t.expert.clip_id]) for t in coach.test[:5]] + [[3, 4], [7]]
    packed = score(asked, prompt, candidates)
    split = score(asked, prompt, candidates, memory_gib=0.0)
    torch.testing.assert_close(packed.total, split.total, atol=1e-4, rtol=1e-5)
    for index, candidate in enumerate(candidates):
        inputs = asked.inputs(
            [
                {
                    **prompt,
                    "input_ids": prompt["input_ids"] + candidate,
                    "labels": [-100] * (len(prompt["input_ids"]) + len(candidate)),
                }
            ]
        )
        logits = coach.model(**inputs).logits[0, -len(candidate) - 1 : -1].log_softmax(-1)
        naive = logits.gather(-1, torch.tensor(candidate)[:, None])[:, 0]
        torch.testing.assert_close(packed.per_token[index], naive, atol=1e-4, rtol=1e-4)
        assert packed.mean[index].item() == pytest.approx(naive.mean().item(), abs=1e-4)


def test_words_are_candidates_too_and_empty_ones_are_refused(coach: TinyCoach) -> None:
    asked = as_coach(coach)
    prompt = asked.prompt(commentary_prompt(coach.test[0].learner.clip_id), "q")
    remarks = ["Bend the knees.", "Look up."]
    ids = [coach.processor.tokenizer.encode(remark, add_special_tokens=False) for remark in remarks]
    assert torch.equal(score(asked, prompt, remarks).total, score(asked, prompt, ids).total)
    with pytest.raises(ValueError, match=r"Candidates \[1\] of 2 have no tokens"):
        score(asked, prompt, [[1], []])


def test_scoring_leaves_the_prefix_as_it_was(coach: TinyCoach) -> None:
    asked = as_coach(coach)
    prompt = asked.prompt(commentary_prompt(coach.test[0].learner.clip_id), "q")
    candidates = [[3, 4, 5], [6, 7]] * 4
    scores = score(asked, prompt, candidates, memory_gib=0.0).total  # one candidate at a time
    torch.testing.assert_close(scores, scores[:2].repeat(4), atol=0, rtol=0)


@torch.no_grad()
def test_the_side_of_the_padding_does_not_matter(coach: TinyCoach) -> None:
    perturb(coach)
    asked = as_coach(coach)
    prompts = [
        asked.prompt(messages, "q")
        for messages in (commentary_prompt(coach.test[0].learner.clip_id), demonstration_prompt(coach.test[1].learner.clip_id, "Up."))
    ]  # fmt: skip
    left, right = collated(coach, prompts, "left"), collated(coach, prompts, "right")
    assert not torch.equal(left["input_ids"], right["input_ids"])
    del left["labels"], right["labels"]  # with them there is a loss instead of logits
    ours, theirs = (coach.model(**batch).logits[batch["attention_mask"].bool()] for batch in (left, right))
    torch.testing.assert_close(ours, theirs, atol=1e-5, rtol=1e-5)


def test_generation_is_well_formed_and_does_not_depend_on_the_batch(coach: TinyCoach) -> None:
    perturb(coach)
    asked = as_coach(coach)
    learners = [t.learner.clip_id for t in coach.test[:5]]
    together = remarks_of(asked, learners, batch_size=5, limit=12)
    assert together == remarks_of(asked, learners, batch_size=1, limit=12)
    assert all("pose" not in text for text in together)
    remarks = ["Bend the knees.", "Keep the elbow in under the ball please.", "Look up.", "x", "y"]
    poses = poses_after(asked, learners, remarks, batch_size=5)
    shape = coach.pose_tokenizer.architecture
    assert all(p is not None and p.shape == (FRAMES, shape.num_tokens) for p in poses)
    alone = poses_after(asked, learners, remarks, batch_size=1)
    np.testing.assert_array_equal(poses, alone)  # type: ignore[arg-type]


def test_the_gallery_holds_each_performance_once(coach: TinyCoach) -> None:
    clip = coach.test[0].expert
    shifted = dataclasses.replace(clip, start=clip.start + 5, stop=clip.stop + 5)
    later = dataclasses.replace(clip, start=clip.stop, stop=clip.stop + 30)
    other = dataclasses.replace(shifted, take_uid="another take")
    represents = distinct_clips([each.stretch for each in (clip, shifted, later, other)])
    assert represents[shifted.clip_id] == clip.clip_id
    assert represents[later.clip_id] == later.clip_id and represents[other.clip_id] == other.clip_id


def test_an_activity_that_nobody_trained_on_has_priors_over_all_prompts(
    coach: TinyCoach, caplog: pytest.LogCaptureFixture
) -> None:
    learned = [dataclasses.replace(item_of(t, True), category="squat") for t in coach.train[:10]]
    gallery = Gallery.of([(coach.test[0].expert.stretch, "curling")], within_category=True)
    assert list(prior_prompts(learned, gallery)) == [(learned, [coach.test[0].expert.clip_id])]
    assert "no training item shows 'curling'" in caplog.text
    with pytest.raises(ValueError, match="Ranking needs training items"):
        list(prior_prompts([], gallery))


def test_a_candidates_prior_is_its_mean_over_training_prompts(coach: TinyCoach) -> None:
    perturb(coach)
    asked = as_coach(coach)
    asked.can_demonstrate = True
    same = [item_of(t, True) for t in coach.train if t.activity == coach.train[0].activity][:PRIOR_PROMPTS]
    expert = coach.train[0].expert.stretch
    tokens = coach.processor.vocabulary.to_ids(coach.codes[expert.clip_id])
    form = ExpertafFormat({"gallery": [(expert, same[0].category)]}, ExpertafOptions())
    prior = priors(hold(form.shared_questions(same), asked))
    prompts = [asked.prompt(demonstration_prompt(i.clip.clip_id, i.references[0]), "q") for i in same]
    alone = [score(asked, prompt, [tokens]).mean.item() for prompt in prompts]
    assert prior == {expert.clip_id: pytest.approx(np.mean(alone), abs=1e-5)}


def test_foreign_features_and_codes_are_refused(coach: TinyCoach) -> None:
    coach.model.config.video_encoder = "InternVideo2-1B abc"
    with pytest.raises(ValueError, match=r"made by InternVideo2-tiny \(random weights\).*trained on InternVideo2-1B"):
        as_coach(coach)
    coach.model.config.pose_tokenizer = "0" * 64
    coach.model.config.video_tokens, coach.features = 0, None
    with pytest.raises(ValueError, match="made by another pose tokenizer"):
        as_coach(coach)


@pytest.mark.parametrize("answer", [" Bend the knees.", "Bend the knees. ", "\nBend the knees.\n"])
def test_untrimmed_answers_are_named_where_the_template_keeps_blanks(coach: TinyCoach, answer: str) -> None:
    """What is wrong is the text, not the template."""
    template = str(coach.processor.tokenizer.chat_template)
    conversation = Conversation(
        "sample 7",
        [
            {"role": "user", "content": [{"type": "text", "text": "?"}]},
            {"role": "assistant", "content": [{"type": "text", "text": answer}]},
        ],
        (1,),
    )
    coach.processor.tokenizer.chat_template = template.replace("| trim", "").replace("|trim", "")
    with pytest.raises(
        ValueError, match=r"Sample sample 7: the answer of turn 1 begins or ends with blanks, '.*keeps them"
    ):
        coach.processor.encode(conversation, coach.codes.__getitem__)
    trimming = coach.processor.tokenizer.chat_template.replace("['content']", "['content'] | trim")
    coach.processor.tokenizer.chat_template = trimming.replace(".content", ".content | trim")
    encoded = coach.processor.encode(conversation, coach.codes.__getitem__)
    supervised = [token for token, label in zip(encoded.input_ids, encoded.labels, strict=True) if label >= 0]
    assert coach.processor.tokenizer.decode(supervised[:-1]) == "Bend the knees."


@torch.no_grad()
def test_packed_batches_pass_on_what_else_was_asked(coach: TinyCoach, monkeypatch: pytest.MonkeyPatch) -> None:
    batch = collated(coach, [dataset(coach, ["commentary"])[0]], "packed")
    seen = {}
    decoder = coach.model.language_model.get_decoder()
    run = decoder.forward

    def forward(*args: Any, **kwargs: Any) -> Any:
        seen.update(kwargs)
        return run(*args, **kwargs)

    monkeypatch.setattr(decoder, "forward", forward)
    coach.model(**batch, output_hidden_states=True)
    assert seen["output_hidden_states"] is True and seen["sample_lengths"] == [batch["input_ids"].shape[1]]
    assert not {"cu_seq_lens_q", "cu_seq_lens_k", "max_length_q", "max_length_k"} & seen.keys()
