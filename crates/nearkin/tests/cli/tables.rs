//! Tables from outside: from a file to a fitted model, a report and a search, and every bad table as a user meets it.

use std::fs;
use std::path::{Path, PathBuf};

use crate::common::{Ended, run};

/// A folder with a table, and where a run would go.
struct Scene {
    folder: tempfile::TempDir,
    table: PathBuf,
    out: PathBuf,
}

/// Three classes, which differ along `a` and `b`; `noise` is louder than both and tells nothing. The numbers are a fixed
/// sequence, so that every run of the tests sees the same table.
fn rows(count: u64) -> String {
    let mut state = 9u64;
    let mut noise = || {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (state >> 40) as f64 / f64::from(1 << 24) - 0.5
    };
    let mut text = "a,b,noise,colour,size,class\n".to_owned();
    for i in 0..count {
        let (x, y) = [(0.0, 0.0), (2.0, 0.5), (1.0, 2.0)][(i % 3) as usize];
        let (a, b, loud) = (x + noise(), y + noise(), 50.0 * noise());
        let colour = ["red", "green"][(i % 2) as usize];
        let class = ["ash", "birch", "cedar"][(i % 3) as usize];
        text += &format!("{a:.4},{b:.4},{loud:.4},{colour},{:.3},{class}\n", a + 2.0 * b);
    }
    text
}

impl Scene {
    fn new() -> Self {
        Self::with(&rows(90))
    }

    fn with(text: &str) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let (table, out) = (folder.path().join("trees.csv"), folder.path().join("run"));
        fs::write(&table, text).unwrap();
        Self { folder, table, out }
    }

    fn at(&self, name: &str) -> String {
        self.folder.path().join(name).to_str().unwrap().to_owned()
    }

    fn fit(&self, arguments: &[&str]) -> Ended {
        let (table, out) = (self.table.to_str().unwrap(), self.out.to_str().unwrap());
        run([&["fit"], arguments, &["--data", table, "--out", out]].concat())
    }

    /// Nothing is left of a fit that never began.
    fn refused(&self, arguments: &[&str], code: i32, words: &[&str]) {
        self.fit(arguments).with(code, words);
        assert!(!self.out.exists(), "a refused fit left a run folder");
    }
}

fn measure(ended: &Ended, name: &str) -> (f64, f64) {
    let found = &ended.json()[0]["measures"][name];
    (found["learned"].as_f64().unwrap(), found["baseline"].as_f64().unwrap())
}

