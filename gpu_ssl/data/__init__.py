"""Finding, reading and checking images and labels; splits and folds."""
