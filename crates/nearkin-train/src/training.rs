//! The loop.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use burn::module::Module;
use burn::optim::ModuleOptimizer;
use burn::tensor::{Device, Tensor};
use nearkin_data::{Dataset, KinGraph, Loader, Media, Normalize, Sampler, SignalLoader, Skipped, Summary};
use nearkin_eval::{Collapse, Labeled, RetrievalOptions, retrieval, spectrum};
use nearkin_loss::memory::MemoryError;
use nearkin_loss::miners::Census;
use nearkin_loss::{Figures, LossError, Sides};
use nearkin_net::weights::import_backbone;
use nearkin_net::{ContextConfig, EncoderConfig, Network, NetworkConfig, PatchGridConfig};
use nearkin_sweep::Vectors;

use crate::checkpoint::{Checkpoints, State};
use crate::device_views::{DeviceViews, MOST_BYTES};
use crate::devices;
use crate::error::TrainError;
use crate::feed::{DeviceFeed, Fed, Feed};
use crate::files::restore;
use crate::hold_out;
use crate::kept::Kept;
use crate::kin_rule::KinRule;
use crate::learner::{Following, Learner, Rates};
use crate::ledger::{Ledger, Settled};
use crate::memory;
use crate::methods::{Batch, BatchKin, Clock, Method, MethodConfig, Objective, Selection, TrainSet};
use crate::model::{NetworkCard, NetworkModel, embed};
use crate::online_probe::OnlineProbe;
use crate::progress::{EpochReport, Event, Plan, StepReport, Validation};
use crate::recipe::Recipe;
use crate::run::{Logged, Run, RunFile};
use crate::samples::{Pipeline, Samples};
use crate::signals;
use crate::springs::{Cast, Moment, Recorder, springs};
use crate::step::{Gradient, gradient};

/// Batches that the loader makes ahead of the step.
const AHEAD: usize = 3;
/// Reports an epoch: enough for a curve, too few to cost time.
const REPORTS_PER_EPOCH: usize = 20;
/// A long epoch is saved in its middle this often.
const SAVE_EVERY: Duration = Duration::from_secs(600);
/// The largest input side chosen without being asked.
const USUAL_SIZE: usize = 64;

/// A training that is ready to run.
pub struct Training {
    run: Run,
    file: RunFile,
    method: Box<dyn Method>,
    data: Samples,
    /// Samples to train on and to validate with, as numbers in `data`.
    train: Vec<usize>,
    held_out: Vec<usize>,
    labels: Option<Vec<u32>>,
    /// Kin among the samples of `data`, where labels do not say it.
    graph: Option<KinGraph>,
    sampler: Box<dyn Sampler>,
    pipeline: Pipeline,
    /// The images on a GPU, if they fit and all views are of one size.
    device_views: Option<Arc<DeviceViews>>,
    learner: Learner,
    optimizer: ModuleOptimizer,
    /// The method's memory.
    kept: Kept,
    state: State,
    /// Losses that are not in `state` yet.
    ledger: Ledger,
    /// The collapse that was warned of last.
    alarmed: Option<Collapse>,
    /// Shows a map on a plane on its way, for losses of pairs.
    recorder: Option<Recorder>,
    device: Device,
}

/// How a training ended.
#[derive(Debug, Clone, PartialEq)]
pub struct Outcome {
    /// The run folder.
    pub folder: PathBuf,
    /// Whether it stopped before its last epoch because it was asked to.
    pub interrupted: bool,
    /// Steps done.
    pub steps: usize,
    /// The validation score of the kept model, for methods that choose by one.
    pub best: Option<f64>,
    /// Seconds of training, over all sittings.
    pub seconds: f64,
}

