//! A map on its way through training, with the forces at its points: an SVG that a little script moves. Without the script it shows
//! where the points end.

use std::fmt::Write;

use super::SpringFilm;
use super::chart::COLORS;
use super::html::{count, escape, number, place};

pub(super) const SCRIPT: &str = include_str!("springs.js");
const WIDTH: f64 = 760.0;
const HEIGHT: f64 = 520.0;
const MARGIN: f64 = 20.0;
/// Strengths that are drawn apart, weak to strong.
const BANDS: usize = 3;
const KINDS: [&str; 2] = ["attracting", "repelling"];

/// The film, or nothing when there is no moment to show.
pub(super) fn film(film: &SpringFilm) -> Option<String> {
    let last = film.moments.last()?;
    if film.moments.iter().any(|moment| moment.points.len() != last.points.len()) {
        return None;
    }
    let finite =
        || film.moments.iter().flat_map(|moment| &moment.points).filter(|p| p.iter().all(|x| x.is_finite()));
    let bounds = |axis: usize| {
        finite().fold((f64::INFINITY, f64::NEG_INFINITY), |(l, h), p| {
            (l.min(p[axis].into()), h.max(p[axis].into()))
        })
    };
    let ((left, right), (low, high)) = (bounds(0), bounds(1));
    // One scale for both axes and all moments: a distance is a distance, early and late.
    let scale = ((WIDTH - 2.0 * MARGIN) / (right - left)).min((HEIGHT - 2.0 * MARGIN) / (high - low));
    let scale = if scale.is_finite() { scale } else { 1.0 };
    let at = |p: &[f32; 2]| {
        let [x, y] = p.map(|x| if x.is_finite() { f64::from(x) } else { 0.0 });
        [WIDTH / 2.0 + (x - (left + right) / 2.0) * scale, HEIGHT / 2.0 - (y - (low + high) / 2.0) * scale]
    };
    let strongest = [0, 1].map(|kind| {
        let all = film.moments.iter().flat_map(|moment| &moment.springs[kind]);
        all.map(|spring| spring.2).filter(|force| force.is_finite()).fold(0.0, f32::max)
    });
    let band = |kind: usize, force: f32| ((force / strongest[kind] * BANDS as f32) as usize).min(BANDS - 1);

    let mut data = String::from("[");
    for (i, moment) in film.moments.iter().enumerate() {
        data.push_str(if i > 0 { ",{\"places\":[" } else { "{\"places\":[" });
        for (i, point) in moment.points.iter().enumerate() {
            let [x, y] = at(point);
            data.push_str(if i > 0 { "," } else { "" });
            place(&mut data, x);
            data.push(',');
            place(&mut data, y);
        }
        data.push_str("],\"springs\":[");
        for (i, (kind, wanted)) in bands().enumerate() {
            data.push_str(if i > 0 { ",[" } else { "[" });
            let drawn = moment.springs[kind].iter().filter(|spring| {
                band(kind, spring.2) == wanted && usize::from(spring.0.max(spring.1)) < moment.points.len()
            });
            for (i, spring) in drawn.enumerate() {
                // Writing to a string cannot fail.
                let _ = write!(data, "{}{},{}", if i > 0 { "," } else { "" }, spring.0, spring.1);
            }
            data.push(']');
        }
        let _ = write!(
            data,
            "],\"says\":\"step {}: kin attract with {}, strangers repel with {}\"}}",
            moment.step,
            number(moment.attraction),
            number(moment.repulsion)
        );
    }
    data.push(']');

    let mut svg = format!(
        "<svg viewBox=\"0 0 {WIDTH} {HEIGHT}\" role=\"img\" aria-label=\"{} points and the springs among them\">",
        count(last.points.len())
    );
    for (kind, name) in KINDS.iter().enumerate() {
        let _ = write!(svg, "<g class=\"{name}\">");
        for (_, band) in bands().filter(|(of, _)| *of == kind) {
            let _ = write!(svg, "<path class=\"spring band{band}\"/>");
        }
        svg.push_str("</g>");
    }
    let mut shown: Vec<u32> = film.labels.clone();
    shown.sort_unstable();
    shown.dedup();
    for (i, point) in last.points.iter().enumerate() {
        let order = film.labels.get(i).and_then(|label| shown.binary_search(label).ok()).unwrap_or(0);
        let [x, y] = at(point);
        let mut circle = format!("<circle class=\"c{}\" r=\"5\" cx=\"", order % COLORS);
        place(&mut circle, x);
        circle.push_str("\" cy=\"");
        place(&mut circle, y);
        let _ = write!(
            svg,
            "{circle}\"><title>{}</title></circle>",
            escape(film.names.get(i).map_or("", String::as_str))
        );
    }
    svg.push_str("</svg>");
    let legend: String = shown
        .iter()
        .enumerate()
        .map(|(order, label)| {
            let name = film.classes.get(*label as usize).cloned().unwrap_or_else(|| format!("class {label}"));
            format!("<li><span class=\"dot c{}\"></span>{}</li>", order % COLORS, escape(&name))
        })
        .collect();
    let boxes: String = KINDS
        .iter()
        .map(|name| {
            format!(
                "<label class=\"{name}\"><input type=\"checkbox\" value=\"{name}\" checked> <i></i>{name} springs</label>"
            )
        })
        .collect();
    let end = film.moments.len() - 1;
    Some(format!(
        "<figure class=\"card map film\">{svg}\
         <div class=\"controls\" hidden><button type=\"button\">Play</button>\
         <input type=\"range\" min=\"0\" max=\"{end}\" value=\"{end}\" aria-label=\"Moment of the training\">{boxes}</div>\
         <p class=\"muted\"><output></output></p>\
         <ul class=\"legend\" aria-label=\"Classes\">{legend}</ul><p class=\"muted\">{}</p>\
         <script type=\"application/json\">{data}</script></figure>",
        escape(&film.hint)
    ))
}

