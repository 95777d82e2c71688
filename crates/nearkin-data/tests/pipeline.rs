//! From a data set to batches: preparation and the loader.

use std::fs;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use nearkin_data::{
    Batch, DataError, Dataset, Loader, Patches, PkSampler, PrepareOptions, Prepared, Sampler, Sequential,
    ViewConfig, Views,
};

/// `count` colour images of growing size in two class folders.
fn write_images(root: &Path, count: u32) {
    for i in 0..count {
        let folder = root.join(["cat", "dog"][i as usize % 2]);
        fs::create_dir_all(&folder).unwrap();
        let image = image::RgbImage::from_fn(10 + i, 12, |x, y| {
            image::Rgb([(x * 9 + i) as u8, (y * 20) as u8, (i * 40) as u8])
        });
        image.save(folder.join(format!("{i:03}.png"))).unwrap();
    }
}

fn options(spill: &Path) -> PrepareOptions {
    PrepareOptions { spill_dir: spill.to_owned(), ..PrepareOptions::new(3, 8) }
}

fn prepare(dataset: &Dataset, options: &PrepareOptions) -> Result<Prepared, DataError> {
    Prepared::prepare(dataset, options, &mut |_, _| {})
}

#[test]
fn memory_and_disk_hold_the_same_pixels() {
    let dir = tempfile::tempdir().unwrap();
    write_images(dir.path(), 20);
    let set = Dataset::open(dir.path()).unwrap();
    let last = AtomicUsize::new(0);
    let memory = Prepared::prepare(&set, &options(dir.path()), &mut |done, total| {
        assert!(done > last.swap(done, Ordering::Relaxed) && total == 20);
    })
    .unwrap();
    assert_eq!(last.into_inner(), 20);
    assert_eq!(memory.bytes_on_disk(), 0);
    let budget = PrepareOptions { memory_budget: memory.bytes() / 3, ..options(dir.path()) };
    let mixed = prepare(&set, &budget).unwrap();
    assert_eq!(mixed.bytes(), memory.bytes());
    assert!(mixed.bytes_on_disk() > memory.bytes() / 2);
    for i in 0..20 {
        let image = memory.image(i).unwrap();
        assert_eq!(image.width.min(image.height), 8);
        assert_eq!(image, mixed.image(i).unwrap());
    }
    assert!(mixed.image(20).is_err());
    assert!(memory.skipped.is_empty());
    // Nothing of the spill file is left to see.
    assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 2);
}

#[test]
fn broken_images_are_skipped_listed_and_keep_the_others_numbers() {
    let dir = tempfile::tempdir().unwrap();
    write_images(dir.path(), 40);
    let whole = fs::read(dir.path().join("cat/002.png")).unwrap();
    fs::write(dir.path().join("cat/002.png"), &whole[..whole.len() / 2]).unwrap();
    fs::write(dir.path().join("dog/003.png"), "hello").unwrap();
    let set = Dataset::open(dir.path()).unwrap();
    let prepared = prepare(&set, &options(dir.path())).unwrap();
    assert_eq!((prepared.len(), prepared.skipped.len()), (38, 2));
    assert!(prepared.skipped[0].path.ends_with("cat/002.png"));
    assert!(prepared.skipped[1].reason.starts_with("not an image"), "{}", prepared.skipped[1]);
    // cat/000, then cat/004, which was opened as sample 2.
    assert_eq!(prepared.dataset.origin(1), 2);
    assert_eq!(prepared.dataset.sample(1).id, "cat/004.png");

    fs::write(dir.path().join("dog/005.png"), "").unwrap();
    let text = prepare(&set, &options(dir.path())).err().unwrap().to_string();
    assert!(text.contains("more than 2 broken images among the first 23 of 40"), "{text}");
    assert!(text.contains("005.png: the file is empty"), "{text}");
}

