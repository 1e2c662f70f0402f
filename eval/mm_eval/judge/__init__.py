"""Language models as judges whose every verdict can be read again: protocols, asking, scoring, audit, calibration."""
