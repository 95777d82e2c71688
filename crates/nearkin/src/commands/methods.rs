//! `nearkin methods`

use nearkin_train::MethodConfig;

use crate::failure::Failure;
use crate::ui::Ui;

pub fn run(ui: &Ui) -> Result<(), Failure> {
    for card in MethodConfig::CARDS {
        ui.print_json(&card);
        let labels = if card.needs_labels { "needs labels" } else { "no labels needed" };
        ui.print(format!("{} ({labels})\n  {}\n  {}\n", card.name, card.summary, card.paper));
    }
    ui.print(
        "For tables there are the classical methods, from PCA to LMNN and from LLE to diffusion maps: see `nearkin fit --help`.\n",
    );
    ui.print(
        "Use one with `nearkin train --method NAME`, or set its details in a recipe: `--recipe my.toml`.",
    );
    Ok(())
}