#[test]
fn one_broken_image_is_always_allowed_but_not_all() {
    let dir = tempfile::tempdir().unwrap();
    write_images(dir.path(), 2);
    fs::write(dir.path().join("cat/000.png"), "").unwrap();
    let set = Dataset::open(dir.path()).unwrap();
    let strict = PrepareOptions { max_skipped_fraction: 0.0, ..options(dir.path()) };
    assert_eq!(prepare(&set, &strict).unwrap().len(), 1);
    let text = prepare(&set.subset(&[0]), &strict).err().unwrap().to_string();
    assert!(text.contains("all images are broken"), "{text}");
    let tiny = PrepareOptions { max_pixels: 10, ..options(dir.path()) };
    let text = prepare(&set, &tiny).err().unwrap().to_string();
    assert!(text.contains("more than max_pixels = 10"), "{text}");
}

#[test]
fn wrong_options_are_named() {
    let dir = tempfile::tempdir().unwrap();
    write_images(dir.path(), 2);
    let set = Dataset::open(dir.path()).unwrap();
    let base = options(dir.path());
    for (options, field) in [
        (PrepareOptions { channels: 2, ..base.clone() }, "channels"),
        (PrepareOptions { side: 0, ..base.clone() }, "side"),
        (PrepareOptions { max_pixels: 0, ..base.clone() }, "max_pixels"),
        (PrepareOptions { max_skipped_fraction: f64::NAN, ..base.clone() }, "max_skipped_fraction"),
    ] {
        let text = prepare(&set, &options).err().unwrap().to_string();
        assert!(text.starts_with(field), "{text}");
    }
    let nowhere = PrepareOptions { memory_budget: 0, spill_dir: dir.path().join("nowhere"), ..base };
    let text = prepare(&set, &nowhere).err().unwrap().to_string();
    assert!(text.contains("nowhere: cannot create the spill file"), "{text}");
}

#[test]
fn a_set_that_is_in_memory_as_wanted_is_shared() {
    let dir = tempfile::tempdir().unwrap();
    let mut bytes = Vec::new();
    for dim in [0x803u32, 2, 4, 4] {
        bytes.extend(dim.to_be_bytes());
    }
    bytes.extend(0..32u8);
    let path = dir.path().join("train-images-idx3-ubyte");
    fs::write(&path, bytes).unwrap();
    let set = Dataset::open(&path).unwrap();
    let shared = prepare(&set, &PrepareOptions { channels: 1, ..options(dir.path()) }).unwrap();
    assert_eq!(shared.bytes(), 32);
    assert_eq!(shared.image(1).unwrap(), set.image(1).unwrap());
    let converted = prepare(&set, &options(dir.path())).unwrap();
    assert_eq!(converted.bytes(), 96);
    assert_eq!(converted.image(1).unwrap(), set.image(1).unwrap().into_channels(3));
}

/// Two different views of each sample.
fn views() -> Vec<Arc<Views>> {
    let simclr = Views::new(&ViewConfig::simclr(1.0), 8, 3).unwrap();
    let plain = Views::new(&ViewConfig::default(), 8, 3).unwrap();
    vec![Arc::new(simclr), Arc::new(plain)]
}

fn load(prepared: &Arc<Prepared>, batches: &[Vec<usize>], first: usize, threads: usize) -> Vec<Batch> {
    let prepared = Arc::clone(prepared);
    Loader::start(prepared, views(), batches.to_vec(), 7, 3, first, threads, 2)
        .unwrap()
        .collect::<Result<_, _>>()
        .unwrap()
}

fn twenty(dir: &Path) -> Arc<Prepared> {
    write_images(dir, 20);
    let set = Dataset::open(dir).unwrap();
    Arc::new(prepare(&set, &options(dir)).unwrap())
}

