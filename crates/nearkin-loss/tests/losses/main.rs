//! Every loss and miner against three judges: its formula in f64 on the whole matrix, finite differences of that formula, and
//! what pytorch-metric-learning 2.9.0 and lightly 1.5.26 compute (`../golden`).

mod formula;
mod golden;
mod held;

mod angular;
mod arc_face;
mod circle;
mod contrastive;
mod cos_face;
mod cross_batch_memory;
mod dcl;
mod dclw;
mod drlim;
mod dynamic_soft_margin;
mod fast_ap;
mod generalized_lifted_structure;
mod histogram;
mod info_nce;
mod intra_pair_variance;
mod large_margin_softmax;
mod lifted_structure;
mod margin;
mod miners;
mod multi_similarity;
mod n_pairs;
mod nca;
mod non_parametric_softmax;
mod normalized_softmax;
mod nt_xent;
mod pnp;
mod proxy_anchor;
mod proxy_nca;
mod ranked_list;
mod reducers;
mod regularizers;
mod sig_lip;
mod smooth_ap;
mod snr_contrastive;
mod soft_triple;
mod sphere_face;
mod sub_center_arc_face;
mod sup_con;
mod triplet_margin;
mod tuplet_margin;
