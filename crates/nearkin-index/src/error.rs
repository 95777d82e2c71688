//! What can go wrong, and what to do about it.

use std::io;
use std::path::{Path, PathBuf};

use nearkin_sweep::{Metric, SweepError};

/// An error of this crate.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum IndexError {
    /// A file could not be opened or read.
    #[error("cannot read {}: {source}", path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// A file could not be written; the one that was there, if any, is as it was.
    #[error(
        "cannot write {}: {source}; nothing was replaced: check the folder, its permissions and the free space",
        path.display()
    )]
    Write {
        /// The file.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// The extension names no format of embeddings.
    #[error(
        "{}: cannot tell the format from the extension '{found}': use .parquet, .npy or .safetensors",
        path.display()
    )]
    Extension {
        /// The file.
        path: PathBuf,
        /// Its extension, empty if it has none.
        found: String,
    },
    /// A file does not hold usable embeddings.
    #[error("{}: {fault}", path.display())]
    File {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        fault: Fault,
    },
    /// Embeddings in memory are not usable.
    #[error("embeddings: {0}")]
    Embeddings(#[from] Fault),
    /// A file is not a whole index.
    #[error("{}: {damage}", path.display())]
    Index {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        damage: Damage,
    },
    /// A setting of the index is out of its range.
    #[error("{option}: found {found}, wanted {wanted}")]
    BuildOption {
        /// The setting.
        option: &'static str,
        /// Its value.
        found: usize,
        /// Its range.
        wanted: &'static str,
    },
    /// More rows than a graph can number.
    #[error(
        "{rows} rows, but a graph numbers at most {most}: build an exact index, or one index for each part"
    )]
    TooManyRows {
        /// Rows given.
        rows: usize,
        /// Rows a graph can hold.
        most: usize,
    },
    /// A vector is too long for the arithmetic of the metric.
    #[error(
        "{what} {which}: its squared length overflows, so {metric} has no value there: scale the vectors down, or use \
         an index built with cosine"
    )]
    TooLong {
        /// What the vector is: `row` or `query`.
        what: &'static str,
        /// Which one.
        which: usize,
        /// The metric.
        metric: Metric,
    },
    /// A value is beyond the range of half precision.
    #[error(
        "row {row}, value {position}: {value} is beyond ±65504, the range of f16: store the vectors as i8 or f32, scale \
         them down, or use cosine"
    )]
    BeyondHalf {
        /// The row.
        row: usize,
        /// The value's position in it.
        position: usize,
        /// The value.
        value: f32,
    },
    /// The index holds the vectors of another model.
    #[error(
        "{}: built with model {index_model}, but these vectors are of model {query_model}{}: use the model that built \
         the index, or embed the data again with this one and rebuild the index",
        path.display(),
        preprocessing.as_ref().map_or(String::new(), |(index, query)| {
            format!(" (which prepares its inputs as {query}, that of the index as {index})")
        })
    )]
    OtherModel {
        /// The index.
        path: PathBuf,
        /// Hash of the model that made the index's vectors.
        index_model: String,
        /// Hash of the model asked about.
        query_model: String,
        /// How the two prepare their inputs, where that differs: the index's and the other.
        preprocessing: Option<(String, String)>,
    },
    /// The model is the index's, but its inputs were prepared otherwise.
    #[error(
        "{}: made from inputs prepared as {index}, but these vectors from inputs prepared as {query}: embed the data \
         again as that of the index was",
        path.display()
    )]
    OtherPreprocessing {
        /// The index.
        path: PathBuf,
        /// How the index's inputs were prepared.
        index: String,
        /// How those asked about were.
        query: String,
    },
    /// Vectors of unit length meet others by a metric that tells them apart.
    #[error(
        "{}: {metric} of vectors scaled to unit length and of others cannot be compared, and only {} were scaled: \
         write both alike, or build the index with cosine",
        path.display(),
        if *index { "the index's" } else { "those to add" }
    )]
    OtherNormalization {
        /// The index.
        path: PathBuf,
        /// Whether the index's vectors are of unit length, and the others are not.
        index: bool,
        /// The metric of the index.
        metric: Metric,
    },
    /// The index does not say which model made its vectors.
    #[error(
        "{}: does not say which model made its vectors, so they cannot be compared with those of model {query_model}: \
         rebuild it from embeddings that nearkin wrote",
        path.display()
    )]
    NoModel {
        /// The index.
        path: PathBuf,
        /// Hash of the model asked about.
        query_model: String,
    },
    /// Queries have another dimension than the index.
    #[error(
        "{}: queries of {found} dimensions, wanted {wanted}: embed them with the model of the index",
        path.display()
    )]
    QueryDimension {
        /// The index.
        path: PathBuf,
        /// Dimensions of the queries.
        found: usize,
        /// Dimensions of the index.
        wanted: usize,
    },
    /// A query holds a value that is not finite.
    #[error("query {query}, value {position}: found {value}, wanted a finite number")]
    QueryNotFinite {
        /// The query.
        query: usize,
        /// The value's position in it.
        position: usize,
        /// The value.
        value: f32,
    },
    /// The graph could not be unpacked into a temporary folder, from which it is loaded.
    #[error(
        "{}: cannot unpack its graph into the temporary folder {}: {source}; free some space there, name another \
         folder in the environment variable TMPDIR, or search exactly",
        path.display(), folder.display()
    )]
    Unpack {
        /// The index.
        path: PathBuf,
        /// The folder for temporary files.
        folder: PathBuf,
        /// What the system or the library said.
        source: io::Error,
    },
    /// Another writer has the index.
    #[error(
        "{}: another process, or another part of this one, is writing to it: wait until it is done, or write through it",
        path.display()
    )]
    Busy {
        /// The index.
        path: PathBuf,
    },
    /// Rows to add have another dimension than the index.
    #[error("{}: rows of {found} dimensions, wanted {wanted}: embed them with the model of the index", path.display())]
    RowDimension {
        /// The index.
        path: PathBuf,
        /// Dimensions of the rows.
        found: usize,
        /// Dimensions of the index.
        wanted: usize,
    },
    /// Rows to add do not say which model made them, and those of the index do, or the other way around.
    #[error(
        "{}: of the index's vectors and those to add, only {known} say which model made them, so they cannot be \
         compared: embed both with one model",
        path.display()
    )]
    UnknownModel {
        /// The index.
        path: PathBuf,
        /// Which of the two is known: `the index's` or `those to add`.
        known: &'static str,
    },
    /// A row to add has the id of one that is there.
    #[error("{}: has a row '{id}' already: give the new one another id, or replace it", path.display())]
    IdExists {
        /// The index.
        path: PathBuf,
        /// The id.
        id: String,
    },
    /// A compaction of an index without rows, which no file can hold.
    #[error("{}: every row is deleted, and an index file holds at least one: add a row, or remove the index", path.display())]
    NothingLeft {
        /// The index.
        path: PathBuf,
    },
    /// An earlier write failed in a way that leaves open what is on disk.
    #[error("{}: an earlier write failed and could not be undone: open the index again", path.display())]
    Stale {
        /// The index.
        path: PathBuf,
    },
    /// A selection of rows is of another snapshot.
    #[error("the rows were selected in another snapshot of the index: select them in this one")]
    OtherSnapshot,
    /// No neighbours were asked for.
    #[error("k: found 0, wanted at least 1")]
    NoNeighbors,
    /// Indexes are little-endian and are mapped, not translated.
    #[error("an index cannot be built or opened on a big-endian machine: do it on a little-endian one")]
    BigEndian,
    /// The sweep refused its input.
    #[error(transparent)]
    Sweep(#[from] SweepError),
}

