//! Clusters that grow together: agglomerative clustering.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, PoisonError};

use kodama::{Method, linkage};
use nearkin_sweep::{Metric, RowFold, SameLabel, Vectors, fold_rows, map_rows};
use serde::{Deserialize, Serialize};

use crate::error::{EvalError, Side};
use crate::labeled::check_finite;

/// Vectors whose distances are held at once: 800 MB.
const MOST_LINKED: usize = 20_000;

/// How far two clusters are apart.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Linkage {
    /// By their nearest pair. Cut at a distance, the clusters are the connected components of the threshold graph.
    Single,
    /// By their farthest pair.
    Complete,
    /// By the mean of all pairs.
    #[default]
    Average,
    /// By how much a merger adds to the sum of squared distances from the clusters' means (Ward 1963), as
    /// `√(2 |A| |B| / (|A| + |B|)) ‖mean A − mean B‖`.
    Ward,
}

impl Linkage {
    fn name(self) -> &'static str {
        match self {
            Linkage::Single => "single",
            Linkage::Complete => "complete",
            Linkage::Average => "average",
            Linkage::Ward => "ward",
        }
    }
}

/// Where to cut a dendrogram.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Cut {
    /// Into this many clusters, from 1 to the number of vectors.
    Clusters(usize),
    /// Every merger up to this distance is made.
    Distance(f32),
}

/// Two clusters become one. Cluster `i < n` is vector `i`; the merger at place `m` makes cluster `n + m`.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Merger {
    /// The two clusters, the lower number first.
    pub clusters: (usize, usize),
    /// How far they were apart.
    pub distance: f32,
}

/// The order in which vectors grow together.
#[derive(Debug, Clone, PartialEq)]
pub struct Dendrogram {
    vectors: usize,
    mergers: Vec<Merger>,
}

impl Dendrogram {
    /// One merger fewer than vectors, in ascending order of distance.
    pub fn mergers(&self) -> &[Merger] {
        &self.mergers
    }

    /// The cluster of each vector, numbered from 0 in order of their first vector.
    ///
    /// # Errors
    /// A number of clusters that is 0 or above the number of vectors, and a distance that is not a number.
    pub fn cut(&self, at: Cut) -> Result<Vec<u32>, EvalError> {
        let made = match at {
            Cut::Clusters(wanted) if wanted == 0 || wanted > self.vectors => {
                return Err(EvalError::Setting {
                    field: "clusters",
                    found: wanted.to_string(),
                    wanted: "at least 1, and at most one a vector",
                });
            }
            Cut::Clusters(wanted) => self.vectors - wanted,
            Cut::Distance(distance) if distance.is_nan() => {
                return Err(EvalError::Setting {
                    field: "distance",
                    found: distance.to_string(),
                    wanted: "a number",
                });
            }
            Cut::Distance(distance) => self.mergers.partition_point(|merger| merger.distance <= distance),
        };
        let mut sets = Sets::new(self.vectors + made);
        for (place, merger) in self.mergers[..made].iter().enumerate() {
            sets.join(merger.clusters.0, self.vectors + place);
            sets.join(merger.clusters.1, self.vectors + place);
        }
        let mut numbers = vec![u32::MAX; self.vectors + made];
        let mut next = 0;
        Ok((0..self.vectors)
            .map(|i| {
                let number = &mut numbers[sets.find(i)];
                if *number == u32::MAX {
                    *number = next;
                    next += 1;
                }
                *number
            })
            .collect())
    }
}

/// Agglomerative clustering of `vectors`: the nearest two clusters become one, until one is left (Lance & Williams 1967; FaceNet's
/// clustering of faces, Schroff et al. 2015).
///
/// Distances are the metric's own; for the cosine `1 − s`. Ward's linkage takes Euclidean distances under both Euclidean metrics, and
/// those of vectors of unit length under the cosine.
///
/// Single linkage finds the minimum spanning tree by Borůvka's rounds, each a sweep in which every vector finds its nearest in another
/// component: `O(n² d)` a round, at most `log₂ n` rounds, and 24 bytes a vector. The other three need all distances at once (the
/// `kodama` crate; Müllner 2011, *Modern hierarchical, agglomerative clustering algorithms*): `O(n² d)` time and `2 n²` bytes, so they
/// are limited to 20,000 vectors, which take 800 MB. Equal distances go to the lowest vectors under single linkage.
///
/// # Errors
/// No vectors, a value that is not finite, the dot product (it is no distance), more than 20,000 vectors for other than single linkage,
/// and scores beyond f32.
pub fn agglomerate(vectors: Vectors<'_>, metric: Metric, by: Linkage) -> Result<Dendrogram, EvalError> {
    check_finite(vectors, Side::Embeddings)?;
    if metric == Metric::Dot {
        return Err(EvalError::Setting {
            field: "metric",
            found: metric.to_string(),
            wanted: "cosine, euclidean or squared-euclidean: a dot product is no distance",
        });
    }
    if by == Linkage::Single {
        return single(vectors, metric);
    }
    let n = vectors.len();
    if n > MOST_LINKED {
        let bytes = n as u64 * (n as u64 - 1) / 2 * 4;
        return Err(EvalError::TooManyToLink { linkage: by.name(), vectors: n, bytes, limit: MOST_LINKED });
    }
    let mut distances = condensed(vectors, metric, by)?;
    let method = match by {
        Linkage::Single => Method::Single,
        Linkage::Complete => Method::Complete,
        Linkage::Average => Method::Average,
        Linkage::Ward => Method::Ward,
    };
    let steps = linkage(&mut distances, n, method);
    let mergers = steps.steps().iter().map(|step| Merger {
        clusters: (step.cluster1.min(step.cluster2), step.cluster1.max(step.cluster2)),
        distance: step.dissimilarity,
    });
    Ok(Dendrogram { vectors: n, mergers: mergers.collect() })
}

