//! A gated recurrent unit over whole sequences, on slices, forward and backward through time.
//!
//! Cho et al., "Learning phrase representations using RNN encoder-decoder", 2014, with PyTorch's conventions: gates in the
//! order reset, update, new; the reset gate acts on the product with the hidden state.
//!
//! ```text
//! r = σ(xᵣ + hᵣ)    z = σ(x_z + h_z)    m = tanh(xₘ + r · hₘ)    h' = (1 − z) · m + z · h
//! ```
//!
//! with `x` the input's part, worked out for all steps beforehand, and `[hᵣ, h_z, hₘ] = W h + b`. Sequences are cut into
//! blocks by the shape alone; each block has one owner, and what is summed over sequences is summed in order.

use rayon::prelude::*;

use super::activation;
use super::product::{Matrix, product};

/// Sequences of a block: enough rows for a product, few enough for several threads.
const BLOCK: usize = 16;

/// Sizes of a batch of sequences.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Sequences {
    /// Steps of a sequence.
    pub steps: usize,
    /// Values of the hidden state.
    pub hidden: usize,
}

impl Sequences {
    fn block(&self) -> usize {
        BLOCK * self.steps * self.hidden
    }
}

/// Hidden states after each step, and what [`gradients`] needs.
pub struct States {
    /// `[n, steps, hidden]`
    pub hidden: Vec<f32>,
    /// The gates r, z, m and the hidden state's part hₘ, `[n, steps, 4 · hidden]`.
    pub kept: Vec<f32>,
}

/// Runs sequences from a hidden state of zero.
///
/// `x` is the input's part of each step, `[n, steps, 3 · hidden]`; `weight` is `[3 · hidden, hidden]`, `bias` `[3 · hidden]`.
///
/// # Panics
///
/// If a slice does not have the size that `shape` says, or a size is zero.
pub fn forward(x: &[f32], weight: &[f32], bias: &[f32], shape: Sequences) -> States {
    let Sequences { steps, hidden: h } = shape;
    check(x, weight, shape);
    assert_eq!(bias.len(), 3 * h, "biases of the gates");
    let mut hidden = vec![0.0; x.len() / 3];
    let mut kept = vec![0.0; x.len() / 3 * 4];
    let block = shape.block();
    let blocks = hidden.par_chunks_mut(block).zip(kept.par_chunks_mut(4 * block));
    blocks.zip(x.par_chunks(3 * block)).for_each(|((hidden, kept), x)| {
        let count = hidden.len() / (steps * h);
        let mut gates = vec![0.0; count * 3 * h];
        for step in 0..steps {
            for gates in gates.chunks_exact_mut(3 * h) {
                gates.copy_from_slice(bias);
            }
            if step > 0 {
                let before = Matrix::rows(&hidden[(step - 1) * h..], count, h, steps * h);
                product(&mut gates, 3 * h, before, Matrix::transposed(weight, h, 3 * h), true);
            }
            for (sequence, gates) in gates.chunks_exact(3 * h).enumerate() {
                let at = sequence * steps + step;
                let x = &x[at * 3 * h..][..3 * h];
                let kept = &mut kept[at * 4 * h..][..4 * h];
                for (kept, (x, gate)) in kept[..2 * h].iter_mut().zip(x.iter().zip(gates)) {
                    *kept = x + gate;
                }
                activation::sigmoid_in_place(&mut kept[..2 * h]);
                for i in 0..h {
                    kept[2 * h + i] = x[2 * h + i] + kept[i] * gates[2 * h + i];
                }
                activation::tanh_in_place(&mut kept[2 * h..3 * h]);
                kept[3 * h..].copy_from_slice(&gates[2 * h..]);
                let (before, now) = hidden.split_at_mut(at * h);
                let before = if step > 0 { Some(&before[(at - 1) * h..]) } else { None };
                for (i, now) in now[..h].iter_mut().enumerate() {
                    let (z, m) = (kept[h + i], kept[2 * h + i]);
                    *now = m + z * (before.map_or(0.0, |before| before[i]) - m);
                }
            }
        }
    });
    States { hidden, kept }
}

