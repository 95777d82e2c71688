//! Backbones from `torch.save`: a sound archive, and every way of damaging it.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use burn::prelude::*;
use burn::store::{BurnToPyTorchAdapter, ModuleSnapshot, bridge};
use nearkin_net::weights::{WeightsError, import_backbone};
use nearkin_net::{Encoder, EncoderConfig, NetworkConfig};

fn archive() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/data/small_conv.pth")
}

fn encoder(encoder: EncoderConfig) -> Encoder {
    let config = NetworkConfig { encoder, channels: 1, size: 28, embedding: None, projector: None };
    config.init(&Device::flex(), 1).expect("a valid network").encoder
}

fn tensors(encoder: &Encoder) -> BTreeMap<String, Vec<f32>> {
    encoder
        .collect(None, Some(Box::new(BurnToPyTorchAdapter)), true)
        .into_iter()
        .map(|tensor| {
            let name = tensor.name.clone();
            let data = bridge::into_data(tensor).expect("a tensor in memory");
            (name, data.try_to_vec().expect("f32"))
        })
        .collect()
}

#[test]
fn a_checkpoint_of_torch_save_is_imported_value_for_value() {
    let mut encoder = encoder(EncoderConfig::SmallConv { width: 1 });
    let report = import_backbone(&mut encoder, &archive()).expect("a sound archive");
    assert_eq!(report.applied.len(), 20);
    assert_eq!(report.unused, Vec::<String>::new());
    let found = tensors(&encoder);
    let names = ["conv.weight", "bn.weight", "bn.bias", "bn.running_mean", "bn.running_var"];
    for stage in 0..4 {
        for (index, name) in names.iter().enumerate() {
            let values = &found[&format!("stages.{stage}.{name}")];
            let wanted: Vec<f32> =
                (0..values.len()).map(|k| ((k + 5 * stage + index) % 7) as f32 / 8.0 - 0.375).collect();
            assert_eq!(*values, wanted, "stage {stage}, {name}");
        }
    }
}

#[test]
fn another_architecture_is_refused_with_names_and_shapes() {
    let mut wider = encoder(EncoderConfig::SmallConv { width: 2 });
    let before = tensors(&wider);
    let error = import_backbone(&mut wider, &archive()).unwrap_err().to_string();
    assert!(error.contains("stages.0.conv.weight is [1, 1, 3, 3], wanted [2, 1, 3, 3]"), "{error}");
    assert_eq!(tensors(&wider), before);

    let mut resnet = encoder(EncoderConfig::Resnet18(Default::default()));
    let error = import_backbone(&mut resnet, &archive()).unwrap_err();
    let WeightsError::Mismatch { mismatch, .. } = error else {
        panic!("{error}");
    };
    assert_eq!(mismatch.missing.len(), 100);
    assert_eq!(mismatch.unexpected.len(), 20);
}

#[test]
fn a_damaged_archive_is_an_error_or_other_numbers_but_never_a_panic() {
    let bytes = std::fs::read(archive()).expect("the fixture");
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("damaged.pth");
    let mut network = encoder(EncoderConfig::SmallConv { width: 1 });
    let mut attempt = |bytes: &[u8]| {
        std::fs::write(&path, bytes).expect("a file");
        import_backbone(&mut network, &path)
    };
    for length in (0..bytes.len()).step_by(61) {
        assert!(attempt(&bytes[..length]).is_err(), "cut at {length}");
    }
    for position in (0..bytes.len()).step_by(7) {
        for flip in [0x01, 0x80, 0xff] {
            let mut damaged = bytes.clone();
            damaged[position] ^= flip;
            // Some bytes are values, or are not read at all.
            let _ = attempt(&damaged);
        }
    }
}
