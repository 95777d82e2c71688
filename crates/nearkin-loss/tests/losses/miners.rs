//! Every miner against its definition by brute force, and against what pytorch-metric-learning picks.

use std::collections::BTreeSet;

use nearkin_loss::losses::{Contrastive, Margin, MultiSimilarity, NtXent, SupCon, TripletMargin};
use nearkin_loss::miners::{
    AllPairsMiner, AllTripletsMiner, AngularMiner, BatchEasyHardMiner, BatchHardMiner, Cap, Capped,
    Difficulty, DistanceWeightedMiner, HardnessRangeMiner, HdcMiner, MultiSimilarityMiner, Otherwise,
    PairMarginMiner, SemiHardMiner, Strategy, TripletMarginMiner, UniformHistogramMiner,
};
use nearkin_loss::{Loss, LossError, Mined, Miner, OnSphere, Pull, Sides, Tuples};
use nearkin_sweep::Metric::{self, Cosine, Dot, Euclidean, SquaredEuclidean};
use nearkin_sweep::{SameLabel, Vectors};
use proptest::prelude::{Just, ProptestConfig, Strategy as _, any, prop_oneof, proptest};
use serde::Deserialize;

use crate::formula::{is_sound, label_shapes, random};
use crate::golden::{self, Batch, Listed, Settings, batches, compare_with};
use crate::{contrastive, triplet_margin};

// ------------------------------------------------------------------------------------------------------------ the peer

#[derive(Debug, Deserialize)]
struct Case {
    name: String,
    miner: String,
    batch: String,
    settings: Settings,
    #[serde(flatten)]
    listed: Listed,
}

#[derive(Debug, Deserialize)]
struct Cases<T> {
    cases: Vec<T>,
}

fn difficulty(name: &str) -> Difficulty {
    match name {
        "all" => Difficulty::All,
        "hard" => Difficulty::Hard,
        "semihard" => Difficulty::SemiHard,
        "easy" => Difficulty::Easy,
        other => panic!("{other}"),
    }
}

fn strategy(name: &str) -> Strategy {
    match name {
        "all" => Strategy::All,
        "hard" => Strategy::Hard,
        "semihard" => Strategy::SemiHard,
        "easy" => Strategy::Easy,
        other => panic!("{other}"),
    }
}

/// The miner of a peer's name and settings.
fn of_peer(name: &str, s: &Settings) -> Box<dyn Miner> {
    let metric = if s.text("distance") == "lp" { Euclidean } else { Cosine };
    match name {
        "batch_hard" => Box::new(BatchHardMiner { metric }),
        "triplet_margin" => Box::new(
            TripletMarginMiner::new(metric, s.number("margin"), difficulty(s.text("type_of_triplets")))
                .unwrap(),
        ),
        "pair_margin" => {
            Box::new(PairMarginMiner::new(metric, s.number("pos_margin"), s.number("neg_margin")).unwrap())
        }
        "multi_similarity" => Box::new(MultiSimilarityMiner::new(metric, s.number("epsilon")).unwrap()),
        "angular" => Box::new(AngularMiner::new(s.number("angle")).unwrap()),
        "hdc" => {
            // The fraction as it was written: 0.4 as f32 is a little more than 0.4.
            let fraction = s.number("filter_percentage").to_string().parse().unwrap();
            Box::new(HdcMiner::new(metric, fraction).unwrap())
        }
        "batch_easy_hard" => {
            let (kin, strangers) = (strategy(s.text("pos_strategy")), strategy(s.text("neg_strategy")));
            let miner = BatchEasyHardMiner::new(metric, kin, strangers).unwrap();
            let range = |name| s.list(name).map(|range| [range[0], range[1]]);
            Box::new(match (range("allowed_pos_range"), range("allowed_neg_range")) {
                (Some(kin), Some(strangers)) => miner.with_ranges(kin, strangers).unwrap(),
                _ => miner,
            })
        }
        other => panic!("{other}"),
    }
}

/// What a miner picks of a batch, with its vectors scaled to unit length if the peer does so.
fn mine(miner: &dyn Miner, batch: &Batch, unit: bool) -> Tuples {
    let ready = |values: &[f32]| {
        let mut values = values.to_vec();
        for row in values.chunks_mut(batch.dim).filter(|_| unit) {
            let length = row.iter().map(|x| f64::from(*x).powi(2)).sum::<f64>().sqrt();
            row.iter_mut().for_each(|x| *x = (f64::from(*x) / length.max(1e-12)) as f32);
        }
        values
    };
    let queries = ready(&batch.embeddings);
    let queries = Vectors::new(&queries, batch.dim).unwrap();
    match (&batch.ref_labels, &batch.ref_embeddings) {
        (Some(labels), Some(references)) => {
            let references = ready(references);
            let kin = SameLabel::between(&batch.labels, labels);
            let references = Vectors::new(&references, batch.dim).unwrap();
            miner.mine(&Sides::between(queries, references, &kin)).unwrap()
        }
        _ => miner.mine(&Sides::within(queries, &SameLabel::within(&batch.labels))).unwrap(),
    }
}