impl Training {
    /// Begins a run: reads the data, settles what the recipe leaves open, makes the run folder.
    ///
    /// # Errors
    /// Before anything is written: when the recipe, the data or the folder will not do.
    pub fn begin(
        recipe: Recipe,
        data: &Path,
        out: &Path,
        device: &Device,
        observer: &mut dyn FnMut(Event<'_>),
    ) -> Result<Self, TrainError> {
        recipe.check()?;
        Run::check_free(out)?;
        let (dataset, notes) = recipe.open(data)?;
        notes.into_iter().for_each(|note| observer(Event::Warning(note)));
        Self::begin_with(recipe, &dataset, absolute(data), out, device, observer)
    }

    /// Begins a run on a data set that is open: one that a program made, or a part of another. Such a run cannot be resumed unless
    /// the data set's path alone opens it again.
    ///
    /// # Errors
    /// As [`begin`](Self::begin).
    pub fn begin_on(
        recipe: Recipe,
        dataset: &Dataset,
        out: &Path,
        device: &Device,
        observer: &mut dyn FnMut(Event<'_>),
    ) -> Result<Self, TrainError> {
        recipe.check()?;
        Run::check_free(out)?;
        Self::begin_with(recipe, dataset, dataset.path().to_owned(), out, device, observer)
    }

    fn begin_with(
        recipe: Recipe,
        dataset: &Dataset,
        path: PathBuf,
        out: &Path,
        device: &Device,
        observer: &mut dyn FnMut(Event<'_>),
    ) -> Result<Self, TrainError> {
        let dataset = recipe.training_part(dataset)?;
        let recipe = resolve(recipe, &dataset.describe())?;
        let prepared = prepare(&dataset, &recipe, observer)?;
        let graph = kin_graph(&recipe, &prepared)?;
        let file = RunFile {
            nearkin: env!("CARGO_PKG_VERSION").to_owned(),
            data: path,
            fingerprint: dataset.fingerprint(),
            samples: prepared.len(),
            classes: prepared.dataset().present_classes(),
            kin: graph.as_ref().map(KinGraph::fingerprint),
            recipe,
        };
        let mut training = Self::assemble(file, prepared, graph, device, |file| Run::create(out, file))?;
        if let Some(path) = training.file.recipe.backbone.clone() {
            import_backbone(&mut training.learner.network.encoder, &path)?;
        }
        // From here on a run that is killed can be resumed.
        let Training { run, state, learner, optimizer, kept, .. } = &training;
        Checkpoints::of(run.folder()).save(state, learner, optimizer, kept)?;
        if let Some(recorder) = &training.recorder {
            recorder.begin(&training.cast(&recorder.samples))?;
        }
        training.record_springs()?;
        training.warn(observer);
        Ok(training)
    }

    /// Goes on with a run from its newest checkpoint.
    ///
    /// # Errors
    /// When the folder is no run, its data has changed, or its checkpoint is damaged or missing.
    pub fn resume(
        folder: &Path,
        device: &Device,
        observer: &mut dyn FnMut(Event<'_>),
    ) -> Result<Self, TrainError> {
        let (run, file) = Run::open(folder)?;
        restore(&run.model())?;
        let dataset = file.recipe.training_part(&file.recipe.open(&file.data)?.0)?;
        let found = dataset.fingerprint();
        if found != file.fingerprint {
            let (path, wanted) = (file.data.clone(), file.fingerprint.clone());
            return Err(TrainError::DataChanged { path, found, wanted });
        }
        let prepared = prepare(&dataset, &file.recipe, observer)?;
        let graph = kin_graph(&file.recipe, &prepared)?;
        let found = graph.as_ref().map(KinGraph::fingerprint);
        if found != file.kin {
            let path = match &file.recipe.kin {
                Some(KinRule::Pairs(path)) => path.clone(),
                _ => file.data.clone(),
            };
            let [found, wanted] = [found, file.kin].map(Option::unwrap_or_default);
            return Err(TrainError::DataChanged { path, found, wanted });
        }
        let mut training = Self::assemble(file, prepared, graph, device, |_| Ok(run))?;
        let Training { learner, optimizer, .. } = training;
        let (state, learner, optimizer, kept) = Checkpoints::of(folder).load(learner, optimizer)?;
        training.run.rewind(state.step)?;
        if let Some(recorder) = &training.recorder {
            recorder.rewind(folder, state.step)?;
        }
        (training.state, training.learner, training.optimizer, training.kept) =
            (state, learner, optimizer, kept);
        training.warn(observer);
        Ok(training)
    }

    fn assemble(
        file: RunFile,
        data: Samples,
        graph: Option<KinGraph>,
        device: &Device,
        run: impl FnOnce(&RunFile) -> Result<Run, TrainError>,
    ) -> Result<Self, TrainError> {
        let recipe = &file.recipe;
        recipe.precision.check(device)?;
        let method = recipe.method.build()?;
        if matches!(method.objective(), Objective::Stateful(_)) {
            let name = recipe.method.card().name;
            if recipe.accumulate > 1 {
                let wanted = format!("1: {name} keeps more than a batch, which cannot be taken in parts");
                return Err(TrainError::setting("accumulate", recipe.accumulate, wanted));
            }
            if !recipe.precision.is_f32() {
                return Err(TrainError::setting("precision", "bf16", format!("f32 for {name}")));
            }
        }
        let network_config = network_config(recipe);
        let data = match method.patches() {
            Some(patches) => data.patches(patches, &network_config, recipe.seed)?,
            None => data,
        };
        let labels = data.dataset().labels();
        if recipe.probe && labels.is_none() {
            let wanted =
                "left out: the probe learns from labels, and this data does not have one for every sample";
            return Err(TrainError::setting("probe", true, wanted));
        }
        let (train, held_out) = match &labels {
            // The kin of a held-out sample would be without it.
            Some(labels) if method.selection() == Selection::HeldOut && graph.is_none() => {
                hold_out::split(labels, recipe.hold_out, recipe.seed)
            }
            _ => ((0..data.len()).collect(), Vec::new()),
        };
        let train_labels: Option<Vec<u32>> =
            labels.as_ref().map(|labels| train.iter().map(|&i| labels[i]).collect());
        let set = TrainSet { len: train.len(), labels: train_labels.as_deref(), graph: graph.as_ref() };
        let sampler = method.sampler(set)?;
        let pipeline = Pipeline::new(&data, recipe, method.as_ref(), &network_config)?;
        // On the CPU, the loader makes views ahead of the step.
        let device_views = match &pipeline {
            Pipeline::Images { data, views, each }
                if device.clone().inner() != Device::flex()
                    && each.iter().all(|one| one.size() == views.size()) =>
            {
                DeviceViews::load(data, &train, Arc::clone(views), device, MOST_BYTES)?.map(Arc::new)
            }
            _ => None,
        };
        let device = device.clone().autodiff();
        let learner = learner(recipe, method.as_ref(), class_count(&labels), train.len(), &device)?;
        let kept = remembered(method.as_ref(), set, &learner, recipe.seed)?;
        let optimizer = recipe.optimizer.build()?;
        let run = run(&file)?;
        let on_a_plane = method.force(0.0, true).is_some() && network_config.embedding_dim() == 2;
        let recorder = on_a_plane.then(|| {
            let first = sampler.batches(recipe.seed, 0).into_iter().next().unwrap_or_default();
            let first: Vec<usize> = first.into_iter().map(|i| train[i]).collect();
            Recorder::new(run.folder(), &first, sampler.batches_per_epoch() * file.recipe.epochs)
        });
        Ok(Self {
            run,
            method,
            data,
            train,
            held_out,
            labels,
            graph,
            sampler,
            pipeline,
            device_views,
            learner,
            optimizer,
            kept,
            state: State::default(),
            ledger: Ledger::default(),
            alarmed: None,
            recorder,
            device,
            file,
        })
    }

    fn warn(&self, observer: &mut dyn FnMut(Event<'_>)) {
        for warning in self.data.dataset().warnings() {
            observer(Event::Warning(warning.clone()));
        }
        let skipped = self.skipped();
        if !skipped.is_empty() {
            let listed: Vec<String> = skipped.iter().take(5).map(ToString::to_string).collect();
            let more = skipped.len() - listed.len();
            let more = if more > 0 { format!("; and {more} more") } else { String::new() };
            let (count, media) = (skipped.len(), self.data.dataset().media());
            observer(Event::Warning(format!(
                "skipped {count} unreadable {media}: {}{more}",
                listed.join("; ")
            )));
        }
        let selects = self.method.selection() == Selection::HeldOut && self.graph.is_none();
        let wanted = selects && self.file.recipe.hold_out > 0.0;
        if wanted && self.held_out.is_empty() {
            observer(Event::Warning(
                "no class can spare samples to hold out, so the last epoch is kept rather than the best"
                    .into(),
            ));
        }
    }

    /// The samples that could not be read.
    pub fn skipped(&self) -> &[Skipped] {
        self.data.skipped()
    }

    /// What is about to be trained. Two steps on a throwaway copy of the network measure its cost.
    ///
    /// # Errors
    /// When a batch cannot be made, or a loss taken.
    pub fn plan(&self) -> Result<Plan, TrainError> {
        let recipe = &self.file.recipe;
        let config = network_config(recipe);
        let (method, classes) = (self.method.as_ref(), class_count(&self.labels));
        let mut learner = learner(recipe, method, classes, self.train.len(), &self.device)?;
        let mut kept = self.kept.clone();
        let mut optimizer = recipe.optimizer.build()?;
        let first = self.batches(0).into_iter().next().unwrap_or_default();
        let samples = first.len();
        let mut seconds_per_step = 0.0;
        // The first step also warms caches and allocators.
        let mut feed = self.feed(vec![first; 2], 0, 0)?;
        for _ in 0..2 {
            let start = Instant::now();
            if let Some(batch) = feed.next() {
                let batch = batch?;
                let found = self.gradient_of(&learner, &mut kept, &batch, self.clock())?;
                let (rates, following) = (self.rates(1.0), self.following());
                learner.probe = self.probed(&learner, &batch).map(|(probe, _)| probe);
                learner = learner.updated(&mut optimizer, rates, found.gradients, following);
                let done = self.device.clone().inner().sync();
                done.map_err(|e| LossError::Read(format!("{e:?}")))?;
                seconds_per_step = start.elapsed().as_secs_f64();
            }
        }
        Ok(Plan {
            out: self.run.folder().to_owned(),
            data: self.file.data.clone(),
            method: recipe.method.card().name.to_owned(),
            encoder: recipe.encoder.to_string(),
            parameters: self.learner.num_params() - self.learner.probe.as_ref().map_or(0, Module::num_params),
            samples: self.train.len(),
            classes: if self.labels.is_some() { self.file.classes.len() } else { 0 },
            probe: recipe.probe,
            held_out: self.held_out.len(),
            skipped: self.skipped().len(),
            media: self.data.dataset().media(),
            rate: recipe.signal.as_ref().and_then(|signal| signal.rate),
            size: config.size,
            channels: config.channels,
            batch: samples,
            views: self.method.views(),
            steps_per_epoch: self.sampler.batches_per_epoch(),
            epochs: recipe.epochs,
            steps_done: self.state.step,
            seconds_per_step,
            memory: memory::peak(),
            pixels: self.data.bytes(),
            device: devices::name(&self.device.clone().inner()),
            threads: rayon::current_num_threads(),
        })
    }

    /// Trains until the last epoch is done, or until `stop` is set: then it saves where it stands and returns.
    ///
    /// # Errors
    /// When an image, a checkpoint or the model cannot be read or written, or the loss is no longer a number. The run
    /// folder then still holds its last checkpoint.
    pub fn run(
        mut self,
        observer: &mut dyn FnMut(Event<'_>),
        stop: &AtomicBool,
    ) -> Result<Outcome, TrainError> {
        let epochs = self.file.recipe.epochs;
        let checkpoints = Checkpoints::of(self.run.folder());
        let mut saved_at = Instant::now();
        while self.state.epoch < epochs {
            let (first, per_epoch) = (self.state.batch, self.sampler.batches_per_epoch());
            let mut batches = self.feed(self.batches(self.state.epoch), self.state.epoch, first)?;
            let mut pace = Pace::new();
            loop {
                let asked = Instant::now();
                let Some(batch) = batches.next() else { break };
                self.state.waited += asked.elapsed().as_secs_f64();
                if stop.load(Ordering::Relaxed) {
                    self.save(&checkpoints)?;
                    return Ok(self.outcome(true));
                }
                let start = Instant::now();
                self = self.step(batch?, per_epoch, &mut pace, observer)?;
                self.state.seconds += start.elapsed().as_secs_f64();
                if saved_at.elapsed() > SAVE_EVERY {
                    self.save(&checkpoints)?;
                    saved_at = Instant::now();
                }
            }
            self.end_epoch(per_epoch, observer)?;
            if self.state.epoch.is_multiple_of(self.file.recipe.validate_every) || self.state.epoch == epochs
            {
                self.save(&checkpoints)?;
                saved_at = Instant::now();
            }
        }
        Ok(self.outcome(false))
    }

    /// Saves where the run stands, unless one of its losses turns out to be no number.
    fn save(&mut self, checkpoints: &Checkpoints) -> Result<(), TrainError> {
        self.settle()?;
        checkpoints.save(&self.state, &self.learner, &self.optimizer, &self.kept)
    }

    fn outcome(&self, interrupted: bool) -> Outcome {
        Outcome {
            folder: self.run.folder().to_owned(),
            interrupted,
            steps: self.state.step,
            best: self.state.best,
            seconds: self.state.seconds,
        }
    }

    /// The batches of an epoch, as sample numbers in `data`.
    fn batches(&self, epoch: usize) -> Vec<Vec<usize>> {
        let batches = self.sampler.batches(self.file.recipe.seed, epoch as u64);
        batches.into_iter().map(|batch| batch.into_iter().map(|i| self.train[i]).collect()).collect()
    }

    fn feed(&self, batches: Vec<Vec<usize>>, epoch: usize, first: usize) -> Result<Feed, TrainError> {
        let (count, seed) = (self.method.views(), self.file.recipe.seed);
        let epoch = self.method.views_return().map_or(epoch as u64, |after| epoch as u64 % after);
        let threads = rayon::current_num_threads();
        let (data, views) = match &self.pipeline {
            Pipeline::Signals { data, views, .. } => {
                let (data, views) = (Arc::clone(data), (Arc::clone(views), count));
                let loader = SignalLoader::start(data, views, batches, seed, epoch, first, threads, AHEAD)?;
                return Ok(Feed::Signals { loader, device: self.device.clone() });
            }
            Pipeline::Images { data, each, .. } => (Arc::clone(data), each.clone()),
        };
        if let Some(made_by) = &self.device_views {
            let mut batches = batches.into_iter();
            batches.by_ref().take(first).for_each(drop);
            let made_by = Arc::clone(made_by);
            return Ok(Feed::Device(DeviceFeed { made_by, data, views, batches, seed, epoch }));
        }
        let loader = Loader::start(data, views, batches, seed, epoch, first, threads, AHEAD)?;
        Ok(Feed::Host { loader, device: self.device.clone() })
    }

    fn gradient_of(
        &self,
        learner: &Learner,
        kept: &mut Kept,
        Fed { samples, labels, crops }: &Fed,
        clock: Clock,
    ) -> Result<Gradient, TrainError> {
        let (method, recipe) = (self.method.as_ref(), &self.file.recipe);
        let kin = BatchKin { samples, labels, graph: self.graph.as_ref() };
        let batch = Batch { crops: crops.clone(), kin, clock, seed: recipe.seed, of: self.train.len() };
        gradient(method, learner, kept, batch, recipe.accumulate, recipe.precision)
    }

    /// The online probe, if there is one, classifies the first view of each sample by the features that the model would have now, and
    /// learns from it: the probe then, and how many were right. Nothing else of the learner changes.
    fn probed(
        &self,
        learner: &Learner,
        Fed { samples, labels, crops }: &Fed,
    ) -> Option<(OnlineProbe, Tensor<1>)> {
        let probe = learner.probe.as_ref()?;
        let views = crops[0].clone().narrow(0, 0, samples.len()).without_autodiff();
        let network = self.network(learner).valid();
        let parts = views.chunk(self.file.recipe.accumulate, 0).into_iter().map(|part| network.embed(part));
        Some(probe.step(Tensor::cat(parts.collect(), 0), labels, self.state.step + 1))
    }

    /// Where the run stands.
    fn clock(&self) -> Clock {
        let per_epoch = self.sampler.batches_per_epoch();
        Clock { step: self.state.step, steps: per_epoch * self.file.recipe.epochs, per_epoch }
    }

    /// Learning rates, where the schedule says so much of the peak.
    fn rates(&self, factor: f64) -> Rates {
        let (peak, method) = (self.file.recipe.optimizer.lr(), self.method.as_ref());
        let head = match method.objective() {
            Objective::OfBatch(_) => factor,
            Objective::Stateful(method) => method.head_rate(factor),
        };
        let network = peak * factor;
        Rates { network, proxies: network * method.proxy_rate(), head: peak * head }
    }

    /// How the twin follows after the step of now.
    fn following(&self) -> Option<Following> {
        match self.method.objective() {
            Objective::Stateful(method) if method.follows_head().is_some() => {
                Some(method.following(self.clock()))
            }
            _ => None,
        }
    }

    /// What becomes the model.
    fn network<'a>(&self, learner: &'a Learner) -> &'a Network {
        match self.method.objective() {
            Objective::OfBatch(_) => &learner.network,
            Objective::Stateful(method) => method.model(learner),
        }
    }

    fn step(
        mut self,
        fed: Fed,
        per_epoch: usize,
        pace: &mut Pace,
        observer: &mut dyn FnMut(Event<'_>),
    ) -> Result<Self, TrainError> {
        let steps = per_epoch * self.file.recipe.epochs;
        let views: usize = fed.crops.iter().map(|crops| crops.dims()[0]).sum();
        let mut kept = std::mem::take(&mut self.kept);
        let found = self.gradient_of(&self.learner, &mut kept, &fed, self.clock());
        self.kept = kept;
        let found = match found {
            // What a memory refuses are vectors of a network whose loss is no number either.
            Err(TrainError::Loss(LossError::Memory(MemoryError::NotFinite { .. }))) => {
                return Err(self.not_finite(f64::NAN, self.state.step + 1, &fed.samples));
            }
            found => found?,
        };
        let (probe, right) = self.probed(&self.learner, &fed).unzip();
        self.learner.probe = probe;
        let Fed { samples, labels, .. } = fed;
        self.ledger.enter(self.state.step + 1, &samples, found.loss, right);
        let interval = per_epoch.div_ceil(REPORTS_PER_EPOCH);
        let done = self.state.batch + 1;
        let report = done.is_multiple_of(interval) || done == per_epoch;
        let latest = if report || self.ledger.is_due() { self.settle()? } else { None };
        let recipe = &self.file.recipe;
        let rates = self.rates(recipe.schedule.factor(self.state.step, per_epoch, steps));
        let (lr, epoch, following) = (rates.network, self.state.epoch + 1, self.following());
        self.learner = self.learner.updated(&mut self.optimizer, rates, found.gradients, following);
        self.state.step += 1;
        self.state.batch = done;
        self.record_springs()?;
        pace.views += views;
        if let Some(latest) = latest.filter(|_| report) {
            let rate = pace.lap();
            let views_left = (steps - self.state.step) * views;
            let shown = self.method.shown(&self.learner.network, found.encoded, samples.len());
            let [_, dim] = shown.dims();
            let encoded: Vec<f32> = shown.into_data().convert::<f32>().try_to_vec().unwrap_or_default();
            let encoded = Vectors::new(&encoded, dim)?;
            let spectrum = spectrum(encoded)?;
            // A network that has seen nothing yet has not collapsed, and classes may lie in few directions.
            let judged = epoch > 1 && !self.file.recipe.method.card().needs_labels;
            let collapse = judged.then(|| Collapse::of(&spectrum, encoded.len(), dim)).flatten();
            if let Some(kind) = collapse.filter(|kind| self.alarmed != Some(*kind)) {
                observer(Event::Warning(format!("step {}: {}", self.state.step, kind.advice())));
                self.alarmed = Some(kind);
            }
            let batch = BatchKin { samples: &samples, labels: &labels, graph: self.graph.as_ref() };
            let triplets = match self.method.triplets() {
                Some((metric, margin)) => {
                    Some(Census::of(&Sides::within(encoded, &*batch.relation()?), metric, margin)?)
                }
                None => None,
            };
            let found = springs(self.method.as_ref(), encoded.data(), dim, &*batch.relation()?);
            let forces = found.map(|(forces, ..)| forces);
            let report = StepReport {
                step: self.state.step,
                steps,
                epoch,
                loss: latest.value,
                lr,
                active: part_active(latest),
                spread: spectrum.spread,
                effective_rank: spectrum.effective_rank,
                collapse,
                online_probe_accuracy: self.state.probe_accuracy(),
                triplets,
                forces,
                images_per_second: rate,
                seconds_left: views_left as f64 / rate,
            };
            observer(Event::Stepped(&report));
            self.run.log(&Logged::Step(report))?;
        }
        Ok(self)
    }

    /// Where the cast stands after this step and what pulls at it, if this is a moment to be recorded.
    fn record_springs(&self) -> Result<(), TrainError> {
        let Some(recorder) = self.recorder.as_ref().filter(|recorder| recorder.is_due(self.state.step))
        else {
            return Ok(());
        };
        let (network, card) = (self.learner.network.valid(), self.card(0));
        let places = embed(&network, &card, &self.device, &self.data, &recorder.samples, &mut |_, _| {})?;
        let labels: Vec<u32> = match &self.labels {
            Some(labels) => recorder.samples.iter().map(|&i| labels[i]).collect(),
            None => vec![u32::MAX; recorder.samples.len()],
        };
        let cast = BatchKin { samples: &recorder.samples, labels: &labels, graph: self.graph.as_ref() };
        let found = springs(self.method.as_ref(), &places, card.dimension, &*cast.relation()?);
        let Some((forces, attracting, repelling)) = found else { return Ok(()) };
        recorder.record(&Moment {
            step: self.state.step,
            places: places.chunks_exact(2).map(|place| [place[0], place[1]]).collect(),
            forces,
            attracting,
            repelling,
        })
    }

    fn cast(&self, samples: &[usize]) -> Cast {
        let ids = samples.iter().map(|&i| self.data.dataset().sample(i).id.clone()).collect();
        let labels = self.labels.as_ref().map_or(Vec::new(), |all| samples.iter().map(|&i| all[i]).collect());
        Cast { ids, labels, classes: self.data.dataset().classes().to_vec() }
    }

    /// Reads the losses of all steps so far into the epoch's sums; the latest, if there was any to read.
    fn settle(&mut self) -> Result<Option<Figures>, TrainError> {
        let mut latest = None;
        for Settled { step, samples, figures, right } in self.ledger.settle()? {
            if !figures.value.is_finite() {
                return Err(self.not_finite(figures.value, step, &samples));
            }
            self.state.loss_sum += figures.value;
            self.state.active_sum += part_active(figures);
            if let Some(right) = right {
                self.state.known += right;
                self.state.probed += samples.len();
            }
            latest = Some(figures);
        }
        Ok(latest)
    }

    fn not_finite(&self, loss: f64, step: usize, samples: &[usize]) -> TrainError {
        let ids = samples.iter().take(5).map(|&i| self.data.dataset().sample(i).id.as_str());
        TrainError::NonFinite {
            loss,
            step,
            method: self.file.recipe.method.card().name.to_owned(),
            samples: ids.collect::<Vec<_>>().join(", "),
        }
    }

    /// Validates, keeps the model if it is the best, and moves to the next epoch.
    fn end_epoch(&mut self, per_epoch: usize, observer: &mut dyn FnMut(Event<'_>)) -> Result<(), TrainError> {
        let (epochs, every) = (self.file.recipe.epochs, self.file.recipe.validate_every);
        let done = self.state.epoch + 1;
        let due = done.is_multiple_of(every) || done == epochs;
        let validation = if due { self.validate(observer)? } else { None };
        let score = validation.map(|v| v.mean_average_precision_at_r);
        let kept = due && score.is_none_or(|score| self.state.best.is_none_or(|best| score > best));
        if kept {
            self.state.best = score;
            NetworkModel::save(&self.run.model(), &self.card(done), &self.network(&self.learner).valid())?;
        }
        let report = EpochReport {
            epoch: done,
            epochs,
            step: self.state.step,
            loss: self.state.loss_sum / per_epoch as f64,
            active: self.state.active_sum / per_epoch as f64,
            validation,
            online_probe_accuracy: self.state.probe_accuracy(),
            kept,
            seconds: self.state.seconds,
            waited: self.state.waited,
        };
        observer(Event::EpochDone(&report));
        self.run.log(&Logged::Epoch(report))?;
        let of_epoch = State { probed: 0, known: 0, loss_sum: 0.0, active_sum: 0.0, ..self.state.clone() };
        self.state = State { epoch: done, batch: 0, ..of_epoch };
        Ok(())
    }

    fn validate(&self, observer: &mut dyn FnMut(Event<'_>)) -> Result<Option<Validation>, TrainError> {
        let Some(labels) = self.labels.as_ref().filter(|_| !self.held_out.is_empty()) else {
            return Ok(None);
        };
        let labels: Vec<u32> = self.held_out.iter().map(|&i| labels[i]).collect();
        let card = self.card(0);
        let mut progress = |done, total| observer(Event::Validating { done, total });
        let network = self.network(&self.learner).valid();
        let vectors = embed(&network, &card, &self.device, &self.data, &self.held_out, &mut progress)?;
        let vectors = Vectors::new(&vectors, card.dimension)?;
        let options = RetrievalOptions { metric: card.metric, ..RetrievalOptions::default() };
        let found = retrieval(Labeled { vectors, labels: &labels }, None, &options)?;
        Ok(Some(Validation {
            precision_at_1: found.precision_at_1,
            mean_average_precision_at_r: found.mean_average_precision_at_r,
        }))
    }

    fn card(&self, epoch: usize) -> NetworkCard {
        let network = network_config(&self.file.recipe);
        let needs_labels = self.file.recipe.method.card().needs_labels;
        NetworkCard {
            nearkin: env!("CARGO_PKG_VERSION").to_owned(),
            method: self.file.recipe.method.card().name.to_owned(),
            dimension: network.embedding_dim(),
            metric: self.method.metric(),
            epoch,
            data: self.file.fingerprint.clone(),
            classes: if needs_labels { self.file.classes.clone() } else { Vec::new() },
            network,
            normalize: match &self.pipeline {
                Pipeline::Images { views, .. } => views.config().normalize.clone(),
                Pipeline::Signals { .. } => Normalize::default(),
            },
            signal: match &self.pipeline {
                Pipeline::Images { .. } => None,
                Pipeline::Signals { input, .. } => Some(input.clone()),
            },
        }
    }
}

/// What a recipe trains, as it begins.
fn learner(
    recipe: &Recipe,
    method: &dyn Method,
    classes: usize,
    samples: usize,
    device: &Device,
) -> Result<Learner, TrainError> {
    let config = network_config(recipe);
    let learner = Learner::new(&config, method, classes, samples, recipe.seed, device)?;
    let probe = recipe.probe.then(|| OnlineProbe::new(config.embedding_dim(), classes, device));
    Ok(Learner { probe, ..learner })
}

/// The method's memory as it begins.
fn remembered(
    method: &dyn Method,
    set: TrainSet<'_>,
    learner: &Learner,
    seed: u64,
) -> Result<Kept, TrainError> {
    Ok(match method.objective() {
        Objective::OfBatch(_) => Kept::default(),
        Objective::Stateful(method) => method.remember(set, learner.network.projection_dim(), seed)?,
    })
}

/// How many classes there are room for.
fn class_count(labels: &Option<Vec<u32>>) -> usize {
    labels.iter().flatten().max().map_or(0, |largest| *largest as usize + 1)
}

/// The part of the terms that pulled.
fn part_active(figures: Figures) -> f64 {
    figures.active as f64 / figures.terms.max(1) as f64
}

/// Views a second between reports.
struct Pace {
    since: Instant,
    views: usize,
}

impl Pace {
    fn new() -> Self {
        Self { since: Instant::now(), views: 0 }
    }

    fn lap(&mut self) -> f64 {
        let rate = self.views as f64 / self.since.elapsed().as_secs_f64().max(1e-9);
        *self = Self::new();
        rate
    }
}

fn prepare(
    dataset: &Dataset,
    recipe: &Recipe,
    observer: &mut dyn FnMut(Event<'_>),
) -> Result<Samples, TrainError> {
    let mut progress = |done, total| observer(Event::Preparing { done, total });
    Samples::prepare(dataset, recipe, &network_config(recipe), &mut progress)
}

/// The kin of the samples, where the recipe says them by a rule.
fn kin_graph(recipe: &Recipe, data: &Samples) -> Result<Option<KinGraph>, TrainError> {
    Ok(recipe.kin.as_ref().map(|rule| rule.graph(data.dataset())).transpose()?)
}

/// Fills in what the recipe leaves to the data and the method.
pub(crate) fn resolve(recipe: Recipe, data: &Summary) -> Result<Recipe, TrainError> {
    signals::check_media(&recipe, data.media)?;
    let recipe = if data.media.is_signal() { signals::resolve(recipe, data) } else { of_images(recipe)? };
    let usual = data.sizes.first().map_or(USUAL_SIZE, |s| s.width.min(s.height));
    let size = recipe.size.unwrap_or(usual.clamp(8, USUAL_SIZE));
    let colour = data.channels.iter().any(|c| c.channels == 3);
    let views = || recipe.method.build().ok().map(|method| method.default_views());
    let images = data.media == Media::Images;
    Ok(Recipe {
        size: images.then_some(size),
        channels: Some(recipe.channels.unwrap_or(if colour { 3 } else { 1 })),
        embedding: Some(recipe.embedding.unwrap_or(recipe.method.embedding())),
        attributes: recipe.attributes.as_deref().map(absolute),
        kin: recipe.kin.clone().map(|rule| match rule {
            KinRule::Pairs(path) => KinRule::Pairs(absolute(&path)),
            rule => rule,
        }),
        views: if images { recipe.views.clone().or_else(views) } else { None },
        ..recipe
    })
}

/// With the encoder that the method needs of images, where the recipe names none.
fn of_images(mut recipe: Recipe) -> Result<Recipe, TrainError> {
    let MethodConfig::Cpc(method) = &recipe.method else { return Ok(recipe) };
    if recipe.encoder == EncoderConfig::default() {
        recipe.encoder = EncoderConfig::CpcPatches(PatchGridConfig::default());
    }
    let EncoderConfig::CpcPatches(config) = &mut recipe.encoder else {
        let wanted = "cpc-patches: cpc sees an image as a grid of patches";
        return Err(TrainError::setting("encoder", recipe.encoder, wanted));
    };
    config.ahead = method.ahead(Media::Images);
    if config.ahead >= config.grid {
        let wanted = format!("fewer than the {} rows of the grid", config.grid);
        return Err(TrainError::setting("method.ahead", config.ahead, wanted));
    }
    config.context.get_or_insert_with(ContextConfig::default);
    Ok(recipe)
}

/// The network of a resolved recipe.
fn network_config(recipe: &Recipe) -> NetworkConfig {
    NetworkConfig {
        encoder: recipe.encoder.clone(),
        channels: recipe.channels.unwrap_or(3),
        size: match &recipe.signal {
            Some(_) => signals::length(recipe),
            None => recipe.size.unwrap_or(USUAL_SIZE),
        },
        embedding: recipe.embedding.filter(|e| *e > 0),
        projector: recipe.method.projector(),
    }
}

/// The path with its folder made absolute; what follows a `#` stays.
fn absolute(path: &Path) -> PathBuf {
    std::path::absolute(path).unwrap_or_else(|_| path.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::device_views::tests::images;
    use std::path::Path;

    const RECIPE: &str = r#"
        epochs = 2
        size = 16
        accumulate = 2
        [method]
        kind = "simclr"
        batch = 6
        hidden = 16
        projection = 8
        [encoder]
        kind = "small-conv"
        width = 4
    "#;

    /// Every number that a run has logged, apart from times.
    fn logged(folder: &Path) -> Vec<f64> {
        let text = std::fs::read_to_string(folder.join("metrics.jsonl")).unwrap();
        let numbers = |line: &str| {
            let line: serde_json::Value = serde_json::from_str(line).unwrap();
            ["step", "loss", "active", "spread", "effective_rank"]
                .map(|key| line[key].as_f64().unwrap_or(0.0))
        };
        text.lines().flat_map(numbers).collect()
    }

    #[test]
    fn a_run_on_views_made_on_a_device_is_the_run_on_the_hosts() {
        let folder = tempfile::tempdir().unwrap();
        let (data, device) = (folder.path().join("images"), Device::flex());
        std::fs::create_dir(&data).unwrap();
        images(&data);
        let run = |name: &str, on_device: bool| {
            let out = folder.path().join(name);
            let recipe = Recipe::parse(RECIPE, Path::new("test")).unwrap();
            let mut training = Training::begin(recipe, &data, &out, &device, &mut |_| {}).unwrap();
            assert!(training.device_views.is_none(), "the CPU's loader is ahead of its step");
            if on_device {
                let Pipeline::Images { data, views, .. } = &training.pipeline else { panic!("images") };
                let (train, views) = (&training.train, Arc::clone(views));
                let loaded = DeviceViews::load(data, train, views, &device, MOST_BYTES);
                training.device_views = loaded.unwrap().map(Arc::new);
                assert!(training.device_views.is_some());
            }
            assert!(training.plan().unwrap().seconds_per_step > 0.0);
            let outcome = training.run(&mut |_| {}, &AtomicBool::new(false)).unwrap();
            assert_eq!((outcome.steps, outcome.interrupted), (6, false));
            logged(&out)
        };
        let (host, there) = (run("host", false), run("there", true));
        assert!(host.len() == there.len() && host.iter().any(|x| *x > 0.1));
        for (a, b) in host.iter().zip(&there) {
            assert!((a - b).abs() <= 1e-3 * a.abs(), "{a} {b}");
        }
    }
}
