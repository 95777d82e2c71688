//! WAV files: 8, 16, 24 or 32 bits a value, or 32-bit floats, of any channels.

use std::io::Cursor;
use std::path::Path;

use hound::{SampleFormat, WavReader};

use crate::error::DataError;
use crate::signal::Signal;

/// The most values of a sound: over an hour of stereo at 48 kHz. A header that promises more is not believed.
const MOST_VALUES: usize = 1 << 29;

/// Decodes a WAV file, on the scale of −1 to 1.
pub(crate) fn read_wav(path: &Path, bytes: &[u8]) -> Result<Signal, DataError> {
    let broken = |problem: String| DataError::Sound { path: path.to_owned(), problem };
    let not_wav = |error: hound::Error| broken(format!("not a WAV file that can be read: {error}"));
    let mut reader = WavReader::new(Cursor::new(bytes)).map_err(not_wav)?;
    let spec = reader.spec();
    let channels = usize::from(spec.channels);
    let interleaved: Vec<f32> = match spec.sample_format {
        SampleFormat::Float => reader.samples::<f32>().take(MOST_VALUES).collect::<hound::Result<Vec<f32>>>(),
        SampleFormat::Int => {
            let scale = (1.0 / f64::from(spec.bits_per_sample - 1).exp2()) as f32;
            let values = reader.samples::<i32>().take(MOST_VALUES);
            values.map(|value| value.map(|value| value as f32 * scale)).collect()
        }
    }
    .map_err(not_wav)?;
    if interleaved.is_empty() || channels == 0 {
        return Err(broken("the sound is empty".into()));
    }
    if interleaved.len() == MOST_VALUES {
        return Err(broken(format!("more than {MOST_VALUES} values: cut it into shorter files")));
    }
    let steps = interleaved.len() / channels;
    let values = (0..channels).flat_map(|c| (0..steps).map(move |i| (c, i)));
    let values = values.map(|(c, i)| interleaved[i * channels + c]).collect();
    Signal::new(channels, Some(spec.sample_rate), values).map_err(|error| broken(error.to_string()))
}
