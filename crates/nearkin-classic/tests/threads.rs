//! What holds of every method: the same bits on one thread and on two, bad tables, and being watched.

use nearkin_classic::{
    ClassicError, Dca, Itml, Lbfgs, Lda, LinearMap, Lmnn, LocalFisher, Lsml, Mlkr, Mmc, Nca, Observer, Pairs,
    Pca, Rca, Scml, Sdml, Solver, Stochastic, Triplets, Whitening,
};
use nearkin_sweep::Vectors;

fn table(n: usize, d: usize) -> (Vec<f32>, Vec<u32>) {
    let mut state = 1u64;
    let mut next = || {
        state = state.wrapping_mul(6364136223846793005).wrapping_add(1442695040888963407);
        (state >> 40) as f32 / (1u64 << 24) as f32 - 0.5
    };
    let labels: Vec<u32> = (0..n as u32).map(|i| i % 4).collect();
    let table =
        (0..n * d).map(|at| next() + if at % d < 2 { 0.2 * labels[at / d] as f32 } else { 0.0 }).collect();
    (table, labels)
}

#[test]
fn every_fit_has_the_same_bits_on_one_thread_and_on_two() {
    let (table, labels) = table(1100, 7);
    let x = Vectors::new(&table, 7).unwrap();
    let numbers: Vec<f32> = labels.iter().map(|label| *label as f32).collect();
    let short = Lbfgs { iterations: 8, tolerance: 1e-9 };
    type Fit<'a> = Box<dyn Fn() -> Result<LinearMap, ClassicError> + Send + Sync + 'a>;
    let fits: Vec<(&str, Fit<'_>)> = vec![
        ("pca", Box::new(|| Ok(Pca::new(3).fit(x)?.map))),
        ("randomised pca", Box::new(|| Ok(Pca::new(3).solver(Solver::Randomised { seed: 1 }).fit(x)?.map))),
        ("whitening", Box::new(|| Ok(Whitening::zca().fit(x)?.map))),
        ("lda", Box::new(|| Ok(Lda::new().fit(x, &labels)?.map))),
        ("local fisher", Box::new(|| Ok(LocalFisher::new().fit(x, &labels)?.map))),
        ("rca", Box::new(|| Rca::new().fit(x, &labels))),
        ("nca", Box::new(|| Ok(Nca::new().dims(3).descent(short).fit(x, &labels)?.map))),
        (
            "stochastic nca",
            Box::new(|| {
                let sets = Stochastic { epochs: 2, batch: 300, ..Stochastic::default() };
                Ok(Nca::new().dims(3).stochastic(sets).fit(x, &labels)?.map)
            }),
        ),
        ("mlkr", Box::new(|| Ok(Mlkr::new().dims(3).descent(short).fit(x, &numbers)?.map))),
        (
            "lmnn",
            Box::new(|| Ok(Lmnn::new().descent(Lbfgs { iterations: 40, ..short }).fit(x, &labels)?.map)),
        ),
        ("dca", Box::new(|| Ok(Dca::new().fit_labels(x, &labels)?.map))),
        ("lsml", Box::new(|| Ok(Lsml::new().fit_labels(x, &labels, 200, 3)?.map))),
        ("mmc", Box::new(|| Ok(Mmc::full().fit_labels(x, &labels, 200, 3)?.map))),
        ("diagonal mmc", Box::new(|| Ok(Mmc::diagonal().fit_labels(x, &labels, 200, 3)?.map))),
        ("sdml", Box::new(|| Ok(Sdml::new().fit_labels(x, &labels, 200, 3)?.map))),
        ("scml", Box::new(|| Ok(Scml::new().sets(600, 10, 1.0).fit_labels(x, &labels)?.map))),
        (
            "scml of triplets",
            Box::new(|| {
                let triplets = Triplets::of_labels(&labels, 3000, 1)?;
                Ok(Scml::new().sets(600, 10, 1.0).fit(x, &triplets)?.map)
            }),
        ),
        ("itml", Box::new(|| Ok(Itml::new().stop(5, 0.0).fit_labels(x, &labels, 200, 3)?.map))),
    ];
    for (name, fit) in fits {
        let [one, two] = [1, 2].map(|threads| {
            let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap();
            pool.install(|| fit().unwrap())
        });
        assert_eq!(one, two, "{name}");
    }
}

