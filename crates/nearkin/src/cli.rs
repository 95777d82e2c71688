//! What can be typed.

use clap::{Args, Parser, Subcommand};

use crate::commands::{
    add, bench, calibrate, compact, compare, data, delete, embed, eval, export, fit, gallery, index, map,
    quickstart, reproduce, search, serve, train, views,
};
use crate::failure::Failure;

const EXAMPLES: &str = "\
Examples:
  nearkin quickstart                                             the whole way on the data in the repository, in minutes
  nearkin data photos/                                           what nearkin sees in a folder of images
  nearkin train --data photos/ --method batch-hard --out runs/a  learn from a folder per class
  nearkin train --data photos/ --method simclr --out runs/b      learn without labels
  nearkin compare a.toml b.toml --data photos/ --test test/ --out runs/c
                                                                 train recipes with several seeds, into one table
  nearkin eval runs/a --data test/                               measure it on other photos, write runs/a/report.html
  nearkin embed runs/a --data photos/ --out photos.parquet       turn photos into vectors
  nearkin index photos.parquet --out photos.index                make them searchable
  nearkin search photos.index --model runs/a --query q.jpg -k 10 find what is near
  nearkin add photos.index new.parquet                           make the index grow; delete and compact do the rest
  nearkin calibrate runs/a --data test/ --far 1e-3               let a search answer 'unknown'
  nearkin serve photos.index --model runs/a                      the same over HTTP, and a page to look at them
  nearkin fit nca --data wine.csv --hold-out 0.3 --out runs/wine learn a metric from a table, measure it on unseen rows
  nearkin map --data wine.csv --methods lle,nca --out runs/m     maps of the same rows beside each other";

/// Learn embeddings in which near means kin: train, measure, index and search, in one binary.
#[derive(Debug, Parser)]
#[command(version, max_term_width = 100, after_help = EXAMPLES, arg_required_else_help = true)]
pub struct Cli {
    #[command(flatten)]
    pub output: Output,
    #[command(flatten)]
    pub threads: Threads,
    #[command(subcommand)]
    pub command: Command,
}

/// How to speak.
#[derive(Debug, Clone, Copy, Args)]
pub struct Output {
    /// Say nothing but errors and the result
    #[arg(long, short, global = true)]
    pub quiet: bool,
    /// Print results as JSON, one object a line, for other programs
    #[arg(long, global = true)]
    pub json: bool,
}

/// How much of the machine to use.
#[derive(Debug, Clone, Copy, Args)]
pub struct Threads {
    /// CPU threads to use; results do not depend on it [default: all cores]
    #[arg(long, global = true, value_name = "N", value_parser = clap::value_parser!(u16).range(1..))]
    threads: Option<u16>,
}

impl Threads {
    /// Sets up the pool that everything runs on.
    pub fn start(self) -> Result<(), Failure> {
        let Some(threads) = self.threads else { return Ok(()) };
        rayon::ThreadPoolBuilder::new()
            .num_threads(threads.into())
            .build_global()
            .map_err(|e| Failure::failed(format!("cannot start {threads} threads: {e}")))
    }
}

/// What to do.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Run train, eval, embed, index and search on the data in the repository
    Quickstart(quickstart::Args),
    /// Train a model on images, with or without labels, or resume a run
    Train(train::Args),
    /// Train several recipes with several seeds, and put them in one table
    Compare(compare::Args),
    /// Fit a classical method, from PCA to LMNN and from LLE to diffusion maps, to a table
    #[command(subcommand)]
    Fit(fit::Args),
    /// Map the same rows by several methods, and unseen rows where a method can, into one report
    Map(map::Args),
    /// Repeat an experiment of a paper, and check what it found
    Reproduce(reproduce::Args),
    /// Measure a model on labelled images or rows, beside raw pixels or features, and write a report
    Eval(eval::Args),
    /// Turn images or rows of a table into vectors with a model
    Embed(embed::Args),
    /// Make vectors searchable
    Index(index::Args),
    /// Add vectors to an index
    Add(add::Args),
    /// Delete rows of an index
    Delete(delete::Args),
    /// Fold what was added to an index and deleted from it into its file
    Compact(compact::Args),
    /// Choose from when on a neighbour counts, so that a search may answer "unknown"
    Calibrate(calibrate::Args),
    /// Write a network for other programs, as ONNX or as PyTorch's weights, or vectors for a database
    Export(export::Args),
    /// Find the nearest neighbours of a picture, of a row, or of an indexed item
    Search(search::Args),
    /// Serve an index over HTTP, with a page to look at it
    Serve(serve::Args),
    /// Look at an index, and at a run while it trains, in a page of the browser
    Gallery(gallery::Args),
    /// Show what nearkin sees in a data set
    Data(data::Args),
    /// Draw random views of a picture, as training makes them
    Views(views::Args),
    /// List the training methods
    Methods,
    /// List the devices that training and embedding can use
    Devices,
    /// Measure how fast this machine makes views, trains, takes losses and searches
    Bench(bench::Args),
}

/// Which device a command runs on.
#[derive(Debug, Clone, Args)]
pub struct OnDevice {
    /// cpu, cuda or wgpu: see `nearkin devices`
    #[arg(long, default_value = "cpu", value_name = "NAME")]
    device: String,
}

impl OnDevice {
    /// The CPU.
    pub fn cpu() -> Self {
        Self { device: "cpu".into() }
    }

    /// The device, for inference.
    pub fn open(&self) -> Result<burn::tensor::Device, Failure> {
        Ok(nearkin_train::device(&self.device)?)
    }
}
