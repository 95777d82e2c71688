//! Digits 4 and 9: kin are the nearest by pixels, and nothing is said of the classes. The learned map takes in unseen digits, which
//! LLE's does only by a rule put on top.

use nearkin_eval::{Figure, Neighbourhoods, PALETTE};
use nearkin_net::EncoderConfig;
use nearkin_train::{DrLimMethod, KinRule};

use super::drlim::{
    DIGITS_RATE, DIGITS_STIFFNESS, Images, PAPER, Placed, Point, digits, panel, recipe, springs,
};
use super::{Data, Experiment, Finding, Outcome, Picture, Setting, Table};
use crate::commands::fit::Divided;
use crate::failure::Failure;
use crate::springs::film;

pub const EXPERIMENT: Experiment = Experiment {
    name: "drlim-4v9",
    title: "DrLIM: digits 4 and 9, and unseen ones",
    about: "MNIST's fours and nines on a plane by their 5 nearest neighbours, beside LLE, Isomap and PCA",
    paper: PAPER,
    data: Data::Given("a folder with MNIST's four IDX files"),
    goes_on: false,
    run,
};

/// Images of each digit that maps are fitted to, and unseen ones, as in the paper.
const DIGITS: [usize; 2] = [3000, 1000];
/// Nearest by pixels, the paper's number.
const NEIGHBOURS: usize = 5;
/// LeNet's input.
const SIDE: usize = 28;
const EPOCHS: usize = 40;

struct Measured {
    map: Placed,
    accuracy: f64,
    fitted: Neighbourhoods,
    unseen: Neighbourhoods,
}

fn run(setting: &Setting<'_>) -> Result<Outcome, Failure> {
    let (dataset, fitted) = digits(setting, DIGITS)?;
    let divided = Divided { train: (0..fitted).collect(), held_out: (fitted..dataset.len()).collect() };
    let labels = dataset.labels().unwrap_or_default();
    let images = Images::new(dataset, SIDE, divided, setting)?;
    let method = DrLimMethod { stiffness: DIGITS_STIFFNESS, ..DrLimMethod::default() };
    let kin = KinRule::Neighbours(NEIGHBOURS);
    let recipe =
        recipe(method.clone(), kin, EncoderConfig::LeNet {}, [SIDE, 2], (EPOCHS, DIGITS_RATE), setting);
    let epochs = recipe.epochs;
    let trained = setting.train("run", recipe, &images.training_set())?;
    let maps = [
        images.learned("DrLIM", trained, setting)?,
        images.classical("LLE", "lle", setting)?,
        images.classical("Isomap", "isomap --neighbors 12 --landmarks 1000", setting)?,
        images.classical("PCA", "pca --dims 2", setting)?,
    ];
    let measure = |map: Placed| -> Result<Measured, Failure> {
        let nothing = || Failure::failed(format!("{} has no places for unseen digits", map.name));
        Ok(Measured {
            accuracy: images.nearest_class(&map, &labels)?.ok_or_else(nothing)?,
            fitted: images.train_neighbourhoods(&map)?,
            unseen: images.unseen_neighbourhoods(&map)?.ok_or_else(nothing)?,
            map,
        })
    };
    let maps: Vec<Measured> = maps.into_iter().map(measure).collect::<Result<_, _>>()?;
    let [learned, lle, _, pca] = &maps[..] else { return Err(Failure::failed("a map is missing")) };
    let findings = vec![
        Finding::at_least(
            "1-NN accuracy of unseen digits: DrLIM less LLE with weights for the unseen",
            learned.accuracy - lle.accuracy,
            0.0,
        ),
        Finding::at_least(
            "1-NN accuracy of unseen digits: DrLIM less PCA",
            learned.accuracy - pca.accuracy,
            0.1,
        ),
        Finding::at_most(
            "trustworthiness that DrLIM's map loses from fitted to unseen digits",
            learned.fitted.trustworthiness - learned.unseen.trustworthiness,
            0.05,
        ),
    ];
    let mut figures = vec![figure(&maps, &images, &labels)];
    if let Some(film) = film(&setting.path("run"))? {
        figures.push(Picture {
            name: "drlim-4v9-springs".into(),
            caption: format!(
                "The springs among {} of the digits at four moments, each at its own scale. Attraction alone would end in a point; \
                 strangers repel within the margin.",
                film.names.len()
            ),
            figure: springs(&film),
        });
    }
    let by_pixels = images.nearest_class_by_pixels(&labels)?;
    Ok(Outcome {
        story: vec![format!(
            "Kin are the {NEIGHBOURS} nearest digits by pixels, either way; nobody says which are fours and which are nines. DrLIM's \
             net, a LeNet with 2 outputs, draws kin together and pushes all other pairs apart. Beside it are LLE, Isomap and PCA on the \
             same pixels. Unseen digits are placed by the net as any other; by PCA's axes; for LLE by the weights that reconstruct \
             a digit from its neighbours, and for Isomap by paths through its neighbours, both of which must keep all the \
             digits that they were fitted to."
        )],
        facts: vec![
            ("data".into(), format!("{fitted} digits to fit to, {} unseen", images.unseen().len())),
            ("net".into(), "LeNet, 2 outputs".into()),
            ("margin, stiffness of kin".into(), format!("{}, {DIGITS_STIFFNESS}", method.margin)),
            ("epochs, learning rate".into(), format!("{epochs}, {DIGITS_RATE}")),
        ],
        findings,
        tables: vec![table(&maps, by_pixels)],
        figures,
    })
}