/// The distances of all pairs `i < j`, row by row.
fn condensed(vectors: Vectors<'_>, metric: Metric, by: Linkage) -> Result<Vec<f32>, EvalError> {
    let n = vectors.len();
    let mut distances = vec![0.0f32; n * (n - 1) / 2];
    let swept = match (by, metric) {
        (Linkage::Ward, Metric::SquaredEuclidean) => Metric::Euclidean,
        _ => metric,
    };
    let distance = |score: f32| match (metric, by) {
        (Metric::Cosine, Linkage::Ward) => (2.0 - 2.0 * score).max(0.0).sqrt(),
        (Metric::Cosine, _) => (1.0 - score).max(0.0),
        _ => score,
    };
    let finite = {
        let mut rest = distances.as_mut_slice();
        let rows: Vec<Mutex<&mut [f32]>> = (0..n)
            .map(|i| {
                let (row, others) = std::mem::take(&mut rest).split_at_mut(n - 1 - i);
                rest = others;
                Mutex::new(row)
            })
            .collect();
        let labels = vec![0; n];
        map_rows(vectors, None, swept, &SameLabel::within(&labels), |row, _| {
            let mut out = rows[row.query].lock().unwrap_or_else(PoisonError::into_inner);
            let scores = &row.scores[row.query + 1..];
            out.iter_mut().zip(scores).for_each(|(d, s)| *d = distance(*s));
            out.iter().all(|d| d.is_finite())
        })?
    };
    match finite.iter().position(|finite| !finite) {
        Some(query) => Err(EvalError::ScoreOverflow { metric: swept, query }),
        None => Ok(distances),
    }
}

/// A pair, the lower vector first, and how far apart it is: compared by distance, then by the vectors.
type Edge = (f32, u32, u32);

fn before(a: Edge, b: Edge) -> bool {
    a.0.total_cmp(&b.0).then((a.1, a.2).cmp(&(b.1, b.2))).is_lt()
}

fn single(vectors: Vectors<'_>, metric: Metric) -> Result<Dendrogram, EvalError> {
    let n = vectors.len();
    let mut sets = Sets::new(n);
    let mut tree: Vec<Edge> = Vec::with_capacity(n - 1);
    while tree.len() + 1 < n {
        let components: Vec<u32> = (0..n).map(|i| sets.find(i) as u32).collect();
        let fold = NearestStranger { components: &components, metric, finite: AtomicBool::new(true) };
        let nearest = fold_rows(vectors, vectors, metric, &fold)?;
        if !fold.finite.into_inner() {
            let query = nearest.iter().position(Option::is_none).unwrap_or(0);
            return Err(EvalError::ScoreOverflow { metric, query });
        }
        let mut of_component: Vec<Option<Edge>> = vec![None; n];
        for (edge, &component) in nearest.iter().zip(&components) {
            let best = &mut of_component[component as usize];
            if let Some(edge) = *edge
                && best.is_none_or(|best| before(edge, best))
            {
                *best = Some(edge);
            }
        }
        // Two components may choose the same pair.
        tree.extend(
            of_component.into_iter().flatten().filter(|edge| sets.join(edge.1 as usize, edge.2 as usize)),
        );
    }
    tree.sort_by(|a, b| a.0.total_cmp(&b.0).then((a.1, a.2).cmp(&(b.1, b.2))));
    let mut sets = Sets::new(n);
    let mut cluster: Vec<usize> = (0..n).collect();
    let mergers = tree.into_iter().enumerate().map(|(place, (distance, i, j))| {
        let (a, b) = (cluster[sets.find(i as usize)], cluster[sets.find(j as usize)]);
        sets.join(i as usize, j as usize);
        cluster[sets.find(i as usize)] = n + place;
        Merger { clusters: (a.min(b), a.max(b)), distance }
    });
    Ok(Dendrogram { vectors: n, mergers: mergers.collect() })
}

