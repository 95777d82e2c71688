//! A recipe: every setting of a training, in a TOML file that a person reads in a minute.

use std::path::{Path, PathBuf};

use nearkin_data::{Dataset, NamePattern, SplitRule, ViewConfig};
use nearkin_net::EncoderConfig;
use serde::{Deserialize, Serialize};

use crate::error::TrainError;
use crate::kin_rule::KinRule;
use crate::methods::MethodConfig;
use crate::optimizers::OptimizerConfig;
use crate::precision::Precision;
use crate::schedule::{Decay, Schedule};
use crate::signals::SignalRecipe;

/// What is trained, how, and for how long. Settings left out are chosen from the data and the method when a run begins.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub struct Recipe {
    /// Every random draw of the run follows from it.
    #[serde(default)]
    pub seed: u64,
    /// Passes over the training data.
    #[serde(default = "epochs")]
    pub epochs: usize,
    /// Side of the encoder's square input in pixels. Left out: the data's usual shorter side, at most 64.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub size: Option<usize>,
    /// Of images 1 (grey) or 3 (colour). Left out: what the data has, but 1 for sounds, whose channels are then mixed down.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub channels: Option<usize>,
    /// Dimensions of a linear embedding on the encoder's features; 0: the features themselves. Left out: 128 for
    /// methods that compare embeddings themselves, 0 for those with a head of their own.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub embedding: Option<usize>,
    /// Parts in which a batch goes through the encoder. The loss still sees the whole batch (gradient caching, Gao
    /// et al. 2021), so this bounds memory and costs one more forward pass; batch norms see a part each.
    #[serde(default = "one", skip_serializing_if = "is_one")]
    pub accumulate: usize,
    /// f32, or bf16 on GPUs that compute in it; see [`Precision`].
    #[serde(default, skip_serializing_if = "Precision::is_f32")]
    pub precision: Precision,
    /// Part of each class that is held out of training to choose the best epoch, 0 to 0.5. Methods without labels
    /// hold out nothing.
    #[serde(default = "hold_out")]
    pub hold_out: f64,
    /// Epochs between checkpoints and validations.
    #[serde(default = "one")]
    pub validate_every: usize,
    /// Whether a linear classifier on the detached features learns from the labels beside a method that does without: an online probe
    /// ([`OnlineProbe`](crate::OnlineProbe)). Labels then judge, and still train nothing of the network; the run's bits stay the same. It
    /// costs one more forward pass of one view.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub probe: bool,
    /// How the data is divided into a part to train on, the first side, and a part to be measured on. Left out: all is trained on.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub split: Option<SplitRule>,
    /// How the files are named, where their names say labels, splits or attributes: `{label}_{speaker}_{index}`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub names: Option<NamePattern>,
    /// A CSV file of further attributes of the samples, by `id` or `path`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub attributes: Option<PathBuf>,
    /// Which samples are kin, where labels shall not say it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub kin: Option<KinRule>,
    /// A torchvision ResNet's `.pth` or `.safetensors` to start the encoder from.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub backbone: Option<PathBuf>,
    /// The method and its hyper-parameters.
    pub method: MethodConfig,
    /// The encoder.
    #[serde(default)]
    pub encoder: EncoderConfig,
    /// The optimizer.
    #[serde(default)]
    pub optimizer: OptimizerConfig,
    /// The learning rate over time.
    #[serde(default)]
    pub schedule: Schedule,
    /// How an image turns into a view. Left out: what suits the method.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub views: Option<ViewConfig>,
    /// What concerns sounds and series alone, their views among it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub signal: Option<SignalRecipe>,
}

fn epochs() -> usize {
    20
}

fn one() -> usize {
    1
}

fn is_one(n: &usize) -> bool {
    *n == 1
}

fn hold_out() -> f64 {
    0.1
}

impl Recipe {
    /// The defaults of a method.
    pub fn of(method: MethodConfig) -> Self {
        Self {
            seed: 0,
            epochs: epochs(),
            size: None,
            channels: None,
            embedding: None,
            accumulate: one(),
            precision: Precision::default(),
            hold_out: hold_out(),
            validate_every: one(),
            probe: false,
            split: None,
            names: None,
            attributes: None,
            kin: None,
            backbone: None,
            encoder: method.encoder(),
            method,
            optimizer: OptimizerConfig::default(),
            schedule: Schedule::default(),
            views: None,
            signal: None,
        }
    }

