//! Filters over what is known of each row: `category = "shoe" and price < 50`.
//!
//! ```text
//! any        = all { "or" all }
//! all        = one { "and" one }
//! one        = "not" one | "(" any ")" | column test
//! test       = ("=" | "!=" | "<" | "<=" | ">" | ">=") value | "in" "(" value { "," value } ")"
//! column     = word | "`" … "`"
//! value      = number | "'" … "'" | '"' … '"'
//! ```

use std::cmp::Ordering;
use std::fmt;
use std::str::FromStr;

use crate::layout::Role;
use crate::rows::Rows;

/// How deep parentheses and `not` may be nested: more than a person writes, and far less than overflows a stack.
const DEEPEST: usize = 64;

/// A condition on the columns of a row: id, label, path, and the further ones.
///
/// Columns are compared with `=`, `!=`, `<`, `<=`, `>`, `>=`, or `in (…)`; conditions are joined with `and`, `or`, `not` and parentheses,
/// of which `not` binds closest and `or` loosest. A column whose name is no plain word stands in backquotes. A quote within quotes is
/// written twice.
///
/// All columns hold texts. Compared with a number (`price < 50`), a text counts as the number that it spells, in f64; with a text
/// (`price = "50"`), as it is, ordered by its bytes.
///
/// A row that has nothing there, or no number where one is asked for, is neither smaller nor larger nor different: as in SQL, no
/// comparison is true of it, and the negation of one is not either.
#[derive(Debug, Clone, PartialEq)]
pub struct Filter {
    text: String,
    condition: Condition,
}

/// A filter that cannot be understood, or asks for a column that is not there. Shown with a mark under the place.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FilterError {
    text: String,
    position: usize,
    message: String,
}

impl FilterError {
    /// What is wrong.
    pub fn message(&self) -> &str {
        &self.message
    }

    /// Where in the filter, in bytes from its beginning.
    pub fn position(&self) -> usize {
        self.position
    }
}

impl fmt::Display for FilterError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let start = self.text[..self.position].rfind('\n').map_or(0, |newline| newline + 1);
        let line = self.text[start..].lines().next().unwrap_or_default();
        let before = self.text[start..self.position].chars().count();
        write!(f, "filter: {}\n  {line}\n  {:before$}^", self.message, "")
    }
}

impl std::error::Error for FilterError {}

impl FromStr for Filter {
    type Err = FilterError;

    fn from_str(text: &str) -> Result<Self, FilterError> {
        Self::parse(text)
    }
}

impl fmt::Display for Filter {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

#[derive(Debug, Clone, PartialEq)]
enum Condition {
    /// One of these comparisons is true of a column.
    Column {
        role: Role,
        position: usize,
        any_of: Vec<(Comparison, Value)>,
    },
    Not(Box<Self>),
    All(Vec<Self>),
    Any(Vec<Self>),
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Comparison {
    Equal,
    Different,
    Less,
    AtMost,
    Greater,
    AtLeast,
}

#[derive(Debug, Clone, PartialEq)]
enum Value {
    Text(String),
    Number(f64),
}

impl Comparison {
    fn holds(self, order: Ordering) -> bool {
        match self {
            Self::Equal => order.is_eq(),
            Self::Different => order.is_ne(),
            Self::Less => order.is_lt(),
            Self::AtMost => order.is_le(),
            Self::Greater => order.is_gt(),
            Self::AtLeast => order.is_ge(),
        }
    }
}

impl Value {
    /// How a text compares with the value; `None` where it does not.
    fn order_of(&self, text: &str) -> Option<Ordering> {
        match self {
            Self::Text(value) => Some(text.cmp(value)),
            Self::Number(value) => {
                text.trim().parse::<f64>().ok().filter(|x| x.is_finite())?.partial_cmp(value)
            }
        }
    }
}

impl Filter {
    /// Reads a filter.
    ///
    /// # Errors
    /// When it cannot be understood: what was found where, and what was wanted.
    pub fn parse(text: &str) -> Result<Self, FilterError> {
        let mut parser = Parser { text, token: Token::End, start: 0, next: 0, depth: 0 };
        parser.advance()?;
        let condition = parser.any()?;
        match parser.token {
            Token::End => Ok(Self { text: text.to_owned(), condition }),
            _ => Err(parser.wanted("'and', 'or' or the end")),
        }
    }

