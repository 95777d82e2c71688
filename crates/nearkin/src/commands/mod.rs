//! One file a subcommand.

pub mod add;
pub mod bench;
pub mod calibrate;
pub mod compact;
pub mod compare;
pub mod data;
pub mod delete;
pub mod devices;
pub mod embed;
pub mod eval;
pub mod export;
pub mod fit;
pub mod gallery;
pub mod index;
pub mod map;
pub mod methods;
pub mod quickstart;
pub mod reproduce;
pub mod search;
pub mod serve;
pub mod train;
pub mod views;

use std::path::Path;
use std::sync::Arc;

use nearkin_data::{Dataset, NamePattern, PrepareOptions, Prepared};
use nearkin_train::{Inputs, Model};

use crate::failure::Failure;
use crate::ui::Ui;

/// Decodes a data set, with a bar, and says which images were skipped.
fn prepare(dataset: &Dataset, options: &PrepareOptions, ui: &Ui) -> Result<Arc<Prepared>, Failure> {
    let bar = ui.bar("decoding", dataset.len());
    let prepared = Prepared::prepare(dataset, options, &mut |done, _| bar.set_position(done as u64))?;
    bar.finish_and_clear();
    for skipped in &prepared.skipped {
        ui.warn(format!("skipped {skipped}"));
    }
    Ok(Arc::new(prepared))
}

/// How files are named, for commands that open data.
#[derive(Debug, Clone, Default, clap::Args)]
pub struct Named {
    /// How the files are named, where their names say labels, splits and attributes: '{label}_{speaker}_{index}'
    #[arg(long, value_name = "PATTERN")]
    pub names: Option<NamePattern>,
}

/// Reads what a model takes, with a bar, and says which samples were skipped.
fn read(model: &Model, path: &Path, named: &Named, ui: &Ui) -> Result<Inputs, Failure> {
    match &named.names {
        None => decoded(ui, |progress| Ok(model.read(path, progress)?)),
        Some(names) => read_samples(model, &Dataset::open_named(path, Some(names))?, ui),
    }
}

/// The same of samples of a data set that is open.
fn read_samples(model: &Model, dataset: &Dataset, ui: &Ui) -> Result<Inputs, Failure> {
    decoded(ui, |progress| Ok(model.read_samples(dataset, progress)?))
}

fn decoded(
    ui: &Ui,
    read: impl FnOnce(&mut dyn FnMut(usize, usize)) -> Result<Inputs, Failure>,
) -> Result<Inputs, Failure> {
    let bar = ui.bar("decoding", 0);
    let inputs = read(&mut |done, total| {
        bar.set_length(total as u64);
        bar.set_position(done as u64);
    })?;
    bar.finish_and_clear();
    for skipped in inputs.skipped() {
        ui.warn(format!("skipped {skipped}"));
    }
    Ok(inputs)
}
