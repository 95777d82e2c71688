//! `nearkin train`

use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use indicatif::ProgressBar;
use nearkin_data::{Media, SplitRule};
use nearkin_train::{
    EpochReport, Event, MethodConfig, Outcome, Plan, Precision, Recipe, StepReport, Training,
};
use serde_json::json;

use super::Named;
use crate::cli::OnDevice;
use crate::failure::Failure;
use crate::ui::{Ui, bytes, count, duration, table};

pub const DATA_HELP: &str = "\
Data sets:
  photos/                    a folder per class (nested folders make class names like a/b), or images without classes
  mnist/ or *-idx3-ubyte.gz  IDX images with their labels beside them
  cifar/ or *.bin, *.bin.gz  CIFAR-10 or CIFAR-100 binary batches
  photos.zip or zips/        a ZIP, or a folder of ZIPs that together are one set, read without unpacking
  photos.csv                 a manifest: path[,label[,split]], paths relative to the file; other columns
                             are attributes
  sounds/ or sounds.zip      .wav files in place of images, with the same rules; --names reads labels off their names
  series/ or *.ts, *.ts.gz   series of the UCR and UEA archives, _TRAIN and _TEST
  PATH#train                 one split of a set that has several
  PATH#0..7000, PATH#7000..  a range of its samples";

#[derive(Debug, clap::Args)]
#[command(after_help = DATA_HELP)]
pub struct Args {
    /// The images, sounds or series to learn from
    #[arg(long, value_name = "PATH", required_unless_present = "resume")]
    data: Option<PathBuf>,
    #[command(flatten)]
    named: Named,
    /// The run folder to make
    #[arg(long, value_name = "DIR", required_unless_present = "resume")]
    out: Option<PathBuf>,
    /// A method with its default settings: see `nearkin methods`
    #[arg(long, value_name = "NAME", required_unless_present_any = ["resume", "recipe"])]
    method: Option<String>,
    /// A recipe: every setting in a TOML file
    #[arg(long, value_name = "FILE", conflicts_with = "method")]
    recipe: Option<PathBuf>,
    /// Go on with a run that was interrupted
    #[arg(long, value_name = "DIR", conflicts_with_all = ["data", "names", "out", "method", "recipe", "split", "attributes", "epochs", "seed", "precision"])]
    resume: Option<PathBuf>,
    /// How --data is divided into what is trained on and what `eval --part test` measures, in place of the recipe's:
    /// classes=0-40, classes=NAME,NAME, class-fraction=0.5, sample-fraction=0.8, ATTRIBUTE=VALUE,VALUE or, of whole
    /// numbers, ATTRIBUTE=5..
    #[arg(long, value_name = "RULE")]
    split: Option<SplitRule>,
    /// A CSV file of further columns of the samples, by id or path, in place of the recipe's
    #[arg(long, value_name = "FILE")]
    attributes: Option<PathBuf>,
    /// Passes over the data, in place of the recipe's
    #[arg(long, value_name = "N")]
    epochs: Option<usize>,
    /// The seed of every random draw, in place of the recipe's
    #[arg(long, value_name = "N")]
    seed: Option<u64>,
    /// What the network computes in, in place of the recipe's: f32, or bf16 on GPUs that have it
    #[arg(long, value_name = "TYPE")]
    precision: Option<Precision>,
    #[command(flatten)]
    device: OnDevice,
}

impl Args {
    /// A new run with a recipe, as `quickstart` begins one.
    pub fn with_recipe(data: PathBuf, recipe: PathBuf, out: PathBuf) -> Self {
        Self {
            data: Some(data),
            named: Named::default(),
            out: Some(out),
            method: None,
            recipe: Some(recipe),
            resume: None,
            split: None,
            attributes: None,
            epochs: None,
            seed: None,
            precision: None,
            device: OnDevice::cpu(),
        }
    }