/// Gradients of [`forward`]'s hidden states.
#[derive(Clone, Debug, PartialEq)]
pub struct Gradients {
    /// With respect to `x`, `[n, steps, 3 · hidden]`.
    pub x: Vec<f32>,
    /// With respect to the weight, `[3 · hidden, hidden]`.
    pub weight: Vec<f32>,
    /// With respect to the bias, `[3 · hidden]`.
    pub bias: Vec<f32>,
}

/// Gradients of [`forward`], given `dy`, the gradient of its hidden states.
///
/// # Panics
///
/// If a slice does not have the size that `shape` says.
pub fn gradients(states: (&[f32], &[f32]), dy: &[f32], weight: &[f32], shape: Sequences) -> Gradients {
    let (hidden, kept) = states;
    let Sequences { steps, hidden: h } = shape;
    assert_eq!(hidden.len(), dy.len(), "hidden states and their gradients");
    assert_eq!(kept.len(), 4 * dy.len(), "gates of the hidden states");
    let mut dx = vec![0.0; 3 * dy.len()];
    check(&dx, weight, shape);
    let block = shape.block();
    let inputs = hidden.par_chunks(block).zip(kept.par_chunks(4 * block)).zip(dy.par_chunks(block));
    let partial: Vec<[Vec<f32>; 2]> = dx
        .par_chunks_mut(3 * block)
        .zip(inputs)
        .map(|(dx, ((hidden, kept), dy))| {
            let count = dy.len() / (steps * h);
            // Gradients of the hidden state's parts of the gates, and of the hidden state itself.
            let mut gates = vec![0.0; dx.len()];
            let mut carry = vec![0.0; count * h];
            for step in (0..steps).rev() {
                for (sequence, carry) in carry.chunks_exact_mut(h).enumerate() {
                    let at = sequence * steps + step;
                    let (dy, kept) = (&dy[at * h..][..h], &kept[at * 4 * h..][..4 * h]);
                    let dx = &mut dx[at * 3 * h..][..3 * h];
                    let gates = &mut gates[at * 3 * h..][..3 * h];
                    for i in 0..h {
                        let [r, z, m, part] = [0, 1, 2, 3].map(|gate| kept[gate * h + i]);
                        let before = if step > 0 { hidden[(at - 1) * h + i] } else { 0.0 };
                        let d = dy[i] + carry[i];
                        let dm = d * (1.0 - z) * (1.0 - m * m);
                        dx[i] = dm * part * r * (1.0 - r);
                        dx[h + i] = d * (before - m) * z * (1.0 - z);
                        dx[2 * h + i] = dm;
                        gates[i] = dx[i];
                        gates[h + i] = dx[h + i];
                        gates[2 * h + i] = dm * r;
                        carry[i] = d * z;
                    }
                }
                if step > 0 {
                    let gates = Matrix::rows(&gates[step * 3 * h..], count, 3 * h, steps * 3 * h);
                    product(&mut carry, h, gates, Matrix::row_major(weight, 3 * h, h), true);
                }
            }
            let mut sums = [vec![0.0; 3 * h * h], vec![0.0; 3 * h]];
            let [of_weight, of_bias] = &mut sums;
            for (gates, hidden) in gates.chunks_exact(steps * 3 * h).zip(hidden.chunks_exact(steps * h)) {
                for gates in gates.chunks_exact(3 * h) {
                    for (sum, gate) in of_bias.iter_mut().zip(gates) {
                        *sum += gate;
                    }
                }
                if steps > 1 {
                    let after = Matrix::transposed(&gates[3 * h..], 3 * h, steps - 1);
                    let before = Matrix::row_major(&hidden[..(steps - 1) * h], steps - 1, h);
                    product(of_weight, h, after, before, true);
                }
            }
            sums
        })
        .collect();
    let mut gradients = Gradients { x: dx, weight: vec![0.0; weight.len()], bias: vec![0.0; 3 * h] };
    for [weight, bias] in partial {
        for (sum, part) in gradients.weight.iter_mut().zip(weight) {
            *sum += part;
        }
        for (sum, part) in gradients.bias.iter_mut().zip(bias) {
            *sum += part;
        }
    }
    gradients
}