/// Kind and strength of each path, in their order.
fn bands() -> impl Iterator<Item = (usize, usize)> {
    (0..KINDS.len()).flat_map(|kind| (0..BANDS).map(move |band| (kind, band)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::report::SpringMoment;

    fn two_points() -> SpringFilm {
        let moment = |step, x| SpringMoment {
            step,
            points: vec![[0.0, 0.0], [x, 0.0]],
            springs: [vec![(0, 1, x)], vec![(0, 1, 0.1)]],
            attraction: x.into(),
            repulsion: 0.5,
        };
        SpringFilm {
            hint: "<kin>".into(),
            labels: vec![4, 9],
            classes: Vec::new(),
            names: vec!["a\"b".into(), "c".into()],
            moments: vec![moment(0, 4.0), moment(7, 1.0)],
        }
    }

    #[test]
    fn a_film_holds_its_moments_and_shows_where_its_points_end_without_a_script() {
        let html = film(&two_points()).unwrap();
        let data = html.split("application/json\">").nth(1).unwrap().split("</script>").next().unwrap();
        let data: serde_json::Value = serde_json::from_str(data).unwrap();
        assert_eq!(data[0]["places"], serde_json::json!([20, 260, 740, 260]));
        // The scale stays: a quarter of the distance is a quarter of the width.
        assert_eq!(data[1]["places"], serde_json::json!([20, 260, 200, 260]));
        // The strongest attraction of all is in the last band, a quarter of it in the first.
        assert_eq!(data[0]["springs"], serde_json::json!([[], [], [0, 1], [], [], [0, 1]]));
        assert_eq!(data[1]["springs"][0], serde_json::json!([0, 1]));
        assert_eq!(data[1]["says"], "step 7: kin attract with 1.000, strangers repel with 0.500");
        assert!(html.contains("<circle class=\"c1\" r=\"5\" cx=\"200\" cy=\"260\">"), "{html}");
        assert!(html.contains("a&quot;b") && html.contains("&lt;kin&gt;") && html.contains("class 9"));
    }

    #[test]
    fn a_film_without_moments_is_none() {
        assert!(film(&SpringFilm::default()).is_none());
        let mut torn = two_points();
        torn.moments[0].points.pop();
        assert!(film(&torn).is_none());
        let mut odd = two_points();
        odd.moments[0].points[0][0] = f32::NAN;
        odd.moments[1].springs[0].push((0, 9, 1.0));
        assert!(!film(&odd).unwrap().contains("NaN"));
    }
}
