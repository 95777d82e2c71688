//! What the experiments on Omniglot share: half of its characters to learn from, the others to be measured on; one net and one budget
//! for all that is compared.

use nearkin_data::{Crop, Dataset, PrepareOptions, SplitRule, ViewConfig};
use nearkin_eval::{
    FewShot, FewShotOptions, Figure, Labeled, Layer, PALETTE, Panel, Reidentification,
    ReidentificationOptions, Retrieval, RetrievalOptions, Shape, Sightings, Spectrum, few_shot,
    reidentification, retrieval, spectrum,
};
use nearkin_net::EncoderConfig;
use nearkin_sweep::{Metric, Vectors};
use nearkin_train::{Logged, MethodConfig, OptimizerConfig, Recipe, Run, Schedule, StepReport, pixels};

use super::{Picture, Setting, Table};
use crate::commands::{embed, prepare, read_samples};
use crate::failure::Failure;

/// What `--data` must be.
pub const OMNIGLOT: &str =
    "Omniglot: a folder of its characters' folders, one of its ZIPs, or a folder with several of them";

/// Part of the characters to learn from.
const LEARNED: f64 = 0.5;
/// Side of the encoder's input.
const SIDE: usize = 28;
/// Width of the net.
const WIDTH: usize = 32;

/// Drawings of characters, divided by character.
pub struct Characters {
    pub train: Dataset,
    pub test: Dataset,
    /// Of the choice of characters, and of what is trained on them.
    seed: u64,
}

/// How drawings of unseen characters lie.
pub struct Measured {
    pub name: String,
    pub retrieval: Retrieval,
    /// Each drawing is looked for among all others.
    pub ranked: Reidentification,
    /// 20 ways, 1 shot.
    pub one_shot: FewShot,
    pub spectrum: Spectrum,
    pub seconds: Option<f64>,
}

impl Measured {
    /// mAP, as re-identification has it.
    pub fn mean_average_precision(&self) -> f64 {
        self.ranked.mean_average_precision
    }
}

impl Characters {
    /// Half of the characters of the user's data, as the seed draws them.
    pub fn open(setting: &Setting<'_>, seed: u64) -> Result<Self, Failure> {
        let divided = SplitRule::ClassFraction(LEARNED).divide(&Dataset::open(setting.data()?)?, seed)?;
        Ok(Self { train: divided.first, test: divided.second, seed })
    }

    /// For the table of how it was made.
    pub fn facts(&self, epochs: usize) -> Vec<(String, String)> {
        let of = |part: &Dataset| {
            format!("{} drawings of {} characters", part.len(), part.present_classes().len())
        };
        vec![
            ("learned from".into(), of(&self.train)),
            ("measured on".into(), format!("{}, none of them seen in training", of(&self.test))),
            ("net".into(), format!("small-conv of width {WIDTH}, {SIDE} × {SIDE} pixels, 128 values")),
            ("optimizer".into(), "AdamW, rate 1e-3, a cosine to zero".into()),
            ("epochs".into(), epochs.to_string()),
        ]
    }

    /// Trains a method in the run folder `run`, and measures what it made.
    pub fn train(
        &self,
        (name, run): (&str, &str),
        method: MethodConfig,
        epochs: usize,
        setting: &Setting<'_>,
    ) -> Result<Measured, Failure> {
        let (model, seconds) = setting.train(run, self.recipe(method, epochs), &self.train)?;
        let vectors = embed::embed(&model, &read_samples(&model, &self.test, setting.ui)?, setting.ui)?;
        self.measure(name, Vectors::new(&vectors, model.dimension())?, model.metric(), Some(seconds))
    }

    /// The pixels that the nets see, measured alike.
    pub fn pixels(&self, setting: &Setting<'_>) -> Result<Measured, Failure> {
        let pixels = pixels(&prepare(&self.test, &PrepareOptions::new(1, SIDE), setting.ui)?, SIDE, 1)?;
        self.measure("raw pixels", Vectors::new(&pixels.values, pixels.dim)?, Metric::Cosine, None)
    }

