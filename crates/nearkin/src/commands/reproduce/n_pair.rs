//! N-pair: an anchor against the strangers of all other classes at once, beside one at a time.

use nearkin_loss::losses::Margin;
use nearkin_sweep::Metric;
use nearkin_train::{BatchAllMethod, FaceNetMethod, MethodConfig, Mining, NPairMethod};

use super::characters::{Characters, Measured, OMNIGLOT, curves_of, table};
use super::{Data, Experiment, Finding, Outcome, Setting};
use crate::failure::Failure;

pub const EXPERIMENT: Experiment = Experiment {
    name: "n-pair",
    title: "N-pair: all strangers at once beside one at a time",
    about: "N-pair-mc beside one-vs-one and triplets, on half of Omniglot's characters, measured on the others",
    paper: "K. Sohn, \"Improved Deep Metric Learning with Multi-class N-pair Loss Objective\", 2016.",
    data: Data::Given(OMNIGLOT),
    goes_on: false,
    run,
};

const EPOCHS: usize = 24;
/// Characters a batch, a pair of drawings each.
const CLASSES: usize = 60;

fn run(setting: &Setting<'_>) -> Result<Outcome, Failure> {
    let characters = Characters::open(setting, setting.seed)?;
    let epochs = setting.epochs(EPOCHS);
    let train = |name: &str, run: &str, method| characters.train((name, run), method, epochs, setting);
    let n_pair = NPairMethod { classes: CLASSES, ..NPairMethod::default() };
    let one_vs_one = BatchAllMethod {
        classes: CLASSES,
        per_class: 2,
        margin: Margin::Soft,
        non_zero: false,
        metric: Metric::Dot,
    };
    let triplet = FaceNetMethod {
        classes: CLASSES,
        per_class: 2,
        triplets: Mining::Random,
        ..FaceNetMethod::default()
    };
    let n_pair = train("N-pair-mc", "run-n-pair", MethodConfig::NPair(n_pair))?;
    let one_vs_one = train("one-vs-one", "run-one-vs-one", MethodConfig::BatchAll(one_vs_one))?;
    let triplet = train("triplet", "run-triplet", MethodConfig::Facenet(triplet))?;
    let pixels = characters.pixels(setting)?;
    let map = |of: &Measured| of.retrieval.mean_average_precision_at_r;
    let mut facts = characters.facts(epochs);
    facts.push(("batch".into(), format!("{CLASSES} characters × 2 drawings")));
    facts.push(("L2 penalty of N-pair".into(), NPairMethod::default().l2.to_string()));
    Ok(Outcome {
        story: vec![
            "Every batch is a pair of drawings of each of 60 characters. *N-pair-mc* sets each pair against the strangers of all other \
             pairs in one softmax. *One-vs-one* has a logistic term for each stranger by itself: every triplet of the batch, \
             with the same dot products. *Triplet* is the hinge at 0.2 on unit vectors, each pair of kin with a stranger drawn \
             by chance."
                .into(),
            "Nets, batches and passes over the data are the same, so that all have the same time: the net takes nearly all of \
             it, the losses little. The table has the seconds."
                .into(),
        ],
        facts,
        findings: vec![
            Finding::at_least("MAP@R of unseen characters: N-pair-mc less triplet", map(&n_pair) - map(&triplet), 0.0),
            Finding::at_least("MAP@R of unseen characters: N-pair-mc less one-vs-one", map(&n_pair) - map(&one_vs_one), 0.0),
        ],
        tables: vec![table(&[&n_pair, &one_vs_one, &triplet, &pixels])],
        figures: vec![curves_of(
            "n-pair",
            "The embeddings of a batch over training.",
            [("N-pair-mc", "run-n-pair"), ("one-vs-one", "run-one-vs-one"), ("triplet", "run-triplet")],
            setting,
        )?],
    })
}
