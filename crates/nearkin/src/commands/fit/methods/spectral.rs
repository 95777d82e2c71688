//! The settings of the spectral methods, with the defaults of `nearkin-classic`.

use nearkin_classic::{ClassicError, spectral};
use nearkin_sweep::{Metric, RowFold, Vectors, fold_rows};
use serde::Serialize;

use super::{Mapped, Spectral};

#[derive(Debug, Clone, PartialEq, clap::Args, Serialize)]
#[serde(rename_all = "kebab-case")]
pub struct Lle {
    /// Dimensions of the map
    #[arg(long, value_name = "N", default_value_t = 2)]
    pub dims: usize,
    /// Neighbours of each row
    #[arg(long, value_name = "K", default_value_t = 12)]
    pub neighbors: usize,
    /// Added to the diagonal of each local Gram matrix, as a part of its trace
    #[arg(long, value_name = "X", default_value_t = 1e-3)]
    pub regularization: f64,
    /// Several weights a row: bends less
    #[arg(long)]
    pub modified: bool,
}

impl Lle {
    fn method(&self) -> spectral::Lle {
        let Self { dims, neighbors, regularization, modified } = *self;
        spectral::Lle { neighbors, dims, regularization, modified }
    }
}

impl Spectral for Lle {
    fn placing(&self) -> Result<&'static str, &'static str> {
        Ok("the weights that reconstruct a row from its neighbours")
    }

    fn fit(&self, points: Vectors<'_>, unseen: Option<Vectors<'_>>) -> Result<Mapped, ClassicError> {
        let fitted = self.method().fit(points)?;
        Ok(Mapped {
            train: fitted.embedding().to_vec(),
            unseen: unseen.map(|unseen| fitted.transform(unseen)).transpose()?,
            dim: self.dims,
            facts: vec![("reconstruction error".into(), format!("{:.3e}", fitted.reconstruction_error()))],
        })
    }
}

#[derive(Debug, Clone, PartialEq, clap::Args, Serialize)]
#[serde(rename_all = "kebab-case")]
pub struct Isomap {
    /// Dimensions of the map
    #[arg(long, value_name = "N", default_value_t = 2)]
    pub dims: usize,
    /// Neighbours of each row
    #[arg(long, value_name = "K", default_value_t = 5)]
    pub neighbors: usize,
    /// Rows drawn as landmarks: for many rows [default: all rows]
    #[arg(long, value_name = "N")]
    pub landmarks: Option<usize>,
    /// What the draw of landmarks depends on
    #[arg(long, value_name = "N", default_value_t = 0)]
    pub landmark_seed: u64,
}

impl Isomap {
    fn method(&self) -> spectral::Isomap {
        let Self { dims, neighbors, landmarks, landmark_seed } = *self;
        spectral::Isomap { neighbors, dims, landmarks, seed: landmark_seed }
    }
}

impl Spectral for Isomap {
    fn placing(&self) -> Result<&'static str, &'static str> {
        Ok("shortest paths through a row's neighbours")
    }

    fn fit(&self, points: Vectors<'_>, unseen: Option<Vectors<'_>>) -> Result<Mapped, ClassicError> {
        let fitted = self.method().fit(points)?;
        Ok(Mapped {
            train: fitted.embedding().to_vec(),
            unseen: unseen.map(|unseen| fitted.transform(unseen)).transpose()?,
            dim: self.dims,
            facts: vec![("residual variance".into(), format!("{:.4}", fitted.residual_variance()))],
        })
    }
}

#[derive(Debug, Clone, PartialEq, clap::Args, Serialize)]
#[serde(rename_all = "kebab-case")]
pub struct LaplacianEigenmaps {
    /// Dimensions of the map
    #[arg(long, value_name = "N", default_value_t = 2)]
    pub dims: usize,
    /// Neighbours of each row
    #[arg(long, value_name = "K", default_value_t = 12)]
    pub neighbors: usize,
    /// The heat kernel's t, a squared distance [default: every neighbour counts alike]
    #[arg(long, value_name = "X")]
    pub bandwidth: Option<f64>,
}

