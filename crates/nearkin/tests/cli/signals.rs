//! Sounds and series from files to reports, as a user types it.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;

use hound::{SampleFormat, WavSpec, WavWriter};

use crate::common::{losses, nearkin, run};

const NAMES: &str = "{label}_{speaker}_{index}";

fn text(path: &Path) -> &str {
    path.to_str().unwrap()
}

/// Tones named as the spoken digits are: the digit is the pitch, the speaker the overtone.
pub(crate) fn write_sounds(root: &Path, per_speaker: u32) {
    fs::create_dir_all(root).unwrap();
    for (digit, speaker, index) in
        (0..3).flat_map(|d| (0..2).flat_map(move |s| (0..per_speaker).map(move |i| (d, s, i))))
    {
        let spec =
            WavSpec { channels: 1, sample_rate: 8000, bits_per_sample: 16, sample_format: SampleFormat::Int };
        let path = root.join(format!("{digit}_{}_{index}.wav", ["ann", "bob"][speaker as usize]));
        let mut writer = WavWriter::create(path, spec).unwrap();
        for i in 0..1500 + 40 * index {
            let turn = (i + 13 * index) as f32 * (200 + 150 * digit) as f32 / 8000.0 * std::f32::consts::TAU;
            let value = turn.sin() + 0.5 * (turn * (2 + speaker) as f32).sin();
            writer.write_sample((value * 8000.0) as i16).unwrap();
        }
        writer.finalize().unwrap();
    }
}

/// A net of sounds that trains in seconds.
pub(crate) fn write_recipe(folder: &Path, method: &str, more: &str) -> PathBuf {
    let path = folder.join("recipe.toml");
    let text = format!(
        "seed = 5\nepochs = 4\nnames = \"{NAMES}\"\n[method]\n{method}\n[encoder]\nkind = \"cpc-audio\"\nwidth = 8\n\
         context = {{ kind = \"gru\", width = 12 }}\n[signal]\nlength = 1120\n{more}"
    );
    fs::write(&path, text).unwrap();
    path
}

pub(crate) const CPC: &str = "kind = \"cpc\"\nbatch = 6\nahead = 3";

#[test]
fn sounds_go_the_whole_way_from_names_to_a_report() {
    let dir = tempfile::tempdir().unwrap();
    let at = |name: &str| dir.path().join(name);
    write_sounds(&at("sounds"), 6);
    let seen = run(["data", text(&at("sounds")), "--names", NAMES, "--json"]).well().json();
    assert_eq!((&seen[0]["media"], &seen[0]["count"]), (&"sounds".into(), &36.into()));
    assert_eq!(seen[0]["rates"][0]["rate"], 8000);
    let table = run(["data", text(&at("sounds")), "--names", NAMES]).well().stdout;
    assert!(table.contains("8,000 Hz (36)") && table.contains("speaker, index"), "{table}");

    let recipe = write_recipe(dir.path(), CPC, "");
    let (sounds, out) = (at("sounds"), at("run"));
    let split = ["--split", "index=2.."];
    let train = ["train", "--data", text(&sounds), "--recipe", text(&recipe), "--out", text(&out), "--json"];
    let trained = run([&train[..], &split].concat()).well().json();
    let plan = &trained[0]["plan"];
    assert_eq!(
        (&plan["samples"], &plan["media"], &plan["size"]),
        (&24.into(), &"sounds".into(), &1120.into())
    );
    assert_eq!((&plan["batch"], &plan["views"]), (&6.into(), &1.into()));
    let card = fs::read_to_string(out.join("model/model.toml")).unwrap();
    assert!(
        card.contains("[signal]") && card.contains("rate = 8000") && card.contains("ahead = 3"),
        "{card}"
    );

    let measured = ["eval", text(&out), "--data", text(&sounds), "--part", "test", "--json"];
    let found = run(measured).well().json();
    assert_eq!(found[0]["baseline_name"], "raw values");
    let report = fs::read_to_string(out.join("report.html")).unwrap();
    assert!(report.contains("12 sounds"), "the report says what was measured");

    let few = ["--reference", text(&sounds), "--names", NAMES, "--protocol", "fine-tune", "--share", "0.5"];
    let tuned = run([&measured[..], &few, &["--epochs", "2"]].concat()).well().json();
    assert_eq!(tuned[0]["learned"][0]["samples"], 18, "{tuned:?}");
    assert!(tuned[0]["learned"][0]["fine_tuned_accuracy"].is_number());

    let vectors = at("all.npy");
    let embed =
        ["embed", text(&out), "--data", text(&sounds), "--names", NAMES, "--out", text(&vectors), "--json"];
    let mean = run(embed).well().json();
    assert_eq!((&mean[0]["rows"], &mean[0]["dimension"]), (&36.into(), &12.into()));
    let last = run([&embed[..], &["--contexts", "last"]].concat()).well().json();
    assert_eq!(last[0]["rows"], 36);
    let all = run([&embed[..], &["--contexts", "all"]].concat()).well().json();
    // 1500 + 40 · index steps, a frame for 160.
    let frames: u64 = (0..6).map(|index| 6 * (1500u64 + 40 * index).div_ceil(160)).sum();
    assert!(all[0]["rows"].as_u64().unwrap().abs_diff(frames) <= 36, "{all:?} {frames}");

    // What the model does not take is refused by name.
    run(["embed", text(&out), "--data", "data/fashion-mnist#0..20", "--out", text(&at("x.npy"))])
        .with(2, &["takes sounds", "holds images"]);
    run(["eval", text(&out), "--data", text(&sounds), "--part", "test", "--flip"]).with(2, &["mirror image"]);
}

