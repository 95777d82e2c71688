//! `nearkin views`

use std::path::PathBuf;

use image::{ImageFormat, Rgb, RgbImage};
use nearkin_data::random::{Purpose, stream};
use nearkin_data::{Image, Limits, Normalize, PRESETS, ViewConfig, Views, read_image};
use nearkin_train::Recipe;
use serde_json::json;

use crate::failure::Failure;
use crate::ui::Ui;

/// Pixels between the views of a sheet.
const GAP: u32 = 4;
/// Of the sheet, where there is no view.
const PAPER: Rgb<u8> = Rgb([255; 3]);

#[derive(Debug, clap::Args)]
pub struct Args {
    /// A picture
    picture: PathBuf,
    /// The views of a paper, by its name
    #[arg(long, value_name = "NAME", default_value = "simclr", value_parser = PRESETS.map(|(name, _)| name))]
    preset: String,
    /// The views that a recipe trains on, in place of a preset's
    #[arg(long, value_name = "FILE", conflicts_with = "preset")]
    recipe: Option<PathBuf>,
    /// Side of a view, in pixels [default: the recipe's, or 128]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u16).range(8..=1024))]
    size: Option<u16>,
    /// How many views
    #[arg(long, value_name = "N", default_value_t = 23, value_parser = clap::value_parser!(u16).range(1..=999))]
    count: u16,
    /// Views in a row
    #[arg(long, value_name = "N", default_value_t = 8, value_parser = clap::value_parser!(u16).range(1..=32))]
    columns: u16,
    /// The seed of every random draw
    #[arg(long, value_name = "N", default_value_t = 1)]
    seed: u64,
    /// The sheet to draw
    #[arg(long, value_name = "FILE.png", default_value = "views.png")]
    out: PathBuf,
}

pub fn run(args: Args, ui: &Ui) -> Result<(), Failure> {
    let image = read_image(&args.picture, Limits::default())?;
    let (config, size) = chosen(&args)?;
    let views = Views::new(&config, size, image.channels)?;
    // First the picture as evaluation sees it, then its views.
    let mut cells =
        vec![made(&Views::eval(size, image.channels, config.normalize.clone())?, &image, &args, 0)?];
    for number in 0..u32::from(args.count) {
        cells.push(made(&views, &image, &args, number)?);
    }
    sheet(&cells, size as u32, args.columns.into())
        .save_with_format(&args.out, ImageFormat::Png)
        .map_err(|e| Failure::failed(format!("cannot write {}: {e}", args.out.display())))?;
    ui.print_json(
        &json!({ "event": "views", "views": args.count, "size": size, "config": config, "out": args.out }),
    );
    ui.print(format!(
        "drew {} views of {size} × {size} pixels to {}, the picture itself first; a recipe asks for them by",
        args.count,
        args.out.display()
    ));
    ui.print(in_recipe(&config)?);
    Ok(())
}

/// What is asked for, and the side of a view.
fn chosen(args: &Args) -> Result<(ViewConfig, usize), Failure> {
    let Some(path) = &args.recipe else {
        let config = ViewConfig::preset(&args.preset).expect("the command line knows the presets");
        return Ok((config, args.size.unwrap_or(128).into()));
    };
    let recipe = Recipe::read(path)?;
    let size = args.size.map(usize::from).or(recipe.size).unwrap_or(128);
    Ok((recipe.image_views()?, size))
}

/// One view, as bytes on the scale of the picture.
fn made(views: &Views, image: &Image, args: &Args, number: u32) -> Result<RgbImage, Failure> {
    let mut values = vec![0.0; views.values()];
    views.apply(image, &mut stream(args.seed, 0, 0, number, Purpose::View), &mut values)?;
    let (side, channels) = (views.size() as u32, views.channels());
    let Normalize { mean, std } = &views.config().normalize;
    let of = |values: &[f32], channel: usize| values[channel.min(values.len() - 1)];
    let plane = values.len() / channels;
    Ok(RgbImage::from_fn(side, side, |x, y| {
        Rgb(std::array::from_fn(|colour| {
            let channel = colour.min(channels - 1);
            let value = values[channel * plane + (y * side + x) as usize];
            ((value * of(std, channel) + of(mean, channel)) * 255.0).round() as u8
        }))
    }))
}

fn sheet(cells: &[RgbImage], side: u32, columns: u32) -> RgbImage {
    let (across, down) = (columns.min(cells.len() as u32), (cells.len() as u32).div_ceil(columns));
    let step = side + GAP;
    let mut sheet = RgbImage::from_pixel(across * step + GAP, down * step + GAP, PAPER);
    for (at, cell) in (0..).zip(cells) {
        let (x, y) = (at % columns * step + GAP, at / columns * step + GAP);
        image::imageops::replace(&mut sheet, cell, x.into(), y.into());
    }
    sheet
}

/// The part of a recipe that asks for these views.
fn in_recipe(config: &ViewConfig) -> Result<String, Failure> {
    #[derive(serde::Serialize)]
    struct Part<'a> {
        views: &'a ViewConfig,
    }
    toml::to_string(&Part { views: config })
        .map_err(|e| Failure::failed(format!("cannot write a recipe: {e}")))
}
