//! FaceNet: which triplets of a batch to learn from. Semi-hard ones teach more than random ones; the hardest alone draw all drawings
//! to one point.

use nearkin_train::{FaceNetMethod, MethodConfig, Mining};

use super::characters::{Characters, OMNIGLOT, curves_of, table};
use super::{Data, Experiment, Finding, Outcome, Setting};
use crate::failure::Failure;

pub const EXPERIMENT: Experiment = Experiment {
    name: "facenet",
    title: "FaceNet: semi-hard, random and hardest triplets",
    about: "triplets mined in three ways on half of Omniglot's characters, measured on the others",
    paper: "F. Schroff, D. Kalenichenko, J. Philbin, \"FaceNet: A Unified Embedding for Face Recognition and Clustering\", 2015.",
    data: Data::Given(OMNIGLOT),
    goes_on: false,
    run,
};

const EPOCHS: usize = 16;
/// Characters and drawings of each in a batch: nearly all of a character's 20, as the paper takes some 40 faces an identity.
const BATCH: (usize, usize) = (16, 16);
/// The spread of embeddings below which they are one point, and the least of a training that did not collapse.
const COLLAPSED: f64 = 0.1;
const SOUND: f64 = 0.5;

fn run(setting: &Setting<'_>) -> Result<Outcome, Failure> {
    let characters = Characters::open(setting, setting.seed)?;
    let epochs = setting.epochs(EPOCHS);
    let train = |name: &str, run: &str, triplets: Mining| {
        let (classes, per_class) = BATCH;
        let method = FaceNetMethod { classes, per_class, triplets, ..FaceNetMethod::default() };
        characters.train((name, run), MethodConfig::Facenet(method), epochs, setting)
    };
    let semi_hard = train("semi-hard", "run-semi-hard", Mining::SemiHard)?;
    let random = train("random", "run-random", Mining::Random)?;
    let hardest = train("hardest strangers", "run-hardest", Mining::Hardest)?;
    let pixels = characters.pixels(setting)?;
    let map = |of: &super::characters::Measured| of.retrieval.mean_average_precision_at_r;
    let mut facts = characters.facts(epochs);
    facts.push(("batch".into(), format!("{} characters × {} drawings", BATCH.0, BATCH.1)));
    facts.push(("margin".into(), FaceNetMethod::default().margin.to_string()));
    Ok(Outcome {
        story: vec![
            "Embeddings lie on the unit sphere; a triplet is satisfied when the squared distance to the stranger is larger by a margin of \
             0.2 than that to the kin. Three trainings differ in the triplets of a batch alone: all semi-hard ones, where the \
             stranger is farther than the kin but within the margin; as many random ones as there are pairs of kin; and for each \
             pair of kin the one with the anchor's nearest stranger."
                .into(),
            "The paper says that the hardest negatives \"can in practice lead to bad local minima early on in training\", a collapsed \
             model with f(x) = 0. *Spread* shows it: 1 when embeddings fill the sphere evenly, 0 when all have one direction. At a \
             single point every triplet costs the margin and nothing pulls."
                .into(),
        ],
        facts,
        findings: vec![
            Finding::at_least("MAP@R of unseen characters: semi-hard less random", map(&semi_hard) - map(&random), 0.0),
            Finding::at_least("MAP@R of unseen characters: semi-hard less raw pixels", map(&semi_hard) - map(&pixels), 0.1),
            Finding::at_least("spread, semi-hard", semi_hard.spectrum.spread, SOUND),
            Finding::at_most("spread, hardest strangers", hardest.spectrum.spread, COLLAPSED),
        ],
        tables: vec![table(&[&semi_hard, &random, &hardest, &pixels])],
        figures: vec![curves_of(
            "facenet",
            "The embeddings of a batch over training.",
            [("semi-hard", "run-semi-hard"), ("random", "run-random"), ("hardest", "run-hardest")],
            setting,
        )?],
    })
}
