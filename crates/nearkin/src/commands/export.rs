//! `nearkin export`

use std::io::{self, Write};
use std::path::PathBuf;

use clap::ValueEnum;
use nearkin_data::write_whole_by;
use nearkin_index::{Embeddings, Snapshot};
use nearkin_sweep::Metric;
use nearkin_train::{ExportFormat, Model};
use serde::Serialize;
use serde_json::{Map, Value, json};

use crate::cli::OnDevice;
use crate::failure::Failure;
use crate::ui::{Ui, count};

const HELP: &str = "\
Examples:
  nearkin export runs/a --out encoder.onnx
  nearkin export runs/a --out encoder.safetensors
  nearkin export photos.index --format pgvector --out photos.sql
  psql --single-transaction --set ON_ERROR_STOP=1 --file photos.sql
  nearkin export photos.parquet --format qdrant --name photos --out photos.jsonl";

#[derive(Debug, clap::Args)]
#[command(after_help = HELP)]
pub struct Args {
    /// A run or a model folder, to write its network; or vectors: .parquet, .npy or .safetensors, or an index
    what: PathBuf,
    /// Of vectors, the database
    #[arg(long, value_name = "NAME")]
    format: Option<Format>,
    /// The file to write; of a model, .onnx for the network with its preprocessing, or .safetensors for its weights under PyTorch's names
    #[arg(long, value_name = "FILE")]
    out: PathBuf,
    /// Of vectors, what the table or collection is called
    #[arg(long, value_name = "NAME", default_value = "embeddings")]
    name: String,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Format {
    /// SQL for PostgreSQL with pgvector: a table, COPY, an index
    Pgvector,
    /// Qdrant's HTTP API: a line of JSON for the collection, then one for each bulk of points
    Qdrant,
}

/// Points in a bulk for Qdrant, whose server refuses more than 32 MB at once.
const BULK: usize = 256;
/// What pgvector stores and indexes: 16,000 and 2,000 values.
const PGVECTOR_MOST: usize = 16_000;
const PGVECTOR_INDEXED: usize = 2_000;

pub fn run(args: Args, ui: &Ui) -> Result<(), Failure> {
    match args.format {
        Some(format) => vectors(&args, format, ui),
        None => model(&args, ui),
    }
}

fn model(args: &Args, ui: &Ui) -> Result<(), Failure> {
    if args.what.is_file() {
        let name = args.what.display();
        return Err(Failure::misuse(format!(
            "{name} is a file: give --format pgvector or qdrant to export vectors, or a run or a model folder to export its network"
        )));
    }
    ExportFormat::of(&args.out)?;
    let model = Model::open(&args.what, &OnDevice::cpu().open()?)?;
    let format = model.export(&args.out)?.name();
    let (dimension, out) = (model.dimension(), &args.out);
    ui.print_json(&json!({ "event": "exported", "format": format, "dimension": dimension, "out": out }));
    ui.print(format!("wrote a network of {dimension} values an embedding to {}", out.display()));
    Ok(())
}

fn vectors(args: &Args, format: Format, ui: &Ui) -> Result<(), Failure> {
    if args.what.is_dir() {
        return Err(Failure::misuse(format!(
            "{} is a folder, and --format is for vectors: leave it out to export a model, or embed with it first",
            args.what.display()
        )));
    }
    let is_index = args.what.extension().is_some_and(|extension| extension == "index");
    let (table, metric) = if is_index {
        let snapshot = Snapshot::open(&args.what)?;
        if snapshot.is_empty() {
            return Err(Failure::misuse(format!("every row of {} is deleted", args.what.display())));
        }
        (snapshot.to_embeddings(), snapshot.metric())
    } else {
        let table = Embeddings::read(&args.what)?;
        let metric = table.origin.as_ref().map(|origin| origin.metric).unwrap_or_default();
        (table, metric)
    };
    if table.dim > PGVECTOR_MOST && format == Format::Pgvector {
        return Err(Failure::misuse(format!(
            "pgvector stores up to {PGVECTOR_MOST} values a vector, and these have {}",
            table.dim
        )));
    }
    let write = |out: &mut dyn Write| match format {
        Format::Pgvector => pgvector(&table, metric, &args.name, out),
        Format::Qdrant => qdrant(&table, metric, out),
    };
    write_whole_by(&args.out, write)
        .map_err(|e| Failure::failed(format!("cannot write {}: {e}", args.out.display())))?;
    ui.print_json(
        &json!({ "event": "exported", "rows": table.len(), "dimension": table.dim, "out": args.out }),
    );
    ui.print(format!(
        "wrote {} vectors of {} values to {}",
        count(table.len()),
        table.dim,
        args.out.display()
    ));
    Ok(())
}

/// The columns of text, by name: id, and what else there is.
fn columns(table: &Embeddings) -> Vec<(&str, &[String])> {
    let mut columns: Vec<(&str, &[String])> = vec![("id", &table.ids)];
    columns.extend(table.labels.as_deref().map(|labels| ("label", labels)));
    columns.extend(table.paths.as_deref().map(|paths| ("path", paths)));
    columns.extend(table.columns.iter().map(|(name, texts)| (&name[..], &texts[..])));
    columns
}

/// A script for `psql`: see pgvector's README for the types and operator classes, and PostgreSQL's COPY for the text format.
fn pgvector(table: &Embeddings, metric: Metric, name: &str, out: &mut dyn Write) -> io::Result<()> {
    let (name, columns) = (identifier(name), columns(table));
    let operators = match metric {
        Metric::Cosine => "vector_cosine_ops",
        Metric::Dot => "vector_ip_ops",
        Metric::Euclidean | Metric::SquaredEuclidean => "vector_l2_ops",
    };
    writeln!(out, "CREATE EXTENSION IF NOT EXISTS vector;")?;
    writeln!(out, "CREATE TABLE {name} (")?;
    for (column, _) in &columns {
        let key = if *column == "id" { " PRIMARY KEY" } else { "" };
        writeln!(out, "    {} text{key},", identifier(column))?;
    }
    writeln!(out, "    \"embedding\" vector({}) NOT NULL\n);", table.dim)?;
    let names: Vec<String> = columns.iter().map(|(column, _)| identifier(column)).collect();
    writeln!(out, "COPY {name} ({}, \"embedding\") FROM stdin;", names.join(", "))?;
    for (row, vector) in table.vectors.chunks_exact(table.dim).enumerate() {
        for (_, texts) in &columns {
            write!(out, "{}\t", copied(&texts[row]))?;
        }
        for (i, value) in vector.iter().enumerate() {
            write!(out, "{}{value}", if i == 0 { "[" } else { "," })?;
        }
        writeln!(out, "]")?;
    }
    writeln!(out, "\\.")?;
    if table.dim <= PGVECTOR_INDEXED {
        writeln!(out, "CREATE INDEX ON {name} USING hnsw (\"embedding\" {operators});")?;
    }
    Ok(())
}

/// A name as SQL quotes it.
fn identifier(name: &str) -> String {
    format!("\"{}\"", name.replace('"', "\"\""))
}

/// A text as COPY reads it; an empty one is NULL.
fn copied(text: &str) -> String {
    if text.is_empty() {
        return "\\N".to_owned();
    }
    let mut copied = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '\\' => copied.push_str("\\\\"),
            '\t' => copied.push_str("\\t"),
            '\n' => copied.push_str("\\n"),
            '\r' => copied.push_str("\\r"),
            // PostgreSQL holds no NUL in a text.
            '\0' => copied.push('\u{fffd}'),
            c => copied.push(c),
        }
    }
    copied
}

