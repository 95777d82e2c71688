//! Every kind of data set, from tiny generated files, and every way in which they can be wrong.

use std::fs;
use std::io::Write;
use std::path::{Path, PathBuf};

use flate2::Compression;
use flate2::write::GzEncoder;
use nearkin_data::splits::ClassList;
use nearkin_data::{
    Attributes, DRLIM_SHIFTS, DRLIM_SIDE, DataError, Dataset, Image, Kind, Sample, SuperClasses, shifted,
};

fn folder() -> tempfile::TempDir {
    tempfile::tempdir().unwrap()
}

fn write(path: impl AsRef<Path>, bytes: impl AsRef<[u8]>) {
    let path = path.as_ref();
    fs::create_dir_all(path.parent().unwrap()).unwrap();
    fs::write(path, bytes).unwrap();
}

/// A PNG of one colour, whatever its name says.
fn write_image(path: impl AsRef<Path>, width: u32, height: u32, value: u8) {
    let image = image::RgbImage::from_pixel(width, height, image::Rgb([value; 3]));
    let mut bytes = std::io::Cursor::new(Vec::new());
    image.write_to(&mut bytes, image::ImageFormat::Png).unwrap();
    write(path, bytes.into_inner());
}

fn gzip(bytes: &[u8]) -> Vec<u8> {
    let mut encoder = GzEncoder::new(Vec::new(), Compression::fast());
    encoder.write_all(bytes).unwrap();
    encoder.finish().unwrap()
}

fn idx(magic: u32, dims: &[u32], body: &[u8]) -> Vec<u8> {
    let mut bytes = magic.to_be_bytes().to_vec();
    for dim in dims {
        bytes.extend(dim.to_be_bytes());
    }
    bytes.extend(body);
    bytes
}

fn open(path: impl AsRef<Path>) -> Dataset {
    Dataset::open(path.as_ref()).unwrap()
}

fn problem(path: impl AsRef<Path>) -> String {
    Dataset::open(path.as_ref()).unwrap_err().to_string()
}

fn with_split(path: &Path, split: &str) -> PathBuf {
    format!("{}#{split}", path.display()).into()
}

fn ids(dataset: &Dataset) -> Vec<&str> {
    dataset.samples().map(|sample| sample.id.as_str()).collect()
}

#[test]
fn a_folder_per_class_is_read_in_byte_order() {
    let dir = folder();
    let root = dir.path();
    write_image(root.join("dog/2.JPG"), 4, 3, 20);
    write_image(root.join("cat/b.png"), 5, 3, 10);
    write_image(root.join("cat/a.jpeg"), 5, 3, 11);
    write_image(root.join("cat-big/a.gif"), 5, 3, 11);
    write_image(root.join(".cache/a.png"), 5, 3, 0);
    write_image(root.join("cat/.hidden.png"), 5, 3, 0);
    write(root.join("cat/notes.txt"), "x");
    fs::create_dir(root.join("bird")).unwrap();
    let set = open(root);
    assert_eq!(set.kind(), Kind::Folder);
    assert_eq!(ids(&set), ["cat-big/a.gif", "cat/a.jpeg", "cat/b.png", "dog/2.JPG"]);
    assert_eq!(set.classes(), ["cat", "cat-big", "dog"]);
    assert_eq!(set.labels().unwrap(), [1, 0, 0, 2]);
    assert_eq!(set.image(3).unwrap().pixels, vec![20; 36]);
    assert!(matches!(set.image(4), Err(DataError::Index { index: 4, len: 4 })));

    let summary = set.describe();
    assert_eq!(summary.count, 4);
    assert_eq!(summary.unlabelled, 0);
    let counts: Vec<_> = summary.classes.iter().map(|class| class.count).collect();
    assert_eq!(counts, [2, 1, 1]);
    let sizes: Vec<_> = summary.sizes.iter().map(|s| (s.width, s.height, s.count)).collect();
    assert_eq!(sizes, [(5, 3, 3), (4, 3, 1)]);
    assert_eq!(summary.channels[0].channels, 3);
    let warnings = summary.warnings.join("\n");
    assert!(warnings.contains("1 folders hold no images and become no class: bird"), "{warnings}");
    assert!(warnings.contains("1 files without an image's extension"), "{warnings}");
}