fn sorted(tuples: Tuples) -> Tuples {
    match tuples {
        Tuples::Pairs { mut kin, mut strangers } => {
            kin.sort_unstable();
            strangers.sort_unstable();
            Tuples::Pairs { kin, strangers }
        }
        Tuples::Triplets(mut triplets) => {
            triplets.sort_unstable();
            Tuples::Triplets(triplets)
        }
    }
}

#[test]
fn all_deterministic_miners_agree_with_their_peers() {
    let (batches, file): (_, Cases<Case>) = (batches(), golden::read("miners.json"));
    for case in &file.cases {
        let s = &case.settings;
        // The peer's angular miner takes raw vectors, whatever it is told.
        let unit = s.flag("normalize") && case.miner != "angular";
        let found = mine(&of_peer(&case.miner, s), &batches[&case.batch], unit);
        assert_eq!(sorted(found), case.listed.tuples(), "{}", case.name);
    }
    assert!(file.cases.len() >= 293, "{}", file.cases.len());
}

#[test]
fn every_pair_agrees_with_the_peer_that_takes_all() {
    let (batches, file): (_, Cases<Case>) = (batches(), golden::read("miners.json"));
    let every = |s: &Settings| s.text("pos_strategy") == "all" && s.text("neg_strategy") == "all";
    let mut compared = 0;
    for case in file.cases.iter().filter(|case| every(&case.settings)) {
        let found = mine(&AllPairsMiner::default(), &batches[&case.batch], false);
        assert_eq!(found, case.listed.tuples(), "{}", case.name);
        compared += 1;
    }
    assert!(compared >= 6, "{compared}");
}

/// The miners whose tuples the peer's losses were given, with whether they scale vectors to unit length.
fn of_tag(name: &str) -> Option<(Box<dyn Miner>, bool)> {
    Some(match name.split_once("mined_by_")?.1 {
        "batch_hard" => (Box::new(BatchHardMiner { metric: Euclidean }), true),
        "semihard" => {
            (Box::new(TripletMarginMiner::new(Euclidean, 0.4, Difficulty::SemiHard).unwrap()), true)
        }
        "pair_margin" => (Box::new(PairMarginMiner::new(Euclidean, 0.5, 1.2).unwrap()), true),
        "multi_similarity" => (Box::new(MultiSimilarityMiner::default()), false),
        other => panic!("{other}"),
    })
}

/// A loss's case, of which only its tuples matter here.
#[derive(Debug, Deserialize)]
struct LossCase {
    name: String,
    batch: String,
    tuples: Option<Listed>,
}

#[test]
fn every_tuple_that_a_peers_loss_was_given_is_what_our_miner_picks() {
    let directory = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden");
    let (batches, mut compared) = (batches(), 0);
    for entry in std::fs::read_dir(directory).unwrap() {
        let file = entry.unwrap().file_name().into_string().unwrap();
        let other = ["batches.json", "miners.json", "cross_batch_memory.json"].contains(&file.as_str());
        if other || !file.ends_with(".json") {
            continue;
        }
        for case in golden::read::<Cases<LossCase>>(&file).cases {
            let Some(listed) = case.tuples else { continue };
            // A few batches are listed by hand.
            let Some((miner, unit)) = of_tag(case.name.trim_end_matches("_pml")) else { continue };
            let found = mine(&miner, &batches[&case.batch], unit);
            assert_eq!(sorted(found), sorted(listed.tuples()), "{file}: {}", case.name);
            compared += 1;
        }
    }
    assert!(compared >= 99, "{compared}");
}

/// A loss chosen at run time.
struct Boxed(Box<dyn Loss>);

impl Loss for Boxed {
    fn pull(&self, sides: &Sides<'_>) -> Result<Pull, LossError> {
        self.0.pull(sides)
    }

    fn pull_mined(&self, sides: &Sides<'_>, tuples: &Tuples) -> Result<Pull, LossError> {
        self.0.pull_mined(sides, tuples)
    }
}

type OfSettings = fn(&Settings) -> Option<Box<dyn Loss>>;

