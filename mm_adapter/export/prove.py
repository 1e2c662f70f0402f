"""Proof that an export is its coach: the same log-probabilities on fixed prompts."""

import shutil
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F

from mm_adapter.checkpoint.coach import SavedCoach
from mm_adapter.export.read import open_llama, open_mappers
from mm_adapter.model.config import VIEWS
from mm_data.tasks.coaching import commentary_prompt, demonstration_prompt

BOUND = 1e-3
"""Largest difference of a log-probability that an export in float32 may show."""


QUANTIZED_BOUND = 0.05
"""The same bound where the coach was in 4 bits: bitsandbytes' kernels round more than a product with the dense weights."""


DIVERGENCE_BOUND = 0.02
"""Mean Kullback-Leibler divergence, in nats, that an export in 16 bits may show: rounding moves unlikely tokens by whole
nats, in the coach as in its export, and hardly what either says. A layer whose adapter is lost moves it by 0.2."""


@torch.inference_mode()
def prove(coach: SavedCoach, out: Path, dtype: torch.dtype) -> dict[str, Any]:
    """Compares an export with its coach on fixed prompts with seeded poses and features.

    Args:
        coach: Coach that was exported.
        out: Folder of the export; it is removed where the proof fails.
        dtype: Type of the exported weights.

    Returns:
        ``largest_difference`` of a log-probability, ``mean_divergence`` in nats, ``positions`` compared, the share of them
        where both give the same most likely token, and which figure is ``bounded`` by what ``bound``.

    Raises:
        ValueError: The figure is above its bound.
    """
    config, generator = coach.model.config, torch.Generator().manual_seed(0)
    llama, mappers = open_llama(out, dtype).to(coach.model.device), open_mappers(out)  # type: ignore[arg-type]
    shape = (config.pose_frames, config.pose_tokens_per_frame)
    codes = torch.randint(config.num_pose_codes, (3, *shape), generator=generator).numpy()
    largest, divergence, same, positions = 0.0, 0.0, 0, 0
    for clip, poses in enumerate(codes):
        for messages in (commentary_prompt("clip"), demonstration_prompt("clip", "Bend the knees.")):
            encoded = coach.processor.encode_prompt(messages, lambda _, poses=poses: poses, f"proof {clip}")
            answer = coach.processor.answer_ids(codes[clip - 1])
            ids = torch.tensor([encoded.input_ids + answer], device=coach.model.device)
            features = {
                view: torch.randn(1, config.video_tokens, config.video_width, generator=generator).to(ids.device)
                for view in config.shown_views
            }
            inputs = {f"{view}_features": features.get(view) for view in VIEWS}
            ours = coach.model(input_ids=ids, **inputs).logits[0].float().log_softmax(-1)
            embeddings = llama.get_input_embeddings()(ids.clamp(max=config.num_predictable - 1))
            for view, values in features.items():
                mapped = mappers[view].to(values.device)(values)[0].to(embeddings.dtype)
                embeddings[ids == (config.ego_id if view == "ego" else config.exo_id)] = mapped
            theirs = llama(inputs_embeds=embeddings).logits[0, :, : config.num_predictable].float().log_softmax(-1)
            largest = max(largest, float((ours - theirs).abs().max()))
            divergence += float(F.kl_div(theirs, ours, reduction="sum", log_target=True))
            same += int((ours.argmax(-1) == theirs.argmax(-1)).sum())
            positions += len(ours)
    bounded, bound = "largest_difference", QUANTIZED_BOUND if config.quantization else BOUND
    if dtype != torch.float32:
        bounded, bound = "mean_divergence", DIVERGENCE_BOUND
    proof = {
        "largest_difference": largest,
        "mean_divergence": max(0.0, divergence / positions),
        "bounded": bounded,
        "bound": bound,
        "dtype": str(dtype).removeprefix("torch."),
        "positions": positions,
        "same_most_likely_token": same / positions,
    }
    if not proof[bounded] <= bound:
        shutil.rmtree(out)
        raise ValueError(
            f"The export does not say what the coach says: {bounded.replace('_', ' ')} of log-probabilities is {proof[bounded]:.3g}, above {bound}."
        )
    return proof