    /// Refuses a column that is not among those there are.
    pub(crate) fn check(&self, roles: &[&Role]) -> Result<(), FilterError> {
        let Some((role, position)) = self.condition.missing(roles) else { return Ok(()) };
        let mut names: Vec<&str> = roles.iter().map(|role| role.name()).collect();
        names.sort_unstable();
        names.dedup();
        let message = format!("no row has a column '{}': there are {}", role.name(), names.join(", "));
        Err(FilterError { text: self.text.clone(), position, message })
    }

    /// For each row whether the filter lets it through; `None` where that is unknown.
    pub(crate) fn matches(&self, rows: &Rows) -> Vec<Option<bool>> {
        self.condition.matches(rows)
    }
}

impl Condition {
    fn missing(&self, roles: &[&Role]) -> Option<(&Role, usize)> {
        match self {
            Self::Column { role, position, .. } => (!roles.contains(&role)).then_some((role, *position)),
            Self::Not(condition) => condition.missing(roles),
            Self::All(conditions) | Self::Any(conditions) => {
                conditions.iter().find_map(|condition| condition.missing(roles))
            }
        }
    }

    fn matches(&self, rows: &Rows) -> Vec<Option<bool>> {
        match self {
            Self::Column { role, any_of, .. } => rows.map(role, |text| {
                if text.is_empty() {
                    return None;
                }
                let each =
                    any_of.iter().map(|(comparison, value)| Some(comparison.holds(value.order_of(text)?)));
                each.reduce(or).flatten()
            }),
            Self::Not(condition) => {
                condition.matches(rows).into_iter().map(|matches| matches.map(|m| !m)).collect()
            }
            Self::All(conditions) => joined(conditions, rows, and),
            Self::Any(conditions) => joined(conditions, rows, or),
        }
    }
}

fn joined(
    conditions: &[Condition],
    rows: &Rows,
    join: fn(Option<bool>, Option<bool>) -> Option<bool>,
) -> Vec<Option<bool>> {
    let all = conditions.iter().map(|condition| condition.matches(rows));
    let both = |mut a: Vec<Option<bool>>, b: Vec<Option<bool>>| {
        a.iter_mut().zip(b).for_each(|(a, b)| *a = join(*a, b));
        a
    };
    all.reduce(both).unwrap_or_default()
}

/// Kleene's: what is unknown stays so, unless the other decides.
fn and(a: Option<bool>, b: Option<bool>) -> Option<bool> {
    match (a, b) {
        (Some(false), _) | (_, Some(false)) => Some(false),
        (Some(true), Some(true)) => Some(true),
        _ => None,
    }
}

fn or(a: Option<bool>, b: Option<bool>) -> Option<bool> {
    and(a.map(|a| !a), b.map(|b| !b)).map(|neither| !neither)
}

#[derive(Debug, Clone, PartialEq)]
enum Token {
    Word(String),
    Quoted(String),
    Column(String),
    Number(f64),
    Comparison(Comparison),
    Open,
    Close,
    Comma,
    End,
}

struct Parser<'a> {
    text: &'a str,
    token: Token,
    /// Where the token begins, and where the next may.
    start: usize,
    next: usize,
    depth: usize,
}

impl Parser<'_> {
    fn any(&mut self) -> Result<Condition, FilterError> {
        let mut conditions = vec![self.all()?];
        while self.takes_word("or")? {
            conditions.push(self.all()?);
        }
        Ok(if conditions.len() == 1 { conditions.remove(0) } else { Condition::Any(conditions) })
    }

    fn all(&mut self) -> Result<Condition, FilterError> {
        let mut conditions = vec![self.one()?];
        while self.takes_word("and")? {
            conditions.push(self.one()?);
        }
        Ok(if conditions.len() == 1 { conditions.remove(0) } else { Condition::All(conditions) })
    }

