use burn::optim::GradientsParams;
use burn::tensor::{Device, Tensor, TensorData};
use nearkin_net::*;
use nearkin_train::OptimizerConfig;
use std::time::Instant;
fn main() {
    for (encoder, c, size, batch) in [
        (EncoderConfig::default(), 1, 28, 160),
        (EncoderConfig::default(), 3, 32, 512),
        (EncoderConfig::Resnet18(ResNetConfig::default()), 3, 32, 64),
    ] {
        for opt in [
            OptimizerConfig::AdamW { lr: 1e-3, weight_decay: 1e-4 },
            OptimizerConfig::Sgd { lr: 1e-3, momentum: 0.9, weight_decay: 1e-4 },
            OptimizerConfig::Lars { lr: 1e-3, momentum: 0.9, weight_decay: 1e-4, trust: 1e-3 },
        ] {
            let device = Device::flex().autodiff();
            let mut network = NetworkConfig {
                encoder: encoder.clone(),
                channels: c,
                size,
                embedding: Some(128),
                projector: None,
            }
            .init(&device, 1)
            .unwrap();
            let mut optimizer = opt.build().unwrap();
            let v: Vec<f32> = (0..batch * c * size * size)
                .map(|i| (i * 2_654_435_761usize % 1009) as f32 / 504.0 - 1.0)
                .collect();
            let x = Tensor::<4>::from_data(TensorData::new(v, [batch, c, size, size]), &device);
            let (mut a, mut b) = (vec![], vec![]);
            for _ in 0..7 {
                let t = Instant::now();
                let g = GradientsParams::from_grads(
                    network.project(x.clone()).square().mean().backward(),
                    &network,
                );
                a.push(t.elapsed().as_secs_f64());
                let t = Instant::now();
                network = optimizer.step(1e-3, network, g);
                b.push(t.elapsed().as_secs_f64());
            }
            a.sort_by(f64::total_cmp);
            b.sort_by(f64::total_cmp);
            println!(
                "{encoder} {batch}x{size} {opt:?}: gradient {:.1} ms (min {:.1}), optimizer {:.2} ms (min {:.2}), share {:.1} % (min {:.1} %)",
                a[3] * 1e3,
                a[0] * 1e3,
                b[3] * 1e3,
                b[0] * 1e3,
                100.0 * b[3] / (a[3] + b[3]),
                100.0 * b[0] / (a[0] + b[0])
            );
        }
    }
}
