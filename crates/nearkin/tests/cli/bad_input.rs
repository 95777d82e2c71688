//! Bad input of every kind, as a user meets it: one clear message and the right exit code, or a skipped file that is
//! counted and listed; never a panic, never a broken run folder.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use crate::common::{Ended, nearkin, run, write_classes, write_recipe};

const CLASSES: [&str; 3] = ["cup", "fork", "plate"];

/// A folder of good images, a recipe, and where a run would go.
struct Scene {
    folder: tempfile::TempDir,
    photos: PathBuf,
    recipe: PathBuf,
    out: PathBuf,
}

impl Scene {
    fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let (photos, out) = (folder.path().join("photos"), folder.path().join("run"));
        write_classes(&photos, &CLASSES, 12);
        let recipe = write_recipe(folder.path(), "supcon");
        Self { folder, photos, recipe, out }
    }

    fn train(&self, data: &Path) -> Ended {
        run([
            "train".as_ref(),
            "--epochs".as_ref(),
            "1".as_ref(),
            "--data".as_ref(),
            data.as_os_str(),
            "--recipe".as_ref(),
            self.recipe.as_os_str(),
            "--out".as_ref(),
            self.out.as_os_str(),
        ])
    }

    fn resume(&self) -> Ended {
        run(["train".as_ref(), "--resume".as_ref(), self.out.as_os_str()])
    }

    fn trained(self) -> Self {
        self.train(&self.photos).well();
        self
    }
}

#[test]
fn broken_images_are_skipped_and_listed_until_there_are_too_many() {
    let scene = Scene::new();
    let whole = scene.photos.join("cup/000.png");
    let jpeg = scene.photos.join("cup/cut.jpg");
    image::open(&whole).unwrap().to_rgb8().save(&jpeg).unwrap();
    let bytes = fs::read(&jpeg).unwrap();
    fs::write(&jpeg, &bytes[..bytes.len() * 2 / 3]).unwrap();
    let ended = scene.train(&scene.photos).well();
    assert!(
        ended.stderr.contains("skipped 1 unreadable images") && ended.stderr.contains("cup/cut.jpg"),
        "{ended:#?}"
    );
    assert!(ended.stderr.contains("truncated"), "{ended:#?}");

    fs::remove_dir_all(&scene.out).unwrap();
    fs::write(scene.photos.join("fork/text.png"), "not a picture at all").unwrap();
    scene
        .train(&scene.photos)
        .with(1, &["more than 1 broken images", "cut.jpg", "fork/text.png: not an image"]);
    assert!(!scene.out.exists(), "a training that never began left a run folder");
}

#[test]
fn a_picture_of_108_megapixels_is_skipped_before_it_is_decoded() {
    let scene = Scene::new();
    image::GrayImage::new(12_000, 9_000).save(scene.photos.join("plate/huge.png")).unwrap();
    let ended = scene.train(&scene.photos).well();
    assert!(ended.stderr.contains("huge.png: the image is 12000x9000: more than"), "{ended:#?}");
}

#[test]
fn a_picture_of_one_pixel_is_a_picture() {
    let scene = Scene::new();
    image::RgbImage::new(1, 1).save(scene.photos.join("plate/dot.png")).unwrap();
    let ended = scene.train(&scene.photos).well();
    assert!(ended.stderr.contains("37 images") && !ended.stderr.contains("skipped"), "{ended:#?}");
}

#[test]
fn an_empty_class_folder_is_a_warning() {
    let scene = Scene::new();
    fs::create_dir(scene.photos.join("saucer")).unwrap();
    let ended = scene.train(&scene.photos).well();
    assert!(ended.stderr.contains("1 folders hold no images and become no class: saucer"), "{ended:#?}");
}

#[test]
fn a_single_class_teaches_nothing() {
    let scene = Scene::new();
    for class in &CLASSES[1..] {
        fs::remove_dir_all(scene.photos.join(class)).unwrap();
    }
    scene.train(&scene.photos).with(2, &["one class", "at least 2"]);
    assert!(!scene.out.exists());
}