#[test]
fn deeper_folders_become_classes_by_their_whole_path() {
    let dir = folder();
    write_image(dir.path().join("fruit/apple/1.png"), 2, 2, 0);
    write_image(dir.path().join("fruit/pear/1.png"), 2, 2, 0);
    write_image(dir.path().join("milk/1.png"), 2, 2, 0);
    fs::create_dir_all(dir.path().join("fruit/fig/none")).unwrap();
    let set = open(dir.path());
    assert_eq!(set.classes(), ["fruit/apple", "fruit/pear", "milk"]);
    let warnings = set.warnings().join("\n");
    assert!(warnings.ends_with("become no class: fruit/fig"), "{warnings}");
}

#[test]
fn a_flat_folder_is_unlabelled_and_stray_images_are_reported() {
    let dir = folder();
    write_image(dir.path().join("1.png"), 2, 2, 0);
    let set = open(dir.path());
    assert_eq!(set.labels(), None);
    assert!(set.classes().is_empty() && set.warnings().is_empty());
    write_image(dir.path().join("cat/1.png"), 2, 2, 0);
    let set = open(dir.path());
    assert_eq!(set.labels(), None);
    assert_eq!(set.sample(1).label, Some(0));
    assert!(set.warnings()[0].contains("1 images lie beside"), "{:?}", set.warnings());
}

#[test]
fn folders_named_like_splits_are_splits_only_if_all_are() {
    let dir = folder();
    let root = dir.path();
    for id in ["train/cat/1.png", "train/dog/1.png", "test/dog/2.png"] {
        write_image(root.join(id), 2, 2, 0);
    }
    let set = open(root);
    assert_eq!(set.classes(), ["cat", "dog"]);
    assert_eq!(set.splits(), ["test", "train"]);
    let test = open(with_split(root, "test"));
    assert_eq!(test.labels().unwrap(), [1]);
    assert_eq!(test.classes(), ["cat", "dog"]);
    let text = problem(with_split(root, "val"));
    assert!(text.contains("no split \"val\"; available: test, train"), "{text}");

    write_image(root.join("boat/1.png"), 2, 2, 0);
    let set = open(root);
    assert!(set.splits().is_empty());
    assert_eq!(set.classes(), ["boat", "test/dog", "train/cat", "train/dog"]);
    let text = problem(with_split(root, "test"));
    assert!(text.contains("this data set has no splits"), "{text}");
}

#[test]
fn a_folder_without_images_is_an_error() {
    let dir = folder();
    write(dir.path().join("cat/notes.txt"), "x");
    let text = problem(dir.path());
    assert!(text.contains("no samples: 1 folders and 1 files"), "{text}");
    let text = problem(dir.path().join("nowhere"));
    assert!(text.contains("nowhere: cannot read"), "{text}");
    write(dir.path().join("data.txt"), "hello");
    let text = problem(dir.path().join("data.txt"));
    assert!(text.contains("unknown kind (5 bytes); wanted: a folder"), "{text}");
}

#[test]
fn one_image_is_a_set_of_one_without_a_label() {
    let dir = folder();
    write_image(dir.path().join("one.png"), 1, 1, 0);
    let set = Dataset::open(&dir.path().join("one.png")).unwrap();
    assert_eq!((set.len(), set.labels(), set.sample(0).id.as_str()), (1, None, "one.png"));
}

#[test]
fn a_range_chooses_samples_and_an_empty_or_overlong_one_is_an_error() {
    let dir = folder();
    for (i, class) in ["ant", "ant", "bee", "cat"].iter().enumerate() {
        write_image(dir.path().join(format!("{class}/{i}.png")), 1, 1, 0);
    }
    let open = |range: &str| Dataset::open(Path::new(&format!("{}#{range}", dir.path().display())));
    let ids = |set: Dataset| set.samples().map(|s| s.id.clone()).collect::<Vec<_>>();
    assert_eq!(ids(open("1..3").unwrap()), ["ant/1.png", "bee/2.png"]);
    assert_eq!(ids(open("3..").unwrap()), ["cat/3.png"]);
    assert_eq!(open("..2").unwrap().present_classes(), ["ant"]);
    for range in ["2..2", "0..5", "4.."] {
        let message = open(range).unwrap_err().to_string();
        assert!(message.contains(&format!("no samples {range}: there are 4")), "{message}");
    }
}

#[test]
fn a_hash_in_a_real_name_is_not_a_split() {
    let dir = folder();
    write_image(dir.path().join("a#b/1.png"), 2, 2, 0);
    assert_eq!(open(dir.path().join("a#b")).len(), 1);
}

fn write_mnist(root: &Path) {
    let train: Vec<u8> = (0..3 * 6).collect();
    write(root.join("train-images-idx3-ubyte.gz"), gzip(&idx(0x803, &[3, 2, 3], &train)));
    write(root.join("train-labels-idx1-ubyte"), idx(0x801, &[3], &[2, 0, 4]));
    write(root.join("t10k-images-idx3-ubyte"), idx(0x803, &[1, 2, 3], &[7; 6]));
    write(root.join("t10k-labels-idx1-ubyte.gz"), gzip(&idx(0x801, &[1], &[1])));
}

