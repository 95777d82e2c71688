//! Spectral methods against what is known, scikit-learn's values, bad input, and one thread against two.

use nearkin_classic::ClassicError;
use nearkin_classic::spectral::*;
use nearkin_sweep::{Metric, Vectors, top_k};
use rand::{Rng, SeedableRng};
use rand_chacha::ChaCha8Rng;
use serde_json::Value;

fn uniform(random: &mut ChaCha8Rng) -> f32 {
    (random.next_u32() >> 8) as f32 / 16_777_216.0
}

/// `n` points of a rolled-up sheet in three dimensions, and their coordinates on the sheet.
fn swiss_roll(n: usize) -> (Vec<f32>, Vec<f32>) {
    let mut random = ChaCha8Rng::seed_from_u64(7);
    let (mut points, mut sheet) = (Vec::new(), Vec::new());
    for _ in 0..n {
        let (turn, height) =
            (1.5 * std::f32::consts::PI * (1.0 + 2.0 * uniform(&mut random)), 21.0 * uniform(&mut random));
        points.extend([turn * turn.cos(), height, turn * turn.sin()]);
        // The length of the spiral r = φ.
        sheet.extend([0.5 * (turn * (1.0 + turn * turn).sqrt() + turn.asinh()), height]);
    }
    (points, sheet)
}

fn column(values: &[f32], dims: usize, dim: usize) -> Vec<f64> {
    values.iter().skip(dim).step_by(dims).map(|&x| f64::from(x)).collect()
}

fn correlation(a: &[f64], b: &[f64]) -> f64 {
    let mean = |x: &[f64]| x.iter().sum::<f64>() / x.len() as f64;
    let (ma, mb) = (mean(a), mean(b));
    let along = |x: &[f64], mx: f64, y: &[f64], my: f64| -> f64 {
        x.iter().zip(y).map(|(x, y)| (x - mx) * (y - my)).sum()
    };
    along(a, ma, b, mb) / (along(a, ma, a, ma) * along(b, mb, b, mb)).sqrt()
}

/// The correlation of `wanted` with its least-squares fit by two columns: what alignment by a linear map leaves.
fn aligned(map: &[f32], wanted: &[f64]) -> f64 {
    let n = wanted.len() as f64;
    let centre = |x: Vec<f64>| {
        let mean = x.iter().sum::<f64>() / n;
        x.into_iter().map(|x| x - mean).collect::<Vec<f64>>()
    };
    let (a, b, y) = (centre(column(map, 2, 0)), centre(column(map, 2, 1)), centre(wanted.to_vec()));
    let dot = |x: &[f64], y: &[f64]| -> f64 { x.iter().zip(y).map(|(x, y)| x * y).sum() };
    let (aa, ab, bb, ay, by) = (dot(&a, &a), dot(&a, &b), dot(&b, &b), dot(&a, &y), dot(&b, &y));
    let det = aa * bb - ab * ab;
    let (p, q) = ((ay * bb - by * ab) / det, (by * aa - ay * ab) / det);
    let fit: Vec<f64> = a.iter().zip(&b).map(|(a, b)| p * a + q * b).collect();
    correlation(&fit, &y)
}

fn distances(points: &[f32], dim: usize) -> Vec<f32> {
    let row =
        |a: &[f32]| -> Vec<f32> { points.chunks_exact(dim).map(|b| Metric::Euclidean.score(a, b)).collect() };
    points.chunks_exact(dim).flat_map(row).collect()
}

fn random_points(n: usize, dim: usize) -> Vec<f32> {
    let mut random = ChaCha8Rng::seed_from_u64(3);
    (0..n * dim).map(|_| uniform(&mut random)).collect()
}

/// Trustworthiness with 5 neighbours (J. Venna, S. Kaski, 2001), as scikit-learn measures it.
fn trustworthiness(points: Vectors<'_>, map: &[f32]) -> f64 {
    let (n, k) = (points.len(), 5);
    let all = top_k(points, points, Metric::SquaredEuclidean, n - 1, true).unwrap();
    let map = Vectors::new(map, 2).unwrap();
    let near = top_k(map, map, Metric::SquaredEuclidean, k, true).unwrap();
    let mut penalty = 0;
    for (all, near) in all.iter().zip(&near) {
        for near in near {
            let rank = 1 + all.iter().position(|other| other.index == near.index).unwrap();
            penalty += rank.saturating_sub(k);
        }
    }
    1.0 - 2.0 * penalty as f64 / (n * k * (2 * n - 3 * k - 1)) as f64
}