/// Each vector's nearest of another component.
struct NearestStranger<'a> {
    components: &'a [u32],
    metric: Metric,
    finite: AtomicBool,
}

impl RowFold for NearestStranger<'_> {
    type Row = Option<Edge>;

    fn start(&self, _query: usize) -> Option<Edge> {
        None
    }

    fn tile(&self, query: usize, first: usize, scores: &[f32], row: &mut Option<Edge>) {
        let own = self.components[query];
        for (j, &score) in scores.iter().enumerate() {
            if self.components[first + j] == own {
                continue;
            }
            if !score.is_finite() {
                self.finite.store(false, Ordering::Relaxed);
                continue;
            }
            let distance = if self.metric == Metric::Cosine { (1.0 - score).max(0.0) } else { score };
            let (i, j) = (query as u32, (first + j) as u32);
            let edge = (distance, i.min(j), i.max(j));
            if row.is_none_or(|best| before(edge, best)) {
                *row = Some(edge);
            }
        }
    }
}

/// Disjoint sets.
struct Sets {
    parents: Vec<u32>,
}

impl Sets {
    fn new(n: usize) -> Self {
        Self { parents: (0..n as u32).collect() }
    }

    fn find(&mut self, i: usize) -> usize {
        let mut i = i as u32;
        while self.parents[i as usize] != i {
            let grandparent = self.parents[self.parents[i as usize] as usize];
            self.parents[i as usize] = grandparent;
            i = grandparent;
        }
        i as usize
    }

    /// Whether they were apart.
    fn join(&mut self, i: usize, j: usize) -> bool {
        let (i, j) = (self.find(i), self.find(j));
        self.parents[i.max(j)] = i.min(j) as u32;
        i != j
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn on_a_line(points: &[f32]) -> Vectors<'_> {
        Vectors::new(points, 1).unwrap()
    }

    fn scattered(n: u64, dim: u64) -> Vec<f32> {
        (0..n * dim).map(|i| (i * 2_654_435_761 % 100_003) as f32 / 10_000.0 + 0.5).collect()
    }

    #[test]
    fn four_points_by_hand() {
        // 0, 1, 3, 7: gaps 1, 2, 4.
        let distances = |by| {
            let found = agglomerate(on_a_line(&[0.0, 1.0, 3.0, 7.0]), Metric::Euclidean, by).unwrap();
            assert_eq!(found.mergers()[0].clusters, (0, 1));
            assert_eq!(found.mergers()[1].clusters, (2, 4));
            assert_eq!(found.mergers()[2].clusters, (3, 5));
            found.mergers().iter().map(|m| m.distance).collect::<Vec<_>>()
        };
        assert_eq!(distances(Linkage::Single), [1.0, 2.0, 4.0]);
        assert_eq!(distances(Linkage::Complete), [1.0, 3.0, 7.0]);
        assert_eq!(distances(Linkage::Average), [1.0, 2.5, (7.0 + 6.0 + 4.0) / 3.0]);
        let ward = distances(Linkage::Ward);
        // √(2·2·1/3) · 2.5 and √(2·3·1/4) · (7 − 4/3).
        for (found, wanted) in ward.iter().zip([1.0, (4f32 / 3.0).sqrt() * 2.5, 1.5f32.sqrt() * (17.0 / 3.0)])
        {
            assert!((found - wanted).abs() < 1e-5, "{ward:?}");
        }
    }

    #[test]
    fn cuts_by_number_and_by_distance() {
        let found =
            agglomerate(on_a_line(&[5.0, 0.0, 1.0, 5.5]), Metric::Euclidean, Linkage::Single).unwrap();
        assert_eq!(found.cut(Cut::Clusters(4)).unwrap(), [0, 1, 2, 3]);
        assert_eq!(found.cut(Cut::Clusters(2)).unwrap(), [0, 1, 1, 0]);
        assert_eq!(found.cut(Cut::Clusters(1)).unwrap(), [0; 4]);
        assert_eq!(found.cut(Cut::Distance(0.5)).unwrap(), [0, 1, 2, 0]);
        assert_eq!(found.cut(Cut::Distance(0.4)).unwrap(), [0, 1, 2, 3]);
        assert_eq!(found.cut(Cut::Distance(f32::INFINITY)).unwrap(), [0; 4]);
        assert!(found.cut(Cut::Clusters(0)).is_err() && found.cut(Cut::Clusters(5)).is_err());
        assert!(found.cut(Cut::Distance(f32::NAN)).is_err());
    }