#[test]
fn fewer_samples_than_dimensions_are_fitted_or_refused_with_the_reason() {
    let (table, labels) = table(6, 20);
    let x = Vectors::new(&table, 20).unwrap();
    let labels: Vec<u32> = labels.iter().map(|label| label % 2).collect();
    assert_eq!(Pca::new(6).fit(x).unwrap().map.matrix().rows(), 6);
    assert_eq!(Whitening::pca().fit(x).unwrap().map.matrix().rows(), 5);
    assert!(matches!(Lda::new().fit(x, &labels), Err(ClassicError::Singular { .. })));
    assert!(matches!(Rca::new().fit(x, &labels), Err(ClassicError::Singular { .. })));
    assert!(Nca::new().fit(x, &labels).is_ok() && Lmnn::new().fit(x, &labels).is_ok());
    assert!(
        Itml::new().fit_labels(x, &labels, 5, 0).is_ok() && Lsml::new().fit_labels(x, &labels, 5, 0).is_ok()
    );
    assert!(Sdml::new().fit_labels(x, &labels, 5, 0).is_ok() && Scml::new().fit_labels(x, &labels).is_ok());
    // Two classes differ in one direction, in which samples vary within them.
    assert_eq!(Dca::new().fit_labels(x, &labels).unwrap().map.matrix().rows(), 1);
    assert!(matches!(Mmc::full().fit_labels(x, &labels, 5, 0), Err(ClassicError::Singular { .. })));
    assert!(Mmc::full().ridge(0.1).fit_labels(x, &labels, 5, 0).is_ok());
    assert!(Mmc::diagonal().fit_labels(x, &labels, 5, 0).is_ok());
    assert!(LocalFisher::new().ridge(0.1).fit(x, &labels).is_ok());
    assert!(Mlkr::new().fit(x, &[0.5, 1.0, 0.0, 2.0, 0.3, 0.1]).is_ok());
}

/// Every method of classes, with what it fits by.
fn of_labels(x: Vectors<'_>, labels: &[u32]) -> Vec<(&'static str, Result<LinearMap, ClassicError>)> {
    vec![
        ("lda", Lda::new().ridge(0.1).fit(x, labels).map(|f| f.map)),
        ("local fisher", LocalFisher::new().ridge(0.1).fit(x, labels).map(|f| f.map)),
        ("rca", Rca::new().ridge(0.1).fit(x, labels)),
        ("dca", Dca::new().ridge(0.1).fit_labels(x, labels).map(|f| f.map)),
        ("nca", Nca::new().fit(x, labels).map(|f| f.map)),
        ("lmnn", Lmnn::new().fit(x, labels).map(|f| f.map)),
        ("itml", Itml::new().fit_labels(x, labels, 20, 0).map(|f| f.map)),
        ("lsml", Lsml::new().fit_labels(x, labels, 20, 0).map(|f| f.map)),
        ("mmc", Mmc::full().ridge(0.1).fit_labels(x, labels, 20, 0).map(|f| f.map)),
        ("diagonal mmc", Mmc::diagonal().ridge(0.1).fit_labels(x, labels, 20, 0).map(|f| f.map)),
        ("sdml", Sdml::new().fit_labels(x, labels, 20, 0).map(|f| f.map)),
        ("scml", Scml::new().sets(50, 5, 1.0).fit_labels(x, labels).map(|f| f.map)),
    ]
}

#[test]
fn constant_columns_copies_and_a_lone_sample_of_a_class_are_no_trouble() {
    let (mut table, mut labels) = table(40, 5);
    table.iter_mut().skip(3).step_by(5).for_each(|x| *x = 7.0);
    // Samples 20 to 39 are copies of 0 to 19, with their classes; the last is alone of its class, and so a copy of another's.
    let copy = table[..100].to_vec();
    table[100..].copy_from_slice(&copy);
    labels[39] = 9;
    let x = Vectors::new(&table, 5).unwrap();
    for (name, found) in of_labels(x, &labels) {
        let map = found.unwrap_or_else(|error| panic!("{name}: {error}"));
        assert!(map.matrix().data().iter().all(|a| a.is_finite()), "{name}");
    }
    let numbers: Vec<f32> = labels.iter().map(|label| *label as f32).collect();
    assert!(Mlkr::new().fit(x, &numbers).is_ok() && Pca::new(5).fit(x).is_ok());
    assert_eq!(Whitening::pca().fit(x).unwrap().map.matrix().rows(), 4);
}

#[test]
fn one_sample_a_class_one_class_and_other_counts_are_refused_by_every_method_of_labels() {
    let (table, labels) = table(40, 5);
    let x = Vectors::new(&table, 5).unwrap();
    let lone: Vec<u32> = (0..40).collect();
    for (name, found) in of_labels(x, &lone) {
        // With a ridge Fisher's criteria need no kin.
        let by_ridge = matches!(name, "lda" | "local fisher");
        assert!(by_ridge || matches!(found, Err(ClassicError::NoKin { .. })), "{name}: {found:?}");
    }
    for (name, found) in of_labels(x, &[3; 40]) {
        // RCA asks for no strangers.
        assert!(
            name == "rca" || matches!(found, Err(ClassicError::OneClass { label: 3, .. })),
            "{name}: {found:?}"
        );
    }
    for (name, found) in of_labels(x, &labels[1..]) {
        assert!(
            matches!(found, Err(ClassicError::Count { found: 39, samples: 40, .. })),
            "{name}: {found:?}"
        );
    }
}

