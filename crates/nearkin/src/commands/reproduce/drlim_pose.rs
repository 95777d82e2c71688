//! Pose: 972 pictures of an airplane from all around. Kin are those a step apart in azimuth or elevation, whatever the lighting; the
//! map must come out as a cylinder around which the azimuth runs, and the lighting must be gone.

use std::f64::consts::TAU;

use nearkin_data::kin::Axis;
use nearkin_data::poses::PoseSet;
use nearkin_eval::{
    Figure, Neighbourhoods, PALETTE, circular_correlation, hue, map_angles, variance_explained,
};
use nearkin_net::{EncoderConfig, MlpEncoderConfig};
use nearkin_sweep::Vectors;
use nearkin_train::{DrLimMethod, KinRule, split};

use super::drlim::{Images, PAPER, Placed, Point, panel, recipe};
use super::{Data, Experiment, Finding, Outcome, Picture, Setting, Table};
use crate::commands::fit::Divided;
use crate::failure::Failure;

pub const EXPERIMENT: Experiment = Experiment {
    name: "drlim-pose",
    title: "DrLIM: pose without lighting",
    about: "972 rendered views of an airplane become a cylinder of poses, whatever the light",
    paper: PAPER,
    data: Data::Own,
    goes_on: false,
    run,
};

/// The paper's split: 660 views to learn from, 312 unseen.
const UNSEEN: f64 = 312.0 / 972.0;
/// Pixels a side: half the paper's, a quarter of the time.
const SIDE: usize = 48;
/// Units of the hidden layer. The paper's 20 leave the map folded: views of the nose and of the tail, which are alike by pixels, stay
/// on top of each other.
const HIDDEN: usize = 100;
/// Pairs of kin a batch. The fewer, the more kin weigh against strangers, and the stiffer is the map:
/// of 16 pairs the cylinder is there but flattened.
const GROUPS: usize = 6;
/// Small, as a step of Adam moves each of the thousands of weights of a hidden unit by as much: at 10⁻³ the units saturate.
const RATE: f64 = 1e-4;
const EPOCHS: usize = 250;

/// A map, and what of it the pose explains.
struct Explained {
    map: Placed,
    /// The direction around which the radii vary least.
    axis: [f64; 3],
    /// Circular correlation of the angle about the map's axis with the azimuth, of fitted and of unseen views.
    azimuth: [f64; 2],
    /// Correlation of the place along the axis with the elevation.
    elevation: [f64; 2],
    /// Share of the variance that the lighting explains.
    lighting: [f64; 2],
    /// Variation of the distance from the axis: 0 for a perfect cylinder.
    radius: f64,
    kept: Neighbourhoods,
}

fn run(setting: &Setting<'_>) -> Result<Outcome, Failure> {
    let set = PoseSet { size: SIDE, ..PoseSet::default() };
    let dataset = set.dataset()?;
    let (train, held_out) = split(&vec![0; dataset.len()], UNSEEN, setting.seed);
    let (fitted, unseen) = (train.len(), held_out.len());
    let images = Images::new(dataset, set.size, Divided { train, held_out }, setting)?;

    let axis = |attribute: &str, wraps| Axis { attribute: attribute.to_owned(), wraps };
    let kin = KinRule::Adjacent(vec![axis("azimuth", true), axis("elevation", false)]);
    let method = DrLimMethod { classes: GROUPS, stiffness: 1.0, ..DrLimMethod::default() };
    let net = EncoderConfig::Mlp(MlpEncoderConfig { hidden: vec![HIDDEN] });
    let recipe = recipe(method.clone(), kin, net, [set.size, 3], (EPOCHS, RATE), setting);
    let epochs = recipe.epochs;
    let trained = setting.train("run", recipe, &images.training_set())?;
    let maps = [
        images.learned("DrLIM", trained, setting)?,
        images.classical("LLE", "lle --dims 3", setting)?,
        images.classical("Isomap", "isomap --dims 3 --neighbors 12", setting)?,
        images.classical("PCA", "pca --dims 3", setting)?,
    ];
    let maps = maps.into_iter().map(|map| explain(map, &images)).collect::<Result<Vec<_>, _>>()?;

    let learned = &maps[0];
    let findings = [("fitted", 0), ("unseen", 1)].into_iter().flat_map(|(part, at)| {
        [
            Finding::at_least(
                format!("circular correlation of the map's angle with the azimuth, {part} views"),
                learned.azimuth[at],
                0.95,
            ),
            Finding::at_most(
                format!("share of the variance that the lighting explains, {part} views"),
                learned.lighting[at],
                0.05,
            ),
        ]
    });
    Ok(Outcome {
        story: vec![
            "An airplane is drawn from 18 azimuths and 9 elevations under 6 lightings. Two views are kin if they are a step apart in \
             azimuth or in elevation, or equal in both; of the lighting nothing is said. A net of one hidden layer maps the \
             pixels to 3 dimensions. The map is to be a cylinder: the azimuth runs around it, the elevation along it, and views that \
             differ in lighting alone lie together."
                .into(),
            "LLE, Isomap and PCA see the pixels alone. Unseen views are placed by the net, by LLE's and Isomap's out-of-sample \
             rules, and by PCA's axes."
                .into(),
        ],
        facts: vec![
            ("data".into(), format!("{fitted} views to fit to, {unseen} unseen, {0} × {0} pixels, drawn by nearkin", set.size)),
            ("net".into(), format!("{HIDDEN} hidden units, 3 outputs")),
            ("margin".into(), method.margin.to_string()),
            ("batch".into(), format!("{GROUPS} pairs of kin")),
            ("epochs, learning rate".into(), format!("{epochs}, {RATE}")),
        ],
        findings: findings.collect(),
        tables: vec![table(&maps)],
        figures: vec![figure(&maps, &images)?],
    })
}