#[test]
fn mined_losses_agree_with_their_peers() {
    let losses: [(&str, usize, OfSettings); 5] = [
        ("contrastive.json", 6, |s| Some(contrastive::of(s))),
        ("triplet_margin.json", 18, triplet_margin::of),
        ("multi_similarity.json", 6, |s| {
            let loss = MultiSimilarity::new(s.number("alpha"), s.number("beta"), s.number("base")).unwrap();
            Some(Box::new(loss))
        }),
        ("nt_xent.json", 6, |s| Some(Box::new(NtXent::new(s.number("temperature")).unwrap()))),
        ("sup_con.json", 6, |s| Some(Box::new(SupCon::new(s.number("temperature")).unwrap()))),
    ];
    for (file, fewest, loss) in losses {
        compare_with(file, fewest, |given| {
            given.case.tuples.as_ref()?;
            let (miner, unit) = of_tag(&given.case.name)?;
            // The tuples are the miner's own, not those of the file.
            let mined = Mined { miner, loss: Boxed(loss(given.settings())?) };
            let mined: Box<dyn Loss> = if unit { Box::new(OnSphere(mined)) } else { Box::new(mined) };
            let batch = given.batch;
            let vectors = |values| Vectors::new(values, batch.dim).unwrap();
            let queries = vectors(&batch.embeddings);
            let found = match (&batch.ref_labels, &batch.ref_embeddings) {
                (Some(labels), Some(references)) => {
                    let kin = SameLabel::between(&batch.labels, labels);
                    mined.pull(&Sides::between(queries, vectors(references), &kin))
                }
                _ => mined.pull(&Sides::within(queries, &SameLabel::within(&batch.labels))),
            };
            Some(found.unwrap())
        });
    }
}

// ---------------------------------------------------------------------------------------------------------- brute force

/// A batch whose scores are exact in f32, so that ties are ties.
#[derive(Debug, Clone)]
struct Instance {
    dim: usize,
    queries: Vec<f32>,
    labels: Vec<u32>,
    /// With their labels; among one set, none.
    references: Option<(Vec<f32>, Vec<u32>)>,
    metric: Metric,
}

