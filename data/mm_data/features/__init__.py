"""Frozen encoder outputs on disk."""

from mm_data.features.maintenance import merge_stores, verify_store
from mm_data.features.store import FeatureManifest, FeatureStore
from mm_data.features.writer import FeatureStoreWriter

__all__ = ["FeatureManifest", "FeatureStore", "FeatureStoreWriter", "merge_stores", "verify_store"]
