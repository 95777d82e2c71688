//! Calibration: does the rate that is measured on other classes lie where the calibration says?

use nearkin_classic::Lda;
use nearkin_data::{Dataset, PrepareOptions};
use nearkin_eval::{Calibration, Figure, Labeled, Layer, PALETTE, Panel, Shape, calibrate};
use nearkin_sweep::{Metric, SameLabel, Vectors, map_rows};
use nearkin_train::pixels;

use super::characters::OMNIGLOT;
use super::{Data, Experiment, Finding, Outcome, Picture, Setting, Table};
use crate::commands::prepare;
use crate::failure::Failure;

pub const EXPERIMENT: Experiment = Experiment {
    name: "calibration",
    title: "Calibration: the false-accept rate on other classes",
    about: "thresholds chosen on some of Omniglot's characters, and the rates of false accepts on others, many times",
    paper: "N. Poh, A. Martin, S. Bengio, \"Performance Generalization in Biometric Authentication Using Joint User-Specific and Sample \
            Bootstraps\", 2007.",
    data: Data::Given(OMNIGLOT),
    goes_on: false,
    run,
};

/// Side of the pixels.
const SIDE: usize = 16;
/// Part of the mean variance that LDA adds.
const RIDGE: f64 = 0.1;
/// Values of an embedding.
const DIMS: usize = 32;
/// Divisions that are drawn, and those of them that are told one by one.
const DIVISIONS: u64 = 500;
const FIRST: usize = 10;
const RATES: [f64; 2] = [1e-2, 1e-3];
/// Two-sided quantile of the normal distribution for 95 %.
const Z: f64 = 1.96;

/// One division of the characters, at one rate.
struct Tried {
    calibration: Calibration,
    /// On the other characters: pairs of strangers, and those accepted.
    strangers: u64,
    accepted: u64,
}

impl Tried {
    fn rate(&self) -> f64 {
        self.accepted as f64 / self.strangers as f64
    }

    fn is_inside(&self) -> bool {
        let (low, high) = self.calibration.false_accept_rate_interval;
        (low..=high).contains(&self.rate())
    }

    /// The same interval if pairs were independent: the calibration's rate and that of as many other pairs differ by chance alone.
    fn is_inside_of_independent_pairs(&self) -> bool {
        let expected = self.calibration.false_accept_rate;
        let half = Z * (2.0 * expected * (1.0 - expected) / self.strangers as f64).sqrt();
        (self.rate() - expected).abs() <= half
    }
}

fn run(setting: &Setting<'_>) -> Result<Outcome, Failure> {
    let dataset = Dataset::open(setting.data()?)?;
    let prepared = prepare(&dataset, &PrepareOptions::new(1, SIDE), setting.ui)?;
    let pixels = pixels(&prepared, SIDE, 1)?;
    let labels = prepared.dataset.labels();
    let labels = labels.ok_or_else(|| Failure::misuse("the characters need a folder each"))?;
    let classes = dataset.classes().len() as u32;
    let bar = setting.ui.bar("dividing", DIVISIONS as usize);
    let mut tried: [Vec<Tried>; 2] = [Vec::new(), Vec::new()];
    for seed in setting.seed..setting.seed + DIVISIONS {
        setting.go_on()?;
        let thirds = thirds(classes, seed);
        let part = |which: usize| -> (Vec<f32>, Vec<u32>) {
            let rows = || (0..labels.len()).filter(|&row| thirds[labels[row] as usize] == which);
            let row = |row: usize| &pixels.values[row * pixels.dim..(row + 1) * pixels.dim];
            (rows().flat_map(row).copied().collect(), rows().map(|row| labels[row]).collect())
        };
        let (learned, learned_labels) = part(0);
        let map =
            Lda::new().dims(DIMS).ridge(RIDGE).fit(Vectors::new(&learned, pixels.dim)?, &learned_labels)?.map;
        let embedded = |which: usize| -> Result<_, Failure> {
            let (values, labels) = part(which);
            Ok((map.transform(Vectors::new(&values, pixels.dim)?)?, labels))
        };
        let ((held_out, held_out_labels), (others, others_labels)) = (embedded(1)?, embedded(2)?);
        for (rate, tried) in RATES.into_iter().zip(&mut tried) {
            let held_out = Labeled { vectors: Vectors::new(&held_out, DIMS)?, labels: &held_out_labels };
            let calibration = calibrate(held_out, Metric::Euclidean, rate, "", "")?;
            let (strangers, accepted) = count(&calibration, Vectors::new(&others, DIMS)?, &others_labels)?;
            tried.push(Tried { calibration, strangers, accepted });
        }
        bar.inc(1);
    }
    bar.finish_and_clear();
    let [at_hundredth, at_thousandth] = &tried;
    let count = |tried: &[Tried], is: fn(&Tried) -> bool| tried.iter().filter(|t| is(t)).count();
    let share = |tried: &[Tried], is: fn(&Tried) -> bool| count(tried, is) as f64 / tried.len() as f64;
    let tens = at_hundredth.chunks(FIRST).filter(|ten| count(ten, Tried::is_inside) + 1 >= FIRST).count();
    let mean =
        |tried: &[Tried], of: fn(&Tried) -> f64| tried.iter().map(of).sum::<f64>() / tried.len() as f64;
    let coverage = |name: &str, tried: &[Tried]| {
        let values = [
            Some(100.0 * mean(tried, Tried::rate)),
            Some(100.0 * mean(tried, |t| t.calibration.false_accept_rate_interval.0)),
            Some(100.0 * mean(tried, |t| t.calibration.false_accept_rate_interval.1)),
            Some(share(tried, Tried::is_inside)),
            Some(share(tried, Tried::is_inside_of_independent_pairs)),
        ];
        (name.to_owned(), values.to_vec())
    };
    let samples = at_hundredth[0].calibration.samples;
    Ok(Outcome {
        story: vec![
            "The characters are divided into three parts at random. LDA learns a linear map of the pixels from the first. A threshold is \
             calibrated on the second, at a false-accept rate of 0.01 and at 0.001. On the third, whose characters neither has seen, all \
             pairs of strangers are counted that the threshold accepts. The calibration says beforehand where that rate will lie, 19 \
             times of 20."
                .into(),
            "The last column of the first table is what the same interval would have been worth if it took pairs for independent. They are not: \
             one character that looks like another brings 400 false pairs at once."
                .into(),
            format!(
                "Ten divisions say little of an interval: one that holds 19 times of 20 has fewer than nine of ten inside one time of \
                 twelve. Of the first ten at 0.01, {} lie inside; of the {} tens that follow each other, {tens} have at least nine inside.",
                count(&at_hundredth[..FIRST], Tried::is_inside),
                at_hundredth.len() / FIRST
            ),
        ],
        facts: vec![
            ("data".into(), format!("{} drawings of {classes} characters, {SIDE} × {SIDE} pixels", labels.len())),
            ("a part".into(), format!("a third of the characters, such as {samples} drawings")),
            ("embedding".into(), format!("LDA with a ridge of {RIDGE}, {DIMS} values, Euclidean distance")),
            ("divisions".into(), format!("{DIVISIONS}, seeds {} and following", setting.seed)),
        ],
        findings: vec![
            Finding::at_least(
                "share of divisions whose rate lies inside of the stated interval, at 0.01",
                share(at_hundredth, Tried::is_inside),
                0.9,
            ),
            Finding::at_least(
                "share of divisions whose rate lies inside, at 0.001",
                share(at_thousandth, Tried::is_inside),
                0.9,
            ),
        ],
        tables: vec![
            Table {
                title: "How often the rate on other characters lies inside".into(),
                header: ["wanted rate", "measured, mean, %", "interval from, mean, %", "to, mean, %", "share inside", "share inside if pairs were independent"]
                    .map(str::to_owned)
                    .to_vec(),
                rows: vec![coverage("0.01", at_hundredth), coverage("0.001", at_thousandth)],
            },
            Table {
                title: "The first ten divisions at 0.01".into(),
                header: ["seed", "threshold", "true accepts", "interval from, %", "to, %", "measured on others, %", "inside"]
                    .map(str::to_owned)
                    .to_vec(),
                rows: (setting.seed..).zip(&at_hundredth[..FIRST]).map(|(seed, t)| (seed.to_string(), row(t))).collect(),
            },
        ],
        figures: vec![figure(at_hundredth)],
    })
}

