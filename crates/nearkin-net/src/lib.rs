//! Encoders, heads, fast CPU kernels, weight import and export.