#[test]
fn labelled_methods_learn_from_sounds_and_simclr_from_series() {
    let dir = tempfile::tempdir().unwrap();
    let at = |name: &str| dir.path().join(name);
    write_sounds(&at("sounds"), 6);
    let supcon = "kind = \"supcon\"\nclasses = 3\nper-class = 4";
    let recipe = write_recipe(dir.path(), supcon, "views = { gain = [-6.0, 6.0], noise = 0.1 }\n");
    let sounds = at("sounds");
    run(["train", "--data", text(&sounds), "--recipe", text(&recipe), "--out", text(&at("supcon"))]).well();

    let series = at("Waves_TRAIN.ts");
    let wave = |turns: usize, i: usize| ((i * turns) as f32 * 0.1).sin() + 0.01 * i as f32;
    let line = |n: usize| {
        let values: Vec<String> = (0..40).map(|i| format!("{:.4}", wave(1 + n % 2, i + n))).collect();
        format!("{}:{}\n", values.join(","), n % 2)
    };
    let lines: String = (0..24).map(line).collect();
    fs::write(&series, format!("@univariate true\n@classLabel true 0 1\n@data\n{lines}")).unwrap();
    let out = at("simclr");
    let train = [
        "train",
        "--data",
        text(&series),
        "--method",
        "simclr",
        "--epochs",
        "2",
        "--out",
        text(&out),
        "--json",
    ];
    let plan = &run(train).well().json()[0]["plan"];
    assert_eq!((&plan["media"], &plan["size"], &plan["views"]), (&"series".into(), &40.into(), &2.into()));
    let found = run(["eval", text(&out), "--data", text(&series), "--knn", "1", "--json"]).well().json();
    assert!(found[0]["learned"].is_object());
    let masked =
        "[method]\nkind = \"simclr\"\n[signal.views]\nspec-augment = { time-masks = 1, time-width = 0.2 }\n";
    fs::write(at("masked.toml"), masked).unwrap();
    let (recipe, never) = (at("masked.toml"), at("never"));
    run(["train", "--data", text(&series), "--recipe", text(&recipe), "--out", text(&never)])
        .with(2, &["signal.views.spec-augment", "series"]);
}

