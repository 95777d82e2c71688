//! Parts of one data set, and what `nearkin eval` measures on them, from outside.

use std::fs;
use std::path::{Path, PathBuf};

use crate::common::{Ended, run, write_classes, write_recipe};

const CLASSES: [&str; 8] = ["bowl", "cup", "fork", "glass", "jug", "pan", "plate", "spoon"];
const EACH: u32 = 12;

/// A folder of images, the cameras that took them, and a run that learned from half of the classes.
struct Scene {
    folder: tempfile::TempDir,
}

impl Scene {
    fn new() -> Self {
        let scene = Self { folder: tempfile::tempdir().unwrap() };
        write_classes(&scene.at("photos"), &CLASSES, EACH);
        let mut cameras = String::from("id,camera\n");
        for class in CLASSES {
            for i in 0..EACH {
                cameras += &format!("{class}/{i:03}.png,{}\n", i % 3);
            }
        }
        fs::write(scene.at("cameras.csv"), cameras).unwrap();
        write_recipe(scene.folder.path(), "supcon");
        scene
    }

    fn trained(self, split: &str) -> Self {
        self.train(split, "run").well();
        self
    }

    fn train(&self, split: &str, out: &str) -> Ended {
        let [data, recipe, out] = ["photos", "recipe.toml", out].map(|name| self.text(name));
        run(["--json", "train", "--data", &data, "--recipe", &recipe, "--split", split, "--out", &out])
    }

    fn eval(&self, more: &[&str]) -> Ended {
        let [model, data] = ["run", "photos"].map(|name| self.text(name));
        run(["--json", "eval", &model, "--data", &data].iter().chain(more))
    }