impl LaplacianEigenmaps {
    fn method(&self) -> spectral::LaplacianEigenmaps {
        let Self { dims, neighbors, bandwidth } = *self;
        spectral::LaplacianEigenmaps { neighbors, dims, bandwidth }
    }
}

impl Spectral for LaplacianEigenmaps {
    fn placing(&self) -> Result<&'static str, &'static str> {
        Ok("a step of the graph's random walk")
    }

    fn fit(&self, points: Vectors<'_>, unseen: Option<Vectors<'_>>) -> Result<Mapped, ClassicError> {
        let fitted = self.method().fit(points)?;
        Ok(Mapped {
            train: fitted.embedding().to_vec(),
            unseen: unseen.map(|unseen| fitted.transform(unseen)).transpose()?,
            dim: self.dims,
            facts: vec![eigenvalues(&fitted.eigenvalues())],
        })
    }
}

#[derive(Debug, Clone, PartialEq, clap::Args, Serialize)]
#[serde(rename_all = "kebab-case")]
pub struct DiffusionMaps {
    /// Dimensions of the map
    #[arg(long, value_name = "N", default_value_t = 2)]
    pub dims: usize,
    /// Neighbours of each row
    #[arg(long, value_name = "K", default_value_t = 12)]
    pub neighbors: usize,
    /// How much of the rows' density is taken out, 0 to 1
    #[arg(long, value_name = "X", default_value_t = 1.0)]
    pub alpha: f64,
    /// Steps of the walk
    #[arg(long, value_name = "N", default_value_t = 1)]
    pub steps: u32,
    /// The kernel's ε, a squared distance [default: the median squared length of the graph's edges]
    #[arg(long, value_name = "X")]
    pub bandwidth: Option<f64>,
}

impl DiffusionMaps {
    fn method(&self) -> spectral::DiffusionMaps {
        let Self { dims, neighbors, alpha, steps, bandwidth } = *self;
        spectral::DiffusionMaps { neighbors, dims, alpha, steps, bandwidth }
    }
}

impl Spectral for DiffusionMaps {
    fn placing(&self) -> Result<&'static str, &'static str> {
        Ok("a step of the walk (Nyström)")
    }

    fn fit(&self, points: Vectors<'_>, unseen: Option<Vectors<'_>>) -> Result<Mapped, ClassicError> {
        let fitted = self.method().fit(points)?;
        Ok(Mapped {
            train: fitted.embedding().to_vec(),
            unseen: unseen.map(|unseen| fitted.transform(unseen)).transpose()?,
            dim: self.dims,
            facts: vec![
                eigenvalues(fitted.eigenvalues()),
                ("bandwidth".into(), format!("{:.4}", fitted.bandwidth())),
            ],
        })
    }
}

#[derive(Debug, Clone, PartialEq, clap::Args, Serialize)]
#[serde(rename_all = "kebab-case")]
pub struct Mds {
    /// Dimensions of the map
    #[arg(long, value_name = "N", default_value_t = 2)]
    pub dims: usize,
}

impl Spectral for Mds {
    fn placing(&self) -> Result<&'static str, &'static str> {
        Ok("distances to the rows fitted (Gower)")
    }

    fn fit(&self, points: Vectors<'_>, unseen: Option<Vectors<'_>>) -> Result<Mapped, ClassicError> {
        let fitted = spectral::ClassicalMds { dims: self.dims }.fit_points(points)?;
        let place = |unseen: Vectors<'_>| {
            let distances = distances(unseen, points)?;
            fitted.transform(Vectors::new(&distances, points.len())?)
        };
        Ok(Mapped {
            train: fitted.embedding().to_vec(),
            unseen: unseen.map(place).transpose()?,
            dim: self.dims,
            facts: vec![eigenvalues(fitted.eigenvalues())],
        })
    }
}

