//! What a run trains: the network, and what a method has beside it.

use burn::module::{Module, Param};
use burn::optim::ModuleOptimizer;
use burn::tensor::{Device, Tensor, TensorData};
use nearkin_net::heads::{DinoHead, Directions};
use nearkin_net::masked::{MaskedDecoder, PatchPredictor};
use nearkin_net::momentum::{Statistics, follow_with, twin};
use nearkin_net::{ConfigError, Mlp, Network, NetworkConfig};

use crate::methods::{HeadSite, Method, Objective};
use crate::online_probe::OnlineProbe;
use crate::step::Pulls;

/// The network, and what a method has beside it. Only a network goes into the model.
#[derive(Module, Debug)]
pub struct Learner {
    /// What becomes the model, unless the method says that its twin does.
    pub network: Network,
    /// Class vectors of methods with labels.
    pub proxies: Option<Proxies>,
    /// What else learns.
    pub head: Option<Head>,
    /// What follows and does not learn.
    pub twin: Option<Twin>,
    /// What judges the features and pulls at nothing.
    pub probe: Option<OnlineProbe>,
}

/// Class vectors, `[classes · per class, d]`.
#[derive(Module, Debug)]
pub struct Proxies {
    /// The vectors.
    pub vectors: Param<Tensor<2>>,
}

/// What a method learns beside the network and throws away after training.
// A learner holds one: boxing the larger variants would save nothing.
#[allow(clippy::large_enum_variant)]
#[derive(Module, Debug)]
pub enum Head {
    /// A predictor of BYOL, SimSiam, MoCo v3 or NNCLR; Exemplar-CNN's classifier.
    Mlp(Mlp),
    /// DINO's head.
    Dino(DinoHead),
    /// SwAV's prototypes; Exemplar-CNN's class vectors.
    Directions(Directions),
    /// A masked autoencoder's decoder.
    Decoder(MaskedDecoder),
    /// I-JEPA's predictor.
    Patches(PatchPredictor),
}

/// A momentum twin, of the network and perhaps of the head.
#[derive(Module, Debug)]
pub struct Twin {
    /// Follows the network.
    pub network: Network,
    /// Follows the head.
    pub head: Option<Head>,
}

/// How a twin follows after a step.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Following {
    /// What remains of the twin, 0 to 1.
    pub momentum: f64,
    /// What becomes of its running statistics.
    pub statistics: Statistics,
}

/// Learning rates of a step.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Rates {
    pub network: f64,
    pub proxies: f64,
    pub head: f64,
}

impl Learner {
    /// Initial weights, head, twin and class vectors, drawn by the same seed.
    ///
    /// # Errors
    /// When a size of the network or the head is out of range, or the method needs another encoder.
    pub(crate) fn new(
        config: &NetworkConfig,
        method: &dyn Method,
        classes: usize,
        samples: usize,
        seed: u64,
        device: &Device,
    ) -> Result<Self, ConfigError> {
        let Objective::Stateful(method) = method.objective() else {
            let network = config.init(device, seed)?;
            let dim = network.projection_dim();
            let proxies = method.proxies().map(|init| {
                let values = TensorData::new(init.draw(classes, dim, seed), [classes * init.per_class, dim]);
                Proxies { vectors: Param::from_tensor(Tensor::from_data(values, device)) }
            });
            return Ok(Self { network, proxies, head: None, twin: None, probe: None });
        };
        let network = config.init_split(device, seed, method.batch_norm_groups())?;
        let head = method.head(HeadSite { network: config, samples, device, seed })?;
        let twin = method.follows_head().map(|with_head| Twin {
            network: twin(&network),
            head: head.as_ref().filter(|_| with_head).map(twin),
        });
        Ok(Self { network, proxies: None, head, twin, probe: None })
    }

    /// After a step.
    pub(crate) fn updated(
        self,
        optimizer: &mut ModuleOptimizer,
        rates: Rates,
        pulls: Pulls,
        following: Option<Following>,
    ) -> Self {
        let network = optimizer.step(rates.network, self.network, pulls.network);
        let proxies = match (self.proxies, pulls.proxies) {
            (Some(proxies), Some(pull)) => Some(optimizer.step(rates.proxies, proxies, pull)),
            (proxies, _) => proxies,
        };
        let head = match (self.head, pulls.head) {
            (Some(head), Some(pull)) => Some(optimizer.step(rates.head, head, pull)),
            (head, _) => head,
        };
        let twin = match (self.twin, following) {
            (Some(twin), Some(Following { momentum, statistics })) => Some(Twin {
                network: follow_with(twin.network, &network, momentum, statistics),
                head: twin.head.zip(head.as_ref()).map(|(t, h)| follow_with(t, h, momentum, statistics)),
            }),
            (twin, _) => twin,
        };
        Self { network, proxies, head, twin, probe: self.probe }
    }

    /// The class vectors, on the tape.
    pub(crate) fn class_vectors(&self) -> Option<Tensor<2>> {
        self.proxies.as_ref().map(|proxies| proxies.vectors.val())
    }

    /// The head, for methods that asked for one.
    ///
    /// # Panics
    /// If the method did not.
    pub fn head(&self) -> &Head {
        self.head.as_ref().expect("the method asked for a head")
    }

    /// The twin's head, for methods that asked for one.
    ///
    /// # Panics
    /// If the method did not.
    pub fn twin_head(&self) -> &Head {
        let twin = self.twin.as_ref().expect("the method asked for a twin");
        twin.head.as_ref().expect("the twin follows the head")
    }

    /// The twin's network, for methods that asked for a twin.
    ///
    /// # Panics
    /// If the method did not.
    pub fn twin(&self) -> &Network {
        &self.twin.as_ref().expect("the method asked for a twin").network
    }
}

/// The head that a method asked for, by its kind.
macro_rules! of_kind {
    ($($name:ident, $kind:ident, $type:ty, $doc:literal);+ $(;)?) => {
        impl Head {
            $(
                #[doc = $doc]
                ///
                /// # Panics
                /// If it is of another kind.
                pub fn $name(&self) -> &$type {
                    match self {
                        Self::$kind(head) => head,
                        _ => unreachable!("the method asked for a head of this kind"),
                    }
                }
            )+
        }
    };
}

of_kind! {
    mlp, Mlp, Mlp, "A perceptron.";
    dino, Dino, DinoHead, "DINO's head.";
    directions, Directions, Directions, "Prototypes, or class vectors.";
    decoder, Decoder, MaskedDecoder, "A masked autoencoder's decoder.";
    patches, Patches, PatchPredictor, "I-JEPA's predictor.";
}
