//! An index that grows: against a plain list of rows, across reopening, damage and concurrent use.

use std::collections::BTreeMap;
use std::fs::{self, OpenOptions};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;

use nearkin_index::{
    Added, BuildOptions, Deleted, Embeddings, EqualIds, Filter, GrowingIndex, IndexError, Kind, Origin,
    Pending, SearchOptions, Snapshot, Storage, build,
};
use nearkin_sweep::{Metric, Vectors};
use proptest::prelude::*;

const DIM: usize = 3;

/// What an index should hold: rows in the order in which they came.
#[derive(Debug, Clone, Default)]
struct Plain(Vec<(String, Vec<f32>, String)>);

impl Plain {
    fn put(&mut self, rows: &[(String, Vec<f32>, String)]) {
        self.0.retain(|(id, ..)| rows.iter().all(|(new, ..)| new != id));
        self.0.extend_from_slice(rows);
    }

    fn delete(&mut self, ids: &[String]) {
        self.0.retain(|(id, ..)| !ids.contains(id));
    }

    /// Ids and scores of the nearest rows that a condition lets through.
    fn nearest(
        &self,
        query: &[f32],
        metric: Metric,
        k: usize,
        lets_through: impl Fn(&str) -> bool,
    ) -> Vec<(&str, f32)> {
        let rows = self.0.iter().filter(|(.., colour)| lets_through(colour));
        let mut all: Vec<(&str, f32)> =
            rows.map(|(id, vector, _)| (&id[..], metric.score(query, vector) + 0.0)).collect();
        all.sort_by(|a, b| if metric.larger_is_nearer() { b.1.total_cmp(&a.1) } else { a.1.total_cmp(&b.1) });
        all.truncate(k);
        all
    }
}

fn table(rows: &[(String, Vec<f32>, String)]) -> Embeddings {
    Embeddings {
        vectors: rows.iter().flat_map(|(_, vector, _)| vector.clone()).collect(),
        dim: rows[0].1.len(),
        ids: rows.iter().map(|(id, ..)| id.clone()).collect(),
        columns: BTreeMap::from([("colour".to_owned(), rows.iter().map(|(.., c)| c.clone()).collect())]),
        ..Embeddings::default()
    }
}

/// Small whole numbers, so that sums are exact, scores tie often, and vectors repeat. None is zero.
fn row(id: usize, seed: usize) -> (String, Vec<f32>, String) {
    let vector = (0..DIM).map(|i| ((seed * 31 + i * 17 + seed / 7) % 5) as f32 - 2.0);
    let mut vector: Vec<f32> = vector.collect();
    if vector.iter().all(|x| *x == 0.0) {
        vector[0] = 1.0;
    }
    (format!("row {id}"), vector, ["red", "blue", ""][seed % 3].to_owned())
}

fn built(folder: &Path, rows: &[(String, Vec<f32>, String)], metric: Metric, kind: Kind) -> PathBuf {
    let path = folder.join("test.index");
    build(
        &table(rows),
        &path,
        BuildOptions { metric: Some(metric), kind, ..BuildOptions::default() },
        &mut |_| (),
    )
    .unwrap();
    path
}

