//! The page, section by section.

use std::collections::BTreeSet;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;

use super::html::{count, escape, number, signed};
use super::{Bars, ClassRow, Comparison, Map, MetricRow, Report, chart, map, springs};
use crate::sheet::{Hit, Picture, QueryRow};

const STYLE: &str = include_str!("style.css");
/// Measures shown large.
const HEADLINES: usize = 4;
/// Classes shown before the reader asks for all.
const CLASSES_SHOWN: usize = 20;
/// Bars shown before the reader asks for all.
const ROWS_SHOWN: usize = 20;

pub(super) fn page(report: &Report) -> String {
    let title = escape(&report.title);
    let film = report.springs.as_ref().and_then(springs::film);
    let script = match film {
        Some(_) => format!("<script>\n{}</script>\n", springs::SCRIPT),
        None => String::new(),
    };
    let sections: String = [
        header(report),
        metrics(report),
        section("Curves", "curves", curves(report)),
        section("Methods beside each other", "comparison", report.comparison.as_ref().and_then(comparison)),
        section(if report.maps.len() > 1 { "Maps" } else { "Map" }, "map", maps(&report.maps)),
        section("Springs", "springs", film),
        bars(&report.bars),
        section("Nearest neighbours", "neighbours", sheet(&report.sheet)),
        section("By class", "classes", classes(&report.per_class)),
        section("Notes", "notes", notes(&report.notes)),
        section("Left out", "left-out", pairs("What was left out and why", ("What", "Why"), &report.skipped)),
        section(
            "About this run",
            "about",
            pairs("Settings of this run", ("Setting", "Value"), &report.facts),
        ),
    ]
    .concat();
    format!(
        "<!doctype html>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\">\n\
         <meta name=\"viewport\" content=\"width=device-width, initial-scale=1\">\n\
         <meta name=\"color-scheme\" content=\"light dark\">\n\
         <title>{title}</title>\n<style>\n{STYLE}</style>\n</head>\n<body>\n<main>\n{sections}</main>\n\
         <footer>Written by nearkin. This page is one file: it loads nothing and can be sent as it is.</footer>\n{script}</body>\n</html>\n"
    )
}

fn section(title: &str, id: &str, content: Option<String>) -> String {
    content.map_or_else(String::new, |content| {
        format!("<section aria-labelledby=\"{id}\">\n<h2 id=\"{id}\">{title}</h2>\n{content}\n</section>\n")
    })
}

fn header(report: &Report) -> String {
    let subtitle = if report.subtitle.is_empty() {
        String::new()
    } else {
        format!("<p class=\"subtitle\">{}</p>\n", escape(&report.subtitle))
    };
    let command = if report.command.is_empty() {
        String::new()
    } else {
        format!(
            "<pre class=\"command\" tabindex=\"0\" aria-label=\"Command\"><code>{}</code></pre>\n",
            escape(&report.command)
        )
    };
    format!("<header>\n<h1>{}</h1>\n{subtitle}{command}</header>\n", escape(&report.title))
}

/// The first measures large, then all of them as a table.
fn metrics(report: &Report) -> String {
    if report.metrics.is_empty() {
        return String::new();
    }
    let baseline =
        if report.baseline_name.is_empty() { "Baseline".to_owned() } else { escape(&report.baseline_name) };
    let tiles: String = report.metrics.iter().take(HEADLINES).map(|row| tile(row, &baseline)).collect();
    let with_interval = report.metrics.iter().any(|row| row.interval.is_some());
    let with_baseline = report.metrics.iter().any(|row| row.baseline.is_some());

    let learned = if with_interval { "Learned<small>95 % interval</small>" } else { "Learned" };
    let mut head = format!("<th scope=\"col\">Measure</th><th scope=\"col\" class=\"num\">{learned}</th>");
    if with_baseline {
        head.push_str(&format!(
            "<th scope=\"col\" class=\"num\">{baseline}</th><th scope=\"col\" class=\"num\">Change</th>"
        ));
    }
    let small = |text: String| format!("<small>{text}</small>");
    let cell = |text: String| format!("<td class=\"num\">{text}</td>");
    let body: String = report
        .metrics
        .iter()
        .map(|row| {
            let interval = row.interval.map_or_else(String::new, |(low, high)| {
                small(format!("{} to {}", number(low), number(high)))
            });
            let mut cells = format!("<th scope=\"row\">{}</th>", breakable(&row.name));
            cells.push_str(&cell(format!("<b>{}</b>{interval}", number(row.learned))));
            if with_baseline {
                cells.push_str(&cell(row.baseline.map_or_else(String::new, number)));
                cells.push_str(&cell(
                    row.baseline.map_or_else(String::new, |value| signed(row.learned - value)),
                ));
            }
            format!("<tr>{cells}</tr>\n")
        })
        .collect();
    let table = table("Measures of the embedding", &head, &body);
    let meanings = meanings(&report.metrics);
    section("Measures", "measures", Some(format!("<div class=\"tiles\">{tiles}</div>\n{table}{meanings}")))
}

