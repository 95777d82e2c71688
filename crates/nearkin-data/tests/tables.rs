//! Tables of every format, good and bad, and the features made of them.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use arrow_array::{ArrayRef, BooleanArray, Float64Array, Int32Array, RecordBatch, StringArray};
use nearkin_data::table::{Choice, Column, ColumnSummary, FeatureColumn, Missing, Scale, Unknown, Values};
use nearkin_data::{FeatureOptions, Features, Table, TableKind, TableOptions};
use parquet::arrow::ArrowWriter;

struct Folder(tempfile::TempDir);

impl Folder {
    fn new() -> Self {
        Self(tempfile::tempdir().unwrap())
    }

    fn write(&self, name: &str, bytes: impl AsRef<[u8]>) -> PathBuf {
        let path = self.0.path().join(name);
        fs::write(&path, bytes).unwrap();
        path
    }
}

fn open(path: &Path) -> Result<Table, String> {
    Table::open(path, &TableOptions::default()).map_err(|e| e.to_string())
}

#[track_caller]
fn refused(path: &Path, options: &TableOptions, words: &[&str]) {
    let error = Table::open(path, options).expect_err("a table that must be refused").to_string();
    for word in words {
        assert!(error.contains(word), "no '{word}' in: {error}");
    }
}

fn numbers(table: &Table, name: &str) -> Vec<f64> {
    match &table.column(name).unwrap().values {
        Values::Numbers(numbers) => numbers.clone(),
        Values::Text(_) => panic!("{name} is text"),
    }
}

const FLOWERS: &str = "id,length,colour,class\na,1.5,red,rose\nb,?,blue,iris\nc,-2e1,red,rose\n";

/// The same table in all formats but NPY, which has neither names nor text.
fn everywhere(folder: &Folder) -> Vec<PathBuf> {
    let arff = "% flowers\n@RELATION flowers\n@attribute id string\n@Attribute 'length' REAL\n@attribute colour{red,blue}\n\
                @attribute class {rose, 'iris'}\n\n@data\na,1.5,red,rose\n b , ? ,'blue',\"iris\"\n% a comment\nc,-2e1,red,rose\n";
    let columns: Vec<(&str, ArrayRef)> = vec![
        ("id", Arc::new(StringArray::from(vec!["a", "b", "c"]))),
        ("length", Arc::new(Float64Array::from(vec![Some(1.5), None, Some(-20.0)]))),
        ("colour", Arc::new(StringArray::from(vec!["red", "blue", "red"]))),
        ("class", Arc::new(StringArray::from(vec!["rose", "iris", "rose"]))),
    ];
    vec![
        folder.write("flowers.csv", FLOWERS),
        folder.write("semicolons.csv", FLOWERS.replace(',', ";")),
        folder.write("tabs.tsv", FLOWERS.replace(',', "\t")),
        folder.write("marked.csv", format!("\u{feff}{}", FLOWERS.replace('\n', "\r\n"))),
        folder.write("flowers.arff", arff),
        write_parquet(folder, "flowers.parquet", columns),
    ]
}

fn write_parquet(folder: &Folder, name: &str, columns: Vec<(&str, ArrayRef)>) -> PathBuf {
    let path = folder.0.path().join(name);
    let batch = RecordBatch::try_from_iter(columns).unwrap();
    let mut writer = ArrowWriter::try_new(fs::File::create(&path).unwrap(), batch.schema(), None).unwrap();
    writer.write(&batch).unwrap();
    writer.close().unwrap();
    path
}

#[test]
fn a_table_is_the_same_in_every_format() {
    let folder = Folder::new();
    let mut fingerprints = Vec::new();
    for path in everywhere(&folder) {
        let table = open(&path).unwrap();
        assert_eq!(
            (table.len(), table.label_name(), table.id_name()),
            (3, Some("class"), Some("id")),
            "{path:?}"
        );
        assert_eq!(table.ids(), ["a", "b", "c"]);
        let (labels, names) = table.classes().unwrap();
        assert_eq!((&labels[..], &names[..]), (&[1, 0, 1][..], &["iris".to_owned(), "rose".to_owned()][..]));
        let length = numbers(&table, "length");
        assert!(length[0] == 1.5 && length[1].is_nan() && length[2] == -20.0, "{path:?}: {length:?}");
        let colour = Values::Text(["red", "blue", "red"].map(|c| Some(c.to_owned())).to_vec());
        assert_eq!(table.columns()[1], Column { name: "colour".into(), values: colour });
        fingerprints.push(table.fingerprint());
    }
    fingerprints.dedup();
    assert_eq!(fingerprints.len(), 1);
}