    fn recipe(&self) -> Result<Recipe, Failure> {
        let mut recipe = match (&self.recipe, &self.method) {
            (Some(path), _) => Recipe::read(path)?,
            (None, Some(name)) => {
                let known = || MethodConfig::CARDS.map(|c| c.name).join(", ");
                let unknown =
                    || Failure::misuse(format!("unknown method '{name}': choose one of {}", known()));
                Recipe::of(MethodConfig::by_name(name).ok_or_else(unknown)?)
            }
            (None, None) => return Err(Failure::misuse("give --method or --recipe")),
        };
        recipe.names = self.named.names.clone().or(recipe.names);
        recipe.split = self.split.clone().or(recipe.split);
        recipe.attributes = self.attributes.clone().or(recipe.attributes);
        recipe.epochs = self.epochs.unwrap_or(recipe.epochs);
        recipe.seed = self.seed.unwrap_or(recipe.seed);
        recipe.precision = self.precision.unwrap_or(recipe.precision);
        Ok(recipe)
    }
}

pub fn run(args: Args, ui: &Ui) -> Result<(), Failure> {
    let device = args.device.open()?;
    let mut screen = Screen { ui, bar: ProgressBar::hidden(), decoding: None };
    let mut observer = |event: Event<'_>| screen.show(event);
    let training = match (&args.resume, &args.data, &args.out) {
        (Some(folder), _, _) => Training::resume(folder, &device, &mut observer)?,
        (None, Some(data), Some(out)) => Training::begin(args.recipe()?, data, out, &device, &mut observer)?,
        _ => return Err(Failure::misuse("give --data and --out, or --resume")),
    };
    let plan = training.plan()?;
    observer(Event::Planned(&plan));
    let outcome = training.run(&mut observer, &*interruptible()?)?;
    screen.finish(&outcome)
}

/// What the online probe knows, if there is one.
fn probed(accuracy: Option<f64>) -> String {
    accuracy.map_or(String::new(), |share| format!("  probe {share:.3}"))
}

/// A flag that Ctrl-C sets; a second Ctrl-C does not wait.
pub fn interruptible() -> Result<Arc<AtomicBool>, Failure> {
    let stop = Arc::new(AtomicBool::new(false));
    let flag = Arc::clone(&stop);
    let handler = move || {
        if flag.swap(true, Ordering::Relaxed) {
            std::process::exit(130);
        }
        eprintln!(
            "\nstopping after this step; press Ctrl-C again to stop at once and lose the steps since the last checkpoint"
        );
    };
    ctrlc::set_handler(handler).map_err(|e| Failure::failed(format!("cannot handle Ctrl-C: {e}")))?;
    Ok(stop)
}

/// Shows events: bars on a terminal, plain lines elsewhere, objects for `--json`.
struct Screen<'a> {
    ui: &'a Ui,
    bar: ProgressBar,
    decoding: Option<ProgressBar>,
}

