//! One file a subcommand.

pub mod bench;
pub mod compare;
pub mod data;
pub mod devices;
pub mod embed;
pub mod eval;
pub mod index;
pub mod methods;
pub mod quickstart;
pub mod search;
pub mod train;

use std::sync::Arc;

use nearkin_data::{Dataset, PrepareOptions, Prepared};

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
