//! Contrastive features of series: SimCLR's two views, and CPC's predictions, by the class of the nearest neighbour.

use nearkin_data::{Dataset, SignalViewConfig};
use nearkin_eval::{Labeled, Weighting, knn_accuracy};
use nearkin_net::{ContextConfig, EncoderConfig, SequenceConfig};
use nearkin_sweep::{Metric, Vectors};
use nearkin_train::{
    CpcMethod, MethodConfig, Model, OptimizerConfig, Recipe, Schedule, SignalRecipe, SimClr,
};

use super::{Data, Experiment, Finding, Outcome, Setting, Table};
use crate::commands::{embed, read_samples};
use crate::failure::Failure;

pub const EXPERIMENT: Experiment = Experiment {
    name: "ucr",
    title: "Contrastive features of series",
    about: "SimCLR and CPC on series of the UCR archive, by nearest neighbours beside the raw series",
    paper: "T. Chen, S. Kornblith, M. Norouzi, G. Hinton, \"A Simple Framework for Contrastive Learning of Visual Representations\", 2020; \
            A. van den Oord, Y. Li, O. Vinyals, \"Representation Learning with Contrastive Predictive Coding\", 2018.",
    data: Data::Given("a folder with the folders GunPoint, ItalyPowerDemand and BasicMotions of .ts files"),
    goes_on: false,
    run,
};

const SETS: [&str; 3] = ["GunPoint", "ItalyPowerDemand", "BasicMotions"];
/// Passes over some fifty series, which are one batch.
const EPOCHS: usize = 600;
const BATCH: usize = 40;
const RATE: f64 = 1e-3;

fn simclr() -> MethodConfig {
    MethodConfig::Simclr(SimClr {
        batch: BATCH,
        temperature: 0.2,
        hidden: 128,
        projection: 64,
        ..SimClr::default()
    })
}

fn recipe(method: MethodConfig, epochs: usize, lr: f64, setting: &Setting<'_>) -> Recipe {
    let cpc = matches!(method, MethodConfig::Cpc(_));
    // A mean over frames alone would not know when something happens; contexts do.
    let context = Some(ContextConfig::Gru { width: 64 });
    Recipe {
        seed: setting.seed,
        epochs,
        validate_every: epochs,
        encoder: EncoderConfig::Series(SequenceConfig { width: 64, context, ..SequenceConfig::default() }),
        optimizer: OptimizerConfig::AdamW { lr, weight_decay: 1e-4 },
        schedule: Schedule { warmup_epochs: 10.0, ..Schedule::default() },
        signal: Some(SignalRecipe {
            views: (!cpc).then(SignalViewConfig::series),
            ..SignalRecipe::default()
        }),
        ..Recipe::of(method)
    }
}

/// How often the nearest training series is of the class of a test series: by the embedding, and by the values as they are.
fn nearest(model: &Model, parts: [&Dataset; 2], setting: &Setting<'_>) -> Result<[f64; 2], Failure> {
    let [train, test] = parts;
    let (train_inputs, test_inputs) =
        (read_samples(model, train, setting.ui)?, read_samples(model, test, setting.ui)?);
    let labels = [train, test].map(|part| part.labels().unwrap_or_default());
    let by = |train: &[f32], test: &[f32], dim: usize, metric: Metric| -> Result<f64, Failure> {
        let searched = Labeled { vectors: Vectors::new(train, dim)?, labels: &labels[0] };
        let asking = Labeled { vectors: Vectors::new(test, dim)?, labels: &labels[1] };
        Ok(knn_accuracy(asking, Some(searched), metric, 1, Weighting::Uniform)?)
    };
    let [of_train, of_test] =
        [&train_inputs, &test_inputs].map(|inputs| embed::embed(model, inputs, setting.ui));
    let (raw_train, raw_test) = (model.baseline(&train_inputs)?, model.baseline(&test_inputs)?);
    Ok([
        by(&of_train?, &of_test?, model.dimension(), model.metric())?,
        by(&raw_train.values, &raw_test.values, raw_train.dim, model.baseline_metric())?,
    ])
}

fn run(setting: &Setting<'_>) -> Result<Outcome, Failure> {
    let epochs = setting.epochs(EPOCHS);
    let mut rows = Vec::new();
    let mut better = [0; 2];
    let mut facts = Vec::new();
    for name in SETS {
        let all = Dataset::open(&setting.data()?.join(name))?;
        let (train, test) = (all.split("train")?, all.split("test")?);
        let steps = all.describe().steps.map_or(0, |[_, median, _]| median);
        facts.push((
            name.to_owned(),
            format!("{} series to learn from, {} to measure, {steps} steps", train.len(), test.len()),
        ));
        let measure = |run: &str, method, epochs, lr| -> Result<[f64; 2], Failure> {
            let recipe = recipe(method, epochs, lr, setting);
            let (model, _) = setting.train(&format!("run-{name}-{run}"), recipe, &train)?;
            nearest(&model, [&train, &test], setting)
        };
        // A frame is 8 steps; half of them are predicted, 6 at most.
        let ahead = (steps / 16).clamp(1, 6);
        let cpc = MethodConfig::Cpc(CpcMethod { batch: BATCH, ahead: Some(ahead), ..CpcMethod::default() });
        let [learned, raw] = measure("simclr", simclr(), epochs, RATE)?;
        let [predicted, _] = measure("cpc", cpc, epochs, RATE)?;
        // At a rate of 0 nothing is learned.
        let [untrained, _] = measure("untrained", simclr(), 1, 0.0)?;
        for (better, of_method) in better.iter_mut().zip([learned, predicted]) {
            *better += usize::from(of_method > raw);
        }
        rows.push((name.to_owned(), [raw, learned, predicted, untrained].map(Some).to_vec()));
    }
    let [of_simclr, of_cpc] = better;
    facts.push(("net".into(), "series of width 64, gru of width 64".into()));
    facts.push(("optimizer".into(), "AdamW, rate 1e-3, a cosine to zero".into()));
    facts.push(("epochs".into(), epochs.to_string()));
    Ok(Outcome {
        story: vec![
            "A net learns from the training series of each set, their labels unused, and is measured by the class of the nearest training \
             series of each test series. The raw series, as the archive gives them, are compared by their Euclidean distance: the \
             archive's own yardstick."
                .into(),
            "SimCLR's two views are parts of a series stretched to its length, warped a little in time and magnitude, scaled, with jitter. \
             CPC predicts frames of 8 steps."
                .into(),
        ],
        facts,
        findings: vec![Finding::at_least(
            format!("sets on which one method's features beat the raw series (SimCLR {of_simclr}, CPC {of_cpc})"),
            of_simclr.max(of_cpc) as f64,
            2.0,
        )],
        tables: vec![Table {
            title: "Accuracy of the nearest neighbour".into(),
            header: ["", "raw series", "SimCLR", "CPC", "untrained net"].map(str::to_owned).to_vec(),
            rows,
        }],
        figures: Vec::new(),
    })
}