#[test]
fn an_array_has_numbered_columns_in_either_order() {
    let folder = Folder::new();
    let header = |order: &str, kind: &str| {
        let text = format!("{{'descr': '{kind}', 'fortran_order': {order}, 'shape': (2, 3), }}");
        let mut bytes = b"\x93NUMPY\x01\x00".to_vec();
        let length = (10 + text.len() + 1).next_multiple_of(64) - 10;
        bytes.extend((length as u16).to_le_bytes());
        bytes.extend(text.bytes());
        bytes.resize(10 + length - 1, b' ');
        bytes.push(b'\n');
        bytes
    };
    let floats = |values: [f64; 6]| values.into_iter().flat_map(f64::to_le_bytes).collect::<Vec<u8>>();
    let c =
        folder.write("c.npy", [header("False", "<f8"), floats([1.0, 2.0, 3.0, 4.0, f64::NAN, 6.0])].concat());
    let fortran =
        folder.write("f.npy", [header("True", "<f8"), floats([1.0, 4.0, 2.0, f64::NAN, 3.0, 6.0])].concat());
    for path in [&c, &fortran] {
        let table = open(path).unwrap();
        assert_eq!(table.names(), ["f0", "f1", "f2"]);
        assert_eq!(table.label_name(), None);
        assert_eq!(numbers(&table, "f0"), [1.0, 4.0]);
        assert!(numbers(&table, "f1")[1].is_nan());
        let labelled = TableOptions { label: Choice::Named("f2".into()), ..TableOptions::default() };
        let (labels, names) = Table::open(path, &labelled).unwrap().classes().unwrap();
        assert_eq!((labels, names), (vec![0, 1], vec!["3".to_owned(), "6".to_owned()]));
    }
    let bytes: Vec<u8> = (1..=6).collect();
    let small = folder.write("u.npy", [header("False", "|u1"), bytes.clone()].concat());
    assert_eq!(numbers(&open(&small).unwrap(), "f2"), [3.0, 6.0]);
    let any = TableOptions::default();
    refused(
        &folder.write("cut.npy", [header("False", "<f8"), bytes].concat()),
        &any,
        &["cut.npy", "not a whole array"],
    );
    let infinite = [header("False", "<f8"), floats([1.0, 2.0, 3.0, 4.0, f64::INFINITY, 6.0])].concat();
    let infinite = folder.write("inf.npy", infinite);
    refused(&infinite, &any, &["row 1 (from 0), column 'f1'", "'inf'", "finite", "--drop f1"]);
    // A column that is left out is not looked at.
    let dropped = TableOptions { drop: vec!["f1".into()], ..TableOptions::default() };
    assert_eq!(Table::open(&infinite, &dropped).unwrap().columns().len(), 2);
    let only = TableOptions { only: Some(vec!["f0".into()]), ..TableOptions::default() };
    assert_eq!(Table::open(&infinite, &only).unwrap().columns().len(), 1);
    refused(&folder.write("text.npy", "not an array"), &any, &["text.npy", "not a NumPy array"]);
    let complex = [header("False", "<c16"), vec![0; 96]].concat();
    refused(&folder.write("complex.npy", complex), &any, &["complex.npy", "wanted float32"]);
}

