"""Builds the parts of a run from its arguments: poses, pose tokenizer, language model, coach."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from peft import LoraConfig
from transformers import AutoTokenizer, TrainingArguments

from mm_adapter.checkpoint.coach import coach_folder, load_trainable, read_config
from mm_adapter.distributed import native_dtype
from mm_adapter.model.coach import CoachModel
from mm_adapter.model.config import CoachConfig
from mm_adapter.model.language_model import load_language_model, recorded_name, weights_fingerprint
from mm_adapter.model.lora import add_lora, set_trainable
from mm_adapter.model.processor import CoachProcessor
from mm_adapter.samples.clip_stores import ClipPoses, JointStore
from mm_adapter.training.arguments import CoachArguments
from mm_data.features import FeatureManifest
from mm_tokenizers import PoseTokenizer, PoseTokenizerConfig, fingerprint, load_tokenizer
from mm_tokenizers.codes import PoseCodeStore


def resolve_dtype(name: str, training: TrainingArguments) -> torch.dtype:
    """Returns the frozen weights' type; ``auto`` asks the hardware."""
    if name == "auto":
        return native_dtype(training.device)
    return getattr(torch, name)


def open_poses(args: CoachArguments, pose_tokenizer: PoseTokenizer, folder: Path, codes: Path) -> ClipPoses:
    """Opens the pose codes of a folder's clips, or their joints for a coach that reads text.

    Args:
        args: The recipe's arguments.
        pose_tokenizer: The tokenizer that the codes have to be from.
        folder: Folder of tuples or items, whose joints are read.
        codes: Folder of pose codes.

    Returns:
        The poses by clip.

    Raises:
        ValueError: They were made by another tokenizer, or hold another number of frames.
    """
    if args.pose_form == "text":
        return JointStore.read(folder, args.pose_frames)
    store = PoseCodeStore.load(codes)
    if store.tokenizer_fingerprint != fingerprint(pose_tokenizer) or store.frames != args.pose_frames:
        raise ValueError(
            f"{codes} holds {store.frames} frames per clip from tokenizer {store.tokenizer_fingerprint[:12]}, but this run "
            f"wants {args.pose_frames} frames from {fingerprint(pose_tokenizer)[:12]}; run `mm-coach tokenizer encode` again."
        )
    return store


def open_pose_tokenizer(args: CoachArguments) -> PoseTokenizer:
    """Opens the pose tokenizer. A coach without poses gets a stand-in of two codes, because its vocabulary has to exist.

    Args:
        args: The recipe's arguments.

    Returns:
        The frozen tokenizer.

    Raises:
        ValueError: No tokenizer is named, and the coach sees poses.
    """
    if args.pose_tokenizer is not None:
        return load_tokenizer(Path(args.pose_tokenizer))
    if args.pose_form != "none":
        raise ValueError("Give --pose_tokenizer, or --pose_form none for a coach that sees no poses.")
    with torch.random.fork_rng():
        torch.manual_seed(0)  # the same fingerprint in every run
        return PoseTokenizer(
            PoseTokenizerConfig(
                num_tokens=1, num_codes=2, token_dim=8, encoder_blocks=1, encoder_width=8, decoder_width=8
            )
        )


def lora_config(args: CoachArguments) -> LoraConfig:
    """Returns LoRA's configuration."""
    return LoraConfig(
        r=args.lora_r, lora_alpha=args.lora_alpha, lora_dropout=args.lora_dropout, target_modules=args.lora_targets
    )


def coach_config(
    args: CoachArguments,
    text: Any,
    first_id: int,
    tokenizer: PoseTokenizer,
    video: FeatureManifest | None,
    views: Sequence[str],
) -> CoachConfig:
    """Returns the model's configuration, made from its parts."""
    return CoachConfig(
        text_config=text,
        base_model=recorded_name(args.language_model),
        quantization=args.quantization,
        mode=args.mode,
        first_pose_id=first_id,
        num_pose_codes=tokenizer.architecture.num_codes,
        pose_tokens_per_frame=tokenizer.architecture.num_tokens,
        pose_frames=args.pose_frames,
        pose_code_dim=tokenizer.architecture.token_dim,
        pose_input=args.pose_input,
        pose_form=args.pose_form,
        pose_tokenizer=fingerprint(tokenizer),
        video_tokens=video.num_tokens if video else 0,
        video_width=video.width if video else 0,
        views=[*views],
        video_encoder=video.made_by if video else "",
    )


def build_coach(
    args: CoachArguments,
    pose_tokenizer: PoseTokenizer,
    video: FeatureManifest | None,
    views: Sequence[str],
    dtype: torch.dtype,
) -> tuple[CoachModel, CoachProcessor]:
    """Builds the coach with fresh mappers and pose rows (or those of ``start_from``) and its processor; what trains is set.

    Full fine-tuning keeps the language model in float32 whatever ``dtype`` is: its updates are too small for bfloat16.

    Args:
        args: The recipe's arguments.
        pose_tokenizer: The frozen pose tokenizer, whose codebook the pose mapper reads.
        video: Manifest of the features, or None for a coach that sees no video.
        views: Views that the coach sees.
        dtype: Type of the frozen weights.

    Returns:
        The model and its processor.
    """
    precision = torch.float32 if args.mode == "full" else dtype
    language_model = load_language_model(args.language_model, precision, args.quantization, args.attention)
    if args.liger:
        from liger_kernel.transformers import apply_liger_kernel_to_llama  # pyright: ignore[reportMissingImports]

        # The coach computes its loss itself.
        apply_liger_kernel_to_llama(model=language_model, fused_linear_cross_entropy=False)
    if args.mode == "lora":
        add_lora(language_model, lora_config(args))
    text_tokenizer = AutoTokenizer.from_pretrained(args.language_model)
    config = coach_config(args, language_model.config, len(text_tokenizer), pose_tokenizer, video, views)
    config.base_model_fingerprint = weights_fingerprint(args.language_model)
    processor = CoachProcessor(text_tokenizer, config)
    model = CoachModel(config, language_model, pose_tokenizer.quantizer.codebook)
    model.initialise_new_parts()
    if args.start_from:
        load_earlier(args.start_from, model, args.language_model)
    set_trainable(model, args.mode)
    return model, processor


def load_earlier(name: str, model: CoachModel, language_model: str) -> None:
    """Loads what an earlier run trained: mappers and pose rows, and everything else where the mode is the same.

    Args:
        name: Folder of the earlier coach, or its name on the Hub.
        model: The coach that takes the weights.
        language_model: Name of its language model, for the message.

    Raises:
        ValueError: The earlier coach was trained in another mode, or on another language model.
    """
    earlier, config = coach_folder(name), model.config
    begun = read_config(earlier)
    if begun.mode not in ("mappers", config.mode):
        raise ValueError(f"{name} was trained in mode {begun.mode}; only that mode can go on from it.")
    if begun.base_model_fingerprint != config.base_model_fingerprint:
        raise ValueError(
            f"{name} was trained on a language model with weights {begun.base_model_fingerprint[:12]}, "
            f"{language_model} has {config.base_model_fingerprint[:12]}; give the original as --language_model."
        )
    load_trainable(earlier, model, new_parts_only=begun.mode != config.mode)
