//! Networks as ONNX: one file that holds the preprocessing, the encoder, the embedding layer and the normalisation, for any runtime.
//!
//! The graph is of opset 17 and evaluates: batch normalisations use their running statistics. Weights are initializers by PyTorch's
//! names, as in [`save_safetensors`](crate::weights::save_safetensors).

mod encoders;
mod graph;
mod layers;
mod message;

use prost::Message;

use crate::network::Network;
use crate::weights::{WeightsError, state_dict};
use graph::{Graph, Size, Value, described, int};
use message::{FLOAT, ModelProto, OperatorSetIdProto, StringStringEntryProto, UINT8};

/// Version of the operators, of 2021: the first with a layer normalisation.
const OPSET: i64 = 17;
/// Version of the format that goes with it.
const IR_VERSION: i64 = 8;
/// What a file of protocol buffers holds at most, in bytes.
const LARGEST: usize = i32::MAX as usize;
/// Shortest length by which an embedding is divided.
const SHORTEST: f32 = 1e-12;

/// What the graph takes, and how it is brought to the network's scale.
#[derive(Clone, Debug, PartialEq)]
pub enum Input {
    /// `image`: u8 `[n, size, size, channels]`, cut and scaled to the network's size. Each value `v` becomes `(v / 255 − mean) / std`.
    Image {
        /// Side in pixels.
        size: usize,
        /// A value a channel, on the scale of 0 to 1.
        mean: Vec<f32>,
        /// A value a channel, above 0.
        std: Vec<f32>,
    },
    /// `signal`: f32 `[n, channels, steps]`, any number of steps. Each value `v` becomes `(v − mean) / std`.
    Signal {
        /// A value a channel.
        mean: Vec<f32>,
        /// A value a channel, above 0.
        std: Vec<f32>,
    },
    /// `signal`: f32 `[n, channels, steps]`, any number of steps, each signal by its own mean and standard deviation over all channels.
    SignalByItself {
        /// Channels.
        channels: usize,
    },
}

/// Why a network cannot be written as ONNX.
#[derive(Debug, thiserror::Error)]
pub enum OnnxError {
    /// Weights that cannot be read.
    #[error(transparent)]
    Weights(#[from] WeightsError),
    /// A layer whose weight the network does not have under its name.
    #[error("the network has no weight {name}")]
    NoWeight {
        /// The name.
        name: String,
    },
    /// More than a file of protocol buffers holds.
    #[error(
        "the network takes {bytes} bytes, and an ONNX file holds at most {LARGEST}; write its weights as .safetensors"
    )]
    TooLarge {
        /// Bytes of the file.
        bytes: usize,
    },
}

/// A network as the bytes of an `.onnx` file.
///
/// The graph has one input, see [`Input`], and one output: `embedding`, f32 `[n, embedding_dim]`, of unit length if `normalise` is on.
/// The number of samples is free. `metadata` becomes the model's `metadata_props`. The same network gives the same bytes.
///
/// # Errors
///
/// If the file would be larger than 2 GiB, or the weights cannot be read from the network's device.
pub fn encode(
    network: &Network,
    input: &Input,
    normalise: bool,
    metadata: &[(&str, String)],
) -> Result<Vec<u8>, OnnxError> {
    let mut graph = Graph::default();
    let (taken, x, size) = graph.input(input);
    let features = graph.encoder(&network.encoder, &x, size);
    let embedding = match &network.embedding {
        Some(layer) => graph.linear("embedding", layer, &features),
        None => features,
    };
    let embedding = if normalise { graph.of_unit_length(&embedding) } else { embedding };
    let given = described("embedding", FLOAT, &[Size::Any("n"), Size::Of(network.embedding_dim())]);
    let entry = |(key, value): &(&str, String)| StringStringEntryProto {
        key: (*key).to_owned(),
        value: value.clone(),
    };
    let model = ModelProto {
        ir_version: IR_VERSION,
        producer_name: "nearkin".to_owned(),
        producer_version: env!("CARGO_PKG_VERSION").to_owned(),
        graph: graph.finish(taken, (embedding, given), state_dict(network)?)?,
        opset_import: vec![OperatorSetIdProto { domain: String::new(), version: OPSET }],
        metadata_props: metadata.iter().map(entry).collect(),
    };
    match model.encoded_len() {
        bytes if bytes > LARGEST => Err(OnnxError::TooLarge { bytes }),
        _ => Ok(model.encode_to_vec()),
    }
}

impl Graph {
    /// What the graph takes, what the network takes, and the side of the images.
    fn input(&mut self, input: &Input) -> (message::ValueInfoProto, Value, usize) {
        match input {
            Input::Image { size, mean, std } => {
                let channels = mean.len();
                let sizes = [Size::Any("n"), Size::Of(*size), Size::Of(*size), Size::Of(channels)];
                let pixels = self.node("Cast", &[&Value::input("image")], vec![int("to", FLOAT.into())]);
                let planes = self.transpose(&pixels, &[0, 3, 1, 2]);
                let white = self.floats(&[], &[255.0]);
                let planes = self.node("Div", &[&planes, &white], vec![]);
                let x = self.scaled(&planes, &[channels, 1, 1], mean, std);
                (described("image", UINT8, &sizes), x, *size)
            }
            Input::Signal { mean, std } => {
                let x = self.scaled(&Value::input("signal"), &[mean.len(), 1], mean, std);
                (signal(mean.len()), x, 0)
            }
            Input::SignalByItself { channels } => {
                let x = self.scaled_by_itself(&Value::input("signal"));
                (signal(*channels), x, 0)
            }
        }
    }

    fn scaled(&mut self, x: &Value, shape: &[usize], mean: &[f32], std: &[f32]) -> Value {
        let (mean, std) = (self.floats(shape, mean), self.floats(shape, std));
        let x = self.node("Sub", &[x, &mean], vec![]);
        self.node("Div", &[&x, &std], vec![])
    }

    fn scaled_by_itself(&mut self, x: &Value) -> Value {
        let (all, mut centred) = ([1, 2], x.clone());
        // Runtimes add in f32: what the first mean leaves over is taken out by a second.
        for _ in 0..2 {
            let mean = self.mean(&centred, &all, true);
            centred = self.node("Sub", &[&centred, &mean], vec![]);
        }
        let squares = self.node("Mul", &[&centred, &centred], vec![]);
        let variance = self.mean(&squares, &all, true);
        let deviation = self.node("Sqrt", &[&variance], vec![]);
        // A signal that never changes keeps its scale, whatever the rounding of its mean leaves of it.
        let [largest, smallest] =
            ["ReduceMax", "ReduceMin"].map(|op| self.node(op, &[x], vec![graph::ints("axes", &all)]));
        let changes = self.node("Greater", &[&largest, &smallest], vec![]);
        let one = self.floats(&[], &[1.0]);
        let deviation = self.node("Where", &[&changes, &deviation, &one], vec![]);
        self.node("Div", &[&centred, &deviation], vec![])
    }

    fn of_unit_length(&mut self, x: &Value) -> Value {
        let length = self.node("ReduceL2", &[x], vec![graph::ints("axes", &[1])]);
        let shortest = self.floats(&[], &[SHORTEST]);
        let length = self.node("Max", &[&length, &shortest], vec![]);
        self.node("Div", &[x, &length], vec![])
    }
}

fn signal(channels: usize) -> message::ValueInfoProto {
    described("signal", FLOAT, &[Size::Any("n"), Size::Of(channels), Size::Any("steps")])
}

#[cfg(test)]
mod tests;
