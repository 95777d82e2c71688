//! The methods of `nearkin fit` and `nearkin map`: a line each in the table, and a few lines each in [`linear`] and
//! [`spectral`].

mod linear;
mod spectral;

use clap::{Args, FromArgMatches, Parser, Subcommand};
use nearkin_classic::{ClassicError, LinearMap};
use nearkin_sweep::Vectors;
use serde::Serialize;

use crate::failure::Failure;
use linear::*;
use spectral::*;

macro_rules! table {
    ($($(#[$doc:meta])* $name:ident($kind:ident),)*) => {
        /// A method with its settings.
        #[derive(Debug, Clone, PartialEq, Subcommand, Serialize)]
        #[serde(tag = "method", rename_all = "kebab-case")]
        pub enum Method {
            $($(#[$doc])* $name($name),)*
        }

        impl Method {
            /// How it is run.
            pub fn kind(&self) -> Kind<'_> {
                match self {
                    $(Self::$name(method) => Kind::$kind(method),)*
                }
            }

            /// Its name on the command line.
            pub fn name(&self) -> String {
                kebab(match self {
                    $(Self::$name(_) => stringify!($name),)*
                })
            }
        }
    };
}

table! {
    /// Principal component analysis: the directions of greatest variance (needs no labels)
    Pca(Linear),
    /// Axes of equal variance without correlation (needs no labels)
    Whitening(Linear),
    /// The same, turned back to the original axes (needs no labels)
    Zca(Linear),
    /// Random directions: distances survive on average (needs no labels)
    RandomProjection(Linear),
    /// Linear discriminant analysis: directions that part classes, relative to their spread
    Lda(Linear),
    /// Local Fisher discriminant analysis: the same for classes of several clusters
    Lfda(Linear),
    /// Relevant component analysis: the spread within classes, divided out
    Rca(Linear),
    /// Neighbourhood components analysis: a metric for nearest neighbours, softly
    Nca(Linear),
    /// Metric learning for kernel regression: the same where the label is a number
    Mlkr(Linear),
    /// Large margin nearest neighbours: a metric for nearest neighbours, with a margin
    Lmnn(Linear),
    /// Information-theoretic metric learning: the nearest metric that honours pairs drawn from the labels
    Itml(Linear),
    /// Discriminative component analysis: the spread between classes against that within them
    Dca(Linear),
    /// Distances of strangers as large as those of kin allow
    Mmc(Linear),
    /// Sparse distance metric learning: a metric in which few pairs of columns tell
    Sdml(Linear),
    /// The nearest metric in which kin are nearer than strangers, by quadruplets drawn from the labels
    Lsml(Linear),
    /// Sparse compositional metric learning: a sum of few directions that part neighbouring classes
    Scml(Linear),
    /// Locally linear embedding: keeps each row's weights over its neighbours (a map, no model)
    Lle(Spectral),
    /// Isomap: keeps distances along the manifold (a map, no model)
    Isomap(Spectral),
    /// Laplacian eigenmaps: keeps neighbours near (a map, no model)
    LaplacianEigenmaps(Spectral),
    /// Diffusion maps: keeps how random walks spread (a map, no model)
    DiffusionMaps(Spectral),
    /// Classical multidimensional scaling: keeps inner products (a map, no model)
    Mds(Spectral),
    /// Metric scaling by SMACOF: keeps distances, by least squares (a map of the rows given, no model)
    Smacof(Spectral),
}

/// A method by what comes out of it.
pub enum Kind<'a> {
    /// A linear map, which is a model.
    Linear(&'a dyn Linear),
    /// A map of the rows given.
    Spectral(&'a dyn Spectral),
}

/// What a method needs to know of the rows.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Needs {
    Nothing,
    Classes,
    Numbers,
}

/// Rows to fit to. Labels or numbers are empty where the method needs none.
#[derive(Clone, Copy)]
pub struct Samples<'a> {
    pub vectors: Vectors<'a>,
    pub labels: &'a [u32],
    pub numbers: &'a [f32],
    pub seed: u64,
}

/// A method that finds a linear map.
pub trait Linear {
    fn needs(&self) -> Needs {
        Needs::Classes
    }

    /// The map, and what is to be said of how it was found.
    fn fit(&self, samples: &Samples<'_>) -> Result<(LinearMap, Vec<(String, String)>), ClassicError>;
}

/// A method that maps the rows it is given.
pub trait Spectral {
    /// How unseen rows are placed, or why they cannot be.
    fn placing(&self) -> Result<&'static str, &'static str>;

    fn fit(&self, points: Vectors<'_>, unseen: Option<Vectors<'_>>) -> Result<Mapped, ClassicError>;
}

/// A map of rows.
pub struct Mapped {
    pub train: Vec<f32>,
    /// The places of unseen rows, if the method has any for them.
    pub unseen: Option<Vec<f32>>,
    pub dim: usize,
    /// What is to be said of how it was found.
    pub facts: Vec<(String, String)>,
}

impl Method {
    /// Every setting, and under `method` the name.
    pub fn settings(&self) -> Result<toml::Table, Failure> {
        toml::Table::try_from(self).map_err(|e| {
            Failure::misuse(format!("a setting of {} is too large to be written: {e}", self.name()))
        })
    }

    pub fn needs(&self) -> Needs {
        match self.kind() {
            Kind::Linear(method) => method.needs(),
            Kind::Spectral(_) => Needs::Nothing,
        }
    }

    /// A method as `map` takes it: `lle`, or with settings `lle --neighbors 20`. Where it has the setting, the map is of two
    /// dimensions unless others are asked for.
    pub fn parse(text: &str) -> Result<Self, Failure> {
        #[derive(Parser)]
        #[command(name = "--methods", disable_help_subcommand = true)]
        struct Line {
            #[command(subcommand)]
            method: Method,
        }
        let mut words: Vec<String> =
            std::iter::once("--methods").chain(text.split_whitespace()).map(str::to_owned).collect();
        let all = Self::augment_subcommands(clap::Command::new("methods"));
        let has_dims = words
            .get(1)
            .and_then(|name| all.find_subcommand(name))
            .is_some_and(|method| method.get_arguments().any(|argument| argument.get_id() == "dims"));
        if has_dims && !words.iter().any(|word| word.starts_with("--dims")) {
            words.extend(["--dims".to_owned(), "2".to_owned()]);
        }
        Ok(Line::try_parse_from(words)
            .map_err(|e| {
                let text = e.to_string();
                Failure::misuse(text.strip_prefix("error: ").unwrap_or(&text).trim_end().to_owned())
            })?
            .method)
    }
}

/// `LaplacianEigenmaps` as it is typed: `laplacian-eigenmaps`.
fn kebab(name: &str) -> String {
    let mut typed = String::new();
    for letter in name.chars() {
        if letter.is_uppercase() && !typed.is_empty() {
            typed.push('-');
        }
        typed.extend(letter.to_lowercase());
    }
    typed
}

/// `nearkin fit METHOD`: the settings of the method, and what is common to all.
#[derive(Debug)]
pub struct WithMethod<Common> {
    pub method: Method,
    pub common: Common,
}

impl<Common: Args> FromArgMatches for WithMethod<Common> {
    fn from_arg_matches(matches: &clap::ArgMatches) -> Result<Self, clap::Error> {
        let method = Method::from_arg_matches(matches)?;
        let (_, own) = matches.subcommand().ok_or_else(|| {
            clap::Error::raw(clap::error::ErrorKind::MissingSubcommand, "no method was given")
        })?;
        Ok(Self { method, common: Common::from_arg_matches(own)? })
    }

    fn update_from_arg_matches(&mut self, matches: &clap::ArgMatches) -> Result<(), clap::Error> {
        *self = Self::from_arg_matches(matches)?;
        Ok(())
    }
}

impl<Common: Args> Subcommand for WithMethod<Common> {
    fn augment_subcommands(command: clap::Command) -> clap::Command {
        Method::augment_subcommands(command).mut_subcommands(Common::augment_args)
    }

    fn augment_subcommands_for_update(command: clap::Command) -> clap::Command {
        Self::augment_subcommands(command)
    }

    fn has_subcommand(name: &str) -> bool {
        Method::has_subcommand(name)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_method_is_parsed_with_its_settings_and_drawn_on_a_plane() {
        let Method::Lle(lle) = Method::parse("lle --neighbors 20").unwrap() else { panic!() };
        assert_eq!((lle.neighbors, lle.dims), (20, 2));
        let Method::Nca(nca) = Method::parse("nca").unwrap() else { panic!() };
        assert_eq!(nca.dims, Some(2));
        let Method::Nca(nca) = Method::parse("nca --dims 3").unwrap() else { panic!() };
        assert_eq!(nca.dims, Some(3));
        assert!(matches!(Method::parse("itml").unwrap(), Method::Itml(_)));
        let wrong = Method::parse("llle").unwrap_err();
        assert!(wrong.code == 2 && wrong.message.contains("llle"), "{wrong:?}");
    }

    #[test]
    fn settings_are_named_as_they_are_typed() {
        let method = Method::parse("laplacian-eigenmaps --neighbors 7").unwrap();
        assert_eq!(method.name(), "laplacian-eigenmaps");
        let settings = method.settings().unwrap();
        assert_eq!(settings["neighbors"].as_integer(), Some(7));
        let all = Method::augment_subcommands(clap::Command::new("methods"));
        for typed in all.get_subcommands().map(clap::Command::get_name) {
            let method = Method::parse(typed).unwrap();
            assert_eq!(method.name(), typed);
            assert_eq!(method.settings().unwrap()["method"].as_str(), Some(typed));
        }
        assert_eq!(
            Method::parse("isomap --neighbors 18446744073709551615").unwrap().settings().unwrap_err().code,
            2
        );
    }
}
