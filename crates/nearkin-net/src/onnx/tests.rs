use std::collections::BTreeSet;

use burn::module::{ModuleMapper, Param};
use burn::prelude::*;
use burn::tensor::TensorData;
use prost::Message;
use rten::Model;
use rten_tensor::prelude::*;

use super::*;
use crate::encoders::{
    EncoderConfig, InceptionConfig, InceptionLayout, LuNetConfig, MlpEncoderConfig, PatchGridConfig,
    ResNetConfig, Stem, VitConfig,
};
use crate::heads::MlpConfig;
use crate::kernels::testing::{noise, values};
use crate::network::NetworkConfig;
use crate::sequences::{CausalTransformerConfig, ContextConfig, SequenceConfig};

const SIZE: usize = 32;
const CHANNELS: usize = 3;

/// A network whose every parameter and statistic is some number, as after a training, ready to evaluate.
fn network(encoder: EncoderConfig, embedding: Option<usize>, signal: bool) -> Network {
    struct Move(u64);
    impl ModuleMapper for Move {
        fn map_float<const D: usize>(&mut self, param: Param<Tensor<D>>) -> Param<Tensor<D>> {
            self.0 += 1;
            let seed = self.0;
            param.map(|weight| {
                let (shape, device) = (weight.dims(), weight.device());
                let moves = TensorData::new(noise(shape.iter().product(), seed), shape);
                weight + Tensor::from_data(moves, &device).mul_scalar(0.05)
            })
        }
    }
    let device = Device::flex().autodiff();
    let projector = Some(MlpConfig::new(4, 4));
    let config = NetworkConfig { encoder, channels: CHANNELS, size: SIZE, embedding, projector };
    let network = config.init(&device, 3).unwrap().map(&mut Move(0));
    let shape = if signal { [6, CHANNELS, 1, 400] } else { [6, CHANNELS, SIZE, SIZE] };
    let batch = TensorData::new(noise(shape.iter().product(), 8), shape);
    network.embed(Tensor::from_data(batch, &device).mul_scalar(1.5));
    network.valid()
}

/// The largest difference between two sets of vectors; where values are beyond one, in parts of the largest: weights at random make them
/// grow from layer to layer, and a value near zero is then what is left of large ones.
fn difference(a: &[f32], b: &[f32]) -> f32 {
    assert_eq!(a.len(), b.len());
    assert!(a.iter().all(|value| value.is_finite()), "{a:?}");
    let largest = b.iter().fold(1.0, |largest: f32, b| largest.max(b.abs()));
    a.iter().zip(b).map(|(a, b)| (a - b).abs() / largest).fold(0.0, f32::max)
}

fn run<T>(bytes: &[u8], input: &str, shape: &[usize], data: Vec<T>) -> Vec<f32>
where
    rten::ValueOrView<'static>: From<rten_tensor::Tensor<T>>,
{
    let model = Model::load(bytes.to_vec()).unwrap();
    let [input, output] = [input, "embedding"].map(|name| model.node_id(name).unwrap());
    let data = rten_tensor::Tensor::from_data(shape, data);
    let [found] = model.run_n(vec![(input, data.into())], [output], None).unwrap();
    let found: rten_tensor::Tensor<f32> = found.try_into().unwrap();
    found.to_vec()
}

/// Every name is given once and before it is taken, and nothing is there in vain.
fn assert_well_formed(bytes: &[u8], input: &str) {
    let graph = ModelProto::decode(bytes).unwrap().graph;
    let mut known: BTreeSet<&str> = graph.input.iter().map(|input| &input.name[..]).collect();
    assert_eq!(known, BTreeSet::from([input]));
    let mut unused: BTreeSet<&str> = graph.initializer.iter().map(|tensor| &tensor.name[..]).collect();
    assert_eq!(unused.len(), graph.initializer.len());
    for tensor in &graph.initializer {
        let each = if tensor.data_type == FLOAT { 4 } else { 8 };
        assert_eq!(
            tensor.raw_data.len() as i64,
            each * tensor.dims.iter().product::<i64>(),
            "{}",
            tensor.name
        );
        assert!(known.insert(&tensor.name));
    }
    for node in &graph.node {
        for name in &node.input {
            assert!(known.contains(&name[..]), "{} takes {name}", node.name);
            unused.remove(&name[..]);
        }
        for name in &node.output {
            assert!(known.insert(name), "{name} is given twice");
        }
    }
    assert!(unused.is_empty() && known.contains("embedding"), "{unused:?}");
}

fn of_unit_length(vectors: Tensor<2>) -> Tensor<2> {
    let length = vectors.clone().square().sum_dim(1).sqrt();
    vectors / length
}

