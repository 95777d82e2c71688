//! Every network beside PyTorch's, in value and gradient: `golden/networks.py` made the numbers. Weights go in through a file
//! under PyTorch's names, so that names and layouts are checked too.

use std::collections::BTreeMap;

use burn::module::{Module, ModuleMapper, Param};
use burn::optim::GradientsParams;
use burn::prelude::*;
use burn::store::{BurnToPyTorchAdapter, ModuleSnapshot, bridge};
use burn::tensor::TensorData;
use nearkin_net::encoders::{
    EncoderConfig, InceptionConfig, InceptionLayout, LuNetConfig, MlpEncoderConfig, Stem, VitConfig,
};
use nearkin_net::masked::DecoderConfig;
use nearkin_net::sequences::{
    CausalTransformerConfig, ContextConfig, SequenceEncoderConfig, SequenceNetwork, SequenceNetworkConfig,
    StridedConvConfig,
};
use nearkin_net::weights::load_safetensors;
use nearkin_net::{DinoHeadConfig, Encoder, NetworkConfig, Patches};
use safetensors::tensor::{Dtype, TensorView};
use serde::Deserialize;

#[derive(Deserialize)]
struct Case {
    output: Vec<f64>,
    sum: f64,
    input: f64,
    parameters: BTreeMap<String, f64>,
}

fn case(name: &str) -> Case {
    let mut all: BTreeMap<String, Case> =
        toml::from_str(include_str!("golden/networks.toml")).expect("golden values");
    all.remove(name).expect("a case of this name")
}

/// Values in [−0.5, 0.5), as the script's.
fn noise(name: &str, count: usize) -> Vec<f64> {
    let start = name.bytes().enumerate().map(|(i, byte)| (i + 1) * usize::from(byte)).sum::<usize>() % 8191;
    (0..count).map(|i| ((i * 7919 + start * 101) % 8191) as f64 / 8191.0 - 0.5).collect()
}

fn filled(name: &str, shape: &[usize]) -> Vec<f32> {
    let values = noise(name, shape.iter().product());
    let scaled = |value: f64| match shape {
        [_, rest @ ..] if !rest.is_empty() => {
            value * 2.0 * (3.0 / rest.iter().product::<usize>() as f64).sqrt()
        }
        _ if name.ends_with("weight") || name.ends_with("running_var") => 1.0 + 0.5 * value,
        _ => 0.5 * value,
    };
    values.into_iter().map(|value| scaled(value) as f32).collect()
}

/// Tensors by PyTorch's names, with shapes and values.
fn named<M: Module>(module: &M) -> BTreeMap<String, (Vec<usize>, Vec<f32>)> {
    let tensors = module.collect(None, Some(Box::new(BurnToPyTorchAdapter)), true);
    let read = |tensor: burn::store::burn_pack::Tensor| {
        let (name, shape) = (tensor.name.clone(), tensor.shape.to_vec());
        (name, (shape, bridge::into_data(tensor).expect("a tensor").try_to_vec().expect("f32")))
    };
    tensors.into_iter().map(read).collect()
}

fn fill<M: Module>(module: &mut M) {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("weights.safetensors");
    let bytes: BTreeMap<String, (Vec<usize>, Vec<u8>)> = named(module)
        .into_iter()
        .map(|(name, (shape, _))| {
            let bytes = filled(&name, &shape).into_iter().flat_map(f32::to_le_bytes).collect();
            (name, (shape, bytes))
        })
        .collect();
    let views = bytes.iter().map(|(name, (shape, bytes))| {
        (name.as_str(), TensorView::new(Dtype::F32, shape.clone(), bytes).expect("a view"))
    });
    safetensors::serialize_to_file(views, None, &path).expect("a file");
    load_safetensors(module, &path).expect("weights that fit");
}

/// Puts each parameter's gradient in its place, so that it has the parameter's name and layout.
struct Replace(GradientsParams);

impl ModuleMapper for Replace {
    fn map_float<const D: usize>(&mut self, param: Param<Tensor<D>>) -> Param<Tensor<D>> {
        match self.0.remove::<D>(param.id) {
            Some(gradient) => param.map(|_| gradient),
            None => param,
        }
    }
}

fn inner(values: &[f32], name: &str) -> f64 {
    values.iter().zip(noise(name, values.len())).map(|(value, weight)| f64::from(*value) * weight).sum()
}

fn check<M: Module, const D: usize, const O: usize>(
    name: &str,
    mut module: M,
    shape: [usize; D],
    forward: impl Fn(&M, Tensor<D>) -> Tensor<O>,
) {
    let wanted = case(name);
    fill(&mut module);
    let device = Device::flex().autodiff();
    let x: Vec<f32> = noise(name, shape.iter().product()).into_iter().map(|v| (2.0 * v) as f32).collect();
    let x = Tensor::<D>::from_data(TensorData::new(x, shape), &device).require_grad();
    let y = forward(&module, x.clone());
    let count = y.shape().num_elements();
    let y = y.reshape([count]);
    let output: Vec<f32> = y.to_data().try_to_vec().expect("f32");
    for (i, (found, wanted)) in output.iter().zip(&wanted.output).enumerate() {
        assert!(
            (f64::from(*found) - wanted).abs() < 2e-5 * (1.0 + wanted.abs()),
            "{name}, {i}: {found}, {wanted}"
        );
    }
    let near = |found: f64, wanted: f64, what: &str| {
        assert!((found - wanted).abs() < 2e-4 * (1.0 + wanted.abs()), "{name}, {what}: {found}, {wanted}");
    };
    near(inner(&output, "sum"), wanted.sum, "output");
    let weights: Vec<f32> = noise("loss", count).into_iter().map(|v| v as f32).collect();
    let weights = Tensor::<1>::from_data(TensorData::new(weights, [count]), &device);
    let mut gradients = (y * weights).sum().backward();
    let of_input: Vec<f32> =
        x.grad_remove(&mut gradients).expect("a gradient").into_data().try_to_vec().expect("f32");
    near(inner(&of_input, "input.gradient"), wanted.input, "input");
    let gradients = GradientsParams::from_grads(gradients, &module);
    assert_eq!(gradients.len(), wanted.parameters.len(), "{name}");
    let found = named(&module.valid().map(&mut Replace(gradients)));
    for (parameter, wanted) in wanted.parameters {
        let (_, values) = found.get(&parameter).unwrap_or_else(|| panic!("{name} has no {parameter}"));
        near(inner(values, &format!("{parameter}.gradient")), wanted, &parameter);
    }
}

