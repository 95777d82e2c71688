//! Large margin nearest neighbour classification.
//!
//! K. Weinberger, L. Saul, "Distance Metric Learning for Large Margin Nearest Neighbor Classification", 2009. Every sample `i` has
//! `k` *target neighbours* `T(i)`, the nearest of its class among the given samples. With `d²` between images `z = A x`,
//!
//! ```text
//! L(A) = (1 − μ) Σ_i Σ_{j∈T(i)} d²_ij + μ Σ_i Σ_{j∈T(i)} Σ_{l: c_l ≠ c_i} [1 + d²_ij − d²_il]₊
//! ```
//!
//! targets are pulled near, and samples of other classes that come within the margin, *impostors*, are pushed out. It is
//! minimised in `A`, which may have fewer rows than columns. A round sweeps all pairs once for the value of `L` and for the
//! samples that are impostors or nearly so; L-BFGS then steps on these alone, until the next round finds them anew.
//!
//! Cost: `2 n² k` a round; more at [`Lmnn::fit`].
//!
//! When to use it: nearest neighbours are to classify, and samples are many.
//!
//! ```
//! use nearkin_classic::Lmnn;
//! use nearkin_sweep::Vectors;
//!
//! let table = [0.0, 3.0, 0.2, -2.0, 0.1, 1.0, 1.0, 2.5, 1.2, -3.0, 1.1, 0.0];
//! let x = Vectors::new(&table, 2)?;
//! let fitted = Lmnn::new().neighbours(1).fit(x, &[0, 0, 0, 1, 1, 1])?;
//! assert_eq!(fitted.map.telling_columns()[0].0, 0);
//! # Ok::<(), nearkin_classic::ClassicError>(())
//! ```

use nearkin_sweep::{Metric, RowFold, Vectors, fold_rows, top_k};
use rayon::prelude::*;

use crate::algebra::{Matrix, mean, project, pull_back};
use crate::error::ClassicError;
use crate::input::{Classes, check, dims, gather, setting};
use crate::lbfgs::{Descent, Lbfgs, Stop};
use crate::linear::start::Start;
use crate::linear::{Fitted, LinearMap};
use crate::observer::Observer;

/// Settings of LMNN.
#[derive(Debug, Clone, PartialEq)]
pub struct Lmnn {
    neighbours: usize,
    push: f64,
    dims: Option<usize>,
    start: Start,
    passes: usize,
    descent: Lbfgs,
    observer: Observer,
}

impl Default for Lmnn {
    fn default() -> Self {
        let descent = Lbfgs { iterations: 200, tolerance: 1e-4 };
        Self {
            neighbours: 3,
            push: 0.5,
            dims: None,
            start: Start::Identity,
            passes: 1,
            descent,
            observer: Observer::default(),
        }
    }
}

/// Steps between two rounds.
const STEPS: usize = 15;
/// A sample this far outside the margin is stepped on too: it may be an impostor before the next round.
const WATCH: f64 = 0.5;
/// Impostors of a sample that are stepped on at a time: the nearest.
const HELD: usize = 200;

impl Lmnn {
    /// With 3 target neighbours, μ = ½, all dimensions and at most 200 steps.
    pub fn new() -> Self {
        Self::default()
    }

    /// With this many target neighbours; all others of smaller classes.
    #[must_use]
    pub fn neighbours(self, neighbours: usize) -> Self {
        Self { neighbours, ..self }
    }

    /// With the weight μ of impostors, in (0, 1).
    #[must_use]
    pub fn push(self, push: f64) -> Self {
        Self { push, ..self }
    }

    /// To this many dimensions.
    #[must_use]
    pub fn dims(self, dims: usize) -> Self {
        Self { dims: Some(dims), ..self }
    }

    /// From this map, at a scale where targets are 1 apart.
    #[must_use]
    pub fn start(self, start: Start) -> Self {
        Self { start, ..self }
    }

    /// So many times over, each with the targets that are nearest under the map before (the paper's multi-pass LMNN). The
    /// objective is the last pass's.
    #[must_use]
    pub fn passes(self, passes: usize) -> Self {
        Self { passes, ..self }
    }

