//! Embeddings on disk, exact and approximate search.
