//! Tables of other tools, tables of our own, and tables that are wrong.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use nearkin_index::{Embeddings, Fault, IndexError, Origin};
use nearkin_sweep::Metric;

fn fixture(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures").join(name)
}

fn read(name: &str) -> Embeddings {
    Embeddings::read(&fixture(name)).unwrap_or_else(|e| panic!("{name}: {e}"))
}

fn fault(name: &str) -> Fault {
    match Embeddings::read(&fixture(name)) {
        Err(IndexError::File { path, fault }) => {
            assert_eq!(path, fixture(name));
            fault
        }
        other => panic!("{name}: expected a fault of the file, found {other:?}"),
    }
}

fn strings<const N: usize>(texts: [&str; N]) -> Vec<String> {
    texts.map(str::to_owned).to_vec()
}

/// The table of every good fixture.
fn values() -> Vec<f32> {
    (0..15u8).map(|i| f32::from(i) / 4.0 - 1.0).collect()
}

fn table() -> Embeddings {
    Embeddings {
        vectors: values(),
        dim: 3,
        ids: strings(["a", "b", "ç", "d\"\n", "猫"]),
        labels: Some(strings(["kea", "kaka", "", "kea", "kākāpō"])),
        paths: Some(strings(["0.png", "", "2.png", "3.png", "4.png"])),
        columns: BTreeMap::from([("camera".to_owned(), strings(["x", "y", "", "x", "z"]))]),
        origin: Some(Origin {
            model: "0123abcd".into(),
            metric: Metric::Euclidean,
            preprocessing: "{\"size\":28}".into(),
            normalized: true,
            data: "ffee".into(),
        }),
    }
}

#[test]
fn npy_files_of_every_type_and_order_hold_the_same_values() {
    for name in ["c_f32", "c_f64", "c_f16", "big_endian_f32", "fortran_f64", "fortran_f16", "version_2"] {
        let table = read(&format!("{name}.npy"));
        assert_eq!((table.vectors, table.dim), (values(), 3), "{name}");
        assert_eq!(table.ids, strings(["0", "1", "2", "3", "4"]), "{name}");
        assert_eq!((table.labels, table.paths, table.origin), (None, None, None), "{name}");
    }
}

#[test]
fn parquet_files_with_every_kind_of_list_hold_the_same_values() {
    for name in ["list_f32", "large_list_f64_zstd", "fixed_f64", "fixed_f16_only_list"] {
        let table = read(&format!("{name}.parquet"));
        assert_eq!((table.vectors, table.dim), (values(), 3), "{name}");
        assert_eq!(table.ids, strings(["bird-0", "bird-1", "bird-2", "bird-3", "bird-4"]), "{name}");
        assert_eq!(table.labels, Some(strings(["kea", "kaka", "", "kea", "kākāpō"])), "{name}");
        let paths = ["bird-0.png", "bird-1.png", "bird-2.png", "bird-3.png", "bird-4.png"];
        assert_eq!(table.paths, Some(strings(paths)), "{name}");
        assert!(table.columns.is_empty(), "{name}");
    }
}

#[test]
fn parquet_columns_of_other_types_become_text_and_those_without_one_are_left_out() {
    let table = read("many_types.parquet");
    assert_eq!(table.vectors, values());
    assert_eq!(table.ids, strings(["0", "1", "2", "3", "4"]));
    assert_eq!(table.labels, Some(strings(["kea", "kaka", "", "kea", "kākāpō"])));
    assert_eq!(table.columns.keys().collect::<Vec<_>>(), ["camera", "sharp", "taken", "weight"]);
    assert_eq!(table.columns["sharp"], strings(["true", "false", "", "true", "false"]));
    assert_eq!(table.columns["weight"], strings(["0.5", "1.5", "2.5", "", "4.5"]));
    assert_eq!(table.columns["taken"][1], "1970-01-01T00:00:01");
    assert_eq!(table.columns["taken"][4], "");
}

#[test]
fn safetensors_files_of_every_type_hold_the_same_values() {
    for name in ["f32_labels", "f16_only_table", "f64", "bf16"] {
        let table = read(&format!("{name}.safetensors"));
        assert_eq!((table.vectors, table.dim), (values(), 3), "{name}");
        assert_eq!(table.ids, strings(["0", "1", "2", "3", "4"]), "{name}");
    }
    for name in ["f32_labels.safetensors", "f16_only_table.safetensors"] {
        assert_eq!(read(name).labels, Some(strings(["3", "1", "4", "1", "5"])), "{name}");
    }
}

