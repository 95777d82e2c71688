//! What sounds and series need that images do not: settings, the scale they are seen on, and embedding them at their own length.

use std::collections::BTreeMap;
use std::sync::Arc;

use burn::tensor::{Device, Tensor, TensorData};
use nearkin_data::random::{Purpose, stream};
use nearkin_data::table::Matrix;
use nearkin_data::{
    Dataset, Media, PreparedSignals, Sampler, Sequential, SignalCrop, SignalLoader, SignalOptions,
    SignalViewConfig, SignalViews, Standardize, Summary,
};
use nearkin_loss::LossError;
use nearkin_net::encoders::in_a_row;
use nearkin_net::{ContextConfig, EncoderConfig, Network, SequenceConfig};
use serde::{Deserialize, Serialize};

use crate::error::TrainError;
use crate::methods::MethodConfig;
use crate::recipe::Recipe;

/// Signals that go through the encoder at once when embedding.
const BATCH: usize = 128;
/// Seconds of a view of a sound, chosen without being asked.
const USUAL_SECONDS: f64 = 0.5;
/// Steps of a view of a series at most, chosen without being asked.
const USUAL_LENGTH: usize = 512;

/// Settings of a recipe for sounds and series, under `[signal]`.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, rename_all = "kebab-case", deny_unknown_fields)]
pub struct SignalRecipe {
    /// Steps a second that sounds are brought to. Left out: the data's usual rate.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub rate: Option<u32>,
    /// Steps of a view. Left out: half a second of sounds; of series their usual length, at most 512.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub length: Option<usize>,
    /// By what a signal is brought to the scale of the network. Left out: `each` for sounds, `set` for series.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub standardize: Option<Scale>,
    /// How a signal turns into a view. Left out: what suits the method.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub views: Option<SignalViewConfig>,
}

/// Whose mean and standard deviation are taken.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Scale {
    /// Of each channel over the whole training set: how large a series is stays to be seen.
    Set,
    /// Of each signal by itself: how loud a recording was is not seen.
    Each,
}

/// What a model takes, other than images.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub struct SignalInput {
    /// Sounds or series.
    pub media: Media,
    /// Steps a second that sounds are brought to.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rate: Option<u32>,
    /// Their scale.
    pub standardize: Standardize,
}

/// Which vectors stand for a sound or a series.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Contexts {
    /// One: the mean of all its contexts.
    #[default]
    Mean,
    /// One: the last context, which has seen all of it.
    Last,
    /// All contexts, one after the other.
    All,
}

/// Refuses settings that are of images for sounds and series, and the other way round.
pub(crate) fn check_media(recipe: &Recipe, media: Media) -> Result<(), TrainError> {
    let refuse = |field: &str, found: String, wanted: String| Err(TrainError::setting(field, found, wanted));
    if !media.is_signal() {
        if recipe.encoder.of_sequences().is_some() {
            let wanted = format!("one of images, such as small-conv: the data holds {media}");
            return refuse("encoder", recipe.encoder.to_string(), wanted);
        }
        if recipe.signal.is_some() {
            return refuse("signal", "set".into(), format!("left out: the data holds {media}"));
        }
        return Ok(());
    }
    if recipe.encoder.of_sequences().is_none() && recipe.encoder != EncoderConfig::default() {
        let wanted = format!("cpc-audio or series: the data holds {media}");
        return refuse("encoder", recipe.encoder.to_string(), wanted);
    }
    if let Some(size) = recipe.size {
        return refuse("size", size.to_string(), format!("left out for {media}, which have signal.length"));
    }
    if recipe.views.is_some() {
        return refuse("views", "set".into(), format!("left out for {media}, which have signal.views"));
    }
    if let Some(path) = &recipe.backbone {
        return refuse("backbone", path.display().to_string(), format!("left out for {media}"));
    }
    Ok(())
}