fn golden() -> Value {
    serde_json::from_str(include_str!("golden/spectral.json")).unwrap()
}

fn numbers(golden: &Value, name: &str) -> Vec<f32> {
    golden[name].as_array().unwrap().iter().map(|x| x.as_f64().unwrap() as f32).collect()
}

/// 300 digits, and 5 that no map has seen; their pixels weighted as in the script.
fn digits(golden: &Value) -> (Vec<f32>, Vec<f32>) {
    let mut data = numbers(golden, "pixels");
    data.iter_mut().enumerate().for_each(|(i, x)| *x *= (512 + i % 64) as f32);
    let unseen = data.split_off(300 * 64);
    (data, unseen)
}

/// The two maps agree to a part of the largest value.
#[track_caller]
fn assert_near(found: &[f32], wanted: &[f32], part: f32) {
    assert_eq!(found.len(), wanted.len());
    let most = wanted.iter().fold(0.0, |most: f32, x| most.max(x.abs()));
    for (i, (found, wanted)) in found.iter().zip(wanted).enumerate() {
        assert!((found - wanted).abs() <= part * most, "value {i}: {found} for {wanted}");
    }
}

#[test]
fn weights_of_a_hand_worked_point() {
    // From −1 and 2 the middle is 0 = ⅔·(−1) + ⅓·2; G = (1 −2; −2 4) plus 5 r on its diagonal.
    let r = 1e-3;
    let found = barycentric_weights(&[0.0], Vectors::new(&[-1.0, 2.0], 1).unwrap(), r).unwrap();
    let (a, b) = (4.0 + 5.0 * r + 2.0, 1.0 + 5.0 * r + 2.0);
    assert!((found[0] - a / (a + b)).abs() < 1e-12 && (found[1] - b / (a + b)).abs() < 1e-12);
    let same = barycentric_weights(&[1.0], Vectors::new(&[1.0, 1.0, 1.0], 1).unwrap(), r).unwrap();
    assert!(same.iter().all(|w| (w - 1.0 / 3.0).abs() < 1e-15));
}

#[test]
fn weights_solve_their_system_in_f64() {
    let (k, dim, r) = (12, 5, 1e-3);
    let points = random_points(k + 1, dim);
    let (point, others) = points.split_at(dim);
    let found = barycentric_weights(point, Vectors::new(others, dim).unwrap(), r).unwrap();
    assert!((found.iter().sum::<f64>() - 1.0).abs() < 1e-14);
    let away = |a: usize, d: usize| f64::from(others[a * dim + d]) - f64::from(point[d]);
    let gram = |a: usize, b: usize| -> f64 { (0..dim).map(|d| away(a, d) * away(b, d)).sum() };
    let trace: f64 = (0..k).map(|a| gram(a, a)).sum();
    let image: Vec<f64> =
        (0..k).map(|a| (0..k).map(|b| gram(a, b) * found[b]).sum::<f64>() + r * trace * found[a]).collect();
    assert!(image.iter().all(|x| (x / image[0] - 1.0).abs() < 1e-9), "{image:?}");
}

#[test]
fn lle_lays_a_flat_sheet_flat_and_places_unseen_points_on_it() {
    // A square in five dimensions: an affine map of the plane, which the weights do not see.
    let plane = random_points(600, 2);
    let lift = |p: &[f32]| [p[0] + p[1], p[0] - p[1], 2.0 * p[0], 0.5 - p[1], 3.0 * p[1] + p[0]];
    let points: Vec<f32> = plane.chunks_exact(2).flat_map(lift).collect();
    let (fitted, unseen) = points.split_at(500 * 5);
    for modified in [false, true] {
        let settings = Lle { regularization: 1e-9, modified, ..Lle::default() };
        let map = settings.fit(Vectors::new(fitted, 5).unwrap()).unwrap();
        let placed = map.transform(Vectors::new(unseen, 5).unwrap()).unwrap();
        for dim in 0..2 {
            let wanted = column(&plane, 2, dim);
            assert!(aligned(map.embedding(), &wanted[..500]) > 0.9999);
            assert!(aligned(&placed, &wanted[500..]) > 0.999);
            let values = column(map.embedding(), 2, dim);
            assert!((values.iter().map(|x| x * x).sum::<f64>() / 500.0 - 1.0).abs() < 1e-5);
            assert!(values.iter().sum::<f64>().abs() < 1e-3);
        }
    }
}