impl Instance {
    fn with<T>(&self, run: impl FnOnce(&Sides<'_>) -> T) -> T {
        let queries = Vectors::new(&self.queries, self.dim).unwrap();
        match &self.references {
            None => run(&Sides::within(queries, &SameLabel::within(&self.labels))),
            Some((references, labels)) => {
                let references = Vectors::new(references, self.dim).unwrap();
                run(&Sides::between(queries, references, &SameLabel::between(&self.labels, labels)))
            }
        }
    }

    #[track_caller]
    fn mine(&self, miner: &dyn Miner) -> Tuples {
        self.with(|sides| miner.mine(sides).unwrap())
    }

    /// The distance of each kin, and of each stranger, of each anchor, in order of index; similarities count as `−s`.
    fn rows(&self) -> Vec<[Vec<(u32, f32)>; 2]> {
        let (others, labels) = match &self.references {
            None => (&self.queries, &self.labels),
            Some((references, labels)) => (references, labels),
        };
        let sign = if self.metric.larger_is_nearer() { -1.0 } else { 1.0 };
        let row = |(a, x): (usize, &[f32])| {
            let of = |wanted: bool| {
                let pair = |(j, y): (usize, &[f32])| {
                    let own = self.references.is_none() && a == j;
                    let kin = self.labels[a] == labels[j];
                    (!own && kin == wanted).then(|| (j as u32, sign * self.metric.score(x, y)))
                };
                others.chunks(self.dim).enumerate().filter_map(pair).collect()
            };
            [of(true), of(false)]
        };
        self.queries.chunks(self.dim).enumerate().map(row).collect()
    }
}

fn triplets_of(rows: &[[Vec<(u32, f32)>; 2]], wanted: impl Fn(f32, f32) -> bool) -> Vec<[u32; 3]> {
    let mut found = Vec::new();
    for (a, [kin, strangers]) in (0u32..).zip(rows) {
        for &(p, near) in kin {
            let good = strangers.iter().filter(|(_, far)| wanted(near, *far));
            found.extend(good.map(|&(n, _)| [a, p, n]));
        }
    }
    found
}

/// The first of the nearest for `direction` 1, of the farthest for −1.
fn first(pairs: &[(u32, f32)], direction: f32) -> Option<(u32, f32)> {
    ranked(pairs, direction).first().copied()
}

fn ranked(pairs: &[(u32, f32)], direction: f32) -> Vec<(u32, f32)> {
    let mut pairs = pairs.to_vec();
    pairs.sort_by(|a, b| (direction * a.1).partial_cmp(&(direction * b.1)).unwrap());
    pairs
}

/// All miners on one batch.
fn check(instance: &Instance) {
    let rows = instance.rows();
    let metric = instance.metric;
    let every = triplets_of(&rows, |_, _| true);

    // Everything, and at most so much of it.
    let pairs_of = |kind: usize| -> Vec<(u32, u32)> {
        (0u32..).zip(&rows).flat_map(|(a, row)| row[kind].iter().map(move |&(j, _)| (a, j))).collect()
    };
    let all_pairs = Tuples::Pairs { kin: pairs_of(0), strangers: pairs_of(1) };
    assert_eq!(instance.mine(&AllPairsMiner::default()), all_pairs);
    assert_eq!(instance.mine(&AllTripletsMiner::default()), Tuples::Triplets(every.clone()));
    let cap = Cap { per_anchor: 3, seed: 8 };
    check_capped(&instance.mine(&AllTripletsMiner { cap: Some(cap) }).triplets(), &every, 3);
    let Tuples::Pairs { kin, strangers } = instance.mine(&AllPairsMiner { cap: Some(cap) }) else { panic!() };
    check_capped(&kin, &pairs_of(0), 3);
    check_capped(&strangers, &pairs_of(1), 3);
    let capped =
        Capped { miner: AllTripletsMiner::default(), per_anchor: Some(3), in_all: Some(10), seed: 1 };
    assert_eq!(
        instance.mine(&capped).len(),
        every.chunk_by(|a, b| a[0] == b[0]).map(|of| of.len().min(3)).sum::<usize>().min(10)
    );

    // Batch hard, and ranks of hardness.
    let hardest: Vec<[u32; 3]> = (0u32..)
        .zip(&rows)
        .filter_map(|(a, [kin, strangers])| Some([a, first(kin, -1.0)?.0, first(strangers, 1.0)?.0]))
        .collect();
    assert_eq!(instance.mine(&BatchHardMiner { metric }), Tuples::Triplets(hardest.clone()));
    let ranks = HardnessRangeMiner::new(metric, [1, 1], [1, 1]).unwrap();
    assert_eq!(instance.mine(&ranks), Tuples::Triplets(hardest));
    let ranks = HardnessRangeMiner::new(metric, [2, 3], [2, 4]).unwrap();
    let mut wanted = Vec::new();
    for (a, [kin, strangers]) in (0u32..).zip(&rows) {
        for (p, _) in ranked(kin, -1.0).into_iter().skip(1).take(2) {
            wanted.extend(ranked(strangers, 1.0).into_iter().skip(1).take(3).map(|(n, _)| [a, p, n]));
        }
    }
    assert_eq!(instance.mine(&ranks), Tuples::Triplets(wanted));

    // Margins.
    for margin in [0.0, 1.0, 2.5] {
        for (difficulty, wanted) in [
            (Difficulty::All, &(|gap| gap <= margin) as &dyn Fn(f32) -> bool),
            (Difficulty::Hard, &|gap| gap <= 0.0),
            (Difficulty::SemiHard, &|gap| gap > 0.0 && gap <= margin),
            (Difficulty::Easy, &|gap| gap > margin),
        ] {
            let miner = TripletMarginMiner::new(metric, margin, difficulty).unwrap();
            let wanted = triplets_of(&rows, |near, far| wanted(far - near));
            assert_eq!(instance.mine(&miner), Tuples::Triplets(wanted.clone()), "{difficulty:?} {margin}");
            check_capped(&instance.mine(&miner.with_cap(cap)).triplets(), &wanted, 3);
        }
    }
    for (kin_margin, stranger_margin) in [(0.0, 3.0), (2.0, 1.0)] {
        let miner = PairMarginMiner::new(metric, kin_margin, stranger_margin).unwrap();
        let sign = if metric.larger_is_nearer() { -1.0 } else { 1.0 };
        let (mut kin, mut strangers) = (Vec::new(), Vec::new());
        for (a, row) in (0u32..).zip(&rows) {
            kin.extend(row[0].iter().filter(|(_, d)| *d > sign * kin_margin).map(|(j, _)| (a, *j)));
            strangers
                .extend(row[1].iter().filter(|(_, d)| *d < sign * stranger_margin).map(|(j, _)| (a, *j)));
        }
        assert_eq!(instance.mine(&miner), Tuples::Pairs { kin, strangers });
    }
    for epsilon in [0.0, 1.0] {
        let miner = MultiSimilarityMiner::new(metric, epsilon).unwrap();
        let (mut kin, mut strangers) = (Vec::new(), Vec::new());
        for (a, row) in (0u32..).zip(&rows) {
            if let (Some((_, farthest)), Some((_, nearest))) = (first(&row[0], -1.0), first(&row[1], 1.0)) {
                kin.extend(row[0].iter().filter(|(_, d)| d + epsilon > nearest).map(|(j, _)| (a, *j)));
                strangers.extend(row[1].iter().filter(|(_, d)| d - epsilon < farthest).map(|(j, _)| (a, *j)));
            }
        }
        assert_eq!(instance.mine(&miner), Tuples::Pairs { kin, strangers });
    }

    check_semi_hard(instance, &rows);
    check_easy_hard(instance, &rows);
    check_fractions(instance, &rows);
    check_drawn(instance, &rows);
}

/// `found` in order and without copies, as many an anchor as the cap lets be, and all of `every`.
fn check_capped<T: Ord + Copy + std::fmt::Debug + Anchored>(found: &[T], every: &[T], cap: usize) {
    assert!(found.windows(2).all(|pair| pair[0] < pair[1]), "{found:?}");
    let every: BTreeSet<T> = every.iter().copied().collect();
    assert!(found.iter().all(|tuple| every.contains(tuple)));
    let counts = |tuples: &mut dyn Iterator<Item = &T>| {
        let mut counts = std::collections::BTreeMap::new();
        tuples.for_each(|tuple| *counts.entry(tuple.anchor()).or_insert(0) += 1);
        counts
    };
    let mut wanted = counts(&mut every.iter());
    wanted.values_mut().for_each(|count: &mut usize| *count = (*count).min(cap));
    assert_eq!(counts(&mut found.iter()), wanted);
}

trait Anchored {
    fn anchor(&self) -> u32;
}

impl Anchored for [u32; 3] {
    fn anchor(&self) -> u32 {
        self[0]
    }
}

impl Anchored for (u32, u32) {
    fn anchor(&self) -> u32 {
        self.0
    }
}

fn check_semi_hard(instance: &Instance, rows: &[[Vec<(u32, f32)>; 2]]) {
    for margin in [1.0, f32::INFINITY] {
        for otherwise in [Otherwise::Nothing, Otherwise::Farthest, Otherwise::Hardest] {
            let miner = SemiHardMiner::new(instance.metric, margin).unwrap().or(otherwise);
            let found = instance.mine(&miner).triplets();
            let drawn = instance.mine(&miner.random(3)).triplets();
            let (mut wanted, mut place) = (Vec::new(), 0);
            for (a, [kin, strangers]) in (0u32..).zip(rows) {
                for &(p, near) in kin {
                    let good = |far: f32| far - near > 0.0 && far - near <= margin;
                    let semi_hard: Vec<(u32, f32)> =
                        strangers.iter().copied().filter(|(_, far)| good(*far)).collect();
                    let other = match otherwise {
                        Otherwise::Nothing => None,
                        Otherwise::Farthest => first(strangers, -1.0),
                        Otherwise::Hardest => first(strangers, 1.0),
                    };
                    let Some((n, _)) = first(&semi_hard, 1.0).or(other) else { continue };
                    wanted.push([a, p, n]);
                    let [drawn_a, drawn_p, drawn_n] = drawn[place];
                    assert_eq!((drawn_a, drawn_p), (a, p));
                    assert!(drawn_n == n || semi_hard.iter().any(|(s, _)| *s == drawn_n));
                    place += 1;
                }
            }
            assert_eq!(found, wanted, "{otherwise:?} {margin}");
            assert_eq!(drawn.len(), place);
        }
    }
    let tensorflow = SemiHardMiner::new(instance.metric, f32::INFINITY).unwrap().or(Otherwise::Farthest);
    assert_eq!(tensorflow, SemiHardMiner::tensorflow(instance.metric));
}

fn check_easy_hard(instance: &Instance, rows: &[[Vec<(u32, f32)>; 2]]) {
    use Strategy::{All, Easy, Hard, SemiHard};
    let similar = instance.metric.larger_is_nearer();
    for ranges in [[[f32::NEG_INFINITY, f32::INFINITY]; 2], [[0.0, 4.0], [1.0, 5.0]]] {
        for (kin, strangers) in [
            (Hard, Hard),
            (Hard, Easy),
            (Hard, SemiHard),
            (Hard, All),
            (Easy, Hard),
            (Easy, Easy),
            (Easy, SemiHard),
            (Easy, All),
            (SemiHard, Hard),
            (SemiHard, Easy),
            (All, Hard),
            (All, Easy),
            (All, All),
        ] {
            let miner = BatchEasyHardMiner::new(instance.metric, kin, strangers).unwrap();
            let found = instance.mine(&miner.with_ranges(ranges[0], ranges[1]).unwrap());
            let (mut wanted_kin, mut wanted_strangers) = (Vec::new(), Vec::new());
            for (a, row) in (0u32..).zip(rows) {
                let within = |kind: usize| -> Vec<(u32, f32)> {
                    let score = |d: f32| if similar { -d } else { d };
                    let allowed = |d: f32| ranges[kind][0] <= score(d) && score(d) <= ranges[kind][1];
                    row[kind].iter().copied().filter(|(_, d)| allowed(*d)).collect()
                };
                let (near, far) = (within(0), within(1));
                let keep = |pairs: &[(u32, f32)], good: &dyn Fn(f32) -> bool| -> Vec<(u32, f32)> {
                    pairs.iter().copied().filter(|(_, d)| good(*d)).collect()
                };
                let single = |strategy, pairs: &[(u32, f32)], hard: f32| match strategy {
                    Hard => first(pairs, hard),
                    Easy => first(pairs, -hard),
                    _ => None,
                };
                let mut p = single(kin, &near, -1.0);
                let n = match (strangers, p) {
                    (SemiHard, Some((_, d))) => first(&keep(&far, &|x| x > d), 1.0),
                    _ => single(strangers, &far, 1.0),
                };
                if let (SemiHard, Some((_, d))) = (kin, n) {
                    p = first(&keep(&near, &|x| x < d), -1.0);
                }
                let lacks = (kin != All && strangers != All) && (p.is_none() || n.is_none());
                let of = |strategy, all: Vec<(u32, f32)>, one: Option<(u32, f32)>| -> Vec<(u32, u32)> {
                    let chosen = match strategy {
                        All => all,
                        _ => one.into_iter().filter(|_| !lacks).collect(),
                    };
                    chosen.into_iter().map(|(j, _)| (a, j)).collect()
                };
                wanted_kin.extend(of(kin, near, p));
                wanted_strangers.extend(of(strangers, far, n));
            }
            let wanted = Tuples::Pairs { kin: wanted_kin, strangers: wanted_strangers };
            assert_eq!(found, wanted, "{kin:?} {strangers:?} {ranges:?}");
        }
    }
}

/// The hardest fraction of all pairs, and as many of each bin.
fn check_fractions(instance: &Instance, rows: &[[Vec<(u32, f32)>; 2]]) {
    let listed = |kind: usize| -> Vec<(f32, u32, u32)> {
        (0u32..).zip(rows).flat_map(|(a, row)| row[kind].iter().map(move |&(j, d)| (d, a, j))).collect()
    };
    for fraction in [0.1, 0.5, 1.0] {
        let hardest = |kind: usize, direction: f32| -> Vec<(u32, u32)> {
            let mut pairs = listed(kind);
            let count = (fraction * pairs.len() as f64).ceil() as usize;
            pairs.sort_by(|x, y| {
                (direction * x.0).partial_cmp(&(direction * y.0)).unwrap().then((x.1, x.2).cmp(&(y.1, y.2)))
            });
            let mut taken: Vec<(u32, u32)> = pairs[..count].iter().map(|&(_, a, j)| (a, j)).collect();
            taken.sort_unstable();
            taken
        };
        let wanted = Tuples::Pairs { kin: hardest(0, -1.0), strangers: hardest(1, 1.0) };
        assert_eq!(instance.mine(&HdcMiner::new(instance.metric, fraction).unwrap()), wanted, "{fraction}");
    }

    let (bins, most) = (4, [2, 3]);
    let miner = UniformHistogramMiner::new(instance.metric, bins, most[0], most[1], 5).unwrap();
    let Tuples::Pairs { kin, strangers } = instance.mine(&miner) else { panic!("pairs") };
    let sign = if instance.metric.larger_is_nearer() { -1.0 } else { 1.0 };
    for (kind, found) in [kin, strangers].into_iter().enumerate() {
        assert!(found.windows(2).all(|pair| pair[0] < pair[1]));
        let pairs = listed(kind);
        let scores = || pairs.iter().map(|(d, ..)| sign * d);
        let (low, high) =
            (scores().fold(f32::INFINITY, f32::min), scores().fold(f32::NEG_INFINITY, f32::max));
        let bin = |d: f32| {
            let part = f64::from(sign * d - low) / f64::from(high - low);
            ((part * bins as f64) as usize).min(bins - 1)
        };
        let mut wanted = vec![0; bins];
        pairs.iter().for_each(|(d, ..)| wanted[bin(*d)] += 1);
        let mut counts = vec![0; bins];
        let of_pair: std::collections::BTreeMap<(u32, u32), f32> =
            pairs.iter().map(|&(d, a, j)| ((a, j), d)).collect();
        found.iter().for_each(|pair| counts[bin(of_pair[pair])] += 1);
        assert_eq!(counts, wanted.into_iter().map(|count: usize| count.min(most[kind])).collect::<Vec<_>>());
    }
}

/// Angles, and draws by distance: both of the vectors themselves, whatever the metric.
fn check_drawn(instance: &Instance, rows: &[[Vec<(u32, f32)>; 2]]) {
    let others = instance.references.as_ref().map_or(&instance.queries, |(references, _)| references);
    let of = |values: &[f32], i: u32| -> Vec<f64> {
        let i = i as usize * instance.dim;
        values[i..i + instance.dim].iter().map(|x| f64::from(*x)).collect()
    };
    let length = |x: &[f64]| x.iter().map(|x| x * x).sum::<f64>().sqrt();
    let every = triplets_of(rows, |_, _| true);
    let slope = 2.0 * 33.3f64.to_radians().tan();
    let wide: Vec<[u32; 3]> = every
        .iter()
        .copied()
        .filter(|&[a, p, n]| {
            let (a, p, n) = (of(&instance.queries, a), of(others, p), of(others, n));
            let side: Vec<f64> = a.iter().zip(&p).map(|(x, y)| x - y).collect();
            let from_centre: Vec<f64> =
                n.iter().zip(a.iter().zip(&p)).map(|(n, (a, p))| n - (a + p) / 2.0).collect();
            length(&side) > slope * length(&from_centre)
        })
        .collect();
    assert_eq!(instance.mine(&AngularMiner::new(33.3).unwrap()), Tuples::Triplets(wide));

    if instance.dim < 2 {
        return;
    }
    let found = instance.mine(&DistanceWeightedMiner::published(6)).triplets();
    let near = |&[a, _, n]: &[u32; 3], slack: f64| {
        let (x, y) = (of(&instance.queries, a), of(others, n));
        let dot: f64 = x.iter().zip(&y).map(|(x, y)| x * y).sum();
        let lengths = length(&x) * length(&y);
        let cosine = if lengths == 0.0 { 0.0 } else { dot / lengths };
        (2.0 - 2.0 * cosine).max(0.0).sqrt() < 1.4 + slack
    };
    assert!(found.iter().all(|triplet| near(triplet, 1e-5)));
    let pairs = |triplets: &mut dyn Iterator<Item = &[u32; 3]>| -> BTreeSet<(u32, u32)> {
        triplets.map(|t| (t[0], t[1])).collect()
    };
    // One for each pair of kin whose anchor has a stranger that may be drawn.
    let drawn = pairs(&mut found.iter());
    assert_eq!(drawn.len(), found.len());
    assert_eq!(drawn, pairs(&mut every.iter().filter(|triplet| near(triplet, 0.0))));
}

fn whole(n: usize, seed: u64, span: f32) -> Vec<f32> {
    random(n, seed).into_iter().map(|x| (x * span).round()).collect()
}

fn instances() -> impl proptest::strategy::Strategy<Value = Instance> {
    let metric = prop_oneof![Just(Dot), Just(Euclidean), Just(SquaredEuclidean)];
    let shape = (1usize..5, 0usize..28, 0usize..28, any::<bool>());
    (shape, 1u32..9, 1u32..4, any::<u64>(), metric).prop_map(
        |((dim, n, m, between), classes, span, seed, metric)| {
            let labels = |n: usize, seed: u64| -> Vec<u32> {
                random(n, seed).into_iter().map(|x| ((x + 1.0) / 2.0 * classes as f32) as u32).collect()
            };
            let seed = seed >> 8;
            let span = span as f32;
            let references = between.then(|| (whole(m * dim, seed + 1, span), labels(m, seed + 2)));
            Instance {
                dim,
                queries: whole(n * dim, seed, span),
                labels: labels(n, seed + 3),
                references,
                metric,
            }
        },
    )
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(96))]
    #[test]
    fn every_miner_agrees_with_brute_force_ties_included(instance in instances()) {
        check(&instance);
    }
}