#[test]
fn idx_pairs_are_splits_with_training_first() {
    let dir = folder();
    write_mnist(dir.path());
    let set = open(dir.path());
    assert_eq!(set.kind(), Kind::Idx);
    assert_eq!(ids(&set), ["train/0", "train/1", "train/2", "test/0"]);
    assert_eq!(set.labels().unwrap(), [2, 0, 4, 1]);
    assert_eq!(set.classes(), ["0", "1", "2", "3", "4"]);
    assert_eq!(set.splits(), ["train", "test"]);
    let image = set.image(1).unwrap();
    assert_eq!((image.width, image.height, image.channels), (3, 2, 1));
    assert_eq!(image.pixels, [6, 7, 8, 9, 10, 11]);

    let test = open(with_split(dir.path(), "test"));
    assert_eq!(ids(&test), ["test/0"]);
    assert_eq!(test.classes().len(), 5);
    assert_eq!(test.image(0).unwrap().pixels, [7; 6]);
    assert!(problem(with_split(dir.path(), "val")).contains("available: train, test"));
    let one = open(dir.path().join("t10k-images-idx3-ubyte"));
    assert_eq!(one.labels().unwrap(), [1]);
}

#[test]
fn a_names_file_beside_idx_files_names_the_classes() {
    let dir = folder();
    write(dir.path().join("train-images-idx3-ubyte"), idx(0x803, &[2, 1, 1], &[5, 6]));
    write(dir.path().join("train-labels-idx1-ubyte"), idx(0x801, &[2], &[1, 0]));
    write(dir.path().join("classes.txt"), "cup\n\nfork \n");
    assert_eq!(open(dir.path()).classes(), ["cup", "fork"]);
    assert_eq!(open(dir.path().join("train-images-idx3-ubyte")).classes(), ["cup", "fork"]);
    write(dir.path().join("classes.txt"), "cup\n");
    let text = problem(dir.path());
    assert!(text.contains("classes.txt: number of class names: found 1, wanted 2, one a line"), "{text}");
}

#[test]
fn idx_without_labels_is_unlabelled_with_a_warning() {
    let dir = folder();
    let path = dir.path().join("photos.dat");
    write(&path, idx(0x803, &[1, 1, 2], &[3, 4]));
    let set = open(&path);
    assert_eq!(set.labels(), None);
    assert_eq!(set.splits(), Vec::<String>::new());
    assert!(set.warnings()[0].contains("no labels file beside it"));
}

#[test]
fn damaged_idx_files_say_what_was_found_and_wanted() {
    let dir = folder();
    let images = dir.path().join("train-images-idx3-ubyte");
    let labels = dir.path().join("train-labels-idx1-ubyte");
    let cases: [(Vec<u8>, &str); 8] = [
        (idx(0x801, &[1], &[0]), "IDX magic number: found 0x00000801, wanted 0x00000803"),
        (vec![0, 0, 8], "IDX header: found the end of the file, wanted 16 bytes"),
        (idx(0x803, &[3, 2], &[]), "IDX header: found the end of the file"),
        (
            idx(0x803, &[3, 2, 3], &[0; 17]),
            "bytes after the header: found 17 (the file is truncated), wanted 18 for 3x2x3",
        ),
        (idx(0x803, &[3, 2, 3], &[0; 19]), "found more, wanted 18"),
        (idx(0x803, &[3, 0, 3], &[]), "image size: found 3x0"),
        (idx(0x803, &[u32::MAX; 3], &[]), "IDX dimensions"),
        (idx(0x803, &[0, 2, 3], &[]), "no samples"),
    ];
    for (bytes, wanted) in cases {
        write(&images, &bytes);
        let text = problem(&images);
        assert!(text.contains(wanted), "{text}");
    }
    write(&images, idx(0x803, &[3, 2, 3], &[0; 18]));
    write(&labels, idx(0x801, &[2], &[0, 1]));
    let text = problem(dir.path());
    assert!(text.contains("labels-idx1-ubyte: number of labels: found 2, wanted 3"), "{text}");
    write(&labels, idx(0x803, &[2], &[0, 1]));
    assert!(problem(dir.path()).contains("wanted 0x00000801"));
    let zipped = gzip(&idx(0x803, &[3, 2, 3], &[0; 18]));
    write(&images, &zipped[..zipped.len() - 12]);
    fs::remove_file(&labels).unwrap();
    let text = problem(&images);
    assert!(text.contains("idx3-ubyte: cannot read"), "{text}");
}

