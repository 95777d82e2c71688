//! The nearest scores of late queries, to see whether they are still like those of calibration.

use std::collections::VecDeque;
use std::sync::{Mutex, PoisonError};

/// Queries that are remembered.
const KEPT: usize = 1000;

/// Scores of queries with their nearest row, the latest.
#[derive(Debug, Default)]
pub(crate) struct Live(Mutex<VecDeque<f32>>);

impl Live {
    pub fn note(&self, scores: impl Iterator<Item = f32>) {
        let mut kept = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        for score in scores {
            if kept.len() == KEPT {
                kept.pop_front();
            }
            kept.push_back(score);
        }
    }

    pub fn scores(&self) -> Vec<f32> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).iter().copied().collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_latest_are_kept() {
        let live = Live::default();
        live.note((0..1500).map(|i| i as f32));
        let scores = live.scores();
        assert_eq!((scores.len(), scores[0], scores[999]), (1000, 500.0, 1499.0));
    }
}
