//! Contrastive predictive coding on spoken digits: what single contexts say of the digit and the speaker, how far ahead frames can be
//! told, and which negatives teach most.

use std::sync::Arc;

use nearkin_data::random::{Purpose, shuffle, stream};
use nearkin_data::{Dataset, NamePattern, PreparedSignals, SplitRule, mfcc};
use nearkin_eval::{Figure, Labeled, Layer, LinearProbeOptions, PALETTE, Panel, Shape, linear_probe};
use nearkin_net::{ContextConfig, EncoderConfig, SequenceConfig};
use nearkin_sweep::Vectors;
use nearkin_train::{
    Contexts, CpcMethod, Encoder, Inputs, MethodConfig, Model, Negatives, NetworkModel, OptimizerConfig,
    Recipe, Schedule, SignalRecipe,
};

use super::{Data, Experiment, Finding, Outcome, Picture, Setting, Table};
use crate::commands::read_samples;
use crate::failure::Failure;

pub const EXPERIMENT: Experiment = Experiment {
    name: "cpc",
    title: "CPC on spoken digits",
    about: "frames predicted from unlabelled sound; probes of digit and speaker, steps ahead, negatives",
    paper: "A. van den Oord, Y. Li, O. Vinyals, \"Representation Learning with Contrastive Predictive Coding\", 2018.",
    data: Data::Given(
        "the Free Spoken Digit Dataset: its folder of .wav files, a ZIP of it, or a folder with that ZIP",
    ),
    goes_on: false,
    run,
};

const EPOCHS: usize = 10;
/// The rate of the paper, at which a frame is 10 ms; FSDD's 8 kHz are brought to it.
const RATE: u32 = 16_000;
/// Steps of a window: 0.32 s, 32 frames.
const LENGTH: usize = 5120;
const BATCH: usize = 16;
const RATE_OF_LEARNING: f64 = 5e-4;
const AHEAD: usize = 12;
/// Values of a frame and of a context.
const WIDTH: usize = 64;
const CONTEXT: usize = 128;
/// Single frames that a probe is fitted to: as many as peers take.
const FITTED: usize = 30_000;
/// What single frames of MFCC reach with scikit-learn's probe: digits, speakers.
const OF_MFCC: [f64; 2] = [0.417, 0.625];
/// By how much single contexts are to beat them.
const BETTER: f64 = 0.1;
const TASKS: [&str; 2] = ["digit", "speaker"];

/// The recordings, divided as the data set says: indices 0 to 4 of each digit and speaker are for tests.
struct Digits {
    train: Part,
    test: Part,
}

struct Part {
    dataset: Dataset,
    /// Class numbers of digits and of speakers.
    labels: [Vec<u32>; 2],
}

/// Vectors of recordings, in the order of the recordings.
struct Features {
    /// For each recording, its vectors.
    of: Vec<Vec<f32>>,
    dim: usize,
}

/// Accuracy of linear probes on digits and on speakers.
struct Probed {
    single: [f64; 2],
    pooled: [f64; 2],
}

impl Digits {
    fn open(setting: &Setting<'_>) -> Result<Self, Failure> {
        let names: NamePattern = "{label}_{speaker}_{index}".parse()?;
        let all = Dataset::open_named(setting.data()?, Some(&names))?;
        let divided = "index=5..".parse::<SplitRule>()?.divide(&all, setting.seed)?;
        let mut speakers: Vec<&str> = all.attribute("speaker")?.into_iter().flatten().collect();
        speakers.sort_unstable();
        speakers.dedup();
        let part = |dataset: Dataset| -> Result<Part, Failure> {
            let number =
                |name: Option<&str>| speakers.binary_search(&name.unwrap_or_default()).unwrap_or(0) as u32;
            let of_speakers = dataset.attribute("speaker")?.into_iter().map(number).collect();
            let labels = [dataset.labels().unwrap_or_default(), of_speakers];
            Ok(Part { dataset, labels })
        };
        Ok(Self { train: part(divided.first)?, test: part(divided.second)? })
    }

