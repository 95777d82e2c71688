//! Sounds and series, from files to batches.

use std::fs;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use flate2::Compression;
use flate2::write::GzEncoder;
use hound::{SampleFormat, WavSpec, WavWriter};
use nearkin_data::*;

const FORMS: [(u16, SampleFormat); 5] = [
    (8, SampleFormat::Int),
    (16, SampleFormat::Int),
    (24, SampleFormat::Int),
    (32, SampleFormat::Int),
    (32, SampleFormat::Float),
];

/// Writes frames of channels, on the scale of −1 to 1.
fn wav(path: &Path, (bits, form): (u16, SampleFormat), rate: u32, frames: &[Vec<f32>]) {
    fs::create_dir_all(path.parent().unwrap()).unwrap();
    let channels = frames.first().map_or(1, Vec::len) as u16;
    let spec = WavSpec { channels, sample_rate: rate, bits_per_sample: bits, sample_format: form };
    let mut writer = WavWriter::create(path, spec).unwrap();
    for &value in frames.iter().flatten() {
        match form {
            SampleFormat::Float => writer.write_sample(value).unwrap(),
            SampleFormat::Int => {
                let whole = f64::from(value) * f64::from(bits - 1).exp2();
                writer.write_sample(whole.round() as i32).unwrap();
            }
        }
    }
    writer.finalize().unwrap();
}

fn mono(path: &Path, steps: usize) {
    let tone = |i: usize| vec![0.5 * (i as f32 * 0.3).sin()];
    wav(path, FORMS[1], 8000, &(0..steps).map(tone).collect::<Vec<_>>());
}

fn digits(root: &Path) {
    for (label, speaker) in [(7, "theo"), (7, "lucas"), (3, "theo")] {
        for index in 0..4 {
            mono(&root.join(format!("recordings/{label}_{speaker}_{index}.wav")), 100 + 10 * index);
        }
    }
}

fn message<T>(result: Result<T, DataError>) -> String {
    result.err().expect("an error").to_string()
}

#[test]
fn every_form_of_wav_is_read_to_the_same_scale() {
    let dir = tempfile::tempdir().unwrap();
    let frames = [vec![0.5, -0.25], vec![-1.0, 0.75], vec![0.0, 0.125]];
    for (bits, form) in FORMS {
        let path = dir.path().join(format!("{bits}{form:?}/x.wav"));
        wav(&path, (bits, form), 16_000, &frames);
        let set = Dataset::open(&path).unwrap();
        assert_eq!((set.media(), set.kind(), set.len()), (Media::Sounds, Kind::File, 1));
        let signal = set.signal(0).unwrap();
        assert_eq!((signal.channels, signal.rate), (2, Some(16_000)));
        assert_eq!(signal.values, [0.5, -1.0, 0.0, -0.25, 0.75, 0.125], "{bits} bits, {form:?}");
    }
}

#[test]
fn names_say_labels_attributes_and_splits() {
    let dir = tempfile::tempdir().unwrap();
    digits(dir.path());
    let plain = Dataset::open(dir.path()).unwrap();
    assert_eq!(plain.classes(), ["recordings"]);
    let names = "{label}_{speaker}_{index}".parse().unwrap();
    let set = Dataset::open_named(dir.path(), Some(&names)).unwrap();
    assert_eq!(set.classes(), ["3", "7"]);
    assert_eq!(set.attributes(), ["speaker", "index"]);
    assert_eq!(set.sample(0).id, "recordings/3_theo_0.wav");
    assert_eq!(set.attribute("speaker").unwrap()[4], Some("lucas"));
    let rule: SplitRule = "index=1..3".parse().unwrap();
    let Divided { first, second } = rule.divide(&set, 0).unwrap();
    assert_eq!((first.len(), second.len()), (6, 6));
    assert!(first.numbers("index").unwrap().iter().all(|index| [1.0, 2.0].contains(index)));
    assert_eq!("index=2..".parse::<SplitRule>().unwrap().divide(&set, 0).unwrap().first.len(), 6);

    let split = "{label}_{split}_{index}".parse().unwrap();
    let path = PathBuf::from(format!("{}#theo", dir.path().display()));
    assert_eq!(Dataset::open_named(&path, Some(&split)).unwrap().len(), 8);
    let other = "{label}-{speaker}".parse().unwrap();
    let text = message(Dataset::open_named(dir.path(), Some(&other)));
    assert!(text.contains("12 of 12") && text.contains("{label}-{speaker}"), "{text}");
}