#[test]
fn a_table_comes_back_from_every_format() {
    let folder = tempfile::tempdir().unwrap();
    let bare = Embeddings { labels: None, paths: None, columns: BTreeMap::new(), origin: None, ..table() };
    for table in [table(), bare] {
        for name in ["a table.parquet", "table.npy", "TABLE.SafeTensors"] {
            let path = folder.path().join(name);
            table.write(&path).unwrap();
            assert_eq!(Embeddings::read(&path).unwrap(), table, "{name}");
        }
    }
    let mut names: Vec<_> =
        std::fs::read_dir(folder.path()).unwrap().map(|e| e.unwrap().file_name()).collect();
    names.sort();
    assert_eq!(names, ["TABLE.SafeTensors", "a table.parquet", "table.npy", "table.npy.json"]);
}

#[test]
fn a_table_of_many_batches_and_row_groups_comes_back() {
    let (rows, dim) = (5_000, 1_024);
    let table = Embeddings {
        vectors: (0..rows * dim).map(|i| (i % 8_191) as f32 / 64.0).collect(),
        dim,
        ids: (0..rows).map(|row| format!("row {row}")).collect(),
        ..Embeddings::default()
    };
    let folder = tempfile::tempdir().unwrap();
    for name in ["t.parquet", "t.npy", "t.safetensors"] {
        let path = folder.path().join(name);
        table.write(&path).unwrap();
        assert!(Embeddings::read(&path).unwrap() == table, "{name}");
    }
}

#[test]
fn the_same_table_makes_the_same_bytes() {
    let folder = tempfile::tempdir().unwrap();
    for extension in ["parquet", "npy", "npy.json", "safetensors"] {
        let bytes = ["one", "two"].map(|name| {
            let path = folder.path().join(format!("{name}.{extension}"));
            if extension != "npy.json" {
                table().write(&path).unwrap();
            }
            std::fs::read(path).unwrap()
        });
        assert_eq!(bytes[0], bytes[1], "{extension}");
    }
}

#[test]
fn wrong_npy_files_are_faults_that_say_what_was_found() {
    assert!(matches!(fault("bad_int64.npy"), Fault::ValueType { found, .. } if found == "'<i8'"));
    assert_eq!(fault("bad_one_dimension.npy"), Fault::Shape { found: vec![3] });
    assert!(matches!(fault("bad_object.npy"), Fault::ValueType { found, .. } if found.contains('O')));
    assert_eq!(fault("bad_no_rows.npy"), Fault::NoRows);
    assert_eq!(fault("bad_no_values.npy"), Fault::NoDimensions);
    assert!(
        matches!(fault("bad_nan.npy"), Fault::NotFinite { row: 2, position: 0, value } if value.is_nan())
    );
    assert!(
        matches!(fault("bad_beyond_f32.npy"), Fault::NotFinite { row: 2, position: 0, value } if value.is_infinite())
    );
}

#[test]
fn wrong_parquet_files_are_faults_that_say_what_was_found() {
    assert_eq!(fault("bad_null_vector.parquet"), Fault::NullVector { row: 3 });
    assert_eq!(fault("bad_null_value.parquet"), Fault::NullVector { row: 4 });
    assert_eq!(fault("bad_ragged.parquet"), Fault::Ragged { row: 2, found: 1, wanted: 3 });
    assert_eq!(fault("bad_duplicate_id.parquet"), Fault::DuplicateId { id: "b".into(), first: 1, second: 3 });
    assert_eq!(fault("bad_null_id.parquet"), Fault::NoId { row: 1 });
    assert!(
        matches!(fault("bad_int_lists.parquet"), Fault::ValueType { found, .. } if found.contains("Int32"))
    );
    assert!(
        matches!(fault("bad_no_lists.parquet"), Fault::NoVectors { found, .. } if found == "columns [id]")
    );
    assert!(
        matches!(fault("bad_two_lists.parquet"), Fault::SeveralVectors { found, .. } if found == "left, right")
    );
    assert_eq!(fault("bad_no_rows.parquet"), Fault::NoRows);
    assert_eq!(fault("bad_empty_lists.parquet"), Fault::NoDimensions);
    assert!(matches!(fault("bad_origin.parquet"), Fault::Companion { .. }));
}

#[test]
fn wrong_safetensors_files_are_faults_that_say_what_was_found() {
    assert!(matches!(fault("bad_int.safetensors"), Fault::ValueType { found, .. } if found == "I64"));
    assert!(
        matches!(fault("bad_two_tables.safetensors"), Fault::SeveralVectors { found, .. } if found == "left, right")
    );
    assert!(
        matches!(fault("bad_no_table.safetensors"), Fault::NoVectors { found, .. } if found == "tensors [labels]")
    );
    assert_eq!(fault("bad_three_dimensions.safetensors"), Fault::Shape { found: vec![5, 3, 1] });
    assert_eq!(
        fault("bad_label_count.safetensors"),
        Fault::Count { field: "label".into(), found: 4, wanted: 5 }
    );
    assert!(
        matches!(fault("bad_float_labels.safetensors"), Fault::ValueType { found, .. } if found == "F64")
    );
    assert!(matches!(fault("bad_companion.safetensors"), Fault::Companion { .. }));
}