fn row(tried: &Tried) -> Vec<Option<f64>> {
    let calibration = &tried.calibration;
    let (low, high) = calibration.false_accept_rate_interval;
    let inside = if tried.is_inside() { 1.0 } else { 0.0 };
    vec![
        Some(f64::from(calibration.threshold)),
        Some(calibration.true_accept_rate),
        Some(100.0 * low),
        Some(100.0 * high),
        Some(100.0 * tried.rate()),
        Some(inside),
    ]
}

/// The third that each class is in: classes in an order that follows from the seed.
fn thirds(classes: u32, seed: u64) -> Vec<usize> {
    let mut order: Vec<u32> = (0..classes).collect();
    order.sort_by_key(|class| {
        *blake3::hash(&[seed.to_le_bytes().as_slice(), &class.to_le_bytes()].concat()).as_bytes()
    });
    let mut thirds = vec![0; classes as usize];
    order
        .iter()
        .enumerate()
        .for_each(|(place, class)| thirds[*class as usize] = 3 * place / classes as usize);
    thirds
}

/// Pairs of strangers, and those that a calibration accepts.
fn count(calibration: &Calibration, vectors: Vectors<'_>, labels: &[u32]) -> Result<(u64, u64), Failure> {
    let kin = SameLabel::within(labels);
    let of_rows = map_rows(vectors, None, calibration.metric, &kin, |row, _| {
        let strangers = row.strangers().count() as u64;
        (strangers, row.strangers().filter(|(_, score)| calibration.accepts(*score)).count() as u64)
    })?;
    let sum = of_rows.into_iter().fold((0, 0), |sum, row| (sum.0 + row.0, sum.1 + row.1));
    // Each pair was met from both sides.
    Ok((sum.0 / 2, sum.1 / 2))
}

/// What was stated and what came, division by division in order of what came.
fn figure(tried: &[Tried]) -> Picture {
    let mut sorted: Vec<&Tried> = tried.iter().collect();
    sorted.sort_by(|a, b| a.rate().total_cmp(&b.rate()));
    let layer = |name: &str, colour, shape, of: &dyn Fn(&Tried) -> f64| Layer {
        name: name.to_owned(),
        points: sorted.iter().enumerate().map(|(i, t)| [i as f32, of(t) as f32]).collect(),
        colour,
        shape,
    };
    let panel = Panel {
        title: "false-accept rates at 0.01, sorted".into(),
        axes: Some(["division".into(), String::new()]),
        layers: vec![
            layer("stated from", PALETTE[1], Shape::Line, &|t| t.calibration.false_accept_rate_interval.0),
            layer("stated to", PALETTE[2], Shape::Line, &|t| t.calibration.false_accept_rate_interval.1),
            layer("measured on other characters", PALETTE[0], Shape::Line, &Tried::rate),
        ],
    };
    Picture {
        name: "calibration".into(),
        caption: "The stated intervals of all divisions, and what was measured.".into(),
        figure: Figure { panels: vec![panel], columns: 1 },
    }
}
