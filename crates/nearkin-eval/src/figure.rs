//! Maps and curves beside each other in one picture, for a page of results: as SVG, and as PNG for where that is not shown.

use std::io::Cursor;

use image::codecs::png::{CompressionType, FilterType as RowFilter, PngEncoder};
use image::imageops::{FilterType, resize};
use image::{ExtendedColorType, ImageEncoder, Rgb, RgbImage};

use crate::error::EvalError;
use crate::report::{Axis, escape};
use crate::sheet::glyph;

/// Panels in rows.
#[derive(Debug, Clone, PartialEq)]
pub struct Figure {
    /// The panels, row by row.
    pub panels: Vec<Panel>,
    /// Panels a row, at least 1.
    pub columns: usize,
}

/// One map, or one chart.
#[derive(Debug, Clone, PartialEq)]
pub struct Panel {
    /// What stands above it.
    pub title: String,
    /// Names of the axes of a chart; `None` for a map, whose axes have one scale and no numbers.
    pub axes: Option<[String; 2]>,
    /// What is drawn, the first at the bottom.
    pub layers: Vec<Layer>,
}

/// Points drawn alike. Points that are not finite are not drawn.
#[derive(Debug, Clone, PartialEq)]
pub struct Layer {
    /// Its name in the legend, empty for none; of [`Shape::Words`] what is written.
    pub name: String,
    /// Where the points are, y upwards.
    pub points: Vec<[f32; 2]>,
    /// Red, green, blue.
    pub colour: [u8; 3],
    /// How they are drawn.
    pub shape: Shape,
}

/// How the points of a layer are drawn.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Shape {
    /// A disc a point, of this radius in pixels.
    Dots(f32),
    /// Joined by a line.
    Line,
    /// Each two joined by a line of their own, of this width in pixels.
    Segments(f32),
    /// A square of one unit about a point, for grids on a map.
    Cells,
    /// The layer's name, its middle at each point.
    Words,
}

/// Colours that can be told apart, for classes and methods in their order.
pub const PALETTE: [[u8; 3]; 8] = [
    [59, 111, 212],
    [224, 123, 40],
    [47, 158, 91],
    [209, 67, 63],
    [138, 94, 198],
    [138, 90, 68],
    [214, 103, 173],
    [107, 116, 128],
];

/// A lighter shade of a colour, for points that a map was fitted to beside those it was not.
#[must_use]
pub fn pale(colour: [u8; 3]) -> [u8; 3] {
    colour.map(|c| (255 - (255 - u16::from(c)) * 2 / 5) as u8)
}

/// A colour of the circle, for angles: `turn` from 0 to 1 and round again.
#[must_use]
pub fn hue(turn: f64) -> [u8; 3] {
    // Three cosines a third of a turn apart: no two turns look alike, and no corner of the colour cube sticks out.
    let channel = |shift: f64| {
        let wave = 0.5 + 0.5 * (std::f64::consts::TAU * (turn - shift)).cos();
        (35.0 + 195.0 * wave).round() as u8
    };
    [channel(0.0), channel(1.0 / 3.0), channel(2.0 / 3.0)]
}

const WIDTH: f32 = 300.0;
const PLOT: f32 = 260.0;
const GAP: f32 = 22.0;
const TITLE: f32 = 24.0;
/// A line of the legend.
const LINE: f32 = 18.0;
/// Height and width of a letter of the PNG, and about those of the SVG's.
const LETTER: [f32; 2] = [7.0, 11.0];
/// Room for the numbers and names of a chart's axes.
const AXES: [f32; 2] = [46.0, 34.0];
/// Pixels that are drawn for one: the mean of their squares has smooth edges.
const FINE: u32 = 3;
/// Pixels of the largest figure.
const LARGEST: f32 = 2e7;

const INK: [u8; 3] = [38, 44, 54];
const MUTED: [u8; 3] = [89, 98, 115];
const RULE: [u8; 3] = [204, 210, 220];

