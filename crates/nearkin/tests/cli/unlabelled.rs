//! Methods without labels: trained, judged and compared on the command line.

use std::fs;

use crate::common::{run, write_classes, write_recipe};

#[test]
fn a_run_without_labels_is_judged_by_what_labels_are_not_needed_for() {
    let scratch = tempfile::tempdir().unwrap();
    let at = |name: &str| scratch.path().join(name).display().to_string();
    write_classes(&scratch.path().join("train"), &["a", "b", "c"], 20);
    write_classes(&scratch.path().join("test"), &["a", "b", "c"], 8);
    let recipe = write_recipe(scratch.path(), "simclr").display().to_string();
    run(["train", "--data", &at("train"), "--recipe", &recipe, "--epochs", "2", "--out", &at("run")]).well();
    let eval = |more: &[&str]| {
        let found = ["--json", "eval", &at("run"), "--data", &at("test")].map(str::to_owned);
        let found = run(found.into_iter().chain(more.iter().map(|s| (*s).to_owned()))).well().json();
        found[0]["learned"].clone()
    };
    let alone = eval(&[]);
    assert!(alone["linear_probe_accuracy"].is_null(), "nothing to fit it to: {alone}");
    for name in ["alignment", "uniformity", "rank_me", "lidar"] {
        assert!(alone[name].as_f64().is_some_and(f64::is_finite), "{name}: {alone}");
    }
    let with = eval(&["--reference", &at("train")]);
    // The classes have colours of their own.
    assert!(with["linear_probe_accuracy"].as_f64().unwrap() > 0.6, "{with}");
    let behind = &with["behind_head"];
    assert!(behind["linear_probe_accuracy"].is_number() && behind["knn_accuracy"].is_number(), "{with}");
    let page = fs::read_to_string(scratch.path().join("run/report.html")).unwrap();
    assert!(page.contains("Spectrum of the embedding") && page.contains("linear_<wbr>probe"), "{page}");
}

#[test]
fn a_network_is_fine_tuned_on_few_labels_beside_a_probe_and_a_net_from_scratch() {
    let scratch = tempfile::tempdir().unwrap();
    let at = |name: &str| scratch.path().join(name).display().to_string();
    write_classes(&scratch.path().join("train"), &["a", "b", "c"], 20);
    write_classes(&scratch.path().join("test"), &["a", "b", "c"], 8);
    write_classes(&scratch.path().join("more"), &["a", "b", "c", "d"], 8);
    // Images that lie beside each other have no labels.
    write_classes(scratch.path(), &["flat"], 8);
    let recipe = write_recipe(scratch.path(), "simclr").display().to_string();
    run(["train", "--data", &at("train"), "--recipe", &recipe, "--epochs", "2", "--out", &at("run")]).well();
    let eval = |data: &str, reference: &str, more: &[&str]| {
        let (data, reference) = (at(data), at(reference));
        let found =
            ["--json", "eval", &at("run"), "--data", &data, "--reference", &reference].map(str::to_owned);
        let protocol = ["--protocol", "fine-tune"].iter().chain(more).map(|s| (*s).to_owned());
        run(found.into_iter().chain(protocol))
    };
    let few = ["--share", "0.2", "--epochs", "30"];
    let found = eval("test", "train", &few).well().json();
    let of = &found[0]["learned"][0];
    assert_eq!((&of["samples"], &of["epochs"], &of["steps"]), (&12.into(), &30.into(), &30.into()));
    // The classes have colours of their own.
    assert!(of["fine_tuned_accuracy"].as_f64().unwrap() > 0.6, "{of}");
    for name in ["linear_probe_accuracy", "from_scratch_accuracy"] {
        assert!((0.0..=1.0).contains(&of[name].as_f64().unwrap()), "{of}");
    }
    assert!(found[0]["baseline"][0]["linear_probe_accuracy"].is_number(), "{found:?}");
    let page = fs::read_to_string(scratch.path().join("run/report.html")).unwrap().replace("<wbr>", "");
    assert!(page.contains("fine_tuned_accuracy (20 %)") && page.contains("from_scratch_accuracy"), "{page}");
    assert_eq!(eval("test", "train", &few).well().json(), found, "the seed says all");
    // Of the shares of the paper, a hundredth is less than one image a class.
    let usual = eval("test", "train", &["--epochs", "1"]).well().json();
    assert_eq!(usual[0]["learned"].as_array().unwrap().len(), 1);
    assert!(usual[0]["notes"].to_string().contains("share = 0.01"), "{usual:?}");

    eval("test", "train", &["--share", "0.01"]).with(2, &["share = 0.01", "at least 0.05", "3 classes"]);
    eval("test", "train", &["--share", "1.5"]).with(2, &["share = 1.5"]);
    eval("test", "train", &["--flip"]).with(2, &["--flip"]);
    eval("more", "train", &few).with(2, &["the class d", "train"]);
    eval("test", "flat", &few).with(2, &["flat", "no labels"]);
    let alone = ["eval", &at("run"), "--data", &at("test"), "--protocol", "fine-tune"];
    run(alone).with(2, &["--reference"]);
    run(["eval", &at("run"), "--data", &at("test"), "--share", "0.1"]).with(2, &["--share", "fine-tune"]);
}