#[test]
fn the_whole_way_from_a_table_to_a_search_result() {
    let scene = Scene::new();
    let run_folder = scene.out.to_str().unwrap();
    let fitted = scene
        .fit(&["nca", "--dims", "2", "--categorical", "colour", "--hold-out", "0.3", "--seed", "1", "--json"])
        .well();
    let (learned, baseline) = measure(&fitted, "knn_accuracy (3-NN)");
    assert!(learned >= 0.9 && learned >= baseline, "{learned} {baseline}");
    assert_eq!(
        (fitted.json()[0]["rows"].as_u64(), fitted.json()[0]["held_out"].as_u64()),
        (Some(63), Some(27))
    );
    let page = fs::read_to_string(scene.out.join("report.html")).unwrap();
    for word in [
        "nca of",
        "The most telling features",
        "The metric&#39;s spectrum",
        "unseen rows",
        "knn_<wbr>accuracy",
    ] {
        assert!(page.contains(word), "no {word}");
    }
    let file = fs::read_to_string(scene.out.join("run.toml")).unwrap();
    for word in [
        "fingerprint",
        "held-out = 27",
        "[fit]",
        "method = \"nca\"",
        "scale = \"standard\"",
        "hold-out = 0.3",
    ] {
        assert!(file.contains(word), "no {word} in {file}");
    }
    let card = fs::read_to_string(scene.out.join("model/model.toml")).unwrap();
    assert!(
        card.starts_with("kind = \"linear\"") && card.contains("categories = [\"green\", \"red\"]"),
        "{card}"
    );

    let table = scene.table.to_str().unwrap();
    let evaluated = run(["eval", run_folder, "--data", table, "--json"]).well();
    assert!(evaluated.stderr.contains("the data that the model was trained on"), "{evaluated:#?}");
    assert_eq!(evaluated.json()[0]["baseline_name"], "scaled features");
    assert!(evaluated.json()[0]["learned"]["precision_at_1"].as_f64().unwrap() > 0.9);

    let (vectors, index) = (scene.at("trees.parquet"), scene.at("trees.index"));
    run(["embed", run_folder, "--data", table, "--out", &vectors]).well();
    run(["index", &vectors, "--out", &index]).well();
    let by_id = run(["search", &index, "--query", "4", "-k", "3", "--json"]).well();
    let hits = by_id.json()[0]["hits"].as_array().unwrap().clone();
    assert_eq!((hits.len(), by_id.json()[0]["metric"].as_str()), (3, Some("euclidean")));
    assert!(hits.iter().all(|hit| hit["id"] != "4"));
    // The row from a file of its own, without a label and with its columns in another order, finds itself.
    let row = rows(90).lines().nth(5).unwrap().to_owned();
    let cells: Vec<&str> = row.split(',').collect();
    let query = scene.at("row.csv");
    fs::write(
        &query,
        format!("size,noise,b,a,colour\n{},{},{},{},{}\n", cells[4], cells[2], cells[1], cells[0], cells[3]),
    )
    .unwrap();
    let asked = run(["search", &index, "--model", run_folder, "--query", &query, "-k", "2", "--json"]).well();
    let first = &asked.json()[0]["hits"][0];
    assert_eq!((first["id"].as_str(), first["score"].as_f64()), (Some("4"), Some(0.0)));
    run(["search", &index, "--query", &query]).with(2, &["--model"]);

    // The vectors of another map are another model's.
    let other = Scene::new();
    other.fit(&["pca", "--drop", "colour"]).well();
    let foreign = other.out.to_str().unwrap();
    run(["search", &index, "--model", foreign, "--query", &query])
        .with(1, &["use the model that built the index"]);
    run(["train", "--resume", run_folder]).with(2, &["nearkin fit"]);
    scene.fit(&["pca"]).with(2, &["already exists"]);
}

#[test]
fn the_same_seed_gives_the_same_model_on_any_number_of_threads() {
    let bytes = |threads: &str| {
        let scene = Scene::new();
        scene.fit(&["lmnn", "--drop", "colour", "--hold-out", "0.2", "--threads", threads, "--quiet"]).well();
        ["model/model.toml", "model/model.safetensors", "run.toml"].map(|f| {
            let bytes = fs::read(scene.out.join(f)).unwrap();
            // The path of the table differs.
            let own = scene.table.parent().unwrap().to_str().unwrap().to_owned();
            String::from_utf8_lossy(&bytes).replace(&own, "")
        })
    };
    assert_eq!(bytes("1"), bytes("4"));
}

#[test]
fn every_linear_method_leaves_a_model_and_every_spectral_one_a_map() {
    let linear =
        ["pca", "whitening", "zca", "random-projection", "lda", "lfda", "rca", "nca", "lmnn", "itml"];
    for method in linear {
        let scene = Scene::new();
        // What is constant within classes, or a sum of other columns, some of these methods refuse: and rightly.
        let ended = scene.fit(&[method, "--drop", "colour,size"]).well();
        assert!(ended.stdout.contains("an embedding") && scene.out.join("model/model.safetensors").is_file());
        let (run_folder, table) = (scene.out.to_str().unwrap(), scene.table.to_str().unwrap());
        run(["embed", run_folder, "--data", table, "--out", &scene.at("v.npy")]).well();
    }
    for method in ["lle", "isomap", "laplacian-eigenmaps", "diffusion-maps", "mds", "smacof"] {
        let scene = Scene::new();
        // Three classes far apart: few neighbours would not join them, and Isomap refuses a graph in pieces.
        let near: &[&str] = if method == "isomap" { &["--neighbors", "25"] } else { &[] };
        let ended = scene.fit(&[&[method, "--drop", "colour", "--hold-out", "0.3"], near].concat()).well();
        assert!(ended.stdout.contains("no model") && !scene.out.join("model").exists(), "{ended:#?}");
        let vectors = scene.out.join("embeddings.parquet");
        let index = scene.at("map.index");
        run(["index", vectors.to_str().unwrap(), "--out", &index]).well();
        let placed = method != "smacof";
        let words = if placed { "were placed by" } else { "are not on it" };
        assert!(ended.stdout.contains(words), "{ended:#?}");
        let rows = run(["search", &index, "--query", "0", "-k", "100", "--json"]).well();
        let wanted = if placed { 89 } else { 62 };
        assert_eq!(rows.json()[0]["hits"].as_array().unwrap().len(), wanted, "{method}");
    }
}