/// Radians of the azimuths, and numbers of the levels of a factor.
fn levels(images: &Images, attribute: &str) -> Result<Vec<f64>, Failure> {
    Ok(images.dataset.numbers(attribute)?)
}

fn explain(map: Placed, images: &Images) -> Result<Explained, Failure> {
    // The axis is that of all views, so that the fitted and the unseen are measured about the same one.
    let order = [images.train(), images.unseen()].concat();
    let places = [&map.train[..], map.unseen.as_deref().unwrap_or_default()].concat();
    let points = Vectors::new(&places, 3)?;
    let of = |attribute: &str| -> Result<Vec<f64>, Failure> {
        let all = levels(images, attribute)?;
        Ok(order.iter().map(|&i| all[i]).collect())
    };
    let azimuth: Vec<f64> = of("azimuth")?.iter().map(|degrees| degrees / 360.0 * TAU).collect();
    let (elevation, lighting) = (of("elevation")?, of("lighting")?);
    let lighting: Vec<u32> = lighting.iter().map(|level| *level as u32).collect();
    let found = map_angles(points)?;
    let axis = found.axis.unwrap_or([0.0, 0.0, 1.0]);
    let heights: Vec<f64> = (0..points.len())
        .map(|i| points.row(i).iter().zip(axis).map(|(x, a)| f64::from(*x) * a).sum())
        .collect();
    let fitted = images.train().len();
    let parts = [0..fitted, fitted..order.len()];
    let mut explained = Explained {
        azimuth: [0.0; 2],
        elevation: [0.0; 2],
        lighting: [0.0; 2],
        radius: found.radius_variation,
        axis,
        kept: images.train_neighbourhoods(&map)?,
        map,
    };
    for (at, part) in parts.into_iter().enumerate() {
        explained.azimuth[at] =
            circular_correlation(&found.angles[part.clone()], &azimuth[part.clone()])?.abs();
        explained.elevation[at] = correlation(&heights[part.clone()], &elevation[part.clone()]).abs();
        let places = Vectors::new(&places[3 * part.start..3 * part.end], 3)?;
        explained.lighting[at] = variance_explained(places, &[&lighting[part]])?[0].eta_squared;
    }
    Ok(explained)
}

/// Pearson's.
fn correlation(a: &[f64], b: &[f64]) -> f64 {
    let mean = |x: &[f64]| x.iter().sum::<f64>() / x.len() as f64;
    let (a_mean, b_mean) = (mean(a), mean(b));
    let sum =
        |f: &dyn Fn(f64, f64) -> f64| a.iter().zip(b).map(|(a, b)| f(a - a_mean, b - b_mean)).sum::<f64>();
    sum(&|a, b| a * b) / (sum(&|a, _| a * a) * sum(&|_, b| b * b)).sqrt()
}