/// What the measures shown mean, folded away for those who know.
fn meanings(rows: &[MetricRow]) -> String {
    let known = rows.iter().filter_map(|row| Some((&row.name, meaning(&row.name)?)));
    let items: String =
        known.map(|(name, text)| format!("<dt>{}</dt><dd>{text}</dd>", breakable(name))).collect();
    if items.is_empty() {
        items
    } else {
        format!(
            "<details><summary>What these measures mean</summary><dl class=\"card\">{items}</dl></details>"
        )
    }
}

fn tile(row: &MetricRow, baseline_name: &str) -> String {
    let is_share = |value: f64| (0.0..=1.0).contains(&value);
    let bar = |value: f64, class: &str| {
        format!("<div class=\"bar\"><i class=\"{class}\" style=\"width:{:.1}%\"></i></div>", value * 100.0)
    };
    // Bars compare shares; a rank or a loss has no natural full length.
    let bars = match row.baseline {
        Some(baseline) if is_share(row.learned) && is_share(baseline) => {
            bar(row.learned, "learned") + &bar(baseline, "baseline")
        }
        None if is_share(row.learned) => bar(row.learned, "learned"),
        _ => String::new(),
    };
    let against = row.baseline.map_or_else(String::new, |value| {
        format!(
            "<p class=\"muted\">{baseline_name} {} <b>{}</b></p>",
            number(value),
            signed(row.learned - value)
        )
    });
    format!(
        "<div class=\"card tile\"><p class=\"name\">{}</p><p class=\"value\">{}</p>{bars}{against}</div>\n",
        breakable(&row.name),
        number(row.learned)
    )
}

/// A name that may wrap after each underscore.
fn breakable(name: &str) -> String {
    escape(name).replace('_', "_<wbr>")
}

/// What the field's names mean, for readers from outside it.
fn meaning(name: &str) -> Option<String> {
    let fixed = match name {
        "precision_at_1" => "How often the nearest neighbour is of the right class.",
        "r_precision" => {
            "The share of the right class among the R nearest, where R is the number of others in the class."
        }
        "mean_average_precision_at_r" => {
            "Like r_precision, but a mistake at a near rank costs more than one at a far rank."
        }
        "knn_accuracy" => "How often the vote of the k nearest names the right class.",
        "effective_rank" => "How many directions the embedding really uses, at most its dimension.",
        "rank_me" => {
            "Directions that the embedding uses, uncentred; between networks trained alike, more tends to serve better."
        }
        "lidar" => "Directions that tell images apart, measured in what tells views of one image apart.",
        "alignment" => "How far apart two views of an image are: 0, in one point; 4, opposite.",
        "uniformity" => "How evenly images lie on the sphere: 0, in one point; lower is more even.",
        "linear_probe_accuracy" => "How often a linear classifier on the embedding says the right class.",
        "r2" => "1: every number is estimated exactly; 0: no better than their mean.",
        "rmse" => "The root of the mean squared error of the estimates.",
        "spread" => "1: spread evenly over the sphere; 0: collapsed to one point.",
        _ => {
            if name.starts_with("knn_accuracy (") {
                return meaning("knn_accuracy");
            }
            if let Some(of) = name.strip_suffix("_behind_head") {
                return Some(format!("{} Here of what the loss compares, behind the head.", meaning(of)?));
            }
            let k: usize = name.strip_prefix("recall_at_")?.parse().ok()?;
            return Some(format!("How often at least one of the {k} nearest is of the right class."));
        }
    };
    Some(fixed.to_owned())
}

