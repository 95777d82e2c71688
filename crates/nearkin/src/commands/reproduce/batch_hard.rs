//! In Defense of the Triplet Loss: the hardest triplet of each anchor, or all of the batch.

use nearkin_loss::losses::Margin;
use nearkin_train::{BatchAllMethod, BatchHardMethod, MethodConfig};

use super::characters::{Characters, Measured, OMNIGLOT, curves_of};
use super::{Data, Experiment, Finding, Outcome, Setting, Table};
use crate::failure::Failure;

pub const EXPERIMENT: Experiment = Experiment {
    name: "batch-hard",
    title: "In Defense of the Triplet Loss: batch hard beside batch all",
    about: "the hardest triplet of each anchor beside all of the batch, on half of Omniglot's characters, measured on the others",
    paper: "A. Hermans, L. Beyer, B. Leibe, \"In Defense of the Triplet Loss for Person Re-Identification\", 2017.",
    data: Data::Given(OMNIGLOT),
    goes_on: false,
    run,
};

/// Batch hard is slow to leave the place where all embeddings are near each other: with half the passes it is behind.
const EPOCHS: usize = 36;
/// Each draws other characters.
const SEEDS: u64 = 3;
/// P and K, as published.
const BATCH: (usize, usize) = (18, 4);
const HINGE: f32 = 0.2;

/// A loss, and what it came to with each seed.
struct Contender {
    name: &'static str,
    run: &'static str,
    method: MethodConfig,
    measured: Vec<Measured>,
}

fn run(setting: &Setting<'_>) -> Result<Outcome, Failure> {
    let epochs = setting.epochs(EPOCHS);
    let mut contenders = contenders();
    let (mut pixels, mut facts) = (Vec::new(), Vec::new());
    let seeds = setting.seed..setting.seed + SEEDS;
    for seed in seeds.clone() {
        let characters = Characters::open(setting, seed)?;
        for Contender { name, run, method, measured } in &mut contenders {
            let run = format!("{run}-{seed}");
            measured.push(characters.train((name, &run), method.clone(), epochs, setting)?);
        }
        pixels.push(characters.pixels(setting)?);
        facts = characters.facts(epochs);
    }
    facts.push(("batch".into(), format!("{} characters × {} drawings", BATCH.0, BATCH.1)));
    facts.push(("seeds".into(), format!("{} to {}", seeds.start, seeds.end - 1)));
    let [hard, all, pulling] = &contenders;
    let map = |of: &Contender| mean(&of.measured, Measured::mean_average_precision);
    let rows = contenders.iter().map(|of| row(of.name, &of.measured)).chain([row("raw pixels", &pixels)]);
    let by_seed = seeds.clone().map(|seed| format!("mAP, seed {seed}"));
    let header =
        ["", "mAP"].map(str::to_owned).into_iter().chain(by_seed).chain(
            ["MAP@R", "precision@1", "20-way 1-shot", "spread", "seconds of training"].map(str::to_owned),
        );
    let shown = contenders.each_ref().map(|of| (of.name, format!("{}-{}", of.run, seeds.start)));
    Ok(Outcome {
        story: vec![
            "Batches of 18 characters with 4 drawings each, as published. *Batch hard* takes for each anchor its farthest kin and its \
             nearest stranger, *batch all* every triplet of the batch, by the mean over all of them or (≠ 0) over those that \
             still pull. The distance is Euclidean, not squared; the margin is a hinge at 0.2 for all."
                .into(),
            "mAP is the paper's: each drawing is looked for among all others, and the precisions at its right answers are averaged. \
             Each seed draws other characters to learn from. Figures are means over the seeds; nets, batches, views, rate and \
             passes over the data are the same for all losses."
                .into(),
        ],
        facts,
        findings: vec![
            Finding::at_least("mAP of unseen characters: batch hard less batch all", map(hard) - map(all), 0.0),
            Finding::at_least("mAP of unseen characters: batch all ≠ 0 less batch all", map(pulling) - map(all), 0.0),
        ],
        tables: vec![Table {
            title: format!("Unseen characters, means over {SEEDS} seeds"),
            header: header.collect(),
            rows: rows.collect(),
        }],
        figures: vec![curves_of(
            "batch-hard",
            "The embeddings of a batch over training, with the first seed.",
            shown.each_ref().map(|(name, run)| (*name, run.as_str())),
            setting,
        )?],
    })
}

/// The losses that are compared.
fn contenders() -> [Contender; 3] {
    let ((classes, per_class), margin) = (BATCH, Margin::Hinge(HINGE));
    let hard = BatchHardMethod { classes, per_class, margin, ..BatchHardMethod::default() };
    let all = BatchAllMethod { classes, per_class, margin, non_zero: false, ..BatchAllMethod::default() };
    let pulling = BatchAllMethod { non_zero: true, ..all.clone() };
    [
        ("batch hard", "run-hard", MethodConfig::BatchHard(hard)),
        ("batch all", "run-all", MethodConfig::BatchAll(all)),
        ("batch all ≠ 0", "run-pulling", MethodConfig::BatchAll(pulling)),
    ]
    .map(|(name, run, method)| Contender { name, run, method, measured: Vec::new() })
}

/// Means over the seeds, and mAP of each.
fn row(name: &str, measured: &[Measured]) -> (String, Vec<Option<f64>>) {
    let over_seeds = |of: fn(&Measured) -> f64| Some(mean(measured, of));
    let by_seed = measured.iter().map(|one| Some(one.mean_average_precision()));
    let seconds: Option<Vec<f64>> = measured.iter().map(|one| one.seconds).collect();
    let values = [over_seeds(Measured::mean_average_precision)].into_iter().chain(by_seed).chain([
        over_seeds(|one| one.retrieval.mean_average_precision_at_r),
        over_seeds(|one| one.retrieval.precision_at_1),
        over_seeds(|one| one.one_shot.accuracy),
        over_seeds(|one| one.spectrum.spread),
        seconds.map(|all| (all.iter().sum::<f64>() / all.len() as f64).round()),
    ]);
    (name.to_owned(), values.collect())
}

fn mean(measured: &[Measured], of: fn(&Measured) -> f64) -> f64 {
    measured.iter().map(of).sum::<f64>() / measured.len() as f64
}
