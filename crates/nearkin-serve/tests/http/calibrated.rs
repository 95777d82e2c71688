//! What a calibrated model adds to answers.

use nearkin_eval::{Calibration, Rate};
use nearkin_sweep::Metric;
use nearkin_train::Model;
use serde_json::{Value, json};

use crate::common::{DIM, Fixture, Running, png};

/// Distances up to 2 are those of kin, to calibrate the fixture's model by hand: its three classes are too few to be measured.
fn by_hand(fixture: &Fixture, metric: Metric) -> Calibration {
    Calibration {
        model: fixture.model().hash().into(),
        metric,
        data: "none".into(),
        samples: 100,
        classes: 50,
        wanted_false_accept_rate: 0.01,
        threshold: 2.0,
        false_accept_rate: 0.01,
        false_accepts: 48,
        false_accept_rate_interval: (0.005, 0.02),
        true_accept_rate: 0.9,
        true_accept_rate_interval: (0.8, 0.95),
        unknown_accept_rate: 0.1,
        nearest: (0..100).map(|i| 0.01 * i as f32).collect(),
        effective_samples: 80.0,
        curve: [(1.0, 0.001), (2.0, 0.01), (4.0, 0.5)]
            .map(|(score, false_accept_rate)| Rate { score, false_accept_rate })
            .to_vec(),
    }
}

/// A server whose model is calibrated.
fn calibrated(metric: Metric) -> Running {
    Running::prepared(|fixture| {
        Model::write_calibration(&fixture.model_folder(), &by_hand(fixture, metric)).unwrap();
    })
}

fn search(server: &Running, from_first: f32, k: usize) -> Value {
    let item = server.post_picture("/v1/embed", &png("dots", 0)).json();
    let mut vector: Vec<f32> = serde_json::from_value(item["vectors"][0].clone()).unwrap();
    // Away from all rows along one axis, where only this one matters.
    vector[DIM - 1] += from_first;
    let body = json!({ "queries": [{ "vector": vector }], "k": k }).to_string();
    server.post_json("/v1/search", &body).json()["results"][0].clone()
}

#[test]
fn answers_say_whether_they_are_known_and_how_often_a_stranger_is_as_near() {
    let server = calibrated(Metric::Euclidean);
    let near = search(&server, 0.0, 3);
    assert_eq!((&near["known"], &near["hits"][0]["accepted"]), (&json!(true), &json!(true)));
    assert!(near["false_accept_rate"].as_f64().unwrap() <= 0.001, "{near}");
    let far = search(&server, 1e3, 3);
    assert_eq!((&far["known"], &far["false_accept_rate"]), (&json!(false), &json!(1.0)));
    let hits = far["hits"].as_array().unwrap();
    assert!(hits.len() == 3 && hits.iter().all(|hit| hit["accepted"] == false), "{far}");
}

#[test]
fn a_model_without_a_calibration_says_nothing_of_it() {
    let server = Running::new(|_, _| {});
    let found = search(&server, 0.0, 1);
    assert!(found.get("known").is_none() && found.get("false_accept_rate").is_none(), "{found}");
    assert!(found["hits"][0].get("accepted").is_none());
    server.get("/v1/drift").assert_error(404, "no_calibration");
}

#[test]
fn a_threshold_of_another_metric_is_not_used() {
    let server = calibrated(Metric::Cosine);
    assert!(search(&server, 0.0, 1).get("known").is_none());
    server.get("/v1/drift").assert_error(404, "no_calibration");
}

#[test]
fn queries_from_elsewhere_have_drifted_and_those_of_the_index_itself_do_not_count() {
    let server = calibrated(Metric::Euclidean);
    server.get("/v1/drift").assert_error(409, "too_few_queries");
    for _ in 0..20 {
        server.assert_well();
    }
    let within = json!({ "queries": [{ "vector": [1.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0] }], "filter": "label = 'dots'" });
    assert_eq!(server.post_json("/v1/search", &within.to_string()).status, 200);
    server.get("/v1/drift").assert_error(409, "too_few_queries");
    for _ in 0..20 {
        search(&server, 1e3, 1);
    }
    let drift = server.get("/v1/drift").json();
    assert_eq!(
        (&drift["live"], &drift["calibration"], &drift["statistic"]),
        (&json!(20), &json!(100), &json!(1.0))
    );
    assert!(drift["p_value"].as_f64().unwrap() < 1e-6, "{drift}");
}