#[test]
fn parquet_types_are_numbers_or_text_or_refused() {
    let folder = Folder::new();
    let columns = || -> Vec<(&str, ArrayRef)> {
        vec![
            ("n", Arc::new(Int32Array::from(vec![1, 2]))),
            ("flag", Arc::new(BooleanArray::from(vec![true, false]))),
            ("y", Arc::new(Float64Array::from(vec![1.0, 2.5]))),
        ]
    };
    let path = write_parquet(&folder, "t.parquet", columns());
    let table = open(&path).unwrap();
    assert_eq!((numbers(&table, "n"), numbers(&table, "flag")), (vec![1.0, 2.0], vec![1.0, 0.0]));
    assert_eq!(table.targets().unwrap(), [1.0, 2.5]);
    assert_eq!(table.labels().unwrap(), ["1", "2.5"]);
    let list = arrow_array::ListArray::from_iter_primitive::<arrow_array::types::Float32Type, _, _>(vec![
        Some(vec![Some(1.0)]),
        Some(vec![Some(2.0)]),
    ]);
    let mut with_list = columns();
    with_list.insert(0, ("vector", Arc::new(list)));
    let path = write_parquet(&folder, "l.parquet", with_list);
    refused(&path, &TableOptions::default(), &["l.parquet", "'vector'", "--drop vector"]);
    let dropped = TableOptions { drop: vec!["vector".into()], ..TableOptions::default() };
    assert_eq!(Table::open(&path, &dropped).unwrap().columns().len(), 2);
    let infinite: Vec<(&str, ArrayRef)> = vec![
        ("a", Arc::new(Float64Array::from(vec![1.0, 2.0, f64::NEG_INFINITY]))),
        ("b", Arc::new(Float64Array::from(vec![1.0, 2.0, 3.0]))),
    ];
    let path = write_parquet(&folder, "i.parquet", infinite);
    refused(&path, &TableOptions::default(), &["row 2 (from 0), column 'a'", "'-inf'", "finite"]);
    let dropped = TableOptions { drop: vec!["a".into()], ..TableOptions::default() };
    assert_eq!(numbers(&Table::open(&path, &dropped).unwrap(), "b"), [1.0, 2.0, 3.0]);
    refused(&folder.write("no.parquet", "PAR1"), &TableOptions::default(), &["no.parquet", "Parquet"]);
}

