//! Every loss and miner against three judges: its formula in f64 on the whole matrix, finite differences of that formula, and
//! what pytorch-metric-learning 2.9.0 and lightly 1.5.26 compute (`../golden`).

mod formula;
mod golden;
mod held;

mod contrastive;
mod dcl;
mod dclw;
mod drlim;
mod dynamic_soft_margin;
mod fast_ap;
mod histogram;
mod info_nce;
mod intra_pair_variance;
mod multi_similarity;
mod normalized_softmax;
mod nt_xent;
mod pnp;
mod ranked_list;
mod reducers;
mod sig_lip;
mod smooth_ap;
mod sup_con;
mod triplet_margin;
mod tuplet_margin;