#[derive(Serialize)]
struct Points<'a> {
    points: Vec<Point<'a>>,
}

#[derive(Serialize)]
struct Point<'a> {
    id: String,
    vector: &'a [f32],
    payload: Map<String, Value>,
}

/// Bodies for Qdrant's HTTP API, one a line: of `PUT /collections/NAME`, then of `PUT /collections/NAME/points`.
fn qdrant(table: &Embeddings, metric: Metric, out: &mut dyn Write) -> io::Result<()> {
    let distance = match metric {
        Metric::Cosine => "Cosine",
        Metric::Dot => "Dot",
        Metric::Euclidean | Metric::SquaredEuclidean => "Euclid",
    };
    writeln!(out, "{}", json!({ "vectors": { "size": table.dim, "distance": distance } }))?;
    let columns = columns(table);
    for first in (0..table.len()).step_by(BULK) {
        let point = |row: usize| {
            let payload: Map<String, Value> = columns
                .iter()
                .filter(|(_, texts)| !texts[row].is_empty())
                .map(|(name, texts)| ((*name).to_owned(), Value::from(texts[row].as_str())))
                .collect();
            let vector = &table.vectors[row * table.dim..(row + 1) * table.dim];
            Point { id: uuid(&table.ids[row]), vector, payload }
        };
        let points = (first..table.len().min(first + BULK)).map(point).collect();
        serde_json::to_writer(&mut *out, &Points { points })?;
        writeln!(out)?;
    }
    Ok(())
}

/// The UUID of an id, since Qdrant takes no texts for ids: the same id always has the same one, so that a second export replaces the
/// points of the first. Version 8 of RFC 9562, of BLAKE3; the id itself is in the payload.
fn uuid(id: &str) -> String {
    let mut bytes: [u8; 16] = *blake3::hash(id.as_bytes()).as_bytes().first_chunk().unwrap_or(&[0; 16]);
    bytes[6] = (bytes[6] & 0x0f) | 0x80;
    bytes[8] = (bytes[8] & 0x3f) | 0x80;
    let digits = bytes.map(|byte| format!("{byte:02x}")).concat();
    [&digits[..8], &digits[8..12], &digits[12..16], &digits[16..20], &digits[20..]].join("-")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn texts_and_names_are_quoted_as_postgresql_reads_them() {
        assert_eq!(copied("a\tb\\c\nd\r\\."), "a\\tb\\\\c\\nd\\r\\\\.");
        assert_eq!((copied(""), copied("\\N")), ("\\N".into(), "\\\\N".into()));
        assert_eq!(identifier("a \"b\""), "\"a \"\"b\"\"\"");
    }

    #[test]
    fn an_id_has_one_uuid_of_version_8() {
        let uuid_of = uuid("photos/cup/1.jpg");
        assert_eq!(uuid_of, uuid("photos/cup/1.jpg"));
        assert_ne!(uuid_of, uuid("photos/cup/2.jpg"));
        let lengths: Vec<usize> = uuid_of.split('-').map(str::len).collect();
        assert_eq!(lengths, [8, 4, 4, 4, 12]);
        assert_eq!((&uuid_of[14..15], "89ab".contains(&uuid_of[19..20])), ("8", true));
    }
}
