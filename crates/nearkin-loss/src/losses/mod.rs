//! One file a loss: its paper, its formula, its hyper-parameters, its springs.

mod angular;
mod arc_face;
mod circle;
mod contrastive;
mod cos_face;
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
mod sig_lip;
mod smooth_ap;
mod snr_contrastive;
mod soft_triple;
mod sphere_face;
mod sub_center_arc_face;
mod sup_con;
mod triplet_margin;
mod tuplet_margin;

pub use angular::Angular;
pub use arc_face::ArcFace;
pub use circle::Circle;
pub use contrastive::Contrastive;
pub use cos_face::CosFace;
pub use dcl::Dcl;
pub use dclw::Dclw;
pub use drlim::DrLim;
pub use dynamic_soft_margin::{DynamicSoftMargin, GapHistogram};
pub use fast_ap::FastAp;
pub use generalized_lifted_structure::GeneralizedLiftedStructure;
pub use histogram::Histogram;
pub use info_nce::InfoNce;
pub use intra_pair_variance::IntraPairVariance;
pub use large_margin_softmax::LargeMarginSoftmax;
pub use lifted_structure::LiftedStructure;
pub use margin::{BetaPull, Betas, MarginBased};
pub use multi_similarity::MultiSimilarity;
pub use n_pairs::NPairs;
pub use nca::Nca;
pub use non_parametric_softmax::{NonParametricNce, NonParametricSoftmax, Normalizer};
pub use normalized_softmax::NormalizedSoftmax;
pub use nt_xent::NtXent;
pub use pnp::{Pnp, PnpVariant};
pub use proxy_anchor::ProxyAnchor;
pub use proxy_nca::ProxyNca;
pub use ranked_list::RankedList;
pub use sig_lip::{SigLip, SigLipPull};
pub use smooth_ap::SmoothAp;
pub use snr_contrastive::SnrContrastive;
pub use soft_triple::SoftTriple;
pub use sphere_face::SphereFace;
pub use sub_center_arc_face::SubCenterArcFace;
pub use sup_con::SupCon;
pub use triplet_margin::{Margin, TripletMargin};
pub use tuplet_margin::TupletMargin;

use crate::loss::LossError;

/// `1/τ` of a temperature in range.
fn sharpness(temperature: f32) -> Result<f32, LossError> {
    let sharpness = 1.0 / temperature;
    if temperature > 0.0 && sharpness < 1e30 {
        Ok(sharpness)
    } else {
        Err(LossError::OutOfRange { name: "temperature", found: temperature.into(), wanted: "above 1e-30" })
    }
}
