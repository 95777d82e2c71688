//! Apache Parquet, the table format that most tools share.

use std::collections::BTreeMap;
use std::io;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::Path;
use std::sync::Arc;

use arrow_array::cast::AsArray;
use arrow_array::types::Float32Type;
use arrow_array::{Array, ArrayRef, FixedSizeListArray, Float32Array, RecordBatch, StringArray};
use arrow_cast::{can_cast_types, cast};
use arrow_schema::{ArrowError, DataType, Field, Schema, SchemaRef};
use parquet::arrow::ProjectionMask;
use parquet::arrow::arrow_reader::ParquetRecordBatchReaderBuilder;
use parquet::arrow::arrow_writer::ArrowWriter;
use parquet::basic::{Compression, ZstdLevel};
use parquet::errors::ParquetError;
use parquet::file::metadata::KeyValue;
use parquet::file::properties::{EnabledStatistics, WriterProperties};
use parquet::schema::types::ColumnPath;

use super::{open, row_numbers};
use crate::atomic::Staged;
use crate::embeddings::{Embeddings, Origin, RESERVED};
use crate::error::{Fault, IndexError};

const FORMAT: &str = "Parquet";
/// The key of the file's metadata that holds the origin.
const KEY: &str = "nearkin";
/// Names that a vector column goes by, the first that is there wins.
const VECTOR_NAMES: [&str; 5] = ["embedding", "vector", "vectors", "emb", "features"];
/// Values of a row group's vectors: bounds the memory of a writer, and of a reader that takes whole groups.
const GROUP_VALUES: usize = 1 << 24;
/// Values of a batch's vectors.
const BATCH_VALUES: usize = 1 << 20;

pub(super) fn read(path: &Path) -> Result<Embeddings, IndexError> {
    // The Parquet reader panics on some damaged pages (a changed byte in their levels, for one). Nothing of it outlives
    // the call, so an unwound one leaves nothing half done.
    catch_unwind(AssertUnwindSafe(|| read_table(path))).unwrap_or_else(|panic| {
        let said =
            panic.downcast_ref::<String>().map(String::as_str).or(panic.downcast_ref::<&str>().copied());
        Err(IndexError::file(path)(unreadable(said.unwrap_or("its pages are damaged"))))
    })
}

fn read_table(path: &Path) -> Result<Embeddings, IndexError> {
    let fault = IndexError::file(path);
    let builder = ParquetRecordBatchReaderBuilder::try_new(open(path)?).map_err(|e| fault(unreadable(e)))?;
    let origin = read_origin(builder.metadata().file_metadata().key_value_metadata()).map_err(&fault)?;
    let schema = Arc::clone(builder.schema());
    let vector_column = choose(&schema).map_err(&fault)?;
    let wanted =
        (0..schema.fields().len()).filter(|&i| i == vector_column || has_text(schema.field(i).data_type()));
    let mask = ProjectionMask::roots(builder.parquet_schema(), wanted);
    let reader = builder.with_projection(mask).build().map_err(|e| fault(unreadable(e)))?;

    let vector_name = schema.field(vector_column).name();
    let mut vectors = Stacked { values: Vec::new(), rows: 0, dim: 0 };
    let mut texts: BTreeMap<String, Vec<String>> = BTreeMap::new();
    for batch in reader {
        let batch = batch.map_err(|e| fault(unreadable(e)))?;
        for (field, column) in batch.schema().fields().iter().zip(batch.columns()) {
            if field.name() == vector_name {
                vectors.push(column, vector_name).map_err(&fault)?;
            } else {
                let text = cast(column, &DataType::Utf8).map_err(|e| fault(unreadable(e)))?;
                let text: &StringArray = text.as_string();
                let column = texts.entry(field.name().clone()).or_default();
                column.extend(text.iter().map(|value| value.unwrap_or_default().to_owned()));
            }
        }
    }
    // A column of nothing says nothing.
    let mut take = |name| texts.remove(name).filter(|column| column.iter().any(|text| !text.is_empty()));
    let (labels, paths) = (take("label"), take("path"));
    let ids = texts.remove("id").unwrap_or_else(|| row_numbers(vectors.rows));
    Ok(Embeddings { vectors: vectors.values, dim: vectors.dim, ids, labels, paths, columns: texts, origin })
}

