//! What the page asks for: rows as they were at one moment, their map, how their classes mix, a run on its way, and springs.

pub(crate) mod assets;
pub(crate) mod frame;
pub(crate) mod jobs;
pub(crate) mod lab;
pub(crate) mod run;

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

use nearkin_classic::spectral::{Tsne, Umap};
use nearkin_eval::{Confusion, Labeled, confusion, pca_2d};
use nearkin_index::Snapshot;
use nearkin_sweep::{Metric, Vectors};
use serde::{Deserialize, Serialize};

use crate::error::ApiError;
use crate::store::Store;
use jobs::Jobs;

/// Neighbours that vote on a sample's class.
const VOTES: usize = 10;
/// Rows up to which classes are compared: all against all.
const MOST_CONFUSED: usize = 200_000;

/// How rows are laid on a plane.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Layout {
    /// Principal components.
    Pca,
    /// t-SNE.
    Tsne,
    /// UMAP.
    Umap,
}

impl Layout {
    pub const ALL: [Self; 3] = [Self::Pca, Self::Tsne, Self::Umap];

    /// Rows up to which it is offered: some minutes of work.
    pub fn most(self) -> usize {
        match self {
            Self::Pca => 10_000_000,
            Self::Tsne => 20_000,
            Self::Umap => 50_000,
        }
    }

    fn points(self, vectors: Vectors<'_>) -> Result<Vec<f32>, String> {
        match self {
            Self::Pca => pca_2d(vectors).map(|points| points.concat()).map_err(|e| e.to_string()),
            Self::Tsne => {
                Tsne::default().fit(vectors).map(|map| map.embedding().to_vec()).map_err(|e| e.to_string())
            }
            Self::Umap => {
                Umap::default().fit(vectors).map(|map| map.embedding().to_vec()).map_err(|e| e.to_string())
            }
        }
    }
}

impl std::str::FromStr for Layout {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match text {
            "pca" => Ok(Self::Pca),
            "tsne" => Ok(Self::Tsne),
            "umap" => Ok(Self::Umap),
            _ => Err("wanted pca, tsne or umap".to_owned()),
        }
    }
}

/// The rows that a page looks at: those of one moment, however the index goes on. A place among them is a point's number.
pub(crate) struct View {
    /// What pages name it by.
    pub version: u64,
    pub snapshot: Arc<Snapshot>,
    pub rows: Vec<usize>,
}

impl View {
    fn vectors(&self) -> Vec<f32> {
        let mut vectors = Vec::with_capacity(self.rows.len() * self.snapshot.dim());
        self.rows.iter().for_each(|row| vectors.extend_from_slice(&self.snapshot.vector(*row)));
        vectors
    }

    /// A column's text, by point; `label`, `path` or a further one.
    pub fn texts(&self, column: &str) -> Option<Vec<Option<&str>>> {
        let snapshot = &self.snapshot;
        match column {
            "label" => Some(self.rows.iter().map(|&row| snapshot.label(row)).collect()),
            _ if snapshot.columns().contains(&column) => {
                Some(self.rows.iter().map(|&row| snapshot.column(column, row)).collect())
            }
            _ => None,
        }
    }

    /// Class numbers of the rows that have a label, which points they are, and the classes' names in alphabetical order.
    pub fn labels(&self) -> (Vec<u32>, Vec<usize>, Vec<String>) {
        let texts: Vec<Option<&str>> = self.rows.iter().map(|&row| self.snapshot.label(row)).collect();
        let mut names: Vec<String> = texts.iter().flatten().map(|&name| name.to_owned()).collect();
        names.sort();
        names.dedup();
        let numbers: HashMap<&str, u32> = names.iter().map(String::as_str).zip(0..).collect();
        let labelled = texts.iter().enumerate().filter_map(|(at, text)| text.map(|text| (at, numbers[text])));
        let (points, labels) = labelled.unzip();
        (labels, points, names)
    }
}

