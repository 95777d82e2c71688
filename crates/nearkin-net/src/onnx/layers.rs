//! Layers as nodes. Each function stands for the `forward` of the layer at `at`, evaluated.

use burn::nn::Linear;

use super::graph::{Graph, Value, child, float, int, ints, one_float};
use super::message::AttributeProto;
use crate::layers::{Attention, BatchNorm, Conv1d, Conv2d, Gru, LayerNorm, TransformerBlock};

impl Graph {
    pub fn conv2d(&mut self, at: &str, layer: &Conv2d, x: &Value) -> Value {
        self.conv(at, layer.bias.is_some(), x, &[layer.stride; 2], &[layer.padding; 4])
    }

    pub fn conv1d(&mut self, at: &str, layer: &Conv1d, x: &Value) -> Value {
        self.conv(at, layer.bias.is_some(), x, &[layer.stride], &[layer.padding; 2])
    }

    fn conv(&mut self, at: &str, biased: bool, x: &Value, strides: &[usize], pads: &[usize]) -> Value {
        let weight = self.weight(at, "weight");
        let bias = biased.then(|| self.weight(at, "bias"));
        let inputs: Vec<&Value> = [x, &weight].into_iter().chain(&bias).collect();
        // Ones are the standard's default, but not every reader's; so with other attributes and inputs below.
        let dilations = ints("dilations", &vec![1; strides.len()]);
        self.node("Conv", &inputs, vec![sizes("strides", strides), sizes("pads", pads), dilations])
    }

    pub fn batch_norm(&mut self, at: &str, layer: &BatchNorm, x: &Value) -> Value {
        let [scale, offset, mean, variance] =
            ["weight", "bias", "running_mean", "running_var"].map(|name| self.weight(at, name));
        let epsilon = float("epsilon", layer.epsilon as f32);
        self.node("BatchNormalization", &[x, &scale, &offset, &mean, &variance], vec![epsilon])
    }

    pub fn layer_norm(&mut self, at: &str, layer: &LayerNorm, x: &Value) -> Value {
        let [scale, offset] = ["weight", "bias"].map(|name| self.weight(at, name));
        let attributes = vec![int("axis", -1), float("epsilon", layer.epsilon as f32)];
        self.node("LayerNormalization", &[x, &scale, &offset], attributes)
    }

    /// Of the last axis.
    pub fn linear(&mut self, at: &str, layer: &Linear, x: &Value) -> Value {
        // PyTorch's layout is [out, in]; runtimes transpose a weight once, when they load it.
        let weight = self.weight(at, "weight");
        let weight = self.node("Transpose", &[&weight], vec![ints("perm", &[1, 0])]);
        let product = self.node("MatMul", &[x, &weight], vec![]);
        if layer.bias.is_none() {
            return product;
        }
        let bias = self.weight(at, "bias");
        self.node("Add", &[&product, &bias], vec![])
    }

    pub fn relu(&mut self, x: &Value) -> Value {
        self.node("Relu", &[x], vec![])
    }

    pub fn tanh(&mut self, x: &Value) -> Value {
        self.node("Tanh", &[x], vec![])
    }

    /// `x/2 · (1 + erf(x/√2))`: there is no such operator before opset 20.
    fn gelu(&mut self, x: &Value) -> Value {
        let [root, one, half] = [std::f32::consts::SQRT_2, 1.0, 0.5].map(|value| self.floats(&[], &[value]));
        let scaled = self.node("Div", &[x, &root], vec![]);
        let erf = self.node("Erf", &[&scaled], vec![]);
        let twice = self.node("Add", &[&erf, &one], vec![]);
        let product = self.node("Mul", &[x, &twice], vec![]);
        self.node("Mul", &[&product, &half], vec![])
    }

    /// 3 × 3 max-pooling that keeps the size at stride 1.
    pub fn max_pool(&mut self, x: &Value, stride: i64) -> Value {
        let attributes =
            vec![ints("kernel_shape", &[3, 3]), ints("strides", &[stride; 2]), ints("pads", &[1; 4])];
        self.node("MaxPool", &[x], attributes)
    }

    /// Global average pooling: `[n, c, h, w]` to `[n, c]`.
    pub fn pooled(&mut self, x: &Value) -> Value {
        let means = self.node("GlobalAveragePool", &[x], vec![]);
        self.flatten(&means)
    }

    /// `[n, …]` to `[n, values]`.
    pub fn flatten(&mut self, x: &Value) -> Value {
        self.node("Flatten", &[x], vec![int("axis", 1)])
    }

    /// Into a shape; 0 keeps a size, −1 is what is left.
    pub fn reshape(&mut self, x: &Value, shape: &[i64]) -> Value {
        let shape = self.ints(shape);
        self.node("Reshape", &[x, &shape], vec![])
    }

    pub fn transpose(&mut self, x: &Value, permutation: &[i64]) -> Value {
        self.node("Transpose", &[x], vec![ints("perm", permutation)])
    }

