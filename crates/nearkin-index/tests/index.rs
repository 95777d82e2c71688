//! Building, opening and searching indexes.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use nearkin_index::{
    BuildOptions, DEFAULT_EF, Damage, Embeddings, Fault, Hit, Index, IndexError, Kind, Origin, Progress,
    SearchOptions, Stage, Storage, Summary, build,
};
use nearkin_sweep::{Metric, Vectors};
use proptest::prelude::*;

const GRAPH: Kind = Kind::Hnsw { m: 16, ef_construction: 200 };

/// Numbers from -0.5 to 0.5, the same on every machine.
struct Numbers(u64);

impl Numbers {
    fn next(&mut self) -> f32 {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 40) as f32 / (1 << 24) as f32 - 0.5
    }

    fn vectors(&mut self, rows: usize, dim: usize) -> Vec<f32> {
        (0..rows * dim).map(|_| self.next()).collect()
    }

    /// Points around centres, as embeddings of classes are.
    fn clusters(&mut self, rows: usize, dim: usize, centres: usize) -> Vec<f32> {
        let centre = self.vectors(centres, dim);
        (0..rows * dim).map(|i| 2.0 * centre[i / dim % centres * dim + i % dim] + self.next()).collect()
    }
}

fn of_vectors(vectors: Vec<f32>, dim: usize) -> Embeddings {
    let ids = (0..vectors.len() / dim).map(|row| format!("row {row}")).collect();
    Embeddings { vectors, dim, ids, ..Embeddings::default() }
}

fn origin() -> Origin {
    Origin {
        model: "0123abcd".into(),
        metric: Metric::Euclidean,
        preprocessing: "28 pixels".into(),
        normalized: false,
        data: "ffee".into(),
    }
}

fn full_table() -> Embeddings {
    let mut table = of_vectors(Numbers(1).vectors(20, 5), 5);
    table.labels = Some((0..20).map(|row| ["kea", "kaka", ""][row % 3].to_owned()).collect());
    table.paths = Some((0..20).map(|row| format!("birds/{row}.png")).collect());
    table.columns =
        BTreeMap::from([("camera".to_owned(), (0..20).map(|row| format!("c{}", row % 2)).collect())]);
    table.origin = Some(origin());
    table
}

fn build_quietly(table: &Embeddings, path: &Path, metric: Metric, kind: Kind) -> Summary {
    build(table, path, BuildOptions { metric: Some(metric), kind, ..BuildOptions::default() }, &mut |_| ())
        .unwrap()
}

fn indexed(table: &Embeddings, metric: Metric, kind: Kind) -> (tempfile::TempDir, PathBuf, Index) {
    indexed_as(table, metric, kind, Storage::F32)
}

fn indexed_as(
    table: &Embeddings,
    metric: Metric,
    kind: Kind,
    storage: Storage,
) -> (tempfile::TempDir, PathBuf, Index) {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("test.index");
    build(table, &path, BuildOptions { metric: Some(metric), kind, storage }, &mut |_| ()).unwrap();
    let index = Index::open(&path).unwrap();
    (folder, path, index)
}

fn brute_force(table: &Embeddings, query: &[f32], metric: Metric, k: usize) -> Vec<(usize, f32)> {
    let row = |i: usize| &table.vectors[i * table.dim..(i + 1) * table.dim];
    let mut all: Vec<(usize, f32)> =
        (0..table.len()).map(|i| (i, metric.score(query, row(i)) + 0.0)).collect();
    all.sort_by(|a, b| {
        let order = if metric.larger_is_nearer() { b.1.total_cmp(&a.1) } else { a.1.total_cmp(&b.1) };
        order.then(a.0.cmp(&b.0))
    });
    all.truncate(k);
    all
}

/// The share of the `k` true neighbours that a search through the graph finds.
fn recall(index: &Index, queries: Vectors<'_>, k: usize, ef: Option<usize>) -> f64 {
    let exact = index.search(queries, k, SearchOptions { exact: true, ef: None }).unwrap();
    let found = index.search(queries, k, SearchOptions { exact: false, ef }).unwrap();
    share(&exact, &found)
}