fn cifar_rows(labels: &[&[u8]]) -> Vec<u8> {
    let mut bytes = Vec::new();
    for label in labels {
        bytes.extend_from_slice(label);
        for plane in [1, 2, 3] {
            bytes.extend([plane * 10; 1024]);
        }
    }
    bytes
}

#[test]
fn cifar_ten_has_names_splits_and_interleaved_pixels() {
    let dir = folder();
    let root = dir.path();
    write(root.join("test_batch.bin"), cifar_rows(&[&[9]]));
    write(root.join("data_batch_2.bin.gz"), gzip(&cifar_rows(&[&[1]])));
    write(root.join("data_batch_1.bin"), cifar_rows(&[&[3], &[0]]));
    let set = open(root);
    assert_eq!(set.kind(), Kind::Cifar);
    assert_eq!(ids(&set), ["data_batch_1/0", "data_batch_1/1", "data_batch_2/0", "test_batch/0"]);
    assert_eq!(set.labels().unwrap(), [3, 0, 1, 9]);
    assert_eq!(set.classes()[9], "9");
    let image = set.image(0).unwrap();
    assert_eq!((image.width, image.height, image.channels), (32, 32, 3));
    assert_eq!(image.pixels[..6], [10, 20, 30, 10, 20, 30]);

    write(root.join("batches.meta.txt"), "a\nb\nc\nd\ne\nf\ng\nh\ni\nj\n\n");
    let test = open(with_split(root, "test"));
    assert_eq!((test.len(), test.classes()[9].as_str()), (1, "j"));
    assert!(problem(with_split(root, "val")).contains("available: train, test"));
    write(root.join("batches.meta.txt"), "a\nb\n");
    assert!(problem(root).contains("number of class names: found 2, wanted 10"));
}

#[test]
fn cifar_hundred_is_known_by_its_row_length() {
    let dir = folder();
    let path = dir.path().join("train.bin");
    write(&path, cifar_rows(&[&[4, 77], &[1, 99]]));
    let set = open(&path);
    assert_eq!(set.labels().unwrap(), [77, 99]);
    assert_eq!(set.classes().len(), 100);
    assert_eq!(set.splits(), ["train"]);
}

#[test]
fn damaged_cifar_files_say_what_was_found_and_wanted() {
    let dir = folder();
    let path = dir.path().join("data_batch_1.bin");
    write(&path, &cifar_rows(&[&[1], &[2]])[..6000]);
    let text = problem(&path);
    assert!(text.contains("file size: found 6000 bytes (1 rows of 3073 and 2927 bytes more)"), "{text}");
    write(&path, b"");
    assert!(problem(&path).contains("found 0 bytes"));
    write(&path, cifar_rows(&[&[1], &[10]]));
    assert!(problem(&path).contains("label: found 10 in row 1, wanted 0 to 9"));
    write(&path, cifar_rows(&[&[1]]));
    write(dir.path().join("test.bin"), cifar_rows(&[&[1, 1]]));
    assert!(problem(dir.path()).contains("row length"));
}

#[test]
fn a_manifest_gives_labels_and_splits() {
    let dir = folder();
    write_image(dir.path().join("img/1.png"), 2, 2, 1);
    write_image(dir.path().join("img/2.png"), 2, 2, 2);
    let csv = dir.path().join("list.csv");
    write(&csv, "\u{feff}path,note,label,split\nimg/2.png,x,zebra,train\nimg/1.png,\"a, b\",ant,test\n");
    let set = open(&csv);
    assert_eq!(set.kind(), Kind::Manifest);
    assert_eq!(ids(&set), ["img/2.png", "img/1.png"]);
    assert_eq!(set.classes(), ["ant", "zebra"]);
    assert_eq!(set.labels().unwrap(), [1, 0]);
    let test = open(with_split(&csv, "test"));
    assert_eq!((test.len(), test.origin(0)), (1, 1));
    assert_eq!(test.image(0).unwrap().pixels, [1; 12]);
    assert_eq!(test.classes().len(), 2);

    write(&csv, "path\nimg/1.png\nimg/1.png\n");
    let set = open(&csv);
    assert_eq!(set.labels(), None);
    assert!(set.warnings()[0].starts_with("1 lines name a file"));
    write(&csv, "label,path\n,img/1.png\n,img/2.png\n");
    assert_eq!(open(&csv).labels(), None);
}

