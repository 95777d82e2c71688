//! Queries and what was found for them, as pictures.

use font8x8::legacy::{BASIC_LEGACY, LATIN_LEGACY};
use image::imageops::{FilterType, resize};
use image::{ImageFormat, Rgb, RgbImage, RgbaImage};

use crate::error::EvalError;

/// A picture of a sample.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Picture {
    /// The picture, encoded as PNG.
    pub png: Vec<u8>,
    /// What stands under it: a file name, a class.
    pub caption: String,
}

/// A reference found for a query.
#[derive(Debug, Clone, PartialEq)]
pub struct Hit {
    /// The reference.
    pub picture: Picture,
    /// Whether it is of the query's class; `None` when that is not known.
    pub right: Option<bool>,
    /// Its score.
    pub score: f32,
}

/// A query and its hits, nearest first.
#[derive(Debug, Clone, PartialEq)]
pub struct QueryRow {
    /// The query.
    pub query: Picture,
    /// What was found.
    pub hits: Vec<Hit>,
}

/// Smallest cell in which a picture and its frame can be seen.
const SMALLEST_CELL: u32 = 16;
/// Pixels of the largest sheet, 3 bytes each.
const LARGEST_SHEET: u64 = 1 << 28;
/// Side of a letter before scaling.
const LETTER: u32 = 8;
/// Lines under a picture: the sign and score, then the caption.
const LINES: u32 = 2;

const PAPER: Rgb<u8> = Rgb([255, 255, 255]);
const INK: Rgb<u8> = Rgb([38, 44, 54]);
const QUERY: Rgb<u8> = Rgb([52, 87, 213]);
const RIGHT: Rgb<u8> = Rgb([30, 138, 76]);
const WRONG: Rgb<u8> = Rgb([200, 52, 46]);
const UNKNOWN: Rgb<u8> = Rgb([138, 146, 158]);

/// A tick and a cross in the font's format: a byte a row, lowest bit left. The font has neither.
const TICK: [u8; 8] = [0x00, 0x80, 0xC0, 0x60, 0x33, 0x1E, 0x0C, 0x00];
const CROSS: [u8; 8] = [0x00, 0xC3, 0x66, 0x3C, 0x3C, 0x66, 0xC3, 0x00];

/// Draws one line a query: the query at the left, then its hits, nearest first, each fitted into `cell` ×
/// `cell` pixels.
///
/// A right hit has a green frame and a tick, a wrong one a red frame and a cross, an unknown one a grey
/// frame; beside the sign stands the score, below it the caption, cut to the cell. Captions are drawn in a
/// font of Latin letters; others become `?`.
///
/// # Errors
/// No rows, a cell below 16 pixels, a sheet of more than 2²⁸ pixels, or a picture that is no PNG (its row and
/// caption are named).
pub fn contact_sheet(rows: &[QueryRow], cell: u32) -> Result<RgbImage, EvalError> {
    if rows.is_empty() {
        return Err(EvalError::EmptySheet);
    }
    if cell < SMALLEST_CELL {
        return Err(EvalError::Setting {
            field: "cell",
            found: cell.to_string(),
            wanted: "at least 16 pixels",
        });
    }
    let layout = Layout::new(rows, cell)?;
    let mut sheet = RgbImage::from_pixel(layout.width, layout.height, PAPER);
    for (row, at) in rows.iter().zip(0..) {
        let number = at as usize;
        let query = Cell { picture: &row.query, frame: QUERY, sign: None, line: "query".to_owned() };
        layout.draw(&mut sheet, number, layout.corner(at, 0), &query)?;
        for (hit, column) in row.hits.iter().zip(1..) {
            let (frame, sign) = match hit.right {
                Some(true) => (RIGHT, Some(TICK)),
                Some(false) => (WRONG, Some(CROSS)),
                None => (UNKNOWN, None),
            };
            let hit = Cell { picture: &hit.picture, frame, sign, line: format!("{:.3}", hit.score) };
            layout.draw(&mut sheet, number, layout.corner(at, column), &hit)?;
        }
    }
    Ok(sheet)
}

/// A picture as it stands on the sheet.
struct Cell<'a> {
    picture: &'a Picture,
    frame: Rgb<u8>,
    sign: Option<[u8; 8]>,
    /// The line above the caption.
    line: String,
}

struct Layout {
    cell: u32,
    frame: u32,
    gap: u32,
    /// Pixels a dot of the font.
    dot: u32,
    width: u32,
    height: u32,
}

