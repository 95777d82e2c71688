//! A training that is killed, or interrupted, and resumed ends with the bits of one that was not, on any number of threads.

use std::fs;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use crate::common::{nearkin, run, steps, write_classes, write_recipe};

const DATA: &str = "data/fashion-mnist#0..500";

/// What must be the same: the model's weights, the loss of every step.
fn outcome(run: &Path) -> (Vec<u8>, Vec<(u64, f64)>) {
    let weights = fs::read(run.join("model/model.safetensors")).unwrap();
    let losses =
        steps(run).iter().map(|s| (s["step"].as_u64().unwrap(), s["loss"].as_f64().unwrap())).collect();
    (weights, losses)
}

/// The online probe's accuracy as each step told it.
fn probed(run: &Path) -> Vec<Option<f64>> {
    steps(run).iter().map(|s| s["online_probe_accuracy"].as_f64()).collect()
}

fn train(recipe: &Path, threads: usize, out: &Path) -> Command {
    let mut command = nearkin();
    command.args(["train", "--quiet", "--data", DATA, "--threads", &threads.to_string()]);
    command.arg("--recipe").arg(recipe).arg("--out").arg(out);
    command
}

/// Starts a training and waits until it has logged `step`.
fn train_until(recipe: &Path, threads: usize, out: &Path, step: usize) -> Child {
    let mut child = train(recipe, threads, out).stderr(Stdio::null()).stdout(Stdio::null()).spawn().unwrap();
    while steps(out).len() < step {
        assert!(child.try_wait().unwrap().is_none(), "the training ended before step {step}");
        std::thread::sleep(Duration::from_millis(1));
    }
    child
}

fn resume(out: &Path, threads: usize) {
    let threads = threads.to_string();
    run(["train", "--quiet", "--threads", &threads, "--resume", out.to_str().unwrap()]).well();
}

/// Kills one training in its first epoch and one in its second; all must end alike.
fn killed_runs_end_with_the_same_bits(method: &str) {
    let scratch = tempfile::tempdir().unwrap();
    let recipe = write_recipe(scratch.path(), method);
    killed_runs_end_alike(method, &recipe, scratch.path());
}

fn killed_runs_end_alike(method: &str, recipe: &Path, scratch: &Path) {
    let whole = scratch.join("whole");
    assert!(train(recipe, 1, &whole).output().unwrap().status.success());
    let (wanted, known) = (outcome(&whole), probed(&whole));
    let per_epoch = wanted.1.len() / 4;
    assert!(per_epoch > 4, "every step is logged: {:?}", wanted.1);

    let other = scratch.join("two-threads");
    assert!(train(recipe, 2, &other).output().unwrap().status.success());
    assert!(outcome(&other) == wanted && probed(&other) == known, "two threads differ from one");

    for (threads, step) in [(1, per_epoch + 3), (2, per_epoch + 3), (2, 2)] {
        let out = scratch.join(format!("killed-{threads}-{step}"));
        let mut child = train_until(recipe, threads, &out, step);
        child.kill().unwrap(); // SIGKILL
        child.wait().unwrap();
        assert!(steps(&out).len() < wanted.1.len(), "killed in the middle");
        resume(&out, threads);
        assert!(outcome(&out) == wanted, "{method}, {threads} threads, killed after step {step}");
        assert!(probed(&out) == known, "the probe of {method}, {threads} threads, killed after step {step}");
    }
}

#[test]
fn an_online_probe_goes_on_with_its_run_and_changes_no_bit_of_it() {
    let scratch = tempfile::tempdir().unwrap();
    let recipe = write_recipe(scratch.path(), "simclr");
    let alone = scratch.path().join("alone");
    assert!(train(&recipe, 2, &alone).output().unwrap().status.success());
    let text = fs::read_to_string(&recipe).unwrap();
    fs::write(&recipe, format!("probe = true\n{text}")).unwrap();
    killed_runs_end_alike("simclr with a probe", &recipe, scratch.path());
    let beside = scratch.path().join("whole");
    assert!(outcome(&beside) == outcome(&alone), "the probe changed the training");
    assert!(probed(&alone).iter().all(Option::is_none) && probed(&beside).iter().all(Option::is_some));
}

#[test]
fn batch_hard_killed_and_resumed_ends_with_the_same_bits() {
    killed_runs_end_with_the_same_bits("batch-hard");
}

#[test]
fn class_vectors_killed_and_resumed_end_with_the_same_bits() {
    killed_runs_end_with_the_same_bits("proxy-anchor");
}

#[test]
fn simclr_killed_and_resumed_ends_with_the_same_bits() {
    killed_runs_end_with_the_same_bits("simclr");
}

