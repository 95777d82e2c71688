//! The command line from outside: the whole way that a user goes, and what the program says about itself.

use std::fs;

use crate::common::{nearkin, run, write_classes, write_recipe};

const COMMANDS: [&str; 20] = [
    "quickstart",
    "train",
    "compare",
    "fit",
    "map",
    "reproduce",
    "eval",
    "embed",
    "index",
    "add",
    "delete",
    "compact",
    "calibrate",
    "export",
    "search",
    "data",
    "methods",
    "devices",
    "bench",
    "views",
];

#[test]
fn the_whole_way_from_images_to_a_search_result() {
    let folder = tempfile::tempdir().unwrap();
    let at = |name: &str| folder.path().join(name).to_str().unwrap().to_owned();
    let recipe = write_recipe(folder.path(), "supcon");
    let (photos, more) = (at("photos"), at("more"));
    write_classes(photos.as_ref(), &["cup", "fork", "plate"], 12);
    write_classes(more.as_ref(), &["cup", "fork", "plate"], 5);

    let seen = run(["--json", "data", &photos]).well().json();
    assert_eq!((seen[0]["count"].as_u64(), seen[0]["kind"].as_str()), (Some(36), Some("folder")), "{seen:?}");

    let train =
        ["--json", "train", "--data", &photos, "--recipe", recipe.to_str().unwrap(), "--out", &at("run")];
    let events = run(train).well().json();
    let kinds: Vec<&str> = events.iter().map(|e| e["event"].as_str().unwrap()).collect();
    assert_eq!((kinds[0], kinds[kinds.len() - 1]), ("plan", "done"));
    assert_eq!(events[0]["plan"]["samples"], 36);
    assert_eq!(kinds.iter().filter(|k| **k == "epoch").count(), 4);
    for file in ["run.toml", "metrics.jsonl", "model/model.toml", "model/model.safetensors"] {
        assert!(fs::metadata(at("run") + "/" + file).unwrap().len() > 0, "{file}");
    }

    let measured = run(["--json", "eval", &at("run"), "--data", &more, "--reference", &photos]).well().json();
    let learned = &measured[0]["learned"];
    // Each class has a colour of its own, and fifteen pictures more of it stand among the references.
    assert!(learned["precision_at_1"].as_f64().unwrap() > 0.9, "{learned}");
    // Long names may be broken into lines.
    let page = fs::read_to_string(at("run/report.html")).unwrap().replace("<wbr>", "");
    // The command is there as it was typed.
    assert!(page.contains("mean_average_precision_at_r") && page.contains("nearkin --json eval"));
    assert!(
        !page.contains("http://") && !page.contains("src=\"https"),
        "the page needs nothing from elsewhere"
    );

    let rows = at("rows.csv");
    fs::write(&rows, "a,b,class\n1,2,x\n").unwrap();
    run(["embed", &at("run"), "--data", &rows, "--out", &at("rows.npy")])
        .with(2, &["rows.csv", "a network and takes images", "column path"]);

    for name in ["v.parquet", "v.npy", "v.safetensors"] {
        let (vectors, index) = (at(name), at(&format!("{name}.index")));
        run(["embed", &at("run"), "--data", &photos, "--out", &vectors]).well();
        run(["index", &vectors, "--out", &index]).well();
        let query = format!("{more}/fork/002.png");
        let sheet = at(&format!("{name}.png"));
        let search = [
            "--json",
            "search",
            &index,
            "--model",
            &at("run"),
            "--query",
            &query,
            "-k",
            "4",
            "--sheet",
            &sheet,
        ];
        let found = run(search).well().json();
        let hits = found[0]["hits"].as_array().unwrap();
        assert_eq!(hits.len(), 4);
        assert!(hits.iter().all(|hit| hit["label"] == "fork"), "{name}: {hits:?}");
        assert!(image::open(&sheet).unwrap().width() > 300);
    }
    let search = run(["search", &at("v.npy.index"), "--query", "cup/003.png", "-k", "2"]).well();
    assert!(search.stdout.contains("nearest to cup/003.png (cup)"), "{search:#?}");
    assert!(
        !search.stdout.lines().skip(1).any(|line| line.contains("cup/003.png")),
        "an item is not its own neighbour"
    );
}

