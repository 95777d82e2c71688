//! Indexes that grow, filters, answers of "unknown" and what databases load, as a user types them.

use std::collections::BTreeMap;
use std::fs;
use std::path::PathBuf;

use nearkin_index::{Embeddings, GrowingIndex};
use serde_json::Value;

use crate::common::{Ended, run, write_classes, write_recipe};

/// A folder with the vectors of nine things, the first six of them indexed.
struct Shop {
    folder: tempfile::TempDir,
}

impl Shop {
    fn new() -> Self {
        let shop = Self { folder: tempfile::tempdir().unwrap() };
        things(0..6).write(&shop.path("six.parquet")).unwrap();
        things(6..9).write(&shop.path("three.parquet")).unwrap();
        run(["index", &shop.at("six.parquet"), "--out", &shop.at("shop.index"), "--metric", "euclidean"])
            .well();
        shop
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    fn at(&self, name: &str) -> String {
        self.path(name).to_str().unwrap().to_owned()
    }

    fn run(&self, command: &str, arguments: &[&str]) -> Ended {
        run(["--json", command, &self.at("shop.index")].iter().chain(arguments))
    }

    /// Ids of the nearest things.
    fn nearest(&self, arguments: &[&str]) -> Vec<String> {
        let answers = self.run("search", arguments).well().json();
        let hits = answers[0]["hits"].as_array().unwrap();
        hits.iter().map(|hit| hit["id"].as_str().unwrap().to_owned()).collect()
    }
}

/// Things on a line: the thing `i` at `i`, with a price of ten times that.
fn things(which: std::ops::Range<usize>) -> Embeddings {
    let column = |of: &dyn Fn(usize) -> String| which.clone().map(of).collect::<Vec<String>>();
    Embeddings {
        vectors: which.clone().flat_map(|i| [i as f32, 1.0]).collect(),
        dim: 2,
        ids: column(&|i| format!("thing {i}")),
        labels: Some(column(&|i| ["shoe", "hat"][i % 2].to_owned())),
        columns: BTreeMap::from([("price".to_owned(), column(&|i| (10 * i).to_string()))]),
        ..Embeddings::default()
    }
}

#[test]
fn an_index_grows_shrinks_and_is_compacted() {
    let shop = Shop::new();
    let search = ["--query", "thing 5", "-k", "3"];
    assert_eq!(shop.nearest(&search), ["thing 4", "thing 3", "thing 2"]);

    let added = shop.run("add", &[&shop.at("three.parquet")]).well().json();
    assert_eq!((&added[0]["added"], &added[0]["rows"]), (&Value::from(3), &Value::from(9)));
    assert_eq!(shop.nearest(&search), ["thing 4", "thing 6", "thing 3"]);
    shop.run("add", &[&shop.at("three.parquet")]).with(1, &["has a row 'thing 6' already", "replace it"]);
    let replaced = shop.run("add", &["--replace", &shop.at("three.parquet")]).well().json();
    assert_eq!((&replaced[0]["added"], &replaced[0]["replaced"]), (&Value::from(0), &Value::from(3)));

    let deleted = shop.run("delete", &["thing 4", "thing 77"]).well();
    assert!(deleted.stderr.contains("no row 'thing 77'"), "{deleted:#?}");
    assert_eq!(deleted.json()[0]["deleted"], 1);
    assert_eq!(shop.nearest(&search), ["thing 6", "thing 3", "thing 7"]);

    let files = || fs::read_dir(shop.folder.path()).unwrap().count();
    assert_eq!(files(), 4, "two tables, the index, its log");
    let compacted = shop.run("compact", &[]).well().json();
    assert_eq!(compacted[0]["folded"], serde_json::json!({ "added": 3, "deleted": 1 }));
    assert_eq!((files(), compacted[0]["rows"].as_u64()), (3, Some(8)));
    assert_eq!(shop.nearest(&search), ["thing 6", "thing 3", "thing 7"]);

    let deleted = shop.run("delete", &["--where", "price >= 60 or label = 'hat'"]).well().json();
    assert_eq!((deleted[0]["deleted"].as_u64(), deleted[0]["rows"].as_u64()), (Some(6), Some(2)));
    shop.run("delete", &[]).with(2, &["required", "<ID>"]);
}

#[test]
fn a_filter_finds_only_what_it_lets_through() {
    let shop = Shop::new();
    shop.run("add", &[&shop.at("three.parquet")]).well();
    let search = |filter| shop.nearest(&["--query", "thing 5", "-k", "3", "--where", filter]);
    assert_eq!(search("label = \"shoe\" and price < 50"), ["thing 4", "thing 2", "thing 0"]);
    assert_eq!(search("price > 50 and not id in ('thing 7')"), ["thing 6", "thing 8"]);
    assert_eq!(search("price > 1000"), [""; 0]);
    let wrong = |filter: &str, words: &[&str]| {
        shop.run("search", &["--query", "thing 5", "--where", filter]).with(2, words);
    };
    wrong("price < cheap", &["found 'cheap'", "quote a text", "\n          ^"]);
    wrong("prize < 5", &["no row has a column 'prize'", "id, label, price"]);
}

#[test]
fn a_second_writer_and_vectors_of_another_kind_are_refused() {
    let shop = Shop::new();
    let held = GrowingIndex::open(&shop.path("shop.index")).unwrap();
    let three = shop.at("three.parquet");
    shop.run("add", &[&three]).with(1, &["shop.index", "another process", "is writing"]);
    shop.run("delete", &["thing 1"]).with(1, &["is writing"]);
    shop.run("compact", &[]).with(1, &["is writing"]);
    shop.run("serve", &["--port", "0"]).with(1, &["shop.index", "is writing"]);
    run(["index", &three, "--out", &shop.at("shop.index")]).with(1, &["is writing"]);
    assert_eq!(shop.nearest(&["--query", "thing 0", "-k", "1"]), ["thing 1"], "reading goes on");
    drop(held);
    let narrow = Embeddings { vectors: vec![1.0], dim: 1, ids: vec!["x".into()], ..Embeddings::default() };
    narrow.write(&shop.path("narrow.npy")).unwrap();
    shop.run("add", &[&shop.at("narrow.npy")]).with(1, &["1 dimensions, wanted 2"]);
    fs::write(shop.path("text.index"), "not an index").unwrap();
    run(["add", &shop.at("text.index"), &three]).with(1, &["text.index", "not a nearkin index"]);
    run(["add", &shop.at("gone.index"), &three]).with(1, &["gone.index", "cannot read"]);
}

#[test]
fn a_damaged_log_is_named_and_a_torn_one_is_mended() {
    let shop = Shop::new();
    for id in ["thing 1", "thing 2"] {
        shop.run("delete", &[id]).well();
    }
    let log = fs::read_dir(shop.folder.path()).unwrap().map(|entry| entry.unwrap().path());
    let log = log.filter(|path| path.extension().is_some_and(|e| e == "log")).last().unwrap();
    let whole = fs::read(&log).unwrap();
    fs::write(&log, &whole[..whole.len() - 3]).unwrap();
    assert_eq!(shop.nearest(&["--query", "thing 0", "-k", "1"]), ["thing 2"], "the last change is not there");
    shop.run("delete", &["thing 2"]).well();
    assert_eq!(fs::read(&log).unwrap(), whole);
    let mut changed = whole;
    changed[100] ^= 1;
    fs::write(&log, changed).unwrap();
    for command in ["search", "compact"] {
        let query: &[&str] = if command == "search" { &["--query", "thing 0"] } else { &[] };
        shop.run(command, query).with(1, &[".log", "checksum"]);
    }
}

#[test]
fn a_calibrated_model_answers_unknown() {
    let folder = tempfile::tempdir().unwrap();
    let at = |name: &str| folder.path().join(name).to_str().unwrap().to_owned();
    // Classes on a circle, ten rows each; a stranger far outside.
    let rows = |classes: std::ops::Range<usize>| {
        let mut text = String::from("name,a,b,c,class\n");
        for class in classes {
            let angle = class as f64 * 0.7;
            for i in 0..10 {
                let noise = |j: usize| ((i * 7 + j * 3 + class) % 10) as f64 * 0.02;
                let (a, b) = (3.0 * angle.cos() + noise(0), 3.0 * angle.sin() + noise(1));
                text += &format!("c{class}-{i},{a},{b},{},k{class}\n", angle + noise(2));
            }
        }
        text
    };
    fs::write(at("train.csv"), rows(0..6)).unwrap();
    fs::write(at("held.csv"), rows(6..14)).unwrap();
    fs::write(at("asked.csv"), "name,a,b,c,class\nstranger,40,-35,80,none\n").unwrap();
    let ids = ["--id", "name"];
    run(["fit", "pca", "--dims", "2", "--data", &at("train.csv"), "--out", &at("run"), "--label", "class"]
        .iter()
        .chain(&ids))
    .well();
    run(["embed", &at("run"), "--data", &at("held.csv"), "--out", &at("held.parquet")]).well();
    run(["index", &at("held.parquet"), "--out", &at("held.index")]).well();
    let search = |query: &str| {
        let found =
            run(["--json", "search", &at("held.index"), "--model", &at("run"), "--query", query, "-k", "3"]);
        found.well().json()
    };
    let before = search(&at("asked.csv"));
    assert_eq!((before[0]["hits"].as_array().unwrap().len(), before[0].get("unknown")), (3, None));

    run(["calibrate", &at("run"), "--data", &at("held.csv"), "--far", "2"]).with(2, &["--far is 2"]);
    let calibrated =
        run(["--json", "calibrate", &at("run"), "--data", &at("held.csv"), "--far", "0.05"]).well().json();
    let interval = calibrated[0]["false_accept_rate_interval"].as_array().unwrap();
    let rate = calibrated[0]["false_accept_rate"].as_f64().unwrap();
    assert!(
        rate > 0.0
            && rate <= 0.05
            && interval[0].as_f64() <= Some(rate)
            && Some(rate) <= interval[1].as_f64()
    );
    // The model is the same: the index takes its queries as before.
    let after = search(&at("asked.csv"));
    assert_eq!((after[0]["hits"].as_array().unwrap().len(), &after[0]["unknown"]), (0, &Value::from(true)));
    let known = search("c7-3");
    assert_eq!(known[0]["unknown"], false);
    assert_eq!(known[0]["hits"][0]["label"], "k7");
    assert!(known[0]["hits"][0]["false_accept_rate"].as_f64().unwrap() <= 0.05);
    let said = run(["search", &at("held.index"), "--model", &at("run"), "--query", &at("asked.csv")]).well();
    assert!(said.stdout.contains("asked.csv/stranger (none): unknown"), "{said:#?}");
    let whole =
        run(["--json", "search", &at("held.index"), "--model", &at("run"), "--query", &at("held.csv")]);
    assert_eq!(whole.well().json().last().unwrap()["event"], "drift");

    let few: String = rows(6..9);
    fs::write(at("few.csv"), few).unwrap();
    run(["calibrate", &at("run"), "--data", &at("few.csv")]).with(1, &["3 classes say too little"]);
    let file = folder.path().join("run/model/calibration.toml");
    let text = fs::read_to_string(&file).unwrap();
    fs::write(&file, text.replacen("model = \"", "model = \"0", 1)).unwrap();
    run(["embed", &at("run"), "--data", &at("held.csv"), "--out", &at("x.npy")])
        .with(1, &["calibration.toml", "it is of model 0", "nearkin calibrate"]);
}

#[test]
fn a_network_is_calibrated_too_and_says_so_on_training_data() {
    let folder = tempfile::tempdir().unwrap();
    let at = |name: &str| folder.path().join(name).to_str().unwrap().to_owned();
    let recipe = write_recipe(folder.path(), "supcon");
    write_classes(at("photos").as_ref(), &["a", "b", "c", "d", "e", "f"], 8);
    run([
        "train",
        "--data",
        &at("photos"),
        "--recipe",
        recipe.to_str().unwrap(),
        "--epochs",
        "1",
        "--out",
        &at("run"),
    ])
    .well();
    let said = run(["calibrate", &at("run"), "--data", &at("photos"), "--far", "0.1"]).well();
    assert!(said.stderr.contains("data that the model was trained on"), "{said:#?}");
    assert!(said.stdout.contains("19 times of 20") && said.stdout.contains("calibration.toml"), "{said:#?}");
}

#[test]
fn vectors_of_another_model_or_made_otherwise_are_refused_with_the_reason() {
    let folder = tempfile::tempdir().unwrap();
    let at = |name: &str| folder.path().join(name).to_str().unwrap().to_owned();
    let recipe = write_recipe(folder.path(), "supcon");
    let recipe = recipe.to_str().unwrap();
    write_classes(at("photos").as_ref(), &["a", "b", "c"], 8);
    write_classes(at("new").as_ref(), &["d"], 2);
    run(["train", "--data", &at("photos"), "--recipe", recipe, "--epochs", "1", "--out", &at("run")]).well();
    let embed = |model: &str, data: &str, out: &str| {
        run(["embed", &at(model), "--data", &at(data), "--out", &at(out)]).well();
    };
    embed("run", "photos", "photos.parquet");
    embed("run", "new", "new.parquet");
    run(["index", &at("photos.parquet"), "--out", &at("photos.index"), "--metric", "euclidean"]).well();
    let query = at("photos/a/000.png");
    let refuse = |model: &str, words: &[&str]| {
        let index = at("photos.index");
        embed(model, "new", "foreign.parquet");
        run(["add", &index, &at("foreign.parquet")]).with(1, words);
        run(["search", &index, "--model", &at(model), "--query", &query]).with(1, words);
        run(["serve", &index, "--model", &at(model), "--port", "0"]).with(1, words);
        run(["gallery", &index, "--model", &at(model), "--port", "0"]).with(1, words);
    };
    // The same weights under another card: a model that differs in one thing.
    let differing = |name: &str, from: &str, to: &str| {
        let model = folder.path().join(name);
        fs::create_dir(&model).unwrap();
        fs::copy(at("run/model/model.safetensors"), model.join("model.safetensors")).unwrap();
        let card = fs::read_to_string(at("run/model/model.toml")).unwrap();
        assert!(card.contains(from), "{card}");
        fs::write(model.join("model.toml"), card.replacen(from, to, 1)).unwrap();
    };
    differing("foreign", "epoch = 1", "epoch = 2");
    refuse(
        "foreign",
        &["photos.index: built with model", "these vectors are of model", "use the model that built"],
    );
    differing("normalized", "mean = [0.5]", "mean = [0.25]");
    refuse(
        "normalized",
        &["photos.index: built with model", "less [0.25], over [0.5], that of the index as", "less [0.5]"],
    );
    differing("resized", "size = 24", "size = 32");
    refuse(
        "resized",
        &["photos.index: built with model", "as 32 × 32 pixels", "that of the index as 24 × 24 pixels"],
    );

    let rows = |change: &dyn Fn(&mut nearkin_index::Origin)| {
        let mut rows = Embeddings::read(at("new.parquet").as_ref()).unwrap();
        change(rows.origin.as_mut().unwrap());
        rows.write(at("changed.parquet").as_ref()).unwrap();
        run(["add", &at("photos.index"), &at("changed.parquet")])
    };
    rows(&|origin| origin.normalized = true).with(1, &["only those to add were scaled", "unit length"]);
    rows(&|origin| origin.preprocessing += ", every context")
        .with(1, &["but these vectors from inputs prepared as"]);
    run(["add", &at("photos.index"), &at("new.parquet")]).well();
}

/// What a COPY in the text format means: the documentation of PostgreSQL's COPY, read by itself.
fn read_copy(line: &str) -> Vec<Option<String>> {
    let field = |field: &str| {
        if field == "\\N" {
            return None;
        }
        let (mut text, mut characters) = (String::new(), field.chars());
        while let Some(c) = characters.next() {
            match c {
                '\\' => text.push(match characters.next().unwrap() {
                    't' => '\t',
                    'n' => '\n',
                    'r' => '\r',
                    other => other,
                }),
                c => text.push(c),
            }
        }
        Some(text)
    };
    line.split('\t').map(field).collect()
}

#[test]
fn what_is_exported_says_what_was_there() {
    let folder = tempfile::tempdir().unwrap();
    let at = |name: &str| folder.path().join(name).to_str().unwrap().to_owned();
    let mut table = things(0..5);
    let odd =
        ["plain", "tab\tnew\nline\r", "back\\slash \\. \\N", "quote \" ' `", ""].map(str::to_owned).to_vec();
    table.ids[2] = "an \\ id".into();
    table.columns.insert("an \"odd\" name".into(), odd.clone());
    table.write(at("t.parquet").as_ref()).unwrap();
    run(["index", &at("t.parquet"), "--out", &at("t.index"), "--metric", "dot"]).well();
    run(["delete", &at("t.index"), "thing 1"]).well();

    run(["export", &at("t.index"), "--format", "pgvector", "--name", "my \"things\"", "--out", &at("t.sql")])
        .well();
    let script = fs::read_to_string(at("t.sql")).unwrap();
    let (head, rest) = script.split_once(" FROM stdin;\n").unwrap();
    let (rows, tail) = rest.split_once("\\.\n").unwrap();
    assert!(head.starts_with("CREATE EXTENSION IF NOT EXISTS vector;\nCREATE TABLE \"my \"\"things\"\"\" (\n    \"id\" text PRIMARY KEY,\n"), "{head}");
    assert!(
        head.contains("\n    \"an \"\"odd\"\" name\" text,\n")
            && head.contains("\"embedding\" vector(2) NOT NULL\n);")
    );
    assert!(head.ends_with("COPY \"my \"\"things\"\"\" (\"id\", \"label\", \"an \"\"odd\"\" name\", \"price\", \"embedding\")"), "{head}");
    assert_eq!(tail, "CREATE INDEX ON \"my \"\"things\"\"\" USING hnsw (\"embedding\" vector_ip_ops);\n");
    let rows: Vec<_> = rows.lines().map(read_copy).collect();
    let kept = [0, 2, 3, 4];
    assert_eq!(rows.len(), 4);
    for (row, &i) in rows.iter().zip(&kept) {
        let text = |text: &str| Some(text.to_owned()).filter(|text| !text.is_empty());
        assert_eq!(row[0].as_ref(), Some(&table.ids[i]));
        assert_eq!((&row[2], &row[3]), (&text(&odd[i]), &Some((10 * i).to_string())));
        let vector: Vec<f32> = serde_json::from_str(row[4].as_ref().unwrap()).unwrap();
        assert_eq!(vector, table.vectors[2 * i..2 * i + 2]);
    }

    run(["export", &at("t.parquet"), "--format", "qdrant", "--out", &at("t.jsonl")]).well();
    let lines = fs::read_to_string(at("t.jsonl")).unwrap();
    let lines: Vec<Value> = lines.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    assert_eq!(lines[0], serde_json::json!({ "vectors": { "size": 2, "distance": "Cosine" } }));
    let points = lines[1]["points"].as_array().unwrap();
    assert_eq!((lines.len(), points.len()), (2, 5));
    for (i, point) in points.iter().enumerate() {
        assert_eq!(point["payload"]["id"], table.ids[i]);
        assert_eq!(
            point["payload"].get("an \"odd\" name").and_then(Value::as_str),
            Some(&odd[i][..]).filter(|t| !t.is_empty())
        );
        assert_eq!(point["vector"][0], i as f64);
        let id = point["id"].as_str().unwrap();
        assert!(id.len() == 36 && points.iter().filter(|other| other["id"] == id).count() == 1);
    }
    run(["export", &at("t.parquet"), "--format", "qdrant", "--out", &at("no/where.jsonl")])
        .with(1, &["no/where.jsonl"]);
    run(["export", &at("t.parquet"), "--format", "milvus", "--out", &at("x")]).with(2, &["pgvector, qdrant"]);
}

#[test]
fn an_index_of_small_numbers_grows_and_says_what_it_is() {
    let shop = Shop::new();
    let index = |storage: &str, table: &str| {
        let (table, out) = (shop.at(table), shop.at("shop.index"));
        let arguments =
            ["--json", "index", &table, "--out", &out, "--metric", "euclidean", "--storage", storage];
        run(arguments)
    };
    for storage in ["f32", "f16", "i8"] {
        let built = index(storage, "six.parquet").well().json();
        assert_eq!((&built[0]["storage"], &built[0]["rows"]), (&Value::from(storage), &Value::from(6)));
        shop.run("add", &[&shop.at("three.parquet")]).well();
        // Two things are equally near; rounding may put either first.
        let nearest = || {
            let mut found = shop.nearest(&["--query", "thing 5", "-k", "3"]);
            found[..2].sort();
            found
        };
        assert_eq!(nearest(), ["thing 4", "thing 6", "thing 3"]);
        let compacted = shop.run("compact", &[]).well().json();
        assert_eq!(
            (&compacted[0]["storage"], &compacted[0]["rows"]),
            (&Value::from(storage), &Value::from(9))
        );
        assert_eq!(nearest(), ["thing 4", "thing 6", "thing 3"]);
    }
    let far =
        Embeddings { vectors: vec![1e5, 1.0], dim: 2, ids: vec!["far".into()], ..Embeddings::default() };
    far.write(&shop.path("far.parquet")).unwrap();
    index("f16", "far.parquet").with(1, &["row 0, value 0", "65504", "as i8 or f32"]);
    assert_eq!(shop.nearest(&["--query", "thing 8", "-k", "1"]), ["thing 7"], "the old index is there");
    index("i4", "six.parquet").with(2, &["i4", "f32, f16, i8"]);
}