fn check(snapshot: &Snapshot, plain: &Plain, metric: Metric) {
    assert_eq!(snapshot.len(), plain.0.len());
    assert_eq!(snapshot.is_empty(), plain.0.is_empty());
    let ids: Vec<&str> = snapshot.rows().map(|row| snapshot.id(row)).collect();
    assert_eq!(ids, plain.0.iter().map(|(id, ..)| &id[..]).collect::<Vec<_>>());
    for (number, (id, vector, colour)) in snapshot.rows().zip(&plain.0) {
        assert_eq!(snapshot.find(id), Some(number));
        assert_eq!(snapshot.column("colour", number).unwrap_or_default(), colour);
        if metric != Metric::Cosine {
            assert_eq!(snapshot.vector(number)[..], vector[..]);
        }
    }
    assert_eq!(snapshot.find("row of another index"), None);
    let filter: Filter = "colour = 'red' or colour = 'blue' and not id in ('row 1')".parse().unwrap();
    let selection = snapshot.select(&filter).unwrap();
    let lets_through =
        |(id, _, colour): &(String, Vec<f32>, String)| colour == "red" || colour == "blue" && id != "row 1";
    let selected: Vec<&str> = selection.rows().map(|row| snapshot.id(row)).collect();
    let wanted = plain.0.iter().filter(|row| lets_through(row)).map(|(id, ..)| &id[..]);
    assert_eq!(selected, wanted.collect::<Vec<_>>());
    assert_eq!(selection.len(), selected.len());

    let red = snapshot.select(&"colour = 'red'".parse().unwrap()).unwrap();
    // As few as are compared where they lie, and as many as go through the sweep.
    for count in [2, 12] {
        let asked: Vec<f32> = (0..count * DIM).map(|i| (i % 7) as f32 - 2.5).collect();
        let queries = Vectors::new(&asked, DIM).unwrap();
        for k in [1, 4, 1000] {
            for (within, lets_through) in [(None, "red blue"), (Some(&red), "red")] {
                let options = SearchOptions { exact: true, ef: None };
                let found = snapshot.search(queries, k, options, within).unwrap();
                for (query, hits) in found.iter().enumerate() {
                    let wanted = plain.nearest(queries.row(query), metric, k, |colour| {
                        within.is_none() || lets_through.contains(colour) && !colour.is_empty()
                    });
                    let scores = |hits: &[(&str, f32)]| hits.iter().map(|hit| hit.1).collect::<Vec<_>>();
                    let found: Vec<(&str, f32)> = hits.iter().map(|hit| (hit.id, hit.score)).collect();
                    if metric == Metric::Cosine {
                        // Stored vectors are rounded, so ties may fall otherwise; scores are the same but for that.
                        for (found, wanted) in scores(&found).iter().zip(scores(&wanted)) {
                            assert!((found - wanted).abs() < 1e-6);
                        }
                        assert_eq!(found.len(), wanted.len());
                    } else {
                        assert_eq!(found, wanted, "{metric}, k {k}, {count} queries");
                    }
                }
            }
        }
    }
}

#[derive(Debug, Clone)]
enum Step {
    Add { first: usize, count: usize, seed: usize, replace: bool },
    Delete(Vec<usize>),
    Compact,
    Reopen,
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        4 => (0usize..40, 1usize..9, any::<u16>(), any::<bool>())
            .prop_map(|(first, count, seed, replace)| Step::Add { first, count, seed: seed.into(), replace }),
        3 => prop::collection::vec(0usize..50, 0..12).prop_map(Step::Delete),
        1 => Just(Step::Compact),
        1 => Just(Step::Reopen),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 64, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn any_sequence_of_changes_leaves_what_a_plain_list_holds(
        steps in prop::collection::vec(step(), 1..25),
        metric in prop::sample::select(Metric::ALL.to_vec()),
        graph in any::<bool>(),
    ) {
        let folder = tempfile::tempdir().unwrap();
        let kind = if graph { Kind::Hnsw { m: 4, ef_construction: 8 } } else { Kind::Exact };
        let first: Vec<_> = (0..15).map(|id| row(id, id)).collect();
        let path = built(folder.path(), &first, metric, kind);
        let mut plain = Plain(first);
        let mut index = GrowingIndex::open(&path).unwrap();
        for step in steps {
            let before = (index.snapshot(), plain.clone());
            match step {
                Step::Add { first, count, seed, replace } => {
                    let rows: Vec<_> = (0..count).map(|i| row(first + i, seed + i)).collect();
                    let there = rows.iter().filter(|(id, ..)| plain.0.iter().any(|(old, ..)| old == id)).count();
                    let equal = if replace { EqualIds::Replace } else { EqualIds::Refuse };
                    match index.add(&table(&rows), equal) {
                        Ok(added) => {
                            prop_assert!(replace || there == 0);
                            prop_assert_eq!(added, Added { added: count - there, replaced: there });
                            plain.put(&rows);
                        }
                        Err(IndexError::IdExists { id, .. }) => {
                            let there = plain.0.iter().any(|(old, ..)| *old == id);
                            prop_assert!(!replace && there);
                        }
                        Err(other) => panic!("{other}"),
                    }
                }
                Step::Delete(ids) => {
                    let ids: Vec<String> = ids.into_iter().map(|id| format!("row {id}")).collect();
                    let Deleted { deleted, missing } = index.delete(&ids).unwrap();
                    let missing = missing.iter().all(|id| plain.0.iter().all(|(old, ..)| old != id));
                    prop_assert!(missing);
                    let held = plain.0.len();
                    plain.delete(&ids);
                    prop_assert_eq!(held - plain.0.len(), deleted);
                }
                Step::Compact => match index.compact(&mut |_| ()) {
                    Ok(summary) => {
                        prop_assert_eq!(summary.rows, plain.0.len());
                        prop_assert_eq!(index.snapshot().pending(), Pending::default());
                    }
                    Err(error) => {
                        let nothing_left = matches!(error, IndexError::NothingLeft { .. });
                        prop_assert!(nothing_left && plain.0.is_empty(), "{}", error);
                    }
                },
                Step::Reopen => {
                    drop(index);
                    index = GrowingIndex::open(&path).unwrap();
                }
            }
            check(&index.snapshot(), &plain, metric);
            // A snapshot stays what it was, and a reader beside the writer sees what the writer says.
            check(&before.0, &before.1, metric);
            check(&Snapshot::open(&path).unwrap(), &plain, metric);
        }
        let names: Vec<_> = fs::read_dir(folder.path()).unwrap().map(|e| e.unwrap().file_name()).collect();
        prop_assert!(names.len() <= 2, "the index and perhaps its log: {:?}", names);
    }
}