#[test]
fn lle_refuses_groups_that_nothing_ties_together() {
    // Two tight groups and a bridge between them, whose points have neighbours in the groups but not the other way round.
    let group = |at: f32| (0..20).map(move |i| at + 0.01 * i as f32);
    let points: Vec<f32> = group(0.0).chain((1..15).map(|i| 7.0 * i as f32)).chain(group(105.0)).collect();
    let error = Lle::default().fit(Vectors::new(&points, 1).unwrap()).unwrap_err();
    assert_eq!(error, ClassicError::ClosedGroups { neighbors: 12, groups: vec![20, 20] });
}

#[test]
fn lle_keeps_copies_of_a_point_together() {
    let mut points = random_points(200, 2);
    let copies: Vec<f32> = points[..2].repeat(30);
    points.extend(copies);
    let map = Lle::default().fit(Vectors::new(&points, 2).unwrap()).unwrap();
    assert_eq!(map.embedding().len(), 2 * 230);
    assert!((200..230).all(|i| map.embedding()[2 * i..2 * i + 2] == map.embedding()[..2]));
}

#[test]
fn lle_isomap_eigenmaps_and_diffusion_maps_agree_with_scikit_learn_on_digits() {
    let golden = golden();
    let (data, unseen) = digits(&golden);
    let points = Vectors::new(&data, 64).unwrap();
    let value = |name: &str| golden[name].as_f64().unwrap();

    let neighbors = 16;
    let lle = Lle { neighbors, ..Lle::default() }.fit(points).unwrap();
    assert!((lle.reconstruction_error() / value("lle_reconstruction_error") - 1.0).abs() < 1e-5);
    assert_near(lle.embedding(), &numbers(&golden, "lle"), 1e-4);
    assert!((trustworthiness(points, lle.embedding()) - value("lle_trustworthiness")).abs() < 1e-3);

    let modified = Lle { neighbors, modified: true, ..Lle::default() }.fit(points).unwrap();
    assert!(
        (modified.reconstruction_error() / value("modified_lle_reconstruction_error") - 1.0).abs() < 1e-5
    );
    assert_near(modified.embedding(), &numbers(&golden, "modified_lle"), 1e-4);

    let isomap = Isomap { neighbors, ..Isomap::default() }.fit(points).unwrap();
    assert!((isomap.residual_variance() / value("isomap_residual_variance") - 1.0).abs() < 1e-4);
    assert_near(isomap.embedding(), &numbers(&golden, "isomap"), 1e-4);
    assert!((trustworthiness(points, isomap.embedding()) - value("isomap_trustworthiness")).abs() < 1e-3);
    let placed = isomap.transform(Vectors::new(&unseen, 64).unwrap()).unwrap();
    assert_near(&placed, &numbers(&golden, "isomap_unseen"), 1e-4);

    let eigenmaps = LaplacianEigenmaps { neighbors, ..LaplacianEigenmaps::default() }.fit(points).unwrap();
    assert_near(eigenmaps.embedding(), &numbers(&golden, "laplacian_eigenmaps"), 1e-4);

    let diffusion =
        DiffusionMaps { neighbors, alpha: 0.5, steps: 3, ..DiffusionMaps::default() }.fit(points).unwrap();
    for (found, wanted) in diffusion.eigenvalues().iter().zip(numbers(&golden, "diffusion_eigenvalues")) {
        assert!((found - f64::from(wanted)).abs() < 1e-5, "{found} for {wanted}");
    }
    assert_near(diffusion.embedding(), &numbers(&golden, "diffusion_maps"), 1e-3);
}