#[test]
fn wrong_manifests_name_the_line() {
    let dir = folder();
    write_image(dir.path().join("1.png"), 2, 2, 1);
    let csv = dir.path().join("list.csv");
    let cases = [
        ("file,label\n1.png,a\n", "line 1: the header has no column \"path\": found \"file,label\""),
        ("", "line 1: the header has no column"),
        ("path,label\n", "no samples"),
        ("path,label\n1.png,a\n2.png,b\n", "line 3: 1 of 2 files do not exist"),
        (
            "path,label\n1.png,a\n1.png,\n1.png,a\n1.png,\n",
            "line 3: the cell \"label\" is empty in 2 of 4 lines (first: 3, 5)",
        ),
        ("path,label\n1.png,a\n1.png\n", "line 3: not a CSV file"),
        ("path,label\n,a\n", "line 2: the cell \"path\" is empty"),
    ];
    for (text, wanted) in cases {
        write(&csv, text);
        let found = problem(&csv);
        assert!(found.contains(wanted), "{found}");
    }
    write(&csv, b"path,label\n1.png,\xff\xfe\n");
    assert!(problem(&csv).contains("not a CSV file in UTF-8"));
}

#[test]
fn a_fingerprint_changes_with_the_data_and_not_with_the_place() {
    let (one, two) = (folder(), folder());
    write_mnist(one.path());
    write_mnist(two.path());
    let first = open(one.path()).fingerprint();
    assert_eq!(first.len(), 64);
    assert_eq!(first, open(two.path()).fingerprint());
    assert_ne!(first, open(with_split(two.path(), "train")).fingerprint());
    write(two.path().join("t10k-images-idx3-ubyte"), idx(0x803, &[1, 2, 3], &[7, 7, 7, 7, 7, 8]));
    assert_ne!(first, open(two.path()).fingerprint());

    let dir = folder();
    write_image(dir.path().join("cat/1.png"), 2, 2, 0);
    let before = open(dir.path()).fingerprint();
    write_image(dir.path().join("cat/1.png"), 2, 30, 0);
    assert_ne!(before, open(dir.path()).fingerprint());
}

#[test]
fn a_subset_shares_pixels_and_keeps_origins() {
    let dir = folder();
    write_mnist(dir.path());
    let set = open(dir.path());
    let subset = set.subset(&[3, 1]).subset(&[1]);
    assert_eq!((subset.len(), subset.origin(0)), (1, 1));
    assert_eq!(subset.sample(0), set.sample(1));
    assert_eq!(subset.image(0).unwrap(), set.image(1).unwrap());
    assert!(set.subset(&[]).is_empty());
    assert_eq!(set.subset(&[]).describe().count, 0);
}

#[test]
fn unreadable_images_appear_in_the_summary() {
    let dir = folder();
    write_image(dir.path().join("cat/1.png"), 2, 2, 0);
    write(dir.path().join("cat/2.jpg"), "not an image");
    let warnings = open(dir.path()).describe().warnings.join("\n");
    assert!(warnings.contains("1 of 2 images looked at cannot be read"), "{warnings}");
    assert!(warnings.contains("2.jpg: not an image"), "{warnings}");
}

#[test]
fn further_columns_of_a_manifest_are_attributes() {
    let dir = folder();
    write_image(dir.path().join("1.png"), 2, 2, 1);
    write_image(dir.path().join("2.png"), 2, 2, 2);
    let csv = dir.path().join("list.csv");
    write(&csv, "camera,path,label,shift\nleft,2.png,a,-3\n,1.png,b,0\n");
    let set = open(&csv);
    assert_eq!(set.attributes(), ["camera", "shift"]);
    assert_eq!(set.attribute("camera").unwrap(), [Some("left"), None]);
    assert_eq!(set.subset(&[1]).numbers("shift").unwrap(), [0.0]);
    let text = set.attribute("azimuth").unwrap_err().to_string();
    assert!(text.contains("no attribute \"azimuth\"; available: camera, shift"), "{text}");
    let text = set.numbers("camera").unwrap_err().to_string();
    assert!(text.contains("\"left\" as \"camera\" of sample 2.png, wanted a finite number"), "{text}");
    write(&csv, "path,x,x\n1.png,1,2\n");
    assert!(problem(&csv).contains("line 1: attribute: found \"x\""));
}

