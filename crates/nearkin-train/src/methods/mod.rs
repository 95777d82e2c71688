//! Training methods, one file a paper.
//!
//! A method says, top to bottom: what a batch is, how many views a sample turns into, what is encoded by what, what
//! the loss is, and which epoch to keep. One that keeps something beside the network says also what that is, and what a step
//! does with it ([`Stateful`]). Nothing here knows of threads, files or devices.

mod barlow_twins;
mod batch_all;
mod batch_hard;
mod byol;
mod contrastive;
mod cpc;
mod dino;
mod drlim;
mod exemplar_cnn;
mod facenet;
mod i_jepa;
mod mae;
mod moco;
mod multi_similarity;
mod n_pair;
mod nca;
mod nnclr;
mod npid;
mod nt_xent;
mod parts;
mod proxy_anchor;
mod simclr;
mod simsiam;
mod stateful;
mod supcon;
mod supervised;
mod swav;
mod unlabelled;
mod vicreg;
mod w_mse;

use burn::tensor::Tensor;
use nearkin_data::{
    Crop, DataError, Jitter, KinGraph, Media, Patches, Sampler, SignalViewConfig, ViewConfig,
};
use nearkin_loss::ProxyInit;
use nearkin_net::{EncoderConfig, MlpConfig, Network};
use nearkin_sweep::{Graph, Kin, Metric, SameLabel, SweepError};
use serde::{Deserialize, Serialize};

pub use barlow_twins::BarlowTwins;
pub use batch_all::BatchAllMethod;
pub use batch_hard::BatchHardMethod;
pub use byol::Byol;
pub use contrastive::ContrastiveMethod;
pub use cpc::{CpcMethod, Negatives};
pub use dino::Dino;
pub use drlim::DrLimMethod;
pub use exemplar_cnn::{Classifier, ExemplarCnn};
pub use facenet::{FaceNetMethod, Mining};
pub use i_jepa::IJepa;
pub use mae::Mae;
pub use moco::{Moco, MocoVersion};
pub use multi_similarity::MultiSimilarityMethod;
pub use n_pair::NPairMethod;
pub use nca::NcaMethod;
pub use nnclr::Nnclr;
pub use npid::Npid;
pub use nt_xent::NtXentMethod;
pub use proxy_anchor::ProxyAnchorMethod;
pub use simclr::SimClr;
pub use simsiam::SimSiam;
pub use stateful::{Batch, Clock, HeadSite, Objective, OfBatch, Stateful, Stepped};
pub use supcon::SupConMethod;
pub use swav::SwAv;
pub use vicreg::Vicreg;
pub use w_mse::WMse;

use crate::error::TrainError;

/// What a method makes batches of.
#[derive(Debug, Clone, Copy)]
pub struct TrainSet<'a> {
    /// Samples.
    pub len: usize,
    /// A class a sample, if there are classes.
    pub labels: Option<&'a [u32]>,
    /// Which samples are kin, where the recipe says so in place of labels.
    pub graph: Option<&'a KinGraph>,
}

/// What a method needs to know of the batch that was encoded. Rows are view-major: all samples of the first view,
/// then all of the second.
#[derive(Debug, Clone, Copy)]
pub struct BatchKin<'a> {
    /// The samples of the batch.
    pub samples: &'a [usize],
    /// Their labels; `u32::MAX` without any.
    pub labels: &'a [u32],
    /// Which samples are kin, where the recipe says so in place of labels.
    pub graph: Option<&'a KinGraph>,
}

impl<'a> BatchKin<'a> {
    /// The relation among the samples of the batch: that of the graph if there is one, else that of the labels.
    ///
    /// # Errors
    /// When the graph names a sample that the batch does not hold.
    pub fn relation(&self) -> Result<Box<dyn Kin + 'a>, SweepError> {
        Ok(match self.graph {
            Some(graph) => Box::new(Graph::within(self.samples.len(), graph.among(self.samples))?),
            None => Box::new(SameLabel::within(self.labels)),
        })
    }
}

/// By what the best epoch is chosen.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Selection {
    /// The highest MAP@R among samples held out of training; needs labels.
    HeldOut,
    /// The latest: what a method without labels can honestly do.
    Latest,
}

