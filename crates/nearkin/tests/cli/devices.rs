//! Training on a GPU, or on a software Vulkan that stands in for one.

use std::fs;
use std::path::Path;

use crate::common::{run, write_recipe};

/// The losses of all steps of one epoch.
fn losses(recipe: &Path, device: &str, out: &Path) -> Vec<f64> {
    let [recipe, folder] = [recipe, out].map(|path| path.to_str().unwrap());
    let data = "data/fashion-mnist#0..500";
    run([
        "train", "--quiet", "--data", data, "--recipe", recipe, "--epochs", "1", "--device", device, "--out",
        folder,
    ])
    .well();
    let lines = fs::read_to_string(out.join("metrics.jsonl")).unwrap();
    let lines = lines.lines().map(|line| serde_json::from_str::<serde_json::Value>(line).unwrap());
    lines.filter(|line| line["event"] == "step").map(|line| line["loss"].as_f64().unwrap()).collect()
}

#[test]
fn every_method_begins_on_another_device_as_on_the_cpu() {
    for method in [
        "batch-hard",
        "supcon",
        "proxy-anchor",
        "simclr",
        "npid",
        "npid-nce",
        "exemplar-cnn",
        "exemplar-cnn-patches",
        "moco",
        "moco-v3",
        "nnclr",
        "byol",
        "simsiam",
        "barlow-twins",
        "vicreg",
        "w-mse",
        "swav",
        "dino",
        "mae",
        "i-jepa",
    ] {
        let scratch = tempfile::tempdir().unwrap();
        let recipe = write_recipe(scratch.path(), method);
        let [here, there] =
            ["cpu", "wgpu"].map(|device| losses(&recipe, device, &scratch.path().join(device)));
        assert_eq!(here.len(), there.len(), "{method}");
        // From the second step on, steps that follow what is rounded differently part.
        let (first, off) = (here[0], (here[0] - there[0]).abs());
        println!("{method}: {first}, then {} and {}", here[here.len() - 1], there[there.len() - 1]);
        assert!(off <= 1e-4 * (1.0 + first.abs()), "{method}: {first} here, {} there", there[0]);
        assert!(there.iter().all(|loss| loss.is_finite()), "{method}: {there:?}");
    }
}
