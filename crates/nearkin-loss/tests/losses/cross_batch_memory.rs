use nearkin_loss::Loss;
use nearkin_loss::losses::NtXent;
use nearkin_loss::memory::CrossBatchMemory;
use nearkin_sweep::Vectors;
use serde::Deserialize;

use crate::contrastive;
use crate::golden::{Settings, assert_gradient, read};

#[derive(Deserialize)]
struct File {
    cases: Vec<Case>,
}

#[derive(Deserialize)]
struct Case {
    name: String,
    memory_size: usize,
    dim: usize,
    loss: String,
    settings: Settings,
    steps: Vec<Step>,
    peer_is_wrong: Option<String>,
}

#[derive(Deserialize)]
struct Step {
    embeddings: Vec<f32>,
    labels: Vec<u32>,
    value: f64,
    gradient: Vec<f64>,
}

#[test]
fn agrees_with_its_peer_step_by_step_and_after_a_restart() {
    let file: File = read("cross_batch_memory.json");
    let mut compared = 0;
    for case in file.cases.iter().filter(|case| case.peer_is_wrong.is_none()) {
        let loss: Box<dyn Loss> = match case.loss.as_str() {
            "contrastive" => contrastive::of(&case.settings),
            _ => Box::new(NtXent::new(case.settings.number("temperature")).unwrap()),
        };
        let mut memory = CrossBatchMemory::new(case.memory_size, case.dim).unwrap();
        for (i, step) in case.steps.iter().enumerate() {
            let name = format!("{}, step {i}", case.name);
            let saved = serde_json::to_string(&memory).unwrap();
            memory = serde_json::from_str(&saved).unwrap();
            let batch = Vectors::new(&step.embeddings, case.dim).unwrap();
            let found = memory.pull(loss.as_ref(), batch, &step.labels).unwrap();
            let close = (found.loss - step.value).abs() <= 1e-5 * step.value.abs().max(1e-2);
            assert!(close, "{name}: {} for {}", found.loss, step.value);
            assert_gradient(&name, &found.query_gradient, &step.gradient);
            compared += 1;
        }
    }
    assert!(compared >= 37, "only {compared} steps were compared");
}
