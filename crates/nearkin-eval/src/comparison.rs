//! Several methods over the same seeds: which is better, and by how much more than luck.

use serde::Serialize;

use crate::error::EvalError;

/// One method's value over its seeds.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct MethodSummary {
    /// The method.
    pub name: String,
    /// Seeds it was run with.
    pub seeds: usize,
    /// The mean over seeds.
    pub mean: f64,
    /// The standard deviation over seeds (`n − 1` below the sum); `None` for a single seed.
    pub standard_deviation: Option<f64>,
    /// The 95 % interval of the mean, `mean ± t s / √n` with Student's `t` for `n − 1` degrees of freedom; `None` for a single seed.
    pub interval: Option<(f64, f64)>,
    /// How far the best method is ahead of this one, seed by seed; `None` for the best itself.
    pub behind_best: Option<PairedDifference>,
}

/// The difference of two methods over the same seeds.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct PairedDifference {
    /// The mean over seeds of the first less the second.
    pub mean: f64,
    /// Its 95 % t-interval; `None` for a single seed.
    pub interval: Option<(f64, f64)>,
}

impl PairedDifference {
    /// The difference `a_i − b_i` over seeds `i`.
    ///
    /// # Errors
    /// Lists of different lengths, an empty list, and a value that is not finite.
    pub fn of(a: &[f64], b: &[f64]) -> Result<Self, EvalError> {
        check("first", a)?;
        check("second", b)?;
        if a.len() != b.len() {
            return Err(EvalError::Count {
                what: "seeds of the second method",
                found: b.len(),
                wanted: a.len(),
            });
        }
        let differences: Vec<f64> = a.iter().zip(b).map(|(a, b)| a - b).collect();
        let (mean, spread) = moments(&differences);
        Ok(Self { mean, interval: spread.map(|(_, half)| (mean - half, mean + half)) })
    }

    /// Whether the interval leaves out 0. Never for a single seed.
    pub fn is_clear(&self) -> bool {
        self.interval.is_some_and(|(low, high)| low > 0.0 || high < 0.0)
    }
}

/// Methods in order of their mean, best first (equal means stay in the order given), each with its interval and its paired difference
/// to the best. Larger values are better.
///
/// Pairing takes out what a seed does to all methods alike (its split, its batches), so a difference may be clear where
/// intervals of the means overlap (Student 1908; Demšar 2006, *Statistical Comparisons of Classifiers over Multiple Data Sets*). Each
/// interval is a 95 % one by itself: among `m` methods, expect one in twenty to mislead. The best is chosen by the same values, so its
/// lead is a little flattered.
///
/// # Errors
/// No method, a method without values, methods with different numbers of seeds, and a value that is not finite.
pub fn compare_methods(methods: &[(&str, &[f64])]) -> Result<Vec<MethodSummary>, EvalError> {
    let Some((_, first)) = methods.first() else {
        return Err(EvalError::Setting {
            field: "methods",
            found: "none".to_owned(),
            wanted: "at least one",
        });
    };
    for (name, values) in methods {
        check(name, values)?;
        if values.len() != first.len() {
            return Err(EvalError::Undefined {
                measure: "a paired comparison",
                reason: format!(
                    "method '{name}' has {} values and '{}' has {}; run every method with the same seeds",
                    values.len(),
                    methods[0].0,
                    first.len()
                ),
            });
        }
    }
    let mut order: Vec<(f64, usize)> =
        methods.iter().enumerate().map(|(m, (_, values))| (moments(values).0, m)).collect();
    order.sort_by(|a, b| b.0.total_cmp(&a.0).then(a.1.cmp(&b.1)));
    let best = order[0].1;
    order
        .into_iter()
        .map(|(mean, m)| {
            let (name, values) = methods[m];
            let spread = moments(values).1;
            let behind_best =
                if m == best { None } else { Some(PairedDifference::of(methods[best].1, values)?) };
            Ok(MethodSummary {
                name: name.to_owned(),
                seeds: values.len(),
                mean,
                standard_deviation: spread.map(|(deviation, _)| deviation),
                interval: spread.map(|(_, half)| (mean - half, mean + half)),
                behind_best,
            })
        })
        .collect()
}

fn check(name: &str, values: &[f64]) -> Result<(), EvalError> {
    let undefined = |reason: String| EvalError::Undefined { measure: "a comparison over seeds", reason };
    if values.is_empty() {
        return Err(undefined(format!("method '{name}' has no values; give one a seed")));
    }
    match values.iter().position(|x| !x.is_finite()) {
        None => Ok(()),
        Some(seed) => Err(undefined(format!(
            "value {seed} of method '{name}' is {}, wanted a finite number",
            values[seed]
        ))),
    }
}

