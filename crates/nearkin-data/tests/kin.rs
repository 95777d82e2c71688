//! Kin graphs of data sets: near pixels, shared attributes, steps on a grid, a user's list, and the file.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;

use nearkin_data::kin::Axis;
use nearkin_data::poses::PoseSet;
use nearkin_data::{Attributes, DRLIM_SHIFTS, DRLIM_SIDE, Dataset, Image, KinGraph, Sample, shifted};

/// Grey images of two pixels.
fn set(pixels: &[[u8; 2]]) -> Dataset {
    let sample = |i| Sample { id: format!("s{i}"), path: None, label: None, split: None };
    Dataset::in_memory(
        "pairs of pixels",
        (0..pixels.len()).map(sample).collect(),
        pixels.iter().map(|pixels| Image::new(2, 1, 1, pixels.to_vec()).unwrap()).collect(),
        Vec::new(),
        Attributes::default(),
    )
    .unwrap()
}

fn edges(graph: &KinGraph) -> Vec<(u32, u32)> {
    graph.edges().collect()
}

#[test]
fn nearest_pixels_go_both_ways_as_by_hand() {
    // On a line at 0, 1, 3 and 7: each has its left neighbour nearest, but for the first.
    let set = set(&[[0, 9], [1, 9], [3, 9], [7, 9]]);
    assert_eq!(edges(&KinGraph::nearest_pixels(&set, 1).unwrap()), [(0, 1), (1, 2), (2, 3)]);
    let all = KinGraph::nearest_pixels(&set, 3).unwrap();
    assert_eq!(all.pairs(), 6);
    for k in [0, 4] {
        let text = KinGraph::nearest_pixels(&set, k).unwrap_err().to_string();
        assert!(text.contains("wanted 1 to 3"), "{text}");
    }
}

#[test]
fn nearest_pixels_agree_with_brute_force() {
    let dir = tempfile::tempdir().unwrap();
    let random = |i: usize, j: usize| ((i * 7919 + j * 104_729 + i * i * 31 + i * j * 17) % 256) as u8;
    let images: Vec<Image> =
        (0..60).map(|i| Image::new(4, 4, 1, (0..16).map(|j| random(i, j)).collect()).unwrap()).collect();
    let sample = |i| Sample { id: format!("{i}"), path: None, label: None, split: None };
    let samples = (0..60).map(sample).collect();
    let set = Dataset::in_memory("random", samples, images, Vec::new(), Attributes::default()).unwrap();
    let distance = |a: usize, b: usize| -> i64 {
        (0..16).map(|j| (i64::from(random(a, j)) - i64::from(random(b, j))).pow(2)).sum()
    };
    let mut wanted = BTreeSet::new();
    for a in 0..60 {
        let mut others: Vec<usize> = (0..60).filter(|&b| b != a).collect();
        others.sort_by_key(|&b| (distance(a, b), b));
        wanted.extend(others[..5].iter().map(|&b| (a.min(b) as u32, a.max(b) as u32)));
    }
    let graph = KinGraph::nearest_pixels(&set, 5).unwrap();
    assert_eq!(edges(&graph), wanted.into_iter().collect::<Vec<_>>());

    let path = dir.path().join("five.kin");
    graph.write(&path, &set).unwrap();
    assert_eq!(KinGraph::read(&path, &set).unwrap(), graph);
}

#[test]
fn images_of_different_shapes_have_no_pixel_distance() {
    let sample = |i| Sample { id: format!("s{i}"), path: None, label: None, split: None };
    let images = vec![Image::new(2, 1, 1, vec![0; 2]).unwrap(), Image::new(1, 2, 1, vec![0; 2]).unwrap()];
    let samples = (0..2).map(sample).collect();
    let set = Dataset::in_memory("mixed", samples, images, Vec::new(), Attributes::default()).unwrap();
    let text = KinGraph::nearest_pixels(&set, 1).unwrap_err().to_string();
    assert!(text.contains("1x2 with 1 channels (s1), wanted 2x1"), "{text}");
}

#[test]
fn drlims_pairs_are_neighbours_translations_and_neighbours_translations() {
    let originals = set(&[[10, 200], [12, 200], [200, 10], [205, 10]]);
    let moved = shifted(&originals, &DRLIM_SHIFTS, DRLIM_SIDE).unwrap();
    let translations = KinGraph::same(&moved, "original").unwrap();
    assert_eq!(translations.pairs(), 4 * 10);
    assert!(translations.joins(0, 4) && !translations.joins(4, 5));
    // Of unshifted images, the nearest; then all their translations.
    let nearest = KinGraph::nearest_pixels(&originals, 1).unwrap();
    assert_eq!(edges(&nearest), [(0, 1), (2, 3)]);
    let unmoved = |i: u32| i as usize * 5 + 2;
    let near = KinGraph::from_pairs(20, nearest.edges().map(|(a, b)| (unmoved(a), unmoved(b)))).unwrap();
    let all = near.or(&translations).unwrap().or(&near.then(&translations).unwrap()).unwrap();
    assert_eq!(all.neighbors(2), [0, 1, 3, 4, 5, 6, 7, 8, 9]);
}

