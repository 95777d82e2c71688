//! Embeds images, or rows of a table, with a model and measures how well they find their class.
//!
//! `cargo run --release --example embed -- /tmp/my-run data/fashion-mnist#7000..8000`

use std::path::PathBuf;

use nearkin::eval::{Labeled, RetrievalOptions, retrieval};
use nearkin::sweep::Vectors;
use nearkin::train::{Model, device};

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let mut args = std::env::args().skip(1).map(PathBuf::from);
    let (Some(run), Some(data)) = (args.next(), args.next()) else {
        return Err("usage: embed RUN_FOLDER DATA".into());
    };
    let model = Model::open(&run, &device("cpu")?)?;

    // Images are decoded once, and broken ones listed rather than fatal.
    let inputs = model.read(&data, &mut |_, _| {})?;
    let (labels, _) = inputs.labels()?.ok_or("the samples have no labels")?;
    let vectors = model.embed(&inputs, &mut |_, _| {})?;

    let vectors = Vectors::new(&vectors, model.dimension())?;
    let options = RetrievalOptions { metric: model.metric(), ..RetrievalOptions::default() };
    let found = retrieval(Labeled { vectors, labels: &labels }, None, &options)?;
    println!("precision@1 {:.3}, MAP@R {:.3}", found.precision_at_1, found.mean_average_precision_at_r);
    Ok(())
}