#[test]
fn scaling_agrees_with_numpy_and_scikit_learn_on_digits() {
    let golden = golden();
    let (data, _) = digits(&golden);
    let apart = distances(&data, 64);
    let from_distances = ClassicalMds { dims: 2 }.fit(&apart).unwrap();
    let from_points = ClassicalMds { dims: 2 }.fit_points(Vectors::new(&data, 64).unwrap()).unwrap();
    for map in [&from_distances, &from_points] {
        for (found, wanted) in map.eigenvalues().iter().zip(numbers(&golden, "mds_eigenvalues")) {
            assert!((found / f64::from(wanted) - 1.0).abs() < 1e-5, "{found} for {wanted}");
        }
        assert_near(map.embedding(), &numbers(&golden, "mds"), 1e-4);
    }
    let smacof = Smacof::default().fit(&apart).unwrap();
    let stresses = smacof.stresses();
    assert!(stresses.windows(2).all(|pair| pair[1] <= pair[0] * (1.0 + 1e-12)));
    let wanted = golden["smacof_stress"].as_f64().unwrap();
    assert!((stresses.last().unwrap() / wanted - 1.0).abs() < 2e-3, "{stresses:?} for {wanted}");
}

#[test]
fn scaling_recovers_points_from_their_distances_but_for_a_rotation() {
    // Of a 3-4-5 triangle, by hand: a map whose distances are the same.
    let triangle = [0.0, 3.0, 4.0, 3.0, 0.0, 5.0, 4.0, 5.0, 0.0];
    let map = ClassicalMds { dims: 2 }.fit(&triangle).unwrap();
    assert_near(&distances(map.embedding(), 2), &triangle, 1e-6);
    let points = random_points(150, 3);
    let apart = distances(&points, 3);
    for map in [
        ClassicalMds { dims: 3 }.fit(&apart).unwrap(),
        ClassicalMds { dims: 3 }.fit_points(Vectors::new(&points, 3).unwrap()).unwrap(),
    ] {
        assert_near(&distances(map.embedding(), 3), &apart, 1e-5);
        // The points fitted are placed where they are.
        let placed = map.transform(Vectors::new(&apart, 150).unwrap()).unwrap();
        assert_near(&placed, map.embedding(), 1e-5);
    }
    let smacof = Smacof { dims: 3, ..Smacof::default() }.fit(&apart).unwrap();
    assert!(*smacof.stresses().last().unwrap() < 1e-6);
    let error = ClassicalMds { dims: 4 }.fit(&apart).unwrap_err();
    assert_eq!(error, ClassicError::Flat { found: 3, wanted: 4 });
}

#[test]
fn a_regular_simplex_has_a_map_though_its_eigenvalues_are_equal() {
    let n = 100;
    let apart: Vec<f32> = (0..n * n).map(|i| if i / n == i % n { 0.0 } else { 1.0 }).collect();
    let map = ClassicalMds { dims: n - 1 }.fit(&apart).unwrap();
    assert_near(&distances(map.embedding(), n - 1), &apart, 1e-5);
}

#[test]
fn isomap_unrolls_a_swiss_roll_and_places_unseen_points_on_it() {
    let (points, sheet) = swiss_roll(1600);
    let (fitted, unseen) = points.split_at(1500 * 3);
    for landmarks in [None, Some(150)] {
        let settings = Isomap { neighbors: 8, landmarks, ..Isomap::default() };
        let map = settings.fit(Vectors::new(fitted, 3).unwrap()).unwrap();
        let placed = map.transform(Vectors::new(unseen, 3).unwrap()).unwrap();
        for dim in 0..2 {
            let wanted = column(&sheet, 2, dim);
            let (found, unseen) =
                (aligned(map.embedding(), &wanted[..1500]), aligned(&placed, &wanted[1500..]));
            assert!(found > 0.99 && unseen > 0.99, "{landmarks:?}, {dim}: {found}, {unseen}");
        }
        // Unrolled, the long side is the first coordinate by itself.
        let long = correlation(&column(map.embedding(), 2, 0), &column(&sheet, 2, 0)[..1500]).abs();
        assert!(long > 0.99 && map.residual_variance() < 0.01, "{long}, {}", map.residual_variance());
    }
}

#[test]
fn isomap_of_a_hand_worked_path_measures_along_it() {
    // An L of unit steps: the ends are 4 apart along it, and the map is the line.
    let points = [0.0, 0.0, 1.0, 0.0, 2.0, 0.0, 2.0, 1.0, 2.0, 2.0];
    let map = Isomap { neighbors: 1, dims: 1, ..Isomap::default() };
    let map = map.fit(Vectors::new(&points, 2).unwrap()).unwrap();
    let sign = map.embedding()[0].signum();
    assert_near(map.embedding(), &[2.0, 1.0, 0.0, -1.0, -2.0].map(|x| x * sign), 1e-6);
    assert!(map.residual_variance().abs() < 1e-6);
}

