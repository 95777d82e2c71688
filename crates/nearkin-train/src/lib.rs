//! Methods, recipes, the training loop, checkpoints.