    /// Reads a recipe.
    ///
    /// # Errors
    /// When the file cannot be read, does not parse, or holds an unknown key or a value out of range; the message
    /// names the file and the line.
    pub fn read(path: &Path) -> Result<Self, TrainError> {
        let text = std::fs::read_to_string(path).map_err(TrainError::io("read the recipe", path))?;
        Self::parse(&text, path)
    }

    /// Parses a recipe that came from `path`.
    ///
    /// # Errors
    /// As [`read`](Self::read).
    pub fn parse(text: &str, path: &Path) -> Result<Self, TrainError> {
        let recipe: Self = toml::from_str(text).map_err(|e| TrainError::Toml {
            path: path.to_owned(),
            message: e.to_string().trim_end().to_owned(),
        })?;
        recipe.check()?;
        Ok(recipe)
    }

    /// How an image turns into a view: what the recipe says, or what suits its method.
    ///
    /// # Errors
    /// When a setting of the method is out of range.
    pub fn image_views(&self) -> Result<ViewConfig, TrainError> {
        match &self.views {
            Some(views) => Ok(views.clone()),
            None => Ok(self.method.build()?.default_views()),
        }
    }

    /// Opens the data that the recipe is for, whole, with its further attributes; and what a user should know of these.
    ///
    /// # Errors
    /// When the data or the attributes cannot be read.
    pub fn open(&self, data: &Path) -> Result<(Dataset, Vec<String>), TrainError> {
        let dataset = Dataset::open_named(data, self.names.as_ref())?;
        Ok(match &self.attributes {
            Some(path) => dataset.with_attributes(path)?,
            None => (dataset, Vec::new()),
        })
    }

    /// The part that the recipe trains on; all, if it does not split.
    ///
    /// # Errors
    /// When the data cannot be divided so.
    pub fn training_part(&self, whole: &Dataset) -> Result<Dataset, TrainError> {
        match &self.split {
            Some(rule) => Ok(rule.divide(whole, self.seed)?.first),
            None => Ok(whole.clone()),
        }
    }

    /// The part that it is to be measured on.
    ///
    /// # Errors
    /// When the recipe does not split, or the data cannot be divided so.
    pub fn test_part(&self, whole: &Dataset) -> Result<Dataset, TrainError> {
        let rule = self.split.as_ref().ok_or(TrainError::NoSplit)?;
        Ok(rule.divide(whole, self.seed)?.second)
    }

