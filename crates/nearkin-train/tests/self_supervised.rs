//! Every method without labels trains on a few images: its loss falls, or ends below that of a network that learns nothing; nothing
//! collapses, and settings that do not go together are
//! refused in words that help.

use std::path::Path;
use std::sync::atomic::AtomicBool;

use burn::tensor::Device;
use nearkin_data::Dataset;
use nearkin_train::{Event, Recipe, TrainError, Training};

/// 240 garments in the repository.
fn garments() -> Dataset {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../../data/fashion-mnist#0..240");
    Dataset::open(Path::new(path)).unwrap()
}

fn begin(method: &str, encoder: &str, more: &str, out: &Path) -> Result<Training, Box<TrainError>> {
    begin_at(2e-3, method, encoder, more, out)
}

fn begin_at(
    rate: f64,
    method: &str,
    encoder: &str,
    more: &str,
    out: &Path,
) -> Result<Training, Box<TrainError>> {
    let text = format!(
        "seed = 3\nepochs = 8\nsize = 16\n{more}\n[method]\n{method}\n[encoder]\n{encoder}\n\
         [optimizer]\nkind = \"adam-w\"\nlr = {rate:e}\n"
    );
    let recipe = Recipe::parse(&text, Path::new("test.toml"))?;
    Ok(Training::begin_on(recipe, &garments(), out, &Device::flex(), &mut |_| {})?)
}

/// Losses of the steps of a run, and the online probe's accuracy in its epochs.
fn with_probe(probe: bool, method: &str, encoder: &str) -> (Vec<f64>, Vec<Option<f64>>) {
    let folder = tempfile::tempdir().unwrap();
    let training = begin(method, encoder, &format!("probe = {probe}"), &folder.path().join("run")).unwrap();
    assert_eq!(training.plan().unwrap().probe, probe);
    let (mut losses, mut known) = (Vec::new(), Vec::new());
    let mut observer = |event: Event<'_>| match event {
        Event::Stepped(report) => losses.push(report.loss),
        Event::EpochDone(report) => known.push(report.online_probe_accuracy),
        _ => {}
    };
    training.run(&mut observer, &AtomicBool::new(false)).unwrap();
    (losses, known)
}

#[test]
fn an_online_probe_learns_the_classes_beside_any_method_and_changes_no_bit_of_its_losses() {
    let crops = "small-crops = 2\nsmall-size = 8\nhead = { hidden = 16, bottleneck = 32, out = 24 }";
    let of = |method: &str, encoder: &str| {
        let ((alone, none), (beside, known)) =
            (with_probe(false, method, encoder), with_probe(true, method, encoder));
        assert_eq!(alone, beside, "{method}");
        assert_eq!(none, [None; 8]);
        let known: Vec<f64> = known.into_iter().flatten().collect();
        // Ten classes: chance is a tenth.
        assert!(known.len() == 8 && known[7] > 0.15, "{method}: {known:?}");
        known
    };
    for method in [
        "kind = \"simclr\"\nbatch = 40",
        &format!("kind = \"dino\"\nbatch = 40\n{crops}"),
        "kind = \"exemplar-cnn\"\nbatch = 40",
    ] {
        let known = of(method, CONV);
        assert!(known[7] > known[0] && known[7] > 0.2, "{method}: {known:?}");
    }
    // So few steps teach a transformer little.
    of("kind = \"mae\"\nbatch = 40\ndecoder = { width = 8, depth = 1, heads = 2 }", VIT);
}

/// What a training came to.
struct Trained {
    /// The mean loss of each epoch.
    losses: Vec<f64>,
    /// The last spread of the encoded batch.
    spread: f64,
}

fn trained(rate: f64, method: &str, encoder: &str) -> Trained {
    let folder = tempfile::tempdir().unwrap();
    let out = folder.path().join("run");
    let training = begin_at(rate, method, encoder, "", &out).unwrap();
    assert!(training.plan().unwrap().seconds_per_step > 0.0);
    let (mut losses, mut spread) = (Vec::new(), 0.0);
    let mut observer = |event: Event<'_>| match event {
        Event::EpochDone(report) => losses.push(report.loss),
        Event::Stepped(report) => spread = report.spread,
        _ => {}
    };
    let outcome = training.run(&mut observer, &AtomicBool::new(false)).unwrap();
    assert!(!outcome.interrupted && outcome.steps > 0);
    Trained { losses, spread }
}

const CONV: &str = "kind = \"small-conv\"\nwidth = 4";
const VIT: &str = "kind = \"vit\"\npatch = 4\ndepth = 1\nwidth = 16\nheads = 2";

/// What is predicted stands still: the loss falls from the first epoch on.
fn learns(method: &str, encoder: &str) {
    let losses = beats_standing_still(method, encoder);
    assert!(losses.last() < losses.first(), "{method}: {losses:?}");
}