/// The mean, and of two values or more the standard deviation and half the 95 % t-interval.
fn moments(values: &[f64]) -> (f64, Option<(f64, f64)>) {
    let n = values.len() as f64;
    let mean = values.iter().sum::<f64>() / n;
    let spread = (values.len() > 1).then(|| {
        let variance = values.iter().map(|x| (x - mean).powi(2)).sum::<f64>() / (n - 1.0);
        (variance.sqrt(), t_quantile(values.len() - 1) * (variance / n).sqrt())
    });
    (mean, spread)
}

/// `t` with `P(|T| ≤ t) = 0.95` for Student's distribution of `degrees` ≥ 1.
fn t_quantile(degrees: usize) -> f64 {
    // The normal quantile below, one degree's above.
    let (mut low, mut high) = (1.9, 12.8);
    for _ in 0..60 {
        let middle = 0.5 * (low + high);
        if within(middle, degrees) < 0.95 {
            low = middle;
        } else {
            high = middle;
        }
    }
    0.5 * (low + high)
}

/// `P(|T| ≤ t)`: finite sums for whole degrees (Abramowitz & Stegun 1964, 26.7.3 and 26.7.4).
fn within(t: f64, degrees: usize) -> f64 {
    let angle = (t / (degrees as f64).sqrt()).atan();
    let (sin, cos_squared) = (angle.sin(), angle.cos().powi(2));
    let odd = degrees % 2 == 1;
    // Terms of cos: 1, ½ cos², … for even degrees; cos, ⅔ cos³, … for odd ones.
    let mut term = if odd { angle.cos() } else { 1.0 };
    let mut sum = 0.0;
    let mut k = if odd { 3 } else { 2 };
    while k <= degrees {
        sum += term;
        term *= cos_squared * (k - 1) as f64 / k as f64;
        k += 2;
    }
    if odd { (angle + sin * sum) * std::f64::consts::FRAC_2_PI } else { sin * sum }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quantiles_are_those_of_the_tables() {
        let table = [
            (1, 12.706_204_736),
            (2, 4.302_652_730),
            (3, 3.182_446_305),
            (4, 2.776_445_105),
            (5, 2.570_581_836),
            (9, 2.262_157_163),
            (10, 2.228_138_852),
            (30, 2.042_272_456),
            (100, 1.983_971_519),
        ];
        for (degrees, wanted) in table {
            assert!((t_quantile(degrees) - wanted).abs() < 1e-8, "{degrees}: {}", t_quantile(degrees));
        }
        assert!((t_quantile(100_000) - 1.959_987_7).abs() < 1e-6);
    }

    #[test]
    fn a_hand_worked_comparison() {
        // a: mean 3, s = 1, half = 4.302652730 / √3. Differences to b: 1, 1, 1: sure, though the intervals overlap.
        let rows = compare_methods(&[("b", &[1.0, 2.0, 3.0]), ("a", &[2.0, 3.0, 4.0])]).unwrap();
        assert_eq!(rows.iter().map(|r| r.name.as_str()).collect::<Vec<_>>(), ["a", "b"]);
        assert_eq!((rows[0].mean, rows[0].standard_deviation, rows[0].seeds), (3.0, Some(1.0), 3));
        let (low, high) = rows[0].interval.unwrap();
        assert!((high - low - 2.0 * 4.302_652_730 / 3f64.sqrt()).abs() < 1e-8);
        assert!(rows[0].behind_best.is_none());
        let behind = rows[1].behind_best.unwrap();
        assert_eq!((behind.mean, behind.interval), (1.0, Some((1.0, 1.0))));
        assert!(behind.is_clear());
    }

    #[test]
    fn equal_methods_stay_in_order_and_are_not_clear() {
        let rows = compare_methods(&[("x", &[1.0, 2.0]), ("y", &[2.0, 1.0])]).unwrap();
        assert_eq!((rows[0].name.as_str(), rows[1].name.as_str()), ("x", "y"));
        assert!(!rows[1].behind_best.unwrap().is_clear());
    }

    #[test]
    fn a_single_seed_has_no_interval() {
        let rows = compare_methods(&[("x", &[1.0]), ("y", &[2.0])]).unwrap();
        assert!(rows.iter().all(|r| r.interval.is_none() && r.standard_deviation.is_none()));
        assert_eq!(rows[1].behind_best.unwrap(), PairedDifference { mean: 1.0, interval: None });
        assert!(!rows[1].behind_best.unwrap().is_clear());
    }

    #[test]
    fn bad_input_is_named() {
        let error = |methods: &[(&str, &[f64])]| compare_methods(methods).unwrap_err().to_string();
        assert!(error(&[]).contains("methods is none"));
        assert!(error(&[("x", &[])]).contains("'x' has no values"));
        assert!(error(&[("x", &[1.0]), ("y", &[1.0, 2.0])]).contains("'y' has 2 values and 'x' has 1"));
        assert!(error(&[("x", &[1.0, f64::NAN])]).contains("value 1 of method 'x' is NaN"));
    }
}
