//! `nearkin reproduce` and the pictures it draws, from outside.

use std::fs;
use std::path::Path;

use crate::common::{run, write_classes};

fn text(path: &Path) -> &str {
    path.to_str().unwrap()
}

#[test]
fn the_pose_experiment_runs_without_data_and_says_what_does_not_hold() {
    let dir = tempfile::tempdir().unwrap();
    let out = dir.path().join("pose");
    // One epoch is far too few for a cylinder: the page is written, and the exit code says so.
    let ended = run(["reproduce", "drlim-pose", "--epochs", "1", "--out", text(&out), "--json"]);
    let ended = ended.with(1, &["findings of drlim-pose do not hold"]);
    let lines = ended.json();
    let findings: Vec<_> = lines.iter().filter(|line| line["event"] == "finding").collect();
    assert_eq!(findings.len(), 4);
    for finding in &findings {
        let value = finding["value"].as_f64().unwrap();
        assert!((0.0..=1.0).contains(&value), "{finding}");
        let wanted = finding["wanted"].as_str().unwrap();
        let holds = match wanted {
            "at least 0.95" => value >= 0.95,
            "at most 0.05" => value <= 0.05,
            other => panic!("{other}"),
        };
        assert_eq!(finding["holds"], holds);
    }
    let done = lines.iter().find(|line| line["event"] == "reproduced").unwrap();
    assert_eq!(done["holds"], false);
    assert_eq!(lines.iter().filter(|line| line["event"] == "table").count(), 1);

    let page = fs::read_to_string(out.join("drlim-pose.md")).unwrap();
    assert!(page.contains("**does not hold**") && page.contains("](drlim-pose.png)"), "{page}");
    assert!(page.contains("660 views to fit to, 312 unseen"), "{page}");
    let png = image::open(out.join("drlim-pose.png")).unwrap();
    assert!(png.width() > 1000 && png.height() > 500);
    assert!(
        fs::read_to_string(out.join("drlim-pose.svg")).unwrap().contains("DrLIM: along its axis, lighting")
    );
    assert!(out.join("run/model/model.toml").exists());

    // The folder is taken now.
    run(["reproduce", "drlim-pose", "--epochs", "1", "--out", text(&out)]).with(2, &["pose"]);
}

#[test]
fn experiments_say_what_data_they_want() {
    run(["reproduce", "drlim-4v9"]).with(2, &["--data", "MNIST"]);
    run(["reproduce", "drlim-pose", "--data", "data"]).with(2, &["makes its own data"]);
    run(["reproduce", "drlim-pose", "--epochs", "0"]).with(2, &["--epochs"]);
    run(["reproduce", "drlim-5v8"]).with(2, &["drlim-4v9", "drlim-shift", "drlim-pose"]);

    let dir = tempfile::tempdir().unwrap();
    let out = dir.path().join("out");
    // Clothes, and one split of them.
    let ended = run(["reproduce", "drlim-shift", "--data", "data/fashion-mnist", "--out", text(&out)]);
    ended.with(2, &["fours and nines", "wanted is MNIST"]);
    let ended = run(["reproduce", "drlim-4v9", "--data", "nowhere", "--out", text(&dir.path().join("b"))]);
    ended.with(1, &["nowhere"]);
}

#[test]
fn a_supervised_experiment_runs_on_a_folder_of_characters() {
    let dir = tempfile::tempdir().unwrap();
    let (characters, out) = (dir.path().join("characters"), dir.path().join("out"));
    let classes: Vec<String> = (0..40).map(|i| format!("c{i:02}")).collect();
    write_classes(&characters, &classes.iter().map(String::as_str).collect::<Vec<_>>(), 6);
    run(["reproduce", "facenet"]).with(2, &["--data", "Omniglot"]);
    let arguments =
        ["reproduce", "n-pair", "--data", text(&characters), "--epochs", "1", "--out", text(&out), "--json"];
    // Whatever it finds on made-up images, it measures it and writes its page.
    let ended = run(arguments);
    let lines = ended.json();
    let of = |event: &str| lines.iter().filter(|line| line["event"] == event).count();
    assert_eq!((of("finding"), of("table"), of("reproduced")), (2, 1, 1), "{ended:#?}");
    let table = lines.iter().find(|line| line["event"] == "table").unwrap();
    assert_eq!(table["table"]["rows"].as_array().unwrap().len(), 4);
    let page = fs::read_to_string(out.join("n-pair.md")).unwrap();
    assert!(page.contains("120 drawings of 20 characters, none of them seen in training"), "{page}");
    assert!(image::open(out.join("n-pair.png")).unwrap().width() > 500);
}

#[test]
fn the_grid_of_simclrs_views_is_trained_measured_and_drawn() {
    let dir = tempfile::tempdir().unwrap();
    let (photos, out) = (dir.path().join("photos"), dir.path().join("grid"));
    let classes = ["a", "b", "c"];
    write_classes(&photos, &classes, 12);
    let of = |class: &str| {
        let line =
            |i: u32| format!("photos/{class}/{i:03}.png,{class},{}\n", if i < 8 { "train" } else { "test" });
        (0..12).map(line).collect::<String>()
    };
    let list = dir.path().join("photos.csv");
    fs::write(&list, format!("path,label,split\n{}", classes.map(of).concat())).unwrap();
    run(["reproduce", "simclr-views"]).with(2, &["--data", "CIFAR-10"]);
    let arguments =
        ["reproduce", "simclr-views", "--data", text(&list), "--epochs", "1", "--out", text(&out), "--json"];
    // Whatever it finds on made-up images, it measures it and writes its page.
    let ended = run(arguments);
    let lines = ended.json();
    let table = lines.iter().find(|line| line["event"] == "table").unwrap();
    let rows = table["table"]["rows"].as_array().unwrap();
    assert_eq!(rows.len(), 6, "{ended:#?}");
    for (at, row) in rows.iter().enumerate() {
        let values = row[1].as_array().unwrap();
        assert!(
            values.len() == 6 && values.iter().all(|v| (0.0..=1.0).contains(&v.as_f64().unwrap())),
            "{row}"
        );
        assert_eq!(values[0], rows[0][1][at], "a pair has one value: {row}");
    }
    let findings: Vec<_> = lines.iter().filter(|line| line["event"] == "finding").collect();
    assert_eq!(findings.len(), 2);
    let both = rows[0][1][1].as_f64().unwrap();
    assert_eq!(findings[0]["value"].as_f64().unwrap(), both - rows[0][1][0].as_f64().unwrap());
    assert!(image::open(out.join("simclr-views.png")).unwrap().width() > 300);
    assert!(out.join("run-crop-colour/model/model.toml").exists() && out.join("run-turn/model").exists());
}

#[test]
fn the_airplane_is_drawn_into_a_folder_that_opens_as_data() {
    let dir = tempfile::tempdir().unwrap();
    let out = dir.path().join("poses");
    let drawn = run(["data", "render-poses", text(&out), "--size", "16", "--json"]).well();
    assert_eq!(drawn.json()[0]["images"], 972);
    let manifest = out.join("annotations.csv");
    let header = fs::read_to_string(&manifest).unwrap().lines().next().unwrap().to_owned();
    assert_eq!(header, "path,azimuth,elevation,lighting");
    let shown = run(["data", text(&manifest), "--json"]).well();
    assert_eq!(shown.json()[0]["count"], 972);
    run(["data", "render-poses", text(&out)]).with(1, &["empty"]);
    run(["data", "render-poses", text(&dir.path().join("small")), "--size", "4"]).with(1, &["8 to 1024"]);
    run(["data"]).with(2, &["PATH"]);
}