/// What is drawn, in pixels from the upper left.
enum Mark {
    Dot {
        at: [f32; 2],
        radius: f32,
        colour: [u8; 3],
    },
    Line {
        points: Vec<[f32; 2]>,
        colour: [u8; 3],
        width: f32,
    },
    /// Between two corners: left and top, right and bottom.
    Cell {
        corners: [[f32; 2]; 2],
        colour: [u8; 3],
    },
    /// From its left end, or about its middle, on its base line.
    Text {
        at: [f32; 2],
        text: String,
        colour: [u8; 3],
        middle: bool,
    },
}

impl Figure {
    /// The figure as a page shows it, loading nothing.
    ///
    /// # Errors
    /// A figure without panels or columns, or of more than 20 million pixels.
    pub fn svg(&self) -> Result<String, EvalError> {
        let ([width, height], marks) = self.marks()?;
        let mut svg = format!(
            "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {width} {height}\" width=\"{width}\" height=\"{height}\" \
             font-family=\"ui-monospace, Menlo, Consolas, monospace\" font-size=\"{}\">\
             <rect width=\"100%\" height=\"100%\" fill=\"#fff\"/>",
            LETTER[1]
        );
        let hex = |[r, g, b]: [u8; 3]| format!("#{r:02x}{g:02x}{b:02x}");
        let mut marks = marks.iter().peekable();
        while let Some(mark) = marks.next() {
            match mark {
                Mark::Dot { at, radius, colour } => {
                    // Dots of one layer are one path.
                    let mut path = format!("M{:.1} {:.1}h0", at[0], at[1]);
                    while let Some(Mark::Dot { at, .. }) =
                        marks.next_if(|next| matches!(next, Mark::Dot { radius: r, colour: c, .. } if r == radius && c == colour))
                    {
                        path.push_str(&format!("M{:.1} {:.1}h0", at[0], at[1]));
                    }
                    svg.push_str(&format!(
                        "<path d=\"{path}\" stroke=\"{}\" stroke-width=\"{}\" stroke-linecap=\"round\"/>",
                        hex(*colour),
                        2.0 * radius
                    ));
                }
                Mark::Line { points, colour, width } => {
                    let points: Vec<String> = points.iter().map(|[x, y]| format!("{x:.1},{y:.1}")).collect();
                    svg.push_str(&format!(
                        "<polyline points=\"{}\" fill=\"none\" stroke=\"{}\" stroke-width=\"{width}\"/>",
                        points.join(" "),
                        hex(*colour)
                    ));
                }
                Mark::Cell { corners: [[left, top], [right, bottom]], colour } => svg.push_str(&format!(
                    "<rect x=\"{left:.1}\" y=\"{top:.1}\" width=\"{:.1}\" height=\"{:.1}\" fill=\"{}\"/>",
                    right - left,
                    bottom - top,
                    hex(*colour)
                )),
                Mark::Text { at, text, colour, middle } => svg.push_str(&format!(
                    "<text x=\"{:.1}\" y=\"{:.1}\" fill=\"{}\"{}>{}</text>",
                    at[0],
                    at[1],
                    hex(*colour),
                    if *middle { " text-anchor=\"middle\"" } else { "" },
                    escape(text)
                )),
            }
        }
        Ok(svg + "</svg>\n")
    }

    /// The figure as a PNG of few colours, so that it is small.
    ///
    /// # Errors
    /// As [`svg`](Self::svg).
    pub fn png(&self) -> Result<Vec<u8>, EvalError> {
        let ([width, height], marks) = self.marks()?;
        let (width, height) = (width.ceil() as u32, height.ceil() as u32);
        let mut fine = RgbImage::from_pixel(width * FINE, height * FINE, Rgb([255; 3]));
        marks.iter().for_each(|mark| draw(&mut fine, mark));
        let mut picture = resize(&fine, width, height, FilterType::Triangle);
        // Sixteen shades a channel: the eye misses nothing, and the file is a third.
        picture.as_mut().iter_mut().for_each(|value| *value = (*value >> 4) * 17);
        let mut png = Cursor::new(Vec::new());
        PngEncoder::new_with_quality(&mut png, CompressionType::Best, RowFilter::NoFilter)
            .write_image(picture.as_raw(), width, height, ExtendedColorType::Rgb8)
            .map_err(|source| EvalError::Picture { row: 0, caption: "the figure".to_owned(), source })?;
        Ok(png.into_inner())
    }