#[test]
fn a_compaction_writes_the_file_that_building_anew_would() {
    for (metric, kind) in
        [(Metric::Cosine, Kind::Exact), (Metric::Euclidean, Kind::Hnsw { m: 4, ef_construction: 9 })]
    {
        let folder = tempfile::tempdir().unwrap();
        let rows: Vec<_> = (0..60).map(|id| row(id, 3 * id + 1)).collect();
        let path = built(folder.path(), &rows[..20], metric, kind);
        let index = GrowingIndex::open(&path).unwrap();
        index.add(&table(&rows[20..50]), EqualIds::Refuse).unwrap();
        index.add(&table(&rows[50..]), EqualIds::Refuse).unwrap();
        let gone: Vec<String> = [3, 25, 59].map(|id| format!("row {id}")).to_vec();
        index.delete(&gone).unwrap();
        let pending = index.snapshot().pending();
        assert_eq!(pending, Pending { added: 38, deleted: 1 });
        index.compact(&mut |_| ()).unwrap();
        let grown = fs::read(&path).unwrap();
        drop(index);
        let mut plain = Plain(rows);
        plain.delete(&gone);
        built(folder.path(), &plain.0, metric, kind);
        assert!(grown == fs::read(&path).unwrap(), "{metric}");
    }
}

#[test]
fn what_cannot_be_added_is_refused_with_its_reason_and_changes_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let origin = |model: &str| {
        Some(Origin {
            model: model.into(),
            metric: Metric::Dot,
            preprocessing: "as is".into(),
            normalized: false,
            data: "d".into(),
        })
    };
    let mut rows = table(&[row(0, 0), row(1, 1)]);
    rows.origin = origin("aaaa");
    let path = folder.path().join("test.index");
    build(&rows, &path, BuildOptions::default(), &mut |_| ()).unwrap();
    let index = GrowingIndex::open(&path).unwrap();
    let more = |change: &dyn Fn(&mut Embeddings)| {
        let mut table = table(&[row(7, 7), row(8, 8)]);
        table.origin = origin("aaaa");
        change(&mut table);
        index.add(&table, EqualIds::Refuse).unwrap_err()
    };
    let error = more(&|t| t.origin = origin("bbbb"));
    assert!(matches!(error, IndexError::OtherModel { .. }), "{error}");
    let error = more(&|t| t.origin.as_mut().unwrap().preprocessing = "otherwise".into());
    assert!(matches!(error, IndexError::OtherPreprocessing { .. }), "{error}");
    let error = more(&|t| t.origin.as_mut().unwrap().normalized = true);
    assert!(matches!(error, IndexError::OtherNormalization { index: false, .. }), "{error}");
    let error = more(&|t| t.origin = None);
    assert!(error.to_string().contains("only the index's"), "{error}");
    let error = more(&|t| (t.dim, t.vectors) = (2, vec![1.0; 4]));
    assert!(matches!(error, IndexError::RowDimension { found: 2, wanted: 3, .. }), "{error}");
    let error = more(&|t| t.vectors[4] = f32::NAN);
    assert!(matches!(error, IndexError::Embeddings(_)), "{error}");
    let error = more(&|t| t.vectors[4] = 1e30);
    assert!(matches!(error, IndexError::TooLong { what: "row", which: 1, .. }), "{error}");
    let error = more(&|t| t.ids[1] = "row 1".into());
    assert!(matches!(&error, IndexError::IdExists { id, .. } if id == "row 1"), "{error}");
    let error = more(&|t| t.ids[1] = "row 7".into());
    assert!(matches!(error, IndexError::Embeddings(_)), "{error}");
    assert_eq!((index.snapshot().len(), index.snapshot().pending()), (2, Pending::default()));
    assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 1, "no log");

    let bare = table(&[row(0, 0)]);
    let other = folder.path().join("bare.index");
    build(&bare, &other, BuildOptions::default(), &mut |_| ()).unwrap();
    let index = GrowingIndex::open(&other).unwrap();
    let mut known = table(&[row(9, 9)]);
    known.origin = origin("aaaa");
    let error = index.add(&known, EqualIds::Refuse).unwrap_err();
    assert!(error.to_string().contains("only those to add"), "{error}");
    index.add(&table(&[row(9, 9)]), EqualIds::Refuse).unwrap();
}