#[test]
fn bad_tables_are_refused_with_file_line_and_column() {
    let folder = Folder::new();
    let any = TableOptions::default();
    let csv = |text: &str| folder.write("t.csv", text);
    refused(Path::new("nowhere/t.csv"), &any, &["nowhere/t.csv", "cannot read"]);
    refused(folder.0.path(), &any, &["a folder", ".parquet"]);
    refused(&folder.write("t.xlsx", "x"), &any, &["t.xlsx", "another ending", ".arff"]);
    refused(&csv(""), &any, &["t.csv", "first line is empty"]);
    refused(&csv("a,b,class\n"), &any, &["t.csv", "no row"]);
    refused(&csv("a,b,class\n1,2,x\n1,2\n"), &any, &["t.csv: line 3", "2 cells", "3 columns"]);
    refused(&csv("a,b,a\n1,2,3\n"), &any, &["columns 1 and 3", "'a'"]);
    refused(&csv("a,,class\n1,2,3\n"), &any, &["column 2 of 3 has no name"]);
    refused(&csv("1,2.5,3\n4,5,6\n"), &any, &["first line holds numbers only", "header"]);
    refused(&csv("a,class\n1,x\ninf,y\n"), &any, &["line 3, column 'a'", "'inf'"]);
    refused(&csv("a,class\n1,x\n-1e999,y\n"), &any, &["line 3, column 'a'", "'-inf'", "--drop a"]);
    // Where another cell makes a column text, it is a word like any other.
    let words = open(&csv("a,class\ninf,x\nsup,y\n")).unwrap();
    let text = |word: &str| Some(word.to_owned());
    assert_eq!(words.columns()[0].values, Values::Text(vec![text("inf"), text("sup")]));
    refused(&folder.write("t.csv", b"a,class\n1,caf\xe9\n"), &any, &["t.csv: line 2", "not UTF-8"]);
    let flowers = csv(FLOWERS);
    let named = |label: &str| TableOptions { label: Choice::Named(label.into()), ..TableOptions::default() };
    refused(&flowers, &named("kind"), &["no column 'kind'", "--label", "id, length, colour, class"]);
    let twice = TableOptions { drop: vec!["class".into()], ..named("class") };
    refused(&flowers, &twice, &["'class' is named twice", "--drop"]);
    refused(&csv("id,a\nx,1\nx,2\n"), &any, &["line 3, column 'id'", "'x'", "second time"]);
    refused(&csv("id,a\nx,1\n,2\n"), &any, &["line 3, column 'id'", "missing"]);
    let error = open(&csv("a,b\n1,2\n")).unwrap().classes().unwrap_err().to_string();
    assert!(error.contains("--label") && error.contains("'b'") && error.contains("a, b"), "{error}");
    let error = open(&csv("a,y\n1,2\n1,\n")).unwrap().classes().unwrap_err().to_string();
    assert!(error.contains("line 3, column 'y'") && error.contains("missing"), "{error}");
    let error = open(&csv("a,y\n1,2\n1,two\n")).unwrap().targets().unwrap_err().to_string();
    assert!(error.contains("line 3, column 'y'") && error.contains("'two'"), "{error}");

    let arff = |text: &str| folder.write("t.arff", text);
    refused(&arff("@relation r\n@attribute a numeric\n1\n"), &any, &["t.arff: line 3", "@data"]);
    refused(&arff("@relation r\n@attribute a\n@data\n1\n"), &any, &["line 2", "a name and a type"]);
    refused(&arff("@attribute a numeric\n@data\nred\n"), &any, &["line 3, column 'a'", "declared numeric"]);
    refused(
        &arff("@attribute a numeric\n@attribute b numeric\n@data\n1\n"),
        &any,
        &["line 4", "1 cells", "2 attributes"],
    );
    refused(&arff("@attribute a numeric\n@data\n{0 1}\n"), &any, &["line 3", "sparse"]);
    refused(&arff("@attribute a numeric\n@data\n1\nInf\n"), &any, &["line 4, column 'a'", "'inf'"]);
    refused(&arff("@attribute 'a numeric\n@data\n1\n"), &any, &["line 1", "does not end"]);
    refused(&arff("nothing\n"), &any, &["line 1", "'nothing'"]);
    refused(&arff("@relation r\n"), &any, &["no line @data"]);
}

#[test]
fn a_range_keeps_row_numbers_and_lines() {
    let folder = Folder::new();
    let path = folder.write("t.csv", "a,class\n1,x\n2,y\n3,x\n4,\n");
    let part = |range: &str| open(Path::new(&format!("{}#{range}", path.display())));
    let table = part("1..").unwrap();
    assert_eq!((table.len(), table.ids()), (3, vec!["1".to_owned(), "2".to_owned(), "3".to_owned()]));
    assert!(table.classes().unwrap_err().to_string().contains("line 5"));
    assert!(part("2..9").unwrap_err().contains("there are 4"));
    assert!(part("train").unwrap_err().contains("no splits"));
    assert_eq!(TableKind::of(Path::new("x/t.CSV.gz#0..5")), Some(TableKind::Csv));
    assert_eq!(TableKind::of(Path::new("x/photos")), None);
}

#[test]
fn a_manifest_of_images_is_no_table() {
    let folder = Folder::new();
    let kind = |path: &Path| TableKind::at(path).unwrap();
    let manifest = folder.write("m.csv", "label,\"path\"\nx,a.png\n");
    assert_eq!((TableKind::of(&manifest), kind(&manifest)), (Some(TableKind::Csv), None));
    assert_eq!(kind(&folder.write("t.csv", FLOWERS)), Some(TableKind::Csv));
    assert_eq!(kind(Path::new("not/there.parquet")), Some(TableKind::Parquet));
    assert_eq!(kind(folder.0.path()), None);
    assert!(TableKind::at(Path::new("not/there.csv")).is_err());
}

#[test]
fn labels_that_are_numbers_stand_in_their_order_and_codes_keep_their_zeros() {
    let folder = Folder::new();
    let table = open(&folder.write("t.csv", "a,class\n1,10\n2,9\n3,-1\n")).unwrap();
    assert_eq!(table.classes().unwrap(), (vec![2, 1, 0], ["-1", "9", "10"].map(str::to_owned).to_vec()));
    let table = open(&folder.write("t.csv", "a,class\n1,007\n2,7\n")).unwrap();
    assert_eq!(table.classes().unwrap().1.len(), 2);
}

