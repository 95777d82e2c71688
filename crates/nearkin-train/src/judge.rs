//! What a network that learned without labels is worth.
//!
//! R. Balestriero et al., "A Cookbook of Self-Supervised Learning", 2023, section 4: by a few labels (the vote of neighbours, a linear
//! classifier on frozen features), and without any (what views of a sample agree on, how many directions are used).

use std::sync::Arc;

use nearkin_data::{Prepared, ViewConfig};
use nearkin_eval::{
    Collapse, Labeled, LinearProbeOptions, Weighting, alignment, knn_accuracy, lidar, linear_probe, rank_me,
    spectrum, uniformity,
};
use nearkin_sweep::{Metric, Vectors};
use serde::Serialize;

use crate::error::TrainError;
use crate::model::NetworkModel;

/// Neighbours that vote, and τ of their vote (Wu et al. 2018).
pub(crate) const VOTES: usize = 200;
pub(crate) const VOTE: Weighting = Weighting::Exp { temperature: 0.07 };
/// Samples whose views are compared, and views of each: LiDAR's thousand and ten.
const SEEN: usize = 1000;
const VIEWS: usize = 10;
/// Vectors whose pairs are taken for uniformity.
const PAIRED: usize = 2000;

/// Images and a class number each.
#[derive(Clone, Copy)]
pub struct LabeledImages<'a> {
    /// The images.
    pub images: &'a Arc<Prepared>,
    /// Their classes, numbered as those they are compared with.
    pub labels: &'a [u32],
    /// Their embeddings, row-major.
    pub vectors: &'a [f32],
}

/// The figures of a network.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Judgement {
    /// The share of images whose class a linear classifier says that was fitted to the references; `None` without references.
    pub linear_probe_accuracy: Option<f64>,
    /// Mean squared distance of two views of an image on the sphere, 0 to 4.
    pub alignment: f64,
    /// `ln E e^{−2 d²}` over pairs of images on the sphere: lower is more even.
    pub uniformity: f64,
    /// Smooth rank of the uncentred embeddings.
    pub rank_me: f64,
    /// Smooth rank of what tells images apart, measured in what tells views apart.
    pub lidar: f64,
    /// Whether the embedding has collapsed, and how.
    pub collapse: Option<Collapse>,
    /// Singular values of the centred embeddings over the first, descending.
    pub spectrum: Vec<f32>,
    /// The same images behind the projection head, if there is one.
    pub behind_head: Option<BehindHead>,
}

/// Figures of what the loss compared.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct BehindHead {
    /// The share of images whose class wins the vote of 200 neighbours.
    pub knn_accuracy: f64,
    /// As [`Judgement::linear_probe_accuracy`].
    pub linear_probe_accuracy: Option<f64>,
    /// Directions in use.
    pub effective_rank: f64,
}

/// Judges a network on images, whose classes are voted and fitted by `reference`, or without it are voted by each other. `views` are
/// the random views that the network was trained on.
///
/// # Errors
/// When images cannot be read, or a measure cannot be taken.
pub fn judge(
    model: &NetworkModel,
    query: LabeledImages<'_>,
    reference: Option<LabeledImages<'_>>,
    views: &ViewConfig,
) -> Result<Judgement, TrainError> {
    let dim = model.card.dimension;
    let all = Vectors::new(query.vectors, dim)?;
    let found = spectrum(all)?;
    let first = found.singular_values.first().copied().unwrap_or(0.0).max(f32::MIN_POSITIVE);
    let chosen = evenly(query.images.len(), SEEN);
    let seen = model.embed_random_views(query.images, &chosen, views, VIEWS)?;
    let seen = Vectors::new(&seen, dim)?;
    let paired: Vec<f32> = evenly(all.len(), PAIRED).into_iter().flat_map(|i| all.row(i).to_vec()).collect();
    let behind_head = match model.project(query.images)? {
        None => None,
        Some(asked) => {
            let searched = match reference {
                Some(reference) => model.project(reference.images)?,
                None => None,
            };
            let asking = Labeled { vectors: Vectors::new(&asked.values, asked.dim)?, labels: query.labels };
            let searched = match (&searched, reference) {
                (Some(found), Some(LabeledImages { labels, .. })) => {
                    Some(Labeled { vectors: Vectors::new(&found.values, found.dim)?, labels })
                }
                _ => None,
            };
            Some(BehindHead {
                knn_accuracy: knn_accuracy(asking, searched, Metric::Cosine, VOTES, VOTE)?,
                linear_probe_accuracy: probed(asking, searched)?,
                effective_rank: spectrum(asking.vectors)?.effective_rank,
            })
        }
    };
    let asking = Labeled { vectors: all, labels: query.labels };
    let searched = reference
        .map(|of| Ok::<_, TrainError>(Labeled { vectors: Vectors::new(of.vectors, dim)?, labels: of.labels }))
        .transpose()?;
    Ok(Judgement {
        linear_probe_accuracy: probed(asking, searched)?,
        alignment: alignment(seen, VIEWS)?,
        uniformity: uniformity(Vectors::new(&paired, dim)?)?,
        rank_me: rank_me(all)?,
        lidar: lidar(seen, VIEWS)?,
        collapse: Collapse::of(&found, all.len(), dim),
        spectrum: found.singular_values.iter().map(|value| value / first).collect(),
        behind_head,
    })
}

fn probed(test: Labeled<'_>, fit: Option<Labeled<'_>>) -> Result<Option<f64>, TrainError> {
    let Some(fit) = fit else { return Ok(None) };
    Ok(Some(linear_probe(fit, test, &LinearProbeOptions::default())?.accuracy))
}

/// Up to `count` of `all` numbers, evenly spaced.
fn evenly(all: usize, count: usize) -> Vec<usize> {
    let count = count.min(all);
    (0..count).map(|i| i * all / count).collect()
}
