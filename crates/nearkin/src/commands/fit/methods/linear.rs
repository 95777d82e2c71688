//! The settings of the linear methods, with the defaults of `nearkin-classic`.

use nearkin_classic as classic;
use nearkin_classic::{ClassicError, Descent, Lbfgs, LinearMap, Projections, Spectrum, Stop};
use serde::Serialize;

use super::{Linear, Needs, Samples};

type Found = Result<(LinearMap, Vec<(String, String)>), ClassicError>;

/// Where an iterative method begins.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Start {
    /// LDA where it can be had, else PCA, else the identity
    Auto,
    /// The first columns as they are
    Identity,
    /// The principal components
    Pca,
    /// Fisher's directions
    Lda,
}

impl From<Start> for classic::Start {
    fn from(start: Start) -> Self {
        match start {
            Start::Auto => Self::Auto,
            Start::Identity => Self::Identity,
            Start::Pca => Self::Pca,
            Start::Lda => Self::Lda,
        }
    }
}

#[derive(Debug, Clone, PartialEq, clap::Args, Serialize)]
#[serde(rename_all = "kebab-case")]
pub struct Pca {
    /// Dimensions of the map
    #[arg(long, value_name = "N", default_value_t = 2)]
    pub dims: usize,
    /// By random projections: for few components of many columns
    #[arg(long)]
    pub randomised: bool,
}

impl Linear for Pca {
    fn needs(&self) -> Needs {
        Needs::Nothing
    }

    fn fit(&self, samples: &Samples<'_>) -> Found {
        let solver = match self.randomised {
            true => classic::Solver::Randomised { seed: samples.seed },
            false => classic::Solver::Exact,
        };
        let fitted = classic::Pca::new(self.dims).solver(solver).fit(samples.vectors)?;
        Ok((fitted.map, vec![kept(&fitted.how)]))
    }
}

#[derive(Debug, Clone, PartialEq, clap::Args, Serialize)]
#[serde(rename_all = "kebab-case")]
pub struct Whitening {
    /// Dimensions of the map [default: all that vary]
    #[arg(long, value_name = "N")]
    pub dims: Option<usize>,
}

impl Linear for Whitening {
    fn needs(&self) -> Needs {
        Needs::Nothing
    }

    fn fit(&self, samples: &Samples<'_>) -> Found {
        let method = classic::Whitening::pca();
        let fitted = with(method, self.dims, classic::Whitening::dims).fit(samples.vectors)?;
        Ok((fitted.map, vec![kept(&fitted.how)]))
    }
}

#[derive(Debug, Clone, PartialEq, clap::Args, Serialize)]
#[serde(rename_all = "kebab-case")]
pub struct Zca {
    /// Components of greatest variance that are kept; the map has as many dimensions as columns [default: all that vary]
    #[arg(long, value_name = "N")]
    pub components: Option<usize>,
}

impl Linear for Zca {
    fn needs(&self) -> Needs {
        Needs::Nothing
    }

    fn fit(&self, samples: &Samples<'_>) -> Found {
        let method = classic::Whitening::zca();
        let fitted = with(method, self.components, classic::Whitening::dims).fit(samples.vectors)?;
        Ok((fitted.map, vec![kept(&fitted.how)]))
    }
}

#[derive(Debug, Clone, PartialEq, clap::Args, Serialize)]
#[serde(rename_all = "kebab-case")]
pub struct RandomProjection {
    /// Dimensions of the map
    #[arg(long, value_name = "N", default_value_t = 2, value_parser = clap::value_parser!(u16).range(1..))]
    pub dims: u16,
}

impl Linear for RandomProjection {
    fn needs(&self) -> Needs {
        Needs::Nothing
    }

    fn fit(&self, samples: &Samples<'_>) -> Found {
        let method = classic::RandomProjection::new(self.dims.into()).seed(samples.seed);
        Ok((method.fit(samples.vectors.dim())?, Vec::new()))
    }
}