/// What is wrong with a table of embeddings. Rows count from 0.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum Fault {
    /// The file is not of the format its extension names, or is damaged.
    #[error(
        "not a readable {format} file ({detail}): check that it is complete and that its extension is right"
    )]
    NotThisFormat {
        /// The format.
        format: &'static str,
        /// What its reader said.
        detail: String,
    },
    /// The file is shorter or longer than its header promises.
    #[error(
        "found {found} bytes of data, wanted {wanted} by its header: it was cut or is being written; copy it again"
    )]
    Size {
        /// Bytes in the file after its header.
        found: u64,
        /// Bytes that the header promises.
        wanted: u64,
    },
    /// There are no rows.
    #[error("found 0 rows, wanted at least 1")]
    NoRows,
    /// Vectors have no values.
    #[error("found vectors of 0 values, wanted at least 1")]
    NoDimensions,
    /// The array is not a table.
    #[error("found an array of shape {found:?}, wanted two dimensions (rows, values a row): reshape it")]
    Shape {
        /// Its shape.
        found: Vec<u64>,
    },
    /// The number of values is not a whole number of rows.
    #[error("found {values} values, wanted a multiple of the dimension {dim}")]
    Partial {
        /// Values given.
        values: usize,
        /// Values a row.
        dim: usize,
    },
    /// A vector is longer or shorter than the first.
    #[error("row {row}: found a vector of {found} values, wanted {wanted} as in row 0")]
    Ragged {
        /// The row.
        row: usize,
        /// Its length.
        found: usize,
        /// The length of row 0.
        wanted: usize,
    },
    /// A vector, or a value of it, is missing.
    #[error("row {row}: the vector or a value of it is null: drop or fill the row")]
    NullVector {
        /// The row.
        row: usize,
    },
    /// A value is NaN or infinite, perhaps only in f32.
    #[error(
        "row {row}, value {position}: found {value}, wanted a finite number: drop the row or embed it again"
    )]
    NotFinite {
        /// The row.
        row: usize,
        /// The position in the row.
        position: usize,
        /// The value as f32.
        value: f32,
    },
    /// Values of a type that is not read.
    #[error("{field}: found values of type {found}, wanted {wanted}: convert them")]
    ValueType {
        /// The column or tensor.
        field: String,
        /// Its type.
        found: String,
        /// The types that are read.
        wanted: &'static str,
    },
    /// No column or tensor can be the vectors.
    #[error("no vectors: found {found}, wanted {wanted}")]
    NoVectors {
        /// The columns or tensors there are.
        found: String,
        /// What is looked for.
        wanted: &'static str,
    },
    /// Several columns or tensors could be the vectors.
    #[error("several columns could be the vectors ({found}): rename the right one to '{wanted}'")]
    SeveralVectors {
        /// The candidates.
        found: String,
        /// The name that settles it.
        wanted: &'static str,
    },
    /// A column has not one value a row.
    #[error("{field}: found {found} values, wanted {wanted}, one a row")]
    Count {
        /// The column.
        field: String,
        /// Its length.
        found: usize,
        /// The number of rows.
        wanted: usize,
    },
    /// An id is missing or empty.
    #[error(
        "row {row}: the id is missing or empty: give every row an id, or drop the id column to number the rows"
    )]
    NoId {
        /// The row.
        row: usize,
    },
    /// Two rows have one id.
    #[error("rows {first} and {second} share the id '{id}': ids must differ")]
    DuplicateId {
        /// The id.
        id: String,
        /// The first row that has it.
        first: usize,
        /// The next row that has it.
        second: usize,
    },
    /// A further column takes a name with a meaning of its own.
    #[error("a further column is named '{name}', which is kept for the table itself: rename it")]
    ReservedColumn {
        /// The name.
        name: String,
    },
    /// What accompanies the vectors cannot be read.
    #[error("{place} is not what nearkin writes ({detail}): {next}")]
    Companion {
        /// Where it lies.
        place: String,
        /// What is wrong with it.
        detail: String,
        /// What to do.
        next: &'static str,
    },
    /// The format cannot hold this table.
    #[error("a {format} file cannot hold this table ({detail}): write a .parquet file")]
    Unwritable {
        /// The format.
        format: &'static str,
        /// Why not.
        detail: String,
    },
}