/// Fills in what a recipe leaves to the data and the method, for sounds and series.
pub(crate) fn resolve(recipe: Recipe, data: &Summary) -> Recipe {
    let Summary { media, steps, rates, .. } = data;
    let given = recipe.signal.clone().unwrap_or_default();
    let rate = given.rate.or(rates.first().map(|rate| rate.rate)).filter(|_| *media == Media::Sounds);
    let usual = match rate {
        Some(rate) => (f64::from(rate) * USUAL_SECONDS) as usize,
        None => steps.map_or(USUAL_LENGTH, |[_, median, _]| median.min(USUAL_LENGTH)),
    };
    let views = || recipe.method.build().ok().map(|method| method.default_signal_views(*media));
    let signal = SignalRecipe {
        rate,
        length: Some(given.length.unwrap_or(usual)),
        standardize: Some(given.standardize.unwrap_or(match media {
            Media::Sounds => Scale::Each,
            _ => Scale::Set,
        })),
        views: given.views.or_else(views),
    };
    let mut encoder = match (&recipe.encoder, media) {
        // An encoder of images is the one that no recipe named.
        (other, _) if other.of_sequences().is_some() => other.clone(),
        (_, Media::Sounds) => EncoderConfig::CpcAudio(SequenceConfig::default()),
        _ => EncoderConfig::Series(SequenceConfig::default()),
    };
    if let (MethodConfig::Cpc(method), Some(config)) = (&recipe.method, encoder.sequence_mut()) {
        config.ahead = method.ahead(*media);
        config.context.get_or_insert_with(ContextConfig::default);
    }
    let channels = match media {
        Media::Sounds => 1,
        _ => data.channels.first().map_or(1, |count| count.channels),
    };
    Recipe { channels: Some(recipe.channels.unwrap_or(channels)), signal: Some(signal), encoder, ..recipe }
}

/// Reads the signals of a data set, as a recipe that is resolved wants them.
pub(crate) fn prepare(
    dataset: &Dataset,
    recipe: &Recipe,
    progress: &mut dyn FnMut(usize, usize),
) -> Result<PreparedSignals, TrainError> {
    let rate = recipe.signal.as_ref().and_then(|signal| signal.rate);
    let options = SignalOptions::new(recipe.channels.unwrap_or(1), rate);
    Ok(PreparedSignals::prepare(dataset, &options, progress)?)
}

/// What a model of this recipe takes, its scale found in the samples that are trained on.
pub(crate) fn input(recipe: &Recipe, data: &PreparedSignals) -> Result<SignalInput, TrainError> {
    let signal = recipe.signal.clone().unwrap_or_default();
    let standardize = match signal.standardize.unwrap_or(Scale::Each) {
        Scale::Each => Standardize::Each {},
        Scale::Set => {
            let (mean, std) = data.moments()?;
            // A channel that never changes stays as it is.
            let std = std.into_iter().map(|std| if std > 0.0 { std } else { 1.0 }).collect();
            Standardize::Set { mean, std }
        }
    };
    Ok(SignalInput { media: data.dataset.media(), rate: signal.rate, standardize })
}

/// The pipeline of a recipe that is resolved.
pub(crate) fn views(recipe: &Recipe, input: &SignalInput) -> Result<SignalViews, TrainError> {
    let signal = recipe.signal.clone().unwrap_or_default();
    let (length, channels) = (length(recipe), recipe.channels.unwrap_or(1));
    let config = signal.views.unwrap_or_default();
    if let Some(encoder) = recipe.encoder.of_sequences() {
        // A prediction needs a frame to begin with and one that it is about.
        let wanted = match &recipe.method {
            MethodConfig::Cpc(method) => method.ahead(input.media) + 1,
            _ => 1,
        };
        let found = encoder.frames(length);
        if found < wanted {
            let wanted = format!("at least {} steps, which make {wanted} frames", wanted * encoder.stride());
            return Err(TrainError::setting("signal.length", length, wanted));
        }
    }
    if let (Some(_), Media::Series) = (config.stretch, input.media) {
        let wanted = "left out for series, which have no pitch: time-warp and crop change their speed";
        return Err(TrainError::setting("signal.views.stretch", "set", wanted));
    }
    if let (Some(_), Media::Series) = (config.spec_augment, input.media) {
        let wanted = "left out for series, which are not heard: crop and permutation leave parts of them out";
        return Err(TrainError::setting("signal.views.spec-augment", "set", wanted));
    }
    Ok(SignalViews::new(&config, channels, length, input.standardize.clone())?)
}

