//! What a well-behaved client gets.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use nearkin_serve::Options;
use serde_json::json;

use crate::common::{CLASSES, DIM, Fixture, PER_CLASS, Running, png};

fn plain() -> Running {
    Running::new(|_, _| {})
}

#[test]
fn a_picture_finds_itself() {
    let server = plain();
    for class in CLASSES {
        let reply = server.post_picture("/v1/search?k=5", &png(class, 3));
        assert_eq!(reply.status, 200, "{}", reply.text());
        let found = reply.json();
        assert_eq!(found["metric"], "euclidean");
        let hits = found["results"][0]["hits"].as_array().unwrap();
        assert_eq!(hits.len(), 5);
        assert_eq!(hits[0]["id"], format!("{class}/3.png"));
        // The same pixels, though they went through the network in other company.
        assert!(hits[0]["score"].as_f64().unwrap() < 1e-3, "{}", hits[0]);
        assert_eq!(hits[0]["rank"], 1);
        assert_eq!(hits[0]["label"], class);
    }
}

#[test]
fn pictures_vectors_and_ids_are_searched_in_one_request() {
    let server = plain();
    let image = STANDARD.encode(png("rings", 2));
    let embedded = server.post_json("/v1/embed", &json!({ "images": [image, image] }).to_string()).json();
    assert_eq!(embedded["dimension"], DIM);
    assert_eq!(embedded["vectors"][0], embedded["vectors"][1]);
    let raw = server.post_picture("/v1/embed", &png("rings", 2)).json();
    assert_eq!(raw["model"], embedded["model"]);
    let vector = embedded["vectors"][0].clone();
    let body =
        json!({ "queries": [{ "image": image }, { "vector": vector }, { "id": "rings/2.png" }], "k": 4 });
    let found = server.post_json("/v1/search", &body.to_string()).json();
    let ids = |query: usize| -> Vec<String> {
        let hits = found["results"][query]["hits"].as_array().unwrap();
        hits.iter().map(|hit| hit["id"].as_str().unwrap().to_owned()).collect()
    };
    assert_eq!(ids(0), ids(1));
    assert_eq!(ids(0)[0], "rings/2.png");
    // An indexed item is not its own neighbour, and has as many others as were asked for.
    assert_eq!(ids(2).len(), 4);
    assert_eq!(ids(2)[..3], ids(0)[1..]);
}

#[test]
fn many_clients_at_once_get_each_their_own_answer() {
    let server = plain();
    std::thread::scope(|scope| {
        for class in CLASSES {
            for i in 0..PER_CLASS {
                let server = &server;
                scope.spawn(move || {
                    let found = server.post_picture("/v1/search?k=1", &png(class, i)).json();
                    assert_eq!(found["results"][0]["hits"][0]["id"], format!("{class}/{i}.png"));
                });
            }
        }
    });
    assert_eq!(server.metric("nearkin_pictures_embedded_total"), 30.0);
    assert_eq!(server.metric("nearkin_search_batch_sum"), 30.0);
}

#[test]
fn a_row_is_told_with_its_columns_and_its_picture() {
    let server = plain();
    let item = server.get("/v1/item?id=stripes%2F4.png").json();
    assert_eq!((&item["label"], &item["columns"]["size"]), (&json!("stripes"), &json!("24")));
    assert!(item["path"].as_str().unwrap().ends_with("4.png"));
    let picture = server.get("/v1/picture?id=stripes%2F4.png");
    assert_eq!(picture.header("content-type"), Some("image/png"));
    assert_eq!(image::load_from_memory(&picture.body).unwrap().height(), 24);
    server.get("/v1/item?id=nothing").assert_error(404, "unknown_id");
    server.get("/v1/picture").assert_error(422, "invalid_value");
}

#[test]
fn health_metrics_and_the_description_are_there() {
    let server = plain();
    let health = server.get("/health").json();
    assert_eq!(health["index"]["storage"], "f32");
    assert_eq!((&health["status"], &health["index"]["rows"]), (&json!("ok"), &json!(30)));
    assert_eq!(health["index"]["model"], health["model"]["hash"]);
    server.assert_well();
    let metrics = server.get("/metrics");
    assert_eq!(metrics.header("content-type"), Some("text/plain; version=0.0.4; charset=utf-8"));
    assert!(metrics.text().contains("nearkin_requests_total{route=\"/v1/search\",status=\"200\"} 1"));
    assert_eq!(server.get("/openapi.json").json()["info"]["title"], "nearkin");
    let head = server.request("HEAD", "/health", &[], b"");
    assert_eq!((head.status, head.body.len()), (200, 0));
}

#[test]
fn a_token_is_asked_for_where_one_is_set() {
    let token = "correct-horse-battery";
    let server = Running::new(|options, _| options.token = Some(token.into()));
    let body = br#"{"queries": [{"id": "dots/0.png"}]}"#;
    let ask = |sent: &str| {
        let headers = [("content-type", "application/json"), ("authorization", sent)];
        server.request("POST", "/v1/search", &headers, body)
    };
    assert_eq!(ask("Bearer correct-horse-battery").status, 200);
    for wrong in ["Bearer correct-horse-batterx", "Bearer ", "correct-horse-battery"] {
        let reply = ask(wrong);
        reply.assert_error(401, "unauthorized");
        assert_eq!(reply.header("www-authenticate"), Some("Bearer"));
    }
    server.get("/metrics").assert_error(401, "unauthorized");
    assert_eq!(server.get("/health").status, 200);
}

#[test]
fn what_is_not_served_says_how_to_serve_it() {
    let without = Running::new(|_, served| served.model = None);
    let error = without.post_picture("/v1/search", &png("dots", 0)).assert_error(404, "no_model");
    assert!(error["message"].as_str().unwrap().contains("--model"));
    without.assert_well();
    let nothing = Running::new(|_, served| served.index = None);
    nothing.post_json("/v1/search", r#"{"queries": [{"id": "a"}]}"#).assert_error(404, "no_index");
}

#[test]
fn another_model_is_refused_before_anyone_connects() {
    let (fixture, other) = (Fixture::new(), Fixture::new());
    let card = other.path().join("model/model.toml");
    let changed = std::fs::read_to_string(&card).unwrap().replace("untrained", "another");
    std::fs::write(&card, changed).unwrap();
    let mut served = fixture.served();
    served.model = Some(other.model());
    let error = nearkin_serve::Server::start(served, Options::at(([127, 0, 0, 1], 0).into()))
        .map(|_| ())
        .unwrap_err();
    assert!(
        matches!(error, nearkin_serve::ServeError::Index(nearkin_index::IndexError::OtherModel { .. })),
        "{error}"
    );
}
