//! A folder of image or sound files, one sub-folder a class.

use std::collections::BTreeSet;
use std::path::Path;

use walkdir::WalkDir;

use crate::attributes::Attributes;
use crate::dataset::{Content, Kind, Media, Sample, Source, numbered};
use crate::error::DataError;

const EXTENSIONS: [&str; 8] = ["jpg", "jpeg", "jpe", "jfif", "png", "webp", "bmp", "gif"];

const SOUND_EXTENSIONS: [&str; 2] = ["wav", "wave"];

const SPLITS: [&str; 7] = ["train", "training", "val", "valid", "validation", "test", "testing"];

/// The most empty folders that a warning names.
const MOST_NAMED: usize = 10;

/// What a file holds, by its extension: an image, or a sound.
pub(super) fn media_of(name: &str) -> Option<Media> {
    let (_, extension) = name.rsplit_once('.')?;
    let is_one = |known: &[&str]| known.iter().any(|known| extension.eq_ignore_ascii_case(known));
    if is_one(&EXTENSIONS) {
        Some(Media::Images)
    } else if is_one(&SOUND_EXTENSIONS) {
        Some(Media::Sounds)
    } else {
        None
    }
}

/// The set of one image or sound.
pub(super) fn one_file(path: &Path, name: String, media: Media) -> Source {
    Source {
        kind: Kind::File,
        media,
        path: path.to_owned(),
        samples: vec![Sample { id: name, path: Some(path.to_owned()), label: None, split: None }],
        classes: Vec::new(),
        content: Content::Files,
        attributes: Attributes::default(),
        warnings: Vec::new(),
    }
}

/// What stands below a folder.
pub(super) struct Listing<P> {
    /// Images and sounds: path below the folder, what it holds, and where it is.
    pub files: Vec<(String, Media, P)>,
    /// Folders at any depth.
    pub folders: BTreeSet<String>,
    /// All other files.
    pub others: usize,
}

/// A listing sorted into samples and classes.
pub(super) struct Sorted<P> {
    pub media: Media,
    pub samples: Vec<Sample>,
    /// Where each sample's file is.
    pub places: Vec<P>,
    pub classes: Vec<String>,
    pub warnings: Vec<String>,
}

/// Reads the names below `root`; no file is opened.
pub(super) fn open(root: &Path) -> Result<Source, DataError> {
    let mut listing = Listing { files: Vec::new(), folders: BTreeSet::new(), others: 0 };
    let visible = |entry: &walkdir::DirEntry| {
        entry.depth() == 0 || !entry.file_name().to_string_lossy().starts_with('.')
    };
    for entry in WalkDir::new(root).min_depth(1).follow_links(true).into_iter().filter_entry(visible) {
        let entry = entry.map_err(|error| {
            let path = error.path().unwrap_or(root).to_owned();
            DataError::read(path, error.into())
        })?;
        let relative = relative_name(root, entry.path());
        if entry.file_type().is_dir() {
            listing.folders.insert(relative);
        } else if let Some(media) = media_of(&relative) {
            listing.files.push((relative, media, entry.into_path()));
        } else {
            listing.others += 1;
        }
    }
    let Sorted { media, mut samples, places, classes, warnings } = sort(root, listing)?;
    for (sample, place) in samples.iter_mut().zip(places) {
        sample.path = Some(place);
    }
    Ok(Source {
        kind: Kind::Folder,
        media,
        path: root.to_owned(),
        samples,
        classes,
        content: Content::Files,
        attributes: Attributes::default(),
        warnings,
    })
}