/// The share of the hits of an exact search that another has found.
fn share(exact: &[Vec<Hit<'_>>], found: &[Vec<Hit<'_>>]) -> f64 {
    let found_of = |(exact, found): (&Vec<Hit<'_>>, &Vec<Hit<'_>>)| {
        found.iter().filter(|hit| exact.iter().any(|other| other.index == hit.index)).count()
    };
    let all: usize = exact.iter().map(Vec::len).sum();
    exact.iter().zip(found).map(found_of).sum::<usize>() as f64 / all as f64
}

#[test]
fn an_index_returns_what_it_was_given() {
    let table = full_table();
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("birds.index");
    for kind in [Kind::Exact, Kind::Hnsw { m: 4, ef_construction: 8 }] {
        let mut heard = Vec::new();
        let options = BuildOptions { metric: None, kind, ..BuildOptions::default() };
        let summary = build(&table, &path, options, &mut |progress: Progress| heard.push(progress)).unwrap();
        let bytes = std::fs::metadata(&path).unwrap().len();
        assert_eq!(
            summary,
            Summary {
                rows: 20,
                dim: 5,
                metric: Metric::Euclidean,
                kind,
                storage: Storage::F32,
                ef: None,
                bytes
            }
        );
        assert!(heard.iter().all(|progress| progress.done <= progress.total));
        assert_eq!(heard.iter().any(|progress| progress.stage == Stage::Linking), kind != Kind::Exact);

        let index = Index::open(&path).unwrap();
        index.verify().unwrap();
        assert_eq!((index.len(), index.dim(), index.kind()), (20, 5, kind));
        assert_eq!((index.metric(), index.origin()), (Metric::Euclidean, Some(&origin())));
        assert_eq!(index.vectors()[..], table.vectors[..]);
        assert_eq!(index.vectors().as_ptr() as usize % 64, 0, "vectors are aligned for wide loads");
        assert_eq!(index.columns().collect::<Vec<_>>(), ["camera"]);
        for row in 0..20 {
            let label = Some(["kea", "kaka", ""][row % 3]).filter(|label| !label.is_empty());
            assert_eq!((index.id(row), index.label(row)), (table.ids[row].as_str(), label));
            assert_eq!(index.path(row), Some(format!("birds/{row}.png").as_str()));
            assert_eq!(index.column("camera", row), Some(["c0", "c1"][row % 2]));
            assert_eq!(index.column("lens", row), None);
        }
        let hits =
            index.search(Vectors::new(&table.vectors[15..20], 5).unwrap(), 1, SearchOptions::default());
        let wanted = Hit { index: 3, id: "row 3", label: Some("kea"), path: Some("birds/3.png"), score: 0.0 };
        assert_eq!(hits.unwrap(), [[wanted]]);
    }
}

#[test]
fn the_metric_is_the_one_asked_for_or_that_of_the_origin_or_cosine() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("test.index");
    let bare = Embeddings { origin: None, ..full_table() };
    for (table, metric, wanted) in [
        (&full_table(), None, Metric::Euclidean),
        (&full_table(), Some(Metric::Dot), Metric::Dot),
        (&bare, None, Metric::Cosine),
    ] {
        let options = BuildOptions { metric, ..BuildOptions::default() };
        assert_eq!(build(table, &path, options, &mut |_| ()).unwrap().metric, wanted);
        assert_eq!(Index::open(&path).unwrap().metric(), wanted);
    }
}