#[test]
fn poses_are_kin_to_the_next_azimuth_and_elevation_around_the_circle() {
    let poses = PoseSet { azimuths: 5, elevations: 3, lightings: 2, size: 8 };
    let set = poses.dataset().unwrap();
    let axes = |wraps| {
        [Axis { attribute: "azimuth".into(), wraps }, Axis { attribute: "elevation".into(), wraps: false }]
    };
    let at = |azimuth: usize, elevation: usize, lighting: usize| (azimuth * 3 + elevation) * 2 + lighting;
    let graph = KinGraph::adjacent(&set, &axes(true), false).unwrap();
    let mut wanted = BTreeSet::new();
    for (a, e, l, m) in (0..5)
        .flat_map(|a| (0..3).flat_map(move |e| [(a, e, 0, 0), (a, e, 0, 1), (a, e, 1, 0), (a, e, 1, 1)]))
    {
        wanted.insert((at(a, e, l), at((a + 1) % 5, e, m)));
        if e < 2 {
            wanted.insert((at(a, e, l), at(a, e + 1, m)));
        }
    }
    let wanted = KinGraph::from_pairs(30, wanted).unwrap();
    assert_eq!(graph, wanted);
    assert!(!KinGraph::adjacent(&set, &axes(false), false).unwrap().joins(at(0, 0, 0), at(4, 0, 0)));
    let points = KinGraph::adjacent(&set, &axes(true), true).unwrap();
    assert_eq!(points.pairs(), wanted.pairs() + 15);
    assert!(points.joins(at(2, 1, 0), at(2, 1, 1)));
    // With two steps, the next around the circle is the next already.
    let two = PoseSet { azimuths: 2, elevations: 1, lightings: 1, size: 8 }.dataset().unwrap();
    assert_eq!(KinGraph::adjacent(&two, &axes(true)[..1], false).unwrap().pairs(), 1);

    let problem = |axes: &[Axis]| KinGraph::adjacent(&set, axes, false).unwrap_err().to_string();
    assert!(problem(&[]).starts_with("axes"));
    assert!(problem(&[axes(true)[0].clone(), axes(false)[0].clone()]).contains("\"azimuth\" twice"));
    let text = problem(&[Axis { attribute: "camera".into(), wraps: false }]);
    assert!(text.contains("no attribute \"camera\"; available: azimuth, elevation, lighting"), "{text}");
}

#[test]
fn pairs_of_a_user_are_read_by_id() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("pairs.csv");
    let set = set(&[[0, 0], [1, 1], [2, 2]]);
    let read = |text: &str| {
        fs::write(&path, text).unwrap();
        KinGraph::read_pairs(&set, &path)
    };
    assert_eq!(edges(&read("\u{feff}b,note,a\ns2,x,s0\ns0,y,s2\n").unwrap()), [(0, 2)]);
    for (text, wanted) in [
        ("x,b\ns0,s1\n", "line 1: the header is \"x,b\", wanted the columns \"a\" and \"b\""),
        ("a,b\ns0,s1\ns0,s7\n", "line 3: no sample has the id \"s7\"; ids look like \"s0\""),
        ("a,b\ns1,s1\n", "line 2: \"s1\" is paired with itself"),
        ("a,b\ns1\n", "line 2: not a CSV file"),
    ] {
        let found = read(text).unwrap_err().to_string();
        assert!(found.contains(wanted), "{found}");
    }
    let twice = set.subset(&[0, 0, 1]);
    fs::write(&path, "a,b\ns1,s0\n").unwrap();
    let text = KinGraph::read_pairs(&twice, &path).unwrap_err().to_string();
    assert!(text.contains("several samples have the id \"s0\""), "{text}");
}

#[test]
fn a_graph_follows_its_samples_into_a_part() {
    let whole = set(&[[0, 0], [1, 1], [2, 2], [3, 3]]).subset(&[3, 2, 1, 0]);
    let graph = KinGraph::from_pairs(4, [(0, 1), (1, 3), (2, 3)]).unwrap();
    let part = whole.subset(&[3, 1]);
    assert_eq!(edges(&graph.on_part(&whole, &part).unwrap()), [(0, 1)]);
    assert!(graph.on_part(&part, &part).is_err());
    assert!(KinGraph::from_pairs(2, []).unwrap().on_part(&part, &whole).is_err());
}

#[test]
fn a_damaged_file_or_one_of_other_data_is_refused() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("g.kin");
    let (one, other) = (set(&[[0, 0], [1, 1], [2, 2]]), set(&[[0, 0], [1, 1], [2, 3]]));
    let graph = KinGraph::from_pairs(3, [(0, 2)]).unwrap();
    assert!(graph.write(&path, &one.subset(&[0])).is_err());
    graph.write(&path, &one).unwrap();
    assert_eq!(KinGraph::read(&path, &one).unwrap(), graph);
    assert_eq!(graph.fingerprint().len(), 64);
    assert_ne!(graph.fingerprint(), KinGraph::from_pairs(3, [(0, 1)]).unwrap().fingerprint());

    let problem = |set: &Dataset, path: &Path| KinGraph::read(path, set).unwrap_err().to_string();
    assert!(problem(&other, &path).contains("data fingerprint"));
    assert!(problem(&one, &dir.path().join("none")).contains("cannot read"));
    let whole = fs::read(&path).unwrap();
    for at in 0..whole.len() {
        let mut bytes = whole.clone();
        bytes[at] ^= 1;
        fs::write(&path, &bytes).unwrap();
        assert!(KinGraph::read(&path, &one).is_err(), "byte {at}");
    }
    for keep in 0..whole.len() {
        fs::write(&path, &whole[..keep]).unwrap();
        assert!(KinGraph::read(&path, &one).is_err(), "cut to {keep}");
    }
    // A right checksum over wrong content: a pair that goes one way.
    let body = whole.len() - 32 - 8;
    let mut bytes = whole[..whole.len() - 32].to_vec();
    bytes[body..body + 4].copy_from_slice(&1u32.to_le_bytes());
    bytes.extend_from_slice(blake3::hash(&bytes).as_bytes());
    fs::write(&path, &bytes).unwrap();
    assert!(problem(&one, &path).contains("goes one way"));
}
