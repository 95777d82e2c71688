//! `nearkin bench`

use std::time::{Duration, Instant};

use burn::optim::momentum::MomentumConfig;
use burn::optim::{GradientsParams, ModuleOptimizer, SgdConfig};
use burn::tensor::{Device, Tensor, TensorData};
use nearkin_data::random::{Purpose, stream};
use nearkin_data::{Image, ViewConfig, Views};
use nearkin_loss::losses::{Margin, NtXent, SupCon, TripletMargin};
use nearkin_loss::{Loss, Sides};
use nearkin_net::{EncoderConfig, Network, NetworkConfig, ResNetConfig};
use nearkin_sweep::{Metric, SameLabel, Vectors, top_k};
use rayon::prelude::*;
use serde::Serialize;

use crate::cli::OnDevice;
use crate::failure::Failure;
use crate::ui::{Ui, table};

/// Runs whose median is reported, and the time that they take, at least; one more goes before to warm up.
const RUNS: usize = 5;
const TIME: Duration = Duration::from_secs(1);

#[derive(Debug, clap::Args)]
pub struct Args {
    /// Measure this alone [default: all]
    #[arg(long, value_enum)]
    only: Option<What>,
    #[command(flatten)]
    device: OnDevice,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum, Serialize)]
#[serde(rename_all = "kebab-case")]
enum What {
    /// Random views of pictures, as the loader makes them
    Views,
    /// Training steps: forward, backward, optimiser
    Step,
    /// Losses with their gradients
    Loss,
    /// Exact nearest neighbours
    Search,
}

/// One line of the table.
#[derive(Debug, Serialize)]
struct Measured {
    what: What,
    case: String,
    /// Milliseconds of one run.
    ms: f64,
    /// `unit` a second.
    per_second: f64,
    unit: &'static str,
    /// Billions of operations a second that products cannot do without, as a part of `product_gflops`.
    share: Option<f64>,
    /// The machine's rate for a square product of 2,048, measured just before.
    product_gflops: f64,
}

pub fn run(args: Args, ui: &Ui) -> Result<(), Failure> {
    let device = args.device.open()?;
    let bench = Bench { product_gflops: product_rate(&device), ui };
    ui.note(format!("square products of 2,048: {:.0} billion operations a second", bench.product_gflops));
    let mut found = Vec::new();
    for what in [What::Views, What::Step, What::Loss, What::Search] {
        if args.only.is_none_or(|only| only == what) {
            match what {
                What::Views => bench.views(&mut found)?,
                What::Step => bench.steps(&device, &mut found)?,
                What::Loss => bench.losses(&mut found)?,
                What::Search => bench.search(&mut found)?,
            }
        }
    }
    let rows = found.iter().map(|m| {
        let share = m.share.map_or(String::new(), |share| format!("{:.0} %", 100.0 * share));
        [m.case.clone(), format!("{:.1} ms", m.ms), format!("{:.0} {}/s", m.per_second, m.unit), share]
    });
    ui.print(table(["what", "median", "rate", "share of the product's rate"], rows, &[1, 2, 3]));
    Ok(())
}

struct Bench<'a> {
    product_gflops: f64,
    ui: &'a Ui,
}

