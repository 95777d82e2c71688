//! Encoders as nodes. Each function stands for the `forward` of its encoder, evaluated.

use super::graph::{Graph, Value, child, float, int, ints};
use super::message::FLOAT;
use crate::encoders::inception::{NEIGHBOUR_POWER, NEIGHBOUR_WEIGHT, NEIGHBOURS, SMALLEST_SQUARE};
use crate::encoders::le_net::SUBSAMPLING;
use crate::encoders::lu_net::SLOPE;
use crate::encoders::patch_grid::{corners, patch};
use crate::encoders::{
    Block, Bottleneck, Encoder, FullyConnected, Inception, InceptionModule, LeNet, LuNet, PatchGrid, ResNet,
    SmallConv, Unit, Vit,
};
use crate::patches::{grid_values, line_frequency};
use crate::sequences::{CausalTransformer, Context, SequenceNetwork};

/// Where the encoder is in a network, by name.
pub(super) const ENCODER: &str = "encoder";

impl Graph {
    /// `[n, channels, size, size]`, or for sounds and series `[n, channels, steps]`, to `[n, features]`.
    pub fn encoder(&mut self, encoder: &Encoder, x: &Value, size: usize) -> Value {
        match encoder {
            Encoder::SmallConv(encoder) => self.small_conv(ENCODER, encoder, x),
            Encoder::ResNet(encoder) => self.resnet(encoder, x),
            Encoder::LeNet(encoder) => self.le_net(encoder, x),
            Encoder::Mlp(encoder) => self.fully_connected(encoder, x),
            Encoder::LuNet(encoder) => self.lu_net(encoder, x),
            Encoder::Inception(encoder) => self.inception(encoder, x),
            Encoder::Vit(encoder) => self.vit(encoder, x, size),
            Encoder::PatchGrid(encoder) => self.patch_grid(encoder, x, size),
            Encoder::Sequence(encoder) => self.sequence(encoder, x),
        }
    }

    fn small_conv(&mut self, at: &str, encoder: &SmallConv, x: &Value) -> Value {
        let mut x = x.clone();
        for (index, stage) in encoder.stages.iter().enumerate() {
            let at = format!("{at}.stages.{index}");
            x = self.conv2d(&child(&at, "conv"), &stage.conv, &x);
            x = self.batch_norm(&child(&at, "bn"), &stage.bn, &x);
            x = self.relu(&x);
        }
        self.pooled(&x)
    }

    /// All patches as one batch, patch by patch, and the mean over them.
    fn patch_grid(&mut self, encoder: &PatchGrid, x: &Value, size: usize) -> Value {
        let (corners, side) = (corners(size, encoder.grid), patch(size, encoder.grid));
        let axes = self.ints(&[2, 3]);
        let patches: Vec<Value> = corners
            .iter()
            .map(|corner| {
                let [from, to] = [0, side].map(|add| self.ints(&corner.map(|place| (place + add) as i64)));
                self.node("Slice", &[x, &from, &to, &axes], vec![])
            })
            .collect();
        let all = self.node("Concat", &patches.iter().collect::<Vec<_>>(), vec![int("axis", 0)]);
        let features = self.small_conv(&child(ENCODER, "encoder"), &encoder.encoder, &all);
        let features =
            self.reshape(&features, &[corners.len() as i64, -1, encoder.encoder.feature_dim() as i64]);
        self.mean(&features, &[0], false)
    }

    fn resnet(&mut self, encoder: &ResNet, x: &Value) -> Value {
        let x = self.conv2d(&child(ENCODER, "conv1"), &encoder.conv1, x);
        let x = self.batch_norm(&child(ENCODER, "bn1"), &encoder.bn1, &x);
        let mut x = self.relu(&x);
        if encoder.maxpool.is_some() {
            x = self.max_pool(&x, 2);
        }
        for (layer, blocks) in (1..).zip([&encoder.layer1, &encoder.layer2, &encoder.layer3, &encoder.layer4])
        {
            for (index, block) in blocks.iter().enumerate() {
                x = self.residual(&format!("{ENCODER}.layer{layer}.{index}"), block, &x);
            }
        }
        self.pooled(&x)
    }

    fn residual(&mut self, at: &str, block: &Block, x: &Value) -> Value {
        let y = self.conv2d(&child(at, "conv1"), &block.conv1, x);
        let y = self.batch_norm(&child(at, "bn1"), &block.bn1, &y);
        let y = self.relu(&y);
        let y = self.conv2d(&child(at, "conv2"), &block.conv2, &y);
        let mut y = self.batch_norm(&child(at, "bn2"), &block.bn2, &y);
        if let (Some(conv3), Some(bn3)) = (&block.conv3, &block.bn3) {
            y = self.relu(&y);
            y = self.conv2d(&child(at, "conv3"), conv3, &y);
            y = self.batch_norm(&child(at, "bn3"), bn3, &y);
        }
        let shortcut = match &block.downsample {
            Some((conv, bn)) => {
                let x = self.conv2d(&child(at, "downsample.0"), conv, x);
                self.batch_norm(&child(at, "downsample.1"), bn, &x)
            }
            None => x.clone(),
        };
        let sum = self.node("Add", &[&y, &shortcut], vec![]);
        self.relu(&sum)
    }