impl Layout {
    fn new(rows: &[QueryRow], cell: u32) -> Result<Self, EvalError> {
        let mut layout = Self {
            cell,
            frame: (cell / 40).clamp(2, 8),
            gap: (cell / 10).max(4),
            dot: (cell / 128).max(1),
            width: 0,
            height: 0,
        };
        let hits = rows.iter().map(|row| row.hits.len()).max().unwrap_or(0) as u64;
        let (gap, column, line) = (
            u64::from(layout.gap),
            u64::from(cell) + 2 * u64::from(layout.frame),
            u64::from(layout.line_height()),
        );
        // One gap more sets the query apart.
        let width = gap * 2 + (hits + 1) * (column + gap);
        let height = gap + rows.len() as u64 * (column + u64::from(LINES) * line + gap);
        let too_large = || EvalError::SheetTooLarge { width, height, limit: LARGEST_SHEET };
        if width.checked_mul(height).is_none_or(|pixels| pixels > LARGEST_SHEET) {
            return Err(too_large());
        }
        layout.width = u32::try_from(width).map_err(|_| too_large())?;
        layout.height = u32::try_from(height).map_err(|_| too_large())?;
        Ok(layout)
    }

    fn line_height(&self) -> u32 {
        (LETTER + 3) * self.dot
    }

    fn corner(&self, row: u32, column: u32) -> (u32, u32) {
        let framed = self.cell + 2 * self.frame;
        let apart = if column > 0 { self.gap } else { 0 };
        (
            self.gap + apart + column * (framed + self.gap),
            self.gap + row * (framed + LINES * self.line_height() + self.gap),
        )
    }

    fn draw(
        &self,
        sheet: &mut RgbImage,
        row: usize,
        (x, y): (u32, u32),
        cell: &Cell<'_>,
    ) -> Result<(), EvalError> {
        let (picture, frame) = (cell.picture, cell.frame);
        let decoded = image::load_from_memory_with_format(&picture.png, ImageFormat::Png)
            .map_err(|source| EvalError::Picture { row, caption: picture.caption.clone(), source })?;
        let framed = self.cell + 2 * self.frame;
        fill(sheet, (x, y), (framed, framed), frame);
        fill(sheet, (x + self.frame, y + self.frame), (self.cell, self.cell), PAPER);
        let fitted = self.fit(&decoded.to_rgba8());
        let (left, top) = (
            x + self.frame + (self.cell - fitted.width()) / 2,
            y + self.frame + (self.cell - fitted.height()) / 2,
        );
        for (px, py, pixel) in fitted.enumerate_pixels() {
            sheet.put_pixel(left + px, top + py, over_paper(pixel.0));
        }

        let mut text = (x, y + framed + 2 * self.dot);
        let mut room = framed;
        if let Some(sign) = cell.sign {
            self.letter(sheet, text, sign, frame);
            let used = (LETTER + 3) * self.dot;
            text.0 += used;
            room = room.saturating_sub(used);
        }
        self.text(sheet, text, &cell.line, room, frame);
        self.text(sheet, (x, text.1 + self.line_height()), &picture.caption, framed, INK);
        Ok(())
    }

    /// Scales to the cell, keeping the shape; small pictures grow without blur, as their pixels are what was
    /// learned from.
    fn fit(&self, picture: &RgbaImage) -> RgbaImage {
        let scale = f64::from(self.cell) / f64::from(picture.width().max(picture.height()));
        let side = |length: u32| ((f64::from(length) * scale).round() as u32).clamp(1, self.cell);
        let filter = if scale > 1.0 { FilterType::Nearest } else { FilterType::Triangle };
        resize(picture, side(picture.width()), side(picture.height()), filter)
    }

    fn text(&self, sheet: &mut RgbImage, (x, y): (u32, u32), text: &str, room: u32, ink: Rgb<u8>) {
        let letters = (room / (LETTER * self.dot)) as usize;
        let cut = text.chars().count() > letters;
        let shown = text
            .chars()
            .take(if cut { letters.saturating_sub(2) } else { letters })
            .chain("..".chars().take(if cut { 2 } else { 0 }));
        for (letter, place) in shown.take(letters).zip(0u32..) {
            self.letter(sheet, (x + place * LETTER * self.dot, y), glyph(letter), ink);
        }
    }

    fn letter(&self, sheet: &mut RgbImage, (x, y): (u32, u32), glyph: [u8; 8], ink: Rgb<u8>) {
        for (row, bits) in (0u32..).zip(glyph) {
            for column in (0..LETTER).filter(|column| bits >> column & 1 == 1) {
                fill(sheet, (x + column * self.dot, y + row * self.dot), (self.dot, self.dot), ink);
            }
        }
    }
}

