//! What is known of samples beside their class: a camera, an azimuth, a shift; named columns of text.

use std::collections::HashMap;
use std::path::Path;

use crate::dataset::Dataset;
use crate::error::DataError;
use crate::sources::{csv_problem, open_maybe_gzip};

/// Named columns with a value, or none, for each sample of a source.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Attributes {
    names: Vec<String>,
    columns: Vec<Vec<Option<String>>>,
}

impl Attributes {
    /// Adds a column.
    ///
    /// # Errors
    /// [`DataError::Setting`] for a name that is empty or there already, [`DataError::Shape`] for another number of values than
    /// the columns that are there.
    pub fn push(&mut self, name: &str, values: Vec<Option<String>>) -> Result<(), DataError> {
        if name.is_empty() || self.names.iter().any(|known| known == name) {
            return Err(DataError::setting(
                "attribute",
                format!("\"{name}\""),
                "a name, and each only once: rename one of the two columns",
            ));
        }
        if let Some(first) = self.columns.first()
            && first.len() != values.len()
        {
            return Err(DataError::Shape {
                what: "values of an attribute",
                found: values.len().to_string(),
                wanted: format!("{}, as many as the other attributes have", first.len()),
            });
        }
        self.names.push(name.to_owned());
        self.columns.push(values);
        Ok(())
    }

    /// The names, in the order they were added.
    #[must_use]
    pub fn names(&self) -> &[String] {
        &self.names
    }

    /// The number of values of every column; 0 without columns.
    #[must_use]
    pub fn rows(&self) -> usize {
        self.columns.first().map_or(0, Vec::len)
    }

    fn column(&self, name: &str) -> Result<&[Option<String>], DataError> {
        match self.names.iter().position(|known| known == name) {
            Some(at) => Ok(&self.columns[at]),
            None => {
                Err(DataError::NoSuchAttribute { wanted: name.to_owned(), available: self.names.clone() })
            }
        }
    }
}

impl Dataset {
    /// The names of the attributes.
    #[must_use]
    pub fn attributes(&self) -> &[String] {
        self.columns().0.names()
    }

    /// An attribute's value for every sample, in order; none where nothing is known.
    ///
    /// # Errors
    /// [`DataError::NoSuchAttribute`], which lists those there are.
    pub fn attribute(&self, name: &str) -> Result<Vec<Option<&str>>, DataError> {
        let column = self.columns().0.column(name)?;
        Ok((0..self.len()).map(|i| column[self.origin(i)].as_deref()).collect())
    }

    /// An attribute as numbers, for angles and shifts.
    ///
    /// # Errors
    /// [`DataError::NoSuchAttribute`]; [`DataError::Setting`] that names the first sample without a finite number.
    pub fn numbers(&self, name: &str) -> Result<Vec<f64>, DataError> {
        let number = |(i, value): (usize, Option<&str>)| {
            let number = value.and_then(|value| value.trim().parse().ok()).filter(|x: &f64| x.is_finite());
            number.ok_or_else(|| {
                let found = value.map_or("nothing".to_owned(), |value| format!("\"{value}\""));
                DataError::Setting {
                    field: "attribute",
                    found: format!("{found} as \"{name}\" of sample {}", self.sample(i).id),
                    wanted: "a finite number for every sample".into(),
                }
            })
        };
        self.attribute(name)?.into_iter().enumerate().map(number).collect()
    }