#[test]
fn attributes_are_read_by_id_or_path() {
    let dir = folder();
    let root = dir.path().join("images");
    for id in ["cat/1.png", "cat/2.png", "dog/1.png"] {
        write_image(root.join(id), 2, 2, 0);
    }
    let set = open(&root);
    assert!(set.attributes().is_empty());
    let csv = dir.path().join("known.csv");
    write(&csv, "\u{feff}id,camera\ncat/2.png,left\ndog/1.png,right\nfox/9.png,left\n");
    let (known, notes) = set.with_attributes(&csv).unwrap();
    assert_eq!(known.attribute("camera").unwrap(), [None, Some("left"), Some("right")]);
    assert_eq!(notes.len(), 2);
    assert!(notes[0].ends_with("1 of 3 lines name no sample of this set"), "{notes:?}");
    assert!(notes[1].ends_with("1 of 3 samples have no line"), "{notes:?}");
    assert_eq!(known.fingerprint(), set.fingerprint());

    // A path from the CSV's own folder; and a second file adds to the first.
    let more = dir.path().join("more.csv.gz");
    write(&more, gzip(b"weather,path\nsun,images/cat/1.png\nrain,cat/2.png\nfog,images/dog/1.png\n"));
    let (both, notes) = known.with_attributes(&more).unwrap();
    assert_eq!(both.attributes(), ["camera", "weather"]);
    assert_eq!(both.subset(&[2, 0]).attribute("weather").unwrap(), [Some("fog"), Some("sun")]);
    assert!(notes.is_empty());

    for (text, wanted) in [
        ("file,camera\na,b\n", "line 1: the header has no column \"id\" or \"path\": found \"file,camera\""),
        ("id\ncat/1.png\n", "line 1: the header has no column beside \"id\""),
        ("id,x\ncat/1.png,1\ncat/1.png,2\n", "line 3: \"cat/1.png\" stands in line 2 already"),
        ("id,x\n1.png,1\n", "none of 1 lines names a sample by its id; the first sample's is \"cat/1.png\""),
        ("id,camera\ncat/1.png,1\n", "line 1: attribute: found \"camera\""),
        ("id,x\ncat/1.png\n", "line 2: not a CSV file"),
    ] {
        write(&csv, text);
        let found = known.with_attributes(&csv).unwrap_err().to_string();
        assert!(found.contains(wanted), "{found}");
    }
}

#[test]
fn a_set_in_memory_is_checked() {
    let image = || Image::new(1, 1, 1, vec![7]).unwrap();
    let sample = |label| Sample { id: "a".into(), path: None, label, split: None };
    let make = |samples: Vec<Sample>, images, attributes| {
        Dataset::in_memory("made", samples, images, vec!["x".into()], attributes).map_err(|e| e.to_string())
    };
    let mut one = Attributes::default();
    one.push("k", vec![None]).unwrap();
    assert!(one.push("l", vec![]).is_err() && one.push("k", vec![None]).is_err());
    let set = make(vec![sample(Some(0))], vec![image()], one.clone()).unwrap();
    assert_eq!((set.kind(), set.len(), set.image(0).unwrap()), (Kind::Memory, 1, image()));
    assert!(make(vec![], vec![], Attributes::default()).unwrap_err().contains("no samples"));
    assert!(
        make(vec![sample(None)], vec![], Attributes::default()).unwrap_err().starts_with("images: found 0")
    );
    assert!(
        make(vec![sample(Some(1))], vec![image()], one.clone()).unwrap_err().starts_with("label: found 1")
    );
    assert!(
        make(vec![sample(None); 2], vec![image(), image()], one).unwrap_err().contains("found 1, wanted 2")
    );
    let broken = Image { width: 2, ..image() };
    assert!(make(vec![sample(None)], vec![broken], Attributes::default()).is_err());
}

/// A ZIP of files, deflated.
fn write_zip(path: &Path, entries: &[(&str, &[u8])]) {
    let mut zip = zip::ZipWriter::new(fs::File::create(path).unwrap());
    for (name, bytes) in entries {
        zip.start_file(*name, zip::write::SimpleFileOptions::default()).unwrap();
        zip.write_all(bytes).unwrap();
    }
    zip.finish().unwrap();
}

fn png(value: u8) -> Vec<u8> {
    let image = image::GrayImage::from_pixel(3, 2, image::Luma([value]));
    let mut bytes = std::io::Cursor::new(Vec::new());
    image.write_to(&mut bytes, image::ImageFormat::Png).unwrap();
    bytes.into_inner()
}