    /// The threshold graph's components, by flooding.
    fn components(vectors: Vectors<'_>, metric: Metric, threshold: f32) -> Vec<u32> {
        let distance = |i: usize, j: usize| {
            let s = metric.score(vectors.row(i), vectors.row(j));
            if metric == Metric::Cosine { 1.0 - s } else { s }
        };
        let mut found = vec![u32::MAX; vectors.len()];
        let mut next = 0;
        for start in 0..vectors.len() {
            if found[start] != u32::MAX {
                continue;
            }
            let mut open = vec![start];
            found[start] = next;
            while let Some(i) = open.pop() {
                for (j, number) in found.iter_mut().enumerate() {
                    if *number == u32::MAX && distance(i, j) <= threshold {
                        *number = next;
                        open.push(j);
                    }
                }
            }
            next += 1;
        }
        found
    }

    #[test]
    fn single_linkage_cut_at_a_distance_is_the_threshold_graph() {
        let points = scattered(300, 3);
        let v = Vectors::new(&points, 3).unwrap();
        for (metric, thresholds) in [
            (Metric::Euclidean, [0.3, 0.9, 1.3]),
            (Metric::SquaredEuclidean, [0.1, 0.8, 1.7]),
            (Metric::Cosine, [0.0005, 0.002, 0.01]),
        ] {
            let found = agglomerate(v, metric, Linkage::Single).unwrap();
            for t in thresholds {
                // Not where a distance lies within rounding of the threshold.
                let clear = found.mergers().iter().all(|m| (m.distance - t).abs() > 1e-6);
                assert!(clear, "{metric} {t}");
                assert_eq!(found.cut(Cut::Distance(t)).unwrap(), components(v, metric, t), "{metric} {t}");
            }
        }
    }

    #[test]
    fn single_linkage_has_the_mergers_of_the_library() {
        let points = scattered(200, 2);
        let v = Vectors::new(&points, 2).unwrap();
        let found = agglomerate(v, Metric::Euclidean, Linkage::Single).unwrap();
        let mut distances = condensed(v, Metric::Euclidean, Linkage::Single).unwrap();
        let steps = linkage(&mut distances, 200, Method::Single);
        for (merger, step) in found.mergers().iter().zip(steps.steps()) {
            assert_eq!(merger.distance, step.dissimilarity);
        }
    }

    #[test]
    fn copies_and_single_vectors_are_no_trouble() {
        for by in [Linkage::Single, Linkage::Complete, Linkage::Average, Linkage::Ward] {
            let found = agglomerate(on_a_line(&[2.0; 40]), Metric::Euclidean, by).unwrap();
            assert_eq!(found.mergers().len(), 39);
            assert!(found.mergers().iter().all(|m| m.distance == 0.0));
            let one = agglomerate(on_a_line(&[2.0]), Metric::Cosine, by).unwrap();
            assert_eq!(one.cut(Cut::Clusters(1)).unwrap(), [0]);
        }
    }

    #[test]
    fn ward_by_cosine_is_ward_of_unit_vectors() {
        let points = scattered(60, 4);
        let unit: Vec<f32> = points
            .chunks(4)
            .flat_map(|p| {
                let norm = p.iter().map(|x| x * x).sum::<f32>().sqrt();
                p.iter().map(move |x| x / norm)
            })
            .collect();
        let cosine = agglomerate(Vectors::new(&points, 4).unwrap(), Metric::Cosine, Linkage::Ward).unwrap();
        let plain =
            agglomerate(Vectors::new(&unit, 4).unwrap(), Metric::SquaredEuclidean, Linkage::Ward).unwrap();
        assert_eq!(cosine.cut(Cut::Clusters(7)).unwrap(), plain.cut(Cut::Clusters(7)).unwrap());
    }

    #[test]
    fn what_cannot_be_clustered_is_refused_with_the_reason() {
        let error =
            |points: &[f32], metric, by| agglomerate(on_a_line(points), metric, by).unwrap_err().to_string();
        assert!(error(&[1.0, 2.0], Metric::Dot, Linkage::Single).contains("no distance"));
        let many = error(&vec![1.0; 20_001], Metric::Euclidean, Linkage::Average);
        assert!(
            many.contains("800040000 bytes") && many.contains("20000") && many.contains("single"),
            "{many}"
        );
        assert!(error(&[-3e38, 3e38], Metric::Euclidean, Linkage::Single).contains("not finite"));
        assert!(error(&[-3e38, 3e38], Metric::Euclidean, Linkage::Ward).contains("not finite"));
        assert!(error(&[], Metric::Euclidean, Linkage::Ward).contains("no vectors"));
    }
}
