//! Learning without labels on CIFAR-10: every method with the same small net, by 200 neighbours and a linear classifier.

use std::path::{Path, PathBuf};
use std::sync::atomic::AtomicBool;

use nearkin_train::{Contender, Event, KnownClasses, Recipe, Score, compare, raw_pixels};

use super::{Data, Experiment, Finding, Outcome, Setting, Table};
use crate::cli::OnDevice;
use crate::failure::Failure;
use crate::ui::duration;

pub const EXPERIMENT: Experiment = Experiment {
    name: "cifar10",
    title: "Without labels on CIFAR-10",
    about: "every method that learns without labels, with one small net, by 200 neighbours and a linear classifier",
    paper: "R. Balestriero et al., \"A Cookbook of Self-Supervised Learning\", 2023, and the papers that the methods' pages name.",
    data: Data::Given("a folder with CIFAR-10's binary batches: data_batch_1.bin and on, test_batch.bin"),
    goes_on: true,
    run,
};

/// The recipes that take part, as the repository has them.
macro_rules! recipes {
    ($($name:literal),+ $(,)?) => {
        [$(($name, include_str!(concat!("../../../../../recipes/cifar10/", $name, ".toml")))),+]
    };
}

const RECIPES: [(&str, &str); 19] = recipes![
    "simclr",
    "simclr-crop-only",
    "simclr-colour-only",
    "moco",
    "byol",
    "simsiam",
    "barlow-twins",
    "vicreg",
    "w-mse",
    "swav",
    "dino",
    "mae",
    "i-jepa",
    "nnclr",
    "supervised",
    "untrained",
    "npid",
    "cpc",
    "exemplar-cnn",
];

/// The methods that the project is about, with more seeds than one.
const REPEATED: [&str; 4] = ["simclr", "npid", "exemplar-cnn", "cpc"];
const SEEDS: u64 = 3;

/// How far above the untrained net a method's neighbours must vote at least.
const GAINS: [(&str, f64); 9] = [
    ("simclr", 0.10),
    ("moco", 0.10),
    ("byol", 0.10),
    ("simsiam", 0.06),
    ("barlow-twins", 0.06),
    ("vicreg", 0.06),
    ("swav", 0.06),
    ("dino", 0.06),
    ("npid", 0.06),
];

fn run(setting: &Setting<'_>) -> Result<Outcome, Failure> {
    let data = setting.data()?;
    let part = |name: &str| PathBuf::from(format!("{}#{name}", data.display()));
    let (train, test) = (part("train"), part("test"));
    let contenders = contenders(setting)?;
    let repeated: Vec<Contender> =
        contenders.iter().filter(|one| REPEATED.contains(&one.name.as_str())).cloned().collect();
    let device = OnDevice::cpu().open()?;
    let mut observer = |name: &str, seed: u64, event: Event<'_>| match event {
        Event::Warning(text) => setting.ui.warn(format!("{name}: {text}")),
        Event::EpochDone(report) if report.epoch == report.epochs => {
            setting.ui.note(format!(
                "{name}, seed {seed}: loss {:.4}, {}",
                report.loss,
                duration(report.seconds)
            ));
        }
        _ => {}
    };
    let mut scores = Vec::new();
    let rounds =
        [(&contenders, setting.seed..setting.seed + 1), (&repeated, setting.seed + 1..setting.seed + SEEDS)];
    for (contenders, seeds) in rounds {
        let stop: &AtomicBool = &setting.stop;
        let data = (train.as_path(), Some(test.as_path()));
        let found = compare(contenders, seeds, data, setting.out, &device, &mut observer, stop)?;
        let Some(found) = found else {
            return Err(Failure::interrupted("saved; the same command goes on from there".to_owned()));
        };
        scores.extend(found);
    }
    let pixels = match contenders.first() {
        Some(first) => raw_pixels(&first.recipe, (&train, &test), setting.out)?,
        None => None,
    };
    outcome(&contenders, &scores, pixels, setting)
}

fn contenders(setting: &Setting<'_>) -> Result<Vec<Contender>, Failure> {
    let one = |(name, text): &(&str, &str)| {
        let recipe = Recipe::parse(text, Path::new(&format!("recipes/cifar10/{name}.toml")))?;
        let epochs = setting.epochs(recipe.epochs);
        Ok(Contender { name: (*name).to_owned(), recipe: Recipe { epochs, ..recipe } })
    };
    RECIPES.iter().map(one).collect()
}

/// The places of [`KnownClasses::figures`].
const KNN: usize = 0;
const PROBE: usize = 1;
const PROBE_BEHIND: usize = 3;

/// A recipe, and what it came to, seed by seed.
struct Entry<'a> {
    contender: &'a Contender,
    /// [`KnownClasses::figures`]
    figures: Vec<[Option<f64>; 4]>,
    seconds: Vec<f64>,
}

impl<'a> Entry<'a> {
    fn of(contender: &'a Contender, scores: &[Score]) -> Result<Self, Failure> {
        let own = || scores.iter().filter(|score| score.name == contender.name);
        let figures = own().map(|score| score.known_classes.map(|known| known.figures()));
        let figures: Option<Vec<_>> = figures.collect();
        Ok(Self {
            contender,
            figures: figures
                .ok_or_else(|| Failure::failed("the test images are not of the training images' classes"))?,
            seconds: own().map(|score| score.seconds).collect(),
        })
    }

