//! The report as a file and as HTML.

use nearkin_eval::{
    Bars, ClassRow, Comparison, Curve, EvalError, Hit, Map, MetricRow, Picture, QueryRow, Report, Series,
};

const HOSTILE: &str = "</style><script>alert(\"x\")</script><img src=x onerror='y'>&amp;\u{7}";

fn hostile() -> String {
    HOSTILE.to_owned()
}

/// Everything a user can name is hostile, and every section is there.
fn full() -> Report {
    let picture = Picture { png: vec![1, 2, 3], caption: hostile() };
    let hit = |right| Hit { picture: picture.clone(), right, score: 0.5 };
    Report {
        title: hostile(),
        subtitle: hostile(),
        command: hostile(),
        facts: vec![(hostile(), hostile())],
        metrics: vec![
            MetricRow { name: hostile(), learned: 0.9, baseline: Some(0.5), interval: Some((0.8, 1.0)) },
            MetricRow { name: "recall_at_4".into(), learned: f64::NAN, baseline: None, interval: None },
            MetricRow { name: "effective_rank".into(), learned: 17.25, baseline: Some(40.0), interval: None },
        ],
        baseline_name: hostile(),
        curves: vec![Curve {
            title: hostile(),
            x_label: hostile(),
            y_label: hostile(),
            series: vec![Series {
                name: hostile(),
                points: vec![(0.0, 1.0), (1.0, f64::INFINITY), (2.0, 0.5)],
            }],
        }],
        comparison: Some(Comparison {
            hint: hostile(),
            measures: vec![(hostile(), true), ("seconds".into(), false)],
            rows: vec![(hostile(), vec![Some(0.5), None]), ("pca".into(), vec![Some(f64::NAN), Some(2.0)])],
        }),
        maps: vec![
            Map {
                title: hostile(),
                hint: hostile(),
                points: vec![[0.0, 1.0], [2.0, f32::NAN], [1.0, 1.0]],
                labels: vec![0, 0, 3],
                classes: vec![hostile()],
                unseen: vec![true, false, false],
            },
            Map { points: vec![[0.0, 1.0]], labels: vec![0], ..Map::default() },
        ],
        springs: None,
        bars: vec![Bars {
            title: hostile(),
            hint: hostile(),
            rows: (0..25).map(|i| (hostile(), f64::from(i))).chain([(hostile(), f64::NAN)]).collect(),
        }],
        sheet: vec![QueryRow {
            query: picture.clone(),
            hits: vec![hit(Some(true)), hit(Some(false)), hit(None)],
        }],
        per_class: (0..25)
            .map(|i| ClassRow { name: hostile(), queries: i, precision_at_1: 0.5, map_at_r: 0.1 * i as f64 })
            .collect(),
        notes: vec![hostile()],
        skipped: vec![(hostile(), hostile())],
    }
}

/// Names of the elements, checked to close in the order they open.
fn elements(html: &str) -> Vec<String> {
    let mut open: Vec<String> = Vec::new();
    let mut seen = Vec::new();
    let mut rest = html;
    while let Some(start) = rest.find('<') {
        let end = start + rest[start..].find('>').expect("a tag ends");
        let tag = &rest[start + 1..end];
        let name: String =
            tag.trim_start_matches('/').chars().take_while(|c| c.is_ascii_alphanumeric()).collect();
        assert_eq!(tag.matches('"').count() % 2, 0, "quotes are balanced in <{tag}>");
        if let Some(closed) = tag.strip_prefix('/') {
            assert_eq!(open.pop().as_deref(), Some(closed));
        } else if !(tag.starts_with('!')
            || tag.ends_with('/')
            || ["meta", "img", "br", "wbr"].contains(&name.as_str()))
        {
            open.push(name.clone());
            seen.push(name);
        }
        rest = &rest[end + 1..];
    }
    assert!(open.is_empty(), "never closed: {open:?}");
    seen
}

#[test]
fn a_full_report_is_balanced_and_loads_nothing() {
    let html = full().to_html();
    let elements = elements(&html);
    for wanted in ["html", "h1", "table", "svg", "figure", "details"] {
        assert!(elements.iter().any(|name| name == wanted), "no <{wanted}>");
    }
    assert!(!elements.iter().any(|name| ["script", "link", "iframe"].contains(&name.as_str())));
    for outside in ["http:", "https:", "url(", "@import", "<img src=x"] {
        assert!(!html.contains(outside), "{outside}");
    }
    assert!(html.matches("src=\"").count() == html.matches("src=\"data:image/png;base64,").count());
    assert!(html.contains("base64,AQID"));
    assert!(!html.contains("NaN") && !html.contains("inf"), "numbers that are none are dashes");
}

#[test]
fn right_and_wrong_are_told_by_a_sign_too() {
    let html = full().to_html();
    assert!(html.contains("aria-label=\"right\">✓") && html.contains("aria-label=\"wrong\">✗"));
    assert!(html.contains("How often at least one of the 4 nearest"));
}

#[test]
fn the_worst_classes_come_first_and_many_are_folded() {
    let html = full().to_html();
    let table = html.split("<caption>Retrieval by class, worst first").nth(1).unwrap();
    let first = table.split("<tr>").nth(2).unwrap();
    assert!(first.contains("<td class=\"num\">0</td>"), "{first}");
    assert!(html.contains("5 more classes"));
}

#[test]
fn an_empty_report_is_only_a_frame() {
    let html = Report { title: "Empty".into(), ..Report::default() }.to_html();
    assert_eq!(elements(&html), ["html", "head", "title", "style", "body", "main", "header", "h1", "footer"]);
}

#[test]
fn writing_leaves_one_whole_file_and_names_a_missing_folder() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("report.html");
    full().write(&path).unwrap();
    full().write(&path).unwrap();
    assert_eq!(std::fs::read_to_string(&path).unwrap(), full().to_html());
    assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 1);

    let nowhere = folder.path().join("missing").join("report.html");
    let error = full().write(&nowhere).unwrap_err();
    assert!(matches!(error, EvalError::Write { .. }) && error.to_string().contains("missing"));
}
