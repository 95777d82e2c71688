//! Rows come and go.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use nearkin_index::Snapshot;
use nearkin_serve::Store;
use serde_json::{Value, json};

use crate::common::{CLASSES, DIM, Fixture, PER_CLASS, Running, png};

fn vector(x: f32) -> Vec<f32> {
    (0..DIM).map(|i| if i == 0 { x } else { 0.0 }).collect()
}

fn ids(found: &Value) -> Vec<&str> {
    found["results"][0]["hits"].as_array().unwrap().iter().map(|hit| hit["id"].as_str().unwrap()).collect()
}

#[test]
fn rows_are_added_found_replaced_and_deleted() {
    let server = Running::new(|_, _| {});
    let items = json!({ "items": [
        { "id": "far", "vector": vector(1e4), "label": "new", "columns": { "size": "99" } },
        { "id": "farther", "vector": vector(2e4) },
        { "id": "drawn", "image": STANDARD.encode(png("rings", 33)), "label": "rings" },
    ] });
    let added = server.post_json("/v1/items", &items.to_string());
    assert_eq!((added.status, added.json()), (200, json!({ "added": 3, "replaced": 0 })));
    let search = |x: f32| {
        let body = json!({ "queries": [{ "vector": vector(x) }], "k": 2 });
        server.post_json("/v1/search", &body.to_string()).json()
    };
    assert_eq!(ids(&search(1.2e4)), ["far", "farther"]);
    let item = server.get("/v1/item?id=far").json();
    assert_eq!((&item["label"], &item["columns"]["size"]), (&json!("new"), &json!("99")));
    // What came as a picture is found by it.
    let found = server.post_picture("/v1/search?k=1", &png("rings", 33)).json();
    assert_eq!(ids(&found), ["drawn"]);
    // An id that is there is refused, and nothing of that request is added.
    let again = json!({ "items": [{ "id": "other", "vector": vector(0.0) }, { "id": "far", "vector": vector(0.0) }] });
    let error = server.post_json("/v1/items", &again.to_string()).assert_error(409, "id_exists");
    assert_eq!(error["id"], "far");
    server.get("/v1/item?id=other").assert_error(404, "unknown_id");
    let replace = json!({ "items": [{ "id": "far", "vector": vector(3e4) }], "replace": true });
    assert_eq!(
        server.post_json("/v1/items", &replace.to_string()).json(),
        json!({ "added": 0, "replaced": 1 })
    );
    assert_eq!(ids(&search(3e4))[0], "far");
    let picture = server.post_picture("/v1/items?id=sent&label=dots", &png("dots", 44));
    assert_eq!(picture.json()["added"], 1);
    let deleted = server.post_json("/v1/items/delete", r#"{"ids": ["far", "farther", "nothing"]}"#).json();
    assert_eq!(deleted, json!({ "deleted": 2, "missing": ["nothing"] }));
    assert!(!ids(&search(3e4)).contains(&"far"));
    assert_eq!(server.request("DELETE", "/v1/item?id=sent", &[], b"").json()["deleted"], 1);
    server.request("DELETE", "/v1/item?id=sent", &[], b"").assert_error(404, "unknown_id");
    assert_eq!(server.get("/health").json()["index"]["rows"], 31);
}

#[test]
fn what_was_answered_is_on_disk_and_a_compaction_keeps_it() {
    let fixture = Fixture::new();
    let path = fixture.index();
    let server = Running::new(|_, served| served.index = Some(Store::open(&path).unwrap()));
    let add = |id: &str| {
        let body = json!({ "items": [{ "id": id, "vector": vector(7.0) }] });
        assert_eq!(server.post_json("/v1/items", &body.to_string()).status, 200);
    };
    add("one");
    assert!(Snapshot::open(&path).unwrap().find("one").is_some());
    server.post_json("/v1/items/delete", r#"{"ids": ["dots/0.png"]}"#);
    assert_eq!(server.get("/health").json()["index"]["pending"], json!({ "added": 1, "deleted": 1 }));
    assert_eq!(server.request("POST", "/v1/compact", &[], b"").json()["rows"], 30);
    assert_eq!(server.metric("nearkin_index_pending_added"), 0.0);
    add("two");
    let on_disk = Snapshot::open(&path).unwrap();
    assert!(
        on_disk.find("one").is_some()
            && on_disk.find("two").is_some()
            && on_disk.find("dots/0.png").is_none()
    );
    drop(server);
}

#[test]
fn a_filter_lets_some_rows_through() {
    let server = Running::new(|_, _| {});
    let search = |filter: &str| {
        let body = json!({ "queries": [{ "id": "dots/0.png" }], "k": 30, "filter": filter });
        server.post_json("/v1/search", &body.to_string())
    };
    let found = search("label = 'rings' and size >= 15").json();
    let mut rows = ids(&found);
    rows.sort_unstable();
    assert_eq!(rows, ["rings/5.png", "rings/6.png", "rings/7.png", "rings/8.png", "rings/9.png"]);
    let error = search("label = 'rings' nad size >= 15").assert_error(422, "invalid_filter");
    assert_eq!(error["position"], 16);
    search("colour = 'red'").assert_error(422, "invalid_filter");
    let by_path = server.post_picture("/v1/search?k=30&filter=size%20%3C%203", &png("dots", 0)).json();
    assert_eq!(ids(&by_path).len(), 3);
}

#[test]
fn what_cannot_be_added_is_refused() {
    let server = Running::new(|_, _| {});
    let add = |item: Value| server.post_json("/v1/items", &json!({ "items": [item] }).to_string());
    add(json!({ "id": "a", "vector": [1.0] })).assert_error(422, "other_dimension");
    add(json!({ "id": "a", "vector": vec![1e39; DIM] })).assert_error(422, "invalid_value");
    add(json!({ "id": "a", "vector": vec![1e30; DIM] })).assert_error(422, "invalid_value");
    add(json!({ "id": "a", "image": "###" })).assert_error(422, "invalid_value");
    add(json!({ "id": 7, "vector": vector(1.0) })).assert_error(422, "invalid_value");
    add(json!({ "id": "a" })).assert_error(422, "invalid_value");
    add(json!({ "id": "a", "vector": vector(1.0), "image": "" })).assert_error(422, "invalid_value");
    add(json!({ "id": "", "vector": vector(1.0) })).assert_error(422, "invalid_value");
    add(json!({ "id": "a", "vector": vector(1.0), "columns": { "label": "x" } }))
        .assert_error(422, "invalid_value");
    add(json!({ "id": "a", "vector": vector(1.0), "path": "/etc/passwd" }))
        .assert_error(422, "invalid_value");
    server.post_json("/v1/items", r#"{"items": []}"#).assert_error(422, "invalid_value");
    let many: Vec<_> = (0..1001).map(|i| json!({ "id": i.to_string(), "vector": vector(1.0) })).collect();
    server.post_json("/v1/items", &json!({ "items": many }).to_string()).assert_error(422, "invalid_value");
    server.post_picture("/v1/items", &png("dots", 1)).assert_error(422, "invalid_value");
    server.post_picture("/v1/items?id=a&replace=perhaps", &png("dots", 1)).assert_error(422, "invalid_value");
    server.post_json("/v1/items/delete", r#"{"ids": []}"#).assert_error(422, "invalid_value");
    server.post_json("/v1/items/delete", r#"{"ids": [7]}"#).assert_error(422, "invalid_value");
    server.request("DELETE", "/v1/item", &[], b"").assert_error(422, "invalid_value");
    let twice =
        json!({ "items": [{ "id": "a", "vector": vector(1.0) }, { "id": "a", "vector": vector(1.0) }] });
    server.post_json("/v1/items", &twice.to_string()).assert_error(422, "invalid_value");
    assert_eq!(server.get("/health").json()["index"]["rows"], 30);
}

#[test]
fn the_last_rows_may_go_and_a_compaction_of_nothing_says_so() {
    let server = Running::new(|_, _| {});
    let all: Vec<String> =
        CLASSES.iter().flat_map(|class| (0..PER_CLASS).map(move |i| format!("{class}/{i}.png"))).collect();
    let deleted = server.post_json("/v1/items/delete", &json!({ "ids": all }).to_string()).json();
    assert_eq!(deleted, json!({ "deleted": 30, "missing": [] }));
    server.request("POST", "/v1/compact", &[], b"").assert_error(409, "nothing_left");
    let body = json!({ "queries": [{ "vector": vector(1.0) }] }).to_string();
    assert_eq!(ids(&server.post_json("/v1/search", &body).json()), [""; 0]);
    let body = json!({ "items": [{ "id": "new", "vector": vector(1.0) }] }).to_string();
    assert_eq!(server.post_json("/v1/items", &body).json()["added"], 1);
    assert_eq!(server.request("POST", "/v1/compact", &[], b"").json()["rows"], 1);
}

#[test]
fn a_server_that_only_reads_changes_nothing() {
    let fixture = Fixture::new();
    let path = fixture.index();
    let server = Running::new(|_, served| served.index = Some(Store::open_read_only(&path).unwrap()));
    let body = json!({ "items": [{ "id": "a", "vector": vector(1.0) }] }).to_string();
    server.post_json("/v1/items", &body).assert_error(403, "read_only");
    server.post_json("/v1/items/delete", r#"{"ids": ["dots/0.png"]}"#).assert_error(403, "read_only");
    server.request("DELETE", "/v1/item?id=dots%2F0.png", &[], b"").assert_error(403, "read_only");
    server.request("POST", "/v1/compact", &[], b"").assert_error(403, "read_only");
    server.assert_well();
}

#[test]
fn searches_go_on_while_rows_come_and_go() {
    let server = Running::new(|_, _| {});
    std::thread::scope(|scope| {
        for client in 0..4 {
            let server = &server;
            scope.spawn(move || {
                for i in 0..25 {
                    let id = format!("row/{client}/{i}");
                    let body = json!({ "items": [{ "id": id, "vector": vector(i as f32) }] });
                    assert_eq!(server.post_json("/v1/items", &body.to_string()).json()["added"], 1);
                    server.assert_well();
                    if i % 2 == 0 {
                        assert_eq!(
                            server.post_json("/v1/items/delete", &json!({ "ids": [id] }).to_string()).json()
                                ["deleted"],
                            1
                        );
                    }
                    if i == 12 {
                        assert_eq!(server.request("POST", "/v1/compact", &[], b"").status, 200);
                    }
                }
            });
        }
    });
    assert_eq!(server.get("/health").json()["index"]["rows"], 30 + 4 * 12);
}