    fn one(&mut self) -> Result<Condition, FilterError> {
        if self.depth == DEEPEST {
            return Err(self.error(format!("nested more than {DEEPEST} deep")));
        }
        self.depth += 1;
        let condition = if self.takes_word("not")? {
            Condition::Not(Box::new(self.one()?))
        } else if self.token == Token::Open {
            self.advance()?;
            let condition = self.any()?;
            self.take(Token::Close, "'and', 'or' or ')'")?;
            condition
        } else {
            self.column()?
        };
        self.depth -= 1;
        Ok(condition)
    }

    fn column(&mut self) -> Result<Condition, FilterError> {
        let position = self.start;
        let name = match &self.token {
            Token::Word(word) if !KEYWORDS.iter().any(|keyword| word.eq_ignore_ascii_case(keyword)) => {
                word.clone()
            }
            Token::Column(name) => name.clone(),
            Token::Quoted(name) => {
                let message = format!(
                    "found the text '{name}', wanted a column: its name stands bare or in `backquotes`"
                );
                return Err(self.error(message));
            }
            _ => return Err(self.wanted("a column, 'not' or '('")),
        };
        self.advance()?;
        let any_of = if self.takes_word("in")? {
            self.take(Token::Open, "'('")?;
            let mut values = vec![(Comparison::Equal, self.value()?)];
            while self.token == Token::Comma {
                self.advance()?;
                values.push((Comparison::Equal, self.value()?));
            }
            self.take(Token::Close, "',' or ')'")?;
            values
        } else if let Token::Comparison(comparison) = self.token {
            self.advance()?;
            vec![(comparison, self.value()?)]
        } else {
            return Err(self.wanted("=, !=, <, <=, >, >= or in"));
        };
        Ok(Condition::Column { role: Role::named(name), position, any_of })
    }

    fn value(&mut self) -> Result<Value, FilterError> {
        let value = match &self.token {
            Token::Quoted(text) => Value::Text(text.clone()),
            Token::Number(number) => Value::Number(*number),
            Token::Word(word) => {
                return Err(
                    self.error(format!("found '{word}', wanted a number or a text: quote a text, '{word}'"))
                );
            }
            _ => return Err(self.wanted("a number or a quoted text")),
        };
        self.advance()?;
        Ok(value)
    }

    fn takes_word(&mut self, keyword: &str) -> Result<bool, FilterError> {
        let there = matches!(&self.token, Token::Word(word) if word.eq_ignore_ascii_case(keyword));
        if there {
            self.advance()?;
        }
        Ok(there)
    }

    fn take(&mut self, token: Token, wanted: &str) -> Result<(), FilterError> {
        if self.token != token {
            return Err(self.wanted(wanted));
        }
        self.advance()
    }

    fn wanted(&self, wanted: &str) -> FilterError {
        let found = match self.token {
            Token::End => "the end".to_owned(),
            _ => format!("'{}'", &self.text[self.start..self.next]),
        };
        self.error(format!("found {found}, wanted {wanted}"))
    }

    fn error(&self, message: String) -> FilterError {
        FilterError { text: self.text.to_owned(), position: self.start, message }
    }

