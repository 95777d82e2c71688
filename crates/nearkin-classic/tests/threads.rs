//! The bits of every fit are the same on one thread and on two.

use nearkin_classic::{
    ClassicError, Itml, Lbfgs, Lda, LinearMap, Lmnn, LocalFisher, Mlkr, Nca, Pca, Rca, Solver, Stochastic,
    Whitening,
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
    assert!(Itml::new().fit_labels(x, &labels, 5, 0).is_ok());
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
    ];
    for error in found {
        assert!(matches!(error, Some(ClassicError::NotFinite { row: 8, column: 2, .. })), "{error:?}");
    }
}
