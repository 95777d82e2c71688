//! The histogram loss.
//!
//! E. Ustinova, V. Lempitsky, "Learning Deep Embeddings with Histogram Loss", 2016. The cosines of all pairs of kin
//! and of all pairs of strangers each make a histogram of `R + 1` nodes from −1 to 1, a cosine being shared between the two
//! nodes around it. The loss is the probability that strangers are nearer than kin:
//!
//! ```text
//! L = Σ_r h⁻_r Σ_{q≤r} h⁺_q
//! ```
//!
//! one term a batch; 0 when kin or strangers are missing. Unlike pytorch-metric-learning's, it takes in the pair of two
//! strangers that have no kin.

use nearkin_sweep::{Metric, Relation, Row, RowSprings, map_rows, pull_rows};

use crate::loss::{Loss, LossError, Pull, Sides};
use crate::tuples::Tuples;

/// The histogram loss. It is no mean of terms: reducers have no effect.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Histogram {
    bins: usize,
}

impl Default for Histogram {
    /// pytorch-metric-learning's: 100 bins, so nodes are 0.02 apart.
    fn default() -> Self {
        Self { bins: 100 }
    }
}

impl Histogram {
    /// With `R` bins between −1 and 1. Memory: `2 (R + 1)` numbers a query.
    ///
    /// # Errors
    /// When there is no bin, or more than 10,000.
    pub fn new(bins: usize) -> Result<Self, LossError> {
        if !(1..=10_000).contains(&bins) {
            return Err(LossError::OutOfRange { name: "bins", found: bins as f64, wanted: "1 to 10,000" });
        }
        Ok(Self { bins })
    }

    /// The node below a cosine, and how far beyond it, in bins.
    fn place(&self, cosine: f32) -> (usize, f64) {
        let bins = self.bins as f64;
        let z = ((f64::from(cosine) + 1.0) * bins / 2.0).clamp(0.0, bins);
        let node = (z as usize).min(self.bins - 1);
        (node, z - node as f64)
    }
}

/// Kin are kind 0, strangers kind 1.
fn kind(relation: Relation) -> Option<usize> {
    match relation {
        Relation::Kin => Some(0),
        Relation::Stranger => Some(1),
        Relation::Excluded => None,
    }
}

impl Loss for Histogram {
    fn pull(&self, sides: &Sides<'_>) -> Result<Pull, LossError> {
        let &Sides { queries, references, kin, .. } = sides;
        let nodes = self.bins + 1;
        let rows = map_rows(queries, references, Metric::Cosine, kin, |row, _| {
            let mut histograms = [vec![0.0; nodes], vec![0.0; nodes]];
            for (j, relation) in row.relations.iter().enumerate() {
                let Some(kind) = kind(*relation) else { continue };
                let (node, beyond) = self.place(row.scores[j]);
                let weight = f64::from(row.weight(j));
                histograms[kind][node] += weight * (1.0 - beyond);
                histograms[kind][node + 1] += weight * beyond;
            }
            histograms
        })?;
        let mut shares = [vec![0.0; nodes], vec![0.0; nodes]];
        for row in &rows {
            for (all, row) in shares.iter_mut().zip(row) {
                all.iter_mut().zip(row).for_each(|(all, row)| *all += row);
            }
        }
        let counts = [0, 1].map(|kind| shares[kind].iter().sum::<f64>());
        if counts.contains(&0.0) {
            return Ok(Pull::none(sides));
        }
        for (shares, count) in shares.iter_mut().zip(counts) {
            shares.iter_mut().for_each(|share| *share /= count);
        }
        let [near, far] = &shares;
        let (mut loss, mut below) = (0.0, 0.0);
        for (near, far) in near.iter().zip(far) {
            below += near;
            loss += far * below;
        }
        // A cosine that rises takes its share from node r to r + 1: for kin L falls by h⁻_r,
        // for strangers it rises by h⁺_{r+1}.
        let per_cosine = self.bins as f64 / 2.0;
        let slopes = (0..self.bins)
            .map(|r| [-far[r] * per_cosine / counts[0], near[r + 1] * per_cosine / counts[1]])
            .collect();
        let springs = Sloped { loss: self, slopes };
        let (gradients, _) = pull_rows(queries, references, Metric::Cosine, kin, &springs)?;
        let (query_gradient, reference_gradient) = gradients.scaled(1.0);
        let active = usize::from(loss > 0.0 || loss.is_nan());
        Ok(Pull { loss, terms: 1, active, query_gradient, reference_gradient })
    }

    fn pull_mined(&self, sides: &Sides<'_>, tuples: &Tuples) -> Result<Pull, LossError> {
        // Each pair counts once; among one set, whichever way round it is named.
        let (mut kin, mut strangers) = tuples.pairs();
        if sides.references.is_none() {
            for pairs in [&mut kin, &mut strangers] {
                pairs.extend(pairs.clone().into_iter().map(|(a, b)| (b, a)));
            }
        }
        self.pull(&Sides { kin: &Tuples::Pairs { kin, strangers }.as_kin(sides)?.once(), ..*sides })
    }
}

/// The loss with its histograms found: what a pair of each kind does in each bin.
struct Sloped<'a> {
    loss: &'a Histogram,
    slopes: Vec<[f64; 2]>,
}

impl RowSprings for Sloped<'_> {
    type Kept = ();

    fn pull(&self, row: &Row<'_>, forces: &mut [f32]) {
        for (j, (force, relation)) in forces.iter_mut().zip(row.relations).enumerate() {
            let Some(kind) = kind(*relation) else { continue };
            let (node, _) = self.loss.place(row.scores[j]);
            *force = row.weight(j) * self.slopes[node][kind] as f32;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use nearkin_sweep::{SameLabel, Vectors};

    #[test]
    fn a_hand_worked_query_in_two_bins() {
        // Nodes −1, 0, 1. Kin at 0: h⁺ = 0 1 0. Strangers at −1, 1 and ½: h⁻ = (1, ½, 1½)/3. L = (½ + 1½)/3.
        let kin = SameLabel::between(&[0], &[0, 1, 1, 1]);
        let (query, references) = ([2.0, 0.0], [0.0, 1.0, -3.0, 0.0, 1.0, 0.0, 0.5, 0.75f32.sqrt()]);
        let sides =
            Sides::between(Vectors::new(&query, 2).unwrap(), Vectors::new(&references, 2).unwrap(), &kin);
        let found = Histogram::new(2).unwrap().pull(&sides).unwrap();
        assert!((found.loss - 2.0 / 3.0).abs() < 1e-6, "{}", found.loss);
        assert_eq!((found.terms, found.active), (1, 1));
    }

    #[test]
    fn without_strangers_there_is_no_loss_and_without_bins_no_histogram() {
        let kin = SameLabel::within(&[0, 0]);
        let sides = Sides::within(Vectors::new(&[1.0, 0.0, 0.0, 1.0], 2).unwrap(), &kin);
        assert_eq!(Histogram::default().pull(&sides).unwrap(), Pull::none(&sides));
        assert!(Histogram::new(0).unwrap_err().to_string().starts_with("bins = 0"));
    }
}