impl Screen<'_> {
    fn show(&mut self, event: Event<'_>) {
        match event {
            Event::Preparing { done, total } => {
                let bar = self.decoding.get_or_insert_with(|| self.ui.bar("decoding", total));
                bar.set_position(done as u64);
                if done == total {
                    bar.finish_and_clear();
                }
            }
            Event::Warning(text) => self.ui.warn(text),
            Event::Planned(plan) => self.planned(plan),
            Event::Stepped(report) => self.stepped(report),
            Event::Validating { .. } => {}
            Event::EpochDone(report) => self.epoch_done(report),
        }
    }

    fn planned(&mut self, plan: &Plan) {
        self.ui.print_json(&json!({ "event": "plan", "plan": plan }));
        let classes = if plan.classes > 0 { format!(" of {} classes", plan.classes) } else { String::new() };
        let held_out = match plan.held_out {
            0 => String::new(),
            n => format!("; {} more held out to choose the best epoch", count(n)),
        };
        let skipped = if plan.skipped > 0 { format!("; {} unreadable", plan.skipped) } else { String::new() };
        let views = if plan.views > 1 { format!(" × {} views", plan.views) } else { String::new() };
        let (media, kept) = (plan.media, if plan.media == Media::Images { "pixels" } else { "values" });
        let input = match (plan.media, plan.rate) {
            (Media::Images, _) => {
                let colour = if plan.channels == 1 { "grey" } else { "colour" };
                format!("{0} × {0} {colour}", plan.size)
            }
            (_, Some(rate)) => {
                format!(
                    "{} steps at {} Hz, {} channels",
                    count(plan.size),
                    count(rate as usize),
                    plan.channels
                )
            }
            (_, None) => format!("{} steps, {} channels", count(plan.size), plan.channels),
        };
        let memory = plan.memory.map_or("unknown".into(), |m| format!("about {}", bytes(m)));
        let beside = match plan.probe {
            true => "; a linear probe beside it learns from the labels, the network does not",
            false => "",
        };
        let rows = [
            ["method", &format!("{}{beside}", plan.method)],
            ["data", &format!("{} {media}{classes}{held_out}{skipped}", count(plan.samples))],
            ["network", &format!("{}, {} parameters, {input}", plan.encoder, count(plan.parameters),)],
            ["batch", &format!("{} {media}{views}, {} steps an epoch", plan.batch, plan.steps_per_epoch)],
            ["memory", &format!("{memory}, {} of it {kept}", bytes(plan.pixels))],
            ["device", &format!("{}, {} threads", plan.device, plan.threads)],
            [
                "time",
                &format!(
                    "{} an epoch as measured, {} for the {} left",
                    duration(plan.seconds_per_epoch()),
                    duration(plan.seconds_left()),
                    plan.epochs - plan.steps_done / plan.steps_per_epoch.max(1),
                ),
            ],
            ["run folder", &plan.out.display().to_string()],
        ];
        if !self.ui.json() {
            self.ui.note(format!("{}\n", table(["plan", ""], rows.map(|r| r.map(str::to_owned)), &[])));
        }
        self.bar = self.ui.bar("training", plan.steps_per_epoch * plan.epochs);
        self.bar.set_position(plan.steps_done as u64);
        self.bar.reset_eta();
    }

    fn stepped(&mut self, r: &StepReport) {
        self.ui.print_json(&json!({ "event": "step", "step": r }));
        let figures = format!(
            "epoch {}  loss {:.4}  active {:.0} %  spread {:.2}  rank {:.1}  {:.0} views/s",
            r.epoch,
            r.loss,
            100.0 * r.active,
            r.spread,
            r.effective_rank,
            r.images_per_second
        );
        let triplets = r.triplets.map_or(String::new(), |census| {
            let share = |of: u64| 100.0 * of as f64 / census.triplets().max(1) as f64;
            format!(
                "  hard {:.1} %, semi-hard {:.1} %, easy {:.0} %",
                share(census.hard),
                share(census.semi_hard),
                share(census.easy)
            )
        });
        self.bar.set_message(figures + &probed(r.online_probe_accuracy) + &triplets);
        self.bar.set_position(r.step as u64);
    }

    fn epoch_done(&mut self, r: &EpochReport) {
        self.ui.print_json(&json!({ "event": "epoch", "epoch": r }));
        if self.ui.json() {
            return;
        }
        let validation = r.validation.map_or(String::new(), |v| {
            format!(
                "  held-out precision@1 {:.3}  MAP@R {:.3}",
                v.precision_at_1, v.mean_average_precision_at_r
            )
        });
        let kept = if r.kept && r.validation.is_some() { "  (best so far, kept)" } else { "" };
        // What a faster disk or a cheaper view would save.
        let slow = match 100.0 * r.waited / r.seconds {
            share if share > 10.0 => format!(", {share:.0} % more waiting for data"),
            _ => String::new(),
        };
        let line = format!(
            "epoch {}/{}  loss {:.4}  active {:.0} %{validation}{}  {}{slow}{kept}",
            r.epoch,
            r.epochs,
            r.loss,
            100.0 * r.active,
            probed(r.online_probe_accuracy),
            duration(r.seconds)
        );
        self.bar.suspend(|| self.ui.note(line));
    }

    fn finish(&self, outcome: &Outcome) -> Result<(), Failure> {
        self.bar.finish_and_clear();
        let folder = outcome.folder.display();
        self.ui.print_json(&json!({
            "event": "done", "folder": outcome.folder, "interrupted": outcome.interrupted,
            "steps": outcome.steps, "best": outcome.best, "seconds": outcome.seconds,
        }));
        if outcome.interrupted {
            return Err(Failure::interrupted(format!(
                "saved at step {}; go on with `nearkin train --resume {folder}`",
                outcome.steps
            )));
        }
        let best = outcome.best.map_or(String::new(), |b| format!(", held-out MAP@R {b:.3}"));
        self.ui.print(format!("trained {folder}/model in {}{best}", duration(outcome.seconds)));
        Ok(())
    }
}