#[test]
fn eigenmaps_of_a_ring_are_a_circle_with_known_eigenvalues() {
    let n = 400;
    let angle = |i: usize| i as f32 * std::f32::consts::TAU / n as f32;
    let points: Vec<f32> = (0..n).flat_map(|i| [angle(i).cos(), angle(i).sin()]).collect();
    let v = Vectors::new(&points, 2).unwrap();
    let map = LaplacianEigenmaps { neighbors: 2, ..LaplacianEigenmaps::default() }.fit(v).unwrap();
    let wanted = 1.0 - (std::f64::consts::TAU / n as f64).cos();
    assert!(map.eigenvalues().iter().all(|value| (value - wanted).abs() < 1e-9));
    // YᵀDY = I with two neighbours each: radius √(1/n).
    let radii = map.embedding().chunks_exact(2).map(|p| p[0].hypot(p[1]));
    assert!(radii.into_iter().all(|r| (r * (n as f32).sqrt() - 1.0).abs() < 1e-3));
    let heat = LaplacianEigenmaps { neighbors: 2, bandwidth: Some(0.01), ..LaplacianEigenmaps::default() };
    let placed = heat.fit(v).unwrap();
    let unseen: Vec<f32> =
        (0..40).flat_map(|i| [(angle(i) + 0.007).cos(), (angle(i) + 0.007).sin()]).collect();
    let found = placed.transform(Vectors::new(&unseen, 2).unwrap()).unwrap();
    for (i, place) in found.chunks_exact(2).enumerate() {
        // Between the places of the two points it lies between.
        let near = |j: usize| &placed.embedding()[2 * j..2 * j + 2];
        let between = |d: usize| 0.5 * (near(i)[d] + near(i + 1)[d]);
        assert!((0..2).all(|d| (place[d] - between(d)).abs() < 1e-3));
    }
}

#[test]
fn diffusion_maps_of_even_and_uneven_lines_know_their_order() {
    // With α = 1 the density does not count.
    let points: Vec<f32> = (0..300).map(|i| (i as f32 / 299.0).powi(2)).collect();
    let v = Vectors::new(&points, 1).unwrap();
    let settings =
        DiffusionMaps { dims: 1, bandwidth: Some(1e-3), neighbors: 60, ..DiffusionMaps::default() };
    let map = settings.fit(v).unwrap();
    let wanted: Vec<f64> = points.iter().map(|&x| (std::f64::consts::PI * f64::from(x)).cos()).collect();
    let found = correlation(&column(map.embedding(), 1, 0), &wanted).abs();
    assert!(found > 0.99, "{found}");
    let placed = map.transform(v).unwrap();
    assert!(correlation(&column(&placed, 1, 0), &column(map.embedding(), 1, 0)) > 0.9999);
    // More steps shrink the map by λᵗ.
    let later = DiffusionMaps { steps: 4, ..settings }.fit(v).unwrap();
    let shrunk: Vec<f32> = map.embedding().iter().map(|x| x * map.eigenvalues()[0].powi(3) as f32).collect();
    assert_near(later.embedding(), &shrunk, 1e-5);
}