#[test]
fn a_file_under_the_name_of_another_format_is_a_fault() {
    let folder = tempfile::tempdir().unwrap();
    for source in ["c_f32.npy", "list_f32.parquet", "f64.safetensors"] {
        for extension in ["npy", "parquet", "safetensors"] {
            let path = folder.path().join("wrong").with_extension(extension);
            std::fs::copy(fixture(source), &path).unwrap();
            let read = Embeddings::read(&path);
            if source.ends_with(extension) {
                assert!(read.is_ok(), "{source} as {extension}");
            } else {
                let wrong = matches!(&read, Err(IndexError::File { fault: Fault::NotThisFormat { .. }, .. }));
                assert!(wrong, "{source} as {extension}: {read:?}");
            }
        }
    }
}

#[test]
fn an_unknown_extension_and_a_missing_file_are_errors_that_name_the_file() {
    for path in ["table", "table.csv", "table.npy.gz"] {
        let error = Embeddings::read(Path::new(path)).unwrap_err();
        assert!(matches!(error, IndexError::Extension { .. }), "{error}");
        assert!(error.to_string().contains(path) && error.to_string().contains(".parquet"), "{error}");
        assert!(matches!(table().write(Path::new(path)), Err(IndexError::Extension { .. })));
    }
    let error = Embeddings::read(Path::new("nowhere.npy")).unwrap_err();
    assert!(matches!(error, IndexError::Read { .. }) && error.to_string().contains("nowhere.npy"), "{error}");
}

#[test]
fn a_cut_file_is_an_error_at_every_length() {
    let folder = tempfile::tempdir().unwrap();
    for name in ["list_f32.parquet", "fortran_f64.npy", "f32_labels.safetensors"] {
        let bytes = std::fs::read(fixture(name)).unwrap();
        let path = folder.path().join(name);
        for end in 0..bytes.len() {
            std::fs::write(&path, &bytes[..end]).unwrap();
            assert!(Embeddings::read(&path).is_err(), "{name} cut to {end}");
        }
    }
}

#[test]
fn a_changed_byte_is_an_error_or_a_valid_table_and_never_a_panic() {
    let folder = tempfile::tempdir().unwrap();
    for name in ["list_f32.parquet", "fixed_f64.parquet", "fortran_f64.npy", "f32_labels.safetensors"] {
        let bytes = std::fs::read(fixture(name)).unwrap();
        let path = folder.path().join(name);
        for i in 0..bytes.len() {
            let mut changed = bytes.clone();
            changed[i] ^= [0x01, 0x80, 0xff][i % 3];
            std::fs::write(&path, &changed).unwrap();
            if let Ok(table) = Embeddings::read(&path) {
                table.validate().unwrap();
            }
        }
    }
}

#[test]
fn a_sidecar_of_other_vectors_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("table.npy");
    let sidecar = folder.path().join("table.npy.json");
    table().write(&path).unwrap();
    // The same values in another order of axes and another type are the same vectors.
    std::fs::copy(fixture("fortran_f64.npy"), &path).unwrap();
    assert_eq!(Embeddings::read(&path).unwrap(), table());

    Embeddings { vectors: vec![0.5; 15], ..table() }.write(&folder.path().join("other.npy")).unwrap();
    std::fs::rename(folder.path().join("other.npy"), &path).unwrap();
    let error = Embeddings::read(&path).unwrap_err();
    assert!(matches!(error, IndexError::File { fault: Fault::Companion { .. }, .. }));
    assert!(error.to_string().contains("table.npy.json"), "{error}");

    std::fs::write(&sidecar, "{}").unwrap();
    assert!(matches!(Embeddings::read(&path), Err(IndexError::File { fault: Fault::Companion { .. }, .. })));
    std::fs::remove_file(&sidecar).unwrap();
    assert_eq!(Embeddings::read(&path).unwrap().ids, strings(["0", "1", "2", "3", "4"]));
}

#[test]
fn an_invalid_table_is_not_written() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("table.parquet");
    let twice = Embeddings { ids: strings(["a", "a", "b", "c", "d"]), ..table() };
    let error = twice.write(&path).unwrap_err();
    assert!(matches!(error, IndexError::Embeddings(Fault::DuplicateId { .. })), "{error}");
    assert!(!path.exists());
}
