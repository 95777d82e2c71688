//! A whole training step, Burn's part included, gives the same bits on any number of threads.

use std::process::Command;

use burn::optim::momentum::MomentumConfig;
use burn::optim::{GradientsParams, SgdConfig};
use burn::prelude::*;
use burn::tensor::TensorData;
use nearkin_net::parameters::fingerprint;
use nearkin_net::{
    ContextConfig, EncoderConfig, InceptionConfig, LuNetConfig, MlpConfig, MlpEncoderConfig, NetworkConfig,
    PatchGridConfig, ResNetConfig, SequenceEncoderConfig, SequenceNetworkConfig, Stem, VitConfig,
};

const TEST: &str = "training_gives_the_same_bits_on_any_number_of_threads";
const CHILD: &str = "NEARKIN_NET_TEST_CHILD";

#[test]
fn training_gives_the_same_bits_on_any_number_of_threads() {
    if std::env::var_os(CHILD).is_some() {
        println!("bits {}", trained());
        return;
    }
    // Burn computes on rayon's global pool, whose size a process chooses once: one process a size.
    let bits = [1, 2, 3, 5].map(|threads: usize| {
        let output = Command::new(std::env::current_exe().expect("this test"))
            .args(["--exact", TEST, "--nocapture"])
            .env(CHILD, "1")
            .env("RAYON_NUM_THREADS", threads.to_string())
            .output()
            .expect("this test again");
        let text = String::from_utf8_lossy(&output.stdout).into_owned();
        let bits = text.lines().find_map(|line| line.split_once("bits ")).map(|(_, bits)| bits.to_owned());
        bits.unwrap_or_else(|| panic!("{text}{}", String::from_utf8_lossy(&output.stderr)))
    });
    assert!(bits.iter().all(|other| *other == bits[0]), "{bits:?}");
}

/// Fingerprints of networks after two steps.
fn trained() -> String {
    let resnet = ResNetConfig { stem: Stem::Large, ..ResNetConfig::default() };
    let inception = InceptionConfig { width: 8, batch_norm: false, ..InceptionConfig::default() };
    let images = [
        (EncoderConfig::SmallConv { width: 8 }, 48, 32),
        (EncoderConfig::Resnet18(resnet), 6, 40),
        (EncoderConfig::LeNet {}, 40, 28),
        (EncoderConfig::Mlp(MlpEncoderConfig { hidden: vec![300] }), 200, 24),
        (EncoderConfig::LuNet(LuNetConfig::default()), 24, 32),
        (EncoderConfig::Inception(inception), 12, 32),
        (EncoderConfig::Vit(VitConfig { depth: 2, ..VitConfig::default() }), 24, 32),
        (EncoderConfig::CpcPatches(PatchGridConfig { width: 8, ..PatchGridConfig::default() }), 24, 32),
    ];
    let images = images.map(|(encoder, batch, size)| train(encoder, batch, size));
    let contexts = [ContextConfig::Gru { width: 160 }, ContextConfig::CausalTransformer(Default::default())];
    [images.join(" "), contexts.map(train_on_sound).join(" ")].join(" ")
}

fn train_on_sound(context: ContextConfig) -> String {
    let device = Device::flex().autodiff();
    let config = SequenceNetworkConfig {
        encoder: SequenceEncoderConfig::default(),
        channels: 1,
        context: Some(context),
        ahead: 4,
    };
    let mut network = config.init(&device, 1).expect("a valid network");
    let mut optimizer = SgdConfig::new().init();
    for step in 0..2 {
        let sound = Tensor::from_data(values([40, 1, 3200], step), &device);
        let predictions = network.predictions(network.contexts(network.frames(sound)));
        let loss = Tensor::cat(predictions, 2).square().mean();
        let gradients = GradientsParams::from_grads(loss.backward(), &network);
        network = optimizer.step(0.05, network, gradients);
    }
    fingerprint(&network)
}

fn values<const D: usize>(shape: [usize; D], step: usize) -> TensorData {
    let value = |i: usize| ((i * 7919 + step * 104_729) % 1009) as f32 / 504.5 - 1.0;
    let values: Vec<f32> = (0..shape.iter().product()).map(value).collect();
    TensorData::new(values, shape)
}

fn train(encoder: EncoderConfig, batch: usize, size: usize) -> String {
    let device = Device::flex().autodiff();
    let config = NetworkConfig {
        encoder,
        channels: 3,
        size,
        embedding: Some(96),
        projector: Some(MlpConfig { layers: 3, ..MlpConfig::byol(520, 130) }),
    };
    let mut network = config.init(&device, 1).expect("a valid network");
    let momentum = MomentumConfig::new().with_momentum(0.9).with_dampening(0.0);
    let mut optimizer = SgdConfig::new().with_momentum(Some(momentum)).init();
    for step in 0..2 {
        let images = Tensor::<4>::from_data(values([batch, 3, size, size], step), &device);
        let loss = network.project(images).square().mean();
        let gradients = GradientsParams::from_grads(loss.backward(), &network);
        network = optimizer.step(0.05, network, gradients);
    }
    fingerprint(&network)
}
