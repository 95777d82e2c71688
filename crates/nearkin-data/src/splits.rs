//! Dividing a data set in two: classes apart, for a test on classes that were never seen; or samples apart within each class.
//!
//! ```
//! use nearkin_data::SplitRule;
//!
//! #[derive(serde::Deserialize)]
//! struct Recipe {
//!     split: SplitRule,
//! }
//! let recipe: Recipe = toml::from_str("split = { classes = \"0-40\" }").unwrap();
//! assert_eq!(recipe.split, SplitRule::Classes("0-40".parse().unwrap()));
//! ```

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use crate::dataset::{Dataset, parse_range};
use crate::error::DataError;
use crate::random::{Purpose, shuffle, stream};

/// The view number of the streams that samples are divided by: not 0, by which a training holds out samples to choose its epoch.
const SAMPLES: u32 = 1;
/// The view number of the stream that classes are divided by.
const CLASSES: u32 = 2;

/// How a data set is divided. In a recipe, one of
///
/// ```toml
/// split = { classes = "0-40" }              # by number, from 0; "0-9, 12, 20-29"
/// split = { classes = ["apple", "pear"] }   # by name
/// split = { class-fraction = 0.5 }          # half of the classes, chosen by the seed
/// split = { sample-fraction = 0.8 }         # of each class, chosen by the seed
/// split = { attribute = { name = "camera", values = ["1", "2"] } }
/// split = { attribute = { name = "index", values = ["5.."] } }    # whole numbers; also "..5", "5..50", whose end is left out
/// ```
///
/// As text, on a command line: `classes=0-40`, `classes=apple,pear`, `class-fraction=0.5`, `sample-fraction=0.8`, `camera=1,2`,
/// `index=5..`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum SplitRule {
    /// The first side has these classes, the second all others.
    Classes(ClassList),
    /// The first side has this part of the classes (of those that have a sample), rounded, at least one on each side. 0 to 1,
    /// both excluded.
    ClassFraction(f64),
    /// The first side has this part of each class's samples, rounded, and at least one of each side where a class has two; a
    /// single sample goes to the first. Samples without a class count as one class. 0 to 1, both excluded.
    SampleFraction(f64),
    /// The first side has the samples with one of some values of an attribute, the second all others.
    Attribute(AttributeValues),
}

/// Some values of an attribute.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct AttributeValues {
    /// The attribute.
    pub name: String,
    /// Its values, or ranges of whole numbers.
    pub values: Vec<String>,
}

impl FromStr for SplitRule {
    type Err = DataError;

    fn from_str(text: &str) -> Result<Self, DataError> {
        let wrong = || {
            let wanted = "classes=0-40, classes=NAME,NAME, class-fraction=0.5, sample-fraction=0.8, ATTRIBUTE=VALUE,VALUE or ATTRIBUTE=5..";
            DataError::setting("split", format!("\"{text}\""), wanted)
        };
        let (key, value) = text.split_once('=').ok_or_else(wrong)?;
        let fraction = |field| check(value.trim().parse().map_err(|_| wrong())?, field);
        let listed = || value.split(',').map(|value| value.trim().to_owned()).collect::<Vec<_>>();
        Ok(match key.trim() {
            "classes" => Self::Classes(value.parse().unwrap_or_else(|_| ClassList::Names(listed()))),
            "class-fraction" => Self::ClassFraction(fraction("class-fraction")?),
            "sample-fraction" => Self::SampleFraction(fraction("sample-fraction")?),
            "" => return Err(wrong()),
            name => Self::Attribute(AttributeValues { name: name.to_owned(), values: listed() }),
        })
    }
}

/// Classes by number or by name.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(untagged)]
pub enum ClassList {
    /// Numbers from 0, in ranges whose both ends are meant.
    Numbers(ClassRanges),
    /// Names.
    Names(Vec<String>),
}

/// `0-40`, or `0-9, 12, 20-29`: labels, both ends of a range included.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct ClassRanges(Vec<(u32, u32)>);

impl FromStr for ClassList {
    type Err = DataError;

    /// Ranges of numbers.
    fn from_str(text: &str) -> Result<Self, DataError> {
        text.parse().map(Self::Numbers)
    }
}