#[test]
fn there_is_one_writer_and_any_number_of_readers() {
    let folder = tempfile::tempdir().unwrap();
    let rows = [row(0, 0), row(1, 1)];
    let path = built(folder.path(), &rows, Metric::Euclidean, Kind::Exact);
    let index = GrowingIndex::open(&path).unwrap();
    let busy = |error: IndexError| assert!(matches!(error, IndexError::Busy { .. }), "{error}");
    busy(GrowingIndex::open(&path).unwrap_err());
    let options = BuildOptions::default();
    busy(build(&table(&rows), &path, options, &mut |_| ()).unwrap_err());
    index.add(&table(&[row(2, 2)]), EqualIds::Refuse).unwrap();
    index.compact(&mut |_| ()).unwrap();
    // The lock went over to the new file.
    busy(GrowingIndex::open(&path).unwrap_err());
    assert_eq!(Snapshot::open(&path).unwrap().len(), 3);
    drop(index);
    GrowingIndex::open(&path).unwrap();
}

#[test]
fn an_index_built_in_the_place_of_another_has_nothing_of_its_log() {
    let folder = tempfile::tempdir().unwrap();
    let rows = [row(0, 0), row(1, 1)];
    let path = built(folder.path(), &rows, Metric::Euclidean, Kind::Exact);
    GrowingIndex::open(&path).unwrap().add(&table(&[row(2, 2)]), EqualIds::Refuse).unwrap();
    assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 2);
    // The very same file: its log would fit.
    built(folder.path(), &rows, Metric::Euclidean, Kind::Exact);
    assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 1);
    assert_eq!(Snapshot::open(&path).unwrap().len(), 2);
}

#[test]
fn a_torn_tail_is_no_change_and_damage_before_it_is_an_error() {
    let folder = tempfile::tempdir().unwrap();
    let path = built(folder.path(), &[row(0, 0), row(1, 1)], Metric::Euclidean, Kind::Exact);
    let index = GrowingIndex::open(&path).unwrap();
    let log = || {
        let files = fs::read_dir(folder.path()).unwrap().map(|e| e.unwrap().path());
        files.filter(|file| file.extension().is_some_and(|e| e == "log")).last().unwrap()
    };
    let mut lengths = Vec::new();
    for id in 2..5 {
        index.add(&table(&[row(id, id)]), EqualIds::Refuse).unwrap();
        lengths.push(fs::metadata(log()).unwrap().len());
    }
    drop(index);
    let whole = fs::read(log()).unwrap();
    for cut in lengths[1]..lengths[2] {
        OpenOptions::new().write(true).open(log()).unwrap().set_len(cut).unwrap();
        assert_eq!(Snapshot::open(&path).unwrap().len(), 4, "a reader changes nothing");
        assert_eq!(fs::metadata(log()).unwrap().len(), cut);
        let index = GrowingIndex::open(&path).unwrap();
        assert_eq!((index.snapshot().len(), fs::metadata(log()).unwrap().len()), (4, lengths[1]));
        index.add(&table(&[row(9, 9)]), EqualIds::Refuse).unwrap();
        drop(index);
        assert_eq!(Snapshot::open(&path).unwrap().len(), 5);
        fs::write(log(), &whole).unwrap();
    }
    let mut changed = whole.clone();
    changed[lengths[0] as usize + 60] ^= 1;
    fs::write(log(), &changed).unwrap();
    for error in [GrowingIndex::open(&path).unwrap_err(), Snapshot::open(&path).unwrap_err()] {
        assert!(error.to_string().contains("log does not match its checksum"), "{error}");
    }
    assert_eq!(fs::read(log()).unwrap(), changed, "and stays as it is");
}

