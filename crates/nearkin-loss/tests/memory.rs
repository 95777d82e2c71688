//! No loss, miner or measure holds a matrix of scores: bytes are counted by an allocator.

use std::alloc::{GlobalAlloc, Layout, System};
use std::sync::atomic::{AtomicUsize, Ordering};

use nearkin_loss::losses::*;
use nearkin_loss::miners::*;
use nearkin_loss::{Loss, Sides};
use nearkin_sweep::{Metric, SameLabel, Vectors};

struct Counting;

static HELD: AtomicUsize = AtomicUsize::new(0);
static MOST: AtomicUsize = AtomicUsize::new(0);

// SAFETY: every call is handed on unchanged to the system's allocator, which upholds the contract; counting touches only
// atomics.
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

/// Vectors; their matrix of scores would take 64 MB.
const N: usize = 4096;
const D: usize = 8;
const ALLOWED: usize = 24 << 20;

/// Bytes held at most beyond what was held before.
fn bytes_of<T>(work: impl FnOnce() -> T) -> usize {
    let before = HELD.load(Ordering::Relaxed);
    MOST.store(before, Ordering::Relaxed);
    drop(work());
    MOST.load(Ordering::Relaxed) - before
}

#[test]
fn no_loss_and_no_miner_holds_a_matrix_of_scores() {
    let mut state = 1u64;
    let mut next = || {
        state = state.wrapping_mul(6364136223846793005).wrapping_add(1442695040888963407);
        (state >> 40) as f32 / (1u64 << 24) as f32 - 0.5
    };
    let points: Vec<f32> = (0..N * D).map(|_| next()).collect();
    let labels: Vec<u32> = (0..N as u32).map(|i| i % 1024).collect();
    let kin = SameLabel::within(&labels);
    let sides = Sides::within(Vectors::new(&points, D).unwrap(), &kin);
    let triplets = TripletMargin::new(Metric::Euclidean, Margin::Hinge(0.2)).unwrap();
    let losses: Vec<(&str, Box<dyn Loss>)> = vec![
        ("contrastive", Box::new(Contrastive::new(Metric::Euclidean, 0.0, 1.0).unwrap())),
        ("drlim", Box::new(DrLim::new(1.0).unwrap())),
        ("multi-similarity", Box::new(MultiSimilarity::default())),
        ("nt-xent", Box::new(NtXent::new(0.1).unwrap())),
        ("nt-xent, sharp", Box::new(NtXent::new(0.01).unwrap())),
        ("sup-con", Box::new(SupCon::new(0.1).unwrap())),
        ("all triplets", Box::new(triplets)),
        ("nca", Box::new(Nca::default())),
        ("circle", Box::new(Circle::default())),
        ("lifted structure", Box::new(LiftedStructure::default())),
        ("generalised lifted structure", Box::new(GeneralizedLiftedStructure::default())),
        ("tuplet margin", Box::new(TupletMargin::new(5.73, 64.0).unwrap())),
        ("fast-ap", Box::new(FastAp::default())),
        ("info-nce", Box::new(InfoNce::new(Metric::Cosine, 0.1).unwrap())),
        (
            "semi-hard",
            Box::new(Mined { miner: SemiHardMiner::new(Metric::Euclidean, 0.2).unwrap(), loss: triplets }),
        ),
        (
            "batch hard",
            Box::new(Mined { miner: BatchHardMiner { metric: Metric::Euclidean }, loss: triplets }),
        ),
    ];
    for (name, loss) in &losses {
        let bytes = bytes_of(|| loss.pull(&sides).unwrap());
        assert!(bytes < ALLOWED, "{name} held {:.1} MiB", bytes as f64 / (1 << 20) as f64);
    }
}