    fn at(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    fn text(&self, name: &str) -> String {
        self.at(name).to_str().unwrap().to_owned()
    }
}

fn rows_of(page: &Path) -> String {
    fs::read_to_string(page).unwrap().replace("<wbr>", "")
}

#[test]
fn one_folder_gives_a_part_to_learn_from_and_one_to_be_measured_on() {
    let scene = Scene::new().trained("class-fraction=0.5");
    let recipe = fs::read_to_string(scene.at("run/run.toml")).unwrap();
    assert!(recipe.contains("class-fraction = 0.5"), "{recipe}");
    let notes = |ended: Ended| ended.well().json()[0]["notes"].to_string();
    let unseen = notes(scene.eval(&["--part", "test"]));
    assert!(unseen.contains("none of the 4 classes was seen"), "{unseen}");
    let seen = notes(scene.eval(&["--part", "train"]));
    assert!(seen.contains("the data that the model was trained on"), "{seen}");
    let whole = notes(scene.eval(&[]));
    assert!(whole.contains("4 of the 8 classes were seen") && whole.contains("--part test"), "{whole}");

    // A resumed run finds its part again.
    run(["train", "--resume", &scene.text("run")]).well();

    scene.train("class-fraction=1.5", "never").with(2, &["--split", "less than 1"]);
    scene.train("halves", "never").with(2, &["--split", "class-fraction=0.5"]);
    scene.train("classes=cup,sword", "never").with(1, &["sword", "bowl"]);
    scene.train("camera=1", "never").with(1, &["camera"]);
    assert!(!scene.at("never").exists());
}

#[test]
fn a_split_by_attribute_reads_the_attributes_that_the_recipe_names() {
    let scene = Scene::new();
    let [data, recipe, out, cameras] =
        ["photos", "recipe.toml", "run", "cameras.csv"].map(|name| scene.text(name));
    let train = [
        "--json",
        "train",
        "--data",
        &data,
        "--recipe",
        &recipe,
        "--split",
        "camera=0,1",
        "--attributes",
        &cameras,
        "--out",
        &out,
    ];
    assert_eq!(run(train).well().json()[0]["plan"]["samples"], 64);
    let found = scene.eval(&["--part", "test"]).well().json();
    assert!(found[0]["notes"].to_string().contains("all 8 classes were seen"), "{found:?}");
    run(["train", "--resume", &out]).well();
    scene.eval(&["--part", "valid"]).with(2, &["--part", "train, test"]);
}

#[test]
fn a_run_without_a_split_has_no_parts() {
    let scene = Scene::new();
    let [data, recipe, out] = ["photos", "recipe.toml", "run"].map(|name| scene.text(name));
    run(["train", "--data", &data, "--recipe", &recipe, "--epochs", "1", "--out", &out]).well();
    scene.eval(&["--part", "test"]).with(2, &["has no split"]);
    let model = scene.text("run/model");
    run(["eval", &model, "--data", &data, "--part", "test"]).with(2, &["no run", "--part"]);
}

#[test]
fn every_protocol_prints_its_measures_and_writes_its_report() {
    let scene = Scene::new().trained("classes=0-3");
    let measured = |more: &[&str]| {
        let found = scene.eval(&[&["--part", "test"], more].concat()).well().json();
        let page = rows_of(&scene.at("run/report.html"));
        (found[0].clone(), page)
    };
    let share = |value: &serde_json::Value| {
        let value = value.as_f64().unwrap();
        assert!((0.0..=1.0).contains(&value), "{value}");
        value
    };

    let (found, page) = measured(&["--protocol", "verification"]);
    let learned = &found["learned"];
    assert_eq!((&learned["kin_pairs"], &learned["stranger_pairs"]), (&264.into(), &864.into()));
    let points = learned["operating_points"].as_array().unwrap();
    for (point, wanted) in points.iter().zip([0.1, 0.01, 0.001]) {
        assert_eq!(point["wanted_false_accept_rate"], wanted);
        assert!(share(&point["false_accept_rate"]) <= wanted);
        share(&point["true_accept_rate"]);
    }
    assert!(share(&learned["area_under_curve"]) > 0.5);
    assert!(page.contains("tar_at_far_1e-2") && page.contains("ROC"), "the page has the curve");
    // Four classes do not fill ten folds of twelve images a class.
    assert!(learned["accuracy"].is_null() || share(&learned["accuracy"]["mean"]) >= 0.0);

    let (found, page) = measured(&["--protocol", "reid"]);
    let alone = share(&found["learned"]["cmc_at_k"]["1"]);
    assert_eq!(found["learned"]["queries"], 48);
    assert!(page.contains("cmc_at_10") && page.contains("CMC"));
    // Without cameras, the first rank is precision@1.
    let (retrieved, _) = measured(&[]);
    assert!((alone - share(&retrieved["learned"]["precision_at_1"])).abs() < 1e-9);
    let cameras = scene.text("cameras.csv");
    let with_cameras = ["--protocol", "reid", "--attributes", &cameras, "--camera", "camera"];
    let (found, _) = measured(&with_cameras);
    assert_eq!(found["learned"]["queries"], 48);
    let (found, _) = measured(&[&with_cameras[..], &["--multi-query", "--rerank", "--flip"]].concat());
    assert_eq!(found["learned"]["queries"], 12, "four classes under three cameras");
    share(&found["learned"]["mean_average_precision"]);

    let (found, page) = measured(&["--protocol", "clustering"]);
    assert_eq!(found["learned"]["clusters"], 4);
    assert!(page.contains("b_cubed_f1"));

    // Four classes are too few for five ways.
    scene.eval(&["--part", "test", "--protocol", "few-shot"]).with(2, &["4 classes", "5-way"]);
    let found = scene.eval(&["--protocol", "few-shot"]).well().json();
    assert_eq!(found[0]["learned"].as_array().unwrap().len(), 2);
    assert!(found[0]["notes"].to_string().contains("20-way 1-shot is left out"));
    share(&found[0]["learned"][1]["accuracy"]);
}

#[test]
fn settings_of_another_protocol_and_data_that_does_not_fit_are_refused() {
    let scene = Scene::new().trained("classes=0-3");
    scene.eval(&["--camera", "camera"]).with(2, &["--camera is a setting of --protocol reid"]);
    scene.eval(&["--protocol", "clustering", "--knn", "3"]).with(2, &["--knn", "--protocol retrieval"]);
    scene.eval(&["--protocol", "reid", "--camera", "camera"]).with(2, &["no attribute \"camera\""]);
    scene.eval(&["--protocol", "reid", "--multi-query"]).with(2, &["--multi-query", "--camera"]);
    let photos = scene.text("photos");
    scene.eval(&["--protocol", "verification", "--reference", &photos]).with(2, &["leave out --reference"]);
    scene.eval(&["--protocol", "chess"]).with(2, &["chess", "few-shot"]);
    scene.eval(&["--attributes", "nowhere.csv"]).with(1, &["nowhere.csv"]);
    fs::write(scene.at("cameras.csv"), "id,camera\nbowl/000.png,1\n").unwrap();
    let cameras = scene.text("cameras.csv");
    let some = ["--protocol", "reid", "--camera", "camera", "--attributes", &cameras];
    scene.eval(&some).with(2, &["bowl/001.png has no camera"]);
}

#[test]
fn a_comparison_measures_what_its_split_keeps() {
    let scene = Scene::new();
    let recipe = fs::read_to_string(scene.at("recipe.toml")).unwrap();
    let [one, two, data, out] = ["one.toml", "two.toml", "photos", "runs"].map(|name| scene.text(name));
    for path in [&one, &two] {
        fs::write(path, &recipe).unwrap();
    }
    let compare = |more: &[&str]| {
        let fixed = [
            "--json", "compare", &one, &two, "--data", &data, "--seeds", "2", "--epochs", "1", "--out", &out,
        ];
        run(fixed.iter().chain(more))
    };
    compare(&[]).with(2, &["has no split"]);
    let scores = compare(&["--split", "class-fraction=0.5"]).well().json();
    assert_eq!(scores.len(), 4);
    // Two names of one recipe, on the same classes.
    assert_eq!(scores[0]["mean_average_precision_at_r"], scores[1]["mean_average_precision_at_r"]);
    compare(&["--split", "class-fraction=0.25"]).with(1, &["another recipe"]);
    compare(&["--split", "classes=0-3", "--test", &data]).with(2, &["--split", "--test"]);
    fs::write(&two, format!("split = {{ classes = \"0-3\" }}\n{recipe}")).unwrap();
    compare(&[]).with(2, &["one and two", "split"]);
}
