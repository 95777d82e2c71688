//! What a run trains: the network, and what a method learns beside it.

use burn::module::{Module, Param};
use burn::optim::ModuleOptimizer;
use burn::tensor::{Device, Tensor, TensorData};
use nearkin_net::{ConfigError, Network, NetworkConfig};

use crate::methods::Method;
use crate::step::Pulls;

/// The network, and the class vectors of methods that have some. Only the network goes into the model.
#[derive(Module, Debug)]
pub(crate) struct Learner {
    pub network: Network,
    pub proxies: Option<Proxies>,
}

/// Class vectors, `[classes · per class, d]`.
#[derive(Module, Debug)]
pub(crate) struct Proxies {
    pub vectors: Param<Tensor<2>>,
}

impl Learner {
    /// Initial weights, and class vectors drawn by the same seed.
    ///
    /// # Errors
    /// When a size of the network is out of range.
    pub(crate) fn new(
        network: &NetworkConfig,
        method: &dyn Method,
        classes: usize,
        seed: u64,
        device: &Device,
    ) -> Result<Self, ConfigError> {
        let network = network.init(device, seed)?;
        let dim = network.projection_dim();
        let proxies = method.proxies().map(|init| {
            let values = TensorData::new(init.draw(classes, dim, seed), [classes * init.per_class, dim]);
            Proxies { vectors: Param::from_tensor(Tensor::from_data(values, device)) }
        });
        Ok(Self { network, proxies })
    }

    /// After a step; the class vectors learn at `proxy_rate` times the network's rate.
    pub(crate) fn updated(
        self,
        optimizer: &mut ModuleOptimizer,
        lr: f64,
        proxy_rate: f64,
        pulls: Pulls,
    ) -> Self {
        let network = optimizer.step(lr, self.network, pulls.network);
        let proxies = self.proxies.map(|proxies| match pulls.proxies {
            Some(pull) => optimizer.step(lr * proxy_rate, proxies, pull),
            None => proxies,
        });
        Self { network, proxies }
    }

    /// The class vectors, on the tape.
    pub(crate) fn proxies(&self) -> Option<Tensor<2>> {
        self.proxies.as_ref().map(|proxies| proxies.vectors.val())
    }
}