#[test]
fn bad_input_is_refused_with_the_reason() {
    let points = random_points(30, 3);
    let v = Vectors::new(&points, 3).unwrap();
    let mut torn = points.clone();
    torn[7] = f32::NAN;
    let torn = Vectors::new(&torn, 3).unwrap();
    let missing = |error: ClassicError| matches!(error, ClassicError::NotFinite { row: 2, column: 1, .. });
    assert!(missing(Lle::default().fit(torn).unwrap_err()));
    assert!(missing(Isomap::default().fit(torn).unwrap_err()));
    assert!(missing(LaplacianEigenmaps::default().fit(torn).unwrap_err()));
    assert!(missing(DiffusionMaps::default().fit(torn).unwrap_err()));
    assert!(missing(ClassicalMds { dims: 1 }.fit_points(torn).unwrap_err()));
    assert!(missing(Lle::default().fit(v).unwrap().transform(torn).unwrap_err()));

    let pieces: Vec<f32> = (0..40).map(|i| if i < 25 { i as f32 } else { 1000.0 + i as f32 }).collect();
    let pieces = Vectors::new(&pieces, 1).unwrap();
    let refused =
        |error: ClassicError| matches!(error, ClassicError::Pieces { pieces, .. } if pieces == [25, 15]);
    assert!(refused(Lle::default().fit(pieces).unwrap_err()));
    assert!(refused(Isomap::default().fit(pieces).unwrap_err()));
    assert!(refused(LaplacianEigenmaps::default().fit(pieces).unwrap_err()));
    assert!(refused(DiffusionMaps::default().fit(pieces).unwrap_err()));

    let dims = |error: ClassicError| matches!(error, ClassicError::Dims { .. });
    for found in [0, 30] {
        assert!(dims(Lle { dims: found, ..Lle::default() }.fit(v).unwrap_err()));
        assert!(dims(Isomap { dims: found, ..Isomap::default() }.fit(v).unwrap_err()));
        assert!(dims(ClassicalMds { dims: found }.fit_points(v).unwrap_err()));
    }
    let setting = |error: ClassicError, wanted: &str| match error {
        ClassicError::Setting { name, .. } => assert_eq!(name, wanted),
        other => panic!("{other}"),
    };
    setting(Lle { regularization: 0.0, ..Lle::default() }.fit(v).unwrap_err(), "regularization");
    setting(Isomap { landmarks: Some(2), ..Isomap::default() }.fit(v).unwrap_err(), "landmarks");
    setting(DiffusionMaps { alpha: -0.1, ..DiffusionMaps::default() }.fit(v).unwrap_err(), "alpha");
    setting(Smacof { tolerance: -1.0, ..Smacof::default() }.fit(&[0.0]).unwrap_err(), "tolerance");

    let all_one = vec![1.0; 30];
    let all_one = Vectors::new(&all_one, 1).unwrap();
    assert!(Lle::default().fit(all_one).unwrap_err().to_string().contains("among 1 samples"));
    assert!(matches!(
        Isomap { neighbors: 29, ..Isomap::default() }.fit(all_one).unwrap_err(),
        ClassicError::Flat { found: 0, .. }
    ));
    let median = DiffusionMaps { neighbors: 29, ..DiffusionMaps::default() }.fit(all_one).unwrap_err();
    assert_eq!(median, ClassicError::Bandwidth { found: 0.0 });
    let narrow =
        LaplacianEigenmaps { bandwidth: Some(1e-9), ..LaplacianEigenmaps::default() }.fit(v).unwrap_err();
    assert_eq!(narrow, ClassicError::Bandwidth { found: 1e-9 });

    let matrix = |values: &[f32]| ClassicalMds { dims: 1 }.fit(values).unwrap_err().to_string();
    assert!(matrix(&[0.0, 1.0, 2.0]).contains("wanted a square"));
    assert!(matrix(&[0.0, -1.0, 1.0, 0.0]).contains("from 0 to 1 is -1"));
    assert!(matrix(&[0.0, 1.0, 1.0, 0.5]).contains("itself"));
    assert!(matrix(&[0.0, 1.0, 2.0, 0.0]).contains("both ways"));
    assert!(matrix(&[0.0, f32::NAN, 1.0, 0.0]).contains("finite"));
    let other = random_points(4, 2);
    let error = Isomap::default().fit(v).unwrap().transform(Vectors::new(&other, 2).unwrap()).unwrap_err();
    assert!(error.to_string().contains("found 2 columns, wanted the 3 of the fit"), "{error}");
}

#[test]
fn one_constant_column_and_fewer_points_than_dimensions_are_no_trouble() {
    let mut points = random_points(20, 50);
    points.iter_mut().step_by(50).for_each(|x| *x = 4.0);
    let v = Vectors::new(&points, 50).unwrap();
    let maps = [
        Lle::default().fit(v).unwrap().embedding().to_vec(),
        Isomap::default().fit(v).unwrap().embedding().to_vec(),
        LaplacianEigenmaps::default().fit(v).unwrap().embedding().to_vec(),
        DiffusionMaps::default().fit(v).unwrap().embedding().to_vec(),
        ClassicalMds { dims: 2 }.fit_points(v).unwrap().embedding().to_vec(),
    ];
    assert!(maps.iter().all(|map| map.len() == 40 && map.iter().all(|x| x.is_finite())));
}