fn check(x: &[f32], weight: &[f32], shape: Sequences) {
    let Sequences { steps, hidden } = shape;
    assert!(steps > 0 && hidden > 0, "an empty sequence: {shape:?}");
    assert!(x.len().is_multiple_of(3 * steps * hidden), "inputs of {shape:?}");
    assert_eq!(weight.len(), 3 * hidden * hidden, "weights of {shape:?}");
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::kernels::testing::{assert_close, noise, on_threads, slopes, widened};

    const SIZES: [[usize; 3]; 5] = [[1, 1, 1], [2, 3, 4], [17, 5, 3], [40, 2, 8], [3, 1, 2]];

    /// The definition, in f64.
    fn defined(x: &[f64], weight: &[f64], bias: &[f64], [n, steps, h]: [usize; 3]) -> Vec<f64> {
        let sigmoid = |v: f64| 1.0 / (1.0 + (-v).exp());
        let mut all = vec![];
        for sequence in 0..n {
            let mut state = vec![0.0; h];
            for step in 0..steps {
                let x = &x[(sequence * steps + step) * 3 * h..][..3 * h];
                let part = |gate: usize| -> f64 {
                    let products = state.iter().zip(&weight[gate * h..]).map(|(s, w)| s * w);
                    products.sum::<f64>() + bias[gate]
                };
                state = (0..h)
                    .map(|i| {
                        let r = sigmoid(x[i] + part(i));
                        let z = sigmoid(x[h + i] + part(h + i));
                        let m = (x[2 * h + i] + r * part(2 * h + i)).tanh();
                        (1.0 - z) * m + z * state[i]
                    })
                    .collect();
                all.extend(&state);
            }
        }
        all
    }

    #[test]
    fn states_match_the_definition_and_gradients_its_differences() {
        for sizes in SIZES {
            let [n, steps, h] = sizes;
            let shape = Sequences { steps, hidden: h };
            let (x, weight) = (noise(n * steps * 3 * h, 1), noise(3 * h * h, 2));
            let (bias, dy) = (noise(3 * h, 3), noise(n * steps * h, 4));
            let [x64, weight64, bias64] = [&x, &weight, &bias].map(|values| widened(values));
            let states = forward(&x, &weight, &bias, shape);
            assert_close(&states.hidden, &defined(&x64, &weight64, &bias64, sizes), 1e-6, "states");
            let found = gradients((&states.hidden, &states.kept), &dy, &weight, shape);
            let loss = |x: &[f64], weight: &[f64], bias: &[f64]| -> f64 {
                defined(x, weight, bias, sizes).iter().zip(&dy).map(|(y, w)| y * f64::from(*w)).sum()
            };
            assert_close(&found.x, &slopes(&x, |x| loss(x, &weight64, &bias64)), 1e-5, "x");
            assert_close(
                &found.weight,
                &slopes(&weight, |weight| loss(&x64, weight, &bias64)),
                1e-5,
                "weight",
            );
            assert_close(&found.bias, &slopes(&bias, |bias| loss(&x64, &weight64, bias)), 1e-5, "bias");
        }
    }

    #[test]
    fn the_bits_do_not_depend_on_the_number_of_threads() {
        for [n, steps, h] in SIZES.into_iter().chain([[70, 9, 24]]) {
            let shape = Sequences { steps, hidden: h };
            let (x, weight) = (noise(n * steps * 3 * h, 1), noise(3 * h * h, 2));
            let (bias, dy) = (noise(3 * h, 3), noise(n * steps * h, 4));
            let all = |threads| {
                on_threads(threads, || {
                    let states = forward(&x, &weight, &bias, shape);
                    let found = gradients((&states.hidden, &states.kept), &dy, &weight, shape);
                    (states.hidden, found)
                })
            };
            assert!(all(1) == all(3), "{shape:?}");
        }
    }
}