    /// Reads the next token.
    fn advance(&mut self) -> Result<(), FilterError> {
        let rest = &self.text[self.next..];
        let trimmed = rest.trim_start();
        self.start = self.next + rest.len() - trimmed.len();
        self.next = self.start;
        let Some(first) = trimmed.chars().next() else {
            self.token = Token::End;
            return Ok(());
        };
        let length_of =
            |inside: fn(char) -> bool| trimmed.find(|c: char| !inside(c)).unwrap_or(trimmed.len());
        let (token, length) = match first {
            '(' => (Token::Open, 1),
            ')' => (Token::Close, 1),
            ',' => (Token::Comma, 1),
            '=' => (Token::Comparison(Comparison::Equal), 1),
            '<' | '>' | '!' => {
                let (comparison, length) = match (first, trimmed[1..].starts_with('=')) {
                    ('<', false) => (Comparison::Less, 1),
                    ('<', true) => (Comparison::AtMost, 2),
                    ('>', false) => (Comparison::Greater, 1),
                    ('>', true) => (Comparison::AtLeast, 2),
                    (_, true) => (Comparison::Different, 2),
                    (_, false) => return Err(self.error("found '!', wanted '!='".to_owned())),
                };
                (Token::Comparison(comparison), length)
            }
            '\'' | '"' | '`' => {
                let (text, length) = quoted(trimmed, first)
                    .ok_or_else(|| self.error(format!("found {first} without another that ends it")))?;
                (if first == '`' { Token::Column(text) } else { Token::Quoted(text) }, length)
            }
            '+' | '-' | '.' | '0'..='9' => {
                let length = length_of(|c| c.is_alphanumeric() || matches!(c, '+' | '-' | '.' | '_'));
                let number = trimmed[..length].parse::<f64>().ok().filter(|x| x.is_finite());
                let wrong = || format!("found '{}', wanted a number: quote a text", &trimmed[..length]);
                (Token::Number(number.ok_or_else(|| self.error(wrong()))?), length)
            }
            c if c.is_alphabetic() || c == '_' => {
                let length = length_of(|c| c.is_alphanumeric() || matches!(c, '_' | '-' | '.'));
                (Token::Word(trimmed[..length].to_owned()), length)
            }
            other => {
                return Err(self.error(format!("found '{other}', which means nothing here: quote a text")));
            }
        };
        (self.token, self.next) = (token, self.start + length);
        Ok(())
    }
}

const KEYWORDS: [&str; 4] = ["and", "or", "not", "in"];

