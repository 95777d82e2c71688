//! The command line.

// But for one call in `allocator`.
#![deny(unsafe_code)]

mod allocator;
mod cli;
mod commands;
mod failure;
mod pictures;
mod springs;
mod ui;

use std::process::ExitCode;

use clap::Parser;

use crate::cli::{Cli, Command};
use crate::failure::Failure;
use crate::ui::Ui;

fn main() -> ExitCode {
    let cli = Cli::parse();
    let ui = Ui::new(cli.output);
    match run(cli, &ui) {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => ui.fail(&failure),
    }
}

fn run(cli: Cli, ui: &Ui) -> Result<(), Failure> {
    cli.threads.start()?;
    // Servers run for weeks, and give back what a busy hour took.
    if !matches!(cli.command, Command::Serve(_) | Command::Gallery(_)) {
        allocator::keep_freed_memory();
    }
    match cli.command {
        Command::Quickstart(args) => commands::quickstart::run(args, ui),
        Command::Train(args) => commands::train::run(args, ui),
        Command::Fit(args) => commands::fit::run(args, ui),
        Command::Map(args) => commands::map::run(args, ui),
        Command::Compare(args) => commands::compare::run(args, ui),
        Command::Reproduce(args) => commands::reproduce::run(args, ui),
        Command::Eval(args) => commands::eval::run(args, ui),
        Command::Embed(args) => commands::embed::run(args, ui),
        Command::Index(args) => commands::index::run(args, ui),
        Command::Add(args) => commands::add::run(args, ui),
        Command::Delete(args) => commands::delete::run(args, ui),
        Command::Compact(args) => commands::compact::run(args, ui),
        Command::Calibrate(args) => commands::calibrate::run(args, ui),
        Command::Export(args) => commands::export::run(args, ui),
        Command::Search(args) => commands::search::run(args, ui),
        Command::Gallery(args) => commands::gallery::run(args, ui),
        Command::Serve(args) => commands::serve::run(args, ui),
        Command::Data(args) => commands::data::run(args, ui),
        Command::Methods => commands::methods::run(ui),
        Command::Devices => commands::devices::run(ui),
        Command::Views(args) => commands::views::run(args, ui),
        Command::Bench(args) => commands::bench::run(args, ui),
    }
}