fn fit(table: &Table, rows: &[usize], options: FeatureOptions) -> Result<Features, String> {
    Features::fit(table, rows, &["colour".to_owned()], options).map(|(f, _)| f).map_err(|e| e.to_string())
}

fn coloured(folder: &Folder, text: &str) -> Table {
    let options = TableOptions { categorical: vec!["colour".into()], ..TableOptions::default() };
    Table::open(&folder.write("c.csv", text), &options).unwrap()
}

#[test]
fn features_are_fitted_to_training_rows_alone() {
    let folder = Folder::new();
    let table = coloured(&folder, "x,colour,y\n1,red,a\n3,blue,a\n5,red,b\n100,red,b\n");
    let features = fit(&table, &[0, 1, 2], FeatureOptions::default()).unwrap();
    assert_eq!(features.dim(), 3);
    assert_eq!(features.owners(), [0, 1, 1]);
    let scale = (8.0f64 / 3.0).sqrt();
    assert_eq!(
        features.columns[0],
        FeatureColumn::Number { name: "x".into(), centre: 3.0, scale, fill: None }
    );
    let found = features.apply(&table).unwrap();
    let x = |value: f64| ((value - 3.0) / scale) as f32;
    assert_eq!(found.values, [x(1.0), 0.0, 1.0, 0.0, 1.0, 0.0, x(5.0), 0.0, 1.0, x(100.0), 0.0, 1.0]);
    assert_eq!(found.select(&[1]).values, [0.0, 1.0, 0.0]);

    let scaled = |scale| {
        let features =
            fit(&table, &[0, 1, 2, 3], FeatureOptions { scale, ..FeatureOptions::default() }).unwrap();
        let FeatureColumn::Number { centre, scale, .. } = features.columns[0] else { panic!() };
        (centre, scale)
    };
    assert_eq!(scaled(Scale::None), (0.0, 1.0));
    assert_eq!(scaled(Scale::MinMax), (1.0, 99.0));
    // Quartiles of 1, 3, 5, 100 at 0.75 and 2.25 of the way: 2.5 and 28.75.
    assert_eq!(scaled(Scale::Robust), (4.0, 26.25));
}

#[test]
fn missing_values_and_new_categories_are_refused_or_filled_as_was_chosen() {
    let folder = Folder::new();
    let table = coloured(&folder, "x,colour,y\n1,red,a\n?,blue,a\n6,?,b\n2,red,b\n9,green,b\n");
    let refuse = fit(&table, &[0, 1], FeatureOptions::default()).unwrap_err();
    assert!(refuse.contains("line 3, column 'x'") && refuse.contains("--missing mean"), "{refuse}");
    let options = FeatureOptions { missing: Missing::Mean, ..FeatureOptions::default() };
    let features = fit(&table, &[0, 1, 2, 3], options).unwrap();
    assert!(matches!(&features.columns[0], FeatureColumn::Number { fill: Some(3.0), .. }), "{features:?}");
    assert!(matches!(&features.columns[1], FeatureColumn::Category { fill: Some(red), .. } if red == "red"));
    let error = features.apply(&table).unwrap_err().to_string();
    assert!(
        error.contains("line 6, column 'colour'") && error.contains("'green'") && error.contains("blue, red"),
        "{error}"
    );
    let options = FeatureOptions { missing: Missing::Median, unknown: Unknown::Zeros, scale: Scale::None };
    let features = fit(&table, &[0, 1, 2, 3], options).unwrap();
    let found = features.apply(&table).unwrap().values;
    assert_eq!(found, [1.0, 0.0, 1.0, 2.0, 1.0, 0.0, 6.0, 0.0, 1.0, 2.0, 0.0, 1.0, 9.0, 0.0, 0.0]);
    // It survives being written.
    assert_eq!(toml::from_str::<Features>(&toml::to_string(&features).unwrap()).unwrap(), features);
}