/// Of images, with and without an embedding layer and a normalisation, one and several at once.
fn assert_agrees_on_images(encoder: EncoderConfig) {
    let (mean, std) = (vec![0.5, 0.4, 0.3], vec![0.25, 0.2, 0.3]);
    for (embedding, normalise) in [(None, false), (Some(7), true)] {
        let network = network(encoder.clone(), embedding, false);
        let input = Input::Image { size: SIZE, mean: mean.clone(), std: std.clone() };
        let bytes = encode(&network, &input, normalise, &[]).unwrap();
        assert_well_formed(&bytes, "image");
        for n in [1, 3] {
            let pixels: Vec<u8> = noise(n * SIZE * SIZE * CHANNELS, 5)
                .iter()
                .map(|v| (127.0 + 120.0 * v.clamp(-1.0, 1.0)) as u8)
                .collect();
            let place = |image, channel, at| (image * SIZE * SIZE + at) * CHANNELS + channel;
            let planes = (0..n)
                .flat_map(|i| (0..CHANNELS).flat_map(move |c| (0..SIZE * SIZE).map(move |at| (i, c, at))));
            let seen: Vec<f32> = planes
                .map(|(i, c, at)| (f32::from(pixels[place(i, c, at)]) / 255.0 - mean[c]) / std[c])
                .collect();
            let images = Tensor::from_data(TensorData::new(seen, [n, CHANNELS, SIZE, SIZE]), &Device::flex());
            let wanted = network.embed(images);
            let wanted = values(if normalise { of_unit_length(wanted) } else { wanted });
            let found = run(&bytes, "image", &[n, SIZE, SIZE, CHANNELS], pixels);
            let difference = difference(&found, &wanted);
            assert!(difference < 1e-4, "{encoder}, embedding {embedding:?}, {n} images: {difference}");
        }
    }
}

/// Of series of two lengths.
fn assert_agrees_on_signals(encoder: EncoderConfig, by_itself: bool) {
    let network = network(encoder.clone(), Some(5), true);
    let (mean, std) = ([0.5, -2.0, 0.0], [1.5, 3.0, 0.5]);
    let input = match by_itself {
        true => Input::SignalByItself { channels: CHANNELS },
        false => Input::Signal { mean: mean.to_vec(), std: std.to_vec() },
    };
    let bytes = encode(&network, &input, false, &[]).unwrap();
    assert_well_formed(&bytes, "signal");
    for (n, steps) in [(2, 333), (1, 800)] {
        let each = CHANNELS * steps;
        let raw: Vec<f32> = noise(n * each, 4).iter().map(|v| 3.0 + 2.0 * v).collect();
        let scaled = |(at, v): (usize, &f32)| {
            let (signal, channel) = (at / each, at / steps % CHANNELS);
            if !by_itself {
                return (v - mean[channel]) / std[channel];
            }
            let signal: Vec<f64> = raw[signal * each..][..each].iter().map(|v| f64::from(*v)).collect();
            let mean = signal.iter().sum::<f64>() / each as f64;
            let variance = signal.iter().map(|v| (v - mean).powi(2)).sum::<f64>() / each as f64;
            ((f64::from(*v) - mean) / variance.sqrt()) as f32
        };
        let seen: Vec<f32> = raw.iter().enumerate().map(scaled).collect();
        let signals = Tensor::from_data(TensorData::new(seen, [n, CHANNELS, 1, steps]), &Device::flex());
        let wanted = values(network.embed(signals));
        let found = run(&bytes, "signal", &[n, CHANNELS, steps], raw.clone());
        let difference = difference(&found, &wanted);
        assert!(difference < 1e-4, "{encoder}, {n} × {steps} steps: {difference}");
    }
}

fn resnet(stem: Stem) -> ResNetConfig {
    ResNetConfig { stem, ..ResNetConfig::default() }
}

fn sequence(context: Option<ContextConfig>, batch_norm: bool) -> SequenceConfig {
    SequenceConfig { width: 16, batch_norm, context, ahead: 2 }
}

#[test]
fn small_networks_of_images_agree() {
    assert_agrees_on_images(EncoderConfig::SmallConv { width: 8 });
    assert_agrees_on_images(EncoderConfig::LeNet {});
    assert_agrees_on_images(EncoderConfig::Mlp(MlpEncoderConfig { hidden: vec![24, 12] }));
    assert_agrees_on_images(EncoderConfig::LuNet(LuNetConfig { width: 8 }));
}