    /// Stops a pass when all steps are made, or when a round gains no more than the tolerance.
    #[must_use]
    pub fn descent(self, descent: Lbfgs) -> Self {
        Self { descent, ..self }
    }

    /// Watched, round by round: a round is up to 15 steps, which are what is counted, in each pass anew.
    #[must_use]
    pub fn observer(self, observer: Observer) -> Self {
        Self { observer, ..self }
    }

    /// Finds the map. Columns should be of one scale, since targets are chosen as the samples are given.
    ///
    /// Cost: `2 n² k` operations a round, and `4 (n d + p) k` a step, with `p` pairs of targets and impostors. Memory: 12 bytes
    /// for each of these pairs, of which a sample has at most 200 and its targets, and `24 n k` bytes.
    ///
    /// # Errors
    /// Values that are not finite; fewer than two classes; no class of two; more dimensions than columns; settings out of range.
    pub fn fit(&self, vectors: Vectors<'_>, labels: &[u32]) -> Result<Fitted<Descent>, ClassicError> {
        check(vectors, 2, "neighbours are compared")?;
        self.descent.check()?;
        setting("neighbours", self.neighbours as f64, self.neighbours > 0, "1 or more")?;
        setting("passes", self.passes as f64, self.passes > 0, "1 or more")?;
        setting("push", self.push, self.push > 0.0 && self.push < 1.0, "above 0 and below 1")?;
        let classes = Classes::new(vectors.len(), labels)?;
        classes.check_kin("class")?;
        let k = dims(self.dims, vectors.dim(), "the map is not to add dimensions")?;
        let offset = mean(vectors);
        let solve = |matrix: Matrix, targets: &[Vec<u32>]| {
            let problem = Problem { vectors, labels, offset: &offset, targets, push: self.push };
            problem.solve(problem.scaled(matrix), &self.descent, &self.observer)
        };
        let start = self.start.matrix(vectors, Some((labels, &classes)), k)?;
        let (mut matrix, mut how) = solve(start, &targets(vectors, &classes, self.neighbours)?)?;
        for _ in 1..self.passes {
            if how.stop == Stop::Observer {
                break;
            }
            let z: Vec<f32> = project(vectors, &offset, &matrix).into_iter().map(|z| z as f32).collect();
            let targets = targets(Vectors::new(&z, k)?, &classes, self.neighbours)?;
            let before = how;
            (matrix, how) = solve(matrix, &targets)?;
            how.iterations += before.iterations;
            how.evaluations += before.evaluations;
        }
        Ok(Fitted { map: LinearMap::of(offset, matrix), how })
    }
}

/// The nearest samples of its class of each sample.
fn targets(
    vectors: Vectors<'_>,
    classes: &Classes,
    neighbours: usize,
) -> Result<Vec<Vec<u32>>, ClassicError> {
    let mut targets = vec![Vec::new(); vectors.len()];
    for members in &classes.members {
        let samples = gather(vectors, members);
        let samples = Vectors::new(&samples, vectors.dim())?;
        let nearest = top_k(samples, samples, Metric::SquaredEuclidean, neighbours, true)?;
        for (sample, found) in members.iter().zip(nearest) {
            targets[*sample] = found.iter().map(|neighbor| members[neighbor.index] as u32).collect();
        }
    }
    Ok(targets)
}

struct Problem<'a> {
    vectors: Vectors<'a>,
    labels: &'a [u32],
    offset: &'a [f64],
    targets: &'a [Vec<u32>],
    push: f64,
}