/// Steps of a view.
pub(crate) fn length(recipe: &Recipe) -> usize {
    recipe.signal.as_ref().and_then(|signal| signal.length).unwrap_or(USUAL_LENGTH)
}

/// Vectors of signals, and whose each is.
#[derive(Debug, Clone, PartialEq)]
pub struct Embedded {
    /// Row-major.
    pub vectors: Vec<f32>,
    /// For each vector, the number of its sample, ascending.
    pub owners: Vec<usize>,
}

/// Embeds signals at their own length: those of equal length together, as the vectors of a sample must not depend on others.
pub(crate) fn embed(
    (network, dim): (&Network, usize),
    input: &SignalInput,
    device: &Device,
    data: &PreparedSignals,
    samples: &[usize],
    contexts: Contexts,
    progress: &mut dyn FnMut(usize, usize),
) -> Result<Embedded, TrainError> {
    let device = if device.is_autodiff() { device.clone().inner() } else { device.clone() };
    let mut of_length: BTreeMap<usize, Vec<usize>> = BTreeMap::new();
    for (at, &sample) in samples.iter().enumerate() {
        of_length.entry(data.steps(sample)?).or_default().push(at);
    }
    let mut found: Vec<Vec<f32>> = vec![Vec::new(); samples.len()];
    let mut done = 0;
    for (steps, places) in of_length {
        for places in places.chunks(BATCH) {
            let mut values = Vec::with_capacity(places.len() * data.channels() * steps);
            for &at in places {
                let mut signal = data.signal(samples[at])?;
                input.standardize.apply(&mut signal);
                values.extend_from_slice(&signal.values);
            }
            let shape = [places.len(), data.channels(), 1, steps];
            let signals = Tensor::<4>::from_data(TensorData::new(values, shape), &device);
            let vectors = vectors(network, signals, contexts)?;
            let each = vectors.len() / places.len();
            for (&at, vectors) in places.iter().zip(vectors.chunks_exact(each)) {
                found[at] = vectors.to_vec();
            }
            done += places.len();
            progress(done, samples.len());
        }
    }
    let owners = found.iter().enumerate().flat_map(|(at, vectors)| vec![at; vectors.len() / dim]).collect();
    Ok(Embedded { vectors: found.concat(), owners })
}

/// Of signals of equal length: as many vectors of each.
fn vectors(network: &Network, signals: Tensor<4>, contexts: Contexts) -> Result<Vec<f32>, TrainError> {
    let vectors = match (contexts, network.encoder.sequence()) {
        (Contexts::Mean, _) | (_, None) => network.embed(signals),
        (contexts, Some(encoder)) => {
            let all = encoder.contexts(encoder.frames(in_a_row(signals)));
            let [_, frames, width] = all.dims();
            let chosen = match contexts {
                Contexts::Last => all.narrow(1, frames - 1, 1),
                _ => all,
            };
            let rows = chosen.reshape([-1, width as i64]);
            match &network.embedding {
                Some(embedding) => embedding.forward(rows),
                None => rows,
            }
        }
    };
    let values = vectors.into_data().convert::<f32>().try_to_vec::<f32>();
    Ok(values.map_err(|e| LossError::Read(format!("{e:?}")))?)
}

/// The values of signals as they are, all brought to one length: what an embedding must beat.
pub(crate) fn raw(data: &PreparedSignals, length: usize) -> Result<Matrix, TrainError> {
    let channels = data.channels();
    let config = SignalViewConfig { crop: SignalCrop::Whole {}, ..SignalViewConfig::default() };
    let as_is = Standardize::Set { mean: vec![0.0; channels], std: vec![1.0; channels] };
    let views = SignalViews::new(&config, channels, length, as_is)?;
    let mut values = vec![0.0; data.len() * views.values()];
    let mut nothing_random = stream(0, 0, 0, 0, Purpose::View);
    for (i, out) in values.chunks_exact_mut(views.values()).enumerate() {
        views.apply(data.signal(i)?, &mut nothing_random, out)?;
    }
    Ok(Matrix { values, dim: views.values() })
}

