//! Sources, decoding, views, samplers and the loader.