#[test]
fn what_a_killed_process_left_beside_is_cleared_away() {
    let folder = tempfile::tempdir().unwrap();
    let path = built(folder.path(), &[row(0, 0)], Metric::Euclidean, Kind::Exact);
    // As a compaction leaves it that was stopped before its rename: a new log, a half file, a folder for the graph.
    for name in ["test.index.0123456789abcdef.log", ".nearkin-test.index-a1B2c3.tmp"] {
        fs::write(folder.path().join(name), "half").unwrap();
    }
    fs::create_dir(folder.path().join(".nearkin-test.index-d4E5f6")).unwrap();
    assert_eq!(Snapshot::open(&path).unwrap().len(), 1);
    drop(GrowingIndex::open(&path).unwrap());
    assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 1);
}

#[test]
fn a_selection_serves_its_own_snapshot_alone() {
    let folder = tempfile::tempdir().unwrap();
    let path = built(folder.path(), &[row(0, 0), row(1, 1)], Metric::Euclidean, Kind::Exact);
    let index = GrowingIndex::open(&path).unwrap();
    let before = index.snapshot();
    let red = before.select(&"colour = 'red'".parse().unwrap()).unwrap();
    index.add(&table(&[row(2, 2)]), EqualIds::Refuse).unwrap();
    let query = [1.0; DIM];
    let query = Vectors::new(&query, DIM).unwrap();
    assert!(before.search(query, 1, SearchOptions::default(), Some(&red)).is_ok());
    let error = index.snapshot().search(query, 1, SearchOptions::default(), Some(&red)).unwrap_err();
    assert!(matches!(error, IndexError::OtherSnapshot));
}

#[test]
fn adds_deletes_searches_and_compactions_run_at_once_and_nothing_is_lost() {
    let folder = tempfile::tempdir().unwrap();
    let path = built(folder.path(), &[row(0, 0)], Metric::Euclidean, Kind::Exact);
    let index = GrowingIndex::open(&path).unwrap();
    let done = AtomicBool::new(false);
    const WRITERS: usize = 3;
    const EACH: usize = 60;
    thread::scope(|scope| {
        let writers: Vec<_> = (0..WRITERS)
            .map(|writer| {
                let index = &index;
                scope.spawn(move || {
                    for i in 0..EACH {
                        let id = 1000 * (writer + 1) + i;
                        index.add(&table(&[row(id, id)]), EqualIds::Refuse).unwrap();
                        assert!(
                            index.snapshot().find(&format!("row {id}")).is_some(),
                            "what was added is there"
                        );
                        if i % 3 == 0 {
                            assert_eq!(index.delete(&[format!("row {id}")]).unwrap().deleted, 1);
                        }
                    }
                })
            })
            .collect();
        scope.spawn(|| {
            while !done.load(Ordering::Relaxed) {
                index.compact(&mut |_| ()).unwrap();
            }
        });
        scope.spawn(|| {
            let query = [0.5; DIM];
            while !done.load(Ordering::Relaxed) {
                let snapshot = index.snapshot();
                let held = snapshot.len();
                let query = Vectors::new(&query, DIM).unwrap();
                let hits = snapshot.search(query, 1000, SearchOptions::default(), None).unwrap();
                assert_eq!(hits[0].len(), held);
                let other = Snapshot::open(&path).unwrap();
                assert!(other.rows().all(|row| other.find(other.id(row)) == Some(row)));
            }
        });
        writers.into_iter().for_each(|writer| writer.join().unwrap());
        done.store(true, Ordering::Relaxed);
    });
    let wanted: Vec<String> = (1..=WRITERS)
        .flat_map(|writer| {
            (0..EACH).filter(|i| i % 3 != 0).map(move |i| format!("row {}", 1000 * writer + i))
        })
        .collect();
    let held = |snapshot: &Snapshot| {
        assert_eq!(snapshot.len(), wanted.len() + 1);
        assert!(wanted.iter().all(|id| snapshot.find(id).is_some()));
    };
    held(&index.snapshot());
    drop(index);
    held(&Snapshot::open(&path).unwrap());
}

