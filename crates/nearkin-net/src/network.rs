//! The network that a recipe describes: an encoder, an embedding layer, a projector.

use burn::nn::Linear;
use burn::prelude::*;
use serde::{Deserialize, Serialize};

use crate::encoders::{Encoder, EncoderConfig, quadrants};
use crate::error::{ConfigError, MAX_SIZE, check_size};
use crate::heads::{Mlp, MlpConfig};
use crate::init::Init;

/// Settings of a [`Network`].
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub struct NetworkConfig {
    /// What turns images into features.
    pub encoder: EncoderConfig,
    /// Channels of the images: 1 (grey), 3 (colour), or any other number.
    pub channels: usize,
    /// Side of the images in pixels; chooses [`SmallConv`](crate::encoders::SmallConv)'s first stride, and is what encoders
    /// without a global pooling are made for.
    pub size: usize,
    /// Width of a linear layer from features to embeddings, part of the model; without it the
    /// features are the embeddings.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub embedding: Option<usize>,
    /// Head that only the loss sees, on top of the embeddings.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub projector: Option<MlpConfig>,
}

impl NetworkConfig {
    /// Checks the settings and draws the initial weights.
    ///
    /// The weights are a function of these settings and `seed` alone: the same bits on every
    /// device and any number of threads. Pass an autodiff device to train.
    ///
    /// # Errors
    ///
    /// If a size is zero, or larger than any machine holds.
    pub fn init(&self, device: &Device, seed: u64) -> Result<Network, ConfigError> {
        self.init_split(device, seed, 1)
    }

    /// As [`init`](Self::init), with batch normalisations that split a batch in `groups` while training, as MoCo's; see
    /// [`BatchNorm`](crate::layers::BatchNorm).
    ///
    /// # Errors
    ///
    /// As [`init`](Self::init), and if there is no group.
    pub fn init_split(&self, device: &Device, seed: u64, groups: usize) -> Result<Network, ConfigError> {
        self.check()?;
        check_size("groups", groups, MAX_SIZE)?;
        let init = &mut Init::new(device, seed).split(groups);
        let encoder = self.encoder.build(self.channels, self.size, init);
        let features = self.encoder.feature_dim(self.size);
        let embedding = self.embedding.map(|width| init.linear(features, width, true));
        let projector = self.projector.as_ref().map(|config| config.build(self.embedding_dim(), init));
        Ok(Network { encoder, embedding, projector })
    }

    /// Values of an embedding.
    pub fn embedding_dim(&self) -> usize {
        self.embedding.unwrap_or_else(|| self.encoder.feature_dim(self.size))
    }

    /// Checks the settings alone, as [`init`](Self::init) does.
    ///
    /// # Errors
    ///
    /// If a size is zero, or larger than any machine holds.
    pub fn check(&self) -> Result<(), ConfigError> {
        check_size("channels", self.channels, MAX_SIZE)?;
        check_size("size", self.size, MAX_SIZE)?;
        self.encoder.check(self.channels, self.size)?;
        if let Some(width) = self.embedding {
            check_size("embedding", width, MAX_SIZE)?;
        }
        match &self.projector {
            Some(config) => config.check("projector"),
            None => Ok(()),
        }
    }
}

/// An encoder, perhaps with a linear embedding layer, perhaps with a projector for the loss.
///
/// Nothing here normalises embeddings: the loss and the distance decide that.
#[derive(Module, Debug)]
pub struct Network {
    /// Images to features.
    pub encoder: Encoder,
    /// Features to embeddings; part of the model.
    pub embedding: Option<Linear>,
    /// Embeddings to what the loss compares; not used after training.
    pub projector: Option<Mlp>,
}

impl Network {
    /// Embeddings of images, not normalised.
    ///
    /// # Shapes
    ///
    /// - `images`: `[n, channels, h, w]`
    /// - output: `[n, embedding_dim]`
    ///
    /// # Panics
    ///
    /// If the images do not have the channels the network was made for.
    pub fn embed(&self, images: Tensor<4>) -> Tensor<2> {
        let features = self.encoder.forward(images);
        match &self.embedding {
            Some(embedding) => embedding.forward(features),
            None => features,
        }
    }

    /// The largest value of each feature in each quarter of the image, before embedding layer and projector; `None` for an encoder without a
    /// map ([`Encoder::feature_map`]).
    ///
    /// # Shapes
    ///
    /// - `images`: `[n, channels, h, w]`
    /// - output: `[n, 4 · feature_dim]`
    ///
    /// # Panics
    ///
    /// If the images do not have the channels the network was made for.
    pub fn quadrants(&self, images: Tensor<4>) -> Option<Tensor<2>> {
        self.encoder.feature_map(images).map(quadrants)
    }

    /// What the loss compares: the projector's output, or the embeddings where there is none.
    ///
    /// # Shapes
    ///
    /// - `images`: `[n, channels, h, w]`
    /// - output: `[n, projection_dim]`
    ///
    /// # Panics
    ///
    /// If the images do not have the channels the network was made for.
    pub fn project(&self, images: Tensor<4>) -> Tensor<2> {
        let embeddings = self.embed(images);
        match &self.projector {
            Some(projector) => projector.forward(embeddings),
            None => embeddings,
        }
    }