#[test]
fn cosine_vectors_are_stored_with_unit_length_and_a_zero_vector_scores_zero() {
    let table = of_vectors(vec![3.0, 4.0, 0.0, 0.0, -1e30, 0.0], 2);
    let (_folder, _, index) = indexed(&table, Metric::Cosine, Kind::Exact);
    assert_eq!(index.vectors()[..], [0.6, 0.8, 0.0, 0.0, -1.0, 0.0]);
    let hits = index.search(Vectors::new(&[1e30, 0.0], 2).unwrap(), 9, SearchOptions::default()).unwrap();
    let scores: Vec<(usize, f32)> = hits[0].iter().map(|hit| (hit.index, hit.score)).collect();
    assert_eq!(scores, [(0, 0.6), (1, 0.0), (2, -1.0)]);
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 48, failure_persistence: None, ..ProptestConfig::default() })]
    // Small integers make scores exact, so ties are real and the order must agree.
    #[test]
    fn exact_search_is_brute_force(
        rows in 1usize..60, dim in 1usize..7, k in 1usize..12, seed in any::<u64>(), graph in any::<bool>()
    ) {
        let mut numbers = Numbers(seed);
        let mut whole = |count| (0..count).map(|_| (numbers.next() * 6.0).round()).collect::<Vec<f32>>();
        let table = of_vectors(whole(rows * dim), dim);
        let queries = whole(5 * dim);
        let kind = if graph { Kind::Hnsw { m: 4, ef_construction: 16 } } else { Kind::Exact };
        for metric in [Metric::Dot, Metric::Euclidean, Metric::SquaredEuclidean] {
            let (_folder, _, index) = indexed(&table, metric, kind);
            let options = SearchOptions { exact: true, ef: None };
            let found = index.search(Vectors::new(&queries, dim).unwrap(), k, options).unwrap();
            for (query, hits) in queries.chunks(dim).zip(found) {
                let found: Vec<(usize, f32)> = hits.iter().map(|hit| (hit.index, hit.score)).collect();
                prop_assert_eq!(found, brute_force(&table, query, metric, k));
            }
        }
        // Scaling to unit length rounds, so for cosine the scores agree and not always the order of equals.
        let (_folder, _, index) = indexed(&table, Metric::Cosine, kind);
        let found = index.search(Vectors::new(&queries, dim).unwrap(), k, SearchOptions::default()).unwrap();
        for (query, hits) in queries.chunks(dim).zip(found) {
            let wanted = brute_force(&table, query, Metric::Cosine, k);
            prop_assert_eq!(hits.len(), wanted.len());
            for (hit, (_, score)) in hits.iter().zip(wanted) {
                prop_assert!((hit.score - score).abs() < 1e-6);
            }
        }
    }
}

#[test]
fn a_graph_over_clusters_finds_nearly_all_true_neighbours() {
    let rows = 4_000;
    let mut numbers = Numbers(7);
    let table = of_vectors(numbers.clusters(rows, 64, rows / 100), 64);
    let queries: Vec<f32> = table.vectors[..200 * 64].iter().map(|x| x + 0.4 * numbers.next()).collect();
    let queries = Vectors::new(&queries, 64).unwrap();
    for metric in [Metric::Cosine, Metric::Euclidean, Metric::Dot] {
        let (_folder, _, index) = indexed(&table, metric, Kind::Hnsw { m: 16, ef_construction: 80 });
        let found = recall(&index, queries, 10, None);
        assert!(found >= 0.95, "recall@10 of {metric} is {found}");
    }
}

#[test]
fn a_graph_finds_the_largest_dot_products_of_vectors_of_many_lengths() {
    let (rows, dim) = (2_000, 16);
    let mut numbers = Numbers(11);
    let mut vectors = numbers.vectors(rows, dim);
    for row in vectors.chunks_mut(dim) {
        let length = 3.0f32.powf(4.0 * numbers.next());
        row.iter_mut().for_each(|x| *x *= length);
    }
    let (_folder, _, index) = indexed(&of_vectors(vectors, dim), Metric::Dot, GRAPH);
    let queries = numbers.vectors(100, dim);
    let found = recall(&index, Vectors::new(&queries, dim).unwrap(), 10, None);
    assert!(found >= 0.98, "recall@10 is {found}");
}

#[test]
fn a_wider_beam_finds_no_less_and_the_widest_finds_all() {
    let table = of_vectors(Numbers(3).vectors(3_000, 24), 24);
    let (_folder, _, index) = indexed(&table, Metric::Euclidean, Kind::Hnsw { m: 6, ef_construction: 20 });
    let queries = Vectors::new(&table.vectors[..100 * 24], 24).unwrap();
    let found = [10, 50, 400, 3_000].map(|ef| recall(&index, queries, 10, Some(ef)));
    assert!(found.is_sorted(), "{found:?}");
    assert_eq!(found[3], 1.0);
}