#[test]
fn batches_come_in_order_with_the_same_bits_on_any_number_of_threads() {
    let dir = tempfile::tempdir().unwrap();
    let prepared = twenty(dir.path());
    let labels = prepared.dataset.labels().unwrap();
    let batches = PkSampler::new(&labels, 2, 3).unwrap().batches(7, 3);
    let one = load(&prepared, &batches, 0, 1);
    assert_eq!(one.len(), batches.len());
    for (batch, wanted) in one.iter().zip(&batches) {
        assert_eq!(&batch.samples, wanted);
        let [crops] = &batch.crops[..] else { panic!("{} sizes", batch.crops.len()) };
        assert_eq!(crops.shape, [12, 3, 8, 8]);
        assert_eq!(crops.views, 2);
        assert_eq!(crops.pixels.len(), 12 * 3 * 64);
        let wanted_labels: Vec<u32> = wanted.iter().map(|&i| labels[i]).collect();
        assert_eq!(batch.labels, wanted_labels);
    }
    for threads in [2, 4] {
        assert_eq!(one, load(&prepared, &batches, 0, threads));
    }
    assert_eq!(one[2..], load(&prepared, &batches, 2, 2));
    assert!(load(&prepared, &batches, batches.len(), 2).is_empty());
}

#[test]
fn exemplar_cnns_copies_of_images_and_patches_have_the_same_bits_on_any_number_of_threads() {
    let dir = tempfile::tempdir().unwrap();
    let images = twenty(dir.path());
    let patches = Patches { count: 50, side: [0.5, 1.0] };
    let patches = Arc::new(images.patches(patches, &options(dir.path()), 7).unwrap());
    let views = vec![Arc::new(Views::new(&ViewConfig::exemplar_cnn(1.0), 8, 3).unwrap())];
    for prepared in [&images, &patches] {
        let batches: Vec<Vec<usize>> =
            (0..prepared.len()).collect::<Vec<_>>().chunks(7).map(<[_]>::to_vec).collect();
        let load = |threads| -> Vec<Batch> {
            let (prepared, views) = (Arc::clone(prepared), views.clone());
            let loader = Loader::start(prepared, views, batches.clone(), 7, 3, 0, threads, 2).unwrap();
            loader.collect::<Result<_, _>>().unwrap()
        };
        let one = load(1);
        assert_eq!(one, load(4));
        let copies: Vec<&[f32]> = one.iter().flat_map(|batch| batch.crops[0].pixels.chunks(3 * 64)).collect();
        assert!((1..copies.len()).all(|i| !copies[..i].contains(&copies[i])));
    }
}

#[test]
fn a_view_is_the_same_in_any_batch_and_any_subset() {
    let dir = tempfile::tempdir().unwrap();
    let prepared = twenty(dir.path());
    let all = load(&prepared, &[(0..20).collect()], 0, 2).remove(0);
    let value = 3 * 64;
    let of = |batch: &Batch, view: usize, at: usize| {
        batch.crops[0].pixels[(view * batch.samples.len() + at) * value..][..value].to_vec()
    };
    let two = load(&prepared, &[vec![17, 4]], 0, 1).remove(0);
    for view in [0, 1] {
        assert_eq!(of(&two, view, 0), of(&all, view, 17));
        assert_eq!(of(&two, view, 1), of(&all, view, 4));
    }
    let set = Dataset::open(dir.path()).unwrap().subset(&[4]);
    let alone = Arc::new(prepare(&set, &options(dir.path())).unwrap());
    let alone = load(&alone, &[vec![0]], 0, 1).remove(0);
    assert_eq!(of(&alone, 0, 0), of(&all, 0, 4));
    // The second time in a batch, a sample gets other random views.
    let twice = load(&prepared, &[vec![4, 4]], 0, 1).remove(0);
    assert_eq!(of(&twice, 0, 0), of(&all, 0, 4));
    assert_ne!(of(&twice, 0, 1), of(&all, 0, 4));
    assert_eq!(of(&twice, 1, 1), of(&all, 1, 4));
}

