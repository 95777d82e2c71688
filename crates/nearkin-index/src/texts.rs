//! A column of texts, compact on disk and in memory.

use std::collections::HashMap;

/// One text a row. Columns that repeat themselves (class names) keep each text once.
#[derive(Debug)]
pub(crate) struct Texts {
    /// All distinct texts, one after the other.
    text: String,
    /// Where each ends in `text`.
    ends: Vec<u64>,
    /// Which text a row has; `None` where text `i` is row `i`.
    codes: Option<Vec<u32>>,
}

impl Texts {
    /// Writes a column: `distinct: u64`, `coded: u64`, `bytes: u64`, the ends, the codes if any, the text.
    pub(crate) fn write(column: &[String], out: &mut Vec<u8>) {
        let mut code_of = HashMap::new();
        let mut distinct: Vec<&str> = Vec::new();
        let codes: Vec<u32> = column
            .iter()
            .map(|text| {
                *code_of.entry(text.as_str()).or_insert_with(|| {
                    distinct.push(text);
                    // Wraps only beyond 2³² distinct texts, where codes are not used.
                    (distinct.len() - 1) as u32
                })
            })
            .collect();
        let coded = distinct.len() <= column.len() / 2 && u32::try_from(distinct.len()).is_ok();
        if !coded {
            distinct = column.iter().map(String::as_str).collect();
        }
        let bytes: usize = distinct.iter().map(|text| text.len()).sum();
        for number in [distinct.len(), usize::from(coded), bytes] {
            out.extend((number as u64).to_le_bytes());
        }
        let mut end = 0;
        for text in &distinct {
            end += text.len() as u64;
            out.extend(end.to_le_bytes());
        }
        if coded {
            out.extend(codes.iter().flat_map(|code| code.to_le_bytes()));
        }
        distinct.iter().for_each(|text| out.extend(text.as_bytes()));
    }

    /// Reads a column of `rows` texts from the front of `bytes`, which is moved past it. Everything is checked, so
    /// that [`get`](Self::get) cannot fail.
    pub(crate) fn read(bytes: &mut &[u8], rows: usize) -> Result<Self, String> {
        let distinct = take_u64(bytes)?;
        let coded = match take_u64(bytes)? {
            0 => false,
            1 => true,
            other => return Err(format!("coded is {other}, wanted 0 or 1")),
        };
        let length = take_u64(bytes)?;
        if !coded && distinct != rows as u64 {
            return Err(format!("{distinct} texts for {rows} rows"));
        }
        let ends: Vec<u64> = take_array(bytes, distinct)?.iter().map(|&b| u64::from_le_bytes(b)).collect();
        let codes = if coded {
            let codes: Vec<u32> =
                take_array(bytes, rows as u64)?.iter().map(|&b| u32::from_le_bytes(b)).collect();
            if let Some(code) = codes.iter().find(|&&code| u64::from(code) >= distinct) {
                return Err(format!("code {code} of {distinct} texts"));
            }
            Some(codes)
        } else {
            None
        };
        let text = String::from_utf8(take(bytes, length)?.to_vec()).map_err(|e| e.to_string())?;
        let ordered = ends.is_sorted() && ends.last().copied().unwrap_or(0) == length;
        if !ordered || !ends.iter().all(|&end| text.is_char_boundary(end as usize)) {
            return Err("texts end outside of the text".to_owned());
        }
        Ok(Self { text, ends, codes })
    }

    /// What a function makes of each row's text. Texts that repeat themselves are looked at once.
    pub(crate) fn map<T: Copy>(&self, rows: usize, of: impl Fn(&str) -> T) -> Vec<T> {
        match &self.codes {
            None => (0..rows).map(|row| of(self.get(row))).collect(),
            Some(codes) => {
                let distinct: Vec<T> = (0..self.ends.len()).map(|i| of(self.distinct(i))).collect();
                codes.iter().map(|code| distinct[*code as usize]).collect()
            }
        }
    }

    fn distinct(&self, i: usize) -> &str {
        let start = if i == 0 { 0 } else { self.ends[i - 1] as usize };
        &self.text[start..self.ends[i] as usize]
    }

    /// The text of a row.
    ///
    /// # Panics
    /// When there is no such row.
    pub(crate) fn get(&self, row: usize) -> &str {
        self.distinct(self.codes.as_ref().map_or(row, |codes| codes[row] as usize))
    }
}

/// Takes `count` bytes from the front.
pub(crate) fn take<'a>(bytes: &mut &'a [u8], count: u64) -> Result<&'a [u8], String> {
    let taken = usize::try_from(count).ok().and_then(|count| bytes.split_at_checked(count));
    let (front, rest) =
        taken.ok_or_else(|| format!("it ends before the {count} bytes that should follow"))?;
    *bytes = rest;
    Ok(front)
}

/// Takes a little-endian number from the front.
pub(crate) fn take_u64(bytes: &mut &[u8]) -> Result<u64, String> {
    Ok(u64::from_le_bytes(take_array(bytes, 1)?[0]))
}

fn take_array<'a, const BYTES: usize>(bytes: &mut &'a [u8], count: u64) -> Result<&'a [[u8; BYTES]], String> {
    Ok(take(bytes, count.saturating_mul(BYTES as u64))?.as_chunks().0)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn round_trip(column: &[&str]) -> (Texts, usize) {
        let column: Vec<String> = column.iter().map(|&text| text.to_owned()).collect();
        let mut bytes = Vec::new();
        Texts::write(&column, &mut bytes);
        let mut rest = &bytes[..];
        let texts = Texts::read(&mut rest, column.len()).unwrap();
        assert!(rest.is_empty());
        for (row, text) in column.iter().enumerate() {
            assert_eq!(texts.get(row), text);
        }
        assert_eq!(texts.map(column.len(), str::len), column.iter().map(String::len).collect::<Vec<_>>());
        (texts, bytes.len())
    }

    #[test]
    fn texts_come_back_whether_they_repeat_or_not() {
        assert!(round_trip(&["kea", "", "käkä", "猫"]).0.codes.is_none());
        let (texts, _) = round_trip(&["cat", "dog", "cat", "", "dog", "cat", ""]);
        assert_eq!((texts.text.as_str(), texts.codes.unwrap().len()), ("catdog", 7));
        round_trip(&["", "", ""]);
        round_trip(&["one"]);
    }

    #[test]
    fn every_truncation_and_every_changed_byte_is_an_error_or_a_whole_column() {
        let column: Vec<String> = ["cat", "dög", "cat", "cat", "dög"].map(str::to_owned).to_vec();
        let mut bytes = Vec::new();
        Texts::write(&column, &mut bytes);
        for end in 0..bytes.len() {
            assert!(Texts::read(&mut &bytes[..end], column.len()).is_err());
        }
        for i in 0..bytes.len() {
            for flip in [1, 0x80, 0xff] {
                let mut changed = bytes.clone();
                changed[i] ^= flip;
                if let Ok(texts) = Texts::read(&mut &changed[..], column.len()) {
                    assert!((0..column.len()).all(|row| texts.get(row).len() <= bytes.len()));
                }
            }
        }
    }
}