#[test]
fn scores_of_a_graph_are_those_of_exact_search() {
    let table = of_vectors(Numbers(5).clusters(1_000, 12, 10), 12);
    for metric in Metric::ALL {
        let (_folder, _, index) = indexed(&table, metric, GRAPH);
        let queries = Vectors::new(&table.vectors[..50 * 12], 12).unwrap();
        let exact = index.search(queries, 1_000, SearchOptions { exact: true, ef: None }).unwrap();
        let walked = index.search(queries, 5, SearchOptions { exact: false, ef: Some(50) }).unwrap();
        for (exact, walked) in exact.iter().zip(&walked) {
            assert_eq!(walked.len(), 5);
            for hit in walked {
                assert!(exact.contains(hit), "{metric}: {hit:?}");
            }
        }
    }
}

#[test]
fn the_same_table_makes_the_same_index() {
    let table = of_vectors(Numbers(9).clusters(700, 10, 12), 10);
    let folder = tempfile::tempdir().unwrap();
    let bytes = [1, 2].map(|threads| {
        let path = folder.path().join(format!("{threads}.index"));
        let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap();
        pool.install(|| build_quietly(&table, &path, Metric::Cosine, GRAPH));
        std::fs::read(path).unwrap()
    });
    assert!(bytes[0] == bytes[1]);
}

#[test]
fn an_index_of_another_model_is_refused_and_both_are_named() {
    let (_folder, _, index) = indexed(&full_table(), Metric::Cosine, Kind::Exact);
    for preprocessing in ["28 pixels", ""] {
        index.check_model("0123abcd", preprocessing).unwrap();
        let error = index.check_model("feedbeef", preprocessing).unwrap_err();
        assert!(matches!(error, IndexError::OtherModel { preprocessing: None, .. }));
        let text = error.to_string();
        assert!(
            text.contains("0123abcd") && text.contains("feedbeef") && text.contains("test.index"),
            "{text}"
        );
    }
    let text = index.check_model("feedbeef", "32 pixels").unwrap_err().to_string();
    assert!(text.contains("as 32 pixels, that of the index as 28 pixels"), "{text}");

    let (_folder, _, index) = indexed(&of_vectors(vec![1.0], 1), Metric::Cosine, Kind::Exact);
    assert!(matches!(index.check_model("feedbeef", ""), Err(IndexError::NoModel { .. })));
}

#[test]
fn vectors_of_the_same_model_made_otherwise_are_refused_with_the_reason() {
    let (_folder, _, index) = indexed(&full_table(), Metric::Euclidean, Kind::Exact);
    index.check_origin(&origin()).unwrap();
    let text = index.check_model("0123abcd", "32 pixels").unwrap_err().to_string();
    assert!(text.contains("prepared as 28 pixels") && text.contains("prepared as 32 pixels"), "{text}");
    let scaled = Origin { normalized: true, ..origin() };
    let text = index.check_origin(&scaled).unwrap_err().to_string();
    assert!(text.contains("euclidean") && text.contains("only those to add were scaled"), "{text}");
    // Cosine ignores lengths.
    let (_folder, _, index) = indexed(&full_table(), Metric::Cosine, Kind::Exact);
    index.check_origin(&scaled).unwrap();
}

#[test]
fn wrong_queries_are_errors() {
    let (_folder, _, index) = indexed(&full_table(), Metric::Euclidean, GRAPH);
    let search = |values: &[f32], dim, k| {
        index.search(Vectors::new(values, dim).unwrap(), k, SearchOptions::default()).unwrap_err()
    };
    assert!(matches!(search(&[0.0; 5], 5, 0), IndexError::NoNeighbors));
    assert!(matches!(search(&[0.0; 6], 3, 1), IndexError::QueryDimension { found: 3, wanted: 5, .. }));
    let mut values = [0.0; 10];
    values[7] = f32::NAN;
    assert!(matches!(search(&values, 5, 1), IndexError::QueryNotFinite { query: 1, position: 2, .. }));
    values[7] = 1e30;
    assert!(matches!(search(&values, 5, 1), IndexError::TooLong { what: "query", which: 1, .. }));
    let none = index.search(Vectors::new(&[], 5).unwrap(), 1, SearchOptions::default()).unwrap();
    assert!(none.is_empty());
}

