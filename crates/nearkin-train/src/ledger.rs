//! The losses of steps, some not read yet.

use burn::tensor::Tensor;
use nearkin_loss::{Evaluated, Figures, LossError};

/// The most losses that wait to be read: a loss that is no number is found at most so many steps late.
const MOST: usize = 100;

/// Losses in the order of their steps. On a GPU a value is read only now and then: to read it, the host would have to wait
/// for the step, and the GPU then for the host.
#[derive(Default)]
pub(crate) struct Ledger {
    waiting: Vec<Entry>,
}

struct Entry {
    step: usize,
    samples: Vec<usize>,
    loss: Evaluated,
    /// How many of the samples the online probe classified rightly, if there is one.
    right: Option<Tensor<1>>,
}

/// A step whose loss has been read.
#[derive(Debug, PartialEq)]
pub(crate) struct Settled {
    /// From 1.
    pub step: usize,
    pub samples: Vec<usize>,
    pub figures: Figures,
    /// How many of the samples the online probe classified rightly.
    pub right: Option<usize>,
}

impl Ledger {
    /// Takes in the loss of a step, and how many of its samples the online probe knew.
    pub(crate) fn enter(
        &mut self,
        step: usize,
        samples: &[usize],
        loss: Evaluated,
        right: Option<Tensor<1>>,
    ) {
        self.waiting.push(Entry { step, samples: samples.to_vec(), loss, right });
    }

    /// Whether reading costs nothing, or can wait no longer.
    pub(crate) fn is_due(&self) -> bool {
        self.waiting.len() >= MOST || self.waiting.iter().all(|entry| entry.loss.known().is_some())
    }

    /// Reads all that wait, in one go.
    ///
    /// # Errors
    /// When they cannot be read from their device.
    pub(crate) fn settle(&mut self) -> Result<Vec<Settled>, LossError> {
        let figures = Evaluated::all_figures(self.waiting.iter().map(|entry| &entry.loss))?;
        let waiting = std::mem::take(&mut self.waiting);
        let right: Vec<Tensor<1>> = waiting.iter().filter_map(|entry| entry.right.clone()).collect();
        let mut right = match right.is_empty() {
            true => Vec::new(),
            false => read(Tensor::cat(right, 0))?,
        }
        .into_iter();
        let settled = |(Entry { step, samples, right: known, .. }, figures)| {
            // A count of samples is exact in f32.
            let right = known.and_then(|_| right.next()).map(|count| count as usize);
            Settled { step, samples, figures, right }
        };
        Ok(waiting.into_iter().zip(figures).map(settled).collect())
    }
}

fn read(counts: Tensor<1>) -> Result<Vec<f32>, LossError> {
    counts.into_data().try_to_vec().map_err(|e| LossError::Read(format!("{e:?}")))
}

#[cfg(test)]
mod tests {
    use super::*;
    use burn::tensor::Device;
    use nearkin_loss::evaluate;
    use nearkin_loss::losses::NtXent;
    use nearkin_sweep::SameLabel;

    fn on_device(value: f32) -> Evaluated {
        Evaluated::of_tensor(Tensor::from_data([value], &Device::flex()))
    }

    #[test]
    fn losses_on_a_device_wait_and_come_back_with_their_steps_and_samples() {
        let mut ledger = Ledger::default();
        assert!(ledger.is_due() && ledger.settle().unwrap().is_empty());
        for (step, value) in [(1, 2.0), (2, f32::NAN), (3, 4.0)] {
            let known = Tensor::from_data([step as f32], &Device::flex());
            ledger.enter(step, &[10 * step, 7], on_device(value), (step != 2).then_some(known));
            assert!(!ledger.is_due());
        }
        let settled = ledger.settle().unwrap();
        let bad = settled.iter().find(|s| !s.figures.value.is_finite()).unwrap();
        assert_eq!((bad.step, bad.samples.as_slice()), (2, &[20, 7][..]));
        assert_eq!((settled[2].figures.value, settled.len()), (4.0, 3));
        let right: Vec<Option<usize>> = settled.iter().map(|s| s.right).collect();
        assert_eq!(right, [Some(1), None, Some(3)]);
        assert!(ledger.settle().unwrap().is_empty());
    }

    #[test]
    fn no_more_than_so_many_wait() {
        let mut ledger = Ledger::default();
        for step in 1..=MOST {
            assert!(step == 1 || !ledger.is_due());
            ledger.enter(step, &[], on_device(1.0), None);
        }
        assert!(ledger.is_due());
    }

    #[test]
    fn losses_that_are_known_do_not_wait() {
        let x = Tensor::<2>::from_data([[1.0, 0.2], [0.9, 0.1], [0.0, 1.0], [-1.0, 0.3]], &Device::flex());
        let kin = [0, 0, 1, 1];
        let loss = evaluate(&NtXent::new(0.5).unwrap(), x, None, &SameLabel::within(&kin)).unwrap();
        let mut ledger = Ledger::default();
        ledger.enter(1, &[3], loss, None);
        assert!(ledger.is_due());
        assert_eq!(ledger.settle().unwrap()[0].figures.terms, 4);
    }
}