#[test]
fn a_number_is_estimated_by_mlkr() {
    let scene = Scene::new();
    let ended = scene
        .fit(&[
            "mlkr",
            "--label",
            "size",
            "--drop",
            "colour,class",
            "--hold-out",
            "0.3",
            "--dims",
            "1",
            "--json",
        ])
        .well();
    let (learned, baseline) = measure(&ended, "r2");
    assert!(learned > 0.9 && learned > baseline, "{learned} {baseline}");
    let text = Scene::new();
    text.refused(&["mlkr", "--drop", "colour"], 1, &["line 2, column 'class'", "'ash'"]);
}

#[test]
fn methods_show_their_own_settings_and_refuse_others() {
    let help = run(["fit", "nca", "--help"]).well().stdout;
    for word in ["--iterations", "--stochastic", "--categorical", "--hold-out", "--data", "[default: 100]"] {
        assert!(help.contains(word), "no {word} in {help}");
    }
    assert!(!help.contains("--gamma"));
    let all = run(["fit", "--help"]).well().stdout;
    assert!(all.contains("lmnn") && all.contains("laplacian-eigenmaps"), "{all}");
    let scene = Scene::new();
    scene.refused(&["nca", "--gamma", "2"], 2, &["--gamma"]);
    scene.refused(&["nca", "--dims", "9", "--drop", "colour"], 1, &["9 dimensions", "1 to 4"]);
    scene.refused(&["lmnn", "--push", "1.5", "--drop", "colour"], 1, &["push = 1.5"]);
    scene.refused(&["pca", "--hold-out", "1.5"], 2, &["0 to 0.9"]);
    scene.refused(&["pcaa"], 2, &["pcaa"]);
}

#[test]
fn bad_tables_end_with_one_message_and_no_run() {
    let refused = |text: &str, arguments: &[&str], code, words: &[&str]| {
        Scene::with(text).refused(arguments, code, words)
    };
    let missing = Scene { table: "nowhere.csv".into(), ..Scene::new() };
    missing.refused(&["pca"], 1, &["nowhere.csv", "cannot read"]);
    let text = Scene::new();
    let other = Scene { table: text.folder.path().join("trees.txt"), ..Scene::new() };
    fs::write(&other.table, rows(9)).unwrap();
    other.refused(&["pca"], 1, &["trees.txt", ".csv, .tsv, .parquet, .npy or .arff"]);
    let folder = Scene { table: text.folder.path().to_owned(), ..Scene::new() };
    folder.refused(&["pca"], 1, &["a folder"]);

    refused("", &["pca"], 1, &["trees.csv", "empty"]);
    refused("a,b,class\n", &["pca"], 1, &["no row"]);
    refused("a,b,class\n1,2,x\n1,2,3,y\n", &["pca"], 1, &["line 3", "4 cells"]);
    refused("a,a,class\n1,2,x\n", &["pca"], 1, &["both called 'a'"]);
    refused("a,b,class\n1,2,x\n?,2,y\n", &["pca"], 1, &["line 3, column 'a'", "--missing mean"]);
    refused(
        "a,b,class\n1,2,x\n3,two,y\n",
        &["pca"],
        1,
        &["line 3, column 'b'", "--categorical b", "--drop b"],
    );
    refused("a,b,class\n1,2,x\n3,4,x\n", &["nca"], 2, &["one class, 'x'"]);
    refused("a,b\n1,2\n3,4\n", &["nca"], 1, &["--label", "'b'"]);
    refused("a,b,class\n1,2,x\n3,4,y\n", &["nca", "--label", "kind"], 1, &["no column 'kind'"]);
    refused("a,b,class\n1,2,x\n3,4,y\n", &["pca", "--drop", "c"], 1, &["no column 'c'", "--drop"]);
    refused("a,b,class\n1,2,x\n3,4,\n5,6,y\n", &["nca"], 1, &["line 3, column 'class'", "missing"]);
    refused("a,class\n1e300,x\n-1e300,y\n", &["pca"], 1, &["'a' spreads from"]);
    refused("a,class\n1e300,x\n1,y\n", &["pca", "--scale", "none"], 1, &["line 2, column 'a'", "beyond"]);
    refused("a,class\n1e999,x\n1,y\n", &["pca"], 1, &["line 2, column 'a'", "'inf'", "--drop a"]);
    refused("1,2\n3,4\n", &["pca"], 1, &["numbers only", "header"]);
    refused("a,b,class\n1,2,x\n3,4,y\n", &["nca"], 1, &["no class has two samples"]);
    refused(
        "a,b,class\n1,2,x\n3,4,y\n2,2,x\n",
        &["nca", "--hold-out", "0.3"],
        2,
        &["--hold-out 0.3 of 3 rows"],
    );
    refused(&rows(30), &["lle", "--drop", "colour", "--neighbors", "1"], 1, &["neighbours"]);
    let scene = Scene::new();
    fs::write(&scene.table, b"a,class\n1,caf\xe9\n").unwrap();
    scene.refused(&["pca"], 1, &["line 2", "not UTF-8"]);

    let constant = Scene::with("a,k,class\n1,5,x\n2,5,x\n8,5,y\n9,5,y\n");
    let ended = constant.fit(&["nca"]).well();
    assert!(ended.stderr.contains("tell nothing: k"), "{ended:#?}");
    assert!(ended.stderr.contains("--hold-out 0.3 gives honest ones"), "{ended:#?}");
}