impl Problem<'_> {
    /// A start at which the mean squared distance of targets is 1, as the margin is.
    fn scaled(&self, matrix: Matrix) -> Matrix {
        let (z, k) = (project(self.vectors, self.offset, &matrix), matrix.rows());
        let pairs =
            self.targets.iter().enumerate().flat_map(|(i, targets)| targets.iter().map(move |j| (i, *j)));
        let (sum, count) =
            pairs.fold((0.0, 0usize), |(sum, count), (i, j)| (sum + square(&z, k, i, j), count + 1));
        // Targets may all be copies: any scale will do.
        let scale = if sum > 0.0 { (count as f64 / sum).sqrt() } else { 1.0 };
        matrix.scale_rows(|_| scale)
    }

    fn solve(
        &self,
        mut matrix: Matrix,
        descent: &Lbfgs,
        observer: &Observer,
    ) -> Result<(Matrix, Descent), ClassicError> {
        let (k, d) = (matrix.rows(), matrix.columns());
        let (mut value, mut near) = self.round(&matrix)?;
        if !value.is_finite() {
            return Err(ClassicError::Overflow { what: "the objective at the start" });
        }
        let mut done = Descent { objective: value, iterations: 0, evaluations: 1, stop: Stop::Iterations };
        while done.iterations < descent.iterations {
            let active = Active::new(self.targets, &near);
            let mut entries = matrix.data().to_vec();
            let steps = Lbfgs {
                iterations: STEPS.min(descent.iterations - done.iterations),
                tolerance: 0.1 * descent.tolerance,
            };
            let leg = steps.minimise(&mut entries, &Observer::default(), |entries| {
                let (value, gradient) = self.pull(&active, &Matrix::new(k, d, entries.to_vec())?);
                Ok((value, gradient.data().to_vec()))
            })?;
            done.iterations += leg.iterations;
            done.evaluations += leg.evaluations + 1;
            let moved = Matrix::new(k, d, entries)?;
            let (next, found) = self.round(&moved)?;
            if next >= value {
                // Impostors came in from outside the watch: step again with them, too, unless they are known.
                let known: usize = near.iter().map(Vec::len).sum();
                near.iter_mut().zip(found).for_each(|(near, found)| merge(near, found));
                if leg.iterations == 0 || near.iter().map(Vec::len).sum::<usize>() == known {
                    done.stop = Stop::LineSearch;
                    break;
                }
                continue;
            }
            let gain = value - next;
            (matrix, value, near) = (moved, next, found);
            if !observer.goes_on(done.iterations, descent.iterations, value) {
                done.stop = Stop::Observer;
                break;
            }
            if gain <= descent.tolerance * value.max(1.0) {
                done.stop = Stop::Gain;
                break;
            }
        }
        done.objective = value;
        Ok((matrix, done))
    }

    /// The value of the objective over all pairs, and of each sample the nearest that are impostors or nearly so, ascending.
    fn round(&self, matrix: &Matrix) -> Result<(f64, Vec<Vec<u32>>), ClassicError> {
        let (z, k) = (project(self.vectors, self.offset, matrix), matrix.rows());
        let reach: Vec<Vec<f64>> = (0..self.targets.len())
            .into_par_iter()
            .map(|i| self.targets[i].iter().map(|&j| square(&z, k, i, j)).collect())
            .collect();
        let z: Vec<f32> = z.into_iter().map(|z| z as f32).collect();
        let z = Vectors::new(&z, k)?;
        let search = Search { labels: self.labels, reach: &reach };
        let found = fold_rows(z, z, Metric::SquaredEuclidean, &search)?;
        let pulled: f64 = reach.iter().flatten().sum();
        let pushed: f64 = found.iter().map(|row| row.hinges).sum();
        let near = found.into_par_iter().map(Within::nearest).collect();
        Ok(((1.0 - self.push) * pulled + self.push * pushed, near))
    }

    /// The objective over active pairs, and its gradient.
    fn pull(&self, active: &Active, matrix: &Matrix) -> (f64, Matrix) {
        let (z, k) = (project(self.vectors, self.offset, matrix), matrix.rows());
        let rows: Vec<(f64, Vec<f64>)> = (0..self.targets.len())
            .into_par_iter()
            .map(|i| {
                let others = active.of(i);
                let squares: Vec<f64> = others.iter().map(|&j| square(&z, k, i, j)).collect();
                let (targets, impostors) = squares.split_at(self.targets[i].len());
                let mut value = (1.0 - self.push) * targets.iter().sum::<f64>();
                let mut forces = vec![0.0; squares.len()];
                let (pulls, pushes) = forces.split_at_mut(targets.len());
                for (pull, target) in pulls.iter_mut().zip(targets) {
                    *pull = 1.0 - self.push;
                    for (push, impostor) in pushes.iter_mut().zip(impostors) {
                        let hinge = 1.0 + target - impostor;
                        if hinge > 0.0 {
                            value += self.push * hinge;
                            *pull += self.push;
                            *push -= self.push;
                        }
                    }
                }
                (value, forces)
            })
            .collect();
        let value = rows.iter().map(|(value, _)| value).sum();
        let forces: Vec<f64> = rows.into_iter().flat_map(|(_, forces)| forces).collect();
        // ∂d²_ij/∂z_i = 2 (z_i − z_j): each sample gathers over the pairs that it is an end of.
        let mut at_z = vec![0.0; z.len()];
        at_z.par_chunks_exact_mut(k).enumerate().for_each(|(i, sum)| {
            let own = &z[i * k..(i + 1) * k];
            active.ends(i, |pair, j| {
                let force = 2.0 * forces[pair];
                if force != 0.0 {
                    let other = &z[j * k..(j + 1) * k];
                    sum.iter_mut().zip(own).zip(other).for_each(|((s, a), b)| *s += force * (a - b));
                }
            });
        });
        (value, pull_back(&at_z, k, self.vectors, self.offset))
    }
}