#[test]
fn bits_do_not_depend_on_the_number_of_threads_and_a_fit_survives_being_written() {
    let (points, _) = swiss_roll(700);
    let apart = distances(&points[..600], 3);
    let all = || {
        let v = Vectors::new(&points, 3).unwrap();
        let isomap = Isomap { neighbors: 8, landmarks: Some(200), ..Isomap::default() }.fit(v).unwrap();
        let written = serde_json::to_string(&isomap).unwrap();
        let read: FittedIsomap = serde_json::from_str(&written).unwrap();
        assert_eq!(isomap.transform(v).unwrap(), read.transform(v).unwrap());
        [
            Lle::default().fit(v).unwrap().transform(v).unwrap(),
            isomap.transform(v).unwrap(),
            LaplacianEigenmaps::default().fit(v).unwrap().embedding().to_vec(),
            DiffusionMaps::default().fit(v).unwrap().transform(v).unwrap(),
            ClassicalMds { dims: 2 }.fit(&apart).unwrap().embedding().to_vec(),
            Smacof::default().fit(&apart).unwrap().embedding().to_vec(),
            vec![isomap.residual_variance() as f32],
        ]
    };
    let with = |threads| rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap().install(all);
    let one = with(1);
    assert!(one == with(2) && one == with(3));
}

/// Three clusters of 40 points in ten dimensions, and whose each point is.
fn clusters() -> (Vec<f32>, Vec<usize>) {
    let mut points = random_points(120, 10);
    let of: Vec<usize> = (0..120).map(|i| i % 3).collect();
    points.chunks_exact_mut(10).zip(&of).for_each(|(row, &c)| row[c] += 6.0);
    (points, of)
}

/// The share of points whose nearest in the map is of their cluster.
fn kept(map: &[f32], of: &[usize]) -> f64 {
    let map = Vectors::new(map, 2).unwrap();
    let nearest = top_k(map, map, Metric::SquaredEuclidean, 1, true).unwrap();
    nearest.iter().enumerate().filter(|(i, near)| of[near[0].index] == of[*i]).count() as f64
        / of.len() as f64
}

#[test]
fn tsne_and_umap_keep_clusters_on_any_number_of_threads_and_follow_the_seed() {
    let (points, of) = clusters();
    let v = Vectors::new(&points, 10).unwrap();
    let (tsne, umap) = (Tsne { perplexity: 15.0, ..Tsne::default() }, Umap::default());
    let maps = [1, 2].map(|threads| {
        let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap();
        pool.install(|| {
            [tsne.fit(v).unwrap().embedding().to_vec(), umap.fit(v).unwrap().embedding().to_vec()]
        })
    });
    assert_eq!(maps[0], maps[1]);
    for map in &maps[0] {
        assert!(kept(map, &of) > 0.99, "{}", kept(map, &of));
    }
    assert_ne!(Umap { seed: 1, ..umap }.fit(v).unwrap().embedding(), maps[0][1]);
}

/// `Σ p ln(p / q)` pair by pair, with `p` over the `3 perplexity` nearest.
fn divergence(points: Vectors<'_>, perplexity: f64, map: &[f32]) -> f64 {
    let n = points.len();
    let near = top_k(points, points, Metric::SquaredEuclidean, (3.0 * perplexity) as usize, true).unwrap();
    let mut p = vec![0.0; n * n];
    for (i, near) in near.iter().enumerate() {
        let (mut low, mut high) = (0.0f64, 1e6);
        for _ in 0..200 {
            let narrow = 0.5 * (low + high);
            let all: Vec<f64> = near.iter().map(|n| (-f64::from(n.score) * narrow).exp()).collect();
            let sum: f64 = all.iter().sum();
            let entropy: f64 = all.iter().map(|e| e / sum).filter(|p| *p > 0.0).map(|p| -p * p.ln()).sum();
            *if entropy > perplexity.ln() { &mut low } else { &mut high } = narrow;
            near.iter().zip(all).for_each(|(near, e)| p[i * n + near.index] = e / sum);
        }
    }
    let square = |i: usize, j: usize| -> f64 {
        (0..2).map(|c| f64::from(map[2 * i + c] - map[2 * j + c]).powi(2)).sum()
    };
    let pairs = || (0..n * n).map(|at| (at / n, at % n)).filter(|(i, j)| i != j);
    let total: f64 = pairs().map(|(i, j)| 1.0 / (1.0 + square(i, j))).sum();
    let both = |(i, j): (usize, usize)| (p[i * n + j] + p[j * n + i]) / (2 * n) as f64;
    let term = |pair: (usize, usize)| match both(pair) {
        0.0 => 0.0,
        p => p * (p * total * (1.0 + square(pair.0, pair.1))).ln(),
    };
    pairs().map(term).sum()
}

