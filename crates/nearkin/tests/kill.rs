//! `kill -9` at random moments: an index holds all that was acknowledged, and nothing by halves.
//!
//! The test starts its own program again as a child, which adds, deletes and compacts at once, and writes a line before each change and one after
//! it was acknowledged. Lines are short and written at once, so the pipe holds them whole. The parent kills the child some milliseconds
//! later, opens the index, checks it against the lines, and goes on with the same index. `NEARKIN_KILLS=100 cargo test --release --test kill`
//! kills 100 times.

#![cfg(unix)]

use std::collections::BTreeMap;
use std::io::{BufRead, BufReader, Write};
use std::path::Path;
use std::process::{Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use nearkin_index::{BuildOptions, Embeddings, EqualIds, GrowingIndex, Index, Kind, Snapshot, build};
use nearkin_sweep::Metric;

const INDEX: &str = "NEARKIN_KILL_TEST_INDEX";
const ROUND: &str = "NEARKIN_KILL_TEST_ROUND";
/// How many kills, half of them of each kind of index; 20 if it is not set.
const KILLS: &str = "NEARKIN_KILLS";
/// The longest that a child lives, in microseconds: several compactions.
const LONGEST: u64 = 400_000;
const DIM: usize = 16;
/// Rows of one batch, which must be there all or none.
const BATCH: usize = 5;
/// Batches that a child leaves in place from those before it.
const STAY: usize = 20;

/// The vector of a row follows from its id, so that a row that is half another's is found.
fn vector(id: &str) -> Vec<f32> {
    let mut state = id.bytes().fold(7u64, |state, byte| state.wrapping_mul(31).wrapping_add(byte.into()));
    let mut next = || {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (state >> 40) as f32 / (1 << 24) as f32
    };
    (0..DIM).map(|_| next()).collect()
}

fn batch(name: &str) -> Embeddings {
    let ids: Vec<String> = (0..BATCH).map(|i| format!("{name}/{i}")).collect();
    Embeddings {
        vectors: ids.iter().flat_map(|id| vector(id)).collect(),
        dim: DIM,
        labels: Some(ids.iter().map(|id| format!("label of {id}")).collect()),
        ids,
        ..Embeddings::default()
    }
}

fn say(line: String) {
    let mut out = std::io::stdout().lock();
    out.write_all(format!("{line}\n").as_bytes()).unwrap();
    out.flush().unwrap();
}

/// The batches that are there, and how many rows of each.
fn batches(snapshot: &Snapshot) -> BTreeMap<String, usize> {
    let mut rows_of = BTreeMap::new();
    for row in snapshot.rows() {
        let (name, _) = snapshot.id(row).rsplit_once('/').unwrap();
        *rows_of.entry(name.to_owned()).or_default() += 1;
    }
    rows_of
}

/// What the child does until it is killed. Run by itself, this is no test.
#[test]
fn child() {
    let (Ok(path), Ok(round)) = (std::env::var(INDEX), std::env::var(ROUND)) else { return };
    let index = GrowingIndex::open(Path::new(&path)).unwrap();
    // The harness may have begun a line.
    say("\nready".into());
    let delete = |name: &str| {
        say(format!("deleting {name}"));
        assert_eq!(index.delete(&batch(name).ids).unwrap().deleted, BATCH);
        say(format!("deleted {name}"));
    };
    // A few stay from round to round; many would make compactions longer than the child lives.
    let old: Vec<String> = batches(&index.snapshot()).into_keys().filter(|name| name != "first").collect();
    old.iter().skip(STAY).for_each(|name| delete(name));
    thread::scope(|scope| {
        for writer in 0..2 {
            let (index, round, delete) = (&index, &round, &delete);
            scope.spawn(move || {
                for i in 0.. {
                    let name = |i: usize| format!("{round}.{writer}.{i}");
                    say(format!("adding {}", name(i)));
                    index.add(&batch(&name(i)), EqualIds::Refuse).unwrap();
                    say(format!("added {}", name(i)));
                    if i >= 3 {
                        delete(&name(i - 3));
                    }
                }
            });
        }
        scope.spawn(|| {
            loop {
                say("compacting".into());
                index.compact(&mut |_| ()).unwrap();
                say("compacted".into());
            }
        });
    });
}

/// What has been heard of a batch.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Heard {
    Adding,
    Added,
    Deleting,
    Deleted,
}

/// What all children told.
#[derive(Default)]
struct Told {
    batches: BTreeMap<String, Heard>,
    acknowledged: usize,
    compacted: usize,
    compacting: bool,
    /// Kills while a compaction ran.
    in_compaction: usize,
}

