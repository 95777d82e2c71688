//! The embeddings on a plane, as inline SVG.

use std::collections::BTreeMap;

use super::Map;
use super::chart::COLORS;
use super::html::{count, escape, place};

const WIDTH: f64 = 760.0;
const HEIGHT: f64 = 520.0;
const MARGIN: f64 = 26.0;
/// Points a page can hold and a reader can see.
const SHOWN: usize = 5_000;
/// Marks that can be told apart: each colour full, then each as a ring.
const MARKS: usize = 2 * COLORS;
/// Letters of a class name written on the map.
const LETTERS: usize = 18;
/// Height of a name written on the map.
const LINE: f64 = 17.0;

/// The map with its legend, or nothing when no point can be drawn.
pub(super) fn map(map: &Map) -> Option<String> {
    let is_unseen = |i: usize| map.unseen.get(i).copied().unwrap_or(false);
    let two_sets = map.unseen.contains(&true) && map.unseen.contains(&false);
    let drawable: Vec<([f64; 2], (u32, bool))> = map
        .points
        .iter()
        .zip(&map.labels)
        .enumerate()
        .map(|(i, (p, &label))| (p.map(f64::from), (label, two_sets && is_unseen(i))))
        .filter(|(p, _)| p.iter().all(|c| c.is_finite()))
        .collect();
    let bounds = |axis: usize| {
        drawable
            .iter()
            .map(|(p, _)| p[axis])
            .fold((f64::INFINITY, f64::NEG_INFINITY), |(l, h), c| (l.min(c), h.max(c)))
    };
    let ((left, right), (low, high)) = (bounds(0), bounds(1));
    if drawable.is_empty() {
        return None;
    }
    // One scale for both axes: a distance on the map is a distance.
    let scale = ((WIDTH - 2.0 * MARGIN) / (right - left)).min((HEIGHT - 2.0 * MARGIN) / (high - low));
    let scale = if scale.is_finite() { scale } else { 1.0 };
    let at = |p: [f64; 2]| {
        [
            WIDTH / 2.0 + (p[0] - (left + right) / 2.0) * scale,
            HEIGHT / 2.0 - (p[1] - (low + high) / 2.0) * scale,
        ]
    };

    let mut classes: BTreeMap<u32, Vec<[f64; 2]>> = BTreeMap::new();
    let mut unseen: BTreeMap<u32, Vec<[f64; 2]>> = BTreeMap::new();
    // Evenly through the set, so that a sample of sorted data is fair.
    let shown = drawable.len().min(SHOWN);
    for (point, (label, is_unseen)) in (0..shown).map(|i| drawable[i * drawable.len() / shown]) {
        classes.entry(label).or_default();
        let set = if is_unseen { &mut unseen } else { &mut classes };
        set.entry(label).or_default().push(at(point));
    }
    let name =
        |label: u32| map.classes.get(label as usize).cloned().unwrap_or_else(|| format!("class {label}"));

    let mut svg = format!(
        "<svg viewBox=\"0 0 {WIDTH} {HEIGHT}\" role=\"img\" aria-label=\"Map of {} embeddings of {} classes\">",
        count(shown),
        count(classes.len())
    );
    let mut legend = String::new();
    for (order, (&label, points)) in classes.iter().enumerate() {
        let class = mark(order);
        let title = escape(&name(label));
        svg.push_str(&dots(points, &if two_sets { format!("{class} seen") } else { class.clone() }, &title));
        let above = unseen.get(&label).map_or(0, Vec::len);
        legend.push_str(&format!(
            "<li><span class=\"dot {class}\"></span>{title} <b>{}</b></li>",
            count(points.len() + above)
        ));
    }
    for (order, (&label, _)) in classes.iter().enumerate() {
        if let Some(points) = unseen.get(&label) {
            svg.push_str(&dots(points, &mark(order), &escape(&name(label))));
        }
    }
    // A class may have points of one kind alone.
    for (label, points) in unseen {
        classes.entry(label).or_default().extend(points);
    }
    if classes.len() <= MARKS {
        svg.push_str(&names(&classes, &name));
    }
    svg.push_str("</svg>");

    let mut notes: Vec<String> =
        Some(escape(&map.hint)).filter(|hint| !hint.is_empty()).into_iter().collect();
    if two_sets {
        notes.push("Small and pale: rows that the map was fitted to. Full: unseen rows.".to_owned());
    }
    if shown < drawable.len() {
        notes.push(format!(
            "{} of {} points are drawn, evenly through the set.",
            count(shown),
            count(drawable.len())
        ));
    }
    let left_out = map.points.len().max(map.labels.len()) - drawable.len();
    if left_out > 0 {
        notes.push(format!("{} points without a label or a finite place are left out.", count(left_out)));
    }
    if classes.len() > MARKS {
        notes.push(format!("There are {} classes and {MARKS} marks, so marks repeat.", count(classes.len())));
    }
    let notes: String = notes.iter().map(|note| format!("<p class=\"muted\">{note}</p>")).collect();
    let legend = format!("<ul class=\"legend\" aria-label=\"Classes and their points\">{legend}</ul>");
    // A long legend would push the rest of the report out of sight.
    let legend = if classes.len() > MARKS {
        format!("<details><summary>All {} classes</summary>{legend}</details>", count(classes.len()))
    } else {
        legend
    };
    let title = match map.title.as_str() {
        "" => String::new(),
        title => format!("<figcaption>{}</figcaption>", escape(title)),
    };
    Some(format!("<figure class=\"card map\">{title}{svg}{legend}{notes}</figure>"))
}

