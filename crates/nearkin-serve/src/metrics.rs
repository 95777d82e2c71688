//! What a server counts, in Prometheus' text format.

use std::collections::BTreeMap;
use std::fmt::Write;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use hyper::StatusCode;

/// Seconds, from half a millisecond to half a minute.
const SECONDS: [f64; 14] =
    [5e-4, 1e-3, 2.5e-3, 5e-3, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 10.0, 30.0];
const SIZES: [f64; 9] = [1.0, 2.0, 4.0, 8.0, 16.0, 32.0, 64.0, 128.0, 256.0];

/// How often values were at most so large.
#[derive(Debug)]
pub(crate) struct Histogram {
    bounds: &'static [f64],
    /// One more than bounds.
    counts: Vec<AtomicU64>,
    /// In millionths: seconds and sizes alike fit.
    sum: AtomicU64,
}

impl Histogram {
    pub fn of_seconds() -> Self {
        Self::new(&SECONDS)
    }

    pub fn of_sizes() -> Self {
        Self::new(&SIZES)
    }

    fn new(bounds: &'static [f64]) -> Self {
        let counts = (0..=bounds.len()).map(|_| AtomicU64::new(0)).collect();
        Self { bounds, counts, sum: AtomicU64::new(0) }
    }

    pub fn observe(&self, value: f64) {
        let bucket = self.bounds.partition_point(|bound| *bound < value);
        self.counts[bucket].fetch_add(1, Ordering::Relaxed);
        self.sum.fetch_add((value * 1e6) as u64, Ordering::Relaxed);
    }

    /// The lines of a histogram; `labels` go between the braces, and end with a comma if there are any.
    pub fn write(&self, out: &mut String, name: &str, labels: &str) {
        let mut below = 0;
        let bounds = self.bounds.iter().map(f64::to_string).chain(["+Inf".to_owned()]);
        for (count, bound) in self.counts.iter().zip(bounds) {
            below += count.load(Ordering::Relaxed);
            // Writing to a string cannot fail.
            let _ = writeln!(out, "{name}_bucket{{{labels}le=\"{bound}\"}} {below}");
        }
        let braced = match labels.trim_end_matches(',') {
            "" => String::new(),
            labels => format!("{{{labels}}}"),
        };
        let sum = self.sum.load(Ordering::Relaxed) as f64 / 1e6;
        let _ = writeln!(out, "{name}_sum{braced} {sum}\n{name}_count{braced} {below}");
    }
}

/// Requests by route.
#[derive(Debug, Default)]
pub(crate) struct Requests {
    routes: Mutex<BTreeMap<&'static str, Route>>,
}

#[derive(Debug)]
struct Route {
    statuses: BTreeMap<u16, u64>,
    seconds: Histogram,
}

impl Requests {
    pub fn count(&self, route: &'static str, status: StatusCode, took: Duration) {
        let mut routes = self.routes.lock().unwrap_or_else(PoisonError::into_inner);
        let route = routes
            .entry(route)
            .or_insert_with(|| Route { statuses: BTreeMap::new(), seconds: Histogram::of_seconds() });
        *route.statuses.entry(status.as_u16()).or_default() += 1;
        route.seconds.observe(took.as_secs_f64());
    }

    pub fn write(&self, out: &mut String) {
        let routes = self.routes.lock().unwrap_or_else(PoisonError::into_inner);
        head(out, "nearkin_requests_total", "counter", "Requests answered.");
        for (route, Route { statuses, .. }) in routes.iter() {
            for (status, count) in statuses {
                let _ =
                    writeln!(out, "nearkin_requests_total{{route=\"{route}\",status=\"{status}\"}} {count}");
            }
        }
        head(out, "nearkin_request_seconds", "histogram", "Seconds from a request's head to its answer.");
        for (route, Route { seconds, .. }) in routes.iter() {
            seconds.write(out, "nearkin_request_seconds", &format!("route=\"{route}\","));
        }
    }
}

/// The two lines before a metric.
pub(crate) fn head(out: &mut String, name: &str, kind: &str, help: &str) {
    let _ = writeln!(out, "# HELP {name} {help}\n# TYPE {name} {kind}");
}

/// A metric of one value.
pub(crate) fn value(out: &mut String, name: &str, kind: &str, help: &str, value: impl std::fmt::Display) {
    head(out, name, kind, help);
    let _ = writeln!(out, "{name} {value}");
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn buckets_count_what_is_at_most_their_bound() {
        let sizes = Histogram::of_sizes();
        [1.0, 3.0, 4.0, 1000.0].into_iter().for_each(|size| sizes.observe(size));
        let mut text = String::new();
        sizes.write(&mut text, "batch", "");
        let wanted = [
            "batch_bucket{le=\"1\"} 1",
            "batch_bucket{le=\"2\"} 1",
            "batch_bucket{le=\"4\"} 3",
            "batch_bucket{le=\"256\"} 3",
            "batch_bucket{le=\"+Inf\"} 4",
            "batch_sum 1008",
            "batch_count 4",
        ];
        wanted.iter().for_each(|line| assert!(text.lines().any(|l| l == *line), "no '{line}' in\n{text}"));
    }

    #[test]
    fn requests_are_counted_by_route_and_status() {
        let requests = Requests::default();
        requests.count("/v1/search", StatusCode::OK, Duration::from_millis(3));
        requests.count("/v1/search", StatusCode::OK, Duration::from_millis(30));
        requests.count("/v1/search", StatusCode::NOT_FOUND, Duration::ZERO);
        let mut text = String::new();
        requests.write(&mut text);
        for line in [
            "nearkin_requests_total{route=\"/v1/search\",status=\"200\"} 2",
            "nearkin_requests_total{route=\"/v1/search\",status=\"404\"} 1",
            "nearkin_request_seconds_bucket{route=\"/v1/search\",le=\"0.005\"} 2",
            "nearkin_request_seconds_count{route=\"/v1/search\"} 3",
        ] {
            assert!(text.lines().any(|l| l == line), "no '{line}' in\n{text}");
        }
    }
}
