"""Models for a user's images: fitting, saving, prediction, calibration and export."""
