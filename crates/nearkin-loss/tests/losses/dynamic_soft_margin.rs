use std::sync::Mutex;

use nearkin_loss::losses::{DynamicSoftMargin, GapHistogram};
use nearkin_loss::{Loss, LossError, Pull, Sides, Tuples};
use nearkin_sweep::Metric::Cosine;
use nearkin_sweep::{SameLabel, Vectors};

use crate::formula::{Dense, is_sound, mean, random};
use crate::golden::{batches, compare};
use crate::held;

fn gaps(d: &Dense<'_>) -> Vec<f64> {
    let mut gaps = Vec::new();
    for i in d.anchors() {
        let distance = |j| (2.0 - 2.0 * d.score(Cosine, i, j)).max(0.0).sqrt();
        for p in d.kin(i) {
            gaps.extend(d.strangers(i).into_iter().map(|n| distance(p) - distance(n)));
        }
    }
    gaps
}

/// The first step: the histogram is that of the points as given, and held.
fn formula(bins: usize) -> impl Fn(&Dense<'_>, &Dense<'_>) -> f64 {
    move |d, held| {
        let place = |gap: f64| (gap + 2.0) * bins as f64 / 4.0;
        let last = (bins - 1) as f64;
        let held = gaps(held);
        let weight = |gap: f64| {
            let node = place(gap).floor();
            // The share of the gaps at or before this node: what lies below the next one, of that in between only a part.
            let below = |other: f64| match place(other) {
                z if node >= last || z <= node => 1.0,
                z => (1.0 - (z - node)).max(0.0),
            };
            mean(held.iter().map(|other| below(*other)))
        };
        mean(gaps(d).into_iter().map(|gap| weight(gap) * gap))
    }
}

/// As the peer, whose every call is a step.
struct Stepping(Mutex<DynamicSoftMargin>);

impl Loss for Stepping {
    fn pull(&self, sides: &Sides<'_>) -> Result<Pull, LossError> {
        self.0.lock().unwrap().step(sides, None)
    }

    fn pull_mined(&self, sides: &Sides<'_>, tuples: &Tuples) -> Result<Pull, LossError> {
        self.0.lock().unwrap().step(sides, Some(tuples))
    }
}

#[test]
fn agrees_with_its_formula_and_finite_differences() {
    for bins in [1, 4, 10, 20] {
        let step = |sides: &Sides<'_>| {
            DynamicSoftMargin::new(GapHistogram::new(bins), 0.01).unwrap().step(sides, None).unwrap()
        };
        held::within(0, step, formula(bins));
        held::between(0, step, formula(bins));
    }
    let labels = [0, 0, 1, 1, 2, 2];
    let points = random(24, 8);
    let kin = SameLabel::within(&labels);
    let mut loss = DynamicSoftMargin::default();
    loss.observe(&Sides::within(Vectors::new(&points, 4).unwrap(), &kin), None).unwrap();
    is_sound(&loss);
}

#[test]
fn agrees_with_its_peer() {
    let batches = batches();
    compare("dynamic_soft_margin.json", 16, |given| {
        let s = given.settings();
        assert_eq!(s.number("min_val"), -2.0);
        let histogram = GapHistogram::new(s.number("num_bins") as usize);
        let mut loss = DynamicSoftMargin::new(histogram, s.number("momentum")).unwrap();
        if let Some(earlier) = batches.get(s.text("earlier")) {
            let kin = SameLabel::within(&earlier.labels);
            let vectors = Vectors::new(&earlier.embeddings, earlier.dim).unwrap();
            loss.observe(&Sides::within(vectors, &kin), None).unwrap();
        }
        Some(Box::new(Stepping(Mutex::new(loss))))
    });
}
