//! Our half of the comparisons with scikit-learn and metric-learn: `bench/classic.py` and `bench/classic_speed.py` drive it.
//!
//! Reads a [`Case`] a line from standard input and answers each with a line: `{"ms", "dims", "objective", "rounds", "evaluations",
//! "peak_mib"}`, or `{"error"}` with the reason. Tables are files of little-endian f32 in the case's folder, row-major: `train.f32`, `test.f32` where
//! unseen samples are to be mapped, `numbers.f32`; what supervises is u32: `labels.u32`, `chunklets.u32`, `kin.u32` and
//! `strangers.u32` (two places a pair), `quadruplets.u32` (four). The maps are written beside them, as `train.map.f32` and `test.map.f32`. The time is the
//! fit's alone.

use std::error::Error;
use std::io::{BufRead, Write};
use std::path::{Path, PathBuf};
use std::time::Instant;

use nearkin_classic::spectral::{Isomap, Lle};
use nearkin_classic::{
    Dca, Descent, Fitted, Itml, Lbfgs, Lda, LinearMap, Lmnn, LocalFisher, Lsml, Mlkr, Mmc, Nca, Pairs, Pca,
    Projections, Quadruplet, Quadruplets, Rca, Scml, Sdml, Stochastic, Whitening,
};
use nearkin_sweep::Vectors;
use serde::Deserialize;

type Result<T> = std::result::Result<T, Box<dyn Error>>;

/// What to fit, to which table. Settings that are not given are the method's own.
#[derive(Deserialize)]
struct Case {
    method: String,
    folder: PathBuf,
    columns: usize,
    dims: Option<usize>,
    /// Steps or rounds at most.
    rounds: Option<usize>,
    tolerance: Option<f64>,
    passes: Option<usize>,
    ridge: Option<f64>,
    bounds: Option<(f64, f64)>,
    neighbors: Option<usize>,
    epochs: Option<usize>,
}