impl Told {
    fn hear(&mut self, line: &str) {
        let heard = match line.split_once(' ') {
            Some(("adding", name)) => (name, Heard::Adding),
            Some(("added", name)) => (name, Heard::Added),
            Some(("deleting", name)) => (name, Heard::Deleting),
            Some(("deleted", name)) => (name, Heard::Deleted),
            None if line == "compacting" => return self.compacting = true,
            None if line == "compacted" => {
                return (self.compacting, self.compacted) = (false, self.compacted + 1);
            }
            // The harness speaks too.
            _ => return,
        };
        self.batches.insert(heard.0.to_owned(), heard.1);
        self.acknowledged += usize::from(matches!(heard.1, Heard::Added | Heard::Deleted));
    }

    /// Each batch is there whole or not at all, as was told; what nobody knows is settled by what is there.
    fn check(&mut self, snapshot: &Snapshot) {
        for row in snapshot.rows() {
            let id = snapshot.id(row);
            assert_eq!(snapshot.vector(row)[..], vector(id)[..], "{id}");
            assert_eq!(snapshot.label(row), Some(&*format!("label of {id}")));
        }
        let mut rows_of = batches(snapshot);
        assert_eq!(rows_of.remove("first"), Some(BATCH), "what was built stays");
        for (name, heard) in &mut self.batches {
            let there = match rows_of.remove(name) {
                None => false,
                Some(BATCH) => true,
                Some(rows) => panic!("{rows} rows of {name}"),
            };
            match heard {
                Heard::Added => assert!(there, "{name} was acknowledged, and is lost"),
                Heard::Deleted => assert!(!there, "the deletion of {name} was acknowledged, and is lost"),
                Heard::Adding | Heard::Deleting => *heard = if there { Heard::Added } else { Heard::Deleted },
            }
        }
        assert!(rows_of.is_empty(), "nobody added {rows_of:?}");
    }
}

fn kill_again_and_again(kind: Kind) {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("killed.index");
    let options = BuildOptions { metric: Some(Metric::Euclidean), kind, ..BuildOptions::default() };
    build(&batch("first"), &path, options, &mut |_| ()).unwrap();
    let kills = std::env::var(KILLS).map_or(20, |text| text.parse::<u64>().unwrap()) / 2;
    let mut told = Told::default();
    let (mut moment, began) = (0x9e37_79b9_7f4a_7c15u64, Instant::now());
    for round in 0..kills {
        let mut child = Command::new(std::env::current_exe().unwrap())
            .args(["child", "--exact", "--nocapture"])
            .env(INDEX, &path)
            .env(ROUND, round.to_string())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mut lines = BufReader::new(child.stdout.take().unwrap()).lines().map_while(Result::ok);
        assert!(lines.any(|line| line == "ready"), "the child did not start");
        // The pipe must not fill up, or the child would wait.
        let heard = thread::spawn(move || lines.collect::<Vec<_>>());
        moment = moment.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        thread::sleep(Duration::from_micros((moment >> 33) % LONGEST));
        child.kill().unwrap();
        let status = child.wait().unwrap();
        assert_eq!(
            std::os::unix::process::ExitStatusExt::signal(&status),
            Some(9),
            "the child failed: {status}"
        );
        told.compacting = false;
        heard.join().unwrap().iter().for_each(|line| told.hear(line));
        told.in_compaction += usize::from(told.compacting);
        told.check(&Snapshot::open(&path).unwrap());
        if round % 10 == 9 {
            // The writer opens it too, and clears away what was left.
            drop(GrowingIndex::open(&path).unwrap());
            Index::open(&path).unwrap().verify().unwrap();
            assert!(std::fs::read_dir(folder.path()).unwrap().count() <= 2);
        }
    }
    eprintln!(
        "{kills} kills in {:.1} s, {} of them while compacting: {} changes acknowledged, {} compactions ended",
        began.elapsed().as_secs_f64(),
        told.in_compaction,
        told.acknowledged,
        told.compacted
    );
    assert!(
        told.acknowledged as u64 > kills && told.in_compaction > 0 && told.compacted > 0,
        "the kills came too early to say anything"
    );
}

#[test]
fn kills_of_an_exact_index_lose_nothing_acknowledged() {
    kill_again_and_again(Kind::Exact);
}

#[test]
fn kills_of_an_index_with_a_graph_lose_nothing_acknowledged() {
    kill_again_and_again(Kind::Hnsw { m: 4, ef_construction: 8 });
}
