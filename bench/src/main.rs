//! Times one case at a time: reads `{"what", "n", "d", "classes"}` a line from standard input, answers with
//! `{"ms", "value", "extra_bytes"}` a line. `sweep.py` drives it, in turns with the peers.

mod bf16;

use std::alloc::{GlobalAlloc, Layout, System};
use std::io::{BufRead, Write};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Instant;

use nearkin_eval::{Labeled, RetrievalOptions, retrieval};
use nearkin_loss::losses::{Contrastive, Margin, MultiSimilarity, NtXent, SupCon, TripletMargin};
use nearkin_loss::miners::{BatchHardMiner, Difficulty, Mined};
use nearkin_loss::{Loss, OnSphere, Sides};
use nearkin_sweep::{Metric, SameLabel, Vectors, top_k};
use rayon::prelude::*;
use serde::Deserialize;

/// The system's allocator, counting what is held and the most that ever was.
struct Counting;

static HELD: AtomicUsize = AtomicUsize::new(0);
static MOST: AtomicUsize = AtomicUsize::new(0);

// SAFETY: every call is handed on unchanged to the system's allocator, which upholds the contract; counting touches only
// atomics.
#[allow(unsafe_code)]
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        let held = HELD.fetch_add(layout.size(), Ordering::Relaxed) + layout.size();
        MOST.fetch_max(held, Ordering::Relaxed);
        // SAFETY: as for the impl.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, pointer: *mut u8, layout: Layout) {
        HELD.fetch_sub(layout.size(), Ordering::Relaxed);
        // SAFETY: as for the impl.
        unsafe { System.dealloc(pointer, layout) }
    }
}

#[global_allocator]
static ALLOCATOR: Counting = Counting;

#[derive(Deserialize)]
struct Case {
    what: String,
    n: usize,
    d: usize,
    classes: usize,
}

/// Unit vectors at random, and labels `i mod classes`: what the peers are given too.
fn points(case: &Case) -> (Vec<f32>, Vec<u32>) {
    let mut state = 1u64;
    let mut uniform = || {
        state = state.wrapping_mul(6364136223846793005).wrapping_add(1442695040888963407);
        ((state >> 40) as f32 + 0.5) / (1u64 << 24) as f32
    };
    let mut normal = || (-2.0 * uniform().ln()).sqrt() * (std::f32::consts::TAU * uniform()).cos();
    let mut x: Vec<f32> = (0..case.n * case.d).map(|_| normal()).collect();
    for row in x.chunks_mut(case.d) {
        let length = row.iter().map(|v| v * v).sum::<f32>().sqrt();
        row.iter_mut().for_each(|v| *v /= length);
    }
    (x, (0..case.n).map(|i| (i % case.classes) as u32).collect())
}

fn loss(what: &str) -> Result<Box<dyn Loss>, Box<dyn std::error::Error>> {
    let triplets = TripletMargin::new(Metric::Euclidean, Margin::Hinge(0.2))?;
    Ok(match what {
        "nt_xent" => Box::new(NtXent::new(0.1)?),
        "sup_con" => Box::new(SupCon::new(0.1)?),
        "multi_similarity" => Box::new(MultiSimilarity::default()),
        "contrastive" => Box::new(OnSphere(Contrastive::new(Metric::Euclidean, 0.0, 1.0)?)),
        "triplet_batch_hard" => {
            Box::new(OnSphere(Mined { miner: BatchHardMiner { metric: Metric::Euclidean }, loss: triplets }))
        }
        "triplet_batch_all" => Box::new(OnSphere(triplets)),
        "triplet_semi_hard" => Box::new(OnSphere(triplets.only(Difficulty::SemiHard, 0.2)?)),
        other => return Err(format!("no case is called {other}").into()),
    })
}

/// One run: seconds, a figure to compare with the peer's, and the bytes held at most beyond input and gradient.
fn run(case: &Case, x: &[f32], labels: &[u32]) -> Result<(f64, f64, usize), Box<dyn std::error::Error>> {
    let vectors = Vectors::new(x, case.d)?;
    let before = HELD.load(Ordering::Relaxed);
    MOST.store(before, Ordering::Relaxed);
    let start = Instant::now();
    let (value, output) = match case.what.as_str() {
        "sgemm" => (sgemm(case.n), 0),
        "f32_tile" | "bf16_tile" => (bf16::rate(case.d, case.what == "bf16_tile").unwrap_or(0.0), 0),
        "knn" => {
            let found = top_k(vectors, vectors, Metric::Dot, case.classes, false)?;
            (found.iter().map(|row| f64::from(row[row.len() - 1].score)).sum(), case.n * case.classes * 16)
        }
        "knn_between" => {
            let (queries, references) = x.split_at(case.n / 6 * case.d);
            let (q, r) = (Vectors::new(queries, case.d)?, Vectors::new(references, case.d)?);
            let found = top_k(q, r, Metric::Dot, case.classes, false)?;
            (found.iter().map(|row| f64::from(row[row.len() - 1].score)).sum(), q.len() * case.classes * 16)
        }
        "retrieval" => {
            let set = Labeled { vectors, labels };
            (retrieval(set, None, &RetrievalOptions::default())?.mean_average_precision_at_r, 0)
        }
        what => {
            let kin = SameLabel::within(labels);
            (loss(what)?.pull(&Sides::within(vectors, &kin))?.loss, size_of_val(x))
        }
    };
    let seconds = start.elapsed().as_secs_f64();
    Ok((seconds, value, (MOST.load(Ordering::Relaxed) - before).saturating_sub(output)))
}

/// Billions of operations a second of a square product, a band of rows a thread: what kernels are measured by.
#[allow(unsafe_code)]
fn sgemm(n: usize) -> f64 {
    let (a, b, mut c) = (vec![0.5f32; n * n], vec![0.25f32; n * n], vec![0.0f32; n * n]);
    let (stride, rows) = (n as isize, n.div_ceil(rayon::current_num_threads()));
    let start = Instant::now();
    a.par_chunks(rows * n).zip(c.par_chunks_mut(rows * n)).for_each(|(a, c)| {
        // SAFETY: `a` and `c` are bands of the same number of rows of n values, `b` has n of them, all row-major and
        // contiguous, and `c` is borrowed mutably, so it overlaps neither.
        unsafe {
            gemm::gemm(
                a.len() / n,
                n,
                n,
                c.as_mut_ptr(),
                1,
                stride,
                false,
                a.as_ptr(),
                1,
                stride,
                b.as_ptr(),
                1,
                stride,
                0.0,
                1.0,
                false,
                false,
                false,
                gemm::Parallelism::None,
            );
        }
    });
    2.0 * (n as f64).powi(3) / start.elapsed().as_secs_f64() / 1e9
}

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let mut last: Option<(Case, Vec<f32>, Vec<u32>)> = None;
    for line in std::io::stdin().lock().lines() {
        let case: Case = serde_json::from_str(&line?)?;
        let same =
            last.as_ref().is_some_and(|(l, ..)| (l.n, l.d, l.classes) == (case.n, case.d, case.classes));
        let (x, labels) = match last.take() {
            Some((_, x, labels)) if same => (x, labels),
            _ => points(&case),
        };
        let (seconds, value, extra) = run(&case, &x, &labels)?;
        let answer = serde_json::json!({ "ms": seconds * 1e3, "value": value, "extra_bytes": extra });
        println!("{answer}");
        std::io::stdout().flush()?;
        last = Some((case, x, labels));
    }
    Ok(())
}