#[test]
fn every_miner_agrees_with_brute_force_on_every_shape_of_labels() {
    // One class, all strangers, lone labels, a single vector, none; in one point too.
    for (seed, labels) in (1..).zip(label_shapes()) {
        for (dim, span, metric) in [(2, 3.0, Euclidean), (3, 0.0, SquaredEuclidean), (2, 2.0, Dot)] {
            let queries = whole(labels.len() * dim, seed, span);
            check(&Instance { dim, queries, labels: labels.clone(), references: None, metric });
        }
    }
}

#[test]
fn every_miner_agrees_with_brute_force_across_bands() {
    let labels: Vec<u32> = (0..300).map(|i| i * i % 83).collect();
    check(&Instance {
        dim: 3,
        queries: whole(900, 4, 6.0),
        labels,
        references: None,
        metric: SquaredEuclidean,
    });
}

fn every_miner(metric: Metric) -> Vec<Box<dyn Miner>> {
    let cap = Cap { per_anchor: 4, seed: 3 };
    vec![
        Box::new(AllPairsMiner { cap: Some(cap) }),
        Box::new(AllTripletsMiner { cap: Some(cap) }),
        Box::new(AngularMiner::new(25.0).unwrap()),
        Box::new(BatchEasyHardMiner::new(metric, Strategy::Easy, Strategy::SemiHard).unwrap()),
        Box::new(BatchHardMiner { metric }),
        Box::new(Capped {
            miner: PairMarginMiner::new(metric, 0.5, 0.5).unwrap(),
            per_anchor: Some(9),
            in_all: Some(500),
            seed: 4,
        }),
        Box::new(DistanceWeightedMiner::published(5)),
        Box::new(HardnessRangeMiner::new(metric, [1, 2], [1, 3]).unwrap()),
        Box::new(HdcMiner::new(metric, 0.2).unwrap()),
        Box::new(MultiSimilarityMiner::new(metric, 0.1).unwrap()),
        Box::new(PairMarginMiner::new(metric, 0.5, 0.5).unwrap()),
        Box::new(SemiHardMiner::new(metric, 0.3).unwrap().random(6)),
        Box::new(SemiHardMiner::tensorflow(metric)),
        Box::new(TripletMarginMiner::new(metric, 0.1, Difficulty::All).unwrap().with_cap(cap)),
        Box::new(UniformHistogramMiner::new(metric, 20, 5, 5, 7).unwrap()),
    ]
}