#[derive(Debug, Clone, PartialEq, clap::Args, Serialize)]
#[serde(rename_all = "kebab-case")]
pub struct Lda {
    /// Dimensions of the map, fewer than classes [default: all there are]
    #[arg(long, value_name = "N")]
    pub dims: Option<usize>,
    /// Part of the mean variance that is added within classes: for fewer rows than columns
    #[arg(long, value_name = "X", default_value_t = 0.0)]
    pub ridge: f64,
}

impl Linear for Lda {
    fn fit(&self, samples: &Samples<'_>) -> Found {
        let method = classic::Lda::new().ridge(self.ridge);
        let fitted = with(method, self.dims, classic::Lda::dims).fit(samples.vectors, samples.labels)?;
        Ok((fitted.map, vec![ratios(&fitted.how)]))
    }
}

#[derive(Debug, Clone, PartialEq, clap::Args, Serialize)]
#[serde(rename_all = "kebab-case")]
pub struct Lfda {
    /// Dimensions of the map [default: all that the rows span]
    #[arg(long, value_name = "N")]
    pub dims: Option<usize>,
    /// The neighbour of its class whose distance is a row's scale
    #[arg(long, value_name = "K", default_value_t = 7)]
    pub neighbors: usize,
    /// Part of the mean variance that is added within classes: for fewer rows than columns
    #[arg(long, value_name = "X", default_value_t = 0.0)]
    pub ridge: f64,
}

impl Lfda {
    fn method(&self) -> classic::LocalFisher {
        let method = classic::LocalFisher::new().neighbours(self.neighbors).ridge(self.ridge);
        with(method, self.dims, classic::LocalFisher::dims)
    }
}

impl Linear for Lfda {
    fn fit(&self, samples: &Samples<'_>) -> Found {
        let fitted = self.method().fit(samples.vectors, samples.labels)?;
        Ok((fitted.map, vec![ratios(&fitted.how)]))
    }
}

#[derive(Debug, Clone, PartialEq, clap::Args, Serialize)]
#[serde(rename_all = "kebab-case")]
pub struct Rca {
    /// Part of the mean variance that is added within classes: for columns that do not vary there
    #[arg(long, value_name = "X", default_value_t = 0.0)]
    pub ridge: f64,
}

impl Linear for Rca {
    fn fit(&self, samples: &Samples<'_>) -> Found {
        // A class is a chunklet.
        let map = classic::Rca::new().ridge(self.ridge).fit(samples.vectors, samples.labels)?;
        Ok((map, Vec::new()))
    }
}

#[derive(Debug, Clone, PartialEq, clap::Args, Serialize)]
#[serde(rename_all = "kebab-case")]
pub struct Nca {
    /// Dimensions of the map [default: as many as features]
    #[arg(long, value_name = "N")]
    pub dims: Option<usize>,
    /// Where to begin
    #[arg(long, value_enum, default_value_t = Start::Auto)]
    pub start: Start,
    /// Steps at most
    #[arg(long, value_name = "N", default_value_t = 100)]
    pub iterations: usize,
    /// Stops when a step gains less than this part
    #[arg(long, value_name = "X", default_value_t = 1e-5)]
    pub tolerance: f64,
    /// Steps on small random sets of rows in place of all: for many rows
    #[arg(long, conflicts_with_all = ["iterations", "tolerance"])]
    pub stochastic: bool,
    /// Passes over the rows, with --stochastic
    #[arg(long, value_name = "N", default_value_t = 10, requires = "stochastic")]
    pub epochs: usize,
    /// Rows of a set, with --stochastic
    #[arg(long, value_name = "N", default_value_t = 1024, requires = "stochastic")]
    pub batch: usize,
    /// Length of a step, as a part of the map's entries at the start, with --stochastic
    #[arg(long, value_name = "X", default_value_t = 0.02, requires = "stochastic")]
    pub rate: f64,
}

