use nearkin_data::*;
use std::time::Instant;
fn main() {
    for p in std::env::args().skip(1) {
        let t = Instant::now();
        let s = Dataset::open(p.as_ref()).unwrap();
        let a = t.elapsed();
        let t = Instant::now();
        let f = s.fingerprint();
        let fp = t.elapsed();
        let t = Instant::now();
        let q = Prepared::prepare(&s, &PrepareOptions::new(1, 32), &mut |_, _| {}).unwrap();
        println!(
            "{p}: {} samples {} classes ({} ..), open {a:?}, fingerprint {fp:?} {}, prepare {} in {:?}, skipped {}; warnings {:?}; first {}",
            s.len(),
            s.classes().len(),
            s.classes()[0],
            &f[..8],
            q.len(),
            t.elapsed(),
            q.skipped.len(),
            s.warnings(),
            s.sample(0).id
        );
        let sup = SuperClasses::FolderLevel(1).find(&s).map(|(_, n)| n.len());
        println!("  super-classes {sup:?}");
        if let (Ok((sup, _)), Some(l)) = (SuperClasses::FolderLevel(1).find(&s), s.labels()) {
            let h = Hierarchical::new(&l, &sup, 2, 8, 4).unwrap();
            let t = Instant::now();
            println!(
                "  hierarchical: {} batches of {} in {:?}, left out {}",
                h.batches_per_epoch(),
                h.batches(0, 0)[0].len(),
                t.elapsed(),
                h.left_out()
            );
        }
    }
    let t = Instant::now();
    let n = poses::PoseSet::default().write("/tmp/dl/poses".as_ref()).unwrap();
    println!("{n} poses in {:?}", t.elapsed());
    let set = Dataset::open("/tmp/dl/poses/annotations.csv".as_ref()).unwrap();
    let t = Instant::now();
    let axes =
        [("azimuth", true), ("elevation", false)].map(|(a, wraps)| kin::Axis { attribute: a.into(), wraps });
    let g = KinGraph::adjacent(&set, &axes, true).unwrap();
    println!("pose graph: {} pairs in {:?}", g.pairs(), t.elapsed());
    let mnist = Dataset::open("/work/shared/data/mnist#train".as_ref()).unwrap();
    let d = mnist.of_classes(&splits::ClassList::Names(vec!["4".into(), "9".into()])).unwrap();
    let t = Instant::now();
    let g = KinGraph::nearest_pixels(&d, 5).unwrap();
    println!("MNIST 4/9: {} samples, {} pairs in {:?}", d.len(), g.pairs(), t.elapsed());
}