impl FromStr for ClassRanges {
    type Err = DataError;

    fn from_str(text: &str) -> Result<Self, DataError> {
        let range = |part: &str| {
            let (first, last) = part.split_once('-').unwrap_or((part, part));
            let (first, last) = (first.trim().parse().ok()?, last.trim().parse().ok()?);
            (first <= last).then_some((first, last))
        };
        let wanted = "class numbers such as \"0-40\" or \"0-9, 12, 20-29\", or a list of names";
        text.split(',')
            .map(|part| {
                range(part).ok_or_else(|| DataError::setting("classes", format!("\"{text}\""), wanted))
            })
            .collect::<Result<_, _>>()
            .map(Self)
    }
}

impl TryFrom<String> for ClassRanges {
    type Error = DataError;

    fn try_from(text: String) -> Result<Self, DataError> {
        text.parse()
    }
}

impl fmt::Display for ClassRanges {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (i, (first, last)) in self.0.iter().enumerate() {
            let comma = if i > 0 { "," } else { "" };
            if first == last {
                write!(f, "{comma}{first}")?;
            } else {
                write!(f, "{comma}{first}-{last}")?;
            }
        }
        Ok(())
    }
}

impl From<ClassRanges> for String {
    fn from(ranges: ClassRanges) -> Self {
        ranges.to_string()
    }
}

/// The two sides of a division. Both keep the class numbers of the whole, and the order of its samples.
#[derive(Clone, Debug)]
pub struct Divided {
    /// What the rule names: usually to train on.
    pub first: Dataset,
    /// The rest.
    pub second: Dataset,
}

impl SplitRule {
    /// Divides a data set. The same rule, data and seed give the same sides; the classes of [`SplitRule::Classes`] do not depend
    /// on the seed.
    ///
    /// # Errors
    /// [`DataError::Setting`] for a fraction out of range, for a rule about classes when samples have none, for fewer than two
    /// classes to divide, and for a side that would be empty; [`DataError::NoSuchClass`] for a class that is not there;
    /// [`DataError::NoSuchAttribute`].
    pub fn divide(&self, dataset: &Dataset, seed: u64) -> Result<Divided, DataError> {
        let in_first = match self {
            Self::Classes(list) => {
                let chosen = list.choose(dataset)?;
                labels(dataset, "classes")?.into_iter().map(|label| chosen[label as usize]).collect()
            }
            Self::ClassFraction(fraction) => {
                let chosen = part_of_classes(dataset, check(*fraction, "class-fraction")?, seed)?;
                labels(dataset, "class-fraction")?.into_iter().map(|label| chosen[label as usize]).collect()
            }
            Self::SampleFraction(fraction) => {
                part_of_samples(dataset, check(*fraction, "sample-fraction")?, seed)
            }
            Self::Attribute(AttributeValues { name, values }) => dataset
                .attribute(name)?
                .into_iter()
                .map(|value| value.is_some_and(|value| values.iter().any(|wanted| is_value(wanted, value))))
                .collect(),
        };
        let side = |wanted: bool| {
            let rows: Vec<usize> = (0..dataset.len()).filter(|&i| in_first[i] == wanted).collect();
            dataset.subset(&rows)
        };
        let (first, second) = (side(true), side(false));
        if first.is_empty() || second.is_empty() {
            let which = if first.is_empty() { "first" } else { "second" };
            return Err(DataError::Setting {
                field: "split",
                found: format!("no sample on the {which} side, all {} on the other", dataset.len()),
                wanted: "samples on both sides: choose other classes, or another fraction".into(),
            });
        }
        Ok(Divided { first, second })
    }
}

/// Whether a value is the one that is wanted, or a whole number in a range `a..b` that is.
fn is_value(wanted: &str, value: &str) -> bool {
    let in_range = |(first, end): (usize, Option<usize>)| {
        value.parse().is_ok_and(|number: usize| number >= first && end.is_none_or(|end| number < end))
    };
    wanted == value || parse_range(wanted).is_some_and(in_range)
}

