//! Series in the `.ts` format of the UCR and UEA archives (timeseriesclassification.com).
//!
//! Lines of comment (`#`), lines of header (`@classLabel true walking running`), `@data`, and then a line a series: channels with
//! `:` between them, values with `,` between them, at the end the class if there are classes.

use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};

use super::folder::number_classes;
use super::{open_maybe_gzip, without_gz};
use crate::attributes::Attributes;
use crate::dataset::{Content, Kind, Media, Sample, Source};
use crate::error::DataError;
use crate::signal::Signal;

pub(super) fn is_name(name: &str) -> bool {
    without_gz(name).ends_with(".ts")
}

/// Reads the series of all files, which together are the set at `root`.
pub(super) fn open(root: &Path, paths: &[PathBuf]) -> Result<Source, DataError> {
    let (mut samples, mut signals, mut names) = (Vec::new(), Vec::new(), Vec::new());
    let mut channels = None;
    for path in paths {
        let (stem, split) = stem_and_split(path);
        for (row, (line, signal, class)) in read(path)?.into_iter().enumerate() {
            let wanted = *channels.get_or_insert(signal.channels);
            if signal.channels != wanted {
                let problem = format!("{} channels, but the series before have {wanted}", signal.channels);
                return Err(DataError::line(path, line, problem));
            }
            samples.push(Sample {
                id: format!("{stem}/{row}"),
                path: None,
                label: None,
                split: split.clone(),
            });
            signals.push(signal);
            names.push(class);
        }
    }
    let classes = number_classes(&mut samples, &names);
    Ok(Source {
        kind: Kind::Ts,
        media: Media::Series,
        path: root.to_owned(),
        samples,
        classes,
        content: Content::Signals(signals),
        attributes: Attributes::default(),
        warnings: Vec::new(),
    })
}

/// What its series are called by, and its split: `GunPoint_TRAIN.ts.gz` is `train` of the split `train`.
fn stem_and_split(path: &Path) -> (String, Option<String>) {
    let name = path.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default();
    let stem = name.split(".ts").next().unwrap_or_default();
    match stem.rsplit_once('_').map(|(_, end)| end.to_ascii_lowercase()) {
        Some(split) if split == "train" || split == "test" => (split.clone(), Some(split)),
        _ => (stem.to_owned(), None),
    }
}

/// The series of one file, each with its line and its class.
fn read(path: &Path) -> Result<Vec<(u64, Signal, Option<String>)>, DataError> {
    let (mut header, mut series) = (Header::default(), Vec::new());
    for (line, text) in (1..).zip(BufReader::new(open_maybe_gzip(path)?).lines()) {
        let text = text.map_err(|source| DataError::read(path, source))?;
        let text = text.trim();
        let wrong = |problem: String| DataError::line(path, line, problem);
        if text.is_empty() || text.starts_with('#') {
            continue;
        }
        if header.ended {
            let (signal, class) = header.series(text).map_err(wrong)?;
            series.push((line, signal, class));
        } else {
            header.take(text).map_err(wrong)?;
        }
    }
    match header.ended {
        true => Ok(series),
        false => Err(DataError::malformed(path, ".ts header", "no line @data", "@data, and series after it")),
    }
}

/// What the lines before the series say.
#[derive(Default)]
struct Header {
    ended: bool,
    /// Whether a class stands at the end of each line.
    labelled: bool,
}

impl Header {
    fn take(&mut self, text: &str) -> Result<(), String> {
        let mut words = text.split_whitespace();
        let key = words.next().unwrap_or_default().to_ascii_lowercase();
        let is_true = words.next().is_some_and(|word| word.eq_ignore_ascii_case("true"));
        match key.as_str() {
            "@data" => self.ended = true,
            "@classlabel" => self.labelled = is_true,
            "@timestamps" if is_true => {
                return Err("series with times cannot be read: wanted values at equal steps".into());
            }
            key if !key.starts_with('@') => {
                return Err("values before the line @data: wanted a header in the .ts format".into());
            }
            // What else is said there is seen in the series themselves.
            _ => {}
        }
        Ok(())
    }

    fn series(&self, text: &str) -> Result<(Signal, Option<String>), String> {
        let mut channels: Vec<&str> = text.split(':').collect();
        let class = if self.labelled { channels.pop().map(|class| class.trim().to_owned()) } else { None };
        let mut values: Vec<f32> = Vec::new();
        let mut steps = None;
        for (number, channel) in channels.iter().enumerate() {
            let before = values.len();
            for value in channel.split(',') {
                values.push(value.trim().parse::<f32>().map_err(|_| match value.trim() {
                    "?" => "a missing value (?): fill it in, or remove the series".to_owned(),
                    other => format!("\"{other}\" in channel {number}, wanted a number"),
                })?);
            }
            let found = values.len() - before;
            let wanted = *steps.get_or_insert(found);
            if found != wanted {
                return Err(format!("{found} values in channel {number}, but {wanted} in the first"));
            }
        }
        Ok((Signal::new(channels.len(), None, values).map_err(|error| error.to_string())?, class))
    }
}