#[test]
fn tuples_do_not_depend_on_the_number_of_threads() {
    let labels: Vec<u32> = (0..400).map(|i| i * i % 37).collect();
    let queries = random(labels.len() * 8, 12);
    for metric in Metric::ALL {
        let instance =
            Instance { dim: 8, queries: queries.clone(), labels: labels.clone(), references: None, metric };
        for (place, miner) in every_miner(metric).iter().enumerate() {
            let run = |threads: usize| {
                let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap();
                pool.install(|| instance.mine(miner))
            };
            let one = run(1);
            assert!(!one.is_empty(), "{metric} {place}");
            assert!(one == run(2) && one == run(4), "{metric} {place}");
        }
    }
}

#[test]
fn sides_of_two_dimensions_are_refused() {
    let (queries, references) = (random(12, 1), random(12, 2));
    let kin = SameLabel::between(&[0, 0, 1, 1], &[0, 1, 1, 0, 1, 0]);
    let sides =
        Sides::between(Vectors::new(&queries, 3).unwrap(), Vectors::new(&references, 2).unwrap(), &kin);
    for miner in every_miner(Euclidean) {
        let error = miner.mine(&sides).unwrap_err();
        assert!(error.to_string().contains("3 dimensions"), "{error}");
    }
}

#[test]
fn what_is_not_a_number_is_mined_and_makes_few_tuples() {
    let labels: Vec<u32> = (0..60).map(|i| i % 5).collect();
    for metric in Metric::ALL {
        for (place, miner) in every_miner(metric).iter().enumerate() {
            // All miners but those that draw from all, which may pass it over.
            if place < 2 || place == 5 {
                continue;
            }
            for broken in [vec![31], (0..60).collect::<Vec<usize>>()] {
                let mut queries = random(60 * 3, 2);
                broken.iter().for_each(|i| queries[3 * i + 1] = f32::NAN);
                let labels = labels.clone();
                let found = Instance { dim: 3, queries, labels, references: None, metric }.mine(miner);
                let (kin, strangers) = found.pairs();
                let seen = kin.iter().chain(&strangers).any(|(a, j)| *a == 31 || *j == 31);
                assert!(seen, "{metric} {place}");
                // Never more than a tuple of each kind for an anchor, or for a pair of kin.
                assert!(broken.len() == 1 || found.len() <= 60 * 11, "{metric} {place}: {}", found.len());
            }
        }
    }
}

