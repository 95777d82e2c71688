//! Springs to play with: points on a plane under a loss, moved down its gradient a few steps at a time. The losses and miners are those
//! that train.

use nearkin_loss::losses::{Contrastive, DrLim, Margin, MultiSimilarity, NtXent, SupCon, TripletMargin};
use nearkin_loss::miners::{BatchHardMiner, Difficulty};
use nearkin_loss::{Loss, LossError, Miner, Reducer, Sides, Springs, pull_matrix};
use nearkin_sweep::{Kin, Metric, SameLabel, Vectors};
use serde::{Deserialize, Serialize};

use crate::error::ApiError;

/// Points at most.
const MOST_POINTS: usize = 500;
/// Steps of one request at most.
const MOST_STEPS: usize = 100;
/// Springs of either kind that are sent.
const SHOWN: usize = 400;

/// What is asked for.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Play {
    loss: LossChoice,
    points: Vec<[f32; 2]>,
    /// A class number a point.
    labels: Vec<u32>,
    /// How far a step goes down the gradient.
    rate: f32,
    /// 0 tells the springs and moves nothing.
    steps: usize,
}

/// The losses that are offered. Those of cosines live on the unit circle.
#[derive(Debug, Clone, Copy, PartialEq, Deserialize)]
#[serde(tag = "kind", rename_all = "kebab-case", deny_unknown_fields)]
enum LossChoice {
    Drlim { margin: f32 },
    Contrastive { margin: f32 },
    Triplet { margin: f32, mining: Mining },
    NtXent { temperature: f32 },
    SupCon { temperature: f32 },
    MultiSimilarity { alpha: f32, beta: f32, base: f32 },
}

/// Which triplets pull.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
enum Mining {
    /// All within the margin.
    All,
    /// Those whose stranger is farther than the kin.
    SemiHard,
    /// Those whose stranger is no farther than the kin.
    Hard,
    /// Of each anchor the farthest kin and the nearest stranger.
    BatchHard,
}

/// Where the points are, and what pulls at them.
#[derive(Debug, Serialize)]
pub(crate) struct Played {
    points: Vec<[f32; 2]>,
    loss: f64,
    /// Terms above zero, of all terms.
    active: usize,
    terms: usize,
    /// The strongest springs: two points and a force.
    attracting: Vec<(usize, usize, f32)>,
    repelling: Vec<(usize, usize, f32)>,
    /// Sums over all springs.
    attraction: f64,
    repulsion: f64,
}

impl From<LossError> for ApiError {
    fn from(error: LossError) -> Self {
        Self::invalid(error.to_string())
    }
}

pub(crate) fn play(play: &Play) -> Result<Played, ApiError> {
    let n = play.points.len();
    if !(2..=MOST_POINTS).contains(&n) || play.labels.len() != n {
        let found = play.labels.len();
        return Err(ApiError::invalid(format!(
            "{n} points and {found} labels: wanted as many of both, 2 to {MOST_POINTS}"
        )));
    }
    if play.steps > MOST_STEPS || !(play.rate > 0.0 && play.rate <= 1000.0) {
        return Err(ApiError::invalid(format!(
            "{} steps at the rate {}: wanted at most {MOST_STEPS}, and a rate above 0 up to 1000",
            play.steps, play.rate
        )));
    }
    if let Some(i) = play.points.iter().position(|p| !p.iter().all(|x| x.abs() < 1e6)) {
        return Err(ApiError::invalid(format!("point {i} is too far out to compute with")));
    }
    match play.loss {
        LossChoice::Drlim { margin } => run(play, &DrLim::new(margin)?, Metric::Euclidean, None),
        LossChoice::Contrastive { margin } => {
            run(play, &Contrastive::new(Metric::Euclidean, 0.0, margin)?, Metric::Euclidean, None)
        }
        LossChoice::Triplet { margin, mining } => {
            let loss = TripletMargin::new(Metric::Euclidean, Margin::Hinge(margin))?;
            let (loss, miner) = match mining {
                Mining::All => (loss, None),
                Mining::SemiHard => (loss.only(Difficulty::SemiHard, margin)?, None),
                Mining::Hard => (loss.only(Difficulty::Hard, margin)?, None),
                Mining::BatchHard => (loss, Some(BatchHardMiner { metric: Metric::Euclidean })),
            };
            run(play, &loss, Metric::Euclidean, miner)
        }
        LossChoice::NtXent { temperature } => run(play, &NtXent::new(temperature)?, Metric::Cosine, None),
        LossChoice::SupCon { temperature } => run(play, &SupCon::new(temperature)?, Metric::Cosine, None),
        LossChoice::MultiSimilarity { alpha, beta, base } => {
            run(play, &MultiSimilarity::new(alpha, beta, base)?, Metric::Cosine, None)
        }
    }
}

