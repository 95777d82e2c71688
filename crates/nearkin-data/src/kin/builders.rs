//! Where kin graphs come from: near pixels, shared attributes, steps on a grid, a user's list.

use std::collections::{BTreeMap, HashMap};
use std::path::Path;

use nearkin_sweep::{Metric, Vectors, top_k};
use serde::{Deserialize, Serialize};

use super::KinGraph;
use crate::dataset::Dataset;
use crate::error::DataError;
use crate::sources::{csv_problem, open_maybe_gzip};

/// One direction of a grid of samples.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub struct Axis {
    /// A numeric attribute. Its different values in ascending order are the steps.
    pub attribute: String,
    /// Whether the last value is next to the first, as with angles around the circle (default false).
    #[serde(default)]
    pub wraps: bool,
}

impl KinGraph {
    /// The `k` nearest others of each sample by the Euclidean distance of vectors, both ways: two samples are kin if either is among
    /// the other's `k` nearest. Ties go to the lowest index. Cost: a product of all with all.
    ///
    /// # Errors
    /// [`DataError::Setting`] if `k` is 0 or not below the number of vectors; [`DataError::Shape`] for values that are not finite
    /// or so large that a distance is not.
    pub fn nearest(vectors: Vectors<'_>, k: usize) -> Result<Self, DataError> {
        if k == 0 || k >= vectors.len() {
            let wanted = format!("1 to {}, the number of other samples", vectors.len().saturating_sub(1));
            return Err(DataError::setting("neighbours", k, wanted));
        }
        let broken = |found: String| DataError::Shape {
            what: "vectors to find neighbours among",
            found,
            wanted: "finite values with finite distances".into(),
        };
        let rows = top_k(vectors, vectors, Metric::Euclidean, k, true).map_err(|e| broken(e.to_string()))?;
        if let Some(i) = rows.iter().position(|row| row.len() < k || row.iter().any(|n| !n.score.is_finite()))
        {
            return Err(broken(format!("a distance of sample {i} that is not a number")));
        }
        let pairs = rows.iter().enumerate().flat_map(|(i, row)| row.iter().map(move |near| (i, near.index)));
        Self::from_pairs(vectors.len(), pairs)
    }

    /// [`nearest`](Self::nearest) by the pixels of the images as they are, for images of one shape.
    ///
    /// # Errors
    /// As [`nearest`](Self::nearest); [`DataError::Shape`] if the images differ in size or channels; the errors of
    /// [`Dataset::image`].
    pub fn nearest_pixels(dataset: &Dataset, k: usize) -> Result<Self, DataError> {
        let mut values = Vec::new();
        let mut shape = None;
        for i in 0..dataset.len() {
            let image = dataset.image(i)?;
            let found = (image.width, image.height, image.channels);
            let first = *shape.get_or_insert(found);
            if found != first {
                let text = |(width, height, channels)| format!("{width}x{height} with {channels} channels");
                return Err(DataError::Shape {
                    what: "images to compare by pixels",
                    found: format!("{} ({})", text(found), dataset.sample(i).id),
                    wanted: format!("{}, the shape of the first: resize them before", text(first)),
                });
            }
            values.extend(image.pixels.iter().map(|&value| f32::from(value) / 255.0));
        }
        let dim = shape.map_or(1, |(width, height, channels)| width * height * channels);
        let vectors = Vectors::new(&values, dim).map_err(|error| DataError::Shape {
            what: "pixels of a data set",
            found: error.to_string(),
            wanted: "whole images".into(),
        })?;
        Self::nearest(vectors, k)
    }

    /// Kin are the samples with the same value of an attribute: the shifts of one original. Samples without a value have no kin.
    /// A value that n samples share takes n (n − 1) numbers.
    ///
    /// # Errors
    /// [`DataError::NoSuchAttribute`].
    pub fn same(dataset: &Dataset, attribute: &str) -> Result<Self, DataError> {
        let mut groups: HashMap<&str, Vec<usize>> = HashMap::new();
        for (i, value) in dataset.attribute(attribute)?.into_iter().enumerate() {
            if let Some(value) = value {
                groups.entry(value).or_default().push(i);
            }
        }
        Self::from_pairs(dataset.len(), groups.values().flat_map(|group| every_pair(group)))
    }