    /// The recipe that all methods have in common.
    fn recipe(&self, method: MethodConfig, epochs: usize) -> Recipe {
        Recipe {
            seed: self.seed,
            epochs,
            // The last epoch is kept: samples of seen classes say little about unseen ones.
            hold_out: 0.0,
            validate_every: epochs,
            size: Some(SIDE),
            channels: Some(1),
            embedding: Some(128),
            encoder: EncoderConfig::SmallConv { width: WIDTH },
            optimizer: OptimizerConfig::AdamW { lr: 1e-3, weight_decay: 1e-4 },
            schedule: Schedule::default(),
            // Strokes are placed a little differently each time; a mirror image would be another character.
            views: Some(ViewConfig {
                crop: Crop::RandomResized { scale: [0.6, 1.0], ratio: [0.75, 4.0 / 3.0] },
                ..ViewConfig::default()
            }),
            ..Recipe::of(method)
        }
    }

    fn measure(
        &self,
        name: &str,
        vectors: Vectors<'_>,
        metric: Metric,
        seconds: Option<f64>,
    ) -> Result<Measured, Failure> {
        let labels = self.test.labels().unwrap_or_default();
        let labelled = Labeled { vectors, labels: &labels };
        // A camera for each drawing leaves out of its ranking the drawing alone.
        let apart: Vec<u32> = (0..labels.len() as u32).collect();
        let sightings = Sightings { embeddings: labelled, cameras: Some(&apart) };
        let ranking = ReidentificationOptions { metric, ..Default::default() };
        Ok(Measured {
            name: name.to_owned(),
            retrieval: retrieval(labelled, None, &RetrievalOptions { metric, ..Default::default() })?,
            ranked: reidentification(sightings, sightings, &ranking)?,
            one_shot: few_shot(labelled, &FewShotOptions { metric, ways: 20, ..Default::default() })?,
            spectrum: spectrum(vectors)?,
            seconds,
        })
    }
}

/// All that was measured, side by side.
pub fn table(measured: &[&Measured]) -> Table {
    let header =
        ["", "MAP@R", "low", "high", "mAP", "precision@1", "20-way 1-shot", "spread", "seconds of training"];
    let row = |of: &&Measured| {
        let (low, high) = of.retrieval.mean_average_precision_at_r_interval;
        let values = [
            Some(of.retrieval.mean_average_precision_at_r),
            Some(low),
            Some(high),
            Some(of.mean_average_precision()),
            Some(of.retrieval.precision_at_1),
            Some(of.one_shot.accuracy),
            Some(of.spectrum.spread),
            of.seconds.map(f64::round),
        ];
        (of.name.clone(), values.to_vec())
    };
    Table {
        title: "Unseen characters".into(),
        header: header.map(str::to_owned).to_vec(),
        rows: measured.iter().map(row).collect(),
    }
}

/// Charts of how the embeddings of a batch went over training: how evenly they fill the sphere, and how many directions they use.
pub fn curves_of<const N: usize>(
    name: &str,
    caption: &str,
    runs: [(&str, &str); N],
    setting: &Setting<'_>,
) -> Result<Picture, Failure> {
    type Measure = fn(&StepReport) -> f64;
    let mut panels = Vec::new();
    let measures: [(&str, Measure); 2] =
        [("spread of a batch", |s| s.spread), ("effective rank of a batch", |s| s.effective_rank)];
    for (title, of) in measures {
        let mut layers = Vec::new();
        for (at, (shown, run)) in runs.iter().enumerate() {
            let (run, _) = Run::open(&setting.path(run))?;
            let points = run.logged()?.into_iter().filter_map(|logged| match logged {
                Logged::Step(step) => Some([step.step as f32, of(&step) as f32]),
                _ => None,
            });
            layers.push(Layer {
                name: (*shown).to_owned(),
                points: points.collect(),
                colour: PALETTE[at % PALETTE.len()],
                shape: Shape::Line,
            });
        }
        panels.push(Panel {
            title: title.to_owned(),
            axes: Some(["step".to_owned(), String::new()]),
            layers,
        });
    }
    Ok(Picture { name: name.to_owned(), caption: caption.to_owned(), figure: Figure { panels, columns: 2 } })
}