fn run<L: Loss + Springs>(
    play: &Play,
    loss: &L,
    metric: Metric,
    miner: Option<BatchHardMiner>,
) -> Result<Played, ApiError> {
    let mut points = play.points.clone();
    let same = SameLabel::within(&play.labels);
    let on_circle = metric == Metric::Cosine;
    if on_circle {
        points.iter_mut().for_each(onto_circle);
    }
    let mut step = 0;
    loop {
        let flat = points.concat();
        let vectors = Vectors::new(&flat, 2).map_err(|e| ApiError::internal(e.to_string()))?;
        let all = Sides::within(vectors, &same);
        let mined = miner.map(|miner| miner.mine(&all)?.as_kin(&all)).transpose()?;
        let kin: &dyn Kin = match &mined {
            Some(mined) => mined,
            None => &same,
        };
        let pull = loss.pull(&Sides::within(vectors, kin))?;
        if step == play.steps {
            let scores: Vec<f32> =
                points.iter().flat_map(|a| points.iter().map(move |b| metric.score(a, b))).collect();
            let forces = pull_matrix(loss, &Reducer::Sum, &scores, points.len(), kin)?.forces;
            return Ok(told(points, &pull, &forces, metric));
        }
        for (point, gradient) in points.iter_mut().zip(pull.query_gradient.chunks_exact(2)) {
            // A mean over many terms moves a point little: by the number of points, a step is of the points' own size.
            let scale = play.rate * play.points.len() as f32;
            for (x, g) in point.iter_mut().zip(gradient) {
                *x -= (scale * g).clamp(-1.0, 1.0);
            }
            if on_circle {
                onto_circle(point);
            }
        }
        step += 1;
    }
}

fn onto_circle(point: &mut [f32; 2]) {
    let length = point[0].hypot(point[1]);
    *point = if length > 1e-12 { point.map(|x| x / length) } else { [1.0, 0.0] };
}