    fn le_net(&mut self, encoder: &LeNet, x: &Value) -> Value {
        let x = self.conv2d(&child(ENCODER, "c1"), &encoder.c1, x);
        let x = self.tanh(&x);
        let side = [SUBSAMPLING as i64; 2];
        let means =
            self.node("AveragePool", &[&x], vec![ints("kernel_shape", &side), ints("strides", &side)]);
        let [factors, offsets] = ["weight", "bias"].map(|name| {
            let of_each = self.weight(&child(ENCODER, "s2"), name);
            self.reshape(&of_each, &[-1, 1, 1])
        });
        let x = self.node("Mul", &[&means, &factors], vec![]);
        let x = self.node("Add", &[&x, &offsets], vec![]);
        let x = self.tanh(&x);
        let x = self.conv2d(&child(ENCODER, "c3"), &encoder.c3, &x);
        let x = self.tanh(&x);
        self.flatten(&x)
    }

    fn fully_connected(&mut self, encoder: &FullyConnected, x: &Value) -> Value {
        let mut x = self.flatten(x);
        for (index, layer) in encoder.layers.iter().enumerate() {
            x = self.linear(&format!("{ENCODER}.layers.{index}"), layer, &x);
            x = self.tanh(&x);
        }
        x
    }

    fn lu_net(&mut self, encoder: &LuNet, x: &Value) -> Value {
        let mut x = self.conv2d(&child(ENCODER, "conv1"), &encoder.conv1, x);
        for (layer, blocks) in encoder.layers.iter().enumerate() {
            if layer > 0 {
                x = self.max_pool(&x, 2);
            }
            for (index, block) in blocks.iter().enumerate() {
                x = self.bottleneck(&format!("{ENCODER}.layers.{layer}.{index}"), block, &x);
            }
        }
        let x = self.flatten(&x);
        let x = self.linear(&child(ENCODER, "fc"), &encoder.fc, &x);
        let x = self.batch_norm(&child(ENCODER, "bn"), &encoder.bn, &x);
        self.relu(&x)
    }

    fn bottleneck(&mut self, at: &str, block: &Bottleneck, x: &Value) -> Value {
        let Bottleneck { bn1, conv1, bn2, conv2, bn3, conv3, downsample } = block;
        let mut y = x.clone();
        for (number, bn, conv) in [(1, bn1, conv1), (2, bn2, conv2), (3, bn3, conv3)] {
            y = self.batch_norm(&child(at, format!("bn{number}")), bn, &y);
            y = self.node("LeakyRelu", &[&y], vec![float("alpha", SLOPE)]);
            y = self.conv2d(&child(at, format!("conv{number}")), conv, &y);
        }
        let shortcut = match downsample {
            Some(conv) => self.conv2d(&child(at, "downsample"), conv, x),
            None => x.clone(),
        };
        self.node("Add", &[&y, &shortcut], vec![])
    }

    fn inception(&mut self, encoder: &Inception, x: &Value) -> Value {
        let mut x = self.unit(&child(ENCODER, "conv1"), &encoder.conv1, x);
        if encoder.pools_first {
            x = self.max_pool(&x, 2);
        }
        if encoder.responses {
            x = self.local_response_norm(&x);
        }
        x = self.unit(&child(ENCODER, "conv2_reduce"), &encoder.conv2_reduce, &x);
        x = self.unit(&child(ENCODER, "conv2"), &encoder.conv2, &x);
        if encoder.responses {
            x = self.local_response_norm(&x);
        }
        x = self.max_pool(&x, 2);
        for (index, module) in encoder.blocks.iter().enumerate() {
            x = self.inception_module(&format!("{ENCODER}.blocks.{index}"), module, &x);
        }
        self.pooled(&x)
    }

    fn unit(&mut self, at: &str, unit: &Unit, x: &Value) -> Value {
        let mut x = self.conv2d(&child(at, "conv"), &unit.conv, x);
        if let Some(bn) = &unit.bn {
            x = self.batch_norm(&child(at, "bn"), bn, &x);
        }
        self.relu(&x)
    }

    fn inception_module(&mut self, at: &str, module: &InceptionModule, x: &Value) -> Value {
        let mut parts = vec![];
        if let Some(one) = &module.one {
            parts.push(self.unit(&child(at, "one"), one, x));
        }
        let three = self.unit(&child(at, "three_reduce"), &module.three_reduce, x);
        parts.push(self.unit(&child(at, "three"), &module.three, &three));
        let five = self.unit(&child(at, "five_reduce"), &module.five_reduce, x);
        parts.push(self.unit(&child(at, "five"), &module.five, &five));
        let pooled = if module.root_mean_square {
            self.root_mean_square(x)
        } else {
            self.max_pool(x, module.stride as i64)
        };
        parts.push(match &module.pool_proj {
            Some(unit) => self.unit(&child(at, "pool_proj"), unit, &pooled),
            None => pooled,
        });
        let parts: Vec<&Value> = parts.iter().collect();
        self.node("Concat", &parts, vec![int("axis", 1)])
    }

