//! Learn embeddings in which near means kin: train, measure, index and search, in one binary.