impl Nca {
    fn method(&self, seed: u64) -> classic::Nca {
        let method = classic::Nca::new().start(self.start.into());
        let method = with(method, self.dims, classic::Nca::dims);
        let (iterations, tolerance) = (self.iterations, self.tolerance);
        match self.stochastic {
            false => method.descent(Lbfgs { iterations, tolerance }),
            true => {
                let (epochs, batch, rate) = (self.epochs, self.batch, self.rate);
                method.stochastic(classic::Stochastic { epochs, batch, rate, seed })
            }
        }
    }
}

impl Linear for Nca {
    fn fit(&self, samples: &Samples<'_>) -> Found {
        let fitted = self.method(samples.seed).fit(samples.vectors, samples.labels)?;
        Ok((fitted.map, descent("expected errors among the rows", &fitted.how)))
    }
}

#[derive(Debug, Clone, PartialEq, clap::Args, Serialize)]
#[serde(rename_all = "kebab-case")]
pub struct Mlkr {
    /// Dimensions of the map [default: as many as features]
    #[arg(long, value_name = "N")]
    pub dims: Option<usize>,
    /// Where to begin; there is no LDA of numbers
    #[arg(long, value_enum, default_value_t = Start::Auto)]
    pub start: Start,
    /// Steps at most
    #[arg(long, value_name = "N", default_value_t = 100)]
    pub iterations: usize,
    /// Stops when a step gains less than this part
    #[arg(long, value_name = "X", default_value_t = 1e-5)]
    pub tolerance: f64,
}

impl Mlkr {
    fn method(&self) -> classic::Mlkr {
        let (iterations, tolerance) = (self.iterations, self.tolerance);
        let method = classic::Mlkr::new().start(self.start.into()).descent(Lbfgs { iterations, tolerance });
        with(method, self.dims, classic::Mlkr::dims)
    }
}

impl Linear for Mlkr {
    fn needs(&self) -> Needs {
        Needs::Numbers
    }

    fn fit(&self, samples: &Samples<'_>) -> Found {
        let fitted = self.method().fit(samples.vectors, samples.numbers)?;
        Ok((fitted.map, descent("squared errors among the rows", &fitted.how)))
    }
}

#[derive(Debug, Clone, PartialEq, clap::Args, Serialize)]
#[serde(rename_all = "kebab-case")]
pub struct Lmnn {
    /// Dimensions of the map [default: as many as features]
    #[arg(long, value_name = "N")]
    pub dims: Option<usize>,
    /// Target neighbours of each row
    #[arg(long, value_name = "K", default_value_t = 3)]
    pub neighbors: usize,
    /// The weight of impostors against targets, above 0 and below 1
    #[arg(long, value_name = "X", default_value_t = 0.5)]
    pub push: f64,
    /// Where to begin
    #[arg(long, value_enum, default_value_t = Start::Identity)]
    pub start: Start,
    /// Times over, each with the targets nearest under the map before
    #[arg(long, value_name = "N", default_value_t = 1)]
    pub passes: usize,
    /// Steps at most
    #[arg(long, value_name = "N", default_value_t = 200)]
    pub iterations: usize,
    /// Stops when a round gains less than this part
    #[arg(long, value_name = "X", default_value_t = 1e-4)]
    pub tolerance: f64,
}

impl Lmnn {
    fn method(&self) -> classic::Lmnn {
        let (iterations, tolerance) = (self.iterations, self.tolerance);
        let method = classic::Lmnn::new()
            .neighbours(self.neighbors)
            .push(self.push)
            .start(self.start.into())
            .passes(self.passes)
            .descent(Lbfgs { iterations, tolerance });
        with(method, self.dims, classic::Lmnn::dims)
    }
}

impl Linear for Lmnn {
    fn fit(&self, samples: &Samples<'_>) -> Found {
        let fitted = self.method().fit(samples.vectors, samples.labels)?;
        Ok((fitted.map, descent("objective", &fitted.how)))
    }
}

