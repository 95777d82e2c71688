//! In Defense of the Triplet Loss: the hardest triplet of each anchor, or all of the batch.

use nearkin_loss::losses::Margin;
use nearkin_train::{BatchAllMethod, BatchHardMethod, MethodConfig};

use super::characters::{Characters, Measured, OMNIGLOT, curves_of, table};
use super::{Data, Experiment, Finding, Outcome, Setting};
use crate::failure::Failure;

pub const EXPERIMENT: Experiment = Experiment {
    name: "batch-hard",
    title: "In Defense of the Triplet Loss: batch hard beside batch all",
    about: "the hardest triplet of each anchor beside all of the batch, on half of Omniglot's characters, measured on the others",
    paper: "A. Hermans, L. Beyer, B. Leibe, \"In Defense of the Triplet Loss for Person Re-Identification\", 2017.",
    data: Data::Given(OMNIGLOT),
    run,
};

const EPOCHS: usize = 16;
/// P and K, as published.
const BATCH: (usize, usize) = (18, 4);
const HINGE: f32 = 0.2;

fn run(setting: &Setting<'_>) -> Result<Outcome, Failure> {
    let characters = Characters::open(setting)?;
    let epochs = setting.epochs(EPOCHS);
    let (classes, per_class) = BATCH;
    let hard = |name: &str, run: &str, margin| {
        let method = BatchHardMethod { classes, per_class, margin, ..BatchHardMethod::default() };
        characters.train((name, run), MethodConfig::BatchHard(method), epochs, setting)
    };
    let all = |name: &str, run: &str, margin, non_zero| {
        let method = BatchAllMethod { classes, per_class, margin, non_zero, ..BatchAllMethod::default() };
        characters.train((name, run), MethodConfig::BatchAll(method), epochs, setting)
    };
    let hard_soft = hard("batch hard, soft margin", "run-hard-soft", Margin::Soft)?;
    let hard_hinge = hard("batch hard, margin 0.2", "run-hard-hinge", Margin::Hinge(HINGE))?;
    let all_soft = all("batch all, soft margin", "run-all-soft", Margin::Soft, false)?;
    let all_hinge = all("batch all, margin 0.2", "run-all-hinge", Margin::Hinge(HINGE), false)?;
    let pulling = all("batch all that pull, margin 0.2", "run-pulling", Margin::Hinge(HINGE), true)?;
    let pixels = characters.pixels(setting)?;
    let map = |of: &Measured| of.ranked.mean_average_precision;
    let best = |a: &Measured, b: &Measured| map(a).max(map(b));
    let mut facts = characters.facts(epochs);
    facts.push(("batch".into(), format!("{classes} characters × {per_class} drawings")));
    Ok(Outcome {
        story: vec![
            "Batches of 18 characters with 4 drawings each, as published. *Batch hard* takes for each anchor its farthest kin and its \
             nearest stranger, *batch all* every triplet of the batch, by the mean over all of them or (BA≠0 in the paper) over those that still \
             pull. The distance is Euclidean, not squared; the margin is a hinge at 0.2 or the soft ln(1 + eˣ)."
                .into(),
            "mAP is the paper's: each drawing is looked for among all others, and the precisions at its right answers are averaged.".into(),
        ],
        facts,
        findings: vec![
            Finding::at_least(
                "mAP of unseen characters: the better batch hard less the better batch all",
                best(&hard_soft, &hard_hinge) - best(&all_soft, &all_hinge),
                0.0,
            ),
            Finding::at_least(
                "mAP of unseen characters: batch hard less batch all, soft margin",
                map(&hard_soft) - map(&all_soft),
                0.0,
            ),
            Finding::at_least(
                "mAP of unseen characters: batch all that pull less batch all, margin 0.2",
                map(&pulling) - map(&all_hinge),
                0.0,
            ),
        ],
        tables: vec![table(&[&hard_soft, &hard_hinge, &all_soft, &all_hinge, &pulling, &pixels])],
        figures: vec![curves_of(
            "batch-hard",
            "The embeddings of a batch over training.",
            [
                ("hard, soft margin", "run-hard-soft"),
                ("hard, 0.2", "run-hard-hinge"),
                ("all, soft margin", "run-all-soft"),
                ("all, 0.2", "run-all-hinge"),
                ("all that pull, 0.2", "run-pulling"),
            ],
            setting,
        )?],
    })
}