fn table(maps: &[Explained]) -> Table {
    let header = [
        "",
        "azimuth, fitted",
        "azimuth, unseen",
        "elevation, unseen",
        "lighting, fitted",
        "lighting, unseen",
        "radius variation",
        "trustworthiness",
        "continuity",
        "seconds",
    ];
    let row = |found: &Explained| {
        let values = [
            found.azimuth[0],
            found.azimuth[1],
            found.elevation[1],
            found.lighting[0],
            found.lighting[1],
            found.radius,
            found.kept.trustworthiness,
            found.kept.continuity,
            found.map.seconds,
        ];
        (found.map.name.clone(), values.map(Some).to_vec())
    };
    Table {
        title: "What of the pose each map shows".into(),
        header: header.map(str::to_owned).to_vec(),
        rows: maps.iter().map(row).collect(),
    }
}

/// Points with the axis turned upright.
fn turned(points: &[f32], axis: [f64; 3]) -> impl Iterator<Item = [f32; 3]> + '_ {
    // The coordinate direction farthest from the axis, less its part along it.
    let least = (0..3).fold(0, |best, d| if axis[d].abs() < axis[best].abs() { d } else { best });
    let mut first: [f64; 3] = std::array::from_fn(|d| f64::from(d == least) - axis[least] * axis[d]);
    let length = first.iter().map(|x| x * x).sum::<f64>().sqrt();
    first.iter_mut().for_each(|x| *x /= length);
    let second: [f64; 3] = std::array::from_fn(|d| {
        let (e, f) = ((d + 1) % 3, (d + 2) % 3);
        axis[e] * first[f] - axis[f] * first[e]
    });
    let along = |point: &[f32], direction: &[f64; 3]| {
        point.iter().zip(direction).map(|(x, d)| f64::from(*x) * d).sum::<f64>() as f32
    };
    points.chunks_exact(3).map(move |point| [first, second, axis].map(|direction| along(point, &direction)))
}

/// Each map from two sides, by azimuth and by lighting.
fn figure(maps: &[Explained], images: &Images) -> Result<Picture, Failure> {
    let azimuths: Vec<(String, [u8; 3])> = (0..18)
        .map(|step| {
            let name = if step % 3 == 0 { format!("{}°", step * 20) } else { String::new() };
            (name, hue(f64::from(step) / 18.0))
        })
        .collect();
    let lightings: Vec<(String, [u8; 3])> =
        PALETTE[..6].iter().enumerate().map(|(i, colour)| (format!("light {i}"), *colour)).collect();
    let of = |attribute: &str, scale: f64| -> Result<Vec<u32>, Failure> {
        let all = levels(images, attribute)?;
        let order = [images.train(), images.unseen()].concat();
        Ok(order.iter().map(|&i| (all[i] / scale).round() as u32).collect())
    };
    let (azimuth, lighting) = (of("azimuth", 20.0)?, of("lighting", 1.0)?);
    let fitted = images.train().len();
    let mut panels = Vec::new();
    for ([x, y], by, groups, what) in [
        ([0, 1], &azimuth, &azimuths, "along its axis, azimuth"),
        ([0, 2], &azimuth, &azimuths, "from its side, azimuth"),
        ([0, 1], &lighting, &lightings, "along its axis, lighting"),
    ] {
        for found in maps {
            let map = &found.map;
            let places = [&map.train[..], map.unseen.as_deref().unwrap_or_default()].concat();
            let upright = turned(&places, found.axis).map(|p| [p[x], p[y]]);
            let points: Vec<Point> = upright.zip(by.iter().copied()).collect();
            let (seen, full) = points.split_at(fitted);
            panels.push(panel(format!("{}: {what}", map.name), seen, full, groups));
        }
    }
    Ok(Picture {
        name: "drlim-pose".into(),
        caption: "Maps of 972 views in 3 dimensions, each along the axis around which it is most like a cylinder, and \
                  from the side. Pale: views that the map was fitted to. \
                  Full: unseen views."
            .into(),
        figure: Figure { panels, columns: maps.len() },
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_map_turned_upright_keeps_its_distances() {
        let axis = [0.6, 0.0, -0.8];
        let found: Vec<[f32; 3]> = turned(&[1.2, 0.0, -1.6, 0.0, 3.0, 0.0], axis).collect();
        assert!((found[0][2] - 2.0).abs() < 1e-6 && found[0][0].hypot(found[0][1]) < 1e-6);
        assert!(found[1][2].abs() < 1e-6 && (found[1][0].hypot(found[1][1]) - 3.0).abs() < 1e-6);
    }

    #[test]
    fn the_correlation_of_a_line_is_one() {
        assert!((correlation(&[0.0, 1.0, 2.0], &[5.0, 3.0, 1.0]) + 1.0).abs() < 1e-12);
    }
}