#[derive(Debug, Clone, PartialEq, clap::Args, Serialize)]
#[serde(rename_all = "kebab-case")]
pub struct Itml {
    /// Pairs of kin to draw from the labels, and as many of strangers [default: 20 times the classes squared]
    #[arg(long, value_name = "N")]
    pub pairs: Option<usize>,
    /// The price of moving a bound: the larger, the harder the bounds
    #[arg(long, value_name = "X", default_value_t = 1.0)]
    pub gamma: f64,
    /// Times that every pair is visited, at most
    #[arg(long, value_name = "N", default_value_t = 1000)]
    pub rounds: usize,
    /// Stops when the multipliers change by less than this part
    #[arg(long, value_name = "X", default_value_t = 1e-3)]
    pub tolerance: f64,
}

impl Itml {
    fn method(&self) -> classic::Itml {
        classic::Itml::new().gamma(self.gamma).stop(self.rounds, self.tolerance)
    }
}

impl Linear for Itml {
    fn fit(&self, samples: &Samples<'_>) -> Found {
        let pairs = self.pairs.unwrap_or_else(|| many(samples.labels));
        let fitted = self.method().fit_labels(samples.vectors, samples.labels, pairs, samples.seed)?;
        let Projections { rounds, change, bounds: (near, far) } = fitted.how;
        let facts = vec![
            ("pairs".into(), format!("{pairs} of kin and as many of strangers, or all there are")),
            ("rounds".into(), format!("{rounds}; the multipliers changed by {change:.1e} in the last")),
            ("bounds".into(), format!("squared distances {near:.3} and {far:.3}")),
        ];
        Ok((fitted.map, facts))
    }
}

#[derive(Debug, Clone, PartialEq, clap::Args, Serialize)]
#[serde(rename_all = "kebab-case")]
pub struct Dca {
    /// Dimensions of the map [default: all there are]
    #[arg(long, value_name = "N")]
    pub dims: Option<usize>,
    /// Part of the mean variance that is added within classes: for columns that do not vary there
    #[arg(long, value_name = "X", default_value_t = 0.0)]
    pub ridge: f64,
}

impl Dca {
    fn method(&self) -> classic::Dca {
        let method = classic::Dca::new().ridge(self.ridge);
        with(method, self.dims, classic::Dca::dims)
    }
}

impl Linear for Dca {
    fn fit(&self, samples: &Samples<'_>) -> Found {
        let fitted = self.method().fit_labels(samples.vectors, samples.labels)?;
        Ok((fitted.map, vec![ratios(&fitted.how)]))
    }
}

#[derive(Debug, Clone, PartialEq, clap::Args, Serialize)]
#[serde(rename_all = "kebab-case")]
pub struct Mmc {
    /// Pairs of kin to draw from the labels, and as many of strangers [default: 20 times the classes squared]
    #[arg(long, value_name = "N")]
    pub pairs: Option<usize>,
    /// Only weighs the columns
    #[arg(long)]
    pub diagonal: bool,
    /// Part of the mean variance that is added to the spread of kin: for columns in which kin do not differ
    #[arg(long, value_name = "X", default_value_t = 0.0)]
    pub ridge: f64,
    /// Steps of the descent, at most
    #[arg(long, value_name = "N", default_value_t = 1000)]
    pub iterations: usize,
    /// Stops when a step gains less than this part
    #[arg(long, value_name = "X", default_value_t = 1e-9)]
    pub tolerance: f64,
}

impl Mmc {
    fn method(&self) -> classic::Mmc {
        let method = if self.diagonal { classic::Mmc::diagonal() } else { classic::Mmc::full() };
        method.ridge(self.ridge).descent(Lbfgs { iterations: self.iterations, tolerance: self.tolerance })
    }
}

impl Linear for Mmc {
    fn fit(&self, samples: &Samples<'_>) -> Found {
        let pairs = self.pairs.unwrap_or_else(|| many(samples.labels));
        let fitted = self.method().fit_labels(samples.vectors, samples.labels, pairs, samples.seed)?;
        Ok((fitted.map, descent("distances of strangers", &fitted.how)))
    }
}