fn maps(all: &[Map]) -> Option<String> {
    let drawn: Vec<String> = all.iter().filter_map(map::map).collect();
    match &drawn[..] {
        [] => None,
        [only] => Some(only.clone()),
        several => Some(format!("<div class=\"maps\">{}</div>", several.concat())),
    }
}

fn hint(text: &str) -> String {
    if text.is_empty() { String::new() } else { format!("<p class=\"muted\">{}</p>", escape(text)) }
}

/// Rows in the order given; the best of a column is set in bold.
fn comparison(found: &Comparison) -> Option<String> {
    let best: Vec<Option<f64>> = found
        .measures
        .iter()
        .enumerate()
        .map(|(at, (_, larger))| {
            let values = found.rows.iter().filter_map(|(_, values)| values.get(at).copied().flatten());
            values.filter(|value| *larger && value.is_finite()).reduce(f64::max)
        })
        .collect();
    let head: String = found
        .measures
        .iter()
        .map(|(name, _)| format!("<th scope=\"col\" class=\"num\">{}</th>", escape(name)))
        .collect();
    let cell = |value: &Option<f64>, best: &Option<f64>, larger: &bool| {
        let text = match value {
            None => "–".to_owned(),
            // A size, such as a number of dimensions.
            Some(value) if !larger && value.fract() == 0.0 && (0.0..1e15).contains(value) => {
                count(*value as usize)
            }
            Some(value) => number(*value),
        };
        let marked = if value.is_some() && value == best { format!("<b>{text}</b>") } else { text };
        format!("<td class=\"num\">{marked}</td>")
    };
    let line = |(name, values): &(String, Vec<Option<f64>>)| {
        let of_measures = values.iter().zip(&best).zip(&found.measures);
        let cells: String =
            of_measures.map(|((value, best), (_, larger))| cell(value, best, larger)).collect();
        format!("<tr><th scope=\"row\">{}</th>{cells}</tr>\n", escape(name))
    };
    let body: String = found.rows.iter().map(line).collect();
    let head = format!("<th scope=\"col\">Method</th>{head}");
    (!found.rows.is_empty()).then(|| {
        let table = table("Methods and their measures", &head, &body);
        format!("{}<div class=\"compared\">{table}</div>", hint(&found.hint))
    })
}

fn bars(all: &[Bars]) -> String {
    let drawn = |(at, bars): (usize, &Bars)| {
        let largest = bars.rows.iter().map(|row| row.1).filter(|value| value.is_finite()).fold(0.0, f64::max);
        let line = |(name, value): &(String, f64)| {
            let share = if *value > 0.0 && value.is_finite() { value / largest } else { 0.0 };
            format!(
                "<tr><th scope=\"row\">{}</th><td class=\"num meter\" style=\"--share:{share:.3}\">{}</td></tr>\n",
                escape(name),
                number(*value)
            )
        };
        let (shown, rest) = bars.rows.split_at(bars.rows.len().min(ROWS_SHOWN));
        let head = "<th scope=\"col\">Name</th><th scope=\"col\" class=\"num\">Value</th>";
        let caption = escape(&bars.title);
        let mut html = hint(&bars.hint) + &table(&caption, head, &shown.iter().map(line).collect::<String>());
        if !rest.is_empty() {
            let more = table(&caption, head, &rest.iter().map(line).collect::<String>());
            html.push_str(&format!("<details><summary>{} more</summary>{more}</details>", count(rest.len())));
        }
        section(&caption, &format!("bars-{at}"), (!bars.rows.is_empty()).then_some(html))
    };
    all.iter().enumerate().map(drawn).collect()
}

fn curves(report: &Report) -> Option<String> {
    let charts: String = report.curves.iter().filter_map(chart::curve).collect();
    (!charts.is_empty()).then(|| format!("<div class=\"charts\">{charts}</div>"))
}