/// A queue that fills with keys, a bank or a centre that comes to what the network makes of all, give other losses to the same network:
/// the loss may rise while it learns. It ends below that of a network that sees the same batches, remembers alike and learns nothing.
fn beats_standing_still(method: &str, encoder: &str) -> Vec<f64> {
    let [still, Trained { losses, spread }] = [1e-12, 2e-3].map(|rate| trained(rate, method, encoder));
    assert!(losses.iter().all(|loss| loss.is_finite()), "{losses:?}");
    assert!(losses.last() < still.losses.last(), "{method}: {losses:?}, standing still {:?}", still.losses);
    assert!(spread > 0.05, "{method}: spread {spread}");
    losses
}

#[test]
fn npid_learns() {
    learns("kind = \"npid\"\nbatch = 40", CONV);
    learns("kind = \"npid\"\nbatch = 40\nproximal = 1.0", CONV);
}

#[test]
fn npid_learns_by_noise_contrast() {
    beats_standing_still("kind = \"npid\"\nbatch = 40\ndraws = 30\nproximal = 1.0", CONV);
}

#[test]
fn exemplar_cnn_learns_with_either_classifier() {
    learns("kind = \"exemplar-cnn\"\nbatch = 40\nsurrogates = 120\ncopies = 3", CONV);
    learns("kind = \"exemplar-cnn\"\nbatch = 40\nclassifier = \"linear\"", CONV);
}

#[test]
fn exemplar_cnn_learns_from_patches_fewer_or_more_than_images() {
    for surrogates in [120, 400] {
        let sizes = format!("batch = 40\nsurrogates = {surrogates}\npatch = [0.4, 0.8]\ncopies = 3");
        learns(&format!("kind = \"exemplar-cnn\"\n{sizes}"), CONV);
    }
}

#[test]
fn every_patch_is_a_sample_and_a_class() {
    let folder = tempfile::tempdir().unwrap();
    let method = "kind = \"exemplar-cnn\"\nbatch = 40\nsurrogates = 400\npatch = [0.4, 0.8]";
    let plan = begin(method, CONV, "", &folder.path().join("run")).unwrap().plan().unwrap();
    assert_eq!((plan.samples, plan.steps_per_epoch), (400, 10));
    // A class vector of as many values as features for each.
    let whole = "kind = \"exemplar-cnn\"\nbatch = 40\nsurrogates = 400";
    let of_images = begin(whole, CONV, "", &folder.path().join("whole")).unwrap().plan().unwrap();
    assert_eq!((of_images.samples, plan.parameters - of_images.parameters), (240, 160 * 32));
}

#[test]
fn moco_learns_in_all_versions() {
    let sizes = "batch = 40\nqueue = 120\nhidden = 16\nprojection = 8\ngroups = 4\nmomentum = 0.9";
    beats_standing_still(&format!("kind = \"moco\"\nversion = \"v1\"\n{sizes}"), CONV);
    beats_standing_still(&format!("kind = \"moco\"\n{sizes}"), CONV);
    beats_standing_still(&format!("kind = \"moco\"\nsymmetric = true\n{sizes}"), CONV);
    learns(&format!("kind = \"moco\"\nversion = \"v3\"\n{sizes}"), CONV);
}

#[test]
fn nnclr_learns() {
    learns("kind = \"nnclr\"\nbatch = 40\nqueue = 120\nhidden = 16\nprojection = 8", CONV);
}

#[test]
fn byol_and_simsiam_learn() {
    learns("kind = \"byol\"\nbatch = 40\nmomentum = 0.9\nhidden = 16\nprojection = 8", CONV);
    learns("kind = \"simsiam\"\nbatch = 40\nprojection = 16", CONV);
}

#[test]
fn barlow_twins_vicreg_and_w_mse_learn() {
    learns("kind = \"barlow-twins\"\nbatch = 40\nprojection = 16", CONV);
    learns("kind = \"vicreg\"\nbatch = 40\nprojection = 16", CONV);
    learns("kind = \"w-mse\"\nbatch = 40\nslice = 20\nhidden = 16\nprojection = 6", CONV);
}

#[test]
fn swav_learns_with_a_queue_and_without_small_crops() {
    let sizes = "batch = 40\nprototypes = 12\nhidden = 16\nprojection = 8\nsmall-size = 8";
    learns(&format!("kind = \"swav\"\n{sizes}\nsmall-crops = 2\nqueue = 80\nqueue-from = 3.0"), CONV);
    learns(&format!("kind = \"swav\"\n{sizes}\nsmall-crops = 0"), CONV);
}