    /// Width, height, and everything that is drawn.
    fn marks(&self) -> Result<([f32; 2], Vec<Mark>), EvalError> {
        let wrong = |found: String| EvalError::Setting {
            field: "figure",
            found,
            wanted: "1 panel and column or more",
        };
        if self.panels.is_empty() || self.columns == 0 {
            return Err(wrong(format!("{} panels in {} columns", self.panels.len(), self.columns)));
        }
        let columns = self.columns.min(self.panels.len());
        let width = GAP + columns as f32 * (WIDTH + GAP);
        let mut top = GAP / 2.0;
        let mut marks = Vec::new();
        for row in self.panels.chunks(columns) {
            let legends: Vec<Vec<Mark>> = row
                .iter()
                .enumerate()
                .map(|(i, panel)| {
                    panel.legend([GAP + i as f32 * (WIDTH + GAP), top + TITLE + PLOT + LINE * 0.9])
                })
                .collect();
            for (i, panel) in row.iter().enumerate() {
                panel.marks([GAP + i as f32 * (WIDTH + GAP), top], &mut marks);
            }
            let lowest = legends.iter().flatten().map(Mark::lowest).fold(top + TITLE + PLOT, f32::max);
            marks.extend(legends.into_iter().flatten());
            top = lowest + GAP * 0.8;
        }
        if width * top > LARGEST {
            return Err(EvalError::Setting {
                field: "figure",
                found: format!("{width} x {top} pixels"),
                wanted: "at most 20 million pixels: fewer panels",
            });
        }
        Ok(([width, top], marks))
    }
}