#[test]
fn sounds_are_found_in_class_folders_zips_and_manifests() {
    let dir = tempfile::tempdir().unwrap();
    let root = dir.path().join("animals");
    for (class, steps) in [("cat", 80), ("dog", 90)] {
        mono(&root.join(class).join("a.wav"), steps);
    }
    fs::write(root.join("readme.txt"), "of animals").unwrap();
    let folder = Dataset::open(&root).unwrap();
    assert_eq!(folder.classes(), ["cat", "dog"]);
    assert!(folder.warnings()[0].contains("a sound's extension"), "{:?}", folder.warnings());
    assert_eq!(folder.signal(1).unwrap().steps(), 90);
    assert!(message(folder.image(0)).contains("holds sounds, wanted images"));

    let zipped = dir.path().join("animals.zip");
    let mut zip = zip::ZipWriter::new(fs::File::create(&zipped).unwrap());
    for class in ["cat", "dog"] {
        zip.start_file(format!("{class}/a.wav"), zip::write::SimpleFileOptions::default()).unwrap();
        zip.write_all(&fs::read(root.join(class).join("a.wav")).unwrap()).unwrap();
    }
    zip.finish().unwrap();
    let zip = Dataset::open(&zipped).unwrap();
    assert_eq!((zip.media(), zip.kind(), zip.classes()), (Media::Sounds, Kind::Zip, folder.classes()));
    assert_eq!(zip.signal(0).unwrap(), folder.signal(0).unwrap());

    let listed = dir.path().join("list.csv");
    fs::write(&listed, "path,label\nanimals/cat/a.wav,cat\nanimals/dog/a.wav,dog\n").unwrap();
    let manifest = Dataset::open(&listed).unwrap();
    assert_eq!((manifest.media(), manifest.kind()), (Media::Sounds, Kind::Manifest));

    fs::write(root.join("cat/photo.jpg"), b"").unwrap();
    let text = message(Dataset::open(&root));
    assert!(text.contains("1 images and 2 sounds"), "{text}");
}

fn write_ts(path: &Path, lines: &str) {
    let mut file = GzEncoder::new(fs::File::create(path).unwrap(), Compression::fast());
    file.write_all(lines.as_bytes()).unwrap();
    file.finish().unwrap();
}

const HEADER: &str = "# a comment\n@problemName Walks\n@timeStamps false\n@univariate false\n@classLabel true run walk\n@data\n";

#[test]
fn series_of_the_archives_are_read_with_their_channels_classes_and_splits() {
    let dir = tempfile::tempdir().unwrap();
    write_ts(&dir.path().join("Walks_TEST.ts.gz"), &format!("{HEADER}1,2,3:4,5,6:walk\n"));
    let train = "0.5,-1e2:7,8:run\n\n9,10:11,12:walk\n";
    write_ts(&dir.path().join("Walks_TRAIN.ts.gz"), &format!("{HEADER}{train}"));
    let set = Dataset::open(dir.path()).unwrap();
    assert_eq!((set.media(), set.kind(), set.len()), (Media::Series, Kind::Ts, 3));
    assert_eq!(
        (set.classes(), set.splits()),
        (&["run".to_owned(), "walk".into()][..], vec!["test".into(), "train".into()])
    );
    let train = set.split("train").unwrap();
    assert_eq!(train.signal(0).unwrap(), Signal::new(2, None, vec![0.5, -100.0, 7.0, 8.0]).unwrap());
    assert_eq!((train.sample(1).id.as_str(), train.sample(1).label), ("train/1", Some(1)));
    let summary = set.describe();
    assert_eq!((summary.steps, summary.channels[0].channels, summary.rates.len()), (Some([2, 2, 3]), 2, 0));
    assert_ne!(set.fingerprint(), train.fingerprint());
}

#[test]
fn broken_series_are_refused_with_their_line() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("x.ts.gz");
    for (lines, wanted) in [
        ("1,2:3:run\n", "line 7: 1 values in channel 1, but 2 in the first"),
        ("1,2:3,4:run\n1,2:run\n", "line 8: 1 channels"),
        ("1,?:3,4:run\n", "a missing value"),
        ("1,x:3,4:run\n", "\"x\" in channel 0"),
        ("1,inf:3,4:run\n", "inf at value 1"),
    ] {
        write_ts(&path, &format!("{HEADER}{lines}"));
        let text = message(Dataset::open(&path));
        assert!(text.contains(wanted), "{text}");
    }
    write_ts(&path, "@timeStamps true\n@data\n");
    assert!(message(Dataset::open(&path)).contains("line 1: series with times"));
    write_ts(&path, "1,2:run\n");
    assert!(message(Dataset::open(&path)).contains("before the line @data"));
    write_ts(&path, "@univariate true\n");
    assert!(message(Dataset::open(&path)).contains("no line @data"));
}