#[test]
fn dino_learns_on_either_kind_of_encoder() {
    // A centre of ten steps' memory would lag behind a run of a hundred.
    let method = "kind = \"dino\"\nbatch = 20\nmomentum = 0.9\nsmall-crops = 2\nsmall-size = 8\nfreeze-last-layer = 0.5\n\
                  centre-momentum = 0.5\nhead = { hidden = 16, bottleneck = 32, out = 24 }";
    beats_standing_still(method, CONV);
    beats_standing_still(method, VIT);
}

#[test]
fn methods_of_patches_learn() {
    learns("kind = \"mae\"\nbatch = 40\ndecoder = { width = 8, depth = 1, heads = 2 }", VIT);
    learns(
        "kind = \"i-jepa\"\nbatch = 40\nmomentum = 0.9\npredictor = { width = 8, depth = 1, heads = 2 }",
        VIT,
    );
}

#[test]
fn a_network_that_gives_one_answer_to_all_raises_the_alarm() {
    // Sixty grey images, all the same: IDX of 16 x 16 pixels.
    let folder = tempfile::tempdir().unwrap();
    let mut bytes = vec![0, 0, 8, 3];
    for size in [60u32, 16, 16] {
        bytes.extend(size.to_be_bytes());
    }
    bytes.extend(vec![100; 60 * 16 * 16]);
    let file = folder.path().join("train-images-idx3-ubyte");
    std::fs::write(&file, bytes).unwrap();
    let recipe = format!(
        "epochs = 2\n[method]\nkind = \"vicreg\"\nbatch = 60\nprojection = 48\n[encoder]\n{CONV}\n[views]\n"
    );
    let recipe = Recipe::parse(&recipe, Path::new("test.toml")).unwrap();
    let mut warnings = Vec::new();
    let mut observer = |event: Event<'_>| {
        if let Event::Warning(text) = event {
            warnings.push(text);
        }
    };
    let out = folder.path().join("run");
    let training = Training::begin(recipe, &file, &out, &Device::flex(), &mut observer).unwrap();
    training.run(&mut observer, &AtomicBool::new(false)).unwrap();
    let alarms: Vec<&String> = warnings.iter().filter(|text| text.contains("complete collapse")).collect();
    assert_eq!(alarms.len(), 1, "{warnings:?}");
}

#[test]
fn an_online_probe_is_refused_where_there_are_no_labels() {
    let folder = tempfile::tempdir().unwrap();
    let mut bytes = vec![0, 0, 8, 3];
    for size in [8u32, 8, 8] {
        bytes.extend(size.to_be_bytes());
    }
    bytes.extend(vec![100; 8 * 8 * 8]);
    let file = folder.path().join("train-images-idx3-ubyte");
    std::fs::write(&file, bytes).unwrap();
    let recipe =
        Recipe::parse("probe = true\n[method]\nkind = \"simclr\"\n", Path::new("test.toml")).unwrap();
    let out = folder.path().join("run");
    let error = Training::begin(recipe, &file, &out, &Device::flex(), &mut |_| {}).err().unwrap().to_string();
    assert!(error.starts_with("probe = true") && error.contains("labels"), "{error}");
    assert!(!out.exists());
}

#[test]
fn what_does_not_go_together_is_refused_in_words_that_help() {
    let folder = tempfile::tempdir().unwrap();
    let refused = |method: &str, encoder: &str, more: &str| {
        let out = folder.path().join("never");
        let error = begin(method, encoder, more, &out).err().unwrap().to_string();
        assert!(!out.exists());
        error
    };
    let mlp = "kind = \"mlp\"";
    for (method, encoder, more, words) in [
        ("kind = \"mae\"", CONV, "", &["encoder", "vit", "hides patches"][..]),
        ("kind = \"i-jepa\"", VIT, "embedding = 8", &["embedding is 8", "give 0"]),
        ("kind = \"moco\"", CONV, "accumulate = 2", &["accumulate = 2", "moco"]),
        ("kind = \"swav\"\nsmall-size = 8", mlp, "", &["encoder", "every size"]),
        ("kind = \"dino\"\nsmall-size = 6", VIT, "", &["small-size = 6", "multiple of the encoder's patch"]),
        (
            "kind = \"exemplar-cnn\"\npatch = [0.5, 1.0]",
            CONV,
            "kin = { neighbours = 2 }",
            &["kin", "copies of one sample"],
        ),
        ("kind = \"byol\"\nbatch = 1", CONV, "", &["1 usable samples", "at least 2"]),
        (
            "kind = \"supcon\"",
            CONV,
            "probe = true",
            &["probe = true", "supcon learns from the labels itself"],
        ),
    ] {
        let error = refused(method, encoder, more);
        for word in words {
            assert!(error.contains(word), "no '{word}' in: {error}");
        }
    }
}