fn unreadable(error: impl ToString) -> Fault {
    Fault::NotThisFormat { format: FORMAT, detail: error.to_string() }
}

fn read_origin(metadata: Option<&Vec<KeyValue>>) -> Result<Option<Origin>, Fault> {
    let json =
        metadata.into_iter().flatten().find(|pair| pair.key == KEY).and_then(|pair| pair.value.as_ref());
    json.map(|json| {
        serde_json::from_str(json).map_err(|e| Fault::Companion {
            place: format!("'{KEY}' in its metadata"),
            detail: e.to_string(),
            next: "write the file again, or drop that key",
        })
    })
    .transpose()
}

/// Whether every value of the type has a plain text form.
fn has_text(data_type: &DataType) -> bool {
    let bytes = matches!(
        data_type,
        DataType::Binary | DataType::LargeBinary | DataType::BinaryView | DataType::FixedSizeBinary(_)
    );
    !bytes && !data_type.is_nested() && can_cast_types(data_type, &DataType::Utf8)
}

fn element_type(data_type: &DataType) -> Option<&DataType> {
    match data_type {
        DataType::List(field) | DataType::LargeList(field) | DataType::FixedSizeList(field, _) => {
            Some(field.data_type())
        }
        _ => None,
    }
}

fn is_float(data_type: &DataType) -> bool {
    matches!(data_type, DataType::Float16 | DataType::Float32 | DataType::Float64)
}

/// The column of the vectors.
fn choose(schema: &SchemaRef) -> Result<usize, Fault> {
    let lists: Vec<usize> = (0..schema.fields().len())
        .filter(|&i| element_type(schema.field(i).data_type()).is_some_and(is_float))
        .collect();
    if let Some((i, field)) = VECTOR_NAMES.iter().find_map(|name| schema.column_with_name(name)) {
        if lists.contains(&i) {
            return Ok(i);
        }
        return Err(Fault::ValueType {
            field: format!("column '{}'", field.name()),
            found: field.data_type().to_string(),
            wanted: "lists of float16, float32 or float64",
        });
    }
    let names = |columns: &[usize]| {
        columns.iter().map(|&i| schema.field(i).name().as_str()).collect::<Vec<_>>().join(", ")
    };
    match lists[..] {
        [only] => Ok(only),
        [] => Err(Fault::NoVectors {
            found: format!("columns [{}]", names(&(0..schema.fields().len()).collect::<Vec<_>>())),
            wanted: "a column of lists of float16, float32 or float64",
        }),
        _ => Err(Fault::SeveralVectors { found: names(&lists), wanted: VECTOR_NAMES[0] }),
    }
}

/// Vectors of batch after batch.
struct Stacked {
    values: Vec<f32>,
    rows: usize,
    dim: usize,
}

impl Stacked {
    fn push(&mut self, column: &ArrayRef, name: &str) -> Result<(), Fault> {
        if let Some(row) = (0..column.len()).find(|&row| column.is_null(row)) {
            return Err(Fault::NullVector { row: self.rows + row });
        }
        let rows = column.len();
        // Row `r` of the batch is `elements[bounds(r)..bounds(r + 1)]`.
        let (elements, bounds): (&ArrayRef, Box<dyn Fn(usize) -> usize>) = match column.data_type() {
            DataType::List(_) => {
                let list = column.as_list::<i32>();
                (list.values(), Box::new(|row| list.value_offsets()[row] as usize))
            }
            DataType::LargeList(_) => {
                let list = column.as_list::<i64>();
                (list.values(), Box::new(|row| list.value_offsets()[row] as usize))
            }
            _ => {
                let list = column.as_fixed_size_list();
                let length = list.value_length() as usize;
                (list.values(), Box::new(move |row| row * length))
            }
        };
        let elements = cast(elements, &DataType::Float32).map_err(|e| Fault::ValueType {
            field: format!("column '{name}'"),
            found: e.to_string(),
            wanted: "float16, float32 or float64",
        })?;
        let elements: &Float32Array = elements.as_primitive::<Float32Type>();
        for row in 0..rows {
            let (start, end) = (bounds(row), bounds(row + 1));
            if self.rows == 0 {
                self.dim = end - start;
            }
            if end - start != self.dim {
                return Err(Fault::Ragged { row: self.rows, found: end - start, wanted: self.dim });
            }
            if elements.null_count() > 0 && (start..end).any(|i| elements.is_null(i)) {
                return Err(Fault::NullVector { row: self.rows });
            }
            self.values.extend_from_slice(&elements.values()[start..end]);
            self.rows += 1;
        }
        Ok(())
    }
}