#[test]
fn filters_and_deletions_leave_a_walk_through_a_graph_nearly_exact() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("test.index");
    const ROWS: usize = 40_000;
    const WIDE: usize = 8;
    let mut state = 9u64;
    let mut next = || {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (state >> 40) as f32 / (1 << 24) as f32 - 0.5
    };
    let rows = Embeddings {
        vectors: (0..ROWS * WIDE).map(|_| next()).collect(),
        dim: WIDE,
        ids: (0..ROWS).map(|row| row.to_string()).collect(),
        columns: BTreeMap::from([("half".to_owned(), (0..ROWS).map(|row| (row % 2).to_string()).collect())]),
        ..Embeddings::default()
    };
    let kind = Kind::Hnsw { m: 8, ef_construction: 50 };
    build(
        &rows,
        &path,
        BuildOptions { metric: Some(Metric::Euclidean), kind, ..BuildOptions::default() },
        &mut |_| (),
    )
    .unwrap();
    let index = GrowingIndex::open(&path).unwrap();
    let gone: Vec<String> = (0..ROWS).step_by(7).map(|row| row.to_string()).collect();
    assert_eq!(index.delete(&gone).unwrap().deleted, gone.len());
    let snapshot = index.snapshot();
    let asked: Vec<f32> = (0..100 * WIDE).map(|_| next()).collect();
    let queries = Vectors::new(&asked, WIDE).unwrap();
    let half = snapshot.select(&"half = 1".parse().unwrap()).unwrap();
    let few = snapshot.select(&"id in ('8', '9', '10', '11', '14')".parse().unwrap()).unwrap();
    assert_eq!(few.len(), 4);
    for (within, least) in [(None, 0.9), (Some(&half), 0.9), (Some(&few), 1.0)] {
        let search = |exact| snapshot.search(queries, 10, SearchOptions { exact, ef: None }, within).unwrap();
        let (exact, walked) = (search(true), search(false));
        let mut found = 0;
        for (exact, walked) in exact.iter().zip(&walked) {
            assert_eq!(exact.len(), walked.len());
            for hit in walked {
                assert!(
                    hit.index % 7 != 0 && (within.is_none() || within == Some(&few) || hit.index % 2 == 1)
                );
                found += usize::from(exact.iter().any(|other| other.index == hit.index));
            }
        }
        let recall = found as f64 / exact.iter().map(Vec::len).sum::<usize>() as f64;
        assert!(recall >= least, "{recall}");
    }
}

#[test]
fn an_index_of_which_every_row_is_deleted_is_empty_and_grows_again() {
    let folder = tempfile::tempdir().unwrap();
    let path = built(folder.path(), &[row(0, 0)], Metric::Cosine, Kind::Exact);
    let index = GrowingIndex::open(&path).unwrap();
    index.delete(&["row 0".to_owned()]).unwrap();
    let snapshot = index.snapshot();
    assert!(snapshot.is_empty() && snapshot.rows().next().is_none());
    let query = [1.0; DIM];
    let query = Vectors::new(&query, DIM).unwrap();
    assert!(snapshot.search(query, 3, SearchOptions::default(), None).unwrap()[0].is_empty());
    assert!(matches!(index.compact(&mut |_| ()), Err(IndexError::NothingLeft { .. })));
    index.add(&table(&[row(0, 5)]), EqualIds::Refuse).unwrap();
    index.compact(&mut |_| ()).unwrap();
    assert_eq!(index.snapshot().len(), 1);
}