fn sheet(rows: &[QueryRow]) -> Option<String> {
    let known: BTreeSet<bool> =
        rows.iter().flat_map(|row| row.hits.iter().filter_map(|hit| hit.right)).collect();
    let legend = if known.is_empty() {
        ""
    } else {
        " <span class=\"right\">✓ right class</span>, <span class=\"wrong\">✗ wrong class</span>. The score stands beside the sign."
    };
    let list: String = rows
        .iter()
        .map(|row| {
            let hits: String = row.hits.iter().map(hit).collect();
            let label = escape(&format!("Nearest to {}", row.query.caption));
            format!(
                "<div class=\"card found\" tabindex=\"0\" role=\"group\" aria-label=\"{label}\">{}<ol>{hits}</ol></div>\n",
                figure(&row.query, "query", "<span>query</span>")
            )
        })
        .collect();
    (!rows.is_empty()).then(|| format!("<p class=\"muted\">Each query at the left, then what is nearest to it, nearest first.{legend}</p>\n{list}"))
}

fn hit(hit: &Hit) -> String {
    let (class, sign) = match hit.right {
        Some(true) => ("right", "<span role=\"img\" aria-label=\"right\">✓</span> "),
        Some(false) => ("wrong", "<span role=\"img\" aria-label=\"wrong\">✗</span> "),
        None => ("unknown", ""),
    };
    format!("<li>{}</li>", figure(&hit.picture, class, &format!("{sign}{}", number(f64::from(hit.score)))))
}

/// `line` is HTML.
fn figure(picture: &Picture, class: &str, line: &str) -> String {
    let caption = escape(&picture.caption);
    format!(
        "<figure class=\"{class}\"><img alt=\"{caption}\" src=\"data:image/png;base64,{}\"><figcaption><b>{line}</b><br>{caption}</figcaption></figure>",
        STANDARD.encode(&picture.png)
    )
}

/// Worst classes first: they are what a reader can act on.
fn classes(rows: &[ClassRow]) -> Option<String> {
    let mut rows: Vec<&ClassRow> = rows.iter().collect();
    rows.sort_by(|a, b| a.map_at_r.total_cmp(&b.map_at_r).then_with(|| a.name.cmp(&b.name)));
    let head = "<th scope=\"col\">Class</th><th scope=\"col\" class=\"num\">Queries</th>\
                <th scope=\"col\" class=\"num\">Precision at 1</th><th scope=\"col\" class=\"num\">MAP at R</th>";
    let line = |row: &&ClassRow| {
        format!(
            "<tr><th scope=\"row\">{}</th><td class=\"num\">{}</td><td class=\"num\">{}</td><td class=\"num meter\" style=\"--share:{:.3}\">{}</td></tr>\n",
            escape(&row.name),
            count(row.queries),
            number(row.precision_at_1),
            if row.map_at_r.is_finite() { row.map_at_r.clamp(0.0, 1.0) } else { 0.0 },
            number(row.map_at_r)
        )
    };
    let (shown, rest) = rows.split_at(rows.len().min(CLASSES_SHOWN));
    let mut html =
        table("Retrieval by class, worst first", head, &shown.iter().map(line).collect::<String>());
    if !rest.is_empty() {
        let more = table("Retrieval by class, continued", head, &rest.iter().map(line).collect::<String>());
        html.push_str(&format!(
            "<details><summary>{} more classes</summary>{more}</details>",
            count(rest.len())
        ));
    }
    (!rows.is_empty()).then_some(html)
}

fn notes(notes: &[String]) -> Option<String> {
    let items: String = notes.iter().map(|note| format!("<li>{}</li>", escape(note))).collect();
    (!notes.is_empty()).then(|| format!("<ul class=\"card notes\">{items}</ul>"))
}

fn pairs(caption: &str, (name, value): (&str, &str), pairs: &[(String, String)]) -> Option<String> {
    let head = format!("<th scope=\"col\">{name}</th><th scope=\"col\">{value}</th>");
    let body: String = pairs
        .iter()
        .map(|(name, value)| {
            format!("<tr><th scope=\"row\">{}</th><td>{}</td></tr>\n", escape(name), escape(value))
        })
        .collect();
    (!pairs.is_empty()).then(|| table(caption, &head, &body))
}

/// `head` and `body` are HTML. A table wider than the page scrolls within its card, by keyboard too.
fn table(caption: &str, head: &str, body: &str) -> String {
    format!(
        "<div class=\"card scroll\" tabindex=\"0\" role=\"region\" aria-label=\"{caption}\"><table><caption>{caption}</caption>\
         <thead><tr>{head}</tr></thead><tbody>\n{body}</tbody></table></div>"
    )
}