#[test]
fn a_table_that_does_not_fit_the_features_is_refused_by_name() {
    let folder = Folder::new();
    let table = coloured(&folder, "x,z,colour,y\n1,1,red,a\n2,5,blue,a\n");
    let features =
        fit(&table, &[0, 1], FeatureOptions { scale: Scale::None, ..FeatureOptions::default() }).unwrap();
    let apply =
        |text: &str| features.apply(&open(&folder.write("n.csv", text)).unwrap()).map_err(|e| e.to_string());
    let error = apply("colour,x\nred,1\n").unwrap_err();
    assert!(
        error.contains("1 of the model's 3 columns") && error.contains("z") && error.contains("colour, x"),
        "{error}"
    );
    let error = apply("z,colour,x\n1,red,1\n2,red,one\n").unwrap_err();
    assert!(error.contains("line 3, column 'x'") && error.contains("'one'"), "{error}");
    let error = apply("z,colour,x\n1,3,1\n").unwrap_err();
    assert!(error.contains("'colour'") && error.contains("categories"), "{error}");
    let error = apply("z,colour,x\n1,red,1e300\n").unwrap_err();
    assert!(error.contains("line 2, column 'x'") && error.contains("beyond"), "{error}");
    // Order and further columns do not matter.
    assert_eq!(apply("more,z,colour,x\nq,5,blue,2\n").unwrap().values, [2.0, 5.0, 1.0, 0.0]);
    let only = TableOptions {
        only: Some(["x", "z", "colour"].map(str::to_owned).to_vec()),
        categorical: vec!["colour".into()],
        ..TableOptions::default()
    };
    let numbers = folder.write("n.csv", "z,colour,x,junk\n1,3,1,inf\n");
    let table = Table::open(&numbers, &only).unwrap();
    assert_eq!(table.columns().len(), 3);
    assert!(features.apply(&table).unwrap_err().to_string().contains("'3'"));
}

#[test]
fn text_that_was_not_declared_and_hopeless_columns_are_refused() {
    let folder = Folder::new();
    let fit_all = |text: &str, options| {
        let table = open(&folder.write("t.csv", text)).unwrap();
        let rows: Vec<usize> = (0..table.len()).collect();
        Features::fit(&table, &rows, &[], options).map_err(|e| e.to_string())
    };
    let error = fit_all("x,y\n1,a\nthree,a\n", FeatureOptions::default()).unwrap_err();
    for word in ["line 3, column 'x'", "'three'", "1 of 2 cells", "--categorical x", "--drop x"] {
        assert!(error.contains(word), "no {word} in {error}");
    }
    let mean = FeatureOptions { missing: Missing::Mean, ..FeatureOptions::default() };
    assert!(fit_all("x,y\n?,a\nNA,a\n", mean).unwrap_err().contains("'x' has no value in any training row"));
    assert!(fit_all("y\na\nb\n", mean).unwrap_err().contains("no column is left"));
    assert!(
        fit_all("x,y\n1e300,a\n-1e300,a\n", mean).unwrap_err().contains("beyond what can be computed with")
    );
    let (features, notes) = fit_all("x,k,y\n1,0.1,a\n2,0.1,a\n3,0.1,a\n", mean).unwrap();
    assert!(notes[0].contains(": k"), "{notes:?}");
    assert!(matches!(features.columns[1], FeatureColumn::Number { centre: 0.1, scale: 1.0, .. }));
}

#[test]
fn a_description_counts_what_is_there() {
    let folder = Folder::new();
    let summary = open(&folder.write("t.csv", FLOWERS)).unwrap().describe();
    assert_eq!((summary.rows, summary.classes.len(), summary.classes[1].count), (3, 2, 2));
    assert_eq!(
        summary.columns[0],
        ColumnSummary::Number { name: "length".into(), missing: 1, least: -20.0, mean: -9.25, greatest: 1.5 }
    );
    let ColumnSummary::Text { different, first, .. } = &summary.columns[1] else { panic!() };
    assert_eq!((*different, first.as_str()), (2, "red"));
}