#[derive(Debug, Clone, PartialEq, clap::Args, Serialize)]
#[serde(rename_all = "kebab-case")]
pub struct Sdml {
    /// Pairs of kin to draw from the labels, and as many of strangers [default: 20 times the classes squared]
    #[arg(long, value_name = "N")]
    pub pairs: Option<usize>,
    /// The price of an entry off the diagonal: the larger, the fewer
    #[arg(long, value_name = "X", default_value_t = 0.01)]
    pub sparsity: f64,
    /// The weight of the pairs against the prior [default: as large as is sound]
    #[arg(long, value_name = "X")]
    pub balance: Option<f64>,
    /// Rounds over all columns, at most
    #[arg(long, value_name = "N", default_value_t = 200)]
    pub rounds: usize,
    /// Stops when the least there is lies no more than this part below
    #[arg(long, value_name = "X", default_value_t = 1e-8)]
    pub tolerance: f64,
}

impl Sdml {
    fn method(&self) -> classic::Sdml {
        let method = classic::Sdml::new().sparsity(self.sparsity).stop(self.rounds, self.tolerance);
        with(method, self.balance, classic::Sdml::balance)
    }
}

impl Linear for Sdml {
    fn fit(&self, samples: &Samples<'_>) -> Found {
        let pairs = self.pairs.unwrap_or_else(|| many(samples.labels));
        let fitted = self.method().fit_labels(samples.vectors, samples.labels, pairs, samples.seed)?;
        let classic::Certified { objective, gap, balance, rounds, zeros } = fitted.how;
        let facts = vec![
            ("objective".into(), format!("{objective:.4}, at most {gap:.1e} above the least there is")),
            ("rounds".into(), rounds.to_string()),
            ("balance".into(), format!("{balance:.3e}")),
            ("zeros off the diagonal".into(), zeros.to_string()),
        ];
        Ok((fitted.map, facts))
    }
}

#[derive(Debug, Clone, PartialEq, clap::Args, Serialize)]
#[serde(rename_all = "kebab-case")]
pub struct Lsml {
    /// Quadruplets to draw from the labels [default: 20 times the classes squared]
    #[arg(long, value_name = "N")]
    pub quadruplets: Option<usize>,
    /// The weight of the quadruplets against the prior
    #[arg(long, value_name = "X", default_value_t = 1.0)]
    pub weight: f64,
    /// Steps of the descent, at most
    #[arg(long, value_name = "N", default_value_t = 1000)]
    pub iterations: usize,
    /// Stops when a step gains less than this part
    #[arg(long, value_name = "X", default_value_t = 1e-8)]
    pub tolerance: f64,
}

impl Lsml {
    fn method(&self) -> classic::Lsml {
        let descent = Lbfgs { iterations: self.iterations, tolerance: self.tolerance };
        classic::Lsml::new().weight(self.weight).descent(descent)
    }
}

impl Linear for Lsml {
    fn fit(&self, samples: &Samples<'_>) -> Found {
        let count = self.quadruplets.unwrap_or_else(|| many(samples.labels));
        let fitted = self.method().fit_labels(samples.vectors, samples.labels, count, samples.seed)?;
        Ok((fitted.map, descent("objective", &fitted.how)))
    }
}

#[derive(Debug, Clone, PartialEq, clap::Args, Serialize)]
#[serde(rename_all = "kebab-case")]
pub struct Scml {
    /// Directions that the metric is a sum of [default: about 20 a column]
    #[arg(long, value_name = "N")]
    pub directions: Option<usize>,
    /// The price of a direction: the larger, the fewer
    #[arg(long, value_name = "X", default_value_t = 1e-5)]
    pub beta: f64,
    /// Sets of triplets that are gone through
    #[arg(long, value_name = "N", default_value_t = 10_000)]
    pub sets: usize,
    /// Triplets a set
    #[arg(long, value_name = "N", default_value_t = 10)]
    pub batch: usize,
    /// The learning rate
    #[arg(long, value_name = "X", default_value_t = 1.0)]
    pub rate: f64,
}

