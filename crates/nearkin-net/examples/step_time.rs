//! Times training steps on the CPU: `cargo run --release -p nearkin-net --example step_time`.

use std::time::Instant;

use burn::optim::{GradientsParams, SgdConfig};
use burn::prelude::*;
use burn::tensor::Distribution;
use nearkin_net::{EncoderConfig, NetworkConfig, ResNetConfig};

const STEPS: usize = 20;

fn main() -> Result<(), nearkin_net::ConfigError> {
    let small = EncoderConfig::SmallConv { width: 32 };
    let resnet = EncoderConfig::Resnet18(ResNetConfig::default());
    // The quick start's own, and two of colour pictures.
    for (encoder, channels, size, batch) in
        [(small.clone(), 1, 28, 160), (small, 3, 32, 128), (resnet, 3, 32, 64)]
    {
        time(encoder, channels, size, batch)?;
    }
    Ok(())
}

fn time(
    encoder: EncoderConfig,
    channels: usize,
    size: usize,
    batch: usize,
) -> Result<(), nearkin_net::ConfigError> {
    let device = Device::flex().autodiff();
    let config = NetworkConfig { encoder, channels, size, embedding: Some(128), projector: None };
    let mut network = config.init(&device, 1)?;
    let mut optimizer = SgdConfig::new().init();
    let images = Tensor::<4>::random([batch, channels, size, size], Distribution::Normal(0.0, 1.0), &device);
    let mut best = [f64::INFINITY; 3];
    for _ in 0..STEPS {
        let start = Instant::now();
        let loss = network.embed(images.clone()).square().mean();
        let forward = start.elapsed().as_secs_f64();
        let gradients = GradientsParams::from_grads(loss.backward(), &network);
        let both = start.elapsed().as_secs_f64();
        network = optimizer.step(1e-3, network, gradients);
        let times = [forward, both - forward, start.elapsed().as_secs_f64()];
        for (best, time) in best.iter_mut().zip(times) {
            *best = best.min(time);
        }
    }
    let [forward, backward, step] = best.map(|seconds| seconds * 1e3);
    println!("{:?}, {batch} images of {channels} x {size} x {size}, best of {STEPS}:", config.encoder);
    println!("  forward {forward:.0} ms, backward {backward:.0} ms, step {step:.0} ms");
    Ok(())
}