/// What stands between the quote at the beginning and the one that ends it, and the length of both and it.
fn quoted(text: &str, quote: char) -> Option<(String, usize)> {
    let mut inside = String::new();
    let mut characters = text.char_indices().skip(1).peekable();
    while let Some((at, c)) = characters.next() {
        if c != quote {
            inside.push(c);
        } else if characters.next_if(|(_, c)| *c == quote).is_some() {
            inside.push(quote);
        } else {
            return Some((inside, at + 1));
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::rows::Segment;

    fn rows() -> Rows {
        let texts = |texts: [&str; 5]| texts.map(str::to_owned).to_vec();
        let columns = vec![
            (Role::Id, texts(["a", "b", "c", "d", "e"])),
            (Role::Column("category".into()), texts(["shoe", "shoe", "hat", "", "O'Neill \"x\""])),
            (Role::Column("price".into()), texts(["49.90", "50", " 7e1 ", "cheap", ""])),
            (Role::Column("the year".into()), texts(["1999", "2001", "2001", "-3", "nan"])),
        ];
        Rows::Log(Segment::new(1, vec![0.0; 5], columns))
    }

    /// The ids that a filter lets through.
    fn through(filter: &str) -> String {
        let (rows, filter) = (rows(), Filter::parse(filter).unwrap());
        filter.check(&rows.roles()).unwrap();
        let matches = filter.matches(&rows);
        (0..5)
            .filter(|&row| matches[row] == Some(true))
            .map(|row| rows.text(&Role::Id, row).unwrap_or_default())
            .collect()
    }

    #[test]
    fn comparisons_are_of_numbers_or_of_texts() {
        for (filter, wanted) in [
            ("category = \"shoe\" and price < 50", "a"),
            ("category = 'shoe' AND price <= 50", "ab"),
            ("price > 49.9", "bc"),
            ("price >= 4.99e1", "abc"),
            ("price = 70", "c"),
            ("price = '70'", ""),
            ("price != 50", "ac"),
            ("price < '5'", "ac"),
            ("category < 'i'", "ce"),
            ("`the year` = -3", "d"),
            ("`the year` != 2001", "ad"),
            ("id in ('a', 'e', 'x')", "ae"),
            ("price in (50, '49.90', 3)", "ab"),
            ("category = 'O''Neill \"x\"'", "e"),
            ("category = \"O'Neill \"\"x\"\"\"", "e"),
            ("id>='d'", "de"),
        ] {
            assert_eq!(through(filter), wanted, "{filter}");
        }
    }

    #[test]
    fn not_binds_closest_and_or_loosest() {
        assert_eq!(through("id = 'a' or id = 'b' and category = 'hat'"), "a");
        assert_eq!(through("(id = 'a' or id = 'b') and category = 'shoe'"), "ab");
        assert_eq!(through("not id = 'a' and not (id = 'b' or id in ('c'))"), "de");
        assert_eq!(through("not not id = 'a'"), "a");
    }

    #[test]
    fn what_is_missing_is_neither_equal_nor_different() {
        assert_eq!(through("category != 'shoe'"), "ce");
        assert_eq!(through("not category = 'shoe'"), "ce");
        assert_eq!(through("not price < 50"), "bc");
        assert_eq!(through("price < 50 or not price < 50"), "abc");
        // What is known decides.
        assert_eq!(through("price < 50 or id = 'e'"), "ae");
        assert_eq!(through("not (price < 50 and id = 'x')"), "abcde");
    }

    #[test]
    fn errors_point_at_the_place() {
        for (filter, position, words) in [
            ("", 0, "found the end, wanted a column"),
            ("price <", 7, "found the end, wanted a number or a quoted text"),
            ("price < 50 50", 11, "found '50', wanted 'and', 'or' or the end"),
            ("price < cheap", 8, "quote a text, 'cheap'"),
            ("price ! 3", 6, "wanted '!='"),
            ("price < 5x", 8, "found '5x', wanted a number"),
            ("price < 1e999", 8, "wanted a number"),
            ("'price' < 5", 0, "backquotes"),
            ("price like 5", 6, "found 'like', wanted =, !="),
            ("(price < 5", 10, "wanted 'and', 'or' or ')'"),
            ("id in 'a'", 6, "wanted '('"),
            ("id in ('a' 'b')", 11, "wanted ',' or ')'"),
            ("id in ()", 7, "found ')', wanted a number or a quoted text"),
            ("id = 'a", 5, "without another that ends it"),
            ("and id = 'a'", 0, "found 'and', wanted a column"),
            ("id = 'a' && id = 'b'", 9, "found '&', which means nothing here"),
        ] {
            let error = Filter::parse(filter).unwrap_err();
            assert_eq!(error.position(), position, "{error}");
            assert!(error.message().contains(words), "{error}");
        }
        let shown = Filter::parse("käse = 'a'\nand oops").unwrap_err().to_string();
        assert!(shown.ends_with("\n  and oops\n          ^"), "{shown}");
    }

    #[test]
    fn an_unknown_column_is_named_with_those_that_are_there() {
        let filter = Filter::parse("category = 'shoe' and prize < 5").unwrap();
        let error = filter.check(&rows().roles()).unwrap_err();
        assert_eq!(error.position(), 22);
        assert!(error.message().contains("'prize': there are category, id, price, the year"), "{error}");
        assert!(Filter::parse("label = 'a'").unwrap().check(&rows().roles()).is_err());
    }

    #[test]
    fn deep_nesting_is_an_error_and_no_overflow() {
        assert_eq!(through(&format!("{}id = 'a'{}", "(".repeat(60), ")".repeat(60))), "a");
        for opening in ["(", "not "] {
            let error = Filter::parse(&opening.repeat(100_000)).unwrap_err();
            assert!(error.message().contains("64 deep"), "{error}");
        }
        // Long, but not deep.
        assert_eq!(through(&vec!["id = 'a'"; 10_000].join(" or ")), "a");
    }

    proptest! {
        #![proptest_config(ProptestConfig { cases: 2000, failure_persistence: None, ..ProptestConfig::default() })]

        #[test]
        fn no_text_is_a_panic(text in "[a-c()<>=!'\"`, .0-9äé€andortin\n-]{0,40}") {
            if let Err(error) = Filter::parse(&text) {
                prop_assert!(error.position() <= text.len() && !error.to_string().is_empty());
            }
        }
    }
}