/// Points of one class.
fn dots(points: &[[f64; 2]], class: &str, title: &str) -> String {
    let mut path = String::new();
    for point in points {
        path.push('M');
        place(&mut path, point[0]);
        path.push(' ');
        place(&mut path, point[1]);
        path.push_str("h0");
    }
    let hole = if class.contains("ring") {
        format!("<path class=\"dots hole\" d=\"{path}\"/>")
    } else {
        String::new()
    };
    format!("<path class=\"dots {class}\" d=\"{path}\"><title>{title}</title></path>{hole}")
}

/// Colour and shape of the class that comes `order`-th.
fn mark(order: usize) -> String {
    format!("c{}{}", order % COLORS, if (order / COLORS).is_multiple_of(2) { "" } else { " ring" })
}

/// Names at the middle of their classes, moved up or down where they would cover another.
fn names(classes: &BTreeMap<u32, Vec<[f64; 2]>>, name: &dyn Fn(u32) -> String) -> String {
    let mut labels: Vec<(f64, f64, String)> = classes
        .iter()
        .map(|(&label, points)| {
            let full = name(label);
            let short: String = full.chars().take(LETTERS).collect();
            let text = if short.len() < full.len() { short + "…" } else { short };
            (median(points, 0), median(points, 1), text)
        })
        .collect();
    labels.sort_by(|a, b| a.1.total_cmp(&b.1));
    let half_width = |text: &str| text.chars().count() as f64 * 4.0 + 4.0;
    let mut placed: Vec<(f64, f64, f64)> = Vec::new();
    let mut out = String::from("<g class=\"names\" aria-hidden=\"true\">");
    for (x, y, text) in labels {
        let half = half_width(&text);
        let x = x.clamp(half, (WIDTH - half).max(half));
        let is_free = |y: f64| {
            (LINE..HEIGHT - LINE).contains(&y)
                && !placed
                    .iter()
                    .any(|(px, py, ph)| (px - x).abs() < ph + half && (py - y).abs() < LINE - 0.01)
        };
        // The nearest free place above or below; with at most MARKS names there is one.
        let y = (0..=2 * MARKS)
            .flat_map(|i| [1.0, -1.0].map(|way| y + way * LINE / 2.0 * i as f64))
            .find(|&y| is_free(y))
            .unwrap_or(y);
        placed.push((x, y, half));
        out.push_str(&format!(
            "<text x=\"{x:.1}\" y=\"{:.1}\" text-anchor=\"middle\">{}</text>",
            y + 4.0,
            escape(&text)
        ));
    }
    out + "</g>"
}

fn median(points: &[[f64; 2]], axis: usize) -> f64 {
    let mut sorted: Vec<f64> = points.iter().map(|p| p[axis]).collect();
    sorted.sort_unstable_by(f64::total_cmp);
    sorted[sorted.len() / 2]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn points_are_sampled_and_what_is_left_out_is_said() {
        let n = 12_000;
        let mut points: Vec<[f32; 2]> = (0..n).map(|i| [i as f32, (i % 7) as f32]).collect();
        points[3][1] = f32::NAN;
        let html = map(&Map {
            points,
            labels: (0..n as u32 + 1).map(|i| i % 25).collect(),
            classes: vec!["<x>".into()],
            ..Map::default()
        })
        .unwrap();
        let svg = html.split("</svg>").next().unwrap();
        let drawn: usize = svg
            .split("<path class=\"dots c")
            .skip(1)
            .map(|path| path.split("<title>").next().unwrap().matches("h0").count())
            .sum();
        assert_eq!(drawn, 5_000);
        assert!(html.contains("5\u{202f}000 of 11\u{202f}999 points"));
        assert!(html.contains("2 points without a label"));
        assert!(html.contains("25 classes and 20 marks"));
        assert!(html.contains("&lt;x&gt;") && html.contains("class 24") && !html.contains("<x>"));
    }

    #[test]
    fn unseen_points_lie_above_the_others_and_a_class_counts_both() {
        let html = map(&Map {
            points: vec![[0.0, 0.0], [1.0, 1.0], [2.0, 0.0], [3.0, 1.0]],
            labels: vec![0, 0, 1, 2],
            unseen: vec![false, true, false, true],
            title: "LLE".into(),
            ..Map::default()
        })
        .unwrap();
        assert!(html.contains("<figcaption>LLE</figcaption>") && html.contains("unseen rows"));
        let order: Vec<&str> =
            html.split("class=\"dots ").skip(1).map(|rest| rest.split('"').next().unwrap()).collect();
        assert_eq!(order, ["c0 seen", "c1 seen", "c2 seen", "c0", "c2"]);
        assert!(html.contains("class 0 <b>2</b>") && html.contains("class 2 <b>1</b>"));
    }

    #[test]
    fn one_point_is_in_the_middle_and_none_is_nothing() {
        let html = map(&Map { points: vec![[5.0, 5.0]], labels: vec![0], ..Map::default() }).unwrap();
        assert!(html.contains("M380 260h0"), "{html}");
        assert!(map(&Map::default()).is_none());
        assert!(map(&Map { points: vec![[1.0, 1.0]], ..Map::default() }).is_none());
    }

    #[test]
    fn names_at_one_place_do_not_cover_each_other() {
        let html =
            map(&Map { points: vec![[0.0, 0.0]; 20], labels: (0..20).collect(), ..Map::default() }).unwrap();
        let names = html.split("class=\"names\"").nth(1).unwrap();
        let mut ys: Vec<f64> =
            names.split(" y=\"").skip(1).map(|s| s.split('"').next().unwrap().parse().unwrap()).collect();
        ys.sort_unstable_by(f64::total_cmp);
        assert_eq!(ys.len(), 20);
        assert!(ys.is_sorted_by(|a, b| b - a >= LINE - 0.1), "{ys:?}");
    }
}
