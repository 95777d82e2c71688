//! Verification: are two samples kin? Rates of right and wrong acceptance over pairs.

mod all_pairs;
mod bins;
mod drawn;
mod listed;
mod resampling;

use nearkin_sweep::Metric;
use serde::Serialize;

use crate::error::EvalError;

pub use all_pairs::{Verification, verify};
pub(crate) use bins::nearness;
pub use drawn::{DrawnPairs, draw_pairs};
pub use listed::{PairAccuracy, PairVerification, PairVerificationOptions, verify_pairs};

/// How to verify.
#[derive(Debug, Clone, PartialEq)]
pub struct VerificationOptions {
    /// How near two vectors are. Default: cosine.
    pub metric: Metric,
    /// The false-accept rates wanted, each above 0 and at most 1. Default: 0.1, 0.01, 0.001.
    pub false_accept_rates: Vec<f64>,
}

impl Default for VerificationOptions {
    fn default() -> Self {
        Self { metric: Metric::default(), false_accept_rates: vec![1e-1, 1e-2, 1e-3] }
    }
}

/// Acceptance at the loosest threshold that keeps a wanted false-accept rate.
///
/// Pairs are accepted whose score is at least as near as the threshold: `s ≥ t` for similarities, `s ≤ t` for distances. FaceNet calls the
/// true-accept rate VAL (Schroff et al. 2015: `VAL(d) = |TA(d)| / |P_same|`, `FAR(d) = |FA(d)| / |P_diff|`).
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct OperatingPoint {
    /// The rate asked for.
    pub wanted_false_accept_rate: f64,
    /// The threshold, in the metric's units.
    pub threshold: f32,
    /// Pairs of strangers accepted at it. With fewer than about ten the figures here are luck: see the intervals.
    pub false_accepts: u64,
    /// The share of strangers accepted at it, counted exactly, at most the wanted one.
    pub false_accept_rate: f64,
    /// The share of kin accepted at it, counted exactly.
    pub true_accept_rate: f64,
    /// No threshold that keeps the wanted rate accepts a larger share of kin than this: what the resolution of the histogram can
    /// hide, at most 1e-4 above `true_accept_rate` unless scores are equal to the last bit.
    pub true_accept_rate_limit: f64,
    /// 95 % bootstrap interval of the true-accept rate at the wanted false-accept rate; the threshold moves with each resample. `None`
    /// where there are too few classes to resample.
    pub true_accept_rate_interval: Option<(f64, f64)>,
    /// 95 % bootstrap interval of the false-accept rate at this very threshold.
    pub false_accept_rate_interval: Option<(f64, f64)>,
    /// 95 % bootstrap interval of the threshold.
    pub threshold_interval: Option<(f32, f32)>,
}

/// A threshold and the rates at it, counted exactly.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct RocPoint {
    /// Pairs at least this near are accepted.
    pub threshold: f32,
    /// The share of strangers accepted.
    pub false_accept_rate: f64,
    /// The share of kin accepted.
    pub true_accept_rate: f64,
}

/// The rate at which as many strangers are accepted as kin are refused, `FAR = 1 − TAR`, from points in order of rising rates; linear
/// between two points.
fn equal_error_rate(points: impl Iterator<Item = (f64, f64)>) -> f64 {
    let mut before = (0.0, 0.0);
    for (far, tar) in points {
        let ahead = far - (1.0 - tar);
        if ahead >= 0.0 {
            let behind: f64 = 1.0 - before.1 - before.0;
            let part = if behind + ahead > 0.0 { behind / (behind + ahead) } else { 0.0 };
            return before.0 + part * (far - before.0);
        }
        before = (far, tar);
    }
    before.0
}

fn check_rates(rates: &[f64]) -> Result<(), EvalError> {
    match rates.iter().find(|rate| !(**rate > 0.0 && **rate <= 1.0)) {
        None => Ok(()),
        Some(rate) => Err(EvalError::Setting {
            field: "false_accept_rates",
            found: rate.to_string(),
            wanted: "every rate above 0 and at most 1",
        }),
    }
}

fn undefined(reason: &str) -> EvalError {
    EvalError::Undefined { measure: "verification", reason: reason.to_owned() }
}
