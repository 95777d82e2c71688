//! The learning rate of a step.

use serde::{Deserialize, Serialize};

/// Linear warm-up, then a decay to a final fraction.
///
/// A closed form of the step: there is no state to save or to lose.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(default, rename_all = "kebab-case", deny_unknown_fields)]
pub struct Schedule {
    /// Epochs over which the rate rises from 0 to its peak. May be fractional.
    pub warmup_epochs: f64,
    /// The last step's rate as a fraction of the peak, 0 to 1; 1 keeps it constant.
    pub final_fraction: f64,
    /// How the rate falls from its peak.
    pub decay: Decay,
}

/// How the rate falls.
#[derive(Debug, Clone, Copy, PartialEq, Default, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub enum Decay {
    /// Along a cosine (Loshchilov & Hutter 2017, without restarts).
    #[default]
    Cosine,
    /// Not at all before `start`, a part of all steps, and then by the same factor each step (Hermans, Beyer, Leibe 2017, eq. 8: from
    /// 15,000 of 25,000 steps to 0.001 of the peak).
    Exponential {
        /// 0 to below 1.
        start: f64,
    },
}

impl Default for Schedule {
    fn default() -> Self {
        Self { warmup_epochs: 1.0, final_fraction: 0.0, decay: Decay::Cosine }
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
        let after = |start: f64| ((done - start) / (total as f64 - start).max(1.0)).clamp(0.0, 1.0);
        match self.decay {
            Decay::Cosine => {
                let cosine = 0.5 * (1.0 + (std::f64::consts::PI * after(warmup)).cos());
                self.final_fraction + (1.0 - self.final_fraction) * cosine
            }
            Decay::Exponential { start } => self.final_fraction.powf(after(warmup.max(start * total as f64))),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_rate_rises_to_its_peak_and_falls_to_its_end() {
        let schedule = Schedule { warmup_epochs: 2.0, final_fraction: 0.1, ..Schedule::default() };
        let factors: Vec<f64> = (0..100).map(|step| schedule.factor(step, 10, 100)).collect();
        assert_eq!(factors[0], 0.05);
        assert_eq!(factors[19], 1.0);
        assert!(factors[20..].windows(2).all(|w| w[1] < w[0]));
        assert!((factors[99] - 0.1).abs() < 1e-12);
    }

    #[test]
    fn a_final_fraction_of_one_without_warm_up_is_constant() {
        let schedule = Schedule { warmup_epochs: 0.0, final_fraction: 1.0, ..Schedule::default() };
        assert!((0..7).all(|step| schedule.factor(step, 7, 7) == 1.0));
    }

    #[test]
    fn an_exponential_decay_begins_late_and_falls_by_one_factor() {
        let text = "warmup-epochs = 0.0\nfinal-fraction = 0.001\ndecay = { exponential = { start = 0.6 } }";
        let schedule: Schedule = toml::from_str(text).unwrap();
        let factors: Vec<f64> = (0..100).map(|step| schedule.factor(step, 10, 100)).collect();
        assert!(factors[..60].iter().all(|factor| *factor == 1.0));
        assert!((factors[79] - 0.001f64.sqrt()).abs() < 1e-12 && (factors[99] - 0.001).abs() < 1e-12);
        for pair in factors[60..].windows(2) {
            assert!((pair[1] / pair[0] - 0.001f64.powf(1.0 / 40.0)).abs() < 1e-12);
        }
    }
}