    fn root_mean_square(&mut self, x: &Value) -> Value {
        let squares = self.node("Mul", &[x, x], vec![]);
        let attributes = vec![
            ints("kernel_shape", &[3, 3]),
            ints("strides", &[1, 1]),
            ints("pads", &[1; 4]),
            int("count_include_pad", 1),
        ];
        let means = self.node("AveragePool", &[&squares], attributes);
        let smallest = self.floats(&[], &[SMALLEST_SQUARE as f32]);
        let means = self.node("Add", &[&means, &smallest], vec![]);
        self.node("Sqrt", &[&means], vec![])
    }

    fn local_response_norm(&mut self, x: &Value) -> Value {
        let attributes = vec![
            int("size", NEIGHBOURS as i64),
            float("alpha", NEIGHBOUR_WEIGHT as f32),
            float("beta", NEIGHBOUR_POWER),
            float("bias", 1.0),
        ];
        self.node("LRN", &[x], attributes)
    }

    fn vit(&mut self, encoder: &Vit, x: &Value, size: usize) -> Value {
        let (width, side) = (encoder.width(), size / encoder.patch());
        let x = self.conv2d(&child(ENCODER, "patch_embed.proj"), &encoder.patch_embed.proj, x);
        let x = self.reshape(&x, &[0, width as i64, -1]);
        let tokens = self.transpose(&x, &[0, 2, 1]);
        let positions = self.floats(&[1, side * side, width], &grid_values([side; 2], width));
        let mut tokens = self.node("Add", &[&tokens, &positions], vec![]);
        for (index, block) in encoder.blocks.iter().enumerate() {
            tokens = self.transformer(&format!("{ENCODER}.blocks.{index}"), block, &tokens);
        }
        let tokens = self.layer_norm(&child(ENCODER, "norm"), &encoder.norm, &tokens);
        self.mean(&tokens, &[1], false)
    }

    fn sequence(&mut self, encoder: &SequenceNetwork, x: &Value) -> Value {
        let mut x = x.clone();
        for (index, stage) in encoder.encoder.layers.iter().enumerate() {
            let at = format!("{ENCODER}.encoder.layers.{index}");
            x = self.conv1d(&child(&at, "conv"), &stage.conv, &x);
            if let Some(bn) = &stage.bn {
                x = self.batch_norm(&child(&at, "bn"), bn, &x);
            }
            x = self.relu(&x);
        }
        let frames = self.transpose(&x, &[0, 2, 1]);
        let at = child(ENCODER, "context");
        let contexts = match &encoder.context {
            Some(Context::Gru(gru)) => self.gru(&at, gru, &frames),
            Some(Context::CausalTransformer(context)) => self.causal_transformer(&at, context, &frames),
            None => frames,
        };
        self.mean(&contexts, &[1], false)
    }

    fn causal_transformer(&mut self, at: &str, context: &CausalTransformer, frames: &Value) -> Value {
        let positions = self.line_positions(frames, context.norm.gamma.dims()[0]);
        let mut tokens = self.node("Add", &[frames, &positions], vec![]);
        for (index, block) in context.blocks.iter().enumerate() {
            tokens = self.transformer(&format!("{at}.blocks.{index}"), block, &tokens);
        }
        self.layer_norm(&child(at, "norm"), &context.norm, &tokens)
    }

    /// `[t, width]` of frames `[n, t, width]`, whose number only a runtime knows.
    fn line_positions(&mut self, frames: &Value, width: usize) -> Value {
        let count = self.node("Shape", &[frames], vec![int("start", 1), int("end", 2)]);
        let only = self.ints(&[0]);
        let count = self.node("Squeeze", &[&count, &only], vec![]);
        let [first, step] = [0, 1].map(|value| self.int(value));
        let places = self.node("Range", &[&first, &count, &step], vec![]);
        let places = self.node("Cast", &[&places], vec![int("to", FLOAT.into())]);
        let places = self.reshape(&places, &[-1, 1]);
        let half = width / 2;
        let frequencies: Vec<f32> = (0..half).map(|i| line_frequency(i, half) as f32).collect();
        let frequencies = self.floats(&[1, half], &frequencies);
        let angles = self.node("Mul", &[&places, &frequencies], vec![]);
        let [sines, cosines] = ["Sin", "Cos"].map(|operator| self.node(operator, &[&angles], vec![]));
        self.node("Concat", &[&sines, &cosines], vec![int("axis", 1)])
    }
}