#[test]
fn every_iterative_fit_is_watched_and_may_be_ended_early() {
    use std::ops::ControlFlow;
    use std::sync::{Arc, Mutex};
    let (table, labels) = table(120, 5);
    let x = Vectors::new(&table, 5).unwrap();
    let numbers: Vec<f32> = labels.iter().map(|label| *label as f32).collect();
    let pairs = Pairs::of_labels(&labels, 100, 0).unwrap();
    let exact = Lbfgs { iterations: 500, tolerance: 0.0 };
    type Fit<'a> = Box<dyn Fn(Observer) -> Result<LinearMap, ClassicError> + 'a>;
    let fits: Vec<(&str, bool, Fit<'_>)> = vec![
        ("nca", true, Box::new(|o| Ok(Nca::new().descent(exact).observer(o).fit(x, &labels)?.map))),
        (
            "stochastic nca",
            false,
            Box::new(|o| {
                let sets = Stochastic { batch: 60, ..Stochastic::default() };
                Ok(Nca::new().stochastic(sets).observer(o).fit(x, &labels)?.map)
            }),
        ),
        ("mlkr", true, Box::new(|o| Ok(Mlkr::new().descent(exact).observer(o).fit(x, &numbers)?.map))),
        ("lmnn", true, Box::new(|o| Ok(Lmnn::new().descent(exact).observer(o).fit(x, &labels)?.map))),
        ("itml", false, Box::new(|o| Ok(Itml::new().stop(99, 0.0).observer(o).fit(x, &pairs)?.map))),
        (
            "lsml",
            true,
            Box::new(|o| Ok(Lsml::new().weight(50.0).observer(o).fit_labels(x, &labels, 99, 0)?.map)),
        ),
        ("mmc", true, Box::new(|o| Ok(Mmc::full().observer(o).fit(x, &pairs)?.map))),
        ("sdml", true, Box::new(|o| Ok(Sdml::new().stop(99, 0.0).observer(o).fit(x, &pairs)?.map))),
        ("scml", true, Box::new(|o| Ok(Scml::new().observer(o).fit_labels(x, &labels)?.map))),
    ];
    for (name, falls, fit) in fits {
        let seen = Arc::new(Mutex::new(Vec::new()));
        let watch = |last: usize| {
            let seen = Arc::clone(&seen);
            Observer::new(move |progress| {
                let mut seen = seen.lock().unwrap();
                seen.push(progress);
                if seen.len() < last { ControlFlow::Continue(()) } else { ControlFlow::Break(()) }
            })
        };
        let short = fit(watch(2)).unwrap();
        let told = std::mem::take(&mut *seen.lock().unwrap());
        assert_eq!(told.len(), 2, "{name}");
        assert!(
            told[0].iteration < told[1].iteration && told[1].iteration <= told[1].at_most,
            "{name}: {told:?}"
        );
        assert!(told.iter().all(|p| p.objective.is_finite()), "{name}: {told:?}");
        assert!(!falls || told[1].objective <= told[0].objective, "{name}: {told:?}");
        let long = fit(watch(6)).unwrap();
        assert!(seen.lock().unwrap().len() <= 6);
        // Two rounds of SDML may be all there is to do.
        let apart = short != long || name == "sdml";
        assert!(short.matrix().data().iter().all(|a| a.is_finite()) && apart, "{name}");
    }
}

#[test]
fn missing_values_are_refused_by_every_method() {
    let (mut table, labels) = table(40, 5);
    table[42] = f32::NAN;
    let x = Vectors::new(&table, 5).unwrap();
    let numbers = vec![0.5; 40];
    let found = [
        Pca::new(2).fit(x).err(),
        Whitening::pca().fit(x).err(),
        Lda::new().fit(x, &labels).err(),
        LocalFisher::new().fit(x, &labels).err(),
        Rca::new().fit(x, &labels).err(),
        Nca::new().fit(x, &labels).err(),
        Mlkr::new().fit(x, &numbers).err(),
        Lmnn::new().fit(x, &labels).err(),
        Itml::new().fit_labels(x, &labels, 10, 0).err(),
        Lsml::new().fit_labels(x, &labels, 10, 0).err(),
        Mmc::full().fit_labels(x, &labels, 10, 0).err(),
        Mmc::diagonal().fit_labels(x, &labels, 10, 0).err(),
        Sdml::new().fit_labels(x, &labels, 10, 0).err(),
        Scml::new().fit_labels(x, &labels).err(),
        Scml::new().fit(x, &Triplets::of_labels(&labels, 9, 0).unwrap()).err(),
        Dca::new().fit_labels(x, &labels).err(),
    ];
    for error in found {
        assert!(matches!(error, Some(ClassicError::NotFinite { row: 8, column: 2, .. })), "{error:?}");
    }
}