#[test]
fn wrong_builds_are_errors_and_leave_the_old_index() {
    let (_folder, path, _index) = indexed(&full_table(), Metric::Cosine, Kind::Exact);
    let old = std::fs::read(&path).unwrap();
    let attempt = |table: &Embeddings, kind| {
        let options = BuildOptions { metric: Some(Metric::Dot), kind, ..BuildOptions::default() };
        build(table, &path, options, &mut |_| ()).unwrap_err()
    };
    let table = full_table();
    let wrong = attempt(&table, Kind::Hnsw { m: 3, ef_construction: 100 });
    assert!(matches!(wrong, IndexError::BuildOption { option: "m", found: 3, .. }));
    let wrong = attempt(&table, Kind::Hnsw { m: 16, ef_construction: 15 });
    assert!(matches!(wrong, IndexError::BuildOption { option: "ef_construction", found: 15, .. }));
    let wrong = attempt(&Embeddings::default(), Kind::Exact);
    assert!(matches!(wrong, IndexError::Embeddings(Fault::NoRows)));
    let long = of_vectors(vec![1.0, 2e20], 1);
    assert!(matches!(attempt(&long, Kind::Exact), IndexError::TooLong { what: "row", which: 1, .. }));
    let nowhere = path.join("inside.index");
    let wrong = build(&table, &nowhere, BuildOptions::default(), &mut |_| ()).unwrap_err();
    assert!(matches!(&wrong, IndexError::Write { path, .. } if *path == nowhere), "{wrong}");
    assert_eq!(std::fs::read(&path).unwrap(), old);
}

#[test]
fn an_open_index_is_not_disturbed_by_a_rebuild() {
    let (_folder, path, index) = indexed(&full_table(), Metric::Euclidean, Kind::Exact);
    build_quietly(&of_vectors(vec![9.0; 2], 1), &path, Metric::Dot, Kind::Exact);
    assert_eq!(index.vectors()[..], full_table().vectors[..]);
    assert_eq!(Index::open(&path).unwrap().len(), 2);
}

fn damage(path: &Path) -> Damage {
    match Index::open(path) {
        Err(IndexError::Index { path: named, damage }) => {
            assert_eq!(named, path);
            damage
        }
        other => panic!("expected damage, found {other:?}"),
    }
}

#[test]
fn a_foreign_file_is_not_an_index() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("test.index");
    for bytes in [&b""[..], b"nearkin", b"\x93NUMPY\x01\x00 and more than the header of an index would take"]
    {
        std::fs::write(&path, bytes).unwrap();
        assert_eq!(damage(&path), Damage::Foreign);
    }
    assert!(matches!(Index::open(folder.path()), Err(IndexError::Read { .. })));
    assert!(matches!(Index::open(&folder.path().join("none")), Err(IndexError::Read { .. })));
}

#[test]
fn an_index_of_a_later_format_says_so() {
    let (_folder, path, _) = indexed(&full_table(), Metric::Cosine, Kind::Exact);
    let mut bytes = std::fs::read(&path).unwrap();
    bytes[8] = 3;
    std::fs::write(&path, bytes).unwrap();
    assert_eq!(damage(&path), Damage::Version { found: 3, wanted: 2 });
}

#[test]
fn a_cut_or_longer_index_is_an_error_at_every_length() {
    let (folder, path, _) = indexed(&full_table(), Metric::Cosine, Kind::Hnsw { m: 4, ef_construction: 8 });
    let mut bytes = std::fs::read(&path).unwrap();
    let cut = folder.path().join("cut.index");
    for end in 0..bytes.len() {
        std::fs::write(&cut, &bytes[..end]).unwrap();
        assert!(matches!(damage(&cut), Damage::Foreign | Damage::Size { .. }), "cut to {end}");
    }
    bytes.push(0);
    std::fs::write(&cut, &bytes).unwrap();
    let wanted = bytes.len() as u64 - 1;
    assert_eq!(damage(&cut), Damage::Size { found: wanted + 1, wanted });
}

