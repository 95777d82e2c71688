//! Searches of many clients at once: queries that wait go through the sweep together, which reads the vectors once for all of them.

use std::sync::Arc;

use nearkin_index::{Filter, SearchOptions, Snapshot};
use nearkin_sweep::Vectors;

use crate::batcher::{Batcher, Weighed};
use crate::error::ApiError;
use crate::server::Limits;
use crate::store::Store;

/// Queries of one request.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Asked {
    /// `n × dim` values.
    pub queries: Vec<f32>,
    pub how: How,
}

/// What queries must agree in to be searched together: results never depend on who else asks.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct How {
    pub k: usize,
    pub options: SearchOptions,
    /// Values a query, as the index had when it was asked.
    pub dim: usize,
    /// Which rows.
    pub filter: Option<Filter>,
}

/// A row of a snapshot, and how near it is.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct Found {
    pub row: usize,
    pub score: f32,
}

/// What was found for each query, nearest first, and in what.
pub(crate) struct Answered {
    pub snapshot: Arc<Snapshot>,
    pub found: Vec<Vec<Found>>,
}

impl Weighed for Asked {
    fn weight(&self) -> usize {
        self.queries.len() / self.how.dim
    }
}

pub(crate) type Searcher = Batcher<Asked, Answered>;

/// Starts the thread that searches.
pub(crate) fn start(store: Arc<Store>, limits: &Limits) -> std::io::Result<Searcher> {
    Batcher::start("search", limits.queue, limits.batch, move |batch| search(&store.snapshot(), batch))
}

fn search(snapshot: &Arc<Snapshot>, batch: Vec<Asked>) -> Vec<Result<Answered, ApiError>> {
    let mut answers: Vec<Option<Result<Answered, ApiError>>> = batch.iter().map(|_| None).collect();
    while let Some(first) = answers.iter().position(Option::is_none) {
        let how = batch[first].how.clone();
        let alike: Vec<usize> =
            (first..batch.len()).filter(|&i| answers[i].is_none() && batch[i].how == how).collect();
        let queries: Vec<f32> = alike.iter().flat_map(|&i| &batch[i].queries).copied().collect();
        match together(snapshot, &queries, &how) {
            Ok(mut found) => {
                for &i in &alike {
                    let rest = found.split_off(batch[i].weight());
                    answers[i] = Some(Ok(Answered { snapshot: Arc::clone(snapshot), found }));
                    found = rest;
                }
            }
            // Whose fault it was is found out by asking each alone.
            Err(error) => {
                for &i in &alike {
                    let alone = if alike.len() == 1 {
                        Err(error.clone())
                    } else {
                        together(snapshot, &batch[i].queries, &how)
                    };
                    answers[i] = Some(alone.map(|found| Answered { snapshot: Arc::clone(snapshot), found }));
                }
            }
        }
    }
    answers.into_iter().flatten().collect()
}

fn together(snapshot: &Snapshot, queries: &[f32], how: &How) -> Result<Vec<Vec<Found>>, ApiError> {
    let queries = Vectors::new(queries, how.dim).map_err(|e| ApiError::internal(e.to_string()))?;
    let within = how.filter.as_ref().map(|filter| snapshot.select(filter)).transpose()?;
    let hits = snapshot.search(queries, how.k, how.options, within.as_ref())?;
    let found = |hits: Vec<nearkin_index::Hit<'_>>| {
        hits.into_iter().map(|hit| Found { row: hit.index, score: hit.score }).collect()
    };
    Ok(hits.into_iter().map(found).collect())
}

#[cfg(test)]
mod tests {
    use nearkin_index::{BuildOptions, Embeddings, build};
    use nearkin_sweep::Metric;

    use super::*;

    #[test]
    fn each_request_of_a_batch_gets_what_it_would_get_alone() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("a.index");
        let vectors: Vec<f32> = (0..300 * 4).map(|i| (i * 37 % 101) as f32 - 50.0).collect();
        let table = Embeddings {
            vectors: vectors.clone(),
            dim: 4,
            ids: (0..300).map(|i| i.to_string()).collect(),
            ..Embeddings::default()
        };
        let options = BuildOptions { metric: Some(Metric::Euclidean), ..BuildOptions::default() };
        build(&table, &path, options, &mut |_| {}).unwrap();
        let snapshot = Store::open(&path).unwrap().snapshot();
        let asked = |rows: &[usize], k| Asked {
            queries: rows.iter().flat_map(|row| vectors[row * 4..][..4].to_vec()).collect(),
            how: How { k, options: SearchOptions::default(), dim: 4, filter: None },
        };
        let mut broken = asked(&[5], 3);
        broken.queries[2] = f32::NAN;
        let batch = vec![asked(&[0, 7], 3), asked(&[9], 5), broken, asked(&[11, 12, 13], 3)];
        let answers = search(&snapshot, batch.clone());
        for (i, (asked, answer)) in batch.into_iter().zip(answers).enumerate() {
            let alone = search(&snapshot, vec![asked.clone()]).remove(0);
            match (answer, alone) {
                (Ok(answer), Ok(alone)) => {
                    assert_eq!(answer.found, alone.found);
                    assert_eq!(answer.found.len(), asked.weight());
                    assert!(answer.found.iter().all(|found| found.len() == asked.how.k));
                }
                (Err(error), Err(alone)) => {
                    assert_eq!((i, error.code), (2, "invalid_value"));
                    assert_eq!(error, alone);
                }
                _ => panic!("request {i} differs in company"),
            }
        }
    }
}