/// A training method.
pub trait Method: Send + Sync {
    /// What a batch is.
    ///
    /// # Errors
    /// When the data cannot make such batches: too few classes or samples, or no labels where they are needed.
    fn sampler(&self, set: TrainSet<'_>) -> Result<Box<dyn Sampler>, TrainError>;

    /// How many views a sample turns into.
    fn views(&self) -> usize;

    /// The augmentation that suits the method, when the recipe names none.
    fn default_views(&self) -> ViewConfig;

    /// The same for sounds and series.
    fn default_signal_views(&self, media: Media) -> SignalViewConfig {
        match media {
            Media::Sounds => SignalViewConfig::sound(),
            _ => SignalViewConfig::series(),
        }
    }

    /// The pipeline of each view and the side of its square, made from the recipe's views and size: all alike, unless the method
    /// has small crops beside large ones.
    fn pipelines(&self, views: &ViewConfig, size: usize) -> Vec<(ViewConfig, usize)> {
        vec![(views.clone(), size); self.views()]
    }

    /// The parts of images that are the samples, for methods that do not train on whole images.
    fn patches(&self) -> Option<Patches> {
        None
    }

    /// After how many epochs random views come again; `None`: never.
    fn views_return(&self) -> Option<u64> {
        None
    }

    /// How the loss of a step is taken.
    fn objective(&self) -> Objective<'_>;

    /// Of what a batch of so many samples was encoded to, the part whose spread and rank are reported.
    fn shown(&self, _network: &Network, encoded: Tensor<2>, _samples: usize) -> Tensor<2> {
        encoded
    }

    /// How the class vectors begin that are trained beside the network, for methods that compare with such proxies.
    fn proxies(&self) -> Option<ProxyInit> {
        None
    }

    /// Their learning rate, in units of the network's.
    fn proxy_rate(&self) -> f64 {
        1.0
    }

    /// The metric and the margin by which a triplet is easy, semi-hard or hard, for methods of triplets.
    fn triplets(&self) -> Option<(Metric, f32)> {
        None
    }

    /// The force between two samples at this distance, for losses of pairs in which it depends on nothing else: positive draws
    /// together, negative pushes apart.
    fn force(&self, _distance: f32, _kin: bool) -> Option<f32> {
        None
    }

    /// The metric in which the trained embedding is to be compared.
    fn metric(&self) -> Metric;

    /// Which epoch to keep.
    fn selection(&self) -> Selection;
}

/// What `nearkin methods` shows of a method.
#[derive(Debug, Clone, Copy, Serialize)]
pub struct MethodCard {
    /// The name in recipes and after `--method`.
    pub name: &'static str,
    /// One sentence.
    pub summary: &'static str,
    /// The paper.
    pub paper: &'static str,
    /// Whether samples need labels.
    pub needs_labels: bool,
}

/// The hyper-parameters of a method, and what they make.
trait Configured: Default {
    /// What `nearkin methods` shows.
    const CARD: MethodCard;

    /// The projection head that the method puts on the network, used by the loss only.
    fn projector(&self) -> Option<MlpConfig> {
        None
    }

    /// Dimensions of a linear embedding on the encoder's features, unless a recipe says otherwise; 0: none.
    fn embedding(&self) -> usize {
        if self.projector().is_some() { 0 } else { 128 }
    }

    /// The encoder where nothing else says which.
    fn encoder(&self) -> EncoderConfig {
        EncoderConfig::default()
    }