/// Bank, queue, twin, centre, head, prototypes and every schedule go on where they stood.
macro_rules! killed {
    ($($test:ident: $method:literal),+ $(,)?) => {
        $(
            #[test]
            fn $test() {
                killed_runs_end_with_the_same_bits($method);
            }
        )+
    };
}

killed! {
    npid_killed_and_resumed_ends_with_the_same_bits: "npid",
    npid_by_noise_contrast_killed_and_resumed_ends_with_the_same_bits: "npid-nce",
    exemplar_cnn_killed_and_resumed_ends_with_the_same_bits: "exemplar-cnn",
    exemplar_cnn_of_patches_killed_and_resumed_ends_with_the_same_bits: "exemplar-cnn-patches",
    moco_killed_and_resumed_ends_with_the_same_bits: "moco",
    moco_v3_killed_and_resumed_ends_with_the_same_bits: "moco-v3",
    nnclr_killed_and_resumed_ends_with_the_same_bits: "nnclr",
    byol_killed_and_resumed_ends_with_the_same_bits: "byol",
    simsiam_killed_and_resumed_ends_with_the_same_bits: "simsiam",
    barlow_twins_killed_and_resumed_ends_with_the_same_bits: "barlow-twins",
    vicreg_killed_and_resumed_ends_with_the_same_bits: "vicreg",
    w_mse_killed_and_resumed_ends_with_the_same_bits: "w-mse",
    swav_killed_and_resumed_ends_with_the_same_bits: "swav",
    dino_killed_and_resumed_ends_with_the_same_bits: "dino",
    mae_killed_and_resumed_ends_with_the_same_bits: "mae",
    i_jepa_killed_and_resumed_ends_with_the_same_bits: "i-jepa",
}

#[test]
fn ctrl_c_saves_the_step_and_says_how_to_go_on() {
    let scratch = tempfile::tempdir().unwrap();
    let recipe = write_recipe(scratch.path(), "supcon");
    let whole = scratch.path().join("whole");
    assert!(train(&recipe, 2, &whole).output().unwrap().status.success());

    let out = scratch.path().join("interrupted");
    let mut child = train_until(&recipe, 2, &out, 6);
    let interrupt = Command::new("kill").args(["-INT", &child.id().to_string()]).status().unwrap();
    assert!(interrupt.success());
    assert_eq!(child.wait().unwrap().code(), Some(130));
    let stopped = steps(&out).len();
    assert!((6..outcome(&whole).1.len()).contains(&stopped));
    // Nothing of the steps done is lost.
    assert!(out.join(format!("checkpoints/step-{stopped:08}")).is_dir());
    resume(&out, 2);
    assert!(outcome(&out) == outcome(&whole));
}

#[test]
fn a_graph_of_kin_goes_with_the_run_and_must_not_change() {
    let scratch = tempfile::tempdir().unwrap();
    let at = |name: &str| scratch.path().join(name);
    // Images in one folder have no labels: kin are what the pairs say.
    write_classes(&at("named"), &["a", "b", "c"], 12);
    fs::create_dir(at("flat")).unwrap();
    let mut pairs = "a,b\n".to_owned();
    for class in ["a", "b", "c"] {
        for i in 0..12 {
            fs::copy(at(&format!("named/{class}/{i:03}.png")), at(&format!("flat/{class}{i:03}.png")))
                .unwrap();
            pairs += &format!("{class}{i:03}.png,{class}{:03}.png\n", (i + 1) % 12);
        }
    }
    let list = at("pairs.csv");
    fs::write(&list, &pairs).unwrap();
    let recipe = at("recipe.toml");
    let text = format!(
        "seed = 5\nepochs = 2\nembedding = 2\nkin = {{ pairs = \"{}\" }}\n[method]\nkind = \"drlim\"\nclasses = 12\n",
        list.display()
    );
    fs::write(&recipe, text).unwrap();
    let (out, flat) = (at("run"), at("flat"));
    let train = ["train", "--data", flat.to_str().unwrap(), "--recipe", recipe.to_str().unwrap(), "--out"];
    run([&train[..], &[out.to_str().unwrap()]].concat()).well();
    let file = fs::read_to_string(out.join("run.toml")).unwrap();
    assert!(file.contains("\nkin = \"") && file.contains(list.to_str().unwrap()), "{file}");
    resume(&out, 1);
    fs::write(&list, pairs.replace("a000.png,a001.png", "a000.png,b001.png")).unwrap();
    run(["train", "--resume", out.to_str().unwrap()])
        .with(1, &["pairs.csv", "has changed since the run began"]);
    // A method without kin among samples refuses the rule.
    let text = fs::read_to_string(&recipe).unwrap().replace("drlim", "simclr").replace("classes = 12\n", "");
    fs::write(&recipe, text).unwrap();
    run([&train[..], &[at("never").to_str().unwrap()]].concat()).with(2, &["kin", "views of one sample"]);
}
