//! `nearkin devices`

use nearkin_train::devices;

use crate::failure::Failure;
use crate::ui::{Ui, table};

pub fn run(ui: &Ui) -> Result<(), Failure> {
    let devices = devices();
    devices.iter().for_each(|device| ui.print_json(device));
    let state = |name: &str, built| match (name, built) {
        ("cpu", _) => "ready, the default".to_owned(),
        (_, true) => format!("built in: --device {name}"),
        (_, false) => format!("not in this build: cargo build --release --features {name}"),
    };
    let rows = devices.iter().map(|d| [d.name.to_owned(), d.description.clone(), state(d.name, d.built)]);
    ui.print(table(["device", "what", "state"], rows, &[]));
    Ok(())
}
