use std::time::Instant;
fn main() {
    for (m, n, k) in [
        (32, 27, 1024),
        (64, 288, 1024),
        (64, 576, 1024),
        (128, 288, 512),
        (128, 64, 512),
        (512, 288, 512),
        (64, 147, 12544),
    ] {
        let a = vec![1f32; m * k];
        let b = vec![1f32; k * n];
        let mut c = vec![0f32; m * n];
        print!("{m} {n} {k}: ");
        for (name, (ar, ac), (br, bc)) in [
            ("A rowmaj(Kc) B rowmaj(Nc)", (k, 1), (n, 1)),
            ("A colmaj B rowmaj", (1, m), (n, 1)),
            ("A Kc B Kc", (k, 1), (1, k)),
            ("A Mc B Kc", (1, m), (1, k)),
        ] {
            let mut best = f64::MAX;
            for _ in 0..20 {
                let t = Instant::now();
                for _ in 0..4 {
                    unsafe {
                        gemm::gemm(
                            m,
                            n,
                            k,
                            c.as_mut_ptr(),
                            1,
                            n as isize,
                            true,
                            a.as_ptr(),
                            ac as isize,
                            ar as isize,
                            b.as_ptr(),
                            bc as isize,
                            br as isize,
                            1f32,
                            1f32,
                            false,
                            false,
                            false,
                            gemm::Parallelism::None,
                        )
                    }
                }
                best = best.min(t.elapsed().as_secs_f64() / 4.0);
            }
            print!("| {name} {:.0} GF/s ", 2.0 * (m * n * k) as f64 / best / 1e9);
        }
        println!();
    }
    let from = vec![1f32; 64 * 1024];
    let mut to = vec![0f32; 64 * 1024];
    let mut best = f64::MAX;
    for _ in 0..50 {
        let t = Instant::now();
        tr(&from, 64, 1024, &mut to);
        best = best.min(t.elapsed().as_secs_f64());
    }
    println!("transpose 64x1024: {:.1} us = {:.2} ns/el", best * 1e6, best * 1e9 / 65536.);
}
fn tr(from: &[f32], rows: usize, cols: usize, to: &mut [f32]) {
    const TILE: usize = 16;
    for j0 in (0..cols).step_by(TILE) {
        for i0 in (0..rows).step_by(TILE) {
            for j in j0..(j0 + TILE).min(cols) {
                let line = &mut to[j * rows..][..rows];
                for i in i0..(i0 + TILE).min(rows) {
                    line[i] = from[i * cols + j];
                }
            }
        }
    }
}
