//! One file a loss: its paper, its formula, its hyper-parameters, its springs.

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
mod snr_contrastive;
mod sup_con;
mod triplet_margin;

pub use angular::Angular;
pub use circle::Circle;
pub use contrastive::Contrastive;
pub use drlim::DrLim;
pub use generalized_lifted_structure::GeneralizedLiftedStructure;
pub use lifted_structure::LiftedStructure;
pub use margin::{BetaPull, Betas, MarginBased};
pub use multi_similarity::MultiSimilarity;
pub use n_pairs::NPairs;
pub use nca::Nca;
pub use normalized_softmax::NormalizedSoftmax;
pub use nt_xent::NtXent;
pub use snr_contrastive::SnrContrastive;
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
