//! `nearkin quickstart`: the other commands, one after the other, as a user would type them.

use std::path::{Path, PathBuf};

use nearkin_data::Dataset;

use super::{embed, eval, index, search, train};
use crate::failure::Failure;
use crate::ui::Ui;

const DATA: &str = "data/fashion-mnist";
const RECIPE: &str = "recipes/quickstart.toml";
/// Images to learn from; the other 3,000 are held out.
const TRAIN: &str = "#0..7000";
const TEST: &str = "#7000..";

#[derive(Debug, clap::Args)]
pub struct Args {
    /// The run folder to make
    #[arg(long, value_name = "DIR", default_value = "runs/quickstart")]
    out: PathBuf,
}

pub fn run(args: Args, ui: &Ui) -> Result<(), Failure> {
    for needed in [DATA, RECIPE] {
        if !Path::new(needed).exists() {
            return Err(Failure::misuse(format!(
                "no {needed} here: quickstart runs on the data in the repository, so run it from there"
            )));
        }
    }
    let (train, test) = (PathBuf::from(format!("{DATA}{TRAIN}")), PathBuf::from(format!("{DATA}{TEST}")));
    let run = args.out;
    let (vectors, searchable) = (run.join("test.parquet"), run.join("test.index"));
    let sheet = run.join("search.png");
    let query = Dataset::open(&test)?.sample(0).id.clone();
    let (r, v, s) = (run.display(), vectors.display(), searchable.display());
    let (train_name, test_name) = (train.display(), test.display());

    typed(ui, &format!("train --data {train_name} --recipe {RECIPE} --out {r}"));
    train::run(train::Args::with_recipe(train.clone(), RECIPE.into(), run.clone()), ui)?;
    typed(ui, &format!("eval {r} --data {test_name}"));
    eval::run(eval::Args::new(run.clone(), test.clone()), ui)?;
    typed(ui, &format!("embed {r} --data {test_name} --out {v}"));
    embed::run(embed::Args::new(run.clone(), test.clone(), vectors.clone()), ui)?;
    typed(ui, &format!("index {v} --out {s}"));
    index::run(index::Args::new(vectors.clone(), searchable.clone()), ui)?;
    typed(ui, &format!("search {s} --query {query} -k 8 --sheet {} --data {test_name}", sheet.display()));
    search::run(search::Args::new(searchable.clone(), query, 8, sheet.clone(), test.clone()), ui)?;
    ui.note(format!(
        "\nOpen {r}/report.html for the report, and {} for the search. To look at them and search with pictures of your own:\n\
         \n$ nearkin serve {s} --model {r} --data {test_name}",
        sheet.display()
    ));
    Ok(())
}

fn typed(ui: &Ui, command: &str) {
    ui.note(format!("\n$ nearkin {command}"));
}