/// Puts samples where they were learned to be.
type Transform = Box<dyn Fn(Vectors<'_>) -> Result<Vec<f32>>>;

/// What was learned, what it is measured by, and the steps or rounds that it took.
struct Learned {
    transform: Transform,
    objective: Option<f64>,
    rounds: Option<usize>,
    /// Evaluations of the objective.
    evaluations: Option<usize>,
}

impl Learned {
    fn of(map: LinearMap) -> Self {
        let transform = Box::new(move |x: Vectors<'_>| Ok(map.transform(x)?));
        Self { transform, objective: None, rounds: None, evaluations: None }
    }

    fn descended(fitted: Fitted<Descent>) -> Self {
        let how = fitted.how;
        Self {
            objective: Some(how.objective),
            rounds: Some(how.iterations),
            evaluations: Some(how.evaluations),
            ..Self::of(fitted.map)
        }
    }

    fn projected(fitted: Fitted<Projections>) -> Self {
        Self { rounds: Some(fitted.how.rounds), ..Self::of(fitted.map) }
    }
}

impl Case {
    fn bytes(&self, name: &str) -> Result<Vec<[u8; 4]>> {
        let path = self.folder.join(name);
        let bytes = std::fs::read(&path).map_err(|error| format!("{}: {error}", path.display()))?;
        Ok(bytes.chunks_exact(4).map(|b| [b[0], b[1], b[2], b[3]]).collect())
    }

    fn floats(&self, name: &str) -> Result<Vec<f32>> {
        Ok(self.bytes(name)?.into_iter().map(f32::from_le_bytes).collect())
    }

    fn places(&self, name: &str) -> Result<Vec<u32>> {
        Ok(self.bytes(name)?.into_iter().map(u32::from_le_bytes).collect())
    }

    fn pairs(&self) -> Result<Pairs> {
        let read = |name| -> Result<Vec<(u32, u32)>> {
            Ok(self.places(name)?.chunks_exact(2).map(|pair| (pair[0], pair[1])).collect())
        };
        Ok(Pairs { kin: read("kin.u32")?, strangers: read("strangers.u32")? })
    }

    fn quadruplets(&self) -> Result<Quadruplets> {
        let places = self.places("quadruplets.u32")?;
        let compared = |q: &[u32]| Quadruplet { near: (q[0], q[1]), far: (q[2], q[3]) };
        Ok(Quadruplets(places.chunks_exact(4).map(compared).collect()))
    }

    fn descent(&self, own: Lbfgs) -> Lbfgs {
        Lbfgs {
            iterations: self.rounds.unwrap_or(own.iterations),
            tolerance: self.tolerance.unwrap_or(own.tolerance),
        }
    }

    fn nca(&self) -> Nca {
        let nca = Nca::new().descent(self.descent(Lbfgs { iterations: 100, tolerance: 1e-5 }));
        match self.dims {
            Some(dims) => nca.dims(dims),
            None => nca,
        }
    }

    /// Fits, and says how many milliseconds that took.
    fn fit(&self, x: Vectors<'_>) -> Result<(f64, Learned)> {
        // What supervises is read before the clock starts.
        let labels = || self.places("labels.u32");
        match self.method.as_str() {
            "pca" => {
                let pca = Pca::new(self.dims.unwrap_or(x.dim()));
                timed(|| Ok(Learned::of(pca.fit(x)?.map)))
            }
            "whitening" => timed(|| Ok(Learned::of(Whitening::pca().fit(x)?.map))),
            "lda" => {
                let (y, lda) = (labels()?, Lda::new().ridge(self.ridge.unwrap_or(0.0)));
                timed(|| Ok(Learned::of(lda.fit(x, &y)?.map)))
            }
            "lfda" => {
                let (y, lfda) = (labels()?, LocalFisher::new().ridge(self.ridge.unwrap_or(0.0)));
                timed(|| Ok(Learned::of(lfda.fit(x, &y)?.map)))
            }
            "rca" => {
                let (chunklets, rca) =
                    (self.places("chunklets.u32")?, Rca::new().ridge(self.ridge.unwrap_or(0.0)));
                timed(|| Ok(Learned::of(rca.fit(x, &chunklets)?)))
            }
            "nca" => {
                let (y, nca) = (labels()?, self.nca());
                timed(|| Ok(Learned::descended(nca.fit(x, &y)?)))
            }
            "nca-stochastic" => {
                let own = Stochastic::default();
                let (y, epochs) = (labels()?, self.epochs.unwrap_or(own.epochs));
                let nca = self.nca().stochastic(Stochastic { epochs, ..own });
                timed(|| Ok(Learned::descended(nca.fit(x, &y)?)))
            }
            "mlkr" => {
                let numbers = self.floats("numbers.f32")?;
                let mlkr = Mlkr::new().descent(self.descent(Lbfgs { iterations: 100, tolerance: 1e-5 }));
                let mlkr = match self.dims {
                    Some(dims) => mlkr.dims(dims),
                    None => mlkr,
                };
                timed(|| Ok(Learned::descended(mlkr.fit(x, &numbers)?)))
            }
            "lmnn" => {
                let lmnn = Lmnn::new().passes(self.passes.unwrap_or(1));
                let lmnn = lmnn.descent(self.descent(Lbfgs { iterations: 200, tolerance: 1e-4 }));
                let (y, lmnn) = (
                    labels()?,
                    match self.dims {
                        Some(dims) => lmnn.dims(dims),
                        None => lmnn,
                    },
                );
                timed(|| Ok(Learned::descended(lmnn.fit(x, &y)?)))
            }
            "itml" => {
                let (pairs, itml) = (self.pairs()?, Itml::new());
                let itml = self.bounds.map_or(itml.clone(), |(u, l)| itml.bounds(u, l));
                timed(|| Ok(Learned::projected(itml.fit(x, &pairs)?)))
            }
            "sdml" => {
                let pairs = self.pairs()?;
                timed(|| {
                    let fitted = Sdml::new().fit(x, &pairs)?;
                    let (objective, rounds) = (Some(fitted.how.objective), Some(fitted.how.rounds));
                    Ok(Learned { objective, rounds, ..Learned::of(fitted.map) })
                })
            }
            "mmc" => {
                let (pairs, mmc) = (self.pairs()?, Mmc::full().ridge(self.ridge.unwrap_or(0.0)));
                timed(|| Ok(Learned::descended(mmc.fit(x, &pairs)?)))
            }
            "lsml" => {
                let quadruplets = self.quadruplets()?;
                timed(|| Ok(Learned::descended(Lsml::new().fit(x, &quadruplets)?)))
            }
            "scml" => {
                let y = labels()?;
                timed(|| Ok(Learned::descended(Scml::new().fit_labels(x, &y)?)))
            }
            "dca" => {
                let (y, dca) = (labels()?, Dca::new().ridge(self.ridge.unwrap_or(0.0)));
                timed(|| Ok(Learned::of(dca.fit_labels(x, &y)?.map)))
            }
            "lle" => {
                let own = Lle::default();
                let lle = Lle {
                    neighbors: self.neighbors.unwrap_or(own.neighbors),
                    dims: self.dims.unwrap_or(own.dims),
                    ..own
                };
                timed(|| {
                    let fitted = lle.fit(x)?;
                    let objective = Some(fitted.reconstruction_error());
                    let transform = Box::new(move |x: Vectors<'_>| Ok(fitted.transform(x)?));
                    Ok(Learned { transform, objective, rounds: None, evaluations: None })
                })
            }
            "isomap" => {
                let own = Isomap::default();
                let isomap = Isomap {
                    neighbors: self.neighbors.unwrap_or(own.neighbors),
                    dims: self.dims.unwrap_or(own.dims),
                    ..own
                };
                timed(|| {
                    let fitted = isomap.fit(x)?;
                    let transform = Box::new(move |x: Vectors<'_>| Ok(fitted.transform(x)?));
                    Ok(Learned { transform, objective: None, rounds: None, evaluations: None })
                })
            }
            other => Err(format!("no method is called {other}").into()),
        }
    }

    fn run(&self) -> Result<serde_json::Value> {
        let table = self.floats("train.f32")?;
        let x = Vectors::new(&table, self.columns)?;
        let (ms, learned) = self.fit(x)?;
        let mut dims = 0;
        for name in ["train", "test"] {
            if !self.folder.join(name).with_extension("f32").exists() {
                continue;
            }
            let samples = self.floats(&format!("{name}.f32"))?;
            let samples = Vectors::new(&samples, self.columns)?;
            let map = (learned.transform)(samples)?;
            dims = map.len() / samples.len();
            let bytes: Vec<u8> = map.iter().flat_map(|z| z.to_le_bytes()).collect();
            std::fs::write(self.folder.join(format!("{name}.map.f32")), bytes)?;
        }
        Ok(serde_json::json!({
            "ms": ms, "dims": dims, "objective": learned.objective, "rounds": learned.rounds,
            "evaluations": learned.evaluations, "peak_mib": peak_mib(),
        }))
    }
}

fn timed(fit: impl FnOnce() -> Result<Learned>) -> Result<(f64, Learned)> {
    let start = Instant::now();
    let learned = fit()?;
    Ok((start.elapsed().as_secs_f64() * 1e3, learned))
}

/// The most memory that this process ever held, where the system tells.
fn peak_mib() -> Option<f64> {
    let status = std::fs::read_to_string(Path::new("/proc/self/status")).ok()?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"))?;
    Some(line.split_whitespace().next()?.parse::<f64>().ok()? / 1024.0)
}

fn main() -> Result<()> {
    for line in std::io::stdin().lock().lines() {
        let case: Case = serde_json::from_str(&line?)?;
        let answer = case.run().unwrap_or_else(|error| serde_json::json!({ "error": error.to_string() }));
        println!("{answer}");
        std::io::stdout().flush()?;
    }
    Ok(())
}
