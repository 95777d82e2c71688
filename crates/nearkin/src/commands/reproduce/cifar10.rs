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
    let part =
        |name: &str| PathBuf::from(format!("{}#{name}", setting.data().unwrap_or(Path::new("")).display()));
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

fn outcome(
    contenders: &[Contender],
    scores: &[Score],
    pixels: Option<KnownClasses>,
    setting: &Setting<'_>,
) -> Result<Outcome, Failure> {
    let known = |score: &Score| {
        score
            .known_classes
            .ok_or_else(|| Failure::failed("the test images are not of the training images' classes"))
    };
    let mean_of =
        |name: &str, figure: &dyn Fn(&KnownClasses) -> Option<f64>| -> Result<Option<f64>, Failure> {
            let own: Result<Vec<KnownClasses>, Failure> =
                scores.iter().filter(|score| score.name == name).map(known).collect();
            let values: Vec<f64> = own?.iter().filter_map(figure).collect();
            Ok((!values.is_empty()).then(|| values.iter().sum::<f64>() / values.len() as f64))
        };
    let votes = |name: &str| Ok::<_, Failure>(mean_of(name, &|k| Some(k.knn_accuracy))?.unwrap_or(f64::NAN));
    let probe =
        |name: &str| Ok::<_, Failure>(mean_of(name, &|k| Some(k.linear_probe_accuracy))?.unwrap_or(f64::NAN));
    let untrained = votes("untrained")?;

    let mut rows = Vec::new();
    for contender in contenders {
        let name = contender.name.as_str();
        let figures: [fn(&KnownClasses) -> Option<f64>; 4] = [
            |k| Some(k.knn_accuracy),
            |k| Some(k.linear_probe_accuracy),
            |k| k.behind_head.map(|[knn, _]| knn),
            |k| k.behind_head.map(|[_, probe]| probe),
        ];
        let mut values = Vec::new();
        for figure in figures {
            values.push(mean_of(name, &figure)?);
        }
        let own: Vec<&Score> = scores.iter().filter(|score| score.name == name).collect();
        let minutes = own.iter().map(|score| score.seconds).sum::<f64>() / own.len().max(1) as f64 / 60.0;
        values.extend([Some(minutes), Some(contender.recipe.epochs as f64), Some(own.len() as f64)]);
        rows.push((name.to_owned(), values));
    }
    if let Some(KnownClasses { knn_accuracy, linear_probe_accuracy, .. }) = pixels {
        let mut values = vec![Some(knn_accuracy), Some(linear_probe_accuracy)];
        values.resize(7, None);
        rows.push(("raw pixels".to_owned(), values));
    }
    let vote = |row: &(String, Vec<Option<f64>>)| row.1.first().copied().flatten().unwrap_or(0.0);
    rows.sort_by(|a, b| vote(b).total_cmp(&vote(a)));

    let mut by_seed = Vec::new();
    for name in REPEATED {
        let own: Result<Vec<KnownClasses>, Failure> =
            scores.iter().filter(|score| score.name == name).map(known).collect();
        let own = own?;
        let values =
            own.iter().map(|k| Some(k.knn_accuracy)).chain(own.iter().map(|k| Some(k.linear_probe_accuracy)));
        by_seed.push((name.to_owned(), values.collect()));
    }
    let seeds = setting.seed..setting.seed + SEEDS;
    let by = |what: &str| seeds.clone().map(|seed| format!("{what}, seed {seed}")).collect::<Vec<_>>();

    let mut findings = Vec::new();
    for (name, gain) in GAINS {
        let above = votes(name)? - untrained;
        findings.push(Finding::at_least(format!("{name} above the untrained net, 200-NN"), above, gain));
    }
    for part in ["simclr-crop-only", "simclr-colour-only"] {
        let above = votes("simclr")? - votes(part)?;
        findings.push(Finding::at_least(format!("crop and colour above {part}, 200-NN"), above, 0.0));
    }
    let behind = mean_of("simclr", &|k| k.behind_head.map(|[_, probe]| probe))?.unwrap_or(f64::NAN);
    let name = "simclr before its head above behind it, linear classifier";
    findings.push(Finding::at_least(name, probe("simclr")? - behind, 0.0));

    let head = [
        "",
        "200-NN",
        "linear",
        "200-NN behind the head",
        "linear behind it",
        "minutes a run",
        "epochs",
        "seeds",
    ];
    Ok(Outcome {
        story: vec![
            "Each method learns from 10,000 images without their labels (the first batch of five, if there is no other), as its recipe in \
             `recipes/cifar10/` says: a small convolutional net of 390,000 weights, MAE and I-JEPA a small transformer, CPC a net that reads \
             patches. Its features of the test images, before the projection head, are then judged by the weighted vote of 200 neighbours \
             among the training images (cosine, temperature 0.07), and by a linear classifier on the training images."
                .into(),
            "`untrained` is the small net as it begins, with the statistics of its normalisations adapted; `supervised` is SupCon with the \
             labels, on the same net and views. Minutes are of this machine with whatever else it was doing. Epochs differ, so that a run \
             takes a few minutes: the table says what a few minutes give, not which method is the best."
                .into(),
        ],
        facts: vec![
            ("seeds".into(), format!("{}, and {} to {} for {}", seeds.start, seeds.start, seeds.end - 1, REPEATED.join(", "))),
            ("net".into(), "small-conv, width 32, 256 features".into()),
            ("batches and epochs".into(), "as in the recipes".into()),
        ],
        findings,
        tables: vec![
            Table {
                title: "Accuracy on 10,000 test images, means over the seeds".into(),
                header: head.map(str::to_owned).to_vec(),
                rows,
            },
            Table {
                title: "Seed by seed".into(),
                header: [vec![String::new()], by("200-NN"), by("linear")].concat(),
                rows: by_seed,
            },
        ],
        figures: Vec::new(),
    })
}