#[test]
fn media_and_settings_that_do_not_fit_are_refused_by_name() {
    let dir = tempfile::tempdir().unwrap();
    let at = |name: &str| dir.path().join(name);
    write_sounds(&at("sounds"), 3);
    let (sounds, out) = (at("sounds"), at("run"));
    let with = |recipe: &str, data: &str| {
        fs::write(at("recipe.toml"), recipe).unwrap();
        run(["train", "--data", data, "--recipe", text(&at("recipe.toml")), "--out", text(&out)])
    };
    let images = "data/fashion-mnist#0..50";
    let cpc = "[method]\nkind = \"cpc\"\n";
    with(&format!("{cpc}[encoder]\nkind = \"resnet18\"\n"), images)
        .with(2, &["encoder = resnet18", "cpc-patches"]);
    with(&format!("{cpc}ahead = 7\n"), images).with(2, &["method.ahead = 7", "7 rows"]);
    with(&format!("{cpc}[encoder]\nkind = \"cpc-patches\"\ngrid = 40\n"), images)
        .with(2, &["encoder.grid is 40", "28 pixels"]);
    with("[method]\nkind = \"simclr\"\n[encoder]\nkind = \"series\"\n", images)
        .with(2, &["encoder = series", "images"]);
    with("[method]\nkind = \"simclr\"\n[signal]\nrate = 8000\n", images).with(2, &["signal", "images"]);
    with(&format!("{cpc}[encoder]\nkind = \"resnet18\"\n"), text(&sounds))
        .with(2, &["encoder = resnet18", "sounds"]);
    with(&format!("size = 32\n{cpc}"), text(&sounds)).with(2, &["size = 32", "signal.length"]);
    with(&format!("{cpc}[views]\nflip = 0.5\n"), text(&sounds)).with(2, &["views", "signal.views"]);
    with(&format!("{cpc}[signal]\nlength = 800\n"), text(&sounds))
        .with(2, &["signal.length = 800", "13 frames"]);
    with(&format!("names = \"{NAMES}\"\nkin = {{ same = \"speaker\" }}\n{cpc}"), text(&sounds))
        .with(2, &["kin"]);
    with(&format!("{cpc}ahead = 0\n"), text(&sounds)).with(2, &["method.ahead = 0"]);
    with("[method]\nkind = \"exemplar-cnn\"\npatch = [0.5, 1.0]\n", text(&sounds))
        .with(2, &["method.patch", "sounds have no patches"]);
    let nearest = "kin = { neighbours = 2 }\n[method]\nkind = \"drlim\"\nclasses = 4\n";
    with(nearest, text(&sounds)).with(1, &["holds sounds, wanted images"]);
    run(["data", text(&sounds), "--names", "{label}-{x}"]).with(1, &["{label}-{x}", "18 of 18"]);
    run(["data", text(&sounds), "--names", "{label"]).with(2, &["--names"]);
    assert!(!out.exists());
}

/// The model's weights and the loss of every step.
fn outcome(run: &Path) -> (Vec<u8>, Vec<f64>) {
    (fs::read(run.join("model/model.safetensors")).unwrap_or_default(), losses(run))
}

#[test]
#[cfg(unix)]
fn cpc_killed_and_resumed_ends_with_the_same_bits() {
    let dir = tempfile::tempdir().unwrap();
    let at = |name: &str| dir.path().join(name);
    write_sounds(&at("sounds"), 10);
    let masks = "{ frequency-masks = 1, frequency-width = 0.3, time-masks = 1, time-width = 0.2 }";
    let views = format!("views = {{ noise = 0.1, spec-augment = {masks} }}\n");
    let recipe = write_recipe(dir.path(), CPC, &views);
    let train = |out: &Path, threads: &str| {
        let mut command = nearkin();
        command.args(["train", "--quiet", "--threads", threads, "--data", text(&at("sounds"))]);
        command.args(["--recipe", text(&recipe), "--out", text(out)]);
        command
    };
    assert!(train(&at("whole"), "1").status().unwrap().success());
    let wanted = outcome(&at("whole"));
    assert_eq!(wanted.1.len(), 4 * 10);
    assert!(train(&at("two"), "2").status().unwrap().success());
    assert!(outcome(&at("two")) == wanted, "two threads differ from one");
    for step in [3, 14] {
        let out = at(&format!("killed-{step}"));
        let mut child = train(&out, "2").stderr(Stdio::null()).stdout(Stdio::null()).spawn().unwrap();
        while outcome(&out).1.len() < step {
            assert!(child.try_wait().unwrap().is_none(), "the training ended before step {step}");
            std::thread::sleep(Duration::from_millis(1));
        }
        child.kill().unwrap(); // SIGKILL
        child.wait().unwrap();
        assert!(outcome(&out).1.len() < wanted.1.len(), "killed in the middle");
        run(["train", "--quiet", "--resume", text(&out)]).well();
        assert!(outcome(&out) == wanted, "killed after step {step}");
    }
}

#[test]
fn the_experiments_on_sound_and_series_run_on_what_has_their_form() {
    let dir = tempfile::tempdir().unwrap();
    let at = |name: &str| dir.path().join(name);
    run(["reproduce", "cpc"]).with(2, &["--data", "Free Spoken Digit"]);
    write_sounds(&at("sounds"), 8);
    let (sounds, out) = (at("sounds"), at("out"));
    // Whatever it finds on tones, it measures it and writes its page.
    let ended =
        run(["reproduce", "cpc", "--data", text(&sounds), "--epochs", "1", "--out", text(&out), "--json"]);
    let lines = ended.json();
    let of = |event: &str| lines.iter().filter(|line| line["event"] == event).count();
    assert_eq!((of("finding"), of("table"), of("reproduced")), (6, 3, 1), "{ended:#?}");
    assert!(out.join("cpc.png").exists());
}