pub(super) fn write(table: &Embeddings, path: &Path) -> Result<(), IndexError> {
    let unwritable = |detail: String| IndexError::file(path)(Fault::Unwritable { format: FORMAT, detail });
    let dim = i32::try_from(table.dim).map_err(|_| unwritable(format!("vectors of {} values", table.dim)))?;
    let origin = table
        .origin
        .as_ref()
        .map(serde_json::to_string)
        .transpose()
        .map_err(|e| unwritable(e.to_string()))?;

    let mut texts: Vec<(&str, &[String])> = vec![(RESERVED[0], &table.ids)];
    texts.extend(table.labels.as_deref().map(|labels| (RESERVED[1], labels)));
    texts.extend(table.paths.as_deref().map(|paths| (RESERVED[2], paths)));
    texts.extend(table.columns.iter().map(|(name, column)| (name.as_str(), &column[..])));
    let element = Arc::new(Field::new("element", DataType::Float32, false));
    let mut fields: Vec<Field> =
        texts.iter().map(|&(name, _)| Field::new(name, DataType::Utf8, name != "id")).collect();
    fields.push(Field::new(RESERVED[3], DataType::FixedSizeList(Arc::clone(&element), dim), false));
    let schema = Arc::new(Schema::new(fields));

    Staged::write(path, |file| {
        let properties = properties(table.dim, origin);
        let mut writer =
            ArrowWriter::try_new(file, Arc::clone(&schema), Some(properties)).map_err(io_error)?;
        let step = (BATCH_VALUES / table.dim).max(1);
        for start in (0..table.len()).step_by(step) {
            let end = (start + step).min(table.len());
            let mut columns: Vec<ArrayRef> =
                texts.iter().map(|(_, column)| text_array(&column[start..end])).collect();
            let values = table.vectors[start * table.dim..end * table.dim].to_vec();
            let values = Arc::new(Float32Array::from(values));
            let vectors = FixedSizeListArray::try_new(Arc::clone(&element), dim, values, None);
            columns.push(Arc::new(vectors.map_err(arrow_error)?));
            let batch = RecordBatch::try_new(Arc::clone(&schema), columns).map_err(arrow_error)?;
            writer.write(&batch).map_err(io_error)?;
        }
        writer.close().map_err(io_error)?;
        Ok(())
    })?
    .publish()
}

fn properties(dim: usize, origin: Option<String>) -> WriterProperties {
    let embedding = ColumnPath::from(vec!["embedding".to_owned(), "list".to_owned(), "element".to_owned()]);
    WriterProperties::builder()
        .set_compression(Compression::ZSTD(ZstdLevel::default()))
        // Mantissas are noise: compression, dictionaries and minima cost time and save nothing.
        .set_column_compression(embedding.clone(), Compression::UNCOMPRESSED)
        .set_column_dictionary_enabled(embedding.clone(), false)
        .set_column_statistics_enabled(embedding, EnabledStatistics::None)
        .set_max_row_group_row_count(Some((GROUP_VALUES / dim).max(1)))
        .set_key_value_metadata(origin.map(|json| vec![KeyValue::new(KEY.to_owned(), json)]))
        .build()
}

/// A column of text in which an empty text is a null.
fn text_array(texts: &[String]) -> ArrayRef {
    Arc::new(StringArray::from_iter(texts.iter().map(|text| (!text.is_empty()).then_some(text.as_str()))))
}

/// The system's own error where there is one inside, so that a full disk says so.
fn io_error(error: ParquetError) -> io::Error {
    match error {
        ParquetError::External(inner) => match inner.downcast::<io::Error>() {
            Ok(inner) => *inner,
            Err(inner) => io::Error::other(inner),
        },
        other => io::Error::other(other),
    }
}

fn arrow_error(error: ArrowError) -> io::Error {
    io::Error::other(error)
}