impl Dataset {
    /// The samples of some classes, with the class numbers of the whole.
    ///
    /// # Errors
    /// [`DataError::NoSuchClass`] for a class that is not there; [`DataError::Setting`] if none of them has a sample here.
    pub fn of_classes(&self, list: &ClassList) -> Result<Self, DataError> {
        let chosen = list.choose(self)?;
        let in_them = |i: &usize| self.sample(*i).label.is_some_and(|label| chosen[label as usize]);
        let rows: Vec<usize> = (0..self.len()).filter(in_them).collect();
        if rows.is_empty() {
            return Err(DataError::setting("classes", "0 samples", "classes with samples in this part"));
        }
        Ok(self.subset(&rows))
    }
}

impl ClassList {
    /// Whether each class is in the list.
    fn choose(&self, dataset: &Dataset) -> Result<Vec<bool>, DataError> {
        let classes = dataset.classes();
        let mut chosen = vec![false; classes.len()];
        match self {
            Self::Numbers(ClassRanges(ranges)) => {
                for &(first, last) in ranges {
                    let Some(range) = chosen.get_mut(first as usize..=last as usize) else {
                        let beyond = first.max(classes.len() as u32);
                        return Err(DataError::Setting {
                            field: "classes",
                            found: format!("class {beyond}"),
                            wanted: format!("numbers below {}, the number of classes", classes.len()),
                        });
                    };
                    range.fill(true);
                }
            }
            Self::Names(names) => {
                for name in names {
                    let Some(at) = classes.iter().position(|class| class == name) else {
                        return Err(DataError::NoSuchClass {
                            wanted: name.clone(),
                            available: classes.to_vec(),
                        });
                    };
                    chosen[at] = true;
                }
            }
        }
        Ok(chosen)
    }
}

fn check(fraction: f64, field: &'static str) -> Result<f64, DataError> {
    if fraction > 0.0 && fraction < 1.0 {
        Ok(fraction)
    } else {
        Err(DataError::setting(field, fraction, "more than 0 and less than 1"))
    }
}

fn labels(dataset: &Dataset, field: &'static str) -> Result<Vec<u32>, DataError> {
    dataset.labels().ok_or_else(|| {
        let without = dataset.samples().filter(|sample| sample.label.is_none()).count();
        DataError::Setting {
            field,
            found: format!("{without} of {} samples without a class", dataset.len()),
            wanted: "a class for every sample, or a split by sample-fraction".into(),
        }
    })
}

fn part_of_classes(dataset: &Dataset, fraction: f64, seed: u64) -> Result<Vec<bool>, DataError> {
    let mut present: Vec<u32> = labels(dataset, "class-fraction")?;
    present.sort_unstable();
    present.dedup();
    if present.len() < 2 {
        let found = format!("{} class with samples", present.len());
        return Err(DataError::setting("class-fraction", found, "at least 2, to divide them"));
    }
    shuffle(&mut stream(seed, 0, 0, CLASSES, Purpose::Split), &mut present);
    let count = part_of(present.len(), fraction);
    let mut chosen = vec![false; dataset.classes().len()];
    present[..count].iter().for_each(|&label| chosen[label as usize] = true);
    Ok(chosen)
}

fn part_of_samples(dataset: &Dataset, fraction: f64, seed: u64) -> Vec<bool> {
    let mut members = vec![Vec::new(); dataset.classes().len() + 1];
    for (i, sample) in dataset.samples().enumerate() {
        members[sample.label.map_or(dataset.classes().len(), |label| label as usize)].push(i);
    }
    let mut in_first = vec![false; dataset.len()];
    for (class, mut members) in members.into_iter().enumerate() {
        shuffle(&mut stream(seed, 0, class as u64, SAMPLES, Purpose::Split), &mut members);
        let count = part_of(members.len(), fraction);
        members[..count].iter().for_each(|&i| in_first[i] = true);
    }
    in_first
}

