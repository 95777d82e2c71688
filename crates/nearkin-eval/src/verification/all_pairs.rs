//! Verification over all pairs of a labelled set, from one histogram.

use std::collections::BTreeMap;
use std::sync::{Mutex, PoisonError};

use nearkin_sweep::{Metric, Relation, SameLabel, Vectors, map_rows, pair_scores};
use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;
use serde::Serialize;

use super::bins::{BINS, Bins, nearness};
use super::resampling::{EDGES, GroupCounts, Groups};
use super::{OperatingPoint, RocPoint, VerificationOptions, check_rates, equal_error_rate, undefined};
use crate::error::{EvalError, Side};
use crate::labeled::Labeled;

/// What the histogram may hide of a true-accept rate before its bin is counted again.
const TOLERANCE: f64 = 1e-4;
/// Pairs drawn to find out where scores lie.
const SAMPLE: usize = 1 << 15;
const SEED: u64 = 0x6e65_6172_6b69_6e02;

/// Verification over all pairs.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Verification {
    /// Pairs of one class.
    pub kin_pairs: u64,
    /// Pairs of two classes.
    pub stranger_pairs: u64,
    /// Classes among the vectors.
    pub classes: usize,
    /// One a wanted false-accept rate, in the order asked for.
    pub operating_points: Vec<OperatingPoint>,
    /// Where as many strangers are accepted as kin are refused, in [0, 1].
    pub equal_error_rate: f64,
    /// The area under the ROC curve: the chance that a pair of kin is nearer than a pair of strangers, in [0, 1]. Pairs in one bin
    /// count as ties.
    pub area_under_curve: f64,
    /// How far that may be from the exact area, on either side.
    pub area_under_curve_error: f64,
    /// The ROC curve, up to 513 points in order of rising rates; the last accepts every pair.
    pub curve: Vec<RocPoint>,
}

impl Verification {
    /// Where the false-accept rate that is measured on `classes` *other* classes of the same kind should lie, 19 times of 20, at the
    /// threshold of `point`.
    ///
    /// The bootstrap's interval says how far the rate of these classes may be from the rate of all. Those of another sample are off by
    /// chance too, so it is widened by `√(1 + C / C')` for `C` classes here and `C'` there, on a scale of logarithms, since rates have long
    /// tails above. `None` where there is no interval.
    pub fn predicted_false_accept_rate(&self, point: &OperatingPoint, classes: usize) -> Option<(f64, f64)> {
        let (low, high) = point.false_accept_rate_interval?;
        let wider = (1.0 + self.classes as f64 / classes.max(1) as f64).sqrt();
        let rate = point.false_accept_rate;
        let stretch = |end: f64| if rate > 0.0 { rate * (end / rate).powf(wider) } else { end };
        Some((stretch(low), stretch(high).min(1.0)))
    }
}