    /// Probes of single vectors, and of the mean and deviation of all vectors of a recording.
    fn probe(&self, [train, test]: &[Features; 2], setting: &Setting<'_>) -> Result<Probed, Failure> {
        let (mut single, mut pooled) = ([0.0; 2], [0.0; 2]);
        let labels = self.train.labels.iter().zip(&self.test.labels);
        for ((of_train, of_test), (single, pooled)) in labels.zip(single.iter_mut().zip(&mut pooled)) {
            setting.go_on()?;
            let each =
                [train.each(of_train, FITTED, setting.seed), test.each(of_test, usize::MAX, setting.seed)];
            *single = accuracy(each, train.dim)?;
            *pooled = accuracy([train.pooled(of_train), test.pooled(of_test)], 2 * train.dim)?;
        }
        Ok(Probed { single, pooled })
    }
}

type Labelled = (Vec<f32>, Vec<u32>);

/// Of a probe fitted to the one side and measured on the other.
fn accuracy([fit, test]: [Labelled; 2], dim: usize) -> Result<f64, Failure> {
    let fit = Labeled { vectors: Vectors::new(&fit.0, dim)?, labels: &fit.1 };
    let test = Labeled { vectors: Vectors::new(&test.0, dim)?, labels: &test.1 };
    Ok(linear_probe(fit, test, &LinearProbeOptions::default())?.accuracy)
}

impl Features {
    /// Single vectors with the labels of their recordings, so many of them chosen by the seed.
    fn each(&self, labels: &[u32], most: usize, seed: u64) -> Labelled {
        let places = self.of.iter().enumerate();
        let mut places: Vec<(usize, &[f32])> =
            places.flat_map(|(i, all)| all.chunks_exact(self.dim).map(move |one| (i, one))).collect();
        if places.len() > most {
            shuffle(&mut stream(seed, 0, 0, 0, Purpose::Split), &mut places);
            places.truncate(most);
        }
        let vectors = places.iter().flat_map(|(_, one)| one.iter().copied()).collect();
        (vectors, places.iter().map(|(i, _)| labels[*i]).collect())
    }

    /// Mean and standard deviation of each recording's vectors.
    fn pooled(&self, labels: &[u32]) -> Labelled {
        let pool = |all: &Vec<f32>| {
            let count = (all.len() / self.dim) as f64;
            let mut sums = vec![[0.0f64; 2]; self.dim];
            for (i, &x) in all.iter().enumerate() {
                let [sum, squares] = &mut sums[i % self.dim];
                *sum += f64::from(x);
                *squares += f64::from(x).powi(2);
            }
            let moments = sums.iter().map(|[sum, squares]| {
                let mean = sum / count;
                [mean as f32, (squares / count - mean * mean).max(0.0).sqrt() as f32]
            });
            moments.flatten().collect::<Vec<f32>>()
        };
        (self.of.iter().flat_map(pool).collect(), labels.to_vec())
    }
}

fn recipe(negatives: Negatives, epochs: usize, lr: f64, seed: u64) -> Recipe {
    let method = CpcMethod { batch: BATCH, ahead: Some(AHEAD), negatives };
    let context = Some(ContextConfig::Gru { width: CONTEXT });
    Recipe {
        seed,
        epochs,
        // One checkpoint, at the end.
        validate_every: epochs,
        encoder: EncoderConfig::CpcAudio(SequenceConfig {
            width: WIDTH,
            context,
            ..SequenceConfig::default()
        }),
        optimizer: OptimizerConfig::AdamW { lr, weight_decay: 0.0 },
        schedule: Schedule::default(),
        signal: Some(SignalRecipe { rate: Some(RATE), length: Some(LENGTH), ..SignalRecipe::default() }),
        ..Recipe::of(MethodConfig::Cpc(method))
    }
}

/// A trained network, and what it has to say.
struct Learned {
    name: &'static str,
    probed: Probed,
    /// Accuracy of the predictions 1, 2, … steps ahead.
    ahead: Vec<f64>,
    seconds: f64,
}