impl Bench<'_> {
    /// Times `run`, which handles so many `unit`s with so many operations in products.
    fn measure(
        &self,
        what: What,
        case: impl Into<String>,
        (count, unit): (usize, &'static str),
        operations: Option<f64>,
        mut run: impl FnMut() -> Result<(), Failure>,
    ) -> Result<Measured, Failure> {
        let case = case.into();
        self.ui.note(format!("measuring {case}"));
        let seconds = median(&mut run)?;
        let measured = Measured {
            what,
            case,
            ms: seconds * 1e3,
            per_second: count as f64 / seconds,
            unit,
            share: operations.map(|operations| operations / seconds / 1e9 / self.product_gflops),
            product_gflops: self.product_gflops,
        };
        self.ui.print_json(&measured);
        Ok(measured)
    }

    fn views(&self, found: &mut Vec<Measured>) -> Result<(), Failure> {
        for (from, to, count) in [(32, 32, 4096), (400, 224, 64)] {
            let pixels = (0..from * from * 3).map(|i| ((i * 2_654_435_761) >> 7) as u8).collect();
            let image = Image::new(from, from, 3, pixels)?;
            let views = Views::new(&ViewConfig::simclr(1.0), to, 3)?;
            let case = format!("SimCLR's views, {from} to {to} pixels");
            found.push(self.measure(What::Views, case, (count, "views"), None, || {
                (0..count).into_par_iter().try_for_each_init(
                    || vec![0.0; views.values()],
                    |out, i| views.apply(&image, &mut stream(1, 0, i as u64, 0, Purpose::View), out),
                )?;
                Ok(())
            })?);
        }
        Ok(())
    }

    fn steps(&self, device: &Device, found: &mut Vec<Measured>) -> Result<(), Failure> {
        let resnet = EncoderConfig::Resnet18(ResNetConfig::default());
        for (encoder, channels, size, batch) in [
            (EncoderConfig::default(), 1, 28, 160),
            (EncoderConfig::default(), 3, 32, 512),
            (resnet, 3, 32, 64),
        ] {
            let case = format!("step of {encoder}, {batch} images of {size} pixels");
            let operations = 6.0 * (batch * encoder.multiply_adds(channels, size)) as f64;
            let config = NetworkConfig { encoder, channels, size, embedding: Some(128), projector: None };
            let device = device.clone().autodiff();
            let network = config.init(&device, 1).map_err(nearkin_train::TrainError::from)?;
            let mut state: Option<(Network, ModuleOptimizer)> = Some((
                network,
                SgdConfig::new().with_momentum(Some(MomentumConfig::new().with_dampening(0.0))).init(),
            ));
            let values: Vec<f32> = (0..batch * channels * size * size)
                .map(|i| (i * 2_654_435_761 % 1009) as f32 / 504.0 - 1.0)
                .collect();
            let images =
                Tensor::<4>::from_data(TensorData::new(values, [batch, channels, size, size]), &device);
            found.push(self.measure(What::Step, case, (batch, "images"), Some(operations), || {
                if let Some((network, mut optimizer)) = state.take() {
                    let loss = network.project(images.clone()).square().mean();
                    let gradients = GradientsParams::from_grads(loss.backward(), &network);
                    let network = optimizer.step(1e-3, network, gradients);
                    // Reading a value waits for devices that run on their own.
                    loss.into_scalar::<f32>();
                    state = Some((network, optimizer));
                }
                Ok(())
            })?);
        }
        Ok(())
    }

    fn losses(&self, found: &mut Vec<Measured>) -> Result<(), Failure> {
        let hinge = TripletMargin::new(Metric::Euclidean, Margin::Hinge(0.2))?;
        let (nt_xent, sup_con) = (NtXent::new(0.1)?, SupCon::new(0.1)?);
        let n = 4096;
        // With how many products of n × n × DIM each cannot do without.
        for (name, classes, products, loss) in [
            ("NT-Xent", 2048, 2.0, &nt_xent as &dyn Loss),
            ("SupCon", 1024, 2.0, &sup_con),
            ("all triplets", 1024, 3.0, &hinge),
        ] {
            let (data, labels) = (points(n), (0..n as u32).map(|i| i % classes as u32).collect::<Vec<u32>>());
            let (vectors, kin) = (Vectors::new(&data, DIM)?, SameLabel::within(&labels));
            let operations = products * 2.0 * (n * n * DIM) as f64;
            let case = format!("{name}, {n} embeddings of {DIM} dimensions");
            found.push(self.measure(What::Loss, case, (n, "embeddings"), Some(operations), || {
                loss.pull(&Sides::within(vectors, &kin))?;
                Ok(())
            })?);
        }
        Ok(())
    }

    fn search(&self, found: &mut Vec<Measured>) -> Result<(), Failure> {
        let data = points(22_000);
        let (queries, references) = data.split_at(2_000 * DIM);
        let (queries, references) = (Vectors::new(queries, DIM)?, Vectors::new(references, DIM)?);
        for (case, queries, share) in [
            ("10 nearest of 20,000 vectors among themselves", references, 0.5),
            ("10 nearest of 20,000 vectors for 2,000 others", queries, 1.0),
        ] {
            let operations = share * 2.0 * (queries.len() * references.len() * DIM) as f64;
            let count = (queries.len(), "queries");
            found.push(self.measure(What::Search, case, count, Some(operations), || {
                top_k(queries, references, Metric::Dot, 10, true)?;
                Ok(())
            })?);
        }
        Ok(())
    }
}

/// Dimensions of embeddings.
const DIM: usize = 128;

/// Values that lie evenly around zero.
fn points(n: usize) -> Vec<f32> {
    (0..n * DIM).map(|i| (i * 2_654_435_761 % 1_000_003) as f32 / 500_001.0 - 1.0).collect()
}

fn median(run: &mut impl FnMut() -> Result<(), Failure>) -> Result<f64, Failure> {
    run()?;
    let (begun, mut seconds) = (Instant::now(), Vec::with_capacity(RUNS));
    while seconds.len() < RUNS || begun.elapsed() < TIME {
        let start = Instant::now();
        run()?;
        seconds.push(start.elapsed().as_secs_f64());
    }
    seconds.sort_by(f64::total_cmp);
    Ok(seconds[seconds.len() / 2])
}

/// Billions of operations a second in a square product of 2,048.
fn product_rate(device: &Device) -> f64 {
    const SIDE: usize = 2048;
    let square = Tensor::<2>::full([SIDE, SIDE], 0.5, device);
    let run = &mut || {
        square.clone().matmul(square.clone()).slice([0..1, 0..1]).into_scalar::<f32>();
        Ok(())
    };
    let seconds = median(run).unwrap_or(f64::INFINITY);
    2.0 * (SIDE as f64).powi(3) / seconds / 1e9
}