#[test]
fn a_zip_is_read_as_its_folder_would_be() {
    let dir = folder();
    let (path, unpacked) = (dir.path().join("set.zip"), dir.path().join("set"));
    let images = [("dog/2.png", png(20)), ("cat/b.png", png(10)), ("cat/a.png", png(11)), ("a.png", png(1))];
    for (id, bytes) in &images {
        write(unpacked.join(id), bytes);
    }
    let mut entries: Vec<(&str, &[u8])> = images.iter().map(|(id, bytes)| (*id, bytes.as_slice())).collect();
    entries.push(("cat/.hidden.png", b""));
    entries.push(("__MACOSX/cat/a.png", b""));
    entries.push(("notes.txt", b"x"));
    write_zip(&path, &entries);
    write(unpacked.join("notes.txt"), "x");
    let (zipped, plain) = (open(&path), open(&unpacked));
    assert_eq!(zipped.kind(), Kind::Zip);
    assert_eq!(ids(&zipped), ids(&plain));
    assert_eq!((zipped.classes(), zipped.warnings()), (plain.classes(), plain.warnings()));
    for i in 0..4 {
        assert_eq!(zipped.sample(i).label, plain.sample(i).label);
        assert_eq!(zipped.image(i).unwrap(), plain.image(i).unwrap());
    }
    let (a, b) = (zipped.describe(), plain.describe());
    assert_eq!((a.sizes, a.channels, a.unlabelled), (b.sizes, b.channels, b.unlabelled));
    let before = zipped.fingerprint();
    entries[1].1 = &images[0].1;
    write_zip(&path, &entries);
    assert_ne!(open(&path).fingerprint(), before);
}

#[test]
fn zips_in_one_folder_are_one_set_and_copies_count_once() {
    let dir = folder();
    let (a, b, c) = (png(1), png(2), png(3));
    // Each ZIP has a folder of its own around everything.
    write_zip(&dir.path().join("one.zip"), &[("one/cat/a.png", &a), ("one/dog/b.png", &b)]);
    write_zip(&dir.path().join("two.zip"), &[("two/cat/c.png", &c), ("two/dog/b.png", &b)]);
    let set = open(dir.path());
    assert_eq!(ids(&set), ["cat/a.png", "cat/c.png", "dog/b.png"]);
    assert_eq!(set.classes(), ["cat", "dog"]);
    assert_eq!(set.warnings(), ["1 images stand in two ZIPs alike and count once"]);
    for (i, value) in [1, 3, 2].into_iter().enumerate() {
        assert_eq!(set.image(i).unwrap().pixels[0], value);
    }
    write_zip(&dir.path().join("two.zip"), &[("two/cat/c.png", &c), ("two/dog/b.png", &a)]);
    let error = Dataset::open(dir.path()).unwrap_err().to_string();
    assert!(error.contains("dog/b.png") && error.contains("one.zip") && error.contains("two.zip"), "{error}");
    // With folders or images beside it, a ZIP is no image.
    write(dir.path().join("cat/x.png"), &a);
    assert_eq!(ids(&open(dir.path())), ["cat/x.png"]);
}

#[test]
fn a_folder_that_holds_all_of_a_zip_is_not_a_class() {
    let dir = folder();
    let path = dir.path().join("set.ZIP");
    let open_as = |names: &[&str]| {
        let bytes = png(0);
        write_zip(&path, &names.iter().map(|name| (*name, bytes.as_slice())).collect::<Vec<_>>());
        let set = open(&path);
        (set.classes().to_vec(), set.sample(0).id.clone())
    };
    let classes = |names: &[&str]| names.iter().map(ToString::to_string).collect::<Vec<_>>();
    assert_eq!(
        open_as(&["set/x/cat/1.png", "set/x/dog/1.png"]),
        (classes(&["cat", "dog"]), "cat/1.png".into())
    );
    assert_eq!(open_as(&["cat/1.png", "cat/2.png"]), (classes(&["cat"]), "cat/1.png".into()));
    assert_eq!(open_as(&["set/Greek/a/1.png", "set/Latin/a/1.png"]).0, classes(&["Greek/a", "Latin/a"]));
    assert_eq!(open_as(&["set/train/a/1.png", "set/test/a/1.png"]).0, classes(&["a"]));
}

