//! A line chart as inline SVG, coloured by the page's style sheet so that it follows light and dark.

use super::html::{escape, number, place};
use super::{Curve, Series};

const WIDTH: f64 = 520.0;
const HEIGHT: f64 = 290.0;
const LEFT: f64 = 58.0;
const RIGHT: f64 = 12.0;
const TOP: f64 = 12.0;
const BOTTOM: f64 = 46.0;
/// Ticks wanted on an axis.
const TICKS: f64 = 5.0;
/// Points of a line that a screen can show.
const SHOWN: usize = 1_000;
/// Colours of the style sheet.
pub(super) const COLORS: usize = 10;

/// The chart and its legend, or nothing when no point can be drawn.
pub(super) fn curve(curve: &Curve) -> Option<String> {
    let finite = || curve.series.iter().flat_map(|series| series.points.iter()).filter(|p| is_finite(p));
    let x_axis = Axis::around(finite().map(|p| p.0))?;
    let y_axis = Axis::around(finite().map(|p| p.1))?;
    let x = |value: f64| LEFT + x_axis.share(value) * (WIDTH - LEFT - RIGHT);
    let y = |value: f64| HEIGHT - BOTTOM - y_axis.share(value) * (HEIGHT - TOP - BOTTOM);

    let mut svg = format!(
        "<svg viewBox=\"0 0 {WIDTH} {HEIGHT}\" role=\"img\" aria-label=\"{}\"><g class=\"grid\">",
        escape(&format!(
            "{}: {}",
            curve.title,
            curve.series.iter().filter_map(in_words).collect::<Vec<_>>().join("; ")
        ))
    );
    let mut names = String::new();
    for tick in y_axis.ticks() {
        let at = y(tick);
        svg.push_str(&format!("<path d=\"M{LEFT} {at:.1}H{}\"/>", WIDTH - RIGHT));
        names.push_str(&format!(
            "<text x=\"{}\" y=\"{:.1}\" text-anchor=\"end\">{}</text>",
            LEFT - 8.0,
            at + 4.0,
            y_axis.name(tick)
        ));
    }
    for tick in x_axis.ticks() {
        names.push_str(&format!(
            "<text x=\"{:.1}\" y=\"{}\" text-anchor=\"middle\">{}</text>",
            x(tick),
            HEIGHT - BOTTOM + 18.0,
            x_axis.name(tick)
        ));
    }
    let middle = TOP + (HEIGHT - TOP - BOTTOM) / 2.0;
    svg.push_str(&format!(
        "</g><g class=\"axis\"><path d=\"M{LEFT} {bottom}H{right}\"/>{names}\
         <text class=\"name\" x=\"{center}\" y=\"{}\" text-anchor=\"middle\">{}</text>\
         <text class=\"name\" transform=\"translate(13 {middle}) rotate(-90)\" text-anchor=\"middle\">{}</text></g>",
        HEIGHT - 6.0,
        escape(&curve.x_label),
        escape(&curve.y_label),
        bottom = HEIGHT - BOTTOM,
        right = WIDTH - RIGHT,
        center = LEFT + (WIDTH - LEFT - RIGHT) / 2.0,
    ));
    let mut legend = String::new();
    for (at, series) in curve.series.iter().enumerate() {
        // Beyond the colours, dashes tell lines apart.
        let class =
            format!("c{}{}", at % COLORS, if (at / COLORS).is_multiple_of(2) { "" } else { " dashed" });
        svg.push_str(&line(series, &class, &x, &y));
        let last = series
            .points
            .iter()
            .rfind(|p| is_finite(p))
            .map_or_else(|| "no values".to_owned(), |p| number(p.1));
        legend.push_str(&format!(
            "<li><span class=\"line {class}\"></span>{} <b>{last}</b></li>",
            escape(&series.name)
        ));
    }
    svg.push_str("</svg>");
    Some(format!(
        "<figure class=\"card chart\"><figcaption>{}</figcaption>{svg}<ul class=\"legend\" aria-label=\"Lines and their last values\">{legend}</ul></figure>",
        escape(&curve.title)
    ))
}

fn is_finite(point: &(f64, f64)) -> bool {
    point.0.is_finite() && point.1.is_finite()
}

/// "loss from 4.1 to 0.2", for those who hear the chart.
fn in_words(series: &Series) -> Option<String> {
    let (first, last) =
        (series.points.iter().find(|p| is_finite(p))?, series.points.iter().rfind(|p| is_finite(p))?);
    Some(format!(
        "{} from {} at {} to {} at {}",
        series.name,
        number(first.1),
        number(first.0),
        number(last.1),
        number(last.0)
    ))
}

/// A line, broken where values are missing. A value with none beside it is a dot.
fn line(series: &Series, class: &str, x: &dyn Fn(f64) -> f64, y: &dyn Fn(f64) -> f64) -> String {
    let mut path = String::new();
    for run in series.points.split(|p| !is_finite(p)).filter(|run| !run.is_empty()) {
        for (at, point) in thin(run).into_iter().enumerate() {
            path.push(if at == 0 { 'M' } else { 'L' });
            place(&mut path, x(point.0));
            path.push(' ');
            place(&mut path, y(point.1));
        }
        if run.len() == 1 {
            path.push_str("h0");
        }
    }
    format!("<path class=\"line {class}\" d=\"{path}\"><title>{}</title></path>", escape(&series.name))
}

