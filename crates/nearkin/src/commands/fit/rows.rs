//! The rows that a method sees: how the table is read, what the label says, which rows are held out.

use std::num::NonZero;

use nearkin_data::table::{Choice, FeatureOptions, Matrix, Missing, Scale, Unknown};
use nearkin_data::{Table, TableOptions};
use nearkin_sweep::Vectors;
use nearkin_train::{Inputs, split};

use super::methods::Needs;
use super::name_of;
use crate::failure::Failure;

/// What a map of a table is compared with.
pub const BASELINE: &str = "scaled features";
/// Groups that numbers are drawn in.
const GROUPS: usize = 5;
/// A label of more different numbers is a number and no class, where the method does not say.
const MOST_NUMBERED: usize = 30;

/// How a table becomes rows of features.
#[derive(Debug, Clone, clap::Args)]
#[command(next_help_heading = "Columns")]
pub struct TableArgs {
    /// The column of the label, or `none` [default: the last, if it is called class, label, target or y]
    #[arg(long, value_name = "NAME")]
    pub label: Option<String>,
    /// The column that names rows [default: a column called id, else the row's number from 0]
    #[arg(long, value_name = "NAME")]
    pub id: Option<String>,
    /// Columns of categories: each category becomes a column of 0 and 1
    #[arg(long, value_name = "NAME,…", value_delimiter = ',')]
    pub categorical: Vec<String>,
    /// Columns to leave out
    #[arg(long, value_name = "NAME,…", value_delimiter = ',')]
    pub drop: Vec<String>,
    /// How columns of numbers are scaled, by the rows that are fitted to
    #[arg(long, value_enum, default_value_t = ScaleArg::Standard)]
    pub scale: ScaleArg,
    /// What becomes of missing values
    #[arg(long, value_enum, default_value_t = MissingArg::Refuse)]
    pub missing: MissingArg,
    /// What becomes of categories that were in no row fitted to
    #[arg(long, value_enum, default_value_t = UnknownArg::Refuse)]
    pub unknown: UnknownArg,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub enum ScaleArg {
    /// As they are
    None,
    /// To mean 0 and standard deviation 1
    Standard,
    /// By median and quartiles
    Robust,
    /// The least to 0, the greatest to 1
    MinMax,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub enum MissingArg {
    /// An error that names the cell
    Refuse,
    /// The column's mean, or its most frequent category
    Mean,
    /// The column's median, or its most frequent category
    Median,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub enum UnknownArg {
    /// An error that names the cell
    Refuse,
    /// None of those known
    Zeros,
}

impl TableArgs {
    pub fn options(&self) -> TableOptions {
        let choice = |name: &Option<String>| match name.as_deref() {
            None => Choice::Usual,
            Some("none") => Choice::Nothing,
            Some(name) => Choice::Named(name.to_owned()),
        };
        TableOptions {
            label: choice(&self.label),
            id: choice(&self.id),
            categorical: self.categorical.clone(),
            drop: self.drop.clone(),
            only: None,
        }
    }

    /// For `run.toml`.
    pub fn settings(&self) -> toml::Table {
        let FeatureOptions { scale, missing, unknown } = self.features();
        toml::Table::from_iter([
            ("scale".into(), name_of(&scale).into()),
            ("missing".into(), name_of(&missing).into()),
            ("unknown".into(), name_of(&unknown).into()),
            ("categorical".into(), self.categorical.clone().into()),
            ("drop".into(), self.drop.clone().into()),
        ])
    }

    pub fn features(&self) -> FeatureOptions {
        FeatureOptions {
            scale: match self.scale {
                ScaleArg::None => Scale::None,
                ScaleArg::Standard => Scale::Standard,
                ScaleArg::Robust => Scale::Robust,
                ScaleArg::MinMax => Scale::MinMax,
            },
            missing: match self.missing {
                MissingArg::Refuse => Missing::Refuse,
                MissingArg::Mean => Missing::Mean,
                MissingArg::Median => Missing::Median,
            },
            unknown: match self.unknown {
                UnknownArg::Refuse => Unknown::Refuse,
                UnknownArg::Zeros => Unknown::Zeros,
            },
        }
    }
}

/// Which rows are measured.
#[derive(Debug, Clone, Copy, clap::Args)]
#[command(next_help_heading = "Measuring")]
pub struct HoldOut {
    /// Part of the rows of each class that is held out and measured, 0 to 0.9 [default: 0 for fit, 0.3 for map]
    #[arg(long, value_name = "PART", value_parser = part)]
    pub hold_out: Option<f64>,
    /// What the choice of held-out rows, and every draw of the method, depends on
    #[arg(long, value_name = "N", default_value_t = 0, value_parser = clap::value_parser!(u64).range(..=i64::MAX as u64))]
    pub seed: u64,
    /// Neighbours that vote on a row's class, or whose numbers are averaged
    #[arg(long, value_name = "K", default_value_t = NonZero::new(3).unwrap())]
    pub knn: NonZero<usize>,
}

fn part(text: &str) -> Result<f64, String> {
    match text.parse::<f64>() {
        Ok(part) if (0.0..=0.9).contains(&part) => Ok(part),
        _ => Err("wanted a number from 0 to 0.9".into()),
    }
}

impl HoldOut {
    /// Divides rows, each class by itself where there are classes; `usual` is the part held out unless another is asked for.
    pub fn divide(&self, usual: f64, strata: Option<&[u32]>, rows: usize) -> Result<Divided, Failure> {
        let one = vec![0; rows];
        let part = self.hold_out.unwrap_or(usual);
        let (train, held_out) = split(strata.unwrap_or(&one), part, self.seed);
        if part > 0.0 && held_out.is_empty() {
            return Err(Failure::misuse(format!(
                "--hold-out {part} of {rows} rows leaves no class two rows to hold out and two to fit to: choose another part, or give \
                 more rows"
            )));
        }
        Ok(Divided { train, held_out })
    }

    /// For `run.toml`.
    pub fn settings(&self, usual: f64) -> toml::Table {
        toml::Table::from_iter([
            ("hold-out".into(), self.hold_out.unwrap_or(usual).into()),
            ("seed".into(), (self.seed as i64).into()),
            ("knn".into(), (self.knn.get() as i64).into()),
        ])
    }
}

/// Rows to fit to and rows held out, both ascending.
#[derive(Debug, Clone)]
pub struct Divided {
    pub train: Vec<usize>,
    pub held_out: Vec<usize>,
}

impl Divided {
    /// All rows, those fitted to first: the order in which maps are drawn.
    pub fn order(&self) -> Vec<usize> {
        [&self.train[..], &self.held_out].concat()
    }
}

/// What the label says of the rows: what colours a map, and what is measured.
#[derive(Debug, Clone)]
pub enum Colours {
    /// Classes.
    Classes { labels: Vec<u32>, names: Vec<String> },
    /// Numbers, and the group of each by quantiles.
    Numbers { values: Vec<f32>, groups: Vec<u32>, names: Vec<String> },
    /// Nothing: one colour.
    Nothing { rows: usize },
}

impl Colours {
    /// From a table's label, by what a method needs. A method that needs none takes classes where there are some.
    pub fn of(table: &Table, needs: Needs) -> Result<Self, Failure> {
        match needs {
            Needs::Numbers => Ok(Self::numbers(&table.targets()?)),
            Needs::Classes => {
                let (labels, names) = table.classes()?;
                if names.len() < 2 {
                    return Err(Failure::misuse(format!(
                        "{}: all rows are of one class, '{}', and this method learns by telling classes apart",
                        table.path().display(),
                        names[0]
                    )));
                }
                Ok(Self::Classes { labels, names })
            }
            Needs::Nothing if table.label_name().is_some() => {
                let (labels, names) = table.classes()?;
                if names.len() > MOST_NUMBERED
                    && let Ok(numbers) = table.targets()
                {
                    return Ok(Self::numbers(&numbers));
                }
                Ok(Self::Classes { labels, names })
            }
            Needs::Nothing => Ok(Self::Nothing { rows: table.len() }),
        }
    }

    /// From what is known of images or rows.
    pub fn of_inputs(inputs: &Inputs) -> Result<Self, Failure> {
        Ok(match inputs.labels()? {
            Some((labels, names)) => Self::Classes { labels, names },
            None => Self::Nothing { rows: inputs.len() },
        })
    }

    fn numbers(values: &[f64]) -> Self {
        let mut sorted = values.to_vec();
        sorted.sort_by(f64::total_cmp);
        sorted.dedup();
        let groups = GROUPS.min(sorted.len());
        // The first value of each group but the first.
        let bounds: Vec<f64> = (1..groups).map(|g| sorted[g * sorted.len() / groups]).collect();
        let group = |value: &f64| bounds.partition_point(|bound| bound <= value) as u32;
        let name = |g: usize| match (g.checked_sub(1).map(|g| bounds[g]), bounds.get(g)) {
            (None, None) => "all".to_owned(),
            (None, Some(below)) => format!("below {below}"),
            (Some(from), None) => format!("{from} and more"),
            (Some(from), Some(below)) => format!("{from} to below {below}"),
        };
        Self::Numbers {
            groups: values.iter().map(group).collect(),
            names: (0..groups).map(name).collect(),
            values: values.iter().map(|v| *v as f32).collect(),
        }
    }

    /// What each row is drawn as.
    pub fn marks(&self) -> Vec<u32> {
        match self {
            Self::Classes { labels, .. } => labels.clone(),
            Self::Numbers { groups, .. } => groups.clone(),
            Self::Nothing { rows } => vec![0; *rows],
        }
    }

    /// The names of the marks.
    pub fn names(&self) -> Vec<String> {
        match self {
            Self::Classes { names, .. } | Self::Numbers { names, .. } => names.clone(),
            Self::Nothing { .. } => vec!["rows".to_owned()],
        }
    }

    /// The classes, if that is what the label says.
    pub fn classes(&self) -> &[String] {
        match self {
            Self::Classes { names, .. } => names,
            _ => &[],
        }
    }

    /// What held-out rows are drawn from each by itself.
    pub fn strata(&self) -> Option<&[u32]> {
        match self {
            Self::Classes { labels, .. } => Some(labels),
            _ => None,
        }
    }

    /// The labels of some rows; empty without classes.
    pub fn labels_of(&self, rows: &[usize]) -> Vec<u32> {
        self.strata().map_or(Vec::new(), |labels| rows.iter().map(|&i| labels[i]).collect())
    }

    /// The numbers of some rows; empty without numbers.
    pub fn numbers_of(&self, rows: &[usize]) -> Vec<f32> {
        match self {
            Self::Numbers { values, .. } => rows.iter().map(|&i| values[i]).collect(),
            _ => Vec::new(),
        }
    }
}

/// The rows, borrowed.
pub fn vectors(matrix: &Matrix) -> Result<Vectors<'_>, Failure> {
    Ok(Vectors::new(&matrix.values, matrix.dim)?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_fall_into_groups_of_about_one_size() {
        let values: Vec<f64> = (0..50).map(f64::from).collect();
        let Colours::Numbers { groups, names, .. } = Colours::numbers(&values) else { panic!() };
        assert!((0..5).all(|g| groups.iter().filter(|found| **found == g).count() == 10));
        assert_eq!(names, ["below 10", "10 to below 20", "20 to below 30", "30 to below 40", "40 and more"]);
        let Colours::Numbers { groups, names, .. } = Colours::numbers(&[7.0, 7.0]) else { panic!() };
        assert_eq!((groups, names), (vec![0, 0], vec!["all".to_owned()]));
    }

    #[test]
    fn rows_without_classes_are_divided_as_one() {
        let hold_out = HoldOut { hold_out: Some(0.3), seed: 1, knn: NonZero::new(3).unwrap() };
        let divided = hold_out.divide(0.0, None, 10).unwrap();
        assert_eq!((divided.train.len(), divided.held_out.len()), (7, 3));
        assert!(hold_out.divide(0.0, None, 3).unwrap_err().message.contains("--hold-out 0.3"));
    }
}