impl Panel {
    /// All points that are to be seen; of cells, two of their corners.
    fn points(&self) -> impl Iterator<Item = [f32; 2]> + '_ {
        let reach = |layer: &Layer| if layer.shape == Shape::Cells { 0.5 } else { 0.0 };
        let corners = self.layers.iter().flat_map(move |layer| {
            let reach = reach(layer);
            layer.points.iter().flat_map(move |point| [point.map(|x| x - reach), point.map(|x| x + reach)])
        });
        corners.filter(is_finite)
    }

    fn marks(&self, [left, top]: [f32; 2], marks: &mut Vec<Mark>) {
        marks.push(Mark::Text {
            at: [left, top + TITLE - 9.0],
            text: self.title.clone(),
            colour: INK,
            middle: false,
        });
        let frame = [left, top + TITLE, WIDTH, PLOT];
        let place: Box<dyn Fn([f32; 2]) -> [f32; 2]> = match &self.axes {
            None => {
                outline(frame, marks);
                Box::new(self.one_scale(frame))
            }
            Some(names) => match self.two_scales(frame, names, marks) {
                Some(place) => Box::new(place),
                None => return,
            },
        };
        for layer in &self.layers {
            let points = layer.points.iter().copied().filter(is_finite).map(&place);
            match layer.shape {
                Shape::Dots(radius) => {
                    marks.extend(points.map(|at| Mark::Dot { at, radius, colour: layer.colour }));
                }
                Shape::Line => {
                    marks.push(Mark::Line { points: points.collect(), colour: layer.colour, width: 1.8 });
                }
                Shape::Cells => {
                    marks.extend(layer.points.iter().filter(|point| is_finite(point)).map(|[x, y]| {
                        // A little is left between neighbours.
                        let corners = [place([x - 0.48, y + 0.48]), place([x + 0.48, y - 0.48])];
                        Mark::Cell { corners, colour: layer.colour }
                    }))
                }
                Shape::Words => marks.extend(points.map(|[x, y]| Mark::Text {
                    at: [x, y + 4.0],
                    text: layer.name.clone(),
                    colour: layer.colour,
                    middle: true,
                })),
                Shape::Segments(width) => {
                    // A segment with an end that is not finite is left out whole.
                    let drawn = layer.points.chunks_exact(2).filter(|ends| ends.iter().all(is_finite));
                    marks.extend(drawn.map(|ends| Mark::Line {
                        points: ends.iter().map(|end| place(*end)).collect(),
                        colour: layer.colour,
                        width,
                    }));
                }
            }
        }
    }

    /// A distance is a distance, whichever way.
    fn one_scale(&self, [left, top, width, height]: [f32; 4]) -> impl Fn([f32; 2]) -> [f32; 2] + 'static {
        const MARGIN: f32 = 10.0;
        let bounds = |axis: usize| {
            self.points()
                .fold((f32::INFINITY, f32::NEG_INFINITY), |(l, h), p| (l.min(p[axis]), h.max(p[axis])))
        };
        let ((west, east), (south, north)) = (bounds(0), bounds(1));
        let scale = ((width - 2.0 * MARGIN) / (east - west)).min((height - 2.0 * MARGIN) / (north - south));
        let scale = if scale.is_finite() { scale } else { 1.0 };
        move |[x, y]| {
            [
                left + width / 2.0 + (x - (west + east) / 2.0) * scale,
                top + height / 2.0 - (y - (south + north) / 2.0) * scale,
            ]
        }
    }

    /// A chart's axes, drawn; `None` without a point.
    fn two_scales(
        &self,
        [left, top, width, height]: [f32; 4],
        [x_name, y_name]: &[String; 2],
        marks: &mut Vec<Mark>,
    ) -> Option<impl Fn([f32; 2]) -> [f32; 2] + 'static> {
        let x = Axis::around(self.points().map(|p| p[0].into()))?;
        let y = Axis::around(self.points().map(|p| p[1].into()))?;
        let [left, width, height] = [left + AXES[0], width - AXES[0], height - AXES[1]];
        let at_x = move |share: f64| left + share as f32 * width;
        let at_y = move |share: f64| top + (1.0 - share as f32) * height;
        let text = |at, text, middle| Mark::Text { at, text, colour: MUTED, middle };
        for tick in y.ticks() {
            let (here, name) = (at_y(y.share(tick)).floor() + 0.5, y.name(tick));
            marks.push(Mark::Line {
                points: vec![[left, here], [left + width, here]],
                colour: RULE,
                width: 1.0,
            });
            let wide = name.chars().count() as f32 * LETTER[0];
            marks.push(text([left - 5.0 - wide, here + 4.0], name, false));
        }
        for tick in x.ticks() {
            marks.push(text([at_x(x.share(tick)), top + height + 14.0], x.name(tick), true));
        }
        marks.push(text([left + width / 2.0, top + height + 30.0], x_name.clone(), true));
        marks.push(text([left + 4.0, top + 10.0], y_name.clone(), false));
        Some(move |[px, py]: [f32; 2]| [at_x(x.share(px.into())), at_y(y.share(py.into()))])
    }

    /// The names of the layers, in as many lines as they need.
    fn legend(&self, [left, top]: [f32; 2]) -> Vec<Mark> {
        let mut marks = Vec::new();
        let (mut x, mut y) = (left, top);
        let named = |layer: &&Layer| !layer.name.is_empty() && layer.shape != Shape::Words;
        for layer in self.layers.iter().filter(named) {
            let wide = 14.0 + (layer.name.chars().count() as f32 + 2.0) * LETTER[0];
            if x > left && x + wide > left + WIDTH + 2.0 * LETTER[0] {
                (x, y) = (left, y + LINE);
            }
            marks.push(Mark::Dot { at: [x + 5.0, y - 4.0], radius: 4.0, colour: layer.colour });
            let at = [x + 14.0, y];
            marks.push(Mark::Text { at, text: layer.name.clone(), colour: MUTED, middle: false });
            x += wide;
        }
        marks
    }
}

fn outline([left, top, width, height]: [f32; 4], marks: &mut Vec<Mark>) {
    // On the middles of pixels, so that a line is one pixel wide and not two half as dark.
    let [left, top] = [left, top].map(|x| x.floor() + 0.5);
    let (right, bottom) = (left + width, top + height);
    let points = vec![[left, top], [right, top], [right, bottom], [left, bottom], [left, top]];
    marks.push(Mark::Line { points, colour: RULE, width: 1.0 });
}

fn is_finite(point: &[f32; 2]) -> bool {
    point.iter().all(|x| x.is_finite())
}