fn learn(
    (name, run): (&'static str, &str),
    recipe: Recipe,
    digits: &Digits,
    setting: &Setting<'_>,
) -> Result<Learned, Failure> {
    let (model, seconds) = setting.train(run, recipe, &digits.train.dataset)?;
    let network = network(&model)?;
    let signals = |part| signals(&model, part, setting);
    let (train, test) = (signals(&digits.train)?, signals(&digits.test)?);
    let features = [contexts(network, &train, setting)?, contexts(network, &test, setting)?];
    let probed = digits.probe(&features, setting)?;
    let ahead = network.prediction_accuracy(&test, BATCH, setting.seed)?;
    Ok(Learned { name, probed, ahead, seconds })
}

fn network(model: &Model) -> Result<&NetworkModel, Failure> {
    match &model.encoder {
        Encoder::Network(network) => Ok(network),
        Encoder::Linear(_) => Err(Failure::failed("a run of cpc made no network")),
    }
}

fn signals(model: &Model, part: &Part, setting: &Setting<'_>) -> Result<Arc<PreparedSignals>, Failure> {
    match read_samples(model, &part.dataset, setting.ui)? {
        Inputs::Signals { prepared, .. } => Ok(prepared),
        other => Err(Failure::failed(format!("{} are no sounds", other.noun()))),
    }
}

/// All contexts of each recording.
fn contexts(
    network: &NetworkModel,
    prepared: &PreparedSignals,
    setting: &Setting<'_>,
) -> Result<Features, Failure> {
    let bar = setting.ui.bar("embedding", prepared.len());
    let found =
        network.embed_signals(prepared, Contexts::All, &mut |done, _| bar.set_position(done as u64))?;
    bar.finish_and_clear();
    let mut of = vec![Vec::new(); prepared.len()];
    for (owner, vector) in found.owners.iter().zip(found.vectors.chunks_exact(network.card.dimension)) {
        of[*owner].extend_from_slice(vector);
    }
    Ok(Features { of, dim: network.card.dimension })
}

/// MFCC and their slopes of each recording.
fn cepstra(part: &Part) -> Result<Features, Failure> {
    let frames = |i| Ok(mfcc(&part.dataset.signal(i)?).concat());
    let of = (0..part.dataset.len()).map(frames).collect::<Result<Vec<Vec<f32>>, Failure>>()?;
    Ok(Features { of, dim: 2 * nearkin_data::COEFFICIENTS })
}

fn run(setting: &Setting<'_>) -> Result<Outcome, Failure> {
    let digits = Digits::open(setting)?;
    let epochs = setting.epochs(EPOCHS);
    let of_mfcc = digits.probe(&[cepstra(&digits.train)?, cepstra(&digits.test)?], setting)?;
    let train = |names, negatives, epochs, lr| {
        learn(names, recipe(negatives, epochs, lr, setting.seed), &digits, setting)
    };
    // At a rate of 0 nothing is learned.
    let untrained = train(("the same net, untrained", "run-untrained"), Negatives::Mixed, 1, 0.0)?;
    let mixed = train(("all other frames", "run-mixed"), Negatives::Mixed, epochs, RATE_OF_LEARNING)?;
    let same = train(("of the same recording", "run-same"), Negatives::Same, epochs, RATE_OF_LEARNING)?;
    let other = train(("of other recordings", "run-other"), Negatives::Other, epochs, RATE_OF_LEARNING)?;
    let mut findings = Vec::new();
    for (task, name) in TASKS.iter().enumerate() {
        let bound = OF_MFCC[task] + BETTER;
        findings.push(Finding::at_least(
            format!("probe of single contexts, {name}"),
            mixed.probed.single[task],
            bound,
        ));
        let ours = of_mfcc.single[task];
        findings.push(Finding::at_least(
            format!("the same less single frames of MFCC measured here, {name}"),
            mixed.probed.single[task] - ours,
            BETTER,
        ));
    }
    let last = *mixed.ahead.last().unwrap_or(&f64::NAN);
    let first = *mixed.ahead.first().unwrap_or(&f64::NAN);
    findings.push(Finding::at_least("prediction 1 step ahead less 12 steps ahead", first - last, 0.0));
    let chance = 1.0 / (BATCH * LENGTH / 160) as f64;
    findings.push(Finding::at_least("prediction 12 steps ahead, in units of chance", last / chance, 10.0));
    let row = |name: &str, of: &Probed, seconds: Option<f64>| {
        let values = [of.single[0], of.single[1], of.pooled[0], of.pooled[1]].map(Some);
        (name.to_owned(), [&values[..], &[seconds.map(f64::round)]].concat())
    };
    let header =
        ["", "digit, single", "speaker, single", "digit, pooled", "speaker, pooled", "seconds of training"];
    let header: Vec<String> = header.map(str::to_owned).to_vec();
    let learned = [&mixed, &same, &other];
    let of_negatives = learned.map(|l| row(l.name, &l.probed, Some(l.seconds)));
    let steps = std::iter::once("negatives".to_owned()).chain((1..=AHEAD).map(|k| k.to_string()));
    Ok(Outcome {
        story: vec![
            "Recordings of digits 0 to 9 by six speakers, their labels unused in training. The net is the paper's, narrower: five strided \
             convolutions, a frame for 160 samples, a GRU over the frames, and a linear predictor for each of 1 to 12 frames ahead. \
             The sound is brought from 8 to 16 kHz, so that a frame is 10 ms as in the paper."
                .into(),
            "*Single*: a linear classifier on one context vector, whichever of a recording's it is, as the paper probes. *Pooled*: on \
             mean and standard deviation of all vectors of a recording. MFCC, with their slopes, are probed alike; they are computed \
             on the sound as it is, at 8 kHz."
                .into(),
            "Accuracy of prediction is how often the frame that comes is more like its prediction than any other frame in a batch of 16 \
             windows of the test part, whatever the net was trained to tell it from; chance is 1 in 512. Early contexts, which have \
             seen little, count as others do."
                .into(),
        ],
        facts: vec![
            ("learned from".into(), format!("{} recordings, indices 5 to 49", digits.train.dataset.len())),
            ("measured on".into(), format!("{} recordings, indices 0 to 4: the official test part", digits.test.dataset.len())),
            ("net".into(), format!("cpc-audio of width {WIDTH}, gru of width {CONTEXT}, {AHEAD} predictors")),
            ("batch".into(), format!("{BATCH} windows of {LENGTH} steps at {RATE} Hz")),
            ("optimizer".into(), format!("AdamW, rate {RATE_OF_LEARNING}, a cosine to zero")),
            ("epochs".into(), epochs.to_string()),
            ("probe".into(), format!("softmax regression, C = 1, fitted to {FITTED} single vectors, or to all recordings")),
        ],
        findings,
        tables: vec![
            Table {
                title: "Linear probes".into(),
                header: header.clone(),
                rows: vec![
                    row("CPC", &mixed.probed, Some(mixed.seconds)),
                    row(untrained.name, &untrained.probed, None),
                    row("MFCC and slopes", &of_mfcc, None),
                ],
            },
            Table { title: "Which frames a prediction is told from".into(), header, rows: of_negatives.to_vec() },
            Table {
                title: "Accuracy of prediction by steps ahead".into(),
                header: steps.collect(),
                rows: learned.map(|l| (l.name.to_owned(), l.ahead.iter().copied().map(Some).collect())).to_vec(),
            },
        ],
        figures: vec![steps_ahead(&learned)],
    })
}

/// The paper's figure 4, for each choice of negatives.
fn steps_ahead(learned: &[&Learned]) -> Picture {
    let line = |(at, of): (usize, &&Learned)| Layer {
        name: of.name.to_owned(),
        points: (1..).zip(&of.ahead).map(|(k, accuracy)| [k as f32, *accuracy as f32]).collect(),
        colour: PALETTE[at % PALETTE.len()],
        shape: Shape::Line,
    };
    let panel = Panel {
        title: "the frame that comes, among 512".into(),
        axes: Some(["steps of 10 ms ahead".to_owned(), "accuracy".to_owned()]),
        layers: learned.iter().enumerate().map(line).collect(),
    };
    Picture {
        name: "cpc".into(),
        caption:
            "Accuracy of prediction against steps ahead, by the frames that a net learned to tell it from."
                .into(),
        figure: Figure { panels: vec![panel], columns: 1 },
    }
}
