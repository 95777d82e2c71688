//! Differentiable operations written on plain slices, for Burn's tensors.