#[test]
fn a_changed_byte_is_found_and_never_a_panic() {
    for storage in [Storage::F32, Storage::F16, Storage::I8] {
        every_changed_byte_is_found(storage);
    }
}

fn every_changed_byte_is_found(storage: Storage) {
    let kind = Kind::Hnsw { m: 4, ef_construction: 8 };
    let (folder, path, _) = indexed_as(&full_table(), Metric::Euclidean, kind, storage);
    let bytes = std::fs::read(&path).unwrap();
    let changed_path = folder.path().join("changed.index");
    // Every byte of the header and the vectors, and one of seven of graph and metadata; a fifth of these where values are rounded.
    let step = if storage == Storage::F32 { 1 } else { 5 };
    for i in (0..600).step_by(step).chain((600..bytes.len()).step_by(7 * step)) {
        let mut changed = bytes.clone();
        changed[i] ^= [0x01, 0x80, 0xff][i % 3];
        std::fs::write(&changed_path, &changed).unwrap();
        let Ok(index) = Index::open(&changed_path) else { continue };
        // Bytes 144 to 192 are a gap.
        assert!(index.verify().is_err() || (144..192).contains(&i), "byte {i} changed unnoticed");
        let options = SearchOptions { ef: Some(12), exact: false };
        for exact in [false, true] {
            let found =
                index.search(Vectors::new(&[0.1; 10], 5).unwrap(), 10, SearchOptions { exact, ..options });
            assert!(matches!(found, Ok(_) | Err(IndexError::Index { .. })), "{found:?}");
        }
    }
}

const ROUNDED: [Storage; 2] = [Storage::F16, Storage::I8];

#[test]
fn searches_of_rounded_vectors_find_what_sorting_them_finds() {
    let (rows, dim) = (900, 24);
    let mut numbers = Numbers(13);
    let table = of_vectors(numbers.clusters(rows, dim, 9), dim);
    // As few as are compared where they lie, and as many as go through the sweep.
    let asked = [3, 20].map(|count| numbers.clusters(count, dim, 3));
    for storage in ROUNDED {
        for metric in Metric::ALL {
            let (_folder, _, index) = indexed_as(&table, metric, Kind::Exact, storage);
            assert_eq!(index.storage(), storage);
            let kept = Embeddings { vectors: index.vectors().into_owned(), ..table.clone() };
            for queries in &asked {
                let queries = Vectors::new(queries, dim).unwrap();
                for k in [1, 10, 1_000] {
                    let found = index.search(queries, k, SearchOptions::default()).unwrap();
                    for (query, hits) in found.iter().enumerate() {
                        let found: Vec<(usize, f32)> =
                            hits.iter().map(|hit| (hit.index, hit.score)).collect();
                        assert_eq!(
                            found,
                            brute_force(&kept, queries.row(query), metric, k),
                            "{storage}, {metric}"
                        );
                    }
                }
            }
        }
    }
}

#[test]
fn rounded_vectors_take_a_half_and_a_quarter_and_keep_nearly_all_neighbours() {
    let (rows, dim) = (4_000, 64);
    let mut numbers = Numbers(17);
    let table = of_vectors(numbers.clusters(rows, dim, rows / 100), dim);
    let queries: Vec<f32> = table.vectors[..200 * dim].iter().map(|x| x + 0.4 * numbers.next()).collect();
    let queries = Vectors::new(&queries, dim).unwrap();
    for metric in [Metric::Cosine, Metric::Euclidean, Metric::Dot] {
        let (_folder, path, exact) = indexed(&table, metric, Kind::Exact);
        let size = std::fs::metadata(&path).unwrap().len() as usize;
        let truth = exact.search(queries, 10, SearchOptions::default()).unwrap();
        for (storage, bytes, wanted) in [(Storage::F16, 2 * dim, 0.995), (Storage::I8, dim + 4, 0.96)] {
            let (_folder, path, index) = indexed_as(&table, metric, Kind::Exact, storage);
            index.verify().unwrap();
            let saved = size - std::fs::metadata(&path).unwrap().len() as usize;
            assert!(saved.abs_diff(rows * (4 * dim - bytes)) < 64, "{storage} saved {saved} bytes");
            let found = share(&truth, &index.search(queries, 10, SearchOptions::default()).unwrap());
            assert!(found >= wanted, "recall@10 of {metric} as {storage} is {found}");

            let (_folder, _, graph) = indexed_as(&table, metric, GRAPH, storage);
            let found = share(
                &truth,
                &graph.search(queries, 10, SearchOptions { exact: false, ef: Some(100) }).unwrap(),
            );
            assert!(found >= wanted - 0.02, "recall@10 of {metric} as {storage} through a graph is {found}");
        }
    }
}

