//! Samples, their classes, and where their pixels are.

use std::collections::BTreeMap;
use std::fmt;
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use serde::{Deserialize, Serialize};

use crate::attributes::Attributes;
use crate::decode::{Limits, read_image};
use crate::error::DataError;
use crate::image::Image;
use crate::names::NamePattern;
use crate::signal::Signal;
use crate::sources::{self, ZipEntries, read_wav};

/// One input: an image, a sound or a series, and what is known of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Sample {
    /// Stable, and unique unless a manifest repeats itself: the path below the data set's folder (always with `/`), the path as a
    /// manifest writes it, or `<file>/<row>` for sets that hold many images a file.
    pub id: String,
    /// The sample's own file, as shown to users; none where one file holds many.
    pub path: Option<PathBuf>,
    /// Index into [`Dataset::classes`].
    pub label: Option<u32>,
    /// The split that the source names for it.
    pub split: Option<String>,
}

/// What the samples of a data set are: the same for all of them.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Media {
    /// Pictures: [`Dataset::image`].
    Images,
    /// Recordings with a rate: [`Dataset::signal`].
    Sounds,
    /// Values step by step, without a rate: [`Dataset::signal`].
    Series,
}

impl Media {
    /// Whether its samples are [`Signal`]s.
    #[must_use]
    pub fn is_signal(self) -> bool {
        self != Self::Images
    }
}

impl fmt::Display for Media {
    /// As a plural: `images`, `sounds`, `series`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Media::Images => "images",
            Media::Sounds => "sounds",
            Media::Series => "series",
        })
    }
}

/// How a data set is stored.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Kind {
    /// A folder of image or sound files; sub-folders are classes.
    Folder,
    /// IDX files, as MNIST.
    Idx,
    /// CIFAR-10 or CIFAR-100 in the binary layout.
    Cifar,
    /// A CSV file that lists image or sound files.
    Manifest,
    /// One image or sound file.
    File,
    /// A ZIP of image or sound files; its folders are classes.
    Zip,
    /// Series in the `.ts` format of the UCR and UEA archives.
    Ts,
    /// What a program made.
    Memory,
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Kind::Folder => "folder",
            Kind::Idx => "IDX",
            Kind::Cifar => "CIFAR",
            Kind::Manifest => "CSV manifest",
            Kind::File => "one file",
            Kind::Zip => "ZIP",
            Kind::Ts => ".ts",
            Kind::Memory => "in memory",
        })
    }
}

/// Equally shaped images in memory.
#[derive(Debug)]
pub(crate) struct Block {
    pub width: usize,
    pub height: usize,
    pub channels: usize,
    /// Whole images, one after another, HWC.
    pub pixels: Vec<u8>,
}

impl Block {
    fn image_len(&self) -> usize {
        self.width * self.height * self.channels
    }
}

/// Where the images or signals of a source are.
#[derive(Debug)]
pub(crate) enum Content {
    /// Every sample's `path` is an image or sound file.
    Files,
    /// Sample i is image `rows[i].1` of block `rows[i].0`.
    Blocks { blocks: Vec<Block>, rows: Vec<(u32, u32)> },
    /// Sample i is an entry of a ZIP.
    Zip(ZipEntries),
    /// Sample i is signal i.
    Signals(Vec<Signal>),
}

/// What a reader of one kind hands over: all that a path holds.
#[derive(Debug)]
pub(crate) struct Source {
    pub kind: Kind,
    pub media: Media,
    pub path: PathBuf,
    pub samples: Vec<Sample>,
    pub classes: Vec<String>,
    pub content: Content,
    pub attributes: Attributes,
    pub warnings: Vec<String>,
}

/// Samples, class names, and where the images or signals are. Subsets share all of it, so they are cheap.
#[derive(Clone, Debug)]
pub struct Dataset {
    source: Arc<Source>,
    /// Sample i of this set is sample `rows[i]` of the source.
    rows: Arc<[usize]>,
    /// Further columns, a value for each sample of the source.
    attributes: Arc<Attributes>,
}

