//! NumPy arrays of two dimensions.

use std::fs::File;
use std::io::BufReader;
use std::path::Path;

use npyz::{DType, NpyFile, Order, TypeChar};

use super::plan::{Plan, Reading};
use super::{Table, TableKind, TableOptions, Values};
use crate::error::DataError;

pub(super) fn read(path: &Path, options: &TableOptions) -> Result<Table, DataError> {
    let fault = |problem: String| DataError::table(path, problem);
    let file = File::open(path).map_err(|source| DataError::read(path, source))?;
    let bytes = file.metadata().map_err(|source| DataError::read(path, source))?.len();
    let array = NpyFile::new(BufReader::new(file)).map_err(|e| fault(format!("not a NumPy array: {e}")))?;
    let &[rows, columns] = array.shape() else {
        return Err(fault(format!(
            "an array of shape {:?}, wanted two dimensions: rows and columns",
            array.shape()
        )));
    };
    let kind = match array.dtype() {
        DType::Plain(kind) => kind,
        other => return Err(fault(format!("values of {}, wanted numbers", other.descr()))),
    };
    // A header alone must not make this allocate.
    if rows.saturating_mul(columns).saturating_mul(kind.size_field()) > bytes {
        return Err(fault(format!(
            "its header names {rows} × {columns} values, more than its {bytes} bytes hold"
        )));
    }
    let (rows, columns, order) = (rows as usize, columns as usize, array.order());
    let torn = |e: std::io::Error| fault(format!("not a whole array: {e}"));
    macro_rules! numbers {
        ($type:ty) => {
            array.into_vec::<$type>().map_err(torn)?.into_iter().map(|x| x as f64).collect()
        };
    }
    let values: Vec<f64> = match (kind.type_char(), kind.size_field()) {
        (TypeChar::Float, 4) => numbers!(f32),
        (TypeChar::Float, 8) => numbers!(f64),
        (TypeChar::Int, 1) => numbers!(i8),
        (TypeChar::Int, 2) => numbers!(i16),
        (TypeChar::Int, 4) => numbers!(i32),
        (TypeChar::Int, 8) => numbers!(i64),
        (TypeChar::Uint, 1) => numbers!(u8),
        (TypeChar::Uint, 2) => numbers!(u16),
        (TypeChar::Uint, 4) => numbers!(u32),
        (TypeChar::Uint, 8) => numbers!(u64),
        (TypeChar::Bool, _) => {
            array.into_vec::<bool>().map_err(torn)?.into_iter().map(|x| f64::from(u8::from(x))).collect()
        }
        _ => return Err(fault(format!("values of {}, wanted float32, float64, integers or booleans", kind))),
    };
    let plan = Plan::new(path, (0..columns).map(|c| format!("f{c}")).collect(), options)?;
    let at = |row: usize, column: usize| match order {
        Order::C => values[row * columns + column],
        Order::Fortran => values[column * rows + row],
    };
    let mut read = Vec::with_capacity(columns);
    for (column, reading) in plan.readings.iter().enumerate() {
        let numbers = (0..rows).map(|row| at(row, column));
        read.push(match reading {
            Reading::Skip => None,
            Reading::Numbers => Some(Values::Numbers(numbers.collect())),
            Reading::Text => Some(Values::Text(
                numbers.map(|number| Some(number.to_string()).filter(|_| !number.is_nan())).collect(),
            )),
        });
    }
    Table::assemble(TableKind::Npy, plan, read, rows, None)
}