#[test]
fn a_folder_without_images_says_what_it_holds() {
    let scene = Scene::new();
    let empty = scene.folder.path().join("nothing");
    fs::create_dir(&empty).unwrap();
    scene.train(&empty).with(1, &["nothing: no samples", "0 folders and 0 files"]);
    scene.train(Path::new("/nowhere/at/all")).with(1, &["/nowhere/at/all", "cannot read"]);
}

#[test]
fn a_manifest_with_a_missing_file_or_a_gap_names_the_line() {
    let scene = Scene::new();
    let manifest = scene.folder.path().join("photos.csv");
    fs::write(&manifest, "path,label\nphotos/cup/000.png,cup\nphotos/cup/gone.png,cup\n").unwrap();
    scene.train(&manifest).with(1, &["photos.csv: line 3", "gone.png", "1 of 2 files do not exist"]);
    fs::write(&manifest, "path,label\nphotos/cup/000.png,cup\nphotos/cup/001.png,\n").unwrap();
    scene.train(&manifest).with(1, &["photos.csv: line 3", "\"label\" is empty in 1 of 2 lines"]);
    fs::write(&manifest, "file,label\nphotos/cup/000.png,cup\n").unwrap();
    scene.train(&manifest).with(1, &["line 1", "no column \"path\"", "file,label"]);
    assert!(!scene.out.exists());
}

#[test]
fn a_misspelt_key_in_a_recipe_is_named_with_its_line() {
    let scene = Scene::new();
    let text = fs::read_to_string(&scene.recipe).unwrap();
    fs::write(&scene.recipe, text.replace("hold-out", "holdout")).unwrap();
    scene.train(&scene.photos).with(2, &["recipe.toml", "line 3", "holdout"]);
    fs::write(&scene.recipe, text.replace("per-class = 4", "per-class = 0")).unwrap();
    scene.train(&scene.photos).with(2, &["per-class = 0", "at least"]);
    assert!(!scene.out.exists());
}

#[test]
fn a_run_folder_is_never_overwritten() {
    let scene = Scene::new().trained();
    let before = fs::read(scene.out.join("model/model.safetensors")).unwrap();
    scene.train(&scene.photos).with(2, &["already exists", "--resume"]);
    assert_eq!(fs::read(scene.out.join("model/model.safetensors")).unwrap(), before);
    let file = scene.folder.path().join("file");
    fs::write(&file, "x").unwrap();
    let in_a_file = Scene { out: file.join("run"), ..scene };
    in_a_file.train(&in_a_file.photos).with(1, &["file/run"]);
}

#[test]
fn a_corrupt_checkpoint_is_refused_and_the_one_before_it_offered() {
    let scene = Scene::new().trained();
    let checkpoints = scene.out.join("checkpoints");
    let mut steps: Vec<PathBuf> = fs::read_dir(&checkpoints).unwrap().map(|e| e.unwrap().path()).collect();
    steps.sort();
    let [earlier, newest] = &steps[..] else { panic!("two checkpoints: {steps:?}") };
    let network = newest.join("learner.bpk");
    let mut bytes = fs::read(&network).unwrap();
    let middle = bytes.len() / 2;
    bytes[middle] ^= 1;
    fs::write(&network, &bytes).unwrap();
    let advice = format!("remove {}", newest.display());
    scene.resume().with(1, &["learner.bpk", "checksum", &advice]);
    // The advice works.
    fs::remove_dir_all(newest).unwrap();
    assert!(earlier.is_dir());
    scene.resume().well();

    fs::write(scene.out.join("model/model.safetensors"), "torn").unwrap();
    run([
        "embed".as_ref(),
        scene.out.as_os_str(),
        "--data".as_ref(),
        scene.photos.as_os_str(),
        "--out".as_ref(),
        scene.folder.path().join("x.npy").as_os_str(),
    ])
    .with(1, &["model.safetensors"]);
}

