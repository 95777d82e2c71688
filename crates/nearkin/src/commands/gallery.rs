//! `nearkin gallery`

use std::path::PathBuf;

use nearkin_data::Dataset;
use nearkin_serve::{Served, Server, Store};

use super::serve::{Listen, open, until_stopped};
use crate::cli::OnDevice;
use crate::failure::Failure;
use crate::ui::Ui;

#[derive(Debug, clap::Args)]
#[command(after_help = "\
Give an index to see its map and how its classes mix, a run to see its curves while it trains, or both.
`nearkin serve` has the same page.")]
pub struct Args {
    /// An index made by `nearkin index`
    #[arg(required_unless_present = "run")]
    index: Option<PathBuf>,
    /// The run or model folder that made the vectors; needed to search by picture
    #[arg(long, value_name = "DIR", requires = "index")]
    model: Option<PathBuf>,
    /// Where pictures are found of items that are no files of their own, such as IDX images
    #[arg(long, value_name = "PATH", requires = "index")]
    data: Option<PathBuf>,
    /// The run to watch [default: --model, if it is a run]
    #[arg(long, value_name = "DIR")]
    run: Option<PathBuf>,
    #[command(flatten)]
    listen: Listen,
    #[command(flatten)]
    device: OnDevice,
}

pub fn run(args: Args, ui: &Ui) -> Result<(), Failure> {
    if let Some(folder) = args.run.as_ref().filter(|folder| !folder.join("run.toml").is_file()) {
        return Err(Failure::misuse(format!("{} is not a run: it has no run.toml", folder.display())));
    }
    let what = args.index.as_ref().or(args.run.as_ref()).cloned().unwrap_or_default();
    let served = Served {
        index: args.index.as_deref().map(Store::open_read_only).transpose()?,
        model: args.model.as_deref().map(|path| open(path, &args.device)).transpose()?,
        data: args.data.as_deref().map(Dataset::open).transpose()?,
        run: args.run.or(args.model.filter(|folder| folder.join("metrics.jsonl").is_file())),
    };
    until_stopped(Server::start(served, args.listen.options()?)?, &what, ui)
}
