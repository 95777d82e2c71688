//! Trains a small model on images with labels and reports every epoch.
//!
//! `cargo run --release --example train -- data/fashion-mnist#0..2000 /tmp/my-run`

use std::path::PathBuf;
use std::sync::atomic::AtomicBool;

use nearkin::train::{Event, MethodConfig, Recipe, Training, device};

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let mut args = std::env::args().skip(1).map(PathBuf::from);
    let (Some(data), Some(out)) = (args.next(), args.next()) else {
        return Err("usage: train DATA RUN_FOLDER".into());
    };
    let method = MethodConfig::by_name("supcon").ok_or("no such method")?;
    let recipe = Recipe { epochs: 3, ..Recipe::of(method) };

    // Everything that happens comes as an event: show it, log it, or ignore it.
    let mut observer = |event: Event<'_>| match event {
        Event::EpochDone(epoch) => println!("epoch {}: loss {:.3}", epoch.epoch, epoch.loss),
        Event::Warning(text) => eprintln!("{text}"),
        _ => {}
    };
    let training = Training::begin(recipe, &data, &out, &device("cpu")?, &mut observer)?;
    println!("one epoch takes about {:.1} s", training.plan()?.seconds_per_epoch());

    // Set the flag from a signal handler or another thread to stop after the current step, saved.
    let outcome = training.run(&mut observer, &AtomicBool::new(false))?;
    println!("the model is in {}/model", outcome.folder.display());
    Ok(())
}