    /// The method, its hyper-parameters checked.
    fn build(&self) -> Result<Box<dyn Method>, TrainError>;
}

/// Lists every method once.
macro_rules! methods {
    ($count:literal, $($name:ident($config:ident)),+ $(,)?) => {
        /// A method and its hyper-parameters, as a recipe holds them.
        #[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
        #[serde(tag = "kind", rename_all = "kebab-case")]
        pub enum MethodConfig {
            $(
                #[doc = concat!("See [`", stringify!($config), "`].")]
                $name($config),
            )+
        }

        impl MethodConfig {
            /// Every method, in the order they are listed.
            pub const CARDS: [MethodCard; $count] = [$($config::CARD),+];

            /// The method of this name with its default hyper-parameters.
            pub fn by_name(name: &str) -> Option<Self> {
                $(
                    if name == $config::CARD.name {
                        return Some(Self::$name($config::default()));
                    }
                )+
                None
            }

            /// What `nearkin methods` shows.
            pub fn card(&self) -> MethodCard {
                match self {
                    $(Self::$name(_) => $config::CARD,)+
                }
            }

            /// The projection head that the method puts on the network, used by the loss only.
            pub fn projector(&self) -> Option<MlpConfig> {
                match self {
                    $(Self::$name(config) => config.projector(),)+
                }
            }

            /// Dimensions of a linear embedding on the encoder's features, unless a recipe says otherwise; 0: none.
            pub fn embedding(&self) -> usize {
                match self {
                    $(Self::$name(config) => config.embedding(),)+
                }
            }

            /// The encoder where nothing else says which.
            pub fn encoder(&self) -> EncoderConfig {
                match self {
                    $(Self::$name(config) => config.encoder(),)+
                }
            }

            /// The method, its hyper-parameters checked.
            ///
            /// # Errors
            /// When one is out of range.
            pub fn build(&self) -> Result<Box<dyn Method>, TrainError> {
                match self {
                    $(Self::$name(config) => config.build(),)+
                }
            }
        }
    };
}

methods! {
    26,
    Drlim(DrLimMethod),
    Contrastive(ContrastiveMethod),
    Facenet(FaceNetMethod),
    BatchHard(BatchHardMethod),
    BatchAll(BatchAllMethod),
    NPair(NPairMethod),
    Nca(NcaMethod),
    MultiSimilarity(MultiSimilarityMethod),
    ProxyAnchor(ProxyAnchorMethod),
    NtXent(NtXentMethod),
    Supcon(SupConMethod),
    Simclr(SimClr),
    Npid(Npid),
    ExemplarCnn(ExemplarCnn),
    Moco(Moco),
    Nnclr(Nnclr),
    Byol(Byol),
    Simsiam(SimSiam),
    BarlowTwins(BarlowTwins),
    Vicreg(Vicreg),
    WMse(WMse),
    Swav(SwAv),
    Dino(Dino),
    Mae(Mae),
    IJepa(IJepa),
    Cpc(CpcMethod),
}

/// A random crop, a flip and a little light: what keeps a class the same class. Hue stays, since it often tells classes
/// apart.
fn same_class_views() -> ViewConfig {
    ViewConfig {
        crop: Crop::RandomResized { scale: [0.3, 1.0], ratio: [0.75, 4.0 / 3.0] },
        flip: 0.5,
        jitter: Some(Jitter { brightness: 0.2, contrast: 0.2, saturation: 0.1, hue: 0.0, probability: 0.8 }),
        ..ViewConfig::default()
    }
}

impl From<DataError> for TrainError {
    fn from(error: DataError) -> Self {
        TrainError::Data(Box::new(error))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_method_is_called_the_same_in_recipes_and_in_lists() {
        for card in MethodConfig::CARDS {
            let method = MethodConfig::by_name(card.name).unwrap();
            assert_eq!(method.card().name, card.name);
            let text = toml::to_string(&method).unwrap();
            assert!(text.contains(&format!("kind = \"{}\"", card.name)), "{text}");
            assert_eq!(toml::from_str::<MethodConfig>(&format!("kind = \"{}\"", card.name)).unwrap(), method);
            method.build().unwrap();
        }
        assert!(MethodConfig::by_name("batch-heard").is_none());
    }

    #[test]
    fn hyper_parameters_out_of_range_are_refused_by_name() {
        for (text, field) in [
            ("kind = \"batch-hard\"\nclasses = 1", "method.classes"),
            ("kind = \"facenet\"\nper-class = 1", "method.per-class"),
            ("kind = \"facenet\"\nmargin = -0.2", "margin"),
            ("kind = \"proxy-anchor\"\nproxy-rate = 0.0", "method.proxy-rate"),
            ("kind = \"n-pair\"\nl2 = -1.0", "l2"),
            ("kind = \"nca\"\nscale = 0.0", "scale"),
            ("kind = \"npid\"\nmomentum = 1.0", "method.momentum"),
            ("kind = \"npid\"\nproximal = -1.0", "lambda"),
            ("kind = \"moco\"\nqueue = 100", "method.queue"),
            ("kind = \"moco\"\nmomentum = 1.5", "method.momentum"),
            ("kind = \"nnclr\"\nqueue = 100", "method.queue"),
            ("kind = \"byol\"\nmomentum = -0.1", "method.momentum"),
            ("kind = \"barlow-twins\"\nlambda = 0.0", "lambda"),
            ("kind = \"vicreg\"\nvariance = -1.0", "variance"),
            ("kind = \"w-mse\"\nviews = 1", "method.views"),
            ("kind = \"w-mse\"\nslice = 32\nshrinkage = 0.0", "method.slice"),
            ("kind = \"swav\"\nepsilon = 0.0", "method.epsilon"),
            ("kind = \"swav\"\nsmall-scale = [0.5, 0.1]", "method.small-scale"),
            ("kind = \"dino\"\ntwin-temperature = 0.0", "method.twin-temperature"),
            ("kind = \"exemplar-cnn\"\nsurrogates = 1", "method.surrogates"),
            ("kind = \"exemplar-cnn\"\ncopies = 0", "method.copies"),
            ("kind = \"exemplar-cnn\"\ncolour = 5.5", "method.colour"),
            ("kind = \"exemplar-cnn\"\npatch = [0.8, 0.4]", "method.patch"),
            ("kind = \"exemplar-cnn\"\npatch = [0.0, 0.4]", "method.patch"),
            ("kind = \"mae\"\nmask-ratio = 1.0", "method.mask-ratio"),
            ("kind = \"i-jepa\"\ntarget-scale = [0.2, 0.9]", "method.target-scale"),
        ] {
            let error = toml::from_str::<MethodConfig>(text).unwrap().build().err().unwrap().to_string();
            assert!(error.starts_with(field), "{error}");
        }
    }
}