/// How often a network's prediction of the frame `k` steps ahead is more like that frame than like any other of its batch, for `k` from 1
/// on: the accuracy of InfoNCE's classification (van den Oord, Li, Vinyals 2018, figure 4). Windows of `length` steps, `batch` a batch.
pub(crate) fn prediction_accuracy(
    network: &Network,
    input: &SignalInput,
    device: &Device,
    data: &Arc<PreparedSignals>,
    (length, batch, seed): (usize, usize, u64),
) -> Result<Vec<f64>, TrainError> {
    let Some(encoder) = network.encoder.sequence() else { return Ok(Vec::new()) };
    let config = SignalViewConfig::default();
    let views = Arc::new(SignalViews::new(&config, data.channels(), length, input.standardize.clone())?);
    let batches = Sequential::new(data.len(), batch.min(data.len()))?.batches(seed, 0);
    let threads = rayon::current_num_threads();
    let loader = SignalLoader::start(Arc::clone(data), (views, 1), batches, seed, 0, 0, threads, 2)?;
    let mut counts = vec![[0usize; 2]; encoder.predictors.len()];
    for batch in loader {
        let batch = batch?;
        let signals = Tensor::<3>::from_data(TensorData::new(batch.values, batch.shape), device);
        let frames = encoder.frames(signals);
        let [n, count, width] = frames.dims();
        let references = frames.clone().reshape([n * count, width]).transpose();
        let predictions = encoder.predictions(encoder.contexts(frames));
        for (k, prediction) in (1..).zip(predictions).take_while(|(k, _)| *k < count) {
            let asked = count - k;
            let queries = prediction.narrow(1, 0, asked).reshape([n * asked, width]);
            let nearest = queries.matmul(references.clone()).argmax(1).into_data().convert::<i64>();
            let nearest = nearest.try_to_vec::<i64>().map_err(|e| LossError::Read(format!("{e:?}")))?;
            let right = nearest.iter().enumerate().filter(|(row, found)| {
                let (sequence, step) = (row / asked, row % asked);
                **found as usize == sequence * count + step + k
            });
            counts[k - 1][0] += right.count();
            counts[k - 1][1] += n * asked;
        }
    }
    Ok(counts.into_iter().map(|[right, all]| right as f64 / all.max(1) as f64).collect())
}

#[cfg(test)]
mod tests {
    use super::*;
    use nearkin_data::Dataset;

    fn series(folder: &std::path::Path) -> Summary {
        let path = folder.join("x.ts");
        std::fs::write(&path, "@classLabel false\n@data\n1,2,3,4:5,6,7,8\n1,2,3,4,5,6:1,2,3,4,5,6\n")
            .unwrap();
        Dataset::open(&path).unwrap().describe()
    }

    fn recipe(method: &str) -> Recipe {
        Recipe::of(MethodConfig::by_name(method).unwrap())
    }

    #[test]
    fn what_a_recipe_leaves_out_is_chosen_from_the_series_and_the_method() {
        let folder = tempfile::tempdir().unwrap();
        let data = series(folder.path());
        let found = resolve(recipe("cpc"), &data);
        let Some(signal) = &found.signal else { panic!("{found:?}") };
        assert_eq!((signal.rate, signal.length, signal.standardize), (None, Some(6), Some(Scale::Set)));
        assert_eq!((found.channels, &signal.views), (Some(2), &Some(SignalViewConfig::default())));
        let EncoderConfig::Series(encoder) = &found.encoder else { panic!("{found:?}") };
        assert_eq!((encoder.ahead, encoder.context.clone()), (12, Some(ContextConfig::default())));
        assert_eq!(resolve(found.clone(), &data), found, "nothing more is left out");
        let found = resolve(recipe("simclr"), &data);
        assert_eq!(found.signal.unwrap().views, Some(SignalViewConfig::series()));
        assert_eq!(found.encoder, EncoderConfig::Series(SequenceConfig::default()));
    }

    #[test]
    fn settings_of_sounds_and_series_survive_being_written_and_read() {
        let folder = tempfile::tempdir().unwrap();
        let found = resolve(recipe("cpc"), &series(folder.path()));
        let text = toml::to_string(&found).unwrap();
        assert_eq!(Recipe::parse(&text, std::path::Path::new("my.toml")).unwrap(), found, "{text}");
    }
}