pub(crate) fn glyph(letter: char) -> [u8; 8] {
    /// First letter of the font's second table.
    const LATIN_START: usize = 0xA0;
    let code = letter as usize;
    let known = BASIC_LEGACY.get(code).or_else(|| LATIN_LEGACY.get(code.checked_sub(LATIN_START)?));
    known.copied().unwrap_or(BASIC_LEGACY['?' as usize])
}

fn fill(sheet: &mut RgbImage, (x, y): (u32, u32), (width, height): (u32, u32), ink: Rgb<u8>) {
    for py in y..(y + height).min(sheet.height()) {
        for px in x..(x + width).min(sheet.width()) {
            sheet.put_pixel(px, py, ink);
        }
    }
}

fn over_paper([r, g, b, alpha]: [u8; 4]) -> Rgb<u8> {
    let blend = |ink: u8, paper: u8| {
        let (ink, paper, alpha) = (u32::from(ink), u32::from(paper), u32::from(alpha));
        ((ink * alpha + paper * (255 - alpha) + 127) / 255) as u8
    };
    Rgb([blend(r, PAPER[0]), blend(g, PAPER[1]), blend(b, PAPER[2])])
}

#[cfg(test)]
mod tests {
    use std::io::Cursor;

    use super::*;

    fn picture(color: [u8; 4], width: u32, height: u32) -> Picture {
        let mut png = Vec::new();
        RgbaImage::from_pixel(width, height, image::Rgba(color))
            .write_to(&mut Cursor::new(&mut png), ImageFormat::Png)
            .unwrap();
        Picture { png, caption: "a long caption that must be cut é 猫".to_owned() }
    }

    fn hit(right: Option<bool>) -> Hit {
        Hit { picture: picture([0, 0, 0, 0], 5, 3), right, score: 0.5 }
    }

    #[test]
    fn frames_tell_right_from_wrong_from_unknown() {
        let rows = [QueryRow {
            query: picture([10, 20, 30, 255], 7, 7),
            hits: vec![hit(Some(true)), hit(Some(false)), hit(None)],
        }];
        let sheet = contact_sheet(&rows, 40).unwrap();
        let layout = Layout::new(&rows, 40).unwrap();
        for (column, frame) in [(0, QUERY), (1, RIGHT), (2, WRONG), (3, UNKNOWN)] {
            let (x, y) = layout.corner(0, column);
            assert_eq!(*sheet.get_pixel(x, y), frame);
        }
        // The query fills its cell; a transparent hit shows the paper.
        let middle = layout.frame + layout.cell / 2;
        let at = |column| layout.corner(0, column);
        assert_eq!(*sheet.get_pixel(at(0).0 + middle, at(0).1 + middle), Rgb([10, 20, 30]));
        assert_eq!(*sheet.get_pixel(at(1).0 + middle, at(1).1 + middle), PAPER);
        // Everything fits.
        let (x, y) = at(3);
        assert!(x + layout.cell + 2 * layout.frame < layout.width && y + layout.cell < layout.height);
    }

    #[test]
    fn large_and_narrow_pictures_are_fitted_into_the_cell() {
        let rows = [
            QueryRow { query: picture([1, 1, 1, 255], 900, 3), hits: vec![] },
            QueryRow { query: picture([1, 1, 1, 255], 1, 500), hits: vec![hit(None)] },
        ];
        let sheet = contact_sheet(&rows, 16).unwrap();
        assert_eq!(sheet.width(), Layout::new(&rows, 16).unwrap().width);
    }

    #[test]
    fn what_cannot_be_drawn_is_named() {
        assert!(matches!(contact_sheet(&[], 64), Err(EvalError::EmptySheet)));
        let row = QueryRow { query: picture([0; 4], 2, 2), hits: vec![] };
        assert!(contact_sheet(std::slice::from_ref(&row), 4).unwrap_err().to_string().contains("cell is 4"));
        assert!(matches!(
            contact_sheet(std::slice::from_ref(&row), u32::MAX),
            Err(EvalError::SheetTooLarge { .. })
        ));
        let broken = QueryRow {
            query: Picture { png: b"not a picture".to_vec(), caption: "x.png".to_owned() },
            hits: vec![],
        };
        let error = contact_sheet(&[row, broken], 64).unwrap_err().to_string();
        assert!(error.contains("row 1") && error.contains("x.png"), "{error}");
    }
}