#[test]
fn a_training_without_labels_says_what_it_does_not_know() {
    let folder = tempfile::tempdir().unwrap();
    let at = |name: &str| folder.path().join(name).to_str().unwrap().to_owned();
    let recipe = write_recipe(folder.path(), "simclr");
    write_classes(at("named").as_ref(), &["a", "b"], 30);
    fs::create_dir(at("flat")).unwrap();
    for (i, class) in ["a", "b"].iter().enumerate() {
        for picture in fs::read_dir(at(&format!("named/{class}"))).unwrap() {
            let picture = picture.unwrap();
            let name = picture.file_name().into_string().unwrap();
            fs::copy(picture.path(), at(&format!("flat/{i}-{name}"))).unwrap();
        }
    }
    let train = ["train", "--data", &at("flat"), "--recipe", recipe.to_str().unwrap(), "--out", &at("run")];
    let trained = run(train).well();
    assert!(trained.stderr.contains("simclr") && trained.stderr.contains("60 images"), "{trained:#?}");
    let plan_comes_first = trained.stderr.find("time").unwrap() < trained.stderr.find("epoch 1/4").unwrap();
    assert!(plan_comes_first, "{trained:#?}");
    run(["train", "--data", &at("flat"), "--method", "batch-hard", "--out", &at("never")])
        .with(2, &["batch-hard needs a label for every sample"]);
    run(["eval", &at("run"), "--data", &at("flat")]).with(2, &["has no labels"]);
}

#[test]
fn every_method_trains_from_its_name_alone() {
    let folder = tempfile::tempdir().unwrap();
    let at = |name: &str| folder.path().join(name).to_str().unwrap().to_owned();
    write_classes(at("named").as_ref(), &["a", "b", "c"], 8);
    for method in run(["--json", "methods"]).well().json() {
        let (name, out) = (method["name"].as_str().unwrap(), at(method["name"].as_str().unwrap()));
        let train = ["train", "--data", &at("named"), "--method", name, "--epochs", "1", "--out", &out];
        let trained = run(train).well();
        assert!(trained.stderr.contains("epoch 1/1  loss"), "{name}: {trained:#?}");
    }
}

#[test]
fn a_comparison_goes_on_where_it_stopped_and_keeps_to_its_recipes() {
    let folder = tempfile::tempdir().unwrap();
    let at = |name: &str| folder.path().join(name).to_str().unwrap().to_owned();
    write_classes(at("train").as_ref(), &["a", "b", "c"], 8);
    write_classes(at("test").as_ref(), &["d", "e"], 6);
    for name in ["one", "two"] {
        fs::rename(write_recipe(folder.path(), "supcon"), at(&format!("{name}.toml"))).unwrap();
    }
    let compare = |seeds: &'static str, epochs: &'static str| {
        let (one, two) = (at("one.toml"), at("two.toml"));
        let (data, test, out) = (at("train"), at("test"), at("runs"));
        run([
            "compare", "--json", &one, &two, "--data", &data, "--test", &test, "--seeds", seeds, "--epochs",
            epochs, "--out", &out,
        ])
    };
    let first = compare("1", "2").well().json();
    assert_eq!(first.len(), 2);
    // Two names of one recipe.
    assert_eq!(first[0]["mean_average_precision_at_r"], first[1]["mean_average_precision_at_r"]);
    let second = compare("2", "2").well().json();
    assert_eq!(second.len(), 4);
    assert_eq!(second[0], first[0], "a finished run is not repeated");
    compare("2", "3").with(1, &["result.json", "another recipe"]);
    // A run without its result is one that was stopped: it goes on, but not as another recipe's.
    let result = at("runs/one/seed-0/result.json");
    fs::remove_file(&result).unwrap();
    compare("2", "3").with(1, &["run.toml", "another recipe"]);
    assert_eq!(compare("2", "2").well().json()[0], first[0]);
    assert!(fs::exists(&result).unwrap());
    run(["compare", &at("one.toml"), &at("one.toml"), "--data", "x", "--test", "x", "--out", &at("runs")])
        .with(2, &["two recipes are called one"]);
}