/// Verifies all pairs `i < j` of a labelled set: pairs of one class are to be accepted, all others refused.
///
/// One sweep counts every pair in 65,536 bins over the range of a sample of scores. So every rate given is that of all pairs at the
/// threshold given, exactly; what a finer threshold could gain is stated (`true_accept_rate_limit`), and where it is more than 1e-4
/// the bins in question are cut again, all in one more sweep, until it is not or the bin holds one value.
///
/// Intervals resample classes, not pairs: pairs that share a class rise and fall together, so a bootstrap of pairs would be far too
/// sure (Poh, Martin, Bengio 2007, *Performance generalization in biometric authentication using joint user-specific and sample
/// bootstraps*). The same sweep keeps counts by pairs of up to 64 groups, classes dealt to them at random, in some 500 wide bins; from
/// these each of 1,000 resamples is read. Fewer than 5 classes give no intervals.
///
/// Cost: one sweep of all pairs, `2 n² d` operations. Memory: the sweep's, and about 10 MB a thread.
///
/// # Errors
/// No vectors, a label count that differs from the vector count, a value that is not finite, scores beyond f32, a rate outside (0, 1],
/// and a set without pairs of one class or without pairs of two.
pub fn verify(embeddings: Labeled<'_>, options: &VerificationOptions) -> Result<Verification, EvalError> {
    embeddings.check(Side::Embeddings)?;
    check_rates(&options.false_accept_rates)?;
    let Labeled { vectors, labels } = embeddings;
    let mut members: BTreeMap<u32, Vec<u32>> = BTreeMap::new();
    (0u32..).zip(labels).for_each(|(i, &label)| members.entry(label).or_default().push(i));
    let members: Vec<Vec<u32>> = members.into_values().collect();
    if members.iter().all(|class| class.len() == 1) {
        return Err(undefined("no two vectors share a label, so there is no pair of kin"));
    }
    if members.len() == 1 {
        return Err(undefined("all vectors have one label, so there is no pair of strangers"));
    }
    let larger_is_nearer = options.metric.larger_is_nearer();
    let sample = Sample::draw(vectors, options.metric, labels, &members)?;
    let bins = sample.bins();
    let edges = sample.edges(&bins);
    let groups = Groups::deal(labels);
    let sweep = Sweep { vectors, metric: options.metric, labels };
    let (mut histograms, counts) = sweep.count(&[bins], Some((&groups, &edges)))?;
    let totals = Totals::of(histograms.remove(0));

    let mut points: Vec<Threshold> =
        options.false_accept_rates.iter().map(|&wanted| totals.threshold(wanted, bins)).collect();
    sweep.refine(&mut points, &totals)?;
    let found: Vec<(f64, u64)> =
        points.iter().map(|point| (point.wanted, point.accepted.strangers)).collect();
    let intervals = counts.and_then(|counts| counts.intervals(&found, |bin| bins.edge(bin)));
    let (kin, strangers) = (totals.all.kin as f64, totals.all.strangers as f64);
    let operating_points = points.iter().enumerate().map(|(p, point)| {
        let intervals = intervals.as_ref().map(|intervals| intervals[p]);
        OperatingPoint {
            wanted_false_accept_rate: point.wanted,
            threshold: nearness(point.nearness, larger_is_nearer),
            false_accepts: point.accepted.strangers,
            false_accept_rate: point.accepted.strangers as f64 / strangers,
            true_accept_rate: point.accepted.kin as f64 / kin,
            true_accept_rate_limit: point.kin_limit as f64 / kin,
            true_accept_rate_interval: intervals.map(|i| i.true_accept_rate),
            false_accept_rate_interval: intervals.map(|i| i.false_accept_rate),
            threshold_interval: intervals.map(|i| {
                let ends = [i.threshold.0, i.threshold.1].map(|t| nearness(t as f32, larger_is_nearer));
                (ends[0].min(ends[1]), ends[0].max(ends[1]))
            }),
        }
    });
    let (area_under_curve, area_under_curve_error) = totals.area();
    let rates = |bin: usize| {
        let accepted = totals.near[bin];
        (accepted.strangers as f64 / strangers, accepted.kin as f64 / kin)
    };
    let curve = edges.iter().rev().map(|&bin| usize::from(bin)).chain([0]).map(|bin| {
        let (false_accept_rate, true_accept_rate) = rates(bin);
        RocPoint {
            threshold: nearness(bins.edge(bin), larger_is_nearer),
            false_accept_rate,
            true_accept_rate,
        }
    });
    Ok(Verification {
        kin_pairs: totals.all.kin,
        stranger_pairs: totals.all.strangers,
        classes: members.len(),
        operating_points: operating_points.collect(),
        equal_error_rate: equal_error_rate((0..BINS).rev().map(rates)),
        area_under_curve,
        area_under_curve_error,
        curve: curve.collect(),
    })
}

/// Nearnesses of some pairs, drawn at random.
struct Sample {
    /// Descending.
    kin: Vec<f32>,
    /// Descending.
    strangers: Vec<f32>,
}

