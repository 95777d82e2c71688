//! Honest measures of an embedding, and the report.