#[test]
fn broken_sounds_are_skipped_counted_and_listed() {
    let dir = tempfile::tempdir().unwrap();
    for i in 0..40 {
        mono(&dir.path().join(format!("{i:02}.wav")), 50);
    }
    fs::write(dir.path().join("07.wav"), b"RIFF and no more").unwrap();
    wav(&dir.path().join("11.wav"), FORMS[1], 8000, &[]);
    let set = Dataset::open(dir.path()).unwrap();
    let prepared = PreparedSignals::prepare(&set, &SignalOptions::new(1, None), &mut |_, _| {}).unwrap();
    assert_eq!((prepared.len(), prepared.skipped.len()), (38, 2));
    assert!(prepared.skipped[0].path.ends_with("07.wav"));
    assert_eq!(prepared.skipped[1].reason, "the sound is empty");
    let strict = SignalOptions { max_skipped_fraction: 0.0, ..SignalOptions::new(1, None) };
    let text = message(PreparedSignals::prepare(&set, &strict, &mut |_, _| {}));
    assert!(text.contains("more than 1 broken sounds"), "{text}");
    assert!(set.describe().warnings[0].contains("2 of 40 sounds"));
}

#[test]
fn sounds_are_brought_to_one_rate_and_one_channel_in_memory_or_on_disk() {
    let dir = tempfile::tempdir().unwrap();
    wav(&dir.path().join("a.wav"), FORMS[4], 8000, &[vec![0.5, 0.25], vec![-1.0, 0.0]]);
    mono(&dir.path().join("b.wav"), 400);
    let set = Dataset::open(dir.path()).unwrap();
    let mixed = SignalOptions::new(1, Some(8000));
    let prepared = PreparedSignals::prepare(&set, &mixed, &mut |_, _| {}).unwrap();
    assert_eq!(prepared.signal(0).unwrap().values, [0.375, -0.5]);
    let spilled = SignalOptions { memory_budget: 9, ..mixed };
    let on_disk = PreparedSignals::prepare(&set, &spilled, &mut |_, _| {}).unwrap();
    for i in 0..2 {
        assert_eq!(on_disk.signal(i).unwrap(), prepared.signal(i).unwrap());
    }
    assert_eq!((prepared.steps(1).unwrap(), prepared.bytes()), (400, 4 * 402));
    let doubled =
        PreparedSignals::prepare(&set, &SignalOptions::new(1, Some(16_000)), &mut |_, _| {}).unwrap();
    assert_eq!((doubled.steps(1).unwrap(), doubled.signal(1).unwrap().rate), (800, Some(16_000)));
    // Two channels are wanted and one sound has one: it is skipped.
    let stereo = PreparedSignals::prepare(&set, &SignalOptions::new(2, None), &mut |_, _| {}).unwrap();
    assert_eq!(stereo.skipped[0].reason, "1 channels, wanted 2");
}

#[test]
fn batches_have_the_same_bits_on_any_number_of_threads_and_after_a_resume() {
    let dir = tempfile::tempdir().unwrap();
    digits(dir.path());
    let set = Dataset::open(dir.path()).unwrap();
    let prepared = PreparedSignals::prepare(&set, &SignalOptions::new(1, None), &mut |_, _| {}).unwrap();
    let prepared = Arc::new(prepared);
    let views = SignalViews::new(&SignalViewConfig::sound(), 1, 64, Standardize::Each {}).unwrap();
    let views = Arc::new(views);
    let batches = Shuffled::new(12, 5, true).unwrap().batches(3, 2);
    let load = |threads, first| {
        let (data, views) = (Arc::clone(&prepared), (Arc::clone(&views), 2));
        let loader = SignalLoader::start(data, views, batches.clone(), 3, 2, first, threads, 2).unwrap();
        loader.map(Result::unwrap).collect::<Vec<_>>()
    };
    let one = load(1, 0);
    assert_eq!((one.len(), one[0].shape, one[0].values.len()), (batches.len(), [10, 1, 64], 640));
    assert_eq!(one, load(4, 0));
    assert_eq!(one[1..], load(2, 1));
    assert_ne!(one[0].values[..64], one[0].values[5 * 64..][..64], "two views of one sound");
    let refused = |views, threads| {
        let data = Arc::clone(&prepared);
        message(SignalLoader::start(data, views, batches.clone(), 3, 2, 0, threads, 2))
    };
    assert!(refused((Arc::clone(&views), 0), 1).starts_with("views"));
    assert!(refused((Arc::clone(&views), 1), 0).starts_with("threads"));
    let stereo = SignalViews::new(&SignalViewConfig::default(), 2, 64, Standardize::Each {}).unwrap();
    assert!(refused((Arc::new(stereo), 1), 1).starts_with("channels of a view"));
}