#[test]
fn missing_values_and_categories_are_taken_as_chosen() {
    let text = rows(60).replacen("red", "", 1);
    let scene = Scene::with(&text);
    scene.refused(&["nca", "--categorical", "colour"], 1, &["line 2, column 'colour'", "missing"]);
    scene.fit(&["nca", "--categorical", "colour", "--missing", "median"]).well();
    let new = scene.at("new.csv");
    fs::write(&new, "a,b,noise,colour,size\n1,1,1,blue,3\n").unwrap();
    let (run_folder, out) = (scene.out.to_str().unwrap(), scene.at("v.npy"));
    run(["embed", run_folder, "--data", &new, "--out", &out])
        .with(1, &["line 2, column 'colour'", "'blue'", "green, red", "--unknown zeros"]);
    fs::write(&new, "a,b,colour,size\n1,1,red,3\n").unwrap();
    run(["embed", run_folder, "--data", &new, "--out", &out]).with(1, &["new.csv", "are not there: noise"]);
    fs::write(&new, "a,b,noise,colour,size\n1,1,loud,red,3\n").unwrap();
    run(["embed", run_folder, "--data", &new, "--out", &out]).with(1, &["line 2, column 'noise'", "'loud'"]);
    fs::write(&new, "a,b,noise,colour,size\n1,1,1,red,\n").unwrap();
    run(["embed", run_folder, "--data", &new, "--out", &out]).well();
    assert!(Path::new(&out).is_file());
}

#[test]
fn a_model_refuses_data_of_the_other_kind() {
    let scene = Scene::new();
    scene.fit(&["pca", "--drop", "colour"]).well();
    let run_folder = scene.out.to_str().unwrap();
    run(["embed", run_folder, "--data", "data/fashion-mnist", "--out", &scene.at("v.npy")])
        .with(2, &["fashion-mnist", "a linear map of 4 columns", ".csv"]);
    let manifest = scene.at("manifest.csv");
    fs::write(&manifest, "path,label\na.png,x\n").unwrap();
    for images in ["data/fashion-mnist#0..9", manifest.as_str()] {
        run(["embed", run_folder, "--data", images, "--out", &scene.at("v.npy")])
            .with(2, &["a linear map of 4 columns", "takes a table"]);
    }
    run(["embed", run_folder, "--data", &scene.at("no.csv"), "--out", &scene.at("v.npy")])
        .with(1, &["no.csv", "cannot read"]);
    let weights = scene.out.join("model/model.safetensors");
    let bytes = fs::read(&weights).unwrap();
    fs::write(&weights, &bytes[..bytes.len() - 8]).unwrap();
    run(["embed", run_folder, "--data", scene.table.to_str().unwrap(), "--out", &scene.at("v.npy")])
        .with(1, &["model.safetensors", "damaged", "fit it again"]);
}

