//! What a map is worth: measured on rows that it was not fitted to, where there are some.

use std::num::NonZero;

use nearkin_classic::Pca;
use nearkin_data::table::Matrix;
use nearkin_eval::{Labeled, MetricRow, Weighting, knn_accuracy};
use nearkin_sweep::{Metric, Vectors, top_k};

use super::rows::{Colours, Divided, vectors};
use crate::failure::Failure;

/// Measures of a map beside those of the scaled features.
pub struct Scores {
    pub rows: Vec<MetricRow>,
    /// What was measured.
    pub on: String,
    /// What a reader of the numbers must know.
    pub notes: Vec<String>,
}

impl Scores {
    pub fn measure(
        train: &[f32],
        unseen: Option<&[f32]>,
        dim: usize,
        all: &Matrix,
        colours: &Colours,
        divided: &Divided,
        k: NonZero<usize>,
    ) -> Result<Self, Failure> {
        let (seen_features, unseen_features) = (all.select(&divided.train), all.select(&divided.held_out));
        let (train_rows, held_out) = (divided.train.len(), divided.held_out.len());
        let mut notes = Vec::new();
        let places = |places| Ok::<_, Failure>(Vectors::new(places, dim)?);
        let (queries, on) = match unseen.filter(|_| held_out > 0) {
            Some(unseen) => {
                let on = format!(
                    "{held_out} held-out rows ask among the {train_rows} rows of the fit, by Euclidean distance"
                );
                (Some((places(unseen)?, vectors(&unseen_features)?)), on)
            }
            None => {
                let why =
                    if held_out > 0 { "held-out rows are not on this map" } else { "no rows were held out" };
                notes.push(format!(
                    "{why}, so these figures are of the rows that the map was fitted to, and say little about new ones{}",
                    if held_out > 0 { "" } else { ": --hold-out 0.3 gives honest ones" }
                ));
                (
                    None,
                    format!(
                        "each of the {train_rows} rows of the fit asks among all others, by Euclidean distance"
                    ),
                )
            }
        };
        let asked_rows = if queries.is_some() { &divided.held_out } else { &divided.train };
        type Measure<'a> = &'a dyn Fn(Vectors<'_>, Option<Vectors<'_>>) -> Result<f64, Failure>;
        let both = |measure: Measure<'_>| {
            let (map, features) = (places(train)?, vectors(&seen_features)?);
            Ok::<_, Failure>(match queries {
                Some((places, raw)) => (measure(places, Some(map))?, measure(raw, Some(features))?),
                None => (measure(map, None)?, measure(features, None)?),
            })
        };
        let row = |name: String, (learned, baseline): (f64, f64)| MetricRow {
            name,
            learned,
            baseline: Some(baseline),
            interval: None,
        };
        let mut rows = Vec::new();
        match colours {
            Colours::Classes { .. } => {
                let (asking, searched) = (colours.labels_of(asked_rows), colours.labels_of(&divided.train));
                for k in [k.get(), 1] {
                    let found = both(&|queries, references| {
                        accuracy(
                            (queries, &asking),
                            references.map(|r| (r, &searched[..])),
                            Metric::Euclidean,
                            k,
                        )
                    })?;
                    rows.push(row(format!("knn_accuracy ({k}-NN)"), found));
                }
                rows.dedup_by(|a, b| a.name == b.name);
            }
            Colours::Numbers { .. } => {
                let (asking, searched) = (colours.numbers_of(asked_rows), colours.numbers_of(&divided.train));
                let error = |queries: Vectors<'_>, references: Option<Vectors<'_>>| {
                    mean_squared_error((queries, &asking), references.map(|r| (r, &searched[..])), k.get())
                };
                let (learned, baseline) = both(&error)?;
                let mean = asking.iter().map(|y| f64::from(*y)).sum::<f64>() / asking.len() as f64;
                let spread =
                    asking.iter().map(|y| (f64::from(*y) - mean).powi(2)).sum::<f64>() / asking.len() as f64;
                rows.push(row("r2".into(), (1.0 - learned / spread, 1.0 - baseline / spread)));
                rows.push(row("rmse".into(), (learned.sqrt(), baseline.sqrt())));
            }
            Colours::Nothing { .. } => {
                let on = "there is no label, so there is nothing to measure: --label names one".to_owned();
                return Ok(Self { rows, on, notes: Vec::new() });
            }
        }
        Ok(Self { rows, on, notes })
    }
}

