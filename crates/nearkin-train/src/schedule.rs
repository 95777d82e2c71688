//! The learning rate of a step.

use serde::{Deserialize, Serialize};

/// Linear warm-up, then a cosine to a final fraction (Loshchilov & Hutter 2017, without restarts).
///
/// A closed form of the step: there is no state to save or to lose.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(default, rename_all = "kebab-case", deny_unknown_fields)]
pub struct Schedule {
    /// Epochs over which the rate rises from 0 to its peak. May be fractional.
    pub warmup_epochs: f64,
    /// The last step's rate as a fraction of the peak, 0 to 1; 1 keeps it constant.
    pub final_fraction: f64,
}

impl Default for Schedule {
    fn default() -> Self {
        Self { warmup_epochs: 1.0, final_fraction: 0.0 }
    }
}

impl Schedule {
    /// The factor on the peak rate at `step` (from 0) of `total`, with `per_epoch` steps an epoch.
    pub fn factor(&self, step: usize, per_epoch: usize, total: usize) -> f64 {
        let warmup = (self.warmup_epochs * per_epoch as f64).round().min(total as f64);
        let done = step as f64 + 1.0;
        if done <= warmup {
            return done / warmup;
        }
        let progress = (done - warmup) / (total as f64 - warmup).max(1.0);
        let cosine = 0.5 * (1.0 + (std::f64::consts::PI * progress.min(1.0)).cos());
        self.final_fraction + (1.0 - self.final_fraction) * cosine
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_rate_rises_to_its_peak_and_falls_to_its_end() {
        let schedule = Schedule { warmup_epochs: 2.0, final_fraction: 0.1 };
        let factors: Vec<f64> = (0..100).map(|step| schedule.factor(step, 10, 100)).collect();
        assert_eq!(factors[0], 0.05);
        assert_eq!(factors[19], 1.0);
        assert!(factors[20..].windows(2).all(|w| w[1] < w[0]));
        assert!((factors[99] - 0.1).abs() < 1e-12);
    }

    #[test]
    fn a_final_fraction_of_one_without_warm_up_is_constant() {
        let schedule = Schedule { warmup_epochs: 0.0, final_fraction: 1.0 };
        assert!((0..7).all(|step| schedule.factor(step, 7, 7) == 1.0));
    }
}