#[test]
fn mined_losses_are_sound() {
    let triplets = TripletMargin::new(Euclidean, Margin::Hinge(0.3)).unwrap();
    let miners: [Box<dyn Miner>; 5] = [
        Box::new(BatchHardMiner { metric: Euclidean }),
        Box::new(SemiHardMiner::tensorflow(Euclidean)),
        Box::new(TripletMarginMiner::new(Euclidean, 0.3, Difficulty::All).unwrap()),
        Box::new(HardnessRangeMiner::new(Euclidean, [1, 2], [1, 2]).unwrap()),
        Box::new(AngularMiner::new(20.0).unwrap()),
    ];
    for miner in miners {
        is_sound(&Mined { miner, loss: triplets });
    }
    is_sound(&OnSphere(Mined { miner: SemiHardMiner::new(Euclidean, 0.3).unwrap(), loss: triplets }));
    is_sound(&Mined { miner: DistanceWeightedMiner::published(1), loss: SupCon::new(0.1).unwrap() });
    is_sound(&Mined { miner: MultiSimilarityMiner::default(), loss: MultiSimilarity::default() });
    is_sound(&Mined { miner: BatchEasyHardMiner::default(), loss: NtXent::new(0.1).unwrap() });
    let pairs = Contrastive::new(Euclidean, 0.1, 1.0).unwrap();
    is_sound(&Mined { miner: PairMarginMiner::new(Euclidean, 0.1, 1.0).unwrap(), loss: pairs });
    is_sound(&Mined { miner: HdcMiner::new(Euclidean, 0.5).unwrap(), loss: pairs });
    is_sound(&Mined { miner: UniformHistogramMiner::new(Euclidean, 9, 5, 5, 2).unwrap(), loss: pairs });
}
