//! The batches of an epoch, on the device of the step.

use std::sync::Arc;
use std::vec::IntoIter;

use burn::tensor::{Device, Tensor, TensorData};
use nearkin_data::{DataError, Loader, Prepared, SignalLoader, Views, draw_batch, labels};

use crate::device_views::DeviceViews;

/// One step's data.
pub(crate) struct Fed {
    pub samples: Vec<usize>,
    /// `u32::MAX` where there is none.
    pub labels: Vec<u32>,
    /// `[views · samples, channels, size, size]`, view-major; of sounds and series `[views · samples, channels, 1, length]`.
    pub pixels: Tensor<4>,
}

/// Where views are made.
pub(crate) enum Feed {
    /// On the host, ahead of the step.
    Host { loader: Loader, device: Device },
    /// Of sounds and series, likewise.
    Signals { loader: SignalLoader, device: Device },
    /// On the device, as part of the step; the host only draws what is random.
    Device(DeviceFeed),
}

pub(crate) struct DeviceFeed {
    pub made_by: Arc<DeviceViews>,
    pub data: Arc<Prepared>,
    /// One pipeline a view.
    pub views: Vec<Arc<Views>>,
    pub batches: IntoIter<Vec<usize>>,
    pub seed: u64,
    pub epoch: u64,
}

impl Iterator for Feed {
    type Item = Result<Fed, DataError>;

    fn next(&mut self) -> Option<Self::Item> {
        match self {
            Self::Host { loader, device } => loader.next().map(|batch| {
                let batch = batch?;
                let pixels = Tensor::from_data(TensorData::new(batch.pixels, batch.shape), &*device);
                Ok(Fed { samples: batch.samples, labels: batch.labels, pixels })
            }),
            Self::Signals { loader, device } => loader.next().map(|batch| {
                let batch = batch?;
                let [n, channels, length] = batch.shape;
                let data = TensorData::new(batch.values, [n, channels, 1, length]);
                let pixels = Tensor::from_data(data, &*device);
                Ok(Fed { samples: batch.samples, labels: batch.labels, pixels })
            }),
            Self::Device(feed) => {
                let samples = feed.batches.next()?;
                Some(feed.make(samples))
            }
        }
    }
}

impl DeviceFeed {
    fn make(&self, samples: Vec<usize>) -> Result<Fed, DataError> {
        let draws = draw_batch(&self.data, &self.views, &samples, self.seed, self.epoch)?;
        let pixels = Tensor::from_inner(self.made_by.make(&samples, &draws));
        Ok(Fed { labels: labels(&self.data, &samples), samples, pixels })
    }
}