#[test]
fn hostile_and_damaged_zips_are_refused() {
    let dir = folder();
    let path = dir.path().join("set.zip");
    let image = png(3);
    for name in ["../out.png", "a/../../b.png", "/etc/a.png", "a\\b.png"] {
        write_zip(&path, &[("cat/1.png", &image), (name, &image)]);
        let text = problem(&path);
        assert!(text.contains("name of an entry") && text.contains("pack it again"), "{text}");
    }
    write_zip(&path, &[("notes.txt", b"x")]);
    assert!(problem(&path).contains("no samples: 0 folders and 1 files"));
    write_zip(&path, &[("cat/1.png", &image), ("cat/2.png", b"no image")]);
    let set = open(&path);
    let text = set.image(1).unwrap_err().to_string();
    assert!(text.contains("cat/2.png: not an image"), "{text}");

    // 300 MB of zeros in 300 kB, named as an image: read up to the limit and no further.
    let mut zip = zip::ZipWriter::new(fs::File::create(&path).unwrap());
    zip.start_file("cat/bomb.png", zip::write::SimpleFileOptions::default()).unwrap();
    let zeros = vec![0; 1 << 20];
    (0..300).for_each(|_| zip.write_all(&zeros).unwrap());
    zip.finish().unwrap();
    let text = open(&path).image(0).unwrap_err().to_string();
    assert!(text.contains("bomb.png: unpacked size: found more, wanted at most 268435456 bytes"), "{text}");

    write_zip(&path, &[("cat/1.png", &image), ("dog/1.png", &image)]);
    let whole = fs::read(&path).unwrap();
    for keep in [0, 10, whole.len() / 2, whole.len() - 1] {
        write(&path, &whole[..keep]);
        assert!(Dataset::open(&path).is_err(), "cut to {keep}");
    }
    // A flipped bit anywhere is an error or changes nothing that is read, but never a panic.
    for at in 0..whole.len() {
        let mut bytes = whole.clone();
        bytes[at] ^= 0x10;
        write(&path, &bytes);
        if let Ok(set) = Dataset::open(&path) {
            (0..set.len()).for_each(|i| drop(set.image(i)));
            assert_eq!(set.fingerprint().len(), 64);
        }
    }
}

/// The folder with the real sets, if this machine has one.
fn real_data() -> Option<PathBuf> {
    let folder = std::env::var_os("NEARKIN_DATA").map(PathBuf::from);
    if folder.is_none() {
        eprintln!(
            "skipped: set NEARKIN_DATA to a folder with mnist, fashion-mnist, cifar10, omniglot and grocery"
        );
    }
    folder
}

#[test]
fn the_real_sets_have_their_known_counts() {
    let Some(root) = real_data() else { return };
    for name in ["mnist", "fashion-mnist"] {
        let set = open(root.join(name));
        assert_eq!((set.len(), set.classes().len()), (70_000, 10), "{name}");
        assert_eq!(open(with_split(&root.join(name), "test")).len(), 10_000);
    }
    let cifar = open(root.join("cifar10"));
    assert_eq!((cifar.len(), cifar.splits().len()), (20_000, 2));
    assert_eq!(cifar.classes()[0], "airplane");
    let per_class = cifar.split("test").unwrap().describe().classes;
    assert!(per_class.iter().all(|class| class.count == 1000));
}

#[test]
fn the_real_zips_open_by_alphabet_and_product() {
    let Some(root) = real_data() else { return };
    let mut drawings = 0;
    for name in ["images_background_small1.zip", "images_background_small2.zip"] {
        let set = open(root.join("omniglot").join(name));
        drawings += set.len();
        let (supers, names) = SuperClasses::FolderLevel(1).find(&set).unwrap();
        assert_eq!((supers.len(), names.len()), (set.len(), 5), "{name}: {names:?}");
        assert!(set.classes().iter().all(|class| class.contains("/character")));
        let image = set.image(set.len() - 1).unwrap();
        assert_eq!((image.width, image.height, image.channels), (105, 105, 1));
    }
    // Two alphabets of 44 or so characters stand in both.
    assert!(drawings > 4840, "{drawings}");
    let grocery = open(root.join("grocery/grocery-64.zip"));
    assert!(grocery.len() >= 5421, "{}", grocery.len());
    assert_eq!(grocery.image(100).unwrap().width, 64);
}

#[test]
fn the_real_digits_shift_without_losing_ink() {
    let Some(root) = real_data() else { return };
    let test = open(with_split(&root.join("mnist"), "test"));
    let digits = test.of_classes(&ClassList::Names(vec!["4".into(), "9".into()])).unwrap();
    assert_eq!(digits.len(), 982 + 1009);
    let moved = shifted(&digits, &DRLIM_SHIFTS, DRLIM_SIDE).unwrap();
    assert_eq!(moved.len(), 5 * digits.len());
    let ink = |image: &Image| image.pixels.iter().map(|&v| u64::from(v)).sum::<u64>();
    let (mut before, mut after) = (0, 0);
    for i in 0..digits.len() {
        before += 5 * ink(&digits.image(i).unwrap());
        after += (0..5).map(|s| ink(&moved.image(5 * i + s).unwrap())).sum::<u64>();
    }
    assert!(after <= before && after as f64 > 0.999 * before as f64, "{after} of {before}");
}