/// What is wrong with an index file.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Damage {
    /// It does not begin like an index.
    #[error("not a nearkin index: build one with `nearkin index`")]
    Foreign,
    /// It was written by another version of the format.
    #[error("an index of format {found}, wanted format {wanted} at most: rebuild it with this version")]
    Version {
        /// Its version.
        found: u32,
        /// The latest version that this program reads.
        wanted: u32,
    },
    /// Its vectors are stored in a way that this program does not know.
    #[error(
        "vectors stored in a way of number {found}, wanted 0 (f32), 1 (f16) or 2 (i8): rebuild it with this version"
    )]
    Storage {
        /// The number.
        found: u32,
    },
    /// It is shorter or longer than its header promises.
    #[error("found {found} bytes, wanted {wanted}: it was cut or overwritten; copy or build it again")]
    Size {
        /// Its size.
        found: u64,
        /// The size its header promises.
        wanted: u64,
    },
    /// A part does not match its checksum.
    #[error("its {part} does not match its checksum: it is damaged; copy or build it again")]
    Checksum {
        /// The part.
        part: &'static str,
    },
    /// A field has an impossible value.
    #[error("its {field} is impossible ({detail}): it is damaged; copy or build it again")]
    Field {
        /// The field.
        field: &'static str,
        /// What is wrong with it.
        detail: String,
    },
}

impl IndexError {
    pub(crate) fn read(path: &Path) -> impl FnOnce(io::Error) -> Self + '_ {
        move |source| Self::Read { path: path.to_owned(), source }
    }

    pub(crate) fn write(path: &Path) -> impl FnOnce(io::Error) -> Self + '_ {
        move |source| Self::Write { path: path.to_owned(), source }
    }

    pub(crate) fn file(path: &Path) -> impl Fn(Fault) -> Self + '_ {
        move |fault| Self::File { path: path.to_owned(), fault }
    }
}
