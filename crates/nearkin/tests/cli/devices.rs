//! Training on a GPU, or on a software Vulkan that stands in for one.

use std::path::Path;

use crate::common::{METHODS, losses, run, write_recipe};
use crate::signals;

/// Trains for one epoch; the losses of its steps.
fn trained(data: &str, recipe: &Path, device: &str, out: &Path) -> Vec<f64> {
    let [recipe, folder] = [recipe, out].map(|path| path.to_str().unwrap());
    let place = ["--device", device, "--out", folder];
    run(["train", "--quiet", "--data", data, "--recipe", recipe, "--epochs", "1"].into_iter().chain(place))
        .well();
    losses(out)
}

/// From the second step on, steps that follow what is rounded differently part.
fn begins_as_on_the_cpu(method: &str, data: &str, recipe: &Path, scratch: &Path) {
    let [here, there] = ["cpu", "wgpu"].map(|device| trained(data, recipe, device, &scratch.join(device)));
    assert_eq!(here.len(), there.len(), "{method}");
    let (first, off) = (here[0], (here[0] - there[0]).abs());
    println!("{method}: {first}, then {} and {}", here[here.len() - 1], there[there.len() - 1]);
    assert!(off <= 1e-4 * (1.0 + first.abs()), "{method}: {first} here, {} there", there[0]);
    assert!(there.iter().all(|loss| loss.is_finite()), "{method}: {there:?}");
}

#[test]
fn methods_of_images_begin_as_on_the_cpu() {
    for (method, _) in METHODS {
        let scratch = tempfile::tempdir().unwrap();
        let recipe = write_recipe(scratch.path(), method);
        begins_as_on_the_cpu(method, "data/fashion-mnist#0..500", &recipe, scratch.path());
    }
}

#[test]
fn cpc_of_sounds_begins_as_on_the_cpu() {
    let scratch = tempfile::tempdir().unwrap();
    let sounds = scratch.path().join("sounds");
    signals::write_sounds(&sounds, 6);
    let recipe = signals::write_recipe(scratch.path(), signals::CPC, "");
    begins_as_on_the_cpu("cpc", sounds.to_str().unwrap(), &recipe, scratch.path());
}
