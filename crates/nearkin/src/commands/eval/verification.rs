//! Verification: are two samples kin? All pairs, and a drawn list for the accuracy.

use nearkin_eval::{
    Curve, MetricRow, PairAccuracy, PairVerificationOptions, Series, Verification, VerificationOptions,
    draw_pairs, verify, verify_pairs,
};
use serde::Serialize;

use super::{Found, case::Case, json};
use crate::failure::Failure;

/// The rates of the table.
const STATED: [f64; 3] = [1e-1, 1e-2, 1e-3];
/// Rates a decade of the ROC curve's intervals.
const A_DECADE: i32 = 4;
/// Decades of the ROC curve.
const DECADES: i32 = 4;
/// As in Labeled Faces in the Wild: ten folds of 300 pairs of kin and 300 of strangers.
const FOLDS: usize = 10;
const PER_FOLD: usize = 300;
/// Student's t for a 95 % interval over ten folds.
const T_OF_FOLDS: f64 = 2.262;

/// The measures of one kind of vectors.
#[derive(Debug, Serialize)]
struct Measures {
    #[serde(flatten)]
    all_pairs: Verification,
    /// `None` where the samples do not make ten folds.
    accuracy: Option<PairAccuracy>,
}

pub fn measure(case: &Case<'_>) -> Result<Found, Failure> {
    case.of_one_set("verification")?;
    // The stated rates, and others between them for the curve.
    let rates = (0..DECADES * A_DECADE).map(|step| 10f64.powf(-f64::from(step) / f64::from(A_DECADE)));
    let mut false_accept_rates = STATED.to_vec();
    false_accept_rates
        .extend(rates.filter(|rate| STATED.iter().all(|stated| (stated / rate - 1.0).abs() > 1e-9)));
    let drawn = draw_pairs(&case.labels.query, FOLDS, PER_FOLD, 0);
    let [learned, baseline] = case.measure(|asked, _, metric| {
        let options = VerificationOptions { metric, false_accept_rates: false_accept_rates.clone() };
        let all_pairs = verify(asked, &options)?;
        let accuracy = match &drawn {
            Err(_) => None,
            Ok(drawn) => {
                let options = PairVerificationOptions { metric, folds: FOLDS, ..Default::default() };
                Some(verify_pairs(asked.vectors, &drawn.pairs, &drawn.kin, &options)?.accuracy)
            }
        };
        Ok(Measures { all_pairs, accuracy })
    })?;
    let all = &learned.all_pairs;
    let mut notes = case.notes();
    match &drawn {
        Err(error) => notes.push(format!("accuracy is left out: {error}")),
        Ok(drawn) if !drawn.classes_apart => notes.push(format!(
            "there are too few classes to keep those of the {FOLDS} folds apart, so the accuracy's thresholds are chosen on the same classes"
        )),
        Ok(_) => {}
    }
    let few = STATED.into_iter().zip(&all.operating_points).filter(|(_, point)| point.false_accepts < 10);
    for (rate, point) in few {
        notes.push(format!(
            "at a false-accept rate of {rate}, {} pairs of strangers are accepted: too few to say much",
            point.false_accepts
        ));
    }
    let pairs = drawn.as_ref().map_or(0, |drawn| drawn.pairs.len());
    Ok(Found {
        rows: rows(&learned, &baseline),
        curves: vec![roc(&learned.all_pairs, &baseline.all_pairs, case.model.baseline_name())],
        sentence: format!(
            "all pairs of {}: {} of kin, {} of strangers; accuracy over {pairs} drawn pairs in {FOLDS} folds; {}",
            case.count(),
            all.kin_pairs,
            all.stranger_pairs,
            case.by()
        ),
        learned: json(&learned)?,
        baseline: json(&baseline)?,
        notes,
        per_class: Vec::new(),
    })
}

fn rows(learned: &Measures, baseline: &Measures) -> Vec<MetricRow> {
    let row = |name: &str, learned: f64, baseline: Option<f64>, interval| MetricRow {
        name: name.to_owned(),
        learned,
        baseline,
        interval,
    };
    let points = learned.all_pairs.operating_points.iter().zip(&baseline.all_pairs.operating_points);
    let mut rows: Vec<MetricRow> = STATED
        .into_iter()
        .zip(points)
        .map(|(rate, (point, raw))| {
            let name = format!("tar_at_far_{rate:e}");
            row(&name, point.true_accept_rate, Some(raw.true_accept_rate), point.true_accept_rate_interval)
        })
        .collect();
    if let Some(accuracy) = &learned.accuracy {
        let half = T_OF_FOLDS * accuracy.standard_error;
        let interval = Some((accuracy.mean - half, accuracy.mean + half));
        rows.push(row("accuracy", accuracy.mean, baseline.accuracy.as_ref().map(|a| a.mean), interval));
    }
    let (l, b) = (&learned.all_pairs, &baseline.all_pairs);
    rows.push(row("equal_error_rate", l.equal_error_rate, Some(b.equal_error_rate), None));
    rows.push(row("area_under_curve", l.area_under_curve, Some(b.area_under_curve), None));
    rows
}

/// The ROC curve with its intervals, over the logarithm of the false-accept rate: low rates are what matters.
fn roc(learned: &Verification, baseline: &Verification, baseline_name: &str) -> Curve {
    let lowest = 10f64.powi(-DECADES);
    let curve = |of: &Verification| {
        let shown = of.curve.iter().filter(|point| point.false_accept_rate >= lowest);
        shown.map(|point| (point.false_accept_rate.log10(), point.true_accept_rate)).collect()
    };
    let mut points: Vec<_> = learned.operating_points.iter().collect();
    points.sort_by(|a, b| a.wanted_false_accept_rate.total_cmp(&b.wanted_false_accept_rate));
    let end = |of: fn((f64, f64)) -> f64| {
        let ends = points.iter().filter_map(|point| {
            Some((point.wanted_false_accept_rate.log10(), of(point.true_accept_rate_interval?)))
        });
        ends.collect()
    };
    let series = |name: &str, points: Vec<(f64, f64)>| Series { name: name.to_owned(), points };
    Curve {
        title: "ROC: kin accepted where strangers are accepted so often".into(),
        x_label: "log₁₀ of the false-accept rate".into(),
        y_label: "true-accept rate".into(),
        series: vec![
            series("learned", curve(learned)),
            series(baseline_name, curve(baseline)),
            series("95 % interval, upper end", end(|interval| interval.1)),
            series("95 % interval, lower end", end(|interval| interval.0)),
        ]
        .into_iter()
        .filter(|series| !series.points.is_empty())
        .collect(),
    }
}