#[test]
fn rows_may_bring_columns_that_others_lack() {
    let folder = tempfile::tempdir().unwrap();
    let path = built(folder.path(), &[row(0, 0)], Metric::Cosine, Kind::Exact);
    let index = GrowingIndex::open(&path).unwrap();
    let mut more = table(&[row(1, 1)]);
    more.labels = Some(vec!["kea".into()]);
    more.columns = BTreeMap::from([("price".to_owned(), vec!["12.50".to_owned()])]);
    index.add(&more, EqualIds::Refuse).unwrap();
    for compacted in [false, true] {
        if compacted {
            index.compact(&mut |_| ()).unwrap();
        }
        let snapshot = index.snapshot();
        assert_eq!(snapshot.columns(), ["colour", "price"]);
        let rows: Vec<usize> = snapshot.rows().collect();
        assert_eq!((snapshot.label(rows[0]), snapshot.label(rows[1])), (None, Some("kea")));
        assert_eq!(
            (snapshot.column("price", rows[0]), snapshot.column("price", rows[1])),
            (None, Some("12.50"))
        );
        let cheap = snapshot.select(&"price < 20".parse().unwrap()).unwrap();
        assert_eq!(cheap.rows().collect::<Vec<_>>(), rows[1..]);
    }
}

#[test]
fn rounded_rows_are_the_same_before_and_after_a_compaction() {
    let mut state = 5u64;
    let mut next = || {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (state >> 40) as f32 / (1 << 23) as f32 - 1.0
    };
    let rows: Vec<_> = (0..700)
        .map(|id| {
            (format!("row {id}"), (0..DIM).map(|_| next()).collect(), ["red", "blue"][id % 2].to_owned())
        })
        .collect();
    let asked: Vec<f32> = (0..12 * DIM).map(|_| next()).collect();
    for storage in [Storage::F16, Storage::I8] {
        for (metric, kind) in
            [(Metric::Cosine, Kind::Exact), (Metric::Euclidean, Kind::Hnsw { m: 4, ef_construction: 16 })]
        {
            let folder = tempfile::tempdir().unwrap();
            let path = folder.path().join("test.index");
            let options = BuildOptions { metric: Some(metric), kind, storage };
            build(&table(&rows[..300]), &path, options, &mut |_| ()).unwrap();
            let index = GrowingIndex::open(&path).unwrap();
            index.add(&table(&rows[300..]), EqualIds::Refuse).unwrap();
            let gone = ["row 7".to_owned(), "row 500".to_owned()];
            index.delete(&gone).unwrap();
            let before = index.snapshot().to_embeddings();
            let found = |snapshot: &Snapshot| {
                let red = snapshot.select(&"colour = 'red'".parse().unwrap()).unwrap();
                let options = SearchOptions { exact: true, ef: None };
                let mut found = Vec::new();
                for (within, count) in [(None, 2), (None, 12), (Some(&red), 2), (Some(&red), 12)] {
                    let queries = Vectors::new(&asked[..count * DIM], DIM).unwrap();
                    let hits = snapshot.search(queries, 10, options, within).unwrap();
                    found.extend(hits.concat().iter().map(|hit| (hit.id.to_owned(), hit.score)));
                }
                found
            };
            let found_before = found(&index.snapshot());
            drop(index);
            let index = GrowingIndex::open(&path).unwrap();
            assert_eq!(found(&index.snapshot()), found_before, "after opening");
            let summary = index.compact(&mut |_| ()).unwrap();
            assert_eq!((summary.storage, summary.rows), (storage, rows.len() - 2));
            let after = index.snapshot();
            assert_eq!((after.storage(), after.pending()), (storage, Pending::default()));
            assert_eq!(after.to_embeddings(), before, "{storage}, {metric}");
            assert_eq!(found(&after), found_before, "{storage}, {metric}");
            let compacted = fs::read(&path).unwrap();
            drop((index, after));

            let left: Vec<_> = rows.iter().filter(|(id, ..)| !gone.contains(id)).cloned().collect();
            build(&table(&left), &path, options, &mut |_| ()).unwrap();
            assert!(
                fs::read(&path).unwrap() == compacted,
                "{storage}, {metric}: another file than built anew"
            );
        }
    }
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("test.index");
    let options =
        BuildOptions { metric: Some(Metric::Dot), storage: Storage::F16, ..BuildOptions::default() };
    build(&table(&rows[..3]), &path, options, &mut |_| ()).unwrap();
    let index = GrowingIndex::open(&path).unwrap();
    let mut large = table(&rows[3..5]);
    large.vectors[4] = 1e5;
    let error = index.add(&large, EqualIds::Refuse).unwrap_err();
    assert!(matches!(error, IndexError::BeyondHalf { row: 1, position: 1, .. }), "{error}");
    assert_eq!(index.snapshot().len(), 3);
}
