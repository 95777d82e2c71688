//! Text and numbers as HTML.

use std::fmt::Write;

/// `text` for element content and for quoted attributes. Control characters, which HTML forbids, become
/// spaces.
pub(crate) fn escape(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '&' => out.push_str("&amp;"),
            '<' => out.push_str("&lt;"),
            '>' => out.push_str("&gt;"),
            '"' => out.push_str("&quot;"),
            '\'' => out.push_str("&#39;"),
            '\n' => out.push('\n'),
            c if c.is_control() => out.push(' '),
            c => out.push(c),
        }
    }
    out
}

/// A number for a person: three decimals around 1, four significant digits elsewhere, a dash when it is none.
pub(super) fn number(value: f64) -> String {
    let size = value.abs();
    if !value.is_finite() {
        "–".to_owned()
    } else if size == 0.0 {
        "0".to_owned()
    } else if !(1e-3..1e6).contains(&size) {
        format!("{value:.2e}").replace('-', "−")
    } else {
        let decimals = if size < 10.0 { 3 } else { 3usize.saturating_sub(size.log10() as usize) };
        format!("{value:.decimals$}").replace('-', "−")
    }
}

/// `number` with its sign, for a difference.
pub(super) fn signed(value: f64) -> String {
    if value > 0.0 { format!("+{}", number(value)) } else { number(value) }
}

/// A whole number with thin spaces between thousands.
pub(super) fn count(value: usize) -> String {
    let digits = value.to_string();
    let mut out = String::new();
    for (at, digit) in digits.chars().enumerate() {
        if at > 0 && (digits.len() - at).is_multiple_of(3) {
            out.push('\u{202f}');
        }
        out.push(digit);
    }
    out
}

/// Picture coordinate: a tenth of a pixel is enough, and short.
pub(super) fn place(out: &mut String, value: f64) {
    let tenths = (value * 10.0).round() as i64;
    // Writing to a string cannot fail.
    let _ = if tenths % 10 == 0 {
        write!(out, "{}", tenths / 10)
    } else {
        write!(out, "{}", tenths as f64 / 10.0)
    };
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_a_user_names_can_leave_its_place() {
        assert_eq!(
            escape("<b title=\"x\" id='y'>&\u{0}\u{1b}"),
            "&lt;b title=&quot;x&quot; id=&#39;y&#39;&gt;&amp;  "
        );
    }

    #[test]
    fn numbers_keep_three_or_four_digits() {
        for (value, wanted) in [
            (0.0, "0"),
            (0.9234, "0.923"),
            (1.0, "1.000"),
            (-0.25, "−0.250"),
            (12.345, "12.35"),
            (1234.5, "1234"),
            (2e-5, "2.00e−5"),
            (3.2e7, "3.20e7"),
            (f64::NAN, "–"),
            (f64::INFINITY, "–"),
        ] {
            assert_eq!(number(value), wanted);
        }
        assert_eq!(signed(0.5), "+0.500");
        assert_eq!(signed(-0.5), "−0.500");
        assert_eq!(count(1_234_567), "1\u{202f}234\u{202f}567");
        assert_eq!(count(123), "123");
    }

    #[test]
    fn places_are_short() {
        let mut out = String::new();
        for value in [1.0, 2.25, -0.04, 100.55] {
            place(&mut out, value);
            out.push(' ');
        }
        assert_eq!(out, "1 2.3 0 100.6 ");
    }
}