/// `‖z_i − z_j‖²`.
fn square(z: &[f64], k: usize, i: usize, j: u32) -> f64 {
    let (a, b) = (&z[i * k..(i + 1) * k], &z[j as usize * k..(j as usize + 1) * k]);
    a.iter().zip(b).map(|(a, b)| (a - b) * (a - b)).sum()
}

/// The union of two ascending lists.
fn merge(list: &mut Vec<u32>, other: Vec<u32>) {
    list.extend(other);
    list.sort_unstable();
    list.dedup();
}

/// Pairs of each sample, its targets first, and both ends' ways to them.
struct Active {
    /// Where the pairs of each sample begin.
    starts: Vec<usize>,
    others: Vec<u32>,
    /// Where the pairs begin that each sample is the other end of.
    back_starts: Vec<usize>,
    /// Such a pair, and its first end.
    back: Vec<(u32, u32)>,
}

impl Active {
    fn new(targets: &[Vec<u32>], near: &[Vec<u32>]) -> Self {
        let n = targets.len();
        let (mut starts, mut others) = (vec![0], Vec::new());
        let mut back_starts = vec![0; n + 1];
        for (targets, near) in targets.iter().zip(near) {
            others.extend_from_slice(targets);
            others.extend_from_slice(near);
            starts.push(others.len());
        }
        others.iter().for_each(|&j| back_starts[j as usize + 1] += 1);
        (0..n).for_each(|j| back_starts[j + 1] += back_starts[j]);
        let (mut next, mut back) = (back_starts.clone(), vec![(0, 0); others.len()]);
        for i in 0..n {
            for pair in starts[i]..starts[i + 1] {
                let place = &mut next[others[pair] as usize];
                back[*place] = (pair as u32, i as u32);
                *place += 1;
            }
        }
        Self { starts, others, back_starts, back }
    }

    /// The other ends of a sample's own pairs.
    fn of(&self, i: usize) -> &[u32] {
        &self.others[self.starts[i]..self.starts[i + 1]]
    }

    /// Every pair that a sample is an end of, with the other end.
    fn ends(&self, i: usize, mut visit: impl FnMut(usize, usize)) {
        (self.starts[i]..self.starts[i + 1]).for_each(|pair| visit(pair, self.others[pair] as usize));
        let back = &self.back[self.back_starts[i]..self.back_starts[i + 1]];
        back.iter().for_each(|&(pair, j)| visit(pair as usize, j as usize));
    }
}

/// Looks for samples of other classes within reach.
struct Search<'a> {
    labels: &'a [u32],
    /// Squared distances of each sample's targets.
    reach: &'a [Vec<f64>],
}

/// What is found about a sample.
struct Within {
    hinges: f64,
    /// Farther than this nothing is watched.
    radius: f32,
    found: Vec<(f32, u32)>,
}

impl Within {
    /// The nearest, in ascending order of their places.
    fn nearest(mut self) -> Vec<u32> {
        self.shrink();
        let mut near: Vec<u32> = self.found.into_iter().map(|(_, l)| l).collect();
        near.sort_unstable();
        near
    }