#[test]
fn small_crops_are_views_of_their_own_beside_the_large_ones() {
    let dir = tempfile::tempdir().unwrap();
    let prepared = twenty(dir.path());
    let large = load(&prepared, &[vec![17, 4]], 0, 1).remove(0);
    let small = Arc::new(Views::new(&ViewConfig::simclr(1.0), 5, 3).unwrap());
    let pipelines = [views(), vec![Arc::clone(&small), small]].concat();
    let mut both = Loader::start(prepared, pipelines, vec![vec![17, 4]], 7, 3, 0, 2, 1).unwrap();
    let both = both.next().unwrap().unwrap();
    let shapes: Vec<_> = both.crops.iter().map(|crops| (crops.views, crops.shape)).collect();
    assert_eq!(shapes, [(2, [4, 3, 8, 8]), (2, [4, 3, 5, 5])]);
    assert_eq!(both.crops[0], large.crops[0]);
    let value = 3 * 25;
    let [first, second] = [0, 2].map(|at| &both.crops[1].pixels[at * value..][..value]);
    assert_ne!(first, second, "two views of one sample");
}

#[test]
fn samples_without_a_label_are_marked() {
    let dir = tempfile::tempdir().unwrap();
    image::GrayImage::new(9, 9).save(dir.path().join("1.png")).unwrap();
    let set = Dataset::open(dir.path()).unwrap();
    let prepared = Arc::new(prepare(&set, &options(dir.path())).unwrap());
    let batch = load(&prepared, &[vec![0]], 0, 1).remove(0);
    assert_eq!(batch.labels, [u32::MAX]);
}

#[test]
fn a_dropped_loader_stops_though_it_has_much_left_to_do() {
    let dir = tempfile::tempdir().unwrap();
    let prepared = twenty(dir.path());
    let batches = vec![(0..20).collect::<Vec<_>>(); 1_000_000];
    let held = Arc::downgrade(&prepared);
    let mut loader = Loader::start(prepared, views(), batches, 0, 0, 0, 2, 3).unwrap();
    assert!(loader.next().unwrap().is_ok());
    drop(loader);
    assert!(held.upgrade().is_none(), "a thread still holds the data");
}

#[test]
fn a_loader_refuses_what_it_cannot_make() {
    let dir = tempfile::tempdir().unwrap();
    let prepared = twenty(dir.path());
    let batches = Sequential::new(20, 5).unwrap().batches(0, 0);
    let start = |views, batches: &[Vec<usize>], first, threads, ahead| {
        Loader::start(Arc::clone(&prepared), views, batches.to_vec(), 0, 0, first, threads, ahead)
            .err()
            .unwrap()
            .to_string()
    };
    let other = Arc::new(Views::new(&ViewConfig::default(), 8, 1).unwrap());
    let mixed = vec![views().remove(0), other];
    assert!(start(Vec::new(), &batches, 0, 1, 1).starts_with("views: found 0"));
    assert!(start(mixed, &batches, 0, 1, 1).starts_with("views: found 1 channels, wanted 3"));
    assert!(start(views(), &batches, 5, 1, 1).starts_with("first_batch: found 5"));
    assert!(start(views(), &batches, 0, 0, 1).starts_with("threads"));
    assert!(start(views(), &batches, 0, 1, 0).starts_with("ahead"));
    assert!(start(views(), &[vec![20]], 0, 1, 1).starts_with("sample index 20"));
}

#[test]
fn an_error_ends_the_batches() {
    let dir = tempfile::tempdir().unwrap();
    let prepared = twenty(dir.path());
    let grey = Arc::new(Views::new(&ViewConfig::default(), 8, 1).unwrap());
    let batches = vec![vec![0]; 3];
    let mut loader = Loader::start(prepared, vec![grey], batches, 0, 0, 0, 1, 1).unwrap();
    let text = loader.next().unwrap().unwrap_err().to_string();
    assert!(text.contains("channels of the image: found 3, wanted 1"), "{text}");
    assert!(loader.next().is_none());
}