fn table(maps: &[Measured], by_pixels: f64) -> Table {
    let header = [
        "",
        "1-NN, unseen",
        "trustworthiness, fitted",
        "trustworthiness, unseen",
        "continuity, fitted",
        "continuity, unseen",
        "seconds",
    ];
    let row = |found: &Measured| {
        let values = [
            found.accuracy,
            found.fitted.trustworthiness,
            found.unseen.trustworthiness,
            found.fitted.continuity,
            found.unseen.continuity,
            found.map.seconds,
        ];
        (found.map.name.clone(), values.map(Some).to_vec())
    };
    let pixels =
        ("the pixels themselves".to_owned(), [Some(by_pixels), None, None, None, None, None].to_vec());
    Table {
        title: "Maps on a plane".into(),
        header: header.map(str::to_owned).to_vec(),
        rows: maps.iter().map(row).chain([pixels]).collect(),
    }
}

/// The fitted digits above, the unseen below.
fn figure(maps: &[Measured], images: &Images, labels: &[u32]) -> Picture {
    let classes: Vec<u32> = {
        let mut found = labels.to_vec();
        found.sort_unstable();
        found.dedup();
        found
    };
    let groups: Vec<(String, [u8; 3])> = classes
        .iter()
        .zip([PALETTE[0], PALETTE[1]])
        .map(|(&class, colour)| (images.dataset.classes()[class as usize].clone(), colour))
        .collect();
    let group = |i: &usize| u32::from(labels[*i] != classes[0]);
    let drawn = |places: &[f32], part: &[usize]| -> Vec<Point> {
        places.chunks_exact(2).zip(part).map(|(p, i)| ([p[0], p[1]], group(i))).collect()
    };
    let fitted = maps.iter().map(|found| {
        let points = drawn(&found.map.train, images.train());
        panel(format!("{}, fitted digits", found.map.name), &[], &points, &groups)
    });
    let unseen = maps.iter().map(|found| {
        let seen = drawn(&found.map.train, images.train());
        let points = drawn(found.map.unseen.as_deref().unwrap_or_default(), images.unseen());
        panel(format!("{}, unseen digits", found.map.name), &seen, &points, &groups)
    });
    Picture {
        name: "drlim-4v9".into(),
        caption: "Fours and nines on four maps. Above: the digits that the maps were fitted to. Below: unseen digits, the \
                  others pale behind them."
            .into(),
        figure: Figure { panels: fitted.chain(unseen).collect(), columns: maps.len() },
    }
}