impl Mark {
    fn lowest(&self) -> f32 {
        match self {
            Self::Dot { at, radius, .. } => at[1] + radius,
            Self::Line { points, .. } => points.iter().map(|p| p[1]).fold(0.0, f32::max),
            Self::Cell { corners: [_, end], .. } => end[1],
            Self::Text { at, .. } => at[1],
        }
    }
}

fn draw(picture: &mut RgbImage, mark: &Mark) {
    let fine = FINE as f32;
    match mark {
        Mark::Dot { at, radius, colour } => disc(picture, at.map(|x| x * fine), radius * fine, *colour),
        Mark::Line { points, colour, width } => {
            for ends in points.windows(2) {
                let [from, to] = [ends[0], ends[1]].map(|p| p.map(|x| x * fine));
                let steps = (to[0] - from[0]).hypot(to[1] - from[1]).ceil().max(1.0);
                for step in 0..=steps as u32 {
                    let share = step as f32 / steps;
                    let at = [0, 1].map(|d| from[d] + (to[d] - from[d]) * share);
                    disc(picture, at, width * fine / 2.0, *colour);
                }
            }
        }
        Mark::Cell { corners, colour } => {
            let [[left, top], [right, bottom]] =
                corners.map(|at| at.map(|x| (x * fine).round().max(0.0) as u32));
            for y in top..bottom.min(picture.height()) {
                for x in left..right.min(picture.width()) {
                    picture.put_pixel(x, y, Rgb(*colour));
                }
            }
        }
        Mark::Text { at, text, colour, middle } => {
            let wide = text.chars().count() as f32 * LETTER[0];
            let left = if *middle { at[0] - wide / 2.0 } else { at[0] };
            for (place, letter) in text.chars().enumerate() {
                write(picture, [left + place as f32 * LETTER[0], at[1] - LETTER[1] + 2.0], letter, *colour);
            }
        }
    }
}

fn disc(picture: &mut RgbImage, [x, y]: [f32; 2], radius: f32, colour: [u8; 3]) {
    let range = |middle: f32, end: u32| {
        ((middle - radius).floor().max(0.0) as u32)..((middle + radius).ceil().max(0.0) as u32 + 1).min(end)
    };
    let (width, height) = picture.dimensions();
    for py in range(y, height) {
        for px in range(x, width) {
            if (px as f32 + 0.5 - x).hypot(py as f32 + 0.5 - y) <= radius {
                picture.put_pixel(px, py, Rgb(colour));
            }
        }
    }
}

