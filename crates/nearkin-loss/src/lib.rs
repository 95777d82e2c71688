//! Losses as springs, miners, kin relations, and the bridge that makes them differentiable.