#[test]
fn data_shows_what_is_in_a_table() {
    let scene = Scene::new();
    let table = scene.table.to_str().unwrap();
    let shown = run(["data", table]).well();
    for word in ["CSV table", "'class', 3 different", "noise", "2 different"] {
        assert!(shown.stdout.contains(word), "no {word} in {shown:#?}");
    }
    assert!(shown.stderr.contains("1 columns hold text"), "{shown:#?}");
    assert_eq!(run(["data", table, "--json", "--label", "none"]).well().json()[0]["rows"], 90);
}

#[test]
fn maps_are_compared_in_one_report_with_unseen_rows_where_there_are_places() {
    let scene = Scene::new();
    let (table, out) = (scene.table.to_str().unwrap(), scene.out.to_str().unwrap());
    scene.fit(&["lmnn", "--drop", "colour"]).well();
    let maps = scene.at("maps");
    let methods = "pca,lle --neighbors 10,isomap --neighbors 8,nca,smacof,lle --neighbors 1";
    let ended = run([
        "map",
        "--data",
        table,
        "--drop",
        "colour",
        "--methods",
        methods,
        "--model",
        out,
        "--out",
        &maps,
        "--json",
    ])
    .well();
    let lines = ended.json();
    let of = |method: &str| {
        lines.iter().find(|l| l["method"].as_str().is_some_and(|m| m.starts_with(method))).unwrap()
    };
    assert_eq!(of("lle")["places_unseen_rows"], true);
    assert_eq!(of("smacof")["places_unseen_rows"], false);
    assert!(of("smacof")["measures"]["accuracy"].is_null());
    assert!(of("nca")["measures"]["accuracy"].as_f64().unwrap() > 0.85, "{lines:#?}");
    for method in ["pca", "lle", "isomap", "nca"] {
        let measures = &of(method)["measures"];
        for name in ["trustworthiness", "continuity", "trustworthiness_unseen", "continuity_unseen"] {
            let value = measures[name].as_f64();
            // 27 unseen rows are enough for 12 neighbours.
            assert!(value.is_some_and(|v| (0.3..=1.0).contains(&v)), "{method} {name}: {value:?}");
        }
    }
    assert!(ended.stderr.contains("lle --neighbors 1 is left out"), "{ended:#?}");
    assert!(ended.stderr.contains("mapping by pca"), "{ended:#?}");
    let page = fs::read_to_string(Path::new(&maps).join("report.html")).unwrap();
    assert_eq!(page.matches("class=\"card map\"").count(), 6);
    for word in [
        "Methods beside each other",
        "no place for another",
        "(lmnn)",
        "made from this very data",
        "Left out",
    ] {
        assert!(page.contains(word), "no {word}");
    }
    run(["map", "--data", table, "--methods", "mlkr", "--out", &scene.at("x")]).with(2, &["mlkr", "numbers"]);
    run(["map", "--data", table, "--methods", "umap", "--out", &scene.at("x")]).with(2, &["umap"]);
    run([
        "map",
        "--data",
        table,
        "--drop",
        "colour",
        "--methods",
        "lle --neighbors 1",
        "--out",
        &scene.at("x"),
    ])
    .with(1, &["no method could map"]);
    assert!(!Path::new(&scene.at("x")).exists());
}

#[test]
fn images_are_mapped_by_their_pixels() {
    let folder = tempfile::tempdir().unwrap();
    let maps = folder.path().join("maps");
    let ended = run([
        "map",
        "--data",
        "data/fashion-mnist#0..300",
        "--methods",
        "pca,lle",
        "--size",
        "14",
        "--out",
        maps.to_str().unwrap(),
        "--json",
    ])
    .well();
    let lines = ended.json();
    assert_eq!(lines.len(), 3);
    for line in &lines[..2] {
        assert!(line["measures"]["accuracy"].as_f64().unwrap() > 0.3, "{line:#?}");
        assert!(line["measures"]["trustworthiness_unseen"].as_f64().unwrap() > 0.6, "{line:#?}");
    }
    let page = fs::read_to_string(maps.join("report.html")).unwrap();
    assert!(page.contains("raw pixels (no map)") && page.contains("196 values a row"));
}