#[test]
fn changed_data_stops_a_resumed_run() {
    let scene = Scene::new().trained();
    fs::remove_file(scene.photos.join("cup/003.png")).unwrap();
    scene.resume().with(1, &["has changed since the run began"]);
}

#[test]
fn vectors_of_another_model_are_refused() {
    let scene = Scene::new().trained();
    let (vectors, index) = (scene.folder.path().join("v.parquet"), scene.folder.path().join("v.index"));
    let photos = scene.photos.to_str().unwrap();
    let at = |path: &Path| path.to_str().unwrap().to_owned();
    run(["embed", &at(&scene.out), "--data", photos, "--out", &at(&vectors)]).well();
    run(["index", &at(&vectors), "--out", &at(&index)]).well();
    let other = Scene::new();
    fs::write(&other.recipe, fs::read_to_string(&other.recipe).unwrap().replace("seed = 5", "seed = 6"))
        .unwrap();
    let other = other.trained();
    let query = at(&scene.photos.join("cup/000.png"));
    run(["search", &at(&index), "--model", &at(&other.out), "--query", &query])
        .with(1, &["built with model", "use the model that built the index"]);
    run(["search", &at(&index), "--query", &query]).with(2, &["--model"]);
    run(["search", &at(&index), "--model", &at(&scene.out), "--query", &query, "-k", "3"]).well();

    let mut bytes = fs::read(&index).unwrap();
    bytes.truncate(bytes.len() / 2);
    fs::write(&index, bytes).unwrap();
    run(["search", &at(&index), "--query", "cup/000.png"]).with(1, &["v.index"]);
}

/// A mounted file system of a few pages; `None`, said loudly, where this user may not mount one.
#[cfg(target_os = "linux")]
struct SmallDisk(tempfile::TempDir);

#[cfg(target_os = "linux")]
impl SmallDisk {
    fn mount(size: &str) -> Option<Self> {
        let folder = tempfile::tempdir().unwrap();
        let options = format!("size={size}");
        let mut mount = Command::new("mount");
        mount.args(["-t", "tmpfs", "-o", &options, "tmpfs"]).arg(folder.path());
        if mount.output().is_ok_and(|o| o.status.success()) {
            Some(Self(folder))
        } else {
            eprintln!("SKIPPED: a full disk is not tested, since mounting a tmpfs needs root");
            None
        }
    }
}

#[cfg(target_os = "linux")]
impl Drop for SmallDisk {
    fn drop(&mut self) {
        let _ = Command::new("umount").arg(self.0.path()).output();
    }
}

#[cfg(target_os = "linux")]
#[test]
fn a_full_disk_is_said_and_the_run_goes_on_once_there_is_space() {
    // Room for the first checkpoint and the log, but not for all that follows.
    let Some(disk) = SmallDisk::mount("400k") else { return };
    let scene = Scene::new();
    let scene = Scene { out: disk.0.path().join("run"), ..scene };
    scene.train(&scene.photos).with(1, &["cannot", "No space left on device"]);
    // What is there is whole: with more room, the run ends as if nothing had happened.
    let more = Command::new("mount").args(["-o", "remount,size=64m"]).arg(disk.0.path()).output().unwrap();
    assert!(more.status.success());
    scene.resume().well();
    assert!(scene.out.join("model/model.safetensors").is_file());

    let vectors = disk.0.path().join("v.npy");
    let fill = format!("cat /dev/zero >'{}'", disk.0.path().join("fill").display());
    drop(Command::new("sh").args(["-c", &fill]).output());
    let (out, photos) = (scene.out.to_str().unwrap(), scene.photos.to_str().unwrap());
    run(["embed", out, "--data", photos, "--out", vectors.to_str().unwrap()])
        .with(1, &["v.npy", "No space left on device"]);
    assert!(!vectors.exists(), "half a file");
}

#[test]
fn a_reader_that_goes_away_is_no_error() {
    let mut child =
        nearkin().args(["--json", "methods"]).stdout(std::process::Stdio::piped()).spawn().unwrap();
    drop(child.stdout.take());
    assert!(child.wait().unwrap().success());
}