#[test]
fn residual_networks_agree_with_either_stem() {
    assert_agrees_on_images(EncoderConfig::Resnet18(resnet(Stem::Small)));
    assert_agrees_on_images(EncoderConfig::Resnet34(resnet(Stem::Large)));
    assert_agrees_on_images(EncoderConfig::Resnet50(resnet(Stem::Large)));
}

#[test]
fn inception_agrees() {
    let small = InceptionConfig { width: 8, ..InceptionConfig::default() };
    assert_agrees_on_images(EncoderConfig::Inception(small));
    let whole = InceptionConfig { layout: InceptionLayout::Nn2, stem: Stem::Large, ..small };
    assert_agrees_on_images(EncoderConfig::Inception(whole));
}

// This runtime has no local response normalisation; its values are checked by bench/exporting.py.
#[test]
fn inception_as_published_is_well_formed() {
    let config = InceptionConfig { width: 8, batch_norm: false, ..InceptionConfig::default() };
    let network = network(EncoderConfig::Inception(config), Some(4), false);
    let input = Input::Image { size: SIZE, mean: vec![0.5; CHANNELS], std: vec![0.5; CHANNELS] };
    let bytes = encode(&network, &input, true, &[]).unwrap();
    assert_well_formed(&bytes, "image");
    let graph = ModelProto::decode(&bytes[..]).unwrap().graph;
    assert_eq!(graph.node.iter().filter(|node| node.op_type == "LRN").count(), 2);
}

#[test]
fn a_vision_transformer_agrees() {
    assert_agrees_on_images(EncoderConfig::Vit(VitConfig { patch: 8, depth: 2, width: 24, heads: 3 }));
}

#[test]
fn a_grid_of_patches_agrees() {
    let config = PatchGridConfig { grid: 3, width: 4, ..PatchGridConfig::default() };
    assert_agrees_on_images(EncoderConfig::CpcPatches(config));
}

#[test]
fn networks_of_sounds_and_series_agree_at_any_length() {
    let gru = || Some(ContextConfig::Gru { width: 12 });
    let transformer =
        || Some(ContextConfig::CausalTransformer(CausalTransformerConfig { depth: 2, heads: 4 }));
    assert_agrees_on_signals(EncoderConfig::CpcAudio(sequence(gru(), true)), true);
    assert_agrees_on_signals(EncoderConfig::CpcAudio(sequence(None, false)), true);
    assert_agrees_on_signals(EncoderConfig::Series(sequence(gru(), false)), false);
    assert_agrees_on_signals(EncoderConfig::Series(sequence(transformer(), true)), false);
}

#[test]
fn a_signal_that_never_changes_is_zeros_to_the_network() {
    let network = network(EncoderConfig::Series(sequence(None, false)), None, true);
    let bytes = encode(&network, &Input::SignalByItself { channels: CHANNELS }, false, &[]).unwrap();
    let silence = Tensor::zeros([1, CHANNELS, 1, 64], &Device::flex());
    let found = run(&bytes, "signal", &[1, CHANNELS, 64], vec![0.1f32; CHANNELS * 64]);
    assert!(difference(&found, &values(network.embed(silence))) < 1e-5);
}

#[test]
fn the_file_says_what_it_is_and_is_the_same_each_time() {
    let network = network(EncoderConfig::SmallConv { width: 4 }, Some(3), false);
    let input = Input::Image { size: SIZE, mean: vec![0.5; CHANNELS], std: vec![0.5; CHANNELS] };
    let bytes = encode(&network, &input, false, &[("metric", "euclidean".into())]).unwrap();
    assert_eq!(bytes, encode(&network, &input, false, &[("metric", "euclidean".into())]).unwrap());
    let model = ModelProto::decode(&bytes[..]).unwrap();
    assert_eq!((model.ir_version, model.opset_import[0].version), (8, 17));
    assert_eq!(model.metadata_props[0].value, "euclidean");
    let shape = |value: &message::ValueInfoProto| -> Vec<String> {
        let size = |size: &message::DimensionProto| match size.dim_value {
            Some(size) => size.to_string(),
            None => size.dim_param.clone().unwrap(),
        };
        value.r#type.tensor_type.shape.dim.iter().map(size).collect()
    };
    assert_eq!(shape(&model.graph.input[0]), ["n", "32", "32", "3"]);
    assert_eq!(shape(&model.graph.output[0]), ["n", "3"]);
    let names: Vec<&str> = model.graph.initializer.iter().map(|tensor| &tensor.name[..]).collect();
    assert!(
        names.contains(&"encoder.stages.0.conv.weight") && names.contains(&"embedding.bias"),
        "{names:?}"
    );
    assert!(!names.iter().any(|name| name.starts_with("projector")), "{names:?}");
}