#[test]
fn what_a_storage_cannot_hold_is_an_error_and_leaves_the_old_index() {
    let (_folder, path, _) = indexed(&full_table(), Metric::Euclidean, Kind::Exact);
    let old = std::fs::read(&path).unwrap();
    for storage in ROUNDED {
        let attempt = |value: f32| {
            let mut table = full_table();
            table.vectors[17] = value;
            let options =
                BuildOptions { metric: Some(Metric::Euclidean), storage, ..BuildOptions::default() };
            build(&table, &path, options, &mut |_| ())
        };
        for value in [f32::NAN, f32::INFINITY] {
            let error = attempt(value).unwrap_err();
            assert!(
                matches!(error, IndexError::Embeddings(Fault::NotFinite { row: 3, position: 2, .. })),
                "{error}"
            );
        }
        if storage == Storage::F16 {
            let error = attempt(-7e4).unwrap_err();
            assert!(matches!(error, IndexError::BeyondHalf { row: 3, position: 2, .. }), "{error}");
            assert!(std::fs::read(&path).unwrap() == old);
        } else {
            attempt(-7e4).unwrap();
            let kept = Index::open(&path).unwrap().vectors()[17];
            assert!((kept + 7e4).abs() < 2.0, "{kept}");
        }
    }
}

#[test]
fn an_index_of_f32_has_the_old_format_and_an_unknown_storage_is_named() {
    let (_folder, path, _) = indexed(&full_table(), Metric::Cosine, Kind::Exact);
    let mut bytes = std::fs::read(&path).unwrap();
    assert_eq!(bytes[8..16], [1, 0, 0, 0, 0, 0, 0, 0]);
    bytes[12] = 7;
    std::fs::write(&path, &bytes).unwrap();
    assert_eq!(damage(&path), Damage::Checksum { part: "header" });
    let checksum = blake3::hash(&bytes[..112]);
    bytes[112..144].copy_from_slice(checksum.as_bytes());
    std::fs::write(&path, &bytes).unwrap();
    assert_eq!(damage(&path), Damage::Storage { found: 7 });
}

#[test]
fn searches_by_default_find_99_of_100_neighbours_of_vectors_with_structure_and_without() {
    let (rows, dim) = (5_000, 96);
    let kind = Kind::Hnsw { m: 12, ef_construction: 100 };
    let mut numbers = Numbers(19);
    let mut vectors = numbers.clusters(rows + 300, dim, 60);
    let queries = vectors.split_off(rows * dim);
    let (_folder, _, index) = indexed(&of_vectors(vectors, dim), Metric::Euclidean, kind);
    assert_eq!(index.ef(), DEFAULT_EF);
    let found = recall(&index, Vectors::new(&queries, dim).unwrap(), 10, None);
    assert!(found >= 0.99, "recall@10 of clusters is {found}");

    let (_folder, _, index) = indexed(&of_vectors(numbers.vectors(rows, dim), dim), Metric::Euclidean, kind);
    let queries = numbers.vectors(300, dim);
    let queries = Vectors::new(&queries, dim).unwrap();
    let walked = recall(&index, queries, 10, Some(DEFAULT_EF));
    assert!(walked < 0.99, "a walk of the least beam finds {walked} without structure");
    assert_eq!(index.ef(), rows, "comparing with all is faster than a beam that is wide enough");
    assert_eq!(recall(&index, queries, 10, None), 1.0);
}