    fn shrink(&mut self) {
        if self.found.len() > HELD {
            self.found.select_nth_unstable_by(HELD - 1, |a, b| a.0.total_cmp(&b.0).then(a.1.cmp(&b.1)));
            self.found.truncate(HELD);
        }
    }
}

impl RowFold for Search<'_> {
    type Row = Within;

    fn start(&self, query: usize) -> Within {
        let farthest = self.reach[query].iter().copied().reduce(f64::max);
        let radius = farthest.map_or(f64::NEG_INFINITY, |far| 1.0 + far + WATCH) as f32;
        Within { hinges: 0.0, radius, found: Vec::new() }
    }

    fn tile(&self, query: usize, first: usize, scores: &[f32], row: &mut Within) {
        let label = self.labels[query];
        for (scores, first) in scores.chunks(16).zip((first..).step_by(16)) {
            // Mostly none is near, which a chunk tells at once.
            if !scores.iter().fold(false, |near, s| near | (*s < row.radius)) {
                continue;
            }
            for (score, l) in scores.iter().zip(first..) {
                if *score < row.radius && self.labels[l] != label {
                    let hinges = self.reach[query].iter().map(|d| (1.0 + d - f64::from(*score)).max(0.0));
                    row.hinges += hinges.sum::<f64>();
                    row.found.push((*score, l as u32));
                }
            }
        }
        if row.found.len() > 4 * HELD {
            row.shrink();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::random::{normals, stream};

    #[test]
    fn a_hand_worked_line_has_its_pulls_and_its_pushes() {
        // Kin at 0 and 1, a stranger at 1.5. Targets: 0 ↔ 1, d² = 1. From 0: 1 + 1 − 2.25 < 0. From 1: 1 + 1 − 0.25 = 1.75.
        let samples = [0.0, 1.0, 1.5];
        let (vectors, labels) = (Vectors::new(&samples, 1).unwrap(), [0, 0, 1]);
        let targets = targets(vectors, &Classes::new(3, &labels).unwrap(), 3).unwrap();
        assert_eq!(targets, [vec![1], vec![0], vec![]]);
        let problem = Problem { vectors, labels: &labels, offset: &[0.0], targets: &targets, push: 0.5 };
        let one = Matrix::identity(1, 1);
        let (value, near) = problem.round(&one).unwrap();
        assert!((value - (0.5 * 2.0 + 0.5 * 1.75)).abs() < 1e-6, "{value}");
        assert_eq!(near, [vec![2], vec![2], vec![]]);
        // dL/dA = 2 A (½ (1 + 1) + ½ (1 − 0.25)) = 2.75.
        let (active, gradient) = problem.pull(&Active::new(&targets, &near), &one);
        assert!((active - value).abs() < 1e-6 && (gradient.data()[0] - 2.75).abs() < 1e-12, "{gradient:?}");
    }

    /// Three classes in four dimensions, of which the first two tell.
    fn table(n: usize) -> (Vec<f32>, Vec<u32>) {
        let noise = normals(&mut stream(19), n * 4);
        let labels: Vec<u32> = (0..n as u32).map(|i| i % 3).collect();
        let table = noise.chunks_exact(4).enumerate().flat_map(|(i, x)| {
            let [a, b] = [[0.0, 0.0], [2.5, 0.0], [0.0, 2.5]][i % 3];
            [(0.6 * x[0] + a) as f32, (0.6 * x[1] + b) as f32, 2.0 * x[2] as f32, 2.0 * x[3] as f32]
        });
        (table.collect(), labels)
    }

    /// The objective in f64 over all triplets.
    fn objective(problem: &Problem<'_>, a: &[f64], k: usize) -> f64 {
        let (x, d) = (problem.vectors, problem.vectors.dim());
        let square = |i: usize, j: usize| -> f64 {
            let along = |r: usize| {
                (0..d).map(|c| a[r * d + c] * (f64::from(x.row(i)[c]) - f64::from(x.row(j)[c]))).sum::<f64>()
            };
            (0..k).map(|r| along(r).powi(2)).sum()
        };
        let mut value = 0.0;
        for (i, targets) in problem.targets.iter().enumerate() {
            for &j in targets {
                let near = square(i, j as usize);
                value += (1.0 - problem.push) * near;
                for l in (0..x.len()).filter(|&l| problem.labels[l] != problem.labels[i]) {
                    value += problem.push * (1.0 + near - square(i, l)).max(0.0);
                }
            }
        }
        value
    }

    #[test]
    fn value_and_gradient_agree_with_the_sum_over_triplets_in_f64() {
        let (table, labels) = table(45);
        let vectors = Vectors::new(&table, 4).unwrap();
        let targets = targets(vectors, &Classes::new(45, &labels).unwrap(), 3).unwrap();
        let offset = mean(vectors);
        let problem = Problem { vectors, labels: &labels, offset: &offset, targets: &targets, push: 0.4 };
        let a: Vec<f64> = normals(&mut stream(3), 8).iter().map(|x| 0.3 * x).collect();
        let matrix = Matrix::new(2, 4, a.clone()).unwrap();
        let (value, near) = problem.round(&matrix).unwrap();
        let wanted = objective(&problem, &a, 2);
        assert!((value - wanted).abs() < 1e-4 * wanted, "{value} {wanted}");
        let (value, gradient) = problem.pull(&Active::new(&targets, &near), &matrix);
        assert!((value - wanted).abs() < 1e-9 * wanted, "{value} {wanted}");
        for at in 0..8 {
            let moved = |by: f64| {
                let mut a = a.clone();
                a[at] += by;
                objective(&problem, &a, 2)
            };
            let wanted = (moved(1e-7) - moved(-1e-7)) / 2e-7;
            assert!((gradient.data()[at] - wanted).abs() < 1e-4 * (1.0 + wanted.abs()), "{at}: {wanted}");
        }
    }

    #[test]
    fn what_is_found_cannot_be_bettered_nearby() {
        // With all dimensions the problem is convex in AᵀA: at the least, no direction leads down.
        let (table, labels) = table(90);
        let vectors = Vectors::new(&table, 4).unwrap();
        let fitted =
            Lmnn::new().descent(Lbfgs { iterations: 2000, tolerance: 1e-9 }).fit(vectors, &labels).unwrap();
        let targets = targets(vectors, &Classes::new(90, &labels).unwrap(), 3).unwrap();
        let offset = mean(vectors);
        let problem = Problem { vectors, labels: &labels, offset: &offset, targets: &targets, push: 0.5 };
        let a = fitted.map.matrix().data();
        let least = objective(&problem, a, 4);
        assert!((least - fitted.how.objective).abs() < 1e-3 * least);
        for seed in 0..40 {
            let way = normals(&mut stream(100 + seed), 16);
            let moved: Vec<f64> = a.iter().zip(&way).map(|(a, w)| a + 1e-3 * w).collect();
            assert!(objective(&problem, &moved, 4) > least * (1.0 - 1e-5), "seed {seed}: {:?}", fitted.how);
        }
        let telling = fitted.map.telling_columns();
        assert!(telling[2].1 < 0.7 * telling[1].1 && telling[2].0 > 1, "{telling:?}");
    }

    #[test]
    fn what_cannot_be_fitted_is_refused_and_copies_are_not() {
        let (table, labels) = table(12);
        let vectors = Vectors::new(&table, 4).unwrap();
        assert!(matches!(
            Lmnn::new().push(1.0).fit(vectors, &labels),
            Err(ClassicError::Setting { name: "push", .. })
        ));
        assert!(Lmnn::new().neighbours(0).fit(vectors, &labels).is_err());
        let lone: Vec<u32> = (0..12).collect();
        assert!(matches!(Lmnn::new().fit(vectors, &lone), Err(ClassicError::NoKin { .. })));
        let same = [1.0; 8];
        assert!(Lmnn::new().fit(Vectors::new(&same, 2).unwrap(), &[0, 0, 1, 1]).is_ok());
        assert!(Lmnn::new().start(Start::Lda).dims(2).neighbours(50).fit(vectors, &labels).is_ok());
    }
}