#[test]
fn tsne_lowers_the_divergence_of_all_pairs() {
    let (points, _) = clusters();
    let v = Vectors::new(&points, 10).unwrap();
    let found = [1, 100, 260, 1000].map(|epochs| {
        let fitted = Tsne { perplexity: 15.0, epochs, ..Tsne::default() }.fit(v).unwrap();
        divergence(v, 15.0, fitted.embedding())
    });
    // From where all is one point, through the exaggeration, to the map.
    assert!(found.is_sorted_by(|a, b| a > b) && found[3] < 0.45, "{found:?}");
}

#[test]
fn tsne_and_umap_take_copies_constant_columns_and_one_column_and_refuse_the_rest_with_the_reason() {
    let (mut points, of) = clusters();
    points.iter_mut().step_by(10).skip(1).step_by(3).for_each(|x| *x = 4.0);
    let copy: Vec<f32> = points[..200].to_vec();
    points[200..400].copy_from_slice(&copy);
    let v = Vectors::new(&points, 10).unwrap();
    let few = Tsne { perplexity: 5.0, epochs: 300, ..Tsne::default() };
    let short = Umap { epochs: Some(50), ..Umap::default() };
    let one = Vectors::new(&points[..60], 1).unwrap();
    for (points, count) in [(v, of.len()), (one, 60)] {
        for map in
            [few.fit(points).unwrap().embedding().to_vec(), short.fit(points).unwrap().embedding().to_vec()]
        {
            assert!(map.len() == 2 * count && map.iter().all(|y| y.is_finite()));
        }
    }
    let setting = |error: ClassicError, wanted: &str| match error {
        ClassicError::Setting { name, .. } => assert_eq!(name, wanted),
        other => panic!("{other}"),
    };
    setting(Tsne { perplexity: 40.0, ..few }.fit(v).unwrap_err(), "perplexity");
    setting(Tsne { angle: 0.0, ..few }.fit(v).unwrap_err(), "angle");
    setting(Umap { min_distance: 2.0, ..short }.fit(v).unwrap_err(), "min_distance");
    setting(Umap { neighbors: 1, ..short }.fit(v).unwrap_err(), "neighbors");
    assert!(matches!(Umap { dims: 0, ..short }.fit(v).unwrap_err(), ClassicError::Dims { .. }));
    assert!(matches!(Umap { neighbors: 120, ..short }.fit(v).unwrap_err(), ClassicError::Neighbors { .. }));
    let same = vec![1.0; 60];
    let same = Vectors::new(&same, 2).unwrap();
    assert_eq!(few.fit(same).unwrap_err(), ClassicError::NoVariance);
    assert_eq!(short.fit(same).unwrap_err(), ClassicError::NoVariance);
    points[7] = f32::NAN;
    let v = Vectors::new(&points, 10).unwrap();
    assert!(matches!(few.fit(v).unwrap_err(), ClassicError::NotFinite { row: 0, column: 7, .. }));
    assert!(matches!(short.fit(v).unwrap_err(), ClassicError::NotFinite { row: 0, column: 7, .. }));
}

#[test]
fn an_observer_sees_smacof_fall_and_may_end_it() {
    use std::ops::ControlFlow;
    use std::sync::{Arc, Mutex};
    let points = random_points(30, 5);
    let matrix = distances(&points, 5);
    let seen = Arc::new(Mutex::new(Vec::new()));
    let told = Arc::clone(&seen);
    let observer = nearkin_classic::Observer::new(move |progress| {
        let mut told = told.lock().unwrap();
        told.push(progress.objective);
        if told.len() < 4 { ControlFlow::Continue(()) } else { ControlFlow::Break(()) }
    });
    let fitted = Smacof { tolerance: 0.0, observer, ..Smacof::default() }.fit(&matrix).unwrap();
    let seen = seen.lock().unwrap();
    assert_eq!(fitted.stresses()[1..], seen[..]);
    assert!(seen.len() == 4 && seen.is_sorted_by(|a, b| a > b), "{seen:?}");
}