    pub fn mean(&mut self, x: &Value, axes: &[i64], keep: bool) -> Value {
        self.node("ReduceMean", &[x], vec![ints("axes", axes), int("keepdims", keep.into())])
    }

    /// `tokens`: `[n, t, width]`, whose width and depth the block knows.
    pub fn transformer(&mut self, at: &str, block: &TransformerBlock, tokens: &Value) -> Value {
        let x = self.layer_norm(&child(at, "norm1"), &block.norm1, tokens);
        let x = self.attention(&child(at, "attn"), &block.attn, &x);
        let tokens = self.node("Add", &[tokens, &x], vec![]);
        let x = self.layer_norm(&child(at, "norm2"), &block.norm2, &tokens);
        let x = self.linear(&child(at, "mlp.fc1"), &block.mlp.fc1, &x);
        let x = self.gelu(&x);
        let x = self.linear(&child(at, "mlp.fc2"), &block.mlp.fc2, &x);
        self.node("Add", &[&tokens, &x], vec![])
    }

    fn attention(&mut self, at: &str, layer: &Attention, tokens: &Value) -> Value {
        let (width, heads) = (layer.proj.weight.dims()[0], layer.heads);
        let all = self.linear(&child(at, "qkv"), &layer.qkv, tokens);
        let all = self.reshape(&all, &[0, 0, 3 * heads as i64, (width / heads) as i64]);
        let all = self.transpose(&all, &[0, 2, 1, 3]);
        let [queries, keys, values] = self.thirds(&all, 1, heads);
        let keys = self.transpose(&keys, &[0, 1, 3, 2]);
        let scores = self.node("MatMul", &[&queries, &keys], vec![]);
        let scale = self.floats(&[], &[((width / heads) as f32).sqrt().recip()]);
        let mut scores = self.node("Mul", &[&scores, &scale], vec![]);
        if layer.causal {
            let ahead = self.ahead(&scores);
            scores = self.node("Add", &[&scores, &ahead], vec![]);
        }
        let weights = self.node("Softmax", &[&scores], vec![int("axis", -1)]);
        let mixed = self.node("MatMul", &[&weights, &values], vec![]);
        let mixed = self.transpose(&mixed, &[0, 2, 1, 3]);
        let mixed = self.reshape(&mixed, &[0, 0, width as i64]);
        self.linear(&child(at, "proj"), &layer.proj, &mixed)
    }

    /// `[t, t]` of scores `[n, heads, t, t]`: −∞ for keys after the query, 0 for the others.
    fn ahead(&mut self, scores: &Value) -> Value {
        let square = self.node("Shape", &[scores], vec![int("start", 2), int("end", 4)]);
        let all = self.node("ConstantOfShape", &[&square], vec![one_float("value", f32::NEG_INFINITY)]);
        let above = self.int(1);
        self.node("Trilu", &[&all, &above], vec![int("upper", 1)])
    }

    /// `[n, steps, inputs]` to the states `[n, steps, hidden]`.
    pub fn gru(&mut self, at: &str, layer: &Gru, x: &Value) -> Value {
        let width = layer.weight_hh_l0.dims()[1];
        let [input, hidden] = ["weight_ih_l0", "weight_hh_l0"].map(|name| self.weight(at, name));
        let [of_input, of_hidden] = ["bias_ih_l0", "bias_hh_l0"].map(|name| self.weight(at, name));
        let [weight, recurrence] = [input, hidden].map(|weight| {
            let gates = self.gates(&weight, width);
            self.in_one_direction(&gates)
        });
        let [of_input, of_hidden] = [of_input, of_hidden].map(|bias| self.gates(&bias, width));
        let bias = self.node("Concat", &[&of_input, &of_hidden], vec![int("axis", 0)]);
        let bias = self.in_one_direction(&bias);
        let steps_first = self.transpose(x, &[1, 0, 2]);
        let attributes = vec![int("hidden_size", width as i64), int("linear_before_reset", 1)];
        let states = self.node("GRU", &[&steps_first, &weight, &recurrence, &bias], attributes);
        // [steps, directions, n, hidden]
        let direction = self.ints(&[1]);
        let states = self.node("Squeeze", &[&states, &direction], vec![]);
        self.transpose(&states, &[1, 0, 2])
    }

    /// PyTorch's gates are reset, update, new; ONNX's are update, reset, new.
    fn gates(&mut self, weight: &Value, hidden: usize) -> Value {
        let [reset, update, new] = self.thirds(weight, 0, hidden);
        self.node("Concat", &[&update, &reset, &new], vec![int("axis", 0)])
    }

    fn in_one_direction(&mut self, weight: &Value) -> Value {
        let first = self.ints(&[0]);
        self.node("Unsqueeze", &[weight, &first], vec![])
    }
}

fn sizes(name: &str, values: &[usize]) -> AttributeProto {
    let values: Vec<i64> = values.iter().map(|value| *value as i64).collect();
    ints(name, &values)
}