impl Dataset {
    /// Opens a data set; its kind is found from the path.
    ///
    /// - **Folder**: images, or sounds (`.wav`), at any depth; not both. The class of an image is its parent folder relative to
    ///   `path`, joined with `/`: with one level of folders, simply the folder's name. Images
    ///   directly in `path` have no class. If every sub-folder of `path` is named `train`,
    ///   `training`, `val`, `valid`, `validation`, `test` or `testing`, these are splits, and
    ///   classes start below them. Order: by the bytes of the relative path. Files with a leading
    ///   dot are ignored; files without an image's or a sound's extension are ignored and counted.
    ///   Formats of images are found by content.
    /// - **IDX**: a `*-images-idx3-ubyte[.gz]` file, its labels beside it by name; or a folder of
    ///   such pairs. `train-…` is split `train`, `t10k-…` and `test-…` are split `test`.
    /// - **CIFAR**: a `.bin[.gz]` of rows of 3,073 bytes (CIFAR-10) or 3,074 (CIFAR-100, fine
    ///   labels); or a folder of them. `data_batch_*` and `train*` are split `train`, `test*` is
    ///   split `test`. Class names come from `batches.meta.txt` or `fine_label_names.txt` beside.
    /// - **.ts**: a file of series `.ts[.gz]` of the UCR and UEA archives, or a folder of them.
    ///   `…_TRAIN` is split `train`, `…_TEST` split `test`.
    /// - **Manifest**: a CSV file with the header `path[,label[,split]]` in any order; other columns
    ///   become [attributes](Self::attribute). Relative paths start at the CSV's folder.
    /// - **ZIP**: a `.zip` of images or sounds, read without unpacking, with the rules of a folder. Folders that
    ///   hold everything count as the set's own, as long as there are class folders left below. Or a
    ///   folder of such ZIPs and no images: what several hold alike counts once.
    /// - **One image or sound**: a set of that file, without a label.
    ///
    /// `path#split` keeps only the samples of one split, `path#a..b` samples a to b - 1 counted from
    /// 0 (`#a..` and `#..b` leave one end open), both with the class numbers of the whole set. gzip
    /// is recognised by content.
    ///
    /// # Errors
    /// A [`DataError`] that names the file, what was found and what was wanted; [`DataError::Empty`]
    /// if there is not one sample; [`DataError::NoSuchSplit`] lists the splits;
    /// [`DataError::NoSuchRange`] if a range holds no sample.
    pub fn open(path: &Path) -> Result<Self, DataError> {
        Self::open_named(path, None)
    }

    /// As [`open`](Self::open), with labels, splits and attributes read off the names of the files, where there is a pattern.
    ///
    /// # Errors
    /// As [`open`](Self::open), and when a name does not fit the pattern.
    pub fn open_named(path: &Path, names: Option<&NamePattern>) -> Result<Self, DataError> {
        let (path, choice) = sources::divide_at_split(path);
        let range = choice.as_deref().and_then(parse_range);
        let split = choice.filter(|_| range.is_none());
        // A reader may leave other splits out; but a pattern says only afterwards what the splits are.
        let mut source = sources::open(&path, split.as_deref().filter(|_| names.is_none()))?;
        if source.samples.is_empty() {
            return Err(DataError::Empty { path, found: format!("the files hold 0 {}", source.media) });
        }
        if let Some(names) = names {
            names.apply(&mut source)?;
        }
        let all = Self::of(source);
        match (split, range) {
            (Some(split), _) => all.split(&split),
            (None, Some(range)) => {
                let rows = rows_of(range, &all.source.path, all.len())?;
                Ok(Self { rows: all.rows[rows].into(), ..all })
            }
            (None, None) => Ok(all),
        }
    }

    /// Everything that a source holds.
    pub(crate) fn of(mut source: Source) -> Self {
        let attributes = Arc::new(std::mem::take(&mut source.attributes));
        let rows = (0..source.samples.len()).collect();
        Self { source: Arc::new(source), rows, attributes }
    }

    /// The number of samples.
    #[must_use]
    pub fn len(&self) -> usize {
        self.rows.len()
    }

