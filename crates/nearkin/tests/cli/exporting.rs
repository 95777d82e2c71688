//! Models written for other programs. That the graphs compute the same is tested where they are made, and by `bench/exporting.py`.

use std::fs;
use std::path::Path;

use serde_json::Value;

use crate::common::{run, write_classes, write_recipe};

/// The header of a file of safetensors, and its bytes behind that.
fn read_safetensors(path: &Path) -> (Value, Vec<u8>) {
    let bytes = fs::read(path).unwrap();
    let (length, rest) = bytes.split_first_chunk::<8>().unwrap();
    let (header, data) = rest.split_at(u64::from_le_bytes(*length) as usize);
    (serde_json::from_slice(header).unwrap(), data.to_vec())
}

fn tensor<'a>((header, data): &'a (Value, Vec<u8>), name: &str) -> (&'a Value, &'a [u8]) {
    let tensor = &header[name];
    let at = |i: usize| tensor["data_offsets"][i].as_u64().unwrap() as usize;
    (&tensor["shape"], &data[at(0)..at(1)])
}

#[test]
fn a_trained_network_is_written_as_onnx_and_for_pytorch() {
    let folder = tempfile::tempdir().unwrap();
    let at = |name: &str| folder.path().join(name).to_str().unwrap().to_owned();
    write_classes(&folder.path().join("photos"), &["a", "b", "c", "d", "e", "f", "g", "h"], 6);
    let recipe = write_recipe(folder.path(), "supcon");
    // SupCon's loss has a projector of its own; the embedding layer is asked for.
    let text = fs::read_to_string(&recipe).unwrap();
    fs::write(&recipe, format!("embedding = 16\n{text}")).unwrap();
    run(["train", "--data", &at("photos"), "--recipe", recipe.to_str().unwrap(), "--out", &at("run")]).well();

    let said = run(["export", &at("run"), "--out", &at("encoder.onnx"), "--json"]).well().json();
    assert_eq!((&said[0]["event"], &said[0]["format"]), (&"exported".into(), &"onnx".into()));
    let graph = fs::read(at("encoder.onnx")).unwrap();
    let says = |text: &str| graph.windows(text.len()).any(|window| window == text.as_bytes());
    for text in
        ["nearkin", "cosine", "normalized", "8/7", "[0.5]", "encoder.stages.0.conv.weight", "ReduceL2"]
    {
        assert!(says(text), "the file does not say {text}");
    }
    assert!(!says("projector"));
    run(["export", &at("run/model"), "--out", &at("again.ONNX")]).well();
    assert_eq!(fs::read(at("again.ONNX")).unwrap(), graph);

    run(["export", &at("run"), "--out", &at("encoder.safetensors")]).well();
    let found = read_safetensors(at("encoder.safetensors").as_ref());
    let model = read_safetensors(at("run/model/model.safetensors").as_ref());
    assert_eq!(found.0["__metadata__"], serde_json::json!({ "format": "pt" }));
    for name in ["stages.0.conv.weight", "stages.3.bn.running_var"] {
        assert_eq!(tensor(&found, name), tensor(&model, &format!("encoder.{name}")), "{name}");
    }
    assert_eq!(tensor(&found, "embedding.weight"), tensor(&model, "embedding.weight"));
    assert_eq!(found.0["embedding.weight"]["shape"], serde_json::json!([16, 64]));

    // What cannot be written is said, and nothing is left behind.
    let export = |out: &str| run(["export", &at("run"), "--out", &at(out)]);
    export("encoder.pt").with(2, &["encoder.pt", ".onnx or .safetensors"]);
    export("encoder").with(2, &[".onnx or .safetensors"]);
    export("no/where.onnx").with(1, &["no/where.onnx"]);
    fs::create_dir(at("taken.onnx")).unwrap();
    export("taken.onnx").with(1, &["taken.onnx"]);
    assert!(!Path::new(&at("taken.onnx.partial")).exists());
    run(["export", &at("photos"), "--out", &at("x.onnx")]).with(2, &["photos is not a run"]);
    run(["export", &at("nowhere"), "--out", &at("x.onnx")]).with(2, &["nowhere is not a run"]);
    run(["export", recipe.to_str().unwrap(), "--out", &at("x.onnx")]).with(2, &["is a file", "--format"]);
    run(["export", &at("run"), "--format", "qdrant", "--out", &at("x.jsonl")])
        .with(2, &["is a folder", "--format"]);
    assert!(!Path::new(&at("x.onnx")).exists());
}

#[test]
fn a_linear_map_of_a_table_is_refused_by_name() {
    let folder = tempfile::tempdir().unwrap();
    let at = |name: &str| folder.path().join(name).to_str().unwrap().to_owned();
    let rows: String = (0..30).map(|i| format!("{},{},{}\n", i % 7, i * i % 11, 3 * i % 5)).collect();
    fs::write(at("table.csv"), format!("a,b,c\n{rows}")).unwrap();
    run(["fit", "pca", "--data", &at("table.csv"), "--out", &at("run")]).well();
    run(["export", &at("run"), "--out", &at("map.onnx")]).with(2, &["linear map", "model.safetensors"]);
}