    /// The mean of a figure over the seeds.
    fn mean(&self, at: usize) -> Option<f64> {
        mean(self.figures.iter().filter_map(|figures| figures[at]))
    }

    fn row(&self) -> (String, Vec<Option<f64>>) {
        let minutes = mean(self.seconds.iter().map(|seconds| seconds / 60.0));
        let (epochs, seeds) = (self.contender.recipe.epochs as f64, self.seconds.len() as f64);
        let figures = (0..KnownClasses::NAMES.len()).map(|at| self.mean(at));
        (self.contender.name.clone(), figures.chain([minutes, Some(epochs), Some(seeds)]).collect())
    }
}

fn mean(values: impl Iterator<Item = f64>) -> Option<f64> {
    let (count, sum) = values.fold((0, 0.0), |(count, sum), value| (count + 1, sum + value));
    (count > 0).then(|| sum / f64::from(count))
}

fn outcome(
    contenders: &[Contender],
    scores: &[Score],
    pixels: Option<KnownClasses>,
    setting: &Setting<'_>,
) -> Result<Outcome, Failure> {
    let entries: Result<Vec<Entry<'_>>, Failure> =
        contenders.iter().map(|contender| Entry::of(contender, scores)).collect();
    let entries = entries?;
    let named = |name: &str| entries.iter().find(|entry| entry.contender.name == name);
    let of = |name: &str, at: usize| named(name).and_then(|entry| entry.mean(at)).unwrap_or(f64::NAN);

    let mut rows: Vec<(String, Vec<Option<f64>>)> = entries.iter().map(Entry::row).collect();
    if let Some(pixels) = pixels {
        rows.push(("raw pixels".to_owned(), [&pixels.figures()[..], &[None; 3]].concat()));
    }
    rows.sort_by(|(_, a), (_, b)| b[KNN].unwrap_or(0.0).total_cmp(&a[KNN].unwrap_or(0.0)));
    let by_seed = REPEATED.into_iter().filter_map(named).map(|entry| {
        let all = |at: usize| entry.figures.iter().map(move |figures| figures[at]);
        (entry.contender.name.clone(), all(KNN).chain(all(PROBE)).collect())
    });
    let seeds = setting.seed..setting.seed + SEEDS;
    let by = |what: &str| seeds.clone().map(|seed| format!("{what}, seed {seed}")).collect::<Vec<_>>();

    let mut findings = Vec::new();
    for (name, gain) in GAINS {
        let above = of(name, KNN) - of("untrained", KNN);
        findings.push(Finding::at_least(format!("{name} above the untrained net, 200-NN"), above, gain));
    }
    for part in ["simclr-crop-only", "simclr-colour-only"] {
        let above = of("simclr", KNN) - of(part, KNN);
        findings.push(Finding::at_least(format!("crop and colour above {part}, 200-NN"), above, 0.0));
    }
    let name = "simclr before its head above behind it, linear classifier";
    findings.push(Finding::at_least(name, of("simclr", PROBE) - of("simclr", PROBE_BEHIND), 0.0));

    let header = [""].into_iter().chain(KnownClasses::NAMES).chain(["minutes a run", "epochs", "seeds"]);
    let four = format!("{} to {} for {}", seeds.start, seeds.end - 1, REPEATED.join(", "));
    Ok(Outcome {
        story: vec![
            "Each method learns from the training images without their labels, as its recipe in `recipes/cifar10/` says (made for one batch \
             of five, 10,000 images): a small convolutional net of 390,000 weights, MAE and I-JEPA a small transformer, CPC a net that reads \
             patches. Its features of the test images, before the projection head, are then judged by the weighted vote of 200 neighbours \
             among the training images (cosine, temperature 0.07), and by a linear classifier on the training images."
                .into(),
            "`untrained` is the small net as it begins, with the statistics of its normalisations adapted; `supervised` is SupCon with the \
             labels, on the same net and views. Minutes are of this machine with whatever else it was doing. Epochs differ, so that a run \
             takes a few minutes: the table says what a few minutes give, not which method is the best."
                .into(),
        ],
        facts: vec![
            ("seeds".into(), format!("{}, and {four}", seeds.start)),
            ("net".into(), "small-conv, width 32, 256 features".into()),
            ("batches and epochs".into(), "as in the recipes".into()),
        ],
        findings,
        tables: vec![
            Table {
                title: "Accuracy on the test images, means over the seeds".into(),
                header: header.map(str::to_owned).collect(),
                rows,
            },
            Table {
                title: "Seed by seed".into(),
                header: [vec![String::new()], by(KnownClasses::NAMES[KNN]), by(KnownClasses::NAMES[PROBE])].concat(),
                rows: by_seed.collect(),
            },
        ],
        figures: Vec::new(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_recipe_parses_and_every_name_is_one_of_them() {
        for (name, text) in RECIPES {
            Recipe::parse(text, Path::new(name)).unwrap();
        }
        let names = GAINS.into_iter().map(|(name, _)| name).chain(REPEATED);
        for name in names.chain(["untrained", "simclr-crop-only", "simclr-colour-only"]) {
            assert!(RECIPES.iter().any(|(known, _)| *known == name), "{name}");
        }
    }

    #[test]
    fn a_mean_is_over_what_is_there() {
        assert_eq!((mean([].into_iter()), mean([1.0, 2.0].into_iter())), (None, Some(1.5)));
    }
}
