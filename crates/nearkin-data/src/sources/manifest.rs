//! A CSV file that lists image or sound files, their labels and splits.

use std::path::Path;

use super::folder::{media_of, number_classes};
use super::{csv_problem, open_maybe_gzip};
use crate::attributes::Attributes;
use crate::dataset::{Content, Kind, Media, Sample, Source};
use crate::error::DataError;

/// The most lines that an error names.
const MOST_NAMED: usize = 5;

/// Reads the manifest and checks that every file is there; none is opened.
pub(super) fn open(path: &Path) -> Result<Source, DataError> {
    let mut reader = csv::ReaderBuilder::new().trim(csv::Trim::All).from_reader(open_maybe_gzip(path)?);
    let header: Vec<String> = reader
        .headers()
        .map_err(|error| csv_problem(path, &error))?
        .iter()
        // Spreadsheets put a byte order mark in front of the first name.
        .map(|name| name.trim_start_matches('\u{feff}').to_owned())
        .collect();
    let column = |name: &str| header.iter().position(|found| found == name);
    let Some(path_column) = column("path") else {
        return Err(DataError::Manifest {
            path: path.to_owned(),
            line: 1,
            problem: format!(
                "the header has no column \"path\": found \"{}\", wanted path[,label[,split]]",
                header.join(",")
            ),
        });
    };
    let (label_column, split_column) = (column("label"), column("split"));
    let mut further: Vec<(usize, Vec<Option<String>>)> = (0..header.len())
        .filter(|&at| at != path_column && Some(at) != label_column && Some(at) != split_column)
        .map(|at| (at, Vec::new()))
        .collect();

    let folder = path.parent().unwrap_or(Path::new(""));
    let mut samples = Vec::new();
    let mut labels = Vec::new();
    let mut missing = Vec::new();
    let mut unlabelled_lines = Vec::new();
    for record in reader.into_records() {
        let record = record.map_err(|error| csv_problem(path, &error))?;
        let line = record.position().map_or(0, csv::Position::line);
        let cell = |column: Option<usize>| {
            column.and_then(|column| record.get(column)).filter(|value| !value.is_empty()).map(str::to_owned)
        };
        let Some(id) = cell(Some(path_column)) else {
            return Err(DataError::Manifest {
                path: path.to_owned(),
                line,
                problem: "the cell \"path\" is empty; wanted an image or sound file".into(),
            });
        };
        let file = folder.join(&id);
        if !file.is_file() {
            missing.push((line, file.clone()));
        }
        let label = cell(label_column);
        if label.is_none() {
            unlabelled_lines.push(line);
        }
        labels.push(label);
        for (at, values) in &mut further {
            values.push(cell(Some(*at)));
        }
        samples.push(Sample { id, path: Some(file), label: None, split: cell(split_column) });
    }
    if let Some((line, _)) = missing.first() {
        let first: Vec<_> = missing
            .iter()
            .take(MOST_NAMED)
            .map(|(line, file)| format!("line {line}: {}", file.display()))
            .collect();
        return Err(DataError::Manifest {
            path: path.to_owned(),
            line: *line,
            problem: format!(
                "{} of {} files do not exist; relative paths start at the manifest's folder. \
                 The first: {}",
                missing.len(),
                samples.len(),
                first.join(", ")
            ),
        });
    }
    if unlabelled_lines.len() < samples.len()
        && let Some(&line) = unlabelled_lines.first()
    {
        let first: Vec<_> = unlabelled_lines.iter().take(MOST_NAMED).map(ToString::to_string).collect();
        return Err(DataError::Manifest {
            path: path.to_owned(),
            line,
            problem: format!(
                "the cell \"label\" is empty in {} of {} lines (first: {}); fill them, remove those \
                 lines, or drop the column for a set without labels",
                unlabelled_lines.len(),
                samples.len(),
                first.join(", ")
            ),
        });
    }
    // A file without a known extension is taken for an image: its format is found by content.
    let is_sound = |sample: &Sample| media_of(&sample.id) == Some(Media::Sounds);
    let sounds = samples.iter().filter(|sample| is_sound(sample)).count();
    if sounds > 0 && sounds < samples.len() {
        return Err(DataError::Mixed { path: path.to_owned(), images: samples.len() - sounds, sounds });
    }
    let classes = number_classes(&mut samples, &labels);
    let mut attributes = Attributes::default();
    for (at, values) in further {
        attributes.push(&header[at], values).map_err(|error| DataError::line(path, 1, error.to_string()))?;
    }
    let mut ids: Vec<&str> = samples.iter().map(|sample| sample.id.as_str()).collect();
    ids.sort_unstable();
    let repeats = ids.windows(2).filter(|pair| pair[0] == pair[1]).count();
    let mut warnings = Vec::new();
    if repeats > 0 {
        warnings.push(format!("{repeats} lines name a file that another line names too: both are kept"));
    }
    Ok(Source {
        kind: Kind::Manifest,
        media: if sounds > 0 { Media::Sounds } else { Media::Images },
        path: path.to_owned(),
        samples,
        classes,
        content: Content::Files,
        attributes,
        warnings,
    })
}
