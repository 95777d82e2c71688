//! How a command ends when it does not end well.

use std::process::ExitCode;

use nearkin_classic::ClassicError;
use nearkin_data::DataError;
use nearkin_eval::EvalError;
use nearkin_index::IndexError;
use nearkin_loss::LossError;
use nearkin_serve::ServeError;
use nearkin_sweep::SweepError;
use nearkin_train::{DeviceError, TrainError};

/// An error and the exit code it stands for: 2 for wrong use, 1 for failure, 130 for an interrupt that saved its state.
#[derive(Debug)]
pub struct Failure {
    pub message: String,
    pub code: u8,
}

impl Failure {
    /// The user asked for something that cannot be.
    pub fn misuse(message: impl Into<String>) -> Self {
        Self { message: message.into(), code: 2 }
    }

    /// Something failed on the way.
    pub fn failed(message: impl Into<String>) -> Self {
        Self { message: message.into(), code: 1 }
    }

    /// The user interrupted, and the state is saved.
    pub fn interrupted(message: impl Into<String>) -> Self {
        Self { message: message.into(), code: 130 }
    }

    pub fn exit_code(&self) -> ExitCode {
        ExitCode::from(self.code)
    }
}

impl From<TrainError> for Failure {
    fn from(error: TrainError) -> Self {
        let code = if error.is_misuse() { 2 } else { 1 };
        Self { message: error.to_string(), code }
    }
}

impl From<ServeError> for Failure {
    fn from(error: ServeError) -> Self {
        let misuse = matches!(error, ServeError::NoPictures { .. } | ServeError::Token { .. });
        Self { message: error.to_string(), code: if misuse { 2 } else { 1 } }
    }
}

impl From<DeviceError> for Failure {
    fn from(error: DeviceError) -> Self {
        Self::misuse(error.to_string())
    }
}

macro_rules! failed {
    ($($error:ty),*) => {$(
        impl From<$error> for Failure {
            fn from(error: $error) -> Self {
                Self::failed(error.to_string())
            }
        }
    )*};
}
failed!(ClassicError, DataError, EvalError, LossError, IndexError, SweepError);