    /// Kin are the samples one step apart on one axis and equal on all others: adjacent azimuths or elevations. All other attributes
    /// may differ (the lighting). With `same_point`, samples equal on all axes are kin too.
    ///
    /// # Errors
    /// [`DataError::Setting`] without axes, with one twice, or for a value that is no number; [`DataError::NoSuchAttribute`].
    pub fn adjacent(dataset: &Dataset, axes: &[Axis], same_point: bool) -> Result<Self, DataError> {
        if axes.is_empty() {
            return Err(DataError::setting("axes", "none", "at least one attribute"));
        }
        let twice = |i: &usize| axes[..*i].iter().any(|axis| axis.attribute == axes[*i].attribute);
        if let Some(i) = (1..axes.len()).find(twice) {
            let found = format!("\"{}\" twice", axes[i].attribute);
            return Err(DataError::setting("axes", found, "each attribute once"));
        }
        let mut points = vec![Vec::with_capacity(axes.len()); dataset.len()];
        let mut steps = Vec::with_capacity(axes.len());
        for axis in axes {
            // Adding 0 makes 0 of −0.
            let values: Vec<f64> = dataset.numbers(&axis.attribute)?.iter().map(|x| x + 0.0).collect();
            let mut sorted = values.clone();
            sorted.sort_by(f64::total_cmp);
            sorted.dedup();
            for (point, value) in points.iter_mut().zip(&values) {
                point.push(sorted.partition_point(|known| known < value));
            }
            steps.push(sorted.len());
        }
        let mut members: BTreeMap<Vec<usize>, Vec<usize>> = BTreeMap::new();
        for (i, point) in points.into_iter().enumerate() {
            members.entry(point).or_default().push(i);
        }
        let mut pairs = Vec::new();
        for (point, here) in &members {
            if same_point {
                pairs.extend(every_pair(here));
            }
            for (at, axis) in axes.iter().enumerate() {
                let mut next = point.clone();
                next[at] += 1;
                if next[at] == steps[at] && axis.wraps {
                    next[at] = 0;
                }
                if next[at] != point[at]
                    && let Some(there) = members.get(&next)
                {
                    pairs.extend(here.iter().flat_map(|&a| there.iter().map(move |&b| (a, b))));
                }
            }
        }
        Self::from_pairs(dataset.len(), pairs)
    }

    /// Reads pairs that a user names: a CSV file, gzipped or not, with the columns `a` and `b`, each holding a sample's
    /// [id](crate::Sample::id); other columns are ignored.
    ///
    /// # Errors
    /// [`DataError::Read`]; [`DataError::Manifest`] with the line for a header without the columns, an id that no sample has or
    /// several have, a sample paired with itself, or text that is no CSV.
    pub fn read_pairs(dataset: &Dataset, path: &Path) -> Result<Self, DataError> {
        let mut places: HashMap<&str, Option<usize>> = HashMap::with_capacity(dataset.len());
        for (i, sample) in dataset.samples().enumerate() {
            places.entry(&sample.id).and_modify(|place| *place = None).or_insert(Some(i));
        }
        let mut reader = csv::ReaderBuilder::new().trim(csv::Trim::All).from_reader(open_maybe_gzip(path)?);
        let header = reader.headers().map_err(|error| csv_problem(path, &error))?.clone();
        let column =
            |name: &str| header.iter().position(|found| found.trim_start_matches('\u{feff}') == name);
        let (Some(a), Some(b)) = (column("a"), column("b")) else {
            let found: Vec<&str> = header.iter().collect();
            let problem =
                format!("the header is \"{}\", wanted the columns \"a\" and \"b\"", found.join(","));
            return Err(DataError::line(path, 1, problem));
        };
        let mut pairs = Vec::new();
        for record in reader.into_records() {
            let record = record.map_err(|error| csv_problem(path, &error))?;
            let line = record.position().map_or(0, csv::Position::line);
            let place = |column: usize| {
                let id = record.get(column).unwrap_or_default();
                match places.get(id) {
                    Some(Some(place)) => Ok(*place),
                    Some(None) => {
                        let problem =
                            format!("several samples have the id \"{id}\": they cannot be told apart");
                        Err(DataError::line(path, line, problem))
                    }
                    None => {
                        let known = dataset.samples().next().map_or("", |sample| sample.id.as_str());
                        let problem = format!(
                            "no sample has the id \"{id}\"; ids look like \"{known}\", the first sample's"
                        );
                        Err(DataError::line(path, line, problem))
                    }
                }
            };
            let (a, b) = (place(a)?, place(b)?);
            if a == b {
                let problem = format!("\"{}\" is paired with itself: remove the line", dataset.sample(a).id);
                return Err(DataError::line(path, line, problem));
            }
            pairs.push((a, b));
        }
        Self::from_pairs(dataset.len(), pairs)
    }
}

fn every_pair(group: &[usize]) -> impl Iterator<Item = (usize, usize)> + '_ {
    group.iter().enumerate().flat_map(|(i, &a)| group[..i].iter().map(move |&b| (a, b)))
}