/// The share of queries whose class wins the vote of their `k` nearest references.
pub fn accuracy(
    (queries, labels): (Vectors<'_>, &[u32]),
    references: Option<(Vectors<'_>, &[u32])>,
    metric: Metric,
    k: usize,
) -> Result<f64, Failure> {
    let references = references.map(|(vectors, labels)| Labeled { vectors, labels });
    let queries = Labeled { vectors: queries, labels };
    Ok(knn_accuracy(queries, references, metric, k, Weighting::Uniform)?)
}

/// Of the mean number of the `k` nearest references.
fn mean_squared_error(
    (queries, numbers): (Vectors<'_>, &[f32]),
    references: Option<(Vectors<'_>, &[f32])>,
    k: usize,
) -> Result<f64, Failure> {
    let (searched, known) = references.unwrap_or((queries, numbers));
    let near = top_k(queries, searched, Metric::Euclidean, k, references.is_none())?;
    let error = |(near, number): (&Vec<nearkin_sweep::Neighbor>, &f32)| {
        let sum: f64 = near.iter().map(|n| f64::from(known[n.index])).sum();
        (sum / near.len() as f64 - f64::from(*number)).powi(2)
    };
    Ok(near.iter().zip(numbers).map(error).sum::<f64>() / numbers.len() as f64)
}

/// Places on a plane: a map of two dimensions as it is, of one as a line, of more by the principal components of the rows
/// fitted to.
pub fn plane(train: &[f32], unseen: Option<&[f32]>, dim: usize) -> Result<Vec<[f32; 2]>, Failure> {
    let all: Vec<f32> = train.iter().chain(unseen.unwrap_or_default()).copied().collect();
    Ok(match dim {
        1 => all.iter().map(|&x| [x, 0.0]).collect(),
        2 => all.chunks_exact(2).map(|p| [p[0], p[1]]).collect(),
        _ => {
            let pca = Pca::new(2).fit(Vectors::new(train, dim)?)?;
            let flat = pca.map.transform(Vectors::new(&all, dim)?)?;
            flat.chunks_exact(2).map(|p| [p[0], p[1]]).collect()
        }
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_error_of_the_nearest_is_the_hand_worked_one() {
        let (queries, references) = ([0.0, 10.0], [1.0, -1.0, 11.0, 30.0]);
        let queries = Vectors::new(&queries, 1).unwrap();
        let references = Vectors::new(&references, 1).unwrap();
        // Of two at distance 1 the first: 2 against 1, 5 against 8.
        let found =
            mean_squared_error((queries, &[2.0, 5.0]), Some((references, &[1.0, 2.0, 8.0, 0.0])), 1).unwrap();
        assert_eq!(found, (1.0 + 9.0) / 2.0);
        let found = mean_squared_error((queries, &[2.0, 5.0]), None, 1).unwrap();
        assert_eq!(found, 9.0);
    }

    #[test]
    fn a_map_of_many_dimensions_is_drawn_by_the_components_of_the_rows_fitted_to() {
        let train = [0.0, 0.0, 0.0, 4.0, 0.0, 0.0, 0.0, 1.0, 0.0, 4.0, 1.0, 0.0];
        let points = plane(&train, Some(&[2.0, 0.5, 9.0]), 3).unwrap();
        assert_eq!(points.len(), 5);
        assert!(points[4][0].abs() < 1e-6 && points[4][1].abs() < 1e-6, "{points:?}");
        assert_eq!(plane(&[1.0, 2.0], None, 1).unwrap(), [[1.0, 0.0], [2.0, 0.0]]);
    }
}
