//! One HTML file that says what was learned and how well.

mod chart;
mod html;
mod map;
mod sections;
mod springs;

use std::fs::{self, File};
use std::io::Write;
use std::path::{Path, PathBuf};

use crate::error::EvalError;
use crate::sheet::QueryRow;

pub(crate) use chart::Axis;
pub(crate) use html::escape;

/// Everything a report shows. Sections without content are left out.
///
/// All text may hold any characters; it is escaped. Numbers that are not finite are shown as a dash, and
/// points that are not finite are not drawn.
#[derive(Debug, Clone, Default)]
pub struct Report {
    /// The headline: the run or the model.
    pub title: String,
    /// One line under it.
    pub subtitle: String,
    /// The command that gives this report, as a user would type it.
    pub command: String,
    /// Name and value: method, encoder, data, seed, version …
    pub facts: Vec<(String, String)>,
    /// Measures, the most telling first: the first four are shown large.
    pub metrics: Vec<MetricRow>,
    /// What the learned embedding is compared with, such as "raw pixels".
    pub baseline_name: String,
    /// Curves over training.
    pub curves: Vec<Curve>,
    /// Methods beside each other.
    pub comparison: Option<Comparison>,
    /// The embeddings on a plane: one map, or several beside each other.
    pub maps: Vec<Map>,
    /// A map on its way through training.
    pub springs: Option<SpringFilm>,
    /// Shares of a whole, such as of what a metric weighs.
    pub bars: Vec<Bars>,
    /// Queries and what was found for them.
    pub sheet: Vec<QueryRow>,
    /// Retrieval by class, in any order: the report lists the worst first.
    pub per_class: Vec<ClassRow>,
    /// What a reader should know beside the numbers.
    pub notes: Vec<String>,
    /// What was left out, and why.
    pub skipped: Vec<(String, String)>,
}

/// One measure of the learned embedding, and of what it is compared with.
#[derive(Debug, Clone, PartialEq)]
pub struct MetricRow {
    /// The field's name, such as `precision_at_1`.
    pub name: String,
    /// The learned embedding's value.
    pub learned: f64,
    /// The baseline's value.
    pub baseline: Option<f64>,
    /// 95 % interval of the learned embedding's value.
    pub interval: Option<(f64, f64)>,
}

/// A line chart.
#[derive(Debug, Clone, PartialEq)]
pub struct Curve {
    /// What it shows.
    pub title: String,
    /// Name and unit of the x axis.
    pub x_label: String,
    /// Name and unit of the y axis.
    pub y_label: String,
    /// One line each.
    pub series: Vec<Series>,
}

/// A line of a chart.
#[derive(Debug, Clone, PartialEq)]
pub struct Series {
    /// Its name in the legend.
    pub name: String,
    /// (x, y), in order of x.
    pub points: Vec<(f64, f64)>,
}

/// Embeddings on a plane, coloured by class.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Map {
    /// What it shows, if there are several.
    pub title: String,
    /// What a reader must know to read it.
    pub hint: String,
    /// One point an embedding, as [`pca_2d`](crate::pca_2d) gives them.
    pub points: Vec<[f32; 2]>,
    /// The class of each point. Points without a label are not drawn.
    pub labels: Vec<u32>,
    /// Name of class `label`; a label beyond the list is shown by its number.
    pub classes: Vec<String>,
    /// Whether each point was unseen: these are drawn full above the others, which are then small and pale. Empty: all are
    /// alike.
    pub unseen: Vec<bool>,
}

/// A map on a plane on its way through training, with the forces at its points.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct SpringFilm {
    /// What a reader must know to read it.
    pub hint: String,
    /// The class of each point; empty: all are alike.
    pub labels: Vec<u32>,
    /// Name of class `label`; a label beyond the list is shown by its number.
    pub classes: Vec<String>,
    /// What names each point.
    pub names: Vec<String>,
    /// The moments in their order, each with the same points.
    pub moments: Vec<SpringMoment>,
}

/// One moment of a [`SpringFilm`].
#[derive(Debug, Clone, PartialEq)]
pub struct SpringMoment {
    /// Steps done.
    pub step: usize,
    /// Where each point is.
    pub points: Vec<[f32; 2]>,
    /// Springs that attract and springs that repel: two points by number, and the size of the force.
    pub springs: [Vec<(u16, u16, f32)>; 2],
    /// Mean force that attracts, over all pairs.
    pub attraction: f64,
    /// Mean force that repels.
    pub repulsion: f64,
}

/// Methods, and their values of some measures.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Comparison {
    /// What a reader must know to read it.
    pub hint: String,
    /// The measures. Of each the best value is marked, if larger is better.
    pub measures: Vec<(String, bool)>,
    /// A method each, with as many values as measures; `None` where it has none.
    pub rows: Vec<(String, Vec<Option<f64>>)>,
}

/// Named values, each with a bar; in the order given.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Bars {
    /// What they show.
    pub title: String,
    /// What a reader must know to read them.
    pub hint: String,
    /// Names and values, which are not negative.
    pub rows: Vec<(String, f64)>,
}

/// Retrieval of the queries of one class.
#[derive(Debug, Clone, PartialEq)]
pub struct ClassRow {
    /// Name of the class.
    pub name: String,
    /// Queries measured.
    pub queries: usize,
    /// Their mean `precision_at_1`, in [0, 1].
    pub precision_at_1: f64,
    /// Their mean `MAP@R`, in [0, 1].
    pub map_at_r: f64,
}

impl Report {
    /// The report as one HTML page. It loads nothing, follows the reader's light or dark preference, and needs no
    /// script but to move springs.
    pub fn to_html(&self) -> String {
        sections::page(self)
    }

    /// Writes the page to `path`: first beside it, then renamed, so that a reader never sees half a report.
    ///
    /// # Errors
    /// When the folder does not exist or cannot be written.
    pub fn write(&self, path: impl AsRef<Path>) -> Result<(), EvalError> {
        let path = path.as_ref();
        let beside = beside(path);
        let written = File::create(&beside)
            .and_then(|mut file| {
                file.write_all(self.to_html().as_bytes())?;
                file.sync_all()
            })
            .and_then(|()| fs::rename(&beside, path));
        written.map_err(|source| {
            // Nothing to add when the half-written file cannot be removed either: the first error says why.
            let _ = fs::remove_file(&beside);
            EvalError::Write { path: path.to_owned(), source }
        })
    }
}

/// A name in the same folder, so that the rename stays on one file system; of this process, so that two do
/// not meet.
fn beside(path: &Path) -> PathBuf {
    let mut name = path.file_name().unwrap_or_default().to_owned();
    name.push(format!(".{}.partial", std::process::id()));
    path.with_file_name(name)
}