    /// Checks every range that does not depend on data.
    ///
    /// # Errors
    /// Names the setting, its value and its range.
    pub fn check(&self) -> Result<(), TrainError> {
        let at_least_one = |field: &str, found: usize| {
            if found == 0 { Err(TrainError::setting(field, found, "at least 1")) } else { Ok(()) }
        };
        at_least_one("epochs", self.epochs)?;
        at_least_one("accumulate", self.accumulate)?;
        at_least_one("validate-every", self.validate_every)?;
        if let Some(size) = self.size
            && !(8..=1024).contains(&size)
        {
            return Err(TrainError::setting("size", size, "8 to 1024 pixels"));
        }
        let of_images = self.signal.is_none() && self.encoder.of_sequences().is_none();
        if let Some(channels) = self.channels
            && of_images
            && !matches!(channels, 1 | 3)
        {
            return Err(TrainError::setting("channels", channels, "1 (grey) or 3 (colour)"));
        }
        if !(0.0..=0.5).contains(&self.hold_out) {
            return Err(TrainError::setting("hold-out", self.hold_out, "0 to 0.5"));
        }
        if !(self.schedule.warmup_epochs >= 0.0 && self.schedule.warmup_epochs.is_finite()) {
            return Err(TrainError::setting(
                "schedule.warmup-epochs",
                self.schedule.warmup_epochs,
                "zero or more",
            ));
        }
        if !(0.0..=1.0).contains(&self.schedule.final_fraction) {
            return Err(TrainError::setting(
                "schedule.final-fraction",
                self.schedule.final_fraction,
                "0 to 1",
            ));
        }
        if let Decay::Exponential { start } = self.schedule.decay {
            if !(0.0..1.0).contains(&start) {
                return Err(TrainError::setting("schedule.decay.exponential.start", start, "0 to below 1"));
            }
            if self.schedule.final_fraction == 0.0 {
                let wanted = "above 0 for an exponential decay, which never gets there: 0.001 in the paper";
                return Err(TrainError::setting("schedule.final-fraction", 0, wanted));
            }
        }
        let card = self.method.card();
        if self.probe && card.needs_labels {
            let wanted = format!("left out: {} learns from the labels itself", card.name);
            return Err(TrainError::setting("probe", true, wanted));
        }
        self.method.build()?;
        self.optimizer.build()?;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(text: &str) -> Result<Recipe, TrainError> {
        Recipe::parse(text, Path::new("my.toml"))
    }

    #[test]
    fn a_short_recipe_takes_the_defaults() {
        let recipe = parse("[method]\nkind = \"batch-hard\"\nper-class = 8\n").unwrap();
        let MethodConfig::BatchHard(method) = &recipe.method else { panic!("{recipe:?}") };
        assert_eq!((method.classes, method.per_class), (18, 8));
        assert_eq!(recipe.epochs, 20);
    }

    #[test]
    fn a_recipe_survives_being_written_and_read() {
        for name in ["batch-hard", "simclr"] {
            let recipe = Recipe::of(MethodConfig::by_name(name).unwrap());
            assert_eq!(parse(&toml::to_string(&recipe).unwrap()).unwrap(), recipe);
        }
        let mut recipe = Recipe::of(MethodConfig::by_name("batch-hard").unwrap());
        recipe.split = Some("camera=1,2".parse().unwrap());
        recipe.schedule = Schedule {
            final_fraction: 0.001,
            decay: Decay::Exponential { start: 0.6 },
            ..Schedule::default()
        };
        assert_eq!(parse(&toml::to_string(&recipe).unwrap()).unwrap(), recipe);
    }

    #[test]
    fn every_recipe_of_the_repository_parses_and_is_short() {
        let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../recipes");
        let mut seen = 0;
        for folder in ["", "compare", "cifar10", "exemplar-cnn", "simclr", "gpu"].map(|name| root.join(name))
        {
            for entry in std::fs::read_dir(&folder).unwrap() {
                let path = entry.unwrap().path();
                if path.extension().is_some_and(|extension| extension == "toml") {
                    Recipe::read(&path).unwrap();
                    let lines = std::fs::read_to_string(&path).unwrap().lines().count();
                    assert!(lines <= 35, "{}: {lines} lines", path.display());
                    seen += 1;
                }
            }
        }
        assert!(seen > 46, "{seen}");
    }

    #[test]
    fn a_misspelt_key_is_named_with_its_file_and_line() {
        for text in
            ["epoch = 3\n[method]\nkind = \"simclr\"\n", "[method]\nkind = \"simclr\"\ntemprature = 0.2\n"]
        {
            let message = parse(text).unwrap_err().to_string();
            let key = if text.contains("temprature") { "temprature" } else { "epoch" };
            assert!(message.starts_with("my.toml") && message.contains(key), "{message}");
        }
    }

    #[test]
    fn values_out_of_range_are_refused_by_name() {
        for (line, field) in [("epochs = 0", "epochs"), ("hold-out = 0.9", "hold-out"), ("size = 4", "size")]
        {
            let message = parse(&format!("{line}\n[method]\nkind = \"simclr\"\n")).unwrap_err().to_string();
            assert!(message.starts_with(field), "{message}");
        }
        let message = parse("probe = true\n[method]\nkind = \"batch-hard\"\n").unwrap_err().to_string();
        assert!(message.starts_with("probe = true") && message.contains("batch-hard"), "{message}");
        let decay = |text: &str| {
            parse(&format!("[method]\nkind = \"simclr\"\n[schedule]\n{text}")).unwrap_err().to_string()
        };
        let late = decay("final-fraction = 0.1\ndecay = { exponential = { start = 1.0 } }");
        assert!(late.starts_with("schedule.decay.exponential.start"), "{late}");
        let nothing = decay("decay = { exponential = { start = 0.6 } }");
        assert!(nothing.starts_with("schedule.final-fraction"), "{nothing}");
        let message = parse("[method]\nkind = \"simclr\"\ntemperature = 0.0\n").unwrap_err().to_string();
        assert!(message.contains("temperature = 0"), "{message}");
    }
}