    /// Reads further columns from a CSV file, gzipped or not. Its header has a column `id` or `path`, which says whose line it is:
    /// a sample's [id](crate::Sample::id), or with `path` also its file, relative to the CSV's folder. All other columns become
    /// attributes; an empty cell is no value.
    ///
    /// Gives the set with its new attributes, and what a user should know: samples without a line, and lines without a sample,
    /// which are left out (the file may describe more than the part that is open).
    ///
    /// # Errors
    /// [`DataError::Read`]; [`DataError::Manifest`] with the line for a header without a key, a name that is there already, two
    /// lines for one sample, an id that two samples share, or text that is no CSV; also when no line names a sample.
    pub fn with_attributes(&self, path: &Path) -> Result<(Self, Vec<String>), DataError> {
        let (known, samples) = self.columns();
        let mut places: HashMap<&str, Place> = HashMap::with_capacity(samples.len());
        for (row, sample) in samples.iter().enumerate() {
            let place = Place { row, shared: false, line: 0 };
            places.entry(&sample.id).and_modify(|place| place.shared = true).or_insert(place);
        }
        // Files by their path as text, so that `./` and the like are the user's to avoid.
        let files: HashMap<&Path, &str> =
            samples.iter().filter_map(|sample| Some((sample.path.as_deref()?, sample.id.as_str()))).collect();

        let mut reader = csv::ReaderBuilder::new().trim(csv::Trim::All).from_reader(open_maybe_gzip(path)?);
        let header = reader.headers().map_err(|error| csv_problem(path, &error))?.clone();
        let names: Vec<&str> = header.iter().map(|name| name.trim_start_matches('\u{feff}')).collect();
        let Some(key) = ["id", "path"].iter().find_map(|wanted| names.iter().position(|name| name == wanted))
        else {
            let found = names.join(",");
            let problem = format!("the header has no column \"id\" or \"path\": found \"{found}\"");
            return Err(DataError::line(path, 1, problem));
        };
        let by_path = names[key] == "path";
        let folder = path.parent().unwrap_or(Path::new(""));
        let mut columns: Vec<(usize, Vec<Option<String>>)> =
            (0..names.len()).filter(|&at| at != key).map(|at| (at, vec![None; samples.len()])).collect();
        if columns.is_empty() {
            let problem = format!("the header has no column beside \"{}\": nothing to read", names[key]);
            return Err(DataError::line(path, 1, problem));
        }

        let (mut strangers, mut lines) = (0, 0);
        for record in reader.into_records() {
            let record = record.map_err(|error| csv_problem(path, &error))?;
            let line = record.position().map_or(0, csv::Position::line);
            lines += 1;
            let found = record.get(key).unwrap_or_default();
            let file = if by_path { files.get(folder.join(found).as_path()).copied() } else { None };
            let id = if places.contains_key(found) { Some(found) } else { file };
            let Some(place) = id.and_then(|id| places.get_mut(id)) else {
                strangers += 1;
                continue;
            };
            if place.shared {
                let problem =
                    format!("several samples have the id \"{found}\": their attributes cannot be told apart");
                return Err(DataError::line(path, line, problem));
            }
            if place.line > 0 {
                let problem =
                    format!("\"{found}\" stands in line {} already: keep one of the two", place.line);
                return Err(DataError::line(path, line, problem));
            }
            place.line = line;
            for (at, values) in &mut columns {
                let cell = record.get(*at).filter(|cell| !cell.is_empty());
                values[place.row] = cell.map(str::to_owned);
            }
        }
        let described = places.values().filter(|place| place.line > 0).count();
        if described == 0 {
            let problem = format!(
                "none of {lines} lines names a sample by its {}; the first sample's is \"{}\"",
                names[key],
                samples.first().map_or("", |sample| sample.id.as_str())
            );
            return Err(DataError::line(path, 2, problem));
        }

        let mut attributes = known.clone();
        for (at, values) in columns {
            attributes
                .push(names[at], values)
                .map_err(|error| DataError::line(path, 1, error.to_string()))?;
        }
        let mut notes = Vec::new();
        if strangers > 0 {
            notes
                .push(format!("{}: {strangers} of {lines} lines name no sample of this set", path.display()));
        }
        if described < samples.len() {
            let missing = samples.len() - described;
            notes.push(format!("{}: {missing} of {} samples have no line", path.display(), samples.len()));
        }
        Ok((self.with_columns(attributes), notes))
    }
}

/// Where a sample is, and which line described it.
struct Place {
    row: usize,
    shared: bool,
    line: u64,
}