/// The latest view, and what has been worked out about it.
pub(crate) struct Gallery {
    view: Mutex<Option<Arc<View>>>,
    maps: Jobs<(u64, Layout), Vec<f32>>,
    confusions: Jobs<u64, Mixing>,
}

/// How the classes of a view mix.
pub(crate) struct Mixing {
    pub names: Vec<String>,
    /// The point of each sample.
    pub points: Vec<usize>,
    /// The class of each sample.
    pub labels: Vec<u32>,
    pub found: Confusion,
}

impl Gallery {
    pub fn new() -> Self {
        Self { view: Mutex::new(None), maps: Jobs::new("map"), confusions: Jobs::new("confusion") }
    }

    /// The view that pages share; with `fresh`, of the index as it is now.
    pub fn view(&self, store: &Store, fresh: bool) -> Arc<View> {
        let mut view = self.view.lock().unwrap_or_else(PoisonError::into_inner);
        let now = store.snapshot();
        match &*view {
            Some(view) if !fresh || Arc::ptr_eq(&view.snapshot, &now) => Arc::clone(view),
            old => {
                let version = old.as_ref().map_or(1, |old| old.version + 1);
                let made = Arc::new(View { version, rows: now.rows().collect(), snapshot: now });
                *view = Some(Arc::clone(&made));
                self.maps.forget(|(of, _)| *of != version);
                self.confusions.forget(|of| *of != version);
                made
            }
        }
    }

    /// The view of a version, if it is still the latest.
    pub fn version(&self, version: u64) -> Result<Arc<View>, ApiError> {
        let view = self.view.lock().unwrap_or_else(PoisonError::into_inner);
        view.as_ref().filter(|view| view.version == version).map(Arc::clone).ok_or_else(|| {
            ApiError::not_found(
                "stale_view",
                format!("version {version} is not what pages look at now: ask /v1/gallery"),
            )
        })
    }

    /// Two values a point; `None` while they are worked out.
    pub fn map(&self, view: &Arc<View>, layout: Layout) -> Result<Option<Arc<Vec<f32>>>, ApiError> {
        let (found, most) = (view.rows.len(), layout.most());
        if found > most {
            let message = format!("{found} rows are more than the {most} that this map is made of");
            return Err(ApiError::invalid(message).with("max_rows", most));
        }
        let of = Arc::clone(view);
        self.maps.get((view.version, layout), move || {
            if of.rows.is_empty() {
                return Ok(Vec::new());
            }
            let vectors = of.vectors();
            let vectors = Vectors::new(&vectors, of.snapshot.dim()).map_err(|e| e.to_string())?;
            layout.points(vectors)
        })
    }

    /// How the classes mix; `None` while it is worked out.
    pub fn confusion(&self, view: &Arc<View>) -> Result<Option<Arc<Mixing>>, ApiError> {
        let found = view.rows.len();
        if found > MOST_CONFUSED {
            let message =
                format!("{found} rows are more than the {MOST_CONFUSED} that are compared all with all");
            return Err(ApiError::invalid(message).with("max_rows", MOST_CONFUSED));
        }
        let of = Arc::clone(view);
        self.confusions.get(view.version, move || {
            let (labels, points, names) = of.labels();
            if names.len() < 2 {
                return Err("the index has labels of fewer than two classes".to_owned());
            }
            let snapshot = &of.snapshot;
            let mut vectors = Vec::with_capacity(points.len() * snapshot.dim());
            points.iter().for_each(|at| vectors.extend_from_slice(&snapshot.vector(of.rows[*at])));
            let vectors = Vectors::new(&vectors, snapshot.dim()).map_err(|e| e.to_string())?;
            // Stored vectors have unit length for cosine.
            let metric = if snapshot.metric() == Metric::Cosine { Metric::Dot } else { snapshot.metric() };
            let samples = Labeled { vectors, labels: &labels };
            let found = confusion(samples, metric, VOTES).map_err(|e| e.to_string())?;
            Ok(Mixing { names, points, labels, found })
        })
    }
}
