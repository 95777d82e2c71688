//! One file a loss: its paper, its formula, its hyper-parameters, its springs.

mod arc_face;
mod contrastive;
mod cos_face;
mod drlim;
mod large_margin_softmax;
mod multi_similarity;
mod non_parametric_softmax;
mod normalized_softmax;
mod nt_xent;
mod proxy_anchor;
mod proxy_nca;
mod soft_triple;
mod sphere_face;
mod sub_center_arc_face;
mod sup_con;
mod triplet_margin;

pub use arc_face::ArcFace;
pub use contrastive::Contrastive;
pub use cos_face::CosFace;
pub use drlim::DrLim;
pub use large_margin_softmax::LargeMarginSoftmax;
pub use multi_similarity::MultiSimilarity;
pub use non_parametric_softmax::{NonParametricNce, NonParametricSoftmax, Normalizer};
pub use normalized_softmax::NormalizedSoftmax;
pub use nt_xent::NtXent;
pub use proxy_anchor::ProxyAnchor;
pub use proxy_nca::ProxyNca;
pub use soft_triple::SoftTriple;
pub use sphere_face::SphereFace;
pub use sub_center_arc_face::SubCenterArcFace;
pub use sup_con::SupCon;
pub use triplet_margin::{Margin, TripletMargin};

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