/// A letter of the font's 8 × 8 dots, stretched to [`LETTER`].
fn write(picture: &mut RgbImage, [left, top]: [f32; 2], letter: char, colour: [u8; 3]) {
    let bits = glyph(if letter == '−' { '-' } else { letter });
    let [wide, high] = LETTER.map(|side| (side * FINE as f32) as u32);
    let (left, top) = ((left * FINE as f32) as u32, (top * FINE as f32) as u32);
    for y in 0..high {
        for x in 0..wide {
            let (px, py) = (left + x, top + y);
            if bits[(y * 8 / high) as usize] >> (x * 8 / wide) & 1 == 1
                && px < picture.width()
                && py < picture.height()
            {
                picture.put_pixel(px, py, Rgb(colour));
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn figure() -> Figure {
        let layer =
            |name: &str, points, shape| Layer { name: name.to_owned(), points, colour: PALETTE[1], shape };
        let map = Panel {
            title: "a map <of> points".to_owned(),
            axes: None,
            layers: vec![layer("four", vec![[0.0, 0.0], [1.0, 2.0], [f32::NAN, 0.0]], Shape::Dots(3.0))],
        };
        let chart = Panel {
            title: "loss".to_owned(),
            axes: Some(["epoch".to_owned(), "loss".to_owned()]),
            layers: vec![
                layer("", vec![[0.0, 4.0], [10.0, 1.0]], Shape::Line),
                layer("", vec![[0.0, 2.0], [5.0, 2.0], [f32::NAN, 1.0], [1.0, 1.0]], Shape::Segments(1.0)),
            ],
        };
        Figure { panels: vec![map, chart], columns: 2 }
    }

    #[test]
    fn a_figure_is_one_picture_of_all_its_panels() {
        let svg = figure().svg().unwrap();
        assert!(svg.contains("a map &lt;of&gt; points") && svg.contains(">epoch<") && svg.contains(">four<"));
        assert_eq!(svg.matches("h0").count(), 3, "two points that are finite, and the legend's");
        let orange_lines = svg.matches("stroke=\"#e07b28\" stroke-width=\"1").count();
        assert_eq!(orange_lines, 2, "a line, and one of two segments");
        let png = image::load_from_memory(&figure().png().unwrap()).unwrap().to_rgb8();
        assert_eq!(png.width(), (GAP + 2.0 * (WIDTH + GAP)) as u32);
        // One scale: the taller side fills the map from 10 pixels above its bottom to 10 below its top.
        let orange = Rgb(PALETTE[1].map(|value| (value >> 4) * 17));
        let ([_, _], marks) = figure().marks().unwrap();
        let dots: Vec<[f32; 2]> = marks
            .iter()
            .filter_map(|mark| match mark {
                Mark::Dot { at, radius, .. } if *radius == 3.0 => Some(*at),
                _ => None,
            })
            .collect();
        assert_eq!(dots[0][1] - dots[1][1], PLOT - 20.0);
        assert_eq!(dots[1][0] - dots[0][0], (PLOT - 20.0) / 2.0);
        assert_eq!(*png.get_pixel(dots[0][0] as u32, dots[0][1] as u32), orange);
    }

    #[test]
    fn a_grid_of_cells_fills_the_map_and_words_stand_in_their_middles() {
        let cells = |points, colour| Layer { name: String::new(), points, colour, shape: Shape::Cells };
        let word =
            Layer { name: ".52".to_owned(), points: vec![[1.0, 0.0]], colour: INK, shape: Shape::Words };
        let layers = vec![cells(vec![[0.0, 0.0]], PALETTE[0]), cells(vec![[1.0, 0.0]], PALETTE[1]), word];
        let panel = Panel { title: String::new(), axes: None, layers };
        let figure = Figure { panels: vec![panel], columns: 1 };
        let svg = figure.svg().unwrap();
        assert_eq!(svg.matches("fill=\"#3b6fd4\"").count() + svg.matches("fill=\"#e07b28\"").count(), 2);
        assert!(svg.contains("text-anchor=\"middle\">.52<"));
        let (_, marks) = figure.marks().unwrap();
        let corners: Vec<[[f32; 2]; 2]> = marks
            .iter()
            .filter_map(|mark| match mark {
                Mark::Cell { corners, .. } => Some(*corners),
                _ => None,
            })
            .collect();
        // Two cells of one unit between margins of ten pixels.
        let unit = (WIDTH - 20.0) / 2.0;
        assert!((corners[1][0][0] - corners[0][0][0] - unit).abs() < 1e-3, "{corners:?}");
        let png = image::load_from_memory(&figure.png().unwrap()).unwrap().to_rgb8();
        for ([[left, top], _], colour) in corners.iter().zip([PALETTE[0], PALETTE[1]]) {
            let wanted = Rgb(colour.map(|value| (value >> 4) * 17));
            assert_eq!(*png.get_pixel(*left as u32 + 5, *top as u32 + 5), wanted);
        }
    }

    #[test]
    fn what_cannot_be_drawn_is_named() {
        let none = Figure { panels: Vec::new(), columns: 2 };
        assert!(none.svg().unwrap_err().to_string().contains("0 panels in 2 columns"));
        let mut empty = figure();
        empty.panels.iter_mut().for_each(|panel| panel.layers.clear());
        assert!(empty.png().is_ok() && empty.svg().is_ok());
    }

    #[test]
    fn opposite_angles_look_different_and_the_circle_closes() {
        assert_eq!(hue(0.0), hue(1.0));
        assert_ne!(hue(0.0), hue(0.5));
        assert!(pale([0, 100, 255]).iter().zip([0, 100, 255]).all(|(pale, full)| *pale >= full));
    }
}