/// At most about `SHOWN` points that keep every peak: of each stretch the lowest and the highest, in order.
fn thin(run: &[(f64, f64)]) -> Vec<(f64, f64)> {
    if run.len() <= SHOWN {
        return run.to_vec();
    }
    let mut kept = vec![run[0]];
    for stretch in run.chunks(run.len().div_ceil(SHOWN / 2)) {
        let extreme = |sign: f64| {
            (0..stretch.len())
                .reduce(|best, i| if sign * stretch[i].1 > sign * stretch[best].1 { i } else { best })
        };
        let (Some(low), Some(high)) = (extreme(-1.0), extreme(1.0)) else { continue };
        kept.push(stretch[low.min(high)]);
        kept.push(stretch[low.max(high)]);
    }
    kept.push(run[run.len() - 1]);
    kept.dedup();
    kept
}

/// A linear axis with round ticks.
pub(crate) struct Axis {
    low: f64,
    high: f64,
    step: f64,
}

impl Axis {
    /// Holds all values; `None` without any.
    pub(crate) fn around(values: impl Iterator<Item = f64>) -> Option<Self> {
        let (low, high) =
            values.fold((f64::INFINITY, f64::NEG_INFINITY), |(low, high), v| (low.min(v), high.max(v)));
        if low > high {
            return None;
        }
        // A constant gets room on both sides. Spans beyond f64 are not drawn.
        let room = if low == high { low.abs().max(1.0) * 0.5 } else { 0.0 };
        let (low, high) = (low - room, high + room);
        let step = round_step((high - low) / TICKS);
        (high - low).is_finite().then(|| Self {
            low: (low / step + 1e-9).floor() * step,
            high: (high / step - 1e-9).ceil() * step,
            step,
        })
    }

    pub(crate) fn share(&self, value: f64) -> f64 {
        (value - self.low) / (self.high - self.low)
    }

    pub(crate) fn ticks(&self) -> impl Iterator<Item = f64> + '_ {
        (0..=((self.high - self.low) / self.step).round() as usize).map(|i| self.low + i as f64 * self.step)
    }

    pub(crate) fn name(&self, tick: f64) -> String {
        // Nothing but rounding is left of 0.
        let tick = if tick.abs() < self.step * 1e-6 { 0.0 } else { tick };
        let largest = self.low.abs().max(self.high.abs());
        if largest >= 1e6 || self.step < 1e-4 {
            return if tick == 0.0 { "0".to_owned() } else { format!("{tick:.1e}").replace('-', "−") };
        }
        let decimals = (-self.step.log10()).ceil().max(0.0) as usize;
        format!("{tick:.decimals$}").replace('-', "−")
    }
}

/// The smallest of 1, 2, 5 × 10ⁿ that is at least `step`.
fn round_step(step: f64) -> f64 {
    let power = 10f64.powf(step.log10().floor());
    [1.0, 2.0, 5.0, 10.0]
        .into_iter()
        .map(|m| m * power)
        .find(|&s| s >= step * (1.0 - 1e-9))
        .unwrap_or(10.0 * power)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn one(points: Vec<(f64, f64)>) -> Curve {
        let series = vec![Series { name: "a & b".into(), points }];
        Curve { title: "Loss".into(), x_label: "epoch".into(), y_label: "loss".into(), series }
    }

    #[test]
    fn ticks_are_round_and_hold_the_data() {
        let axis = Axis::around([0.03, 0.97].into_iter()).unwrap();
        assert_eq!(
            axis.ticks().map(|t| axis.name(t)).collect::<Vec<_>>(),
            ["0.0", "0.2", "0.4", "0.6", "0.8", "1.0"]
        );
        let axis = Axis::around([-3.0, 42.0].into_iter()).unwrap();
        assert_eq!(
            axis.ticks().map(|t| axis.name(t)).collect::<Vec<_>>(),
            ["−10", "0", "10", "20", "30", "40", "50"]
        );
        let axis = Axis::around([5.0].into_iter()).unwrap();
        assert!(axis.low < 5.0 && axis.high > 5.0);
        assert_eq!(round_step(0.3), 0.5);
        assert_eq!(round_step(0.2), 0.2);
    }

    #[test]
    fn missing_values_break_the_line_and_none_at_all_draws_nothing() {
        let svg = curve(&one(vec![(0.0, 1.0), (1.0, f64::NAN), (2.0, 0.5), (3.0, 0.25)])).unwrap();
        let path = svg.split("class=\"line c0\" d=\"").nth(1).unwrap().split('"').next().unwrap();
        assert_eq!(path.matches('M').count(), 2);
        assert!(path.contains("h0"), "a lone value is a dot: {path}");
        assert!(svg.contains("a &amp; b"));
        assert!(curve(&one(vec![(f64::NAN, 0.0)])).is_none());
        assert!(curve(&one(vec![])).is_none());
        assert!(curve(&one(vec![(0.0, f64::MAX), (1.0, f64::MIN)])).is_none());
    }

    #[test]
    fn a_long_line_is_thinned_but_keeps_its_peak_and_its_ends() {
        let mut points: Vec<(f64, f64)> = (0..50_000).map(|i| (f64::from(i), f64::from(i % 10))).collect();
        points[31_234].1 = 99.0;
        let kept = thin(&points);
        assert!(kept.len() <= SHOWN + 2 && kept.contains(&(31_234.0, 99.0)));
        assert_eq!((kept[0], kept[kept.len() - 1]), (points[0], points[49_999]));
        assert!(kept.is_sorted_by(|a, b| a.0 < b.0));
    }
}
