//! The row engine: similarity rows between two sets of vectors, tile by tile, in bounded memory.