    /// Whether there is no sample; only a subset can be empty.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.rows.is_empty()
    }

    /// Sample `i`.
    ///
    /// # Panics
    /// If `i` is not below [`Dataset::len`].
    #[must_use]
    pub fn sample(&self, i: usize) -> &Sample {
        &self.source.samples[self.rows[i]]
    }

    /// All samples in order.
    pub fn samples(&self) -> impl ExactSizeIterator<Item = &Sample> {
        self.rows.iter().map(|&row| &self.source.samples[row])
    }

    /// The index of sample `i` in the data set that was opened: stable through every subset, so
    /// random streams are keyed by it.
    ///
    /// # Panics
    /// If `i` is not below [`Dataset::len`].
    #[must_use]
    pub fn origin(&self, i: usize) -> usize {
        self.rows[i]
    }

    /// The class names; a label is an index into them. Subsets keep the whole list.
    #[must_use]
    pub fn classes(&self) -> &[String] {
        &self.source.classes
    }

    /// The names of the classes that have a sample here, in the order of their labels: fewer than
    /// [`classes`](Dataset::classes) in a subset.
    #[must_use]
    pub fn present_classes(&self) -> Vec<String> {
        let mut present = vec![false; self.classes().len()];
        for label in self.samples().filter_map(|sample| sample.label) {
            present[label as usize] = true;
        }
        self.classes().iter().zip(present).filter(|(_, here)| *here).map(|(name, _)| name.clone()).collect()
    }

    /// Every sample's label, if every sample has one.
    #[must_use]
    pub fn labels(&self) -> Option<Vec<u32>> {
        self.samples().map(|sample| sample.label).collect()
    }

    /// The names of the splits among these samples, in the order they first appear.
    #[must_use]
    pub fn splits(&self) -> Vec<String> {
        let mut names: Vec<String> = Vec::new();
        for split in self.samples().filter_map(|sample| sample.split.as_ref()) {
            if !names.contains(split) {
                names.push(split.clone());
            }
        }
        names
    }

    /// What the samples are.
    #[must_use]
    pub fn media(&self) -> Media {
        self.source.media
    }

    /// How the set is stored.
    #[must_use]
    pub fn kind(&self) -> Kind {
        self.source.kind
    }

    /// The path it was opened from, without `#split`.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.source.path
    }

    /// What a user should know about the whole set: empty class folders, ignored files and the like.
    #[must_use]
    pub fn warnings(&self) -> &[String] {
        &self.source.warnings
    }

    /// Decodes the image of sample `i`, within the default [`Limits`].
    ///
    /// # Errors
    /// [`DataError::Index`], [`DataError::Read`] or [`DataError::Image`]; [`DataError::OtherMedia`] for sounds and series.
    pub fn image(&self, i: usize) -> Result<Image, DataError> {
        self.image_within(i, Limits::default())
    }

    pub(crate) fn image_within(&self, i: usize, limits: Limits) -> Result<Image, DataError> {
        let out_of_range = DataError::Index { index: i, len: self.len() };
        let row = *self.rows.get(i).ok_or(out_of_range)?;
        if self.media() != Media::Images {
            return Err(self.other_media("images"));
        }
        match &self.source.content {
            Content::Files => read_image(self.file(row), limits),
            Content::Blocks { blocks, rows } => {
                let (block, pixels) = block_image(blocks, rows[row]);
                Ok(Image {
                    width: block.width,
                    height: block.height,
                    channels: block.channels,
                    pixels: pixels.to_vec(),
                })
            }
            Content::Zip(entries) => entries.image(row, &self.source.samples[row].id, limits),
            Content::Signals(_) => Err(self.other_media("images")),
        }
    }

    /// Reads the sound or series of sample `i`.
    ///
    /// # Errors
    /// [`DataError::Index`], [`DataError::Read`] or [`DataError::Sound`]; [`DataError::OtherMedia`] for images.
    pub fn signal(&self, i: usize) -> Result<Signal, DataError> {
        let out_of_range = DataError::Index { index: i, len: self.len() };
        let row = *self.rows.get(i).ok_or(out_of_range)?;
        if !self.media().is_signal() {
            return Err(self.other_media("sounds or series"));
        }
        match &self.source.content {
            Content::Files => {
                let path = self.file(row);
                let bytes = std::fs::read(path).map_err(|source| DataError::read(path, source))?;
                read_wav(path, &bytes)
            }
            Content::Zip(entries) => entries.sound(row, &self.source.samples[row].id),
            Content::Signals(signals) => Ok(signals[row].clone()),
            Content::Blocks { .. } => Err(self.other_media("sounds or series")),
        }
    }

    fn other_media(&self, wanted: &'static str) -> DataError {
        DataError::OtherMedia { path: self.source.path.clone(), found: self.media(), wanted }
    }

    /// Width, height and channels of sample `i` without decoding its pixels.
    pub(crate) fn probe(&self, i: usize) -> Result<(usize, usize, usize), DataError> {
        let row = self.rows[i];
        match &self.source.content {
            Content::Files => {
                let path = self.file(row);
                let bytes = std::fs::read(path).map_err(|source| DataError::read(path, source))?;
                crate::decode::probe(&bytes)
                    .map_err(|source| DataError::Image { path: path.to_owned(), source })
            }
            Content::Blocks { blocks, rows } => {
                let (block, _) = block_image(blocks, rows[row]);
                Ok((block.width, block.height, block.channels))
            }
            Content::Zip(entries) => entries.probe(row, &self.source.samples[row].id),
            Content::Signals(_) => Err(self.other_media("images")),
        }
    }

    /// The shapes (width, height, channels) of all images if they are already decoded in memory.
    pub(crate) fn shapes_in_memory(&self) -> Option<Vec<(usize, usize, usize)>> {
        match &self.source.content {
            Content::Files | Content::Zip(_) | Content::Signals(_) => None,
            Content::Blocks { blocks, .. } => {
                Some(blocks.iter().map(|block| (block.width, block.height, block.channels)).collect())
            }
        }
    }

    /// The bytes of the pixels of all samples, if they are already decoded in memory, else 0.
    pub(crate) fn bytes_in_memory(&self) -> u64 {
        match &self.source.content {
            Content::Files | Content::Zip(_) | Content::Signals(_) => 0,
            Content::Blocks { blocks, rows } => {
                self.rows.iter().map(|&row| blocks[rows[row].0 as usize].image_len() as u64).sum()
            }
        }
    }

    fn file(&self, row: usize) -> &Path {
        // A source of files gives every sample a path; the id is the best name left otherwise.
        let sample = &self.source.samples[row];
        sample.path.as_deref().unwrap_or(Path::new(&sample.id))
    }

    /// The samples at `indices`, in that order; repeats are allowed. Pixels and values are shared.
    ///
    /// # Panics
    /// If an index is not below [`Dataset::len`].
    #[must_use]
    pub fn subset(&self, indices: &[usize]) -> Self {
        Self { rows: indices.iter().map(|&i| self.rows[i]).collect(), ..self.clone() }
    }

    /// The samples of the split `name`.
    ///
    /// # Errors
    /// [`DataError::NoSuchSplit`], which lists the splits there are.
    pub fn split(&self, name: &str) -> Result<Self, DataError> {
        let rows: Arc<[usize]> = self
            .rows
            .iter()
            .copied()
            .filter(|&row| self.source.samples[row].split.as_deref() == Some(name))
            .collect();
        if rows.is_empty() {
            return Err(DataError::NoSuchSplit {
                path: self.source.path.clone(),
                wanted: name.to_owned(),
                available: self.splits(),
            });
        }
        Ok(Self { rows, ..self.clone() })
    }

    /// The further columns, and the samples of the whole source that they belong to: row i of a column is sample i there,
    /// which is [`origin`](Self::origin) in a subset.
    pub(crate) fn columns(&self) -> (&Attributes, &[Sample]) {
        (&self.attributes, &self.source.samples)
    }

    /// The same samples with other columns.
    pub(crate) fn with_columns(&self, attributes: Attributes) -> Self {
        Self { attributes: Arc::new(attributes), ..self.clone() }
    }

    /// A BLAKE3 hash (64 hex digits) that changes when the data do.
    ///
    /// Hashed, each with its length in front: the class names; then for every sample in order its
    /// id, its label, and its pixels. For sets in memory (IDX, CIFAR) the pixels are the shape and
    /// all bytes; for files they are the file's size, which costs one `stat` a file rather
    /// than reading all of them; for entries of a ZIP, size and CRC-32; for series, channels and values. The path of the set itself is
    /// left out: a copy has the same fingerprint. A file that cannot be found counts as a size of
    /// 2^64 - 1. Attributes are left out: they say something of the data and are not data.
    #[must_use]
    pub fn fingerprint(&self) -> String {
        let mut hasher = blake3::Hasher::new();
        let number = |hasher: &mut blake3::Hasher, value: u64| {
            hasher.update(&value.to_le_bytes());
        };
        let text = |hasher: &mut blake3::Hasher, value: &[u8]| {
            hasher.update(&(value.len() as u64).to_le_bytes());
            hasher.update(value);
        };
        text(&mut hasher, b"nearkin data 1");
        number(&mut hasher, self.classes().len() as u64);
        for class in self.classes() {
            text(&mut hasher, class.as_bytes());
        }
        number(&mut hasher, self.len() as u64);
        for &row in self.rows.iter() {
            let sample = &self.source.samples[row];
            text(&mut hasher, sample.id.as_bytes());
            number(&mut hasher, sample.label.map_or(u64::MAX, u64::from));
            match &self.source.content {
                Content::Files => {
                    let size = std::fs::metadata(self.file(row)).map_or(u64::MAX, |m| m.len());
                    number(&mut hasher, size);
                }
                Content::Blocks { blocks, rows } => {
                    let (block, pixels) = block_image(blocks, rows[row]);
                    for side in [block.width, block.height, block.channels] {
                        number(&mut hasher, side as u64);
                    }
                    text(&mut hasher, pixels);
                }
                Content::Zip(entries) => {
                    let (size, crc) = entries.size_and_crc(row);
                    number(&mut hasher, size);
                    number(&mut hasher, u64::from(crc));
                }
                Content::Signals(signals) => {
                    number(&mut hasher, signals[row].channels as u64);
                    text(&mut hasher, &signals[row].bytes());
                }
            }
        }
        hasher.finalize().to_hex().to_string()
    }
}

