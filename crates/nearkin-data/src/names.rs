//! Labels, splits and attributes that stand in the names of files.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use crate::dataset::{Sample, Source, numbered};
use crate::error::DataError;

/// The field that becomes the class.
const LABEL: &str = "label";
/// The field that becomes the split.
const SPLIT: &str = "split";
/// The most names that an error lists.
const MOST_LISTED: usize = 5;

/// How file names are made: fields in braces, and the text between them.
///
/// `{label}_{speaker}_{index}` reads `7_theo_13.wav` as the class `7`, and the attributes `speaker` = `theo` and `index` = `13`.
/// `{label}` is the class and `{split}` the split; any other field is an attribute. Folders and the ending (from the last dot on)
/// are no part of the name. A field ends where the text after it first comes, and is not empty.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct NamePattern {
    /// What stands before the first field.
    start: String,
    /// Each field, and the text behind it; only the last may have none.
    fields: Vec<(String, String)>,
}

impl FromStr for NamePattern {
    type Err = DataError;

    fn from_str(text: &str) -> Result<Self, DataError> {
        let wrong = |problem: &str| {
            let wanted = "fields with text between them, such as {label}_{speaker}_{index}";
            DataError::setting("names", format!("\"{text}\", {problem}"), wanted)
        };
        let mut parts = text.split('{');
        let start = parts.next().unwrap_or_default().to_owned();
        let mut fields: Vec<(String, String)> = Vec::new();
        for part in parts {
            let (name, behind) = part.split_once('}').ok_or_else(|| wrong("where a brace is not closed"))?;
            if name.trim().is_empty() {
                return Err(wrong("where a field has no name"));
            }
            if fields.iter().any(|(known, _)| known == name) {
                return Err(wrong("where a field stands twice"));
            }
            if fields.last().is_some_and(|(_, between)| between.is_empty()) {
                return Err(wrong("where nothing stands between two fields"));
            }
            fields.push((name.to_owned(), behind.to_owned()));
        }
        match fields.is_empty() || start.contains('}') || fields.iter().any(|(_, text)| text.contains('}')) {
            true => Err(wrong("where no field is named, or a brace not opened")),
            false => Ok(Self { start, fields }),
        }
    }
}

impl TryFrom<String> for NamePattern {
    type Error = DataError;

    fn try_from(text: String) -> Result<Self, DataError> {
        text.parse()
    }
}

impl From<NamePattern> for String {
    fn from(pattern: NamePattern) -> Self {
        pattern.to_string()
    }
}

impl fmt::Display for NamePattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.start)?;
        self.fields.iter().try_for_each(|(name, behind)| write!(f, "{{{name}}}{behind}"))
    }
}

impl NamePattern {
    /// The value of each field in the name of a file.
    fn read<'a>(&self, id: &'a str) -> Option<Vec<&'a str>> {
        let name = id.rsplit('/').next().unwrap_or(id);
        let stem = name.rsplit_once('.').map_or(name, |(stem, _)| stem);
        let mut rest = stem.strip_prefix(self.start.as_str())?;
        let last = self.fields.len() - 1;
        let mut values = Vec::with_capacity(self.fields.len());
        for (number, (_, behind)) in self.fields.iter().enumerate() {
            let value;
            (value, rest) = match number == last {
                true => (rest.strip_suffix(behind.as_str())?, ""),
                false => rest.split_once(behind.as_str())?,
            };
            if value.is_empty() {
                return None;
            }
            values.push(value);
        }
        Some(values)
    }

    /// Gives every sample what its name says.
    pub(crate) fn apply(&self, source: &mut Source) -> Result<(), DataError> {
        let read: Vec<Option<Vec<&str>>> =
            source.samples.iter().map(|sample| self.read(&sample.id)).collect();
        let strange = source.samples.iter().zip(&read).filter(|(_, values)| values.is_none());
        let strange: Vec<&str> = strange.map(|(sample, _)| sample.id.as_str()).collect();
        if !strange.is_empty() {
            let first = strange[..strange.len().min(MOST_LISTED)].join(", ");
            return Err(DataError::Malformed {
                path: source.path.clone(),
                field: "names",
                found: format!("{} of {} that are made otherwise: {first}", strange.len(), read.len()),
                wanted: self.to_string(),
            });
        }
        let read: Vec<Vec<String>> = read
            .into_iter()
            .flatten()
            .map(|values| values.into_iter().map(str::to_owned).collect())
            .collect();
        let column = |number: usize| read.iter().map(move |values| values[number].clone());
        for (number, (name, _)) in self.fields.iter().enumerate() {
            match name.as_str() {
                LABEL => {
                    let names: Vec<String> = column(number).collect();
                    source.classes = label(&mut source.samples, &names);
                }
                SPLIT => {
                    source
                        .samples
                        .iter_mut()
                        .zip(column(number))
                        .for_each(|(s, split)| s.split = Some(split));
                }
                _ => source.attributes.push(name, column(number).map(Some).collect())?,
            }
        }
        Ok(())
    }
}

fn label(samples: &mut [Sample], names: &[String]) -> Vec<String> {
    let numbers = numbered(names.iter().map(String::as_str));
    samples.iter_mut().zip(names).for_each(|(sample, name)| sample.label = Some(numbers[name.as_str()]));
    numbers.into_keys().map(str::to_owned).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_is_read_by_the_text_between_its_fields() {
        let pattern: NamePattern = "{label}_{speaker}_{index}".parse().unwrap();
        assert_eq!(pattern.to_string(), "{label}_{speaker}_{index}");
        assert_eq!(pattern.read("recordings/7_theo_13.wav").unwrap(), ["7", "theo", "13"]);
        assert_eq!(pattern.read("7_theo_13_b.wav").unwrap(), ["7", "theo", "13_b"]);
        assert_eq!(pattern.read("7_theo.wav"), None);
        assert_eq!(pattern.read("7__13.wav"), None);
        let framed: NamePattern = "take-{take} ({label})".parse().unwrap();
        assert_eq!(framed.read("a.b/take-3 (dog).wav").unwrap(), ["3", "dog"]);
        assert_eq!(framed.read("take-3 (dog.wav"), None);
    }

    #[test]
    fn patterns_that_cannot_be_read_are_refused() {
        for wrong in ["", "label", "{label", "{label}{speaker}", "{a}_{a}", "{}_x", "label}_{a}", "{a}_}"] {
            let error = wrong.parse::<NamePattern>().unwrap_err().to_string();
            assert!(error.starts_with("names"), "{error}");
        }
    }
}