#[derive(Debug, Clone, PartialEq, clap::Args, Serialize)]
#[serde(rename_all = "kebab-case")]
pub struct Smacof {
    /// Dimensions of the map
    #[arg(long, value_name = "N", default_value_t = 2)]
    pub dims: usize,
    /// Iterations at most
    #[arg(long, value_name = "N", default_value_t = 300)]
    pub iterations: usize,
    /// Stops when an iteration lowers the stress by less than this part
    #[arg(long, value_name = "X", default_value_t = 1e-6)]
    pub tolerance: f64,
}

impl Smacof {
    fn method(&self) -> spectral::Smacof {
        let Self { dims, iterations, tolerance } = *self;
        spectral::Smacof { dims, iterations, tolerance, ..spectral::Smacof::default() }
    }
}

impl Spectral for Smacof {
    fn placing(&self) -> Result<&'static str, &'static str> {
        Err("it moves all rows together until their distances fit, and has no place for another")
    }

    fn fit(&self, points: Vectors<'_>, _unseen: Option<Vectors<'_>>) -> Result<Mapped, ClassicError> {
        let fitted = self.method().fit(&distances(points, points)?)?;
        let stress = fitted.stresses().last().copied().unwrap_or(f64::NAN);
        let facts = vec![
            ("stress".into(), format!("{stress:.4}")),
            ("iterations".into(), fitted.stresses().len().saturating_sub(1).to_string()),
        ];
        Ok(Mapped { train: fitted.embedding().to_vec(), unseen: None, dim: self.dims, facts })
    }
}

fn eigenvalues(values: &[f64]) -> (String, String) {
    let texts: Vec<String> = values.iter().take(10).map(|value| format!("{value:.4}")).collect();
    ("eigenvalues".into(), texts.join(", "))
}

/// The distance of each query to each point.
fn distances(queries: Vectors<'_>, points: Vectors<'_>) -> Result<Vec<f32>, ClassicError> {
    struct Keep(usize);
    impl RowFold for Keep {
        type Row = Vec<f32>;

        fn start(&self, _query: usize) -> Vec<f32> {
            vec![0.0; self.0]
        }

        fn tile(&self, _query: usize, first: usize, scores: &[f32], row: &mut Vec<f32>) {
            row[first..first + scores.len()].copy_from_slice(scores);
        }
    }
    Ok(fold_rows(queries, points, Metric::Euclidean, &Keep(points.len()))?.concat())
}

#[cfg(test)]
mod tests {
    use super::super::Method;
    use super::*;

    #[test]
    fn the_defaults_are_those_of_the_library() {
        let parse = |name: &str| Method::parse(name).unwrap();
        let Method::Lle(lle) = parse("lle") else { panic!() };
        assert_eq!(lle.method(), spectral::Lle::default());
        let Method::Isomap(isomap) = parse("isomap") else { panic!() };
        assert_eq!(isomap.method(), spectral::Isomap::default());
        let Method::LaplacianEigenmaps(eigenmaps) = parse("laplacian-eigenmaps") else { panic!() };
        assert_eq!(eigenmaps.method(), spectral::LaplacianEigenmaps::default());
        let Method::DiffusionMaps(maps) = parse("diffusion-maps") else { panic!() };
        assert_eq!(maps.method(), spectral::DiffusionMaps::default());
        let Method::Smacof(smacof) = parse("smacof") else { panic!() };
        assert_eq!(smacof.method(), spectral::Smacof::default());
    }

    #[test]
    fn distances_among_one_set_are_symmetric_with_a_zero_diagonal() {
        let points: Vec<f32> = (0..600).map(|i| ((i * 7919) % 1009) as f32 / 100.0).collect();
        let points = Vectors::new(&points, 3).unwrap();
        let (n, found) = (points.len(), distances(points, points).unwrap());
        assert!((0..n).all(|i| found[i * n + i] == 0.0));
        assert!((0..n * n).all(|at| found[at] == found[at % n * n + at / n]));
    }
}