    /// Values of an embedding.
    pub fn embedding_dim(&self) -> usize {
        match &self.embedding {
            Some(embedding) => embedding.weight.dims()[1],
            None => self.encoder.feature_dim(),
        }
    }

    /// Values of what [`project`](Self::project) returns.
    pub fn projection_dim(&self) -> usize {
        match &self.projector {
            Some(projector) => projector.out_dim(),
            None => self.embedding_dim(),
        }
    }

    /// The model without the projector, which only the loss needs.
    pub fn without_projector(self) -> Self {
        Self { projector: None, ..self }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::kernels::testing::{noise, values};
    use crate::parameters::fingerprint;
    use burn::optim::{GradientsParams, SgdConfig};
    use burn::tensor::TensorData;

    fn config() -> NetworkConfig {
        NetworkConfig {
            encoder: EncoderConfig::SmallConv { width: 4 },
            channels: 1,
            size: 16,
            embedding: Some(6),
            projector: Some(MlpConfig::byol(8, 5)),
        }
    }

    fn images(n: usize, seed: u64, device: &Device) -> Tensor<4> {
        let values = noise(n * 256, seed);
        Tensor::from_data(TensorData::new(values, [n, 1, 16, 16]), device)
    }

    #[test]
    fn embeddings_and_projections_have_the_configured_widths() {
        let device = Device::flex();
        let network = config().init(&device, 1).unwrap();
        assert_eq!((network.embedding_dim(), network.projection_dim()), (6, 5));
        assert_eq!(network.embed(images(3, 1, &device)).dims(), [3, 6]);
        assert_eq!(network.project(images(3, 1, &device)).dims(), [3, 5]);

        let network = network.without_projector();
        assert_eq!(network.project(images(3, 1, &device)).dims(), [3, 6]);
        let plain = NetworkConfig { embedding: None, projector: None, ..config() };
        let network = plain.init(&device, 1).unwrap();
        assert_eq!((network.embedding_dim(), plain.embedding_dim()), (32, 32));
        assert_eq!(network.project(images(3, 1, &device)).dims(), [3, 32]);
    }

    #[test]
    fn initial_weights_are_a_function_of_the_seed_whatever_else_draws() {
        let device = Device::flex();
        let first = fingerprint(&config().init(&device, 1).unwrap());
        Tensor::<1>::random([7], burn::tensor::Distribution::Default, &device);
        assert_eq!(fingerprint(&config().init(&device, 1).unwrap()), first);
        let training = config().init(&Device::flex().autodiff(), 1).unwrap();
        assert_eq!(fingerprint(&training), first);
        assert_ne!(fingerprint(&config().init(&device, 2).unwrap()), first);

        let headless = NetworkConfig { projector: None, ..config() };
        let whole = config().init(&device, 1).unwrap();
        assert_eq!(fingerprint(&headless.init(&device, 1).unwrap()), fingerprint(&whole.without_projector()));
    }

    #[test]
    fn activations_of_a_fresh_network_stay_near_unit_scale() {
        let device = Device::flex().autodiff();
        let config =
            NetworkConfig { encoder: EncoderConfig::Resnet18(crate::ResNetConfig::default()), ..config() };
        let network = config.init(&device, 1).unwrap();
        let features = values(network.encoder.forward(images(8, 3, &device)));
        let mean_square = features.iter().map(|v| v * v).sum::<f32>() / features.len() as f32;
        assert!((0.1..30.0).contains(&mean_square), "{mean_square}");
    }

    #[test]
    fn sizes_of_zero_are_refused_by_name() {
        let refused = |config: NetworkConfig| config.init(&Device::flex(), 0).unwrap_err().field;
        assert_eq!(refused(NetworkConfig { channels: 0, ..config() }), "channels");
        assert_eq!(refused(NetworkConfig { size: 0, ..config() }), "size");
        assert_eq!(refused(NetworkConfig { embedding: Some(0), ..config() }), "embedding");
        let encoder = EncoderConfig::SmallConv { width: 0 };
        assert_eq!(refused(NetworkConfig { encoder, ..config() }), "encoder.width");
        let encoder = EncoderConfig::SmallConv { width: usize::MAX };
        assert_eq!(refused(NetworkConfig { encoder, ..config() }), "encoder.width");
        let projector = config().projector.map(|head| MlpConfig { layers: 0, ..head });
        let error = NetworkConfig { projector, ..config() }.init(&Device::flex(), 0).unwrap_err();
        assert_eq!(error.to_string(), "projector.layers is 0; give a whole number from 1 to 64");
    }

    #[test]
    fn a_split_network_is_the_same_but_for_its_groups() {
        let device = Device::flex().autodiff();
        let [whole, split] = [1, 4].map(|groups| config().init_split(&device, 1, groups).unwrap());
        assert_eq!(fingerprint(&whole), fingerprint(&split));
        let [a, b] = [&whole, &split].map(|network| values(network.project(images(8, 1, &device))));
        assert_ne!(a, b);
        let evaluated = |network: &Network| values(network.valid().embed(images(8, 1, &Device::flex())));
        assert_eq!(evaluated(&whole).len(), evaluated(&split).len());
        assert_eq!(config().init_split(&device, 1, 0).unwrap_err().field, "groups");
    }

    #[test]
    fn settings_survive_a_round_trip_through_toml() {
        let text = toml::to_string(&config()).unwrap();
        assert_eq!(toml::from_str::<NetworkConfig>(&text).unwrap(), config(), "{text}");
        let plain = "channels = 3\nsize = 32\nencoder = { kind = \"resnet18\", stem = \"small\" }";
        assert_eq!(toml::from_str::<NetworkConfig>(plain).unwrap().embedding, None);
        assert!(toml::from_str::<NetworkConfig>(&format!("{plain}\nsizes = 3")).is_err());
    }

    #[test]
    fn gradients_of_a_whole_network_reach_every_parameter() {
        let device = Device::flex().autodiff();
        let network = config().init(&device, 1).unwrap();
        let loss = network.project(images(4, 1, &device)).square().mean();
        let gradients = GradientsParams::from_grads(loss.backward(), &network);
        let mut wanted = 0;
        struct Count<'a>(&'a mut usize);
        impl burn::module::ModuleVisitor for Count<'_> {
            fn visit_float<const D: usize>(&mut self, param: &burn::module::Param<Tensor<D>>) {
                *self.0 += usize::from(param.is_require_grad());
            }
        }
        network.visit(&mut Count(&mut wanted));
        assert_eq!(gradients.len(), wanted);
        assert_eq!(wanted, 4 * 3 + 2 + 3 + 2);
    }

    #[cfg(feature = "wgpu")]
    #[test]
    fn training_on_another_device_is_the_cpus() {
        use crate::kernels::testing::{assert_close, widened};
        use burn::tensor::DeviceKind;
        struct Collect<'a>(&'a GradientsParams, Vec<f32>);
        impl burn::module::ModuleVisitor for Collect<'_> {
            fn visit_float<const D: usize>(&mut self, param: &burn::module::Param<Tensor<D>>) {
                if let Some(gradient) = self.0.get::<D>(param.id) {
                    self.1.extend(values(gradient));
                }
            }
        }
        let run = |device: Device| {
            let device = device.autodiff();
            let config = NetworkConfig { encoder: EncoderConfig::SmallConv { width: 16 }, ..config() };
            let network = config.init(&device, 1).unwrap();
            let z = network.project(images(64, 1, &device));
            let loss = z.clone().square().square().mean();
            let mut gradients = Collect(&GradientsParams::from_grads(loss.backward(), &network), vec![]);
            network.visit(&mut gradients);
            // The latter by running statistics that have followed the batch.
            let embedded = network.valid().embed(images(8, 2, &device.clone().inner()));
            [values(z), gradients.1, values(embedded)]
        };
        let here = run(Device::flex());
        let there = run(Device::wgpu(DeviceKind::DefaultDevice));
        for ((here, there), what) in here.iter().zip(&there).zip(["outputs", "gradients", "embeddings"]) {
            assert_close(there, &widened(here), 1e-5, what);
        }
    }

    #[test]
    fn a_resumed_run_repeats_the_bits_of_weights_and_running_statistics() {
        let device = Device::flex().autodiff();
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("network.bpk");
        let step = |network: Network, seed| {
            let loss = network.project(images(8, seed, &device)).square().mean();
            let gradients = GradientsParams::from_grads(loss.backward(), &network);
            SgdConfig::new().init().step(0.1, network, gradients)
        };
        let mut network = config().init(&device, 1).unwrap();
        for seed in 0..3 {
            network = step(network, seed);
        }
        // No flush, no `valid()` before saving: the record must hold the newest statistics.
        network.clone().into_record().save(&path).unwrap();
        let record = burn::store::ModuleRecord::load(&path).unwrap();
        let mut resumed = config().init(&device, 99).unwrap().load_record(record);
        for seed in 3..6 {
            network = step(network, seed);
            resumed = step(resumed, seed);
        }
        assert_eq!(fingerprint(&resumed), fingerprint(&network));
    }

    #[test]
    fn the_loss_of_a_few_steps_falls() {
        let device = Device::flex().autodiff();
        let mut network = config().init(&device, 1).unwrap();
        let target = Tensor::<2>::from_data(TensorData::new(noise(40, 5), [8, 5]), &device);
        let mut losses = vec![];
        for _ in 0..30 {
            let loss = (network.project(images(8, 1, &device)) - target.clone()).square().mean();
            losses.push(values(loss.clone())[0]);
            let gradients = GradientsParams::from_grads(loss.backward(), &network);
            network = SgdConfig::new().init().step(0.1, network, gradients);
        }
        assert!(losses[29] < 0.2 * losses[0], "{losses:?}");
    }
}