impl Sample {
    fn draw(
        vectors: Vectors<'_>,
        metric: Metric,
        labels: &[u32],
        members: &[Vec<u32>],
    ) -> Result<Self, EvalError> {
        let mut rng = ChaCha8Rng::seed_from_u64(SEED);
        let n = labels.len() as u32;
        let mut pairs: Vec<(u32, u32)> = Vec::with_capacity(2 * SAMPLE);
        for _ in 0..SAMPLE {
            let (i, j) = (rng.random_range(0..n), rng.random_range(0..n));
            if labels[i as usize] != labels[j as usize] {
                pairs.push((i, j));
            }
        }
        let crowds: Vec<&Vec<u32>> = members.iter().filter(|class| class.len() > 1).collect();
        let strangers = pairs.len();
        for _ in 0..SAMPLE / 2 {
            let class = crowds[rng.random_range(0..crowds.len())];
            let (i, j) = (rng.random_range(0..class.len()), rng.random_range(0..class.len()));
            if i != j {
                pairs.push((class[i], class[j]));
            }
        }
        let scores = pair_scores(vectors, None, metric, &pairs)?;
        let near: Vec<f32> = scores.iter().map(|s| nearness(*s, metric.larger_is_nearer())).collect();
        let descending = |part: &[f32]| {
            let mut part: Vec<f32> = part.iter().copied().filter(|x| x.is_finite()).collect();
            part.sort_unstable_by(|a, b| b.total_cmp(a));
            part
        };
        Ok(Self { kin: descending(&near[strangers..]), strangers: descending(&near[..strangers]) })
    }

    fn all(&self) -> impl Iterator<Item = f32> + Clone + '_ {
        self.strangers.iter().chain(&self.kin).copied()
    }

    /// From the hundredth part of the strangers that is farthest, or the farthest kin, to the nearest pair and an eighth beyond: pairs
    /// that lie farther are refused by any threshold of interest.
    fn bins(&self) -> Bins {
        let high = self.all().fold(f32::NEG_INFINITY, f32::max);
        let strangers = self.strangers.len();
        let far = self.strangers.get((strangers - strangers.min(1)) * 99 / 100);
        let low = far.into_iter().chain(self.kin.last()).copied().fold(high, f32::min);
        match high.is_finite() && low.is_finite() && (high - low).is_finite() {
            true => Bins::over(low, high + (high - low) / 8.0),
            // A sweep of all pairs will tell which score is not finite.
            false => Bins::over(-1.0, 1.0),
        }
    }

    /// Edges of wide bins, as fine bins, ascending and distinct: even in the kin's share, in the logarithm of the strangers', and in
    /// the score.
    fn edges(&self, bins: &Bins) -> Vec<u16> {
        let at = |sorted: &[f32], part: f64| {
            let place = (part * sorted.len() as f64) as usize;
            sorted.get(place.min(sorted.len().saturating_sub(1))).map(|x| bins.bin(*x))
        };
        const EVEN: usize = 64;
        const BY_KIN: usize = 192;
        const BY_STRANGERS: usize = EDGES - EVEN - BY_KIN;
        let by_kin = (0..BY_KIN).filter_map(|k| at(&self.kin, k as f64 / BY_KIN as f64));
        let by_strangers = (0..BY_STRANGERS)
            .filter_map(|k| at(&self.strangers, 10f64.powf(-4.5 * k as f64 / BY_STRANGERS as f64)));
        let even = (1..=EVEN).map(|k| k * BINS / (EVEN + 1));
        let mut edges: Vec<u16> =
            by_kin.chain(by_strangers).chain(even).filter(|bin| *bin > 0).map(|bin| bin as u16).collect();
        edges.sort_unstable();
        edges.dedup();
        edges
    }
}

/// Pairs of kin and of strangers.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
struct Count {
    kin: u64,
    strangers: u64,
}

/// A histogram summed up from the near end.
struct Totals {
    all: Count,
    /// Pairs in each bin or a nearer one; one entry more than bins.
    near: Vec<Count>,
}