#[test]
fn support_vector_machines_read_classes_off_quadrants() {
    let scratch = tempfile::tempdir().unwrap();
    let at = |name: &str| scratch.path().join(name).display().to_string();
    write_classes(&scratch.path().join("train"), &["a", "b", "c"], 20);
    write_classes(&scratch.path().join("test"), &["a", "b", "c"], 8);
    let train = |method: &str, out: &str| {
        let recipe = write_recipe(scratch.path(), method).display().to_string();
        let known =
            ["train", "--data", &at("train"), "--recipe", &recipe, "--epochs", "1", "--out", &at(out)];
        run(known).well();
    };
    let eval = |model: &str, more: &[&str]| {
        let fixed = ["--json", "eval", &at(model), "--data", &at("test"), "--protocol", "quadrants"]
            .map(str::to_owned);
        run(fixed.into_iter().chain(more.iter().map(|s| (*s).to_owned())))
    };
    train("exemplar-cnn-patches", "run");
    // More patches than images, and the plan says so.
    let plan = fs::read_to_string(scratch.path().join("run/run.toml")).unwrap();
    assert!(plan.contains("samples = 60") && plan.contains("patch = [0.4"), "{plan}");
    let with = ["--reference", &at("train")];
    let found = eval("run", &with).well().json();
    let (learned, pixels) = (&found[0]["learned"], &found[0]["baseline"]);
    // Of a net 8 wide, 64 features a quadrant; the classes have colours of their own.
    assert_eq!((&learned["features"], &pixels["features"]), (&256.into(), &(3 * 24 * 24).into()));
    for of in [learned, pixels] {
        assert!(of["accuracy"].as_f64().unwrap() > 0.6 && of["c"].as_f64().unwrap() > 0.0, "{found:?}");
    }
    assert_eq!(eval("run", &with).well().json(), found);
    let page = fs::read_to_string(scratch.path().join("run/report.html")).unwrap();
    assert!(page.replace("<wbr>", "").contains("linear_svm_accuracy"), "{page}");

    eval("run", &[]).with(2, &["--reference"]);
    eval("run", &[&with[..], &["--flip"]].concat()).with(2, &["--flip", "quadrants"]);
    train("mae", "tokens");
    eval("tokens", &with).with(2, &["vit", "no map of features", "small-conv"]);
}

#[test]
fn a_comparison_on_known_classes_has_neighbours_a_probe_and_raw_pixels_and_goes_on() {
    let scratch = tempfile::tempdir().unwrap();
    let at = |name: &str| scratch.path().join(name).display().to_string();
    write_classes(&scratch.path().join("train"), &["a", "b", "c"], 20);
    write_classes(&scratch.path().join("test"), &["a", "b", "c"], 8);
    for method in ["simclr", "moco"] {
        let path = write_recipe(scratch.path(), method);
        fs::rename(path, scratch.path().join(format!("{method}.toml"))).unwrap();
    }
    let compare = || {
        let arguments = [
            "--json",
            "compare",
            &at("simclr.toml"),
            &at("moco.toml"),
            "--data",
            &at("train"),
            "--test",
            &at("test"),
            "--seeds",
            "1",
            "--epochs",
            "1",
            "--out",
            &at("out"),
        ];
        run(arguments).well().json()
    };
    let found = compare();
    assert_eq!(found.len(), 3, "two methods and raw pixels: {found:?}");
    for row in &found {
        for name in ["knn-accuracy", "linear-probe-accuracy"] {
            let value = row["known_classes"][name].as_f64().unwrap();
            assert!((0.0..=1.0).contains(&value), "{row}");
        }
    }
    assert!(found[0]["known_classes"]["behind-head"].is_array(), "{found:?}");
    assert_eq!(found[2]["name"], "raw pixels");
    // What is finished is not done again: even its time is the same.
    assert_eq!(compare(), found);
}