fn told(points: Vec<[f32; 2]>, pull: &nearkin_loss::Pull, forces: &[f32], metric: Metric) -> Played {
    let n = points.len();
    let (mut attracting, mut repelling) = (Vec::new(), Vec::new());
    for i in 0..n {
        for j in i + 1..n {
            // Both ends ask; a force on a similarity that grows the loss pushes apart.
            let force = forces[i * n + j] + forces[j * n + i];
            let attraction = if metric.larger_is_nearer() { -force } else { force };
            if attraction > 0.0 {
                attracting.push((i, j, attraction));
            } else if attraction < 0.0 {
                repelling.push((i, j, -attraction));
            }
        }
    }
    let sum = |springs: &[(usize, usize, f32)]| springs.iter().map(|spring| f64::from(spring.2)).sum();
    let (attraction, repulsion) = (sum(&attracting), sum(&repelling));
    for springs in [&mut attracting, &mut repelling] {
        springs.sort_by(|a, b| b.2.total_cmp(&a.2));
        springs.truncate(SHOWN);
    }
    let (loss, active, terms) = (pull.loss, pull.active, pull.terms);
    Played { points, loss, active, terms, attracting, repelling, attraction, repulsion }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn playing(loss: &str, steps: usize) -> Result<Played, ApiError> {
        let points: Vec<[f32; 2]> =
            (0..12).map(|i| [(i * 7 % 12) as f32 / 6.0 - 1.0, (i * 5 % 12) as f32 / 6.0 - 0.9]).collect();
        let labels = (0..12).map(|i| i % 3).collect();
        play(&Play { loss: serde_json::from_str(loss).unwrap(), points, labels, rate: 0.05, steps })
    }

    #[test]
    fn every_loss_goes_down_and_has_springs_of_both_kinds() {
        for loss in [
            r#"{"kind": "drlim", "margin": 1}"#,
            r#"{"kind": "contrastive", "margin": 1}"#,
            r#"{"kind": "triplet", "margin": 0.5, "mining": "all"}"#,
            r#"{"kind": "triplet", "margin": 0.5, "mining": "semi-hard"}"#,
            r#"{"kind": "triplet", "margin": 0.5, "mining": "batch-hard"}"#,
            r#"{"kind": "nt-xent", "temperature": 0.5}"#,
            r#"{"kind": "sup-con", "temperature": 0.5}"#,
            r#"{"kind": "multi-similarity", "alpha": 2, "beta": 10, "base": 0.5}"#,
        ] {
            let before = playing(loss, 0).unwrap();
            assert!(!before.attracting.is_empty() && !before.repelling.is_empty(), "{loss}");
            assert!(before.attraction > 0.0 && before.repulsion > 0.0);
            let after = playing(loss, 60).unwrap();
            // Semi-hard triplets come and go as points move, and their mean with them.
            if !loss.contains("semi-hard") {
                assert!(after.loss < before.loss, "{loss}: {} to {}", before.loss, after.loss);
            }
            assert_ne!(after.points, before.points);
        }
    }

    #[test]
    fn a_spring_pulls_as_the_formula_says() {
        let points = vec![[0.0, 0.0], [2.0, 0.0], [2.0, 0.25]];
        let loss = LossChoice::Drlim { margin: 1.0 };
        let found =
            play(&Play { loss, points: points.clone(), labels: vec![0, 0, 1], rate: 0.1, steps: 0 }).unwrap();
        assert_eq!(found.points, points);
        // Kin at distance 2 and strangers at a quarter: forces of 2 and ¾, felt by both ends.
        let shares = |springs: &[(usize, usize, f32)]| springs.iter().map(|s| (s.0, s.1)).collect::<Vec<_>>();
        assert_eq!((shares(&found.attracting), shares(&found.repelling)), (vec![(0, 1)], vec![(1, 2)]));
        let ratio = found.attracting[0].2 / found.repelling[0].2;
        assert!((ratio - 2.0 / 0.75).abs() < 1e-4, "{ratio}");
    }

    #[test]
    fn what_cannot_be_played_is_refused() {
        let refused = |points: Vec<[f32; 2]>, labels: Vec<u32>, margin, rate, steps| {
            let loss = LossChoice::Drlim { margin };
            play(&Play { loss, points, labels, rate, steps }).unwrap_err().code
        };
        let two = || vec![[0.0, 0.0], [1.0, 0.0]];
        assert_eq!(refused(vec![[0.0, 0.0]], vec![0], 1.0, 0.1, 1), "invalid_value");
        assert_eq!(refused(two(), vec![0], 1.0, 0.1, 1), "invalid_value");
        assert_eq!(refused(two(), vec![0, 1], -1.0, 0.1, 1), "invalid_value");
        assert_eq!(refused(two(), vec![0, 1], 1.0, f32::NAN, 1), "invalid_value");
        assert_eq!(refused(two(), vec![0, 1], 1.0, 0.1, 1000), "invalid_value");
        assert_eq!(refused(vec![[f32::NAN, 0.0], [1.0, 0.0]], vec![0, 1], 1.0, 0.1, 1), "invalid_value");
    }
}
