//! Apache Parquet.

use std::fs::File;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::Path;

use arrow_array::cast::AsArray;
use arrow_array::types::Float64Type;
use arrow_array::{Array, ArrayRef};
use arrow_cast::{can_cast_types, cast};
use arrow_schema::DataType;
use parquet::arrow::ProjectionMask;
use parquet::arrow::arrow_reader::ParquetRecordBatchReaderBuilder;

use super::plan::{Plan, Reading};
use super::{Table, TableKind, TableOptions, Values};
use crate::error::DataError;

pub(super) fn read(path: &Path, options: &TableOptions) -> Result<Table, DataError> {
    // The Parquet reader panics on some damaged pages. Nothing of it outlives the call, so nothing is left half done.
    catch_unwind(AssertUnwindSafe(|| read_table(path, options)))
        .unwrap_or_else(|_| Err(DataError::table(path, "its pages are damaged: copy or write it again")))
}

fn read_table(path: &Path, options: &TableOptions) -> Result<Table, DataError> {
    let fault = |problem: String| DataError::table(path, problem);
    let unreadable = |error: &dyn std::fmt::Display| fault(format!("not a whole Parquet file: {error}"));
    let file = File::open(path).map_err(|source| DataError::read(path, source))?;
    let builder = ParquetRecordBatchReaderBuilder::try_new(file).map_err(|e| unreadable(&e))?;
    let schema = builder.schema().clone();
    let names = schema.fields().iter().map(|field| field.name().clone()).collect();
    let plan = Plan::new(path, names, options)?;
    for (field, reading) in schema.fields().iter().zip(&plan.readings) {
        let (name, found) = (field.name(), field.data_type());
        if *reading != Reading::Skip && !is_number(found) && !is_text(found) {
            let problem = format!(
                "column '{name}' is of {found}, wanted numbers or text: convert it, or leave it out with --drop {name}"
            );
            return Err(fault(problem));
        }
    }
    let kept = |at: &usize| plan.readings[*at] != Reading::Skip;
    let wanted: Vec<usize> = (0..plan.names.len()).filter(kept).collect();
    let mask = ProjectionMask::roots(builder.parquet_schema(), wanted.iter().copied());
    let (mut values, mut rows) = (plan.room(), 0);
    for &at in &wanted {
        if is_text(schema.field(at).data_type()) {
            values[at] = Some(Values::Text(Vec::new()));
        }
    }
    for batch in builder.with_projection(mask).build().map_err(|e| unreadable(&e))? {
        let batch = batch.map_err(|e| unreadable(&e))?;
        for (&at, column) in wanted.iter().zip(batch.columns()) {
            let Some(values) = &mut values[at] else { continue };
            extend(values, column).map_err(|e| unreadable(&e))?;
        }
        rows += batch.num_rows();
    }
    Table::assemble(TableKind::Parquet, plan, values, rows, None)
}

fn is_number(found: &DataType) -> bool {
    (found.is_numeric() || *found == DataType::Boolean) && can_cast_types(found, &DataType::Float64)
}

fn is_text(found: &DataType) -> bool {
    match found {
        DataType::Utf8 | DataType::LargeUtf8 | DataType::Utf8View => true,
        DataType::Dictionary(_, values) => is_text(values),
        _ => false,
    }
}

fn extend(values: &mut Values, column: &ArrayRef) -> Result<(), arrow_schema::ArrowError> {
    match values {
        Values::Numbers(numbers) => numbers.extend(numbers_of(column)?),
        // As text files have it: 1, whether it was an integer or a float.
        Values::Text(cells) if column.data_type().is_floating() => {
            cells.extend(numbers_of(column)?.map(|n| Some(n.to_string()).filter(|_| !n.is_nan())));
        }
        Values::Text(cells) => {
            let texts = cast(column, &DataType::Utf8)?;
            cells.extend(texts.as_string::<i32>().iter().map(|text| text.map(str::to_owned)));
        }
    }
    Ok(())
}

fn numbers_of(column: &ArrayRef) -> Result<impl Iterator<Item = f64>, arrow_schema::ArrowError> {
    let numbers = cast(column, &DataType::Float64)?;
    let numbers = numbers.as_primitive::<Float64Type>().clone();
    Ok((0..numbers.len()).map(move |i| if numbers.is_null(i) { f64::NAN } else { numbers.value(i) }))
}