impl Totals {
    fn of(mut counts: Vec<Count>) -> Self {
        counts.push(Count::default());
        for bin in (1..counts.len()).rev() {
            let nearer = counts[bin];
            counts[bin - 1].kin += nearer.kin;
            counts[bin - 1].strangers += nearer.strangers;
        }
        Self { all: counts[0], near: counts }
    }

    /// The loosest edge that keeps the wanted rate.
    fn threshold(&self, wanted: f64, bins: Bins) -> Threshold {
        let allowed = allowed(wanted, self.all.strangers);
        let bin = self.near.partition_point(|count| count.strangers > allowed);
        let limit = self.near[bin.saturating_sub(1)].kin;
        let end = if bin < BINS { bins.edge(bin) } else { f32::MAX };
        let from = if bin == 0 { f32::MIN } else { bins.edge(bin - 1) };
        Threshold { wanted, allowed, nearness: end, accepted: self.near[bin], kin_limit: limit, from }
    }

    /// The area under the curve with ties within bins, and half of those ties.
    fn area(&self) -> (f64, f64) {
        let (mut sum, mut ties) = (0.0, 0.0);
        for bins in self.near.windows(2) {
            let strangers = (bins[0].strangers - bins[1].strangers) as f64;
            let kin = (bins[0].kin - bins[1].kin) as f64;
            sum += strangers * (bins[1].kin as f64 + 0.5 * kin);
            ties += 0.5 * strangers * kin;
        }
        let pairs = self.all.kin as f64 * self.all.strangers as f64;
        (sum / pairs, ties / pairs)
    }
}

/// The most strangers that may be accepted.
fn allowed(wanted: f64, strangers: u64) -> u64 {
    let share = wanted * strangers as f64;
    // 0.1 of 30 is 3, whatever the rounding of a product says.
    let whole = share.round();
    (if (share - whole).abs() < 1e-9 * whole.max(1.0) { whole } else { share.floor() }) as u64
}

/// Where a wanted rate's threshold was found.
struct Threshold {
    wanted: f64,
    allowed: u64,
    nearness: f32,
    accepted: Count,
    /// Kin accepted at the next looser edge, which breaks the wanted rate.
    kin_limit: u64,
    /// That edge.
    from: f32,
}

struct Sweep<'a> {
    vectors: Vectors<'a>,
    metric: Metric,
    labels: &'a [u32],
}