impl Scml {
    fn method(&self, seed: u64) -> classic::Scml {
        let method = classic::Scml::new().beta(self.beta).sets(self.sets, self.batch, self.rate).seed(seed);
        with(method, self.directions, classic::Scml::directions)
    }
}

impl Linear for Scml {
    fn fit(&self, samples: &Samples<'_>) -> Found {
        let fitted = self.method(samples.seed).fit_labels(samples.vectors, samples.labels)?;
        Ok((fitted.map, descent("objective", &fitted.how)))
    }
}

/// A method with a setting that may be left to it.
fn with<M, T>(method: M, value: Option<T>, set: fn(M, T) -> M) -> M {
    match value {
        Some(value) => set(method, value),
        None => method,
    }
}

/// How many tuples are drawn unless it is said: 20 times the classes squared.
fn many(labels: &[u32]) -> usize {
    let mut classes = labels.to_vec();
    classes.sort_unstable();
    classes.dedup();
    20 * classes.len().pow(2)
}

fn kept(found: &Spectrum) -> (String, String) {
    let share = 100.0 * found.values.iter().sum::<f64>() / found.total;
    ("variance kept".into(), format!("{share:.1} %"))
}

fn ratios(found: &Spectrum) -> (String, String) {
    let values: Vec<String> = found.values.iter().take(10).map(|value| format!("{value:.3}")).collect();
    ("scatter between to within classes".into(), values.join(", "))
}

fn descent(objective: &str, found: &Descent) -> Vec<(String, String)> {
    let stop = match found.stop {
        Stop::Gradient => "the gradient is as good as 0",
        Stop::Gain => "the last step gained as good as nothing",
        Stop::Iterations => "all steps were made",
        Stop::LineSearch => "no step gained anything more",
        Stop::Observer => "it was asked to",
    };
    vec![
        (objective.to_owned(), format!("{:.4}", found.objective)),
        ("steps".into(), format!("{}; stopped because {stop}", found.iterations)),
    ]
}

#[cfg(test)]
mod tests {
    use super::super::Method;
    use super::*;

    #[test]
    fn the_defaults_are_those_of_the_library() {
        let parse = |name: &str| Method::parse(name).unwrap();
        let Method::Nca(nca) = parse("nca") else { panic!() };
        assert_eq!(nca.method(0), classic::Nca::new().dims(2));
        let Method::Nca(nca) = parse("nca --stochastic") else { panic!() };
        assert_eq!(nca.method(0), classic::Nca::new().dims(2).stochastic(classic::Stochastic::default()));
        let Method::Mlkr(mlkr) = parse("mlkr") else { panic!() };
        assert_eq!(mlkr.method(), classic::Mlkr::new().dims(2));
        let Method::Lmnn(lmnn) = parse("lmnn") else { panic!() };
        assert_eq!(lmnn.method(), classic::Lmnn::new().dims(2));
        let Method::Lfda(lfda) = parse("lfda") else { panic!() };
        assert_eq!(lfda.method(), classic::LocalFisher::new().dims(2));
        let Method::Itml(itml) = parse("itml") else { panic!() };
        assert_eq!(itml.method(), classic::Itml::new());
        let Method::Dca(dca) = parse("dca") else { panic!() };
        assert_eq!(dca.method(), classic::Dca::new().dims(2));
        let Method::Mmc(mmc) = parse("mmc") else { panic!() };
        assert_eq!(mmc.method(), classic::Mmc::full());
        let Method::Sdml(sdml) = parse("sdml") else { panic!() };
        assert_eq!(sdml.method(), classic::Sdml::new());
        let Method::Lsml(lsml) = parse("lsml") else { panic!() };
        assert_eq!(lsml.method(), classic::Lsml::new());
        let Method::Scml(scml) = parse("scml") else { panic!() };
        assert_eq!(scml.method(0), classic::Scml::new());
    }
}