fn encoder(encoder: EncoderConfig, channels: usize, size: usize) -> Encoder {
    let config = NetworkConfig { encoder, channels, size, embedding: None, projector: None };
    config.init(&Device::flex().autodiff(), 1).expect("a valid network").encoder
}

#[test]
fn drlims_nets_are_pytorchs() {
    check("le-net", encoder(EncoderConfig::LeNet {}, 1, 28), [3, 1, 28, 28], Encoder::forward);
    let mlp = EncoderConfig::Mlp(MlpEncoderConfig { hidden: vec![4, 3] });
    check("mlp", encoder(mlp, 2, 5), [3, 2, 5, 5], Encoder::forward);
}

#[test]
fn lu_net_is_pytorchs() {
    let net = encoder(EncoderConfig::LuNet(LuNetConfig { width: 4 }), 2, 40);
    check("lu-net", net, [6, 2, 40, 40], Encoder::forward);
}

#[test]
fn facenets_net_is_pytorchs_with_batch_normalisation_and_as_published() {
    let small = InceptionConfig { width: 2, ..InceptionConfig::default() };
    check("inception", encoder(EncoderConfig::Inception(small), 3, 20), [4, 3, 20, 20], Encoder::forward);
    let published =
        InceptionConfig { layout: InceptionLayout::Nn2, width: 1, stem: Stem::Large, batch_norm: false };
    let net = encoder(EncoderConfig::Inception(published), 1, 64);
    check("inception-published", net, [2, 1, 64, 64], Encoder::forward);
}

const VIT: VitConfig = VitConfig { patch: 2, depth: 1, width: 8, heads: 2 };

fn kept() -> Patches {
    Patches::new(&[vec![4, 1], vec![0, 3]], [2, 3]).expect("patches of the grid")
}

#[test]
fn the_vision_transformer_is_pytorchs_whole_and_on_some_patches() {
    let deep = EncoderConfig::Vit(VitConfig { depth: 2, ..VIT });
    check("vit", encoder(deep, 3, 4), [2, 3, 4, 6], Encoder::forward);
    let net = encoder(EncoderConfig::Vit(VIT), 3, 4);
    check("vit-kept", net, [2, 3, 4, 6], |net, x| match net {
        Encoder::Vit(vit) => vit.forward_kept(x, &kept()),
        _ => panic!("a vision transformer"),
    });
}

#[test]
fn decoder_and_predictor_of_masked_images_are_pytorchs() {
    let device = Device::flex().autodiff();
    let config = DecoderConfig { width: 4, depth: 1, heads: 2 };
    let decoder = config.masked_decoder(&VIT, 3, &device, 1).expect("a decoder");
    check("masked-decoder", decoder, [2, 2, 8], |decoder, x| decoder.forward(x, &kept()));
    let predictor = config.patch_predictor(&VIT, &device, 1).expect("a predictor");
    let targets = Patches::new(&[vec![5, 2, 0], vec![5, 4, 1]], [2, 3]).expect("patches of the grid");
    check("patch-predictor", predictor, [2, 2, 8], |net, x| net.forward(x, &kept(), &targets));
}

#[test]
fn sequence_networks_are_pytorchs() {
    let predicted = |network: &SequenceNetwork, x: Tensor<3>| {
        Tensor::cat(network.predictions(network.contexts(network.frames(x))), 2)
    };
    let conv = |batch_norm| StridedConvConfig { width: 4, batch_norm };
    let gru = SequenceNetworkConfig {
        encoder: SequenceEncoderConfig::CpcAudio(conv(false)),
        channels: 1,
        context: Some(ContextConfig::Gru { width: 3 }),
        ahead: 2,
    };
    let device = Device::flex().autodiff();
    check("cpc-gru", gru.init(&device, 1).expect("a network"), [3, 1, 960], predicted);
    let transformer = SequenceNetworkConfig {
        encoder: SequenceEncoderConfig::Series(conv(true)),
        channels: 2,
        context: Some(ContextConfig::CausalTransformer(CausalTransformerConfig { depth: 1, heads: 2 })),
        ahead: 1,
    };
    check("cpc-transformer", transformer.init(&device, 1).expect("a network"), [3, 2, 48], predicted);
}

#[test]
fn dinos_head_is_pytorchs() {
    let config = DinoHeadConfig { hidden: 5, bottleneck: 3, out: 6, layers: 3 };
    let head = config.init(4, &Device::flex().autodiff(), 1).expect("a head");
    check("dino-head", head, [3, 4], |head, x| head.forward(x));
}