/// The rounded part, with at least one in it and, of two or more, at least one out of it.
fn part_of(count: usize, fraction: f64) -> usize {
    let part = (count as f64 * fraction).round() as usize;
    if count < 2 { count } else { part.clamp(1, count - 1) }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::attributes::Attributes;
    use crate::dataset::Sample;
    use crate::image::Image;

    fn of_labels(labels: &[Option<u32>], classes: u32) -> Dataset {
        let sample = |(i, &label)| Sample { id: format!("{i}"), path: None, label, split: None };
        Dataset::in_memory(
            "set",
            labels.iter().enumerate().map(sample).collect(),
            vec![Image::new(1, 1, 1, vec![0]).unwrap(); labels.len()],
            (0..classes).map(|c| format!("c{c}")).collect(),
            Attributes::default(),
        )
        .unwrap()
    }

    fn labelled(labels: &[u32]) -> Dataset {
        let labels: Vec<_> = labels.iter().map(|&l| Some(l)).collect();
        of_labels(&labels, labels.iter().flatten().max().unwrap() + 1)
    }

    fn rule(text: &str) -> SplitRule {
        #[derive(Deserialize)]
        struct Recipe {
            split: SplitRule,
        }
        toml::from_str::<Recipe>(text).unwrap().split
    }

    #[test]
    fn every_rule_is_read_from_a_recipe_and_written_back() {
        for text in [
            "split = { classes = \"0-40\" }",
            "split = { classes = [\"c0\", \"c2\"] }",
            "split = { class-fraction = 0.5 }",
            "split = { sample-fraction = 0.8 }",
            "split = { attribute = { name = \"camera\", values = [\"1\", \"2\"] } }",
        ] {
            #[derive(Serialize)]
            struct Recipe {
                split: SplitRule,
            }
            let written = toml::to_string(&Recipe { split: rule(text) }).unwrap();
            assert_eq!(rule(&written), rule(text), "{written}");
        }
        let ranges: ClassRanges = " 0-9, 12 ,20-29".parse().unwrap();
        assert_eq!(ranges.to_string(), "0-9,12,20-29");
        for wrong in ["", "a", "3-1", "1,", "-4", "1-2-3"] {
            let text = wrong.parse::<ClassRanges>().unwrap_err().to_string();
            assert!(text.starts_with("classes: found") && text.contains("0-40"), "{text}");
        }
    }

    #[test]
    fn every_rule_can_be_typed() {
        for (typed, text) in [
            ("classes=0-40", "split = { classes = \"0-40\" }"),
            ("classes=c0, c2", "split = { classes = [\"c0\", \"c2\"] }"),
            ("class-fraction=0.5", "split = { class-fraction = 0.5 }"),
            ("sample-fraction = 0.8", "split = { sample-fraction = 0.8 }"),
            ("camera=1,2", "split = { attribute = { name = \"camera\", values = [\"1\", \"2\"] } }"),
        ] {
            assert_eq!(typed.parse::<SplitRule>().unwrap(), rule(text), "{typed}");
        }
        for wrong in ["half", "class-fraction=half", "class-fraction=1", "=3"] {
            let text = wrong.parse::<SplitRule>().unwrap_err().to_string();
            assert!(text.contains("split") || text.contains("class-fraction"), "{text}");
        }
    }

    #[test]
    fn an_attribute_divides_and_samples_without_it_are_on_the_second_side() {
        let mut attributes = Attributes::default();
        let values = [Some("1"), Some("2"), None, Some("1")].map(|value| value.map(str::to_owned));
        attributes.push("camera", values.to_vec()).unwrap();
        let set = labelled(&[0, 0, 1, 1]).with_columns(attributes);
        let Divided { first, second } = "camera=1".parse::<SplitRule>().unwrap().divide(&set, 0).unwrap();
        assert_eq!((first.origin(0), first.origin(1), second.len()), (0, 3, 2));
        let problem =
            |text: &str| text.parse::<SplitRule>().unwrap().divide(&set, 0).unwrap_err().to_string();
        assert!(problem("camera=7").contains("no sample on the first side"));
        assert!(problem("lens=1").contains("camera"), "the error lists the attributes there are");
    }

    #[test]
    fn classes_by_number_or_name_are_apart() {
        let set = labelled(&[0, 1, 2, 3, 0, 2]);
        let Divided { first, second } = rule("split = { classes = \"0-1,3\" }").divide(&set, 0).unwrap();
        assert_eq!(first.labels().unwrap(), [0, 1, 3, 0]);
        assert_eq!(second.labels().unwrap(), [2, 2]);
        assert_eq!(second.origin(1), 5);
        let Divided { first, .. } = rule("split = { classes = [\"c2\"] }").divide(&set, 9).unwrap();
        assert_eq!(first.labels().unwrap(), [2, 2]);
        let two = set.of_classes(&ClassList::Names(vec!["c3".into(), "c1".into()])).unwrap();
        assert_eq!(two.labels().unwrap(), [1, 3]);
        assert!(two.of_classes(&"0".parse().unwrap()).is_err());
    }

    #[test]
    fn unknown_classes_empty_sides_and_wrong_fractions_are_refused() {
        let set = labelled(&[0, 1, 2]);
        let problem = |text: &str| rule(text).divide(&set, 0).unwrap_err().to_string();
        assert!(problem("split = { classes = \"0-3\" }").contains("found class 3, wanted numbers below 3"));
        assert!(problem("split = { classes = \"7\" }").contains("found class 7"));
        let text = problem("split = { classes = [\"dog\"] }");
        assert!(text.contains("no class \"dog\"; there are: c0, c1, c2"), "{text}");
        assert!(problem("split = { classes = \"0-2\" }").contains("no sample on the second side"));
        assert!(problem("split = { classes = [] }").contains("no sample on the first side"));
        for wrong in ["0.0", "1.0", "-1.0", "nan"] {
            assert!(
                problem(&format!("split = {{ class-fraction = {wrong} }}")).starts_with("class-fraction")
            );
            assert!(
                problem(&format!("split = {{ sample-fraction = {wrong} }}")).starts_with("sample-fraction")
            );
        }
        let one = labelled(&[0, 0]);
        let text = SplitRule::ClassFraction(0.5).divide(&one, 0).unwrap_err().to_string();
        assert!(text.contains("at least 2"), "{text}");
        let unlabelled = of_labels(&[None, None, Some(0)], 1);
        let text = SplitRule::ClassFraction(0.5).divide(&unlabelled, 0).unwrap_err().to_string();
        assert!(text.contains("2 of 3 samples without a class"), "{text}");
        let halves = SplitRule::SampleFraction(0.5).divide(&unlabelled, 0).unwrap();
        assert_eq!((halves.first.len(), halves.second.len()), (2, 1));
    }

    proptest! {
        #[test]
        fn the_sides_are_a_partition_that_the_seed_decides(
            labels in prop::collection::vec(0u32..9, 4..80),
            fraction in 0.05f64..0.95,
            seed in any::<u64>(),
        ) {
            let set = labelled(&labels);
            let present = set.present_classes().len();
            prop_assume!(present > 1);
            let origins = |side: &Dataset| (0..side.len()).map(|i| side.origin(i)).collect::<Vec<_>>();
            for rule in [SplitRule::ClassFraction(fraction), SplitRule::SampleFraction(fraction)] {
                let Ok(Divided { first, second }) = rule.divide(&set, seed) else {
                    // Only where no class has two samples to part.
                    prop_assert_eq!(present, labels.len());
                    continue;
                };
                let again = rule.divide(&set, seed).unwrap();
                prop_assert_eq!(origins(&first), origins(&again.first));
                let mut all = [origins(&first), origins(&second)].concat();
                all.sort_unstable();
                prop_assert_eq!(all, (0..labels.len()).collect::<Vec<_>>());
                let (a, b) = (first.present_classes(), second.present_classes());
                if matches!(rule, SplitRule::ClassFraction(_)) {
                    prop_assert!(a.iter().all(|class| !b.contains(class)));
                    prop_assert_eq!(a.len(), part_of(present, fraction));
                } else {
                    prop_assert_eq!(a.len(), present);
                    for class in 0..9 {
                        let count = |side: &Dataset| side.samples().filter(|s| s.label == Some(class)).count();
                        let whole = count(&set);
                        prop_assert_eq!(count(&first), part_of(whole, fraction));
                        prop_assert!((count(&first) as f64 - whole as f64 * fraction).abs() < 1.0);
                    }
                }
            }
        }
    }
}