/// Finds splits and classes in the names, and puts samples into their order.
pub(super) fn sort<P>(root: &Path, listing: Listing<P>) -> Result<Sorted<P>, DataError> {
    let Listing { mut files, folders, others } = listing;
    files.sort_by(|a, b| a.0.as_bytes().cmp(b.0.as_bytes()));
    let Some(&(_, media, _)) = files.first() else {
        return Err(DataError::Empty {
            path: root.to_owned(),
            found: format!(
                "{} folders and {others} files, none with an image's extension ({}) or a sound's ({})",
                folders.len(),
                EXTENSIONS.join(", "),
                SOUND_EXTENSIONS.join(", ")
            ),
        });
    };
    let sounds = files.iter().filter(|(_, media, _)| *media == Media::Sounds).count();
    if sounds > 0 && sounds < files.len() {
        return Err(DataError::Mixed { path: root.to_owned(), images: files.len() - sounds, sounds });
    }

    let mut warnings = Vec::new();
    if others > 0 {
        let one = if media == Media::Images { "an image's" } else { "a sound's" };
        warnings.push(format!("{others} files without {one} extension are ignored"));
    }
    warn_of_empty_folders(&folders, &files, media, &mut warnings);

    // Folders named like splits are splits only if all of them are: "train" may be a class.
    let tops: BTreeSet<&str> =
        folders.iter().map(|name| name.as_str()).filter(|name| !name.contains('/')).collect();
    let split_folders = !tops.is_empty() && tops.iter().all(|name| SPLITS.contains(name));

    let mut samples = Vec::with_capacity(files.len());
    let mut class_names = Vec::with_capacity(files.len());
    let mut places = Vec::with_capacity(files.len());
    for (id, _, place) in files {
        let mut parent = id.rsplit_once('/').map(|(parent, _)| parent);
        let mut split = None;
        if split_folders && let Some(below_root) = parent {
            let (name, class) = match below_root.split_once('/') {
                Some((name, class)) => (name, Some(class)),
                None => (below_root, None),
            };
            split = Some(name.to_owned());
            parent = class;
        }
        class_names.push(parent.map(str::to_owned));
        samples.push(Sample { id, path: None, label: None, split });
        places.push(place);
    }
    let classes = number_classes(&mut samples, &class_names);
    let unlabelled = samples.iter().filter(|s| s.label.is_none()).count();
    if !classes.is_empty() && unlabelled > 0 {
        warnings.push(format!("{unlabelled} {media} lie beside the class folders and have no label"));
    }
    Ok(Sorted { media, samples, places, classes, warnings })
}

/// Gives every sample the number of its class, in byte order of the names; returns the names.
pub(super) fn number_classes(samples: &mut [Sample], names: &[Option<String>]) -> Vec<String> {
    let numbers = numbered(names.iter().flatten().map(String::as_str));
    for (sample, name) in samples.iter_mut().zip(names) {
        sample.label = name.as_deref().map(|name| numbers[name]);
    }
    numbers.into_keys().map(str::to_owned).collect()
}

/// The path below `root`, with `/` on every system.
fn relative_name(root: &Path, path: &Path) -> String {
    let parts: Vec<_> = path
        .strip_prefix(root)
        .unwrap_or(path)
        .components()
        .map(|part| part.as_os_str().to_string_lossy())
        .collect();
    parts.join("/")
}

/// Warns of folders without a sample at any depth; of nested ones, only the outermost is named.
fn warn_of_empty_folders<P>(
    folders: &BTreeSet<String>,
    files: &[(String, Media, P)],
    media: Media,
    warnings: &mut Vec<String>,
) {
    let mut full = BTreeSet::new();
    for (id, ..) in files {
        let mut name = id.as_str();
        while let Some((parent, _)) = name.rsplit_once('/') {
            if !full.insert(parent) {
                break;
            }
            name = parent;
        }
    }
    let empty: Vec<&str> = folders
        .iter()
        .map(String::as_str)
        .filter(|name| {
            let parent = name.rsplit_once('/').map(|(parent, _)| parent);
            !full.contains(name) && parent.is_none_or(|parent| full.contains(parent))
        })
        .collect();
    if !empty.is_empty() {
        let more = if empty.len() > MOST_NAMED { ", …" } else { "" };
        warnings.push(format!(
            "{} folders hold no {media} and become no class: {}{more}",
            empty.len(),
            empty[..empty.len().min(MOST_NAMED)].join(", ")
        ));
    }
}
