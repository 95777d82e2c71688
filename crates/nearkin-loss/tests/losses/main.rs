//! Every loss and miner against three judges: its formula in f64 on the whole matrix, finite differences of that formula, and
//! what pytorch-metric-learning 2.9.0 and lightly 1.5.26 compute (`../golden`).

mod formula;
mod golden;

mod angular;
mod circle;
mod contrastive;
mod drlim;
mod generalized_lifted_structure;
mod lifted_structure;
mod margin;
mod multi_similarity;
mod n_pairs;
mod nca;
mod normalized_softmax;
mod nt_xent;
mod reducers;
mod snr_contrastive;
mod sup_con;
mod triplet_margin;