#[test]
fn every_command_explains_itself() {
    let help = run(["--help"]).well().stdout;
    for command in COMMANDS {
        assert!(help.contains(&format!("\n  {command} ")), "--help lists {command}: {help}");
        let own = run([command, "--help"]).well().stdout;
        assert!(own.contains(&format!("Usage: nearkin {command}")), "{own}");
        assert!(own.contains("--json") && own.contains("--quiet"), "{own}");
        assert!(own.lines().all(|line| line.chars().count() <= 110), "{command}: too wide");
    }
    assert_eq!(run(["--version"]).well().stdout.trim(), concat!("nearkin ", env!("CARGO_PKG_VERSION")));
    let methods = run(["--json", "methods"]).well().json();
    assert!(methods.len() >= 11, "{methods:?}");
    assert!(run(["devices"]).well().stdout.contains("cpu"));
}

#[test]
fn bench_measures_what_it_is_asked_for() {
    let lines = run(["bench", "--only", "search", "--json", "--quiet"]).well().json();
    assert_eq!(lines.len(), 2);
    for line in lines {
        assert_eq!(line["what"], "search");
        assert!(line["ms"].as_f64().unwrap() > 0.0 && line["per_second"].as_f64().unwrap() > 0.0);
        assert!(line["share"].as_f64().unwrap() > 0.0 && line["product_gflops"].as_f64().unwrap() > 0.0);
    }
    run(["bench", "--only", "tea"]).with(2, &["views", "step", "loss", "search"]);
}

#[test]
fn what_cannot_be_asked_ends_with_2() {
    assert_eq!(nearkin().output().unwrap().status.code(), Some(2));
    run(["trian"]).with(2, &["trian", "train"]);
    run(["train", "--data", "data"]).with(2, &["--out"]);
    run(["train", "--data", "data", "--out", "x", "--method", "batch-heard"])
        .with(2, &["batch-heard", "batch-hard, batch-all"]);
    run(["train", "--resume", "x", "--data", "data"]).with(2, &["--resume"]);
    run(["--threads", "0", "methods"]).with(2, &["--threads"]);
    run(["train", "--resume", "docs"]).with(2, &["docs is not a run"]);
    run(["embed", "docs", "--data", "data", "--out", "x.npy"]).with(2, &["docs"]);
    run(["train", "--data", "data", "--method", "supcon", "--out", "x", "--device", "abacus"])
        .with(2, &["abacus"]);
}

#[test]
fn views_of_a_picture_are_drawn_on_a_sheet() {
    let folder = tempfile::tempdir().unwrap();
    let at = |name: &str| folder.path().join(name).to_str().unwrap().to_owned();
    write_classes(folder.path(), &["cup"], 1);
    let photo = fs::read_dir(folder.path().join("cup")).unwrap().next().unwrap().unwrap().path();
    let photo = photo.to_str().unwrap();
    let (one, two, recipe) = (at("one.png"), at("two.png"), at("recipe.toml"));
    let sheet = ["views", photo, "--size", "32", "--count", "5", "--columns", "3"];
    let with = |more: &[&str]| sheet.iter().chain(more).map(|word| (*word).to_owned()).collect::<Vec<_>>();
    let said = run(with(&["--preset", "byol-second", "--out", &one])).well().stdout;
    let drawn = image::open(&one).unwrap().to_rgb8();
    assert_eq!(drawn.dimensions(), (3 * 36 + 4, 2 * 36 + 4));

    // What it says about the views is a recipe's part that draws the same.
    let part = &said[said.find("[views]").unwrap()..];
    fs::write(&recipe, format!("[method]\nkind = \"simclr\"\n{part}")).unwrap();
    run(with(&["--recipe", &recipe, "--out", &two])).well();
    assert_eq!(drawn, image::open(&two).unwrap().to_rgb8());
    let said = run(with(&["--preset", "exemplar-cnn", "--out", &two])).well().stdout;
    assert!(said.contains("[views.pca-contrast]") && said.contains("[views.hsv]"), "{said}");
    run(with(&["--preset", "byol-second", "--seed", "2", "--out", &two])).well();
    assert_ne!(drawn, image::open(&two).unwrap().to_rgb8());

    run(with(&["--preset", "tea", "--out", &two])).with(2, &["simclr", "moco-v2", "exemplar-cnn"]);
    run(["views", &recipe, "--out", &two]).with(1, &["recipe.toml"]);
}
