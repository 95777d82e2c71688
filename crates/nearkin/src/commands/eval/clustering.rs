//! Clustering: do the classes come out when near samples grow together?

use nearkin_eval::{ClusteringScores, Cut, Linkage, MetricRow, agglomerate, clustering_scores};

use super::{Found, case::Case, json};
use crate::failure::Failure;

pub fn measure(case: &Case<'_>) -> Result<Found, Failure> {
    case.of_one_set("clustering")?;
    let mut classes = case.labels.query.clone();
    classes.sort_unstable();
    classes.dedup();
    let [learned, baseline] = case.measure(|asked, _, metric| {
        let clusters =
            agglomerate(asked.vectors, metric, Linkage::Average)?.cut(Cut::Clusters(classes.len()))?;
        Ok(clustering_scores(asked.labels, &clusters)?)
    })?;
    let row = |name: &str, of: fn(&ClusteringScores) -> f64| MetricRow {
        name: name.to_owned(),
        learned: of(&learned),
        baseline: Some(of(&baseline)),
        interval: None,
    };
    Ok(Found {
        rows: vec![
            row("ami", |s| s.ami),
            row("nmi", |s| s.nmi),
            row("ari", |s| s.ari),
            row("pairwise_f1", |s| s.pairwise_f1),
            row("b_cubed_f1", |s| s.b_cubed_f1),
        ],
        sentence: format!(
            "{} grow together by average linkage into as many clusters as there are classes, {}; {}",
            case.count(),
            classes.len(),
            case.by()
        ),
        learned: json(&learned)?,
        baseline: json(&baseline)?,
        notes: case.notes(),
        curves: Vec::new(),
        per_class: Vec::new(),
    })
}