impl Sweep<'_> {
    /// Cuts the bins again in which thresholds hide too much.
    fn refine(&self, points: &mut [Threshold], totals: &Totals) -> Result<(), EvalError> {
        loop {
            let hidden =
                |point: &Threshold| (point.kin_limit - point.accepted.kin) as f64 / totals.all.kin as f64;
            let open: Vec<usize> = (0..points.len())
                .filter(|&p| hidden(&points[p]) > TOLERANCE && points[p].from.next_up() < points[p].nearness)
                .collect();
            if open.is_empty() {
                return Ok(());
            }
            // An outer bin reaches to the end of f32: halving the range of scores each time would take many sweeps, so the ends are found first.
            let (least, most) = self.reach();
            let bins: Vec<Bins> = open
                .iter()
                .map(|&p| Bins::over(points[p].from.max(least), points[p].nearness.min(most)))
                .collect();
            let mut stuck = true;
            for ((&p, bins), counts) in open.iter().zip(&bins).zip(self.count(&bins, None)?.0) {
                let finer = Totals::of(counts).threshold(points[p].wanted, *bins);
                let point = &mut points[p];
                // The new bins only ever cut the old one.
                if finer.accepted.strangers <= point.allowed && finer.nearness < point.nearness {
                    (point.nearness, point.accepted) = (finer.nearness, finer.accepted);
                    stuck = false;
                }
                if finer.from > point.from {
                    (point.from, point.kin_limit) = (finer.from, finer.kin_limit);
                    stuck = false;
                }
            }
            if stuck {
                return Ok(());
            }
        }
    }

    /// Bounds of the nearness of all pairs, with room for rounding.
    fn reach(&self) -> (f32, f32) {
        let dim = self.vectors.dim();
        let largest = self
            .vectors
            .data()
            .chunks_exact(dim)
            .map(|row| row.iter().map(|x| f64::from(*x) * f64::from(*x)).sum::<f64>())
            .fold(0.0, f64::max);
        let (least, most) = match self.metric {
            Metric::Cosine => (-1.0, 1.0),
            Metric::Dot => (-largest, largest),
            Metric::Euclidean => (-2.0 * largest.sqrt(), 0.0),
            Metric::SquaredEuclidean => (-4.0 * largest, 0.0),
        };
        let room = 1e-3 * (most - least);
        (((least - room) as f32).max(f32::MIN), ((most + room) as f32).min(f32::MAX))
    }

    /// Counts all pairs `i < j` in each of `histograms`, and by groups in wide bins of the first.
    #[allow(clippy::type_complexity)]
    fn count<'g>(
        &self,
        histograms: &[Bins],
        groups: Option<(&'g Groups, &'g [u16])>,
    ) -> Result<(Vec<Vec<Count>>, Option<GroupCounts<'g>>), EvalError> {
        let larger_is_nearer = self.metric.larger_is_nearer();
        let wide = groups.map(|(_, edges)| GroupCounts::wide_bins(edges));
        // As many sets of counts as rows are counted at once: which row goes to which does not matter to sums of whole numbers.
        let idle: Mutex<Vec<Counts<'g>>> = Mutex::new(Vec::new());
        let lock = || idle.lock().unwrap_or_else(PoisonError::into_inner);
        let kin = SameLabel::within(self.labels);
        let finite = map_rows(self.vectors, None, self.metric, &kin, |row, _| {
            let taken = lock().pop();
            let mut counts = taken.unwrap_or_else(|| Counts {
                fine: vec![vec![Count::default(); BINS]; histograms.len()],
                by_group: groups.map(|(groups, edges)| GroupCounts::none(groups, edges)),
            });
            let (scores, relations) = (&row.scores[..row.query], &row.relations[..row.query]);
            for (bins, fine) in histograms.iter().zip(&mut counts.fine) {
                for (score, relation) in scores.iter().zip(relations) {
                    let count = &mut fine[bins.bin(nearness(*score, larger_is_nearer))];
                    match relation {
                        Relation::Kin => count.kin += 1,
                        _ => count.strangers += 1,
                    }
                }
            }
            if let (Some(by_group), Some(wide)) = (&mut counts.by_group, &wide) {
                let width = by_group.edges.len() + 1;
                let groups = by_group.groups;
                let own = groups.of[row.query];
                for ((score, relation), other) in scores.iter().zip(relations).zip(&groups.of) {
                    let bin = usize::from(wide[histograms[0].bin(nearness(*score, larger_is_nearer))]);
                    match relation {
                        Relation::Kin => by_group.kin[usize::from(own) * width + bin] += 1,
                        _ => by_group.strangers[groups.pair(own, *other) * width + bin] += 1,
                    }
                }
            }
            lock().push(counts);
            scores.iter().all(|score| score.is_finite())
        })?;
        if let Some(query) = finite.iter().position(|finite| !finite) {
            return Err(EvalError::ScoreOverflow { metric: self.metric, query });
        }
        let mut parts = idle.into_inner().unwrap_or_else(PoisonError::into_inner).into_iter();
        // There is at least one row, so at least one set of counts.
        let mut sum = parts.next().unwrap_or_else(|| Counts { fine: Vec::new(), by_group: None });
        for part in parts {
            for (sum, part) in sum.fine.iter_mut().flatten().zip(part.fine.iter().flatten()) {
                sum.kin += part.kin;
                sum.strangers += part.strangers;
            }
            if let (Some(sum), Some(part)) = (&mut sum.by_group, &part.by_group) {
                sum.add(part);
            }
        }
        Ok((sum.fine, sum.by_group))
    }
}

/// What one thread counts.
struct Counts<'g> {
    fine: Vec<Vec<Count>>,
    by_group: Option<GroupCounts<'g>>,
}