/// `a..b`, `a..` or `..b`.
pub(crate) fn parse_range(text: &str) -> Option<(usize, Option<usize>)> {
    let (first, end) = text.split_once("..")?;
    let first = if first.is_empty() { 0 } else { first.parse().ok()? };
    let end = if end.is_empty() { None } else { Some(end.parse().ok()?) };
    Some((first, end))
}

/// Each name once, with its number in byte order.
pub(crate) fn numbered<'a>(names: impl IntoIterator<Item = &'a str>) -> BTreeMap<&'a str, u32> {
    let mut numbers: BTreeMap<&str, u32> = names.into_iter().map(|name| (name, 0)).collect();
    for (number, slot) in (0..).zip(numbers.values_mut()) {
        *slot = number;
    }
    numbers
}

/// The rows that [`parse_range`] found, of `len` in a file.
pub(crate) fn rows_of(
    (first, end): (usize, Option<usize>),
    path: &Path,
    len: usize,
) -> Result<Range<usize>, DataError> {
    let last = end.unwrap_or(len);
    if first >= last || last > len {
        let wanted = format!("{first}..{}", end.map_or(String::new(), |end| end.to_string()));
        return Err(DataError::NoSuchRange { path: path.to_owned(), wanted, len });
    }
    Ok(first..last)
}

fn block_image(blocks: &[Block], (block, image): (u32, u32)) -> (&Block, &[u8]) {
    let block = &blocks[block as usize];
    let len = block.image_len();
    (block, &block.pixels[image as usize * len..][..len])
}
