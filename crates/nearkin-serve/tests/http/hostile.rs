//! What a hostile or broken client gets: a clear answer, and nothing of what others have.

use std::io::{Read, Write};
use std::thread;
use std::time::{Duration, Instant};

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use image::GrayImage;
use serde_json::json;

use crate::common::{Reply, Running, encode, head, png};

const SEARCH: &str = r#"{"queries": [{"id": "dots/0.png"}], "k": 3}"#;

/// Everything that takes a body of JSON.
const TAKE_JSON: [&str; 5] = ["/v1/search", "/v1/embed", "/v1/items", "/v1/items/delete", "/v1/springs"];
/// Everything that takes a picture.
const TAKE_PICTURES: [&str; 3] = ["/v1/search", "/v1/embed", "/v1/items?id=new"];

fn plain() -> Running {
    Running::new(|_, _| {})
}

#[test]
fn malformed_bodies_are_told_where_they_break() {
    let server = plain();
    server.post_json("/v1/search", "{\"queries\": [}").assert_error(400, "malformed_body");
    server.post_json("/v1/items", "{\"items\": [}").assert_error(400, "malformed_body");
    server.post_json("/v1/items/delete", "{\"ids\": [}").assert_error(400, "malformed_body");
    let deep = "[".repeat(100_000);
    for path in TAKE_JSON {
        let reply = server.post_json(path, &deep);
        assert!(reply.status == 400 || reply.status == 422, "{path}: {}", reply.text());
    }
    for broken in ["", "{", "{\"", "\u{0}\u{1}", "nonsense"] {
        for path in TAKE_JSON {
            let error = server.post_json(path, broken).assert_error(400, "malformed_body");
            assert!(
                error["line"].as_u64().is_some() && error["column"].as_u64().is_some(),
                "{path}: {error}"
            );
        }
    }
    for path in TAKE_JSON {
        server.request("POST", path, &[], b"{}").assert_error(415, "unsupported_media_type");
        server.post_json(path, "[]").assert_error(422, "invalid_value");
        server.post_json(path, r#"{"unknown": 1}"#).assert_error(422, "invalid_value");
        server.post_json(&format!("{path}?unknown=1"), "{}").assert_error(422, "invalid_value");
    }
    for wrong in [
        "[]",
        "{}",
        "{\"queries\": 3}",
        "{\"queries\": [{\"vector\": [\"a\"]}]}",
        "{\"queries\": [{\"vektor\": [1]}]}",
        "{\"queries\": [{\"id\": \"dots/0.png\"}], \"n\": 3}",
        "{\"queries\": [{\"id\": \"dots/0.png\"}], \"k\": -1}",
        "{\"queries\": [{\"id\": \"dots/0.png\"}], \"k\": 1.5}",
        "{\"queries\": []}",
        "{\"queries\": [{\"image\": \"###\"}]}",
        "{\"queries\": [{\"vector\": [1e39, 0, 0, 0, 0, 0, 0, 0]}]}",
        "{\"queries\": [{\"id\": \"dots/0.png\"}], \"k\": 0}",
        "{\"queries\": [{\"id\": \"dots/0.png\"}], \"k\": 18446744073709551615}",
        "{\"queries\": [{\"id\": \"dots/0.png\"}], \"ef\": 0}",
    ] {
        server.post_json("/v1/search", wrong).assert_error(422, "invalid_value");
    }
    let both = "{\"queries\": [{\"id\": \"dots/0.png\", \"vector\": [1]}]}";
    server.post_json("/v1/search", both).assert_error(400, "malformed_body");
    let not_utf8 =
        server.request("POST", "/v1/search", &[("content-type", "application/json")], b"{\"\xff\": 1}");
    assert!((400..500).contains(&not_utf8.status), "{}", not_utf8.text());
    server
        .post_json("/v1/search", "{\"queries\": [{\"vector\": [1, 2]}]}")
        .assert_error(422, "other_dimension");
    server.post_json("/v1/search", "{\"queries\": [{\"id\": \"none\"}]}").assert_error(404, "unknown_id");
    let many = format!("{{\"queries\": [{}]}}", vec!["{\"id\": \"dots/0.png\"}"; 1001].join(","));
    server.post_json("/v1/search", &many).assert_error(422, "invalid_value");
    server.request("POST", "/v1/search", &[], SEARCH.as_bytes()).assert_error(415, "unsupported_media_type");
    server.assert_well();
}

#[test]
fn unknown_paths_methods_and_parameters_are_refused_by_name() {
    let server = plain();
    server.get("/v1/serch").assert_error(404, "unknown_path");
    let wrong = server.request("DELETE", "/v1/search", &[], b"");
    wrong.assert_error(405, "method_not_allowed");
    assert_eq!(wrong.header("allow"), Some("POST"));
    let error = server.post_picture("/v1/search?q=3", &png("dots", 0)).assert_error(422, "invalid_value");
    assert!(error["message"].as_str().unwrap().contains("'q'"), "{error}");
    server.post_picture("/v1/search?k=many", &png("dots", 0)).assert_error(422, "invalid_value");
    server.assert_well();
}

#[test]
fn what_is_not_http_is_refused() {
    let server = plain();
    for garbage in
        [&b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03"[..], b"hello\r\n\r\n", b"GET / HTTP/9.9\r\n\r\n"]
    {
        let mut stream = server.connect();
        stream.write_all(garbage).unwrap();
        stream.shutdown(std::net::Shutdown::Write).unwrap();
        let mut answer = Vec::new();
        let _ = stream.read_to_end(&mut answer);
        if !answer.is_empty() {
            let status = Reply::parse(&answer).status;
            assert!((400..600).contains(&status), "{status}");
        }
    }
    let long = "x".repeat(200_000);
    let mut stream = server.connect();
    let _ = stream.write_all(&head("GET", "/health", &[("x-long", &long)], 0));
    let mut answer = Vec::new();
    let _ = stream.read_to_end(&mut answer);
    if !answer.is_empty() {
        assert_eq!(Reply::parse(&answer).status, 431);
    }
    server.assert_well();
}

#[test]
fn a_body_that_is_too_large_is_refused_before_it_is_held() {
    let server = Running::with_limits(|limits| limits.body = 10_000);
    let mut stream = server.connect();
    stream.write_all(&head("POST", "/v1/search", &[("content-type", "image/png")], 10_000_000_000)).unwrap();
    stream.write_all(&[0; 5000]).unwrap();
    let error = Reply::read(stream).assert_error(413, "too_large");
    assert_eq!(error["max_bytes"], 10_000);
    // All of it sent, which is refused all the same, and heard.
    for path in TAKE_PICTURES {
        server.post_picture(path, &vec![0; 1_000_000]).assert_error(413, "too_large");
    }
    for path in TAKE_JSON {
        server.post_json(path, &"x".repeat(1_000_000)).assert_error(413, "too_large");
    }
    let mut stream = server.connect();
    let head = "POST /v1/search HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\ntransfer-encoding: chunked\r\n\r\n";
    stream.write_all(head.as_bytes()).unwrap();
    for _ in 0..20 {
        stream.write_all(format!("400\r\n{}\r\n", "x".repeat(1024)).as_bytes()).unwrap();
    }
    stream.write_all(b"0\r\n\r\n").unwrap();
    Reply::read(stream).assert_error(413, "too_large");
    server.assert_well();
    server.until("no body is held", |server| server.metric("nearkin_body_bytes") == 0.0);
}

#[test]
fn bodies_of_all_clients_together_have_a_limit() {
    let server = Running::with_limits(|limits| limits.bodies = 40_000);
    let holders: Vec<_> = (0..4)
        .map(|_| {
            let mut stream = server.connect();
            stream.write_all(&head("POST", "/v1/search", &[("content-type", "image/png")], 20_000)).unwrap();
            stream.write_all(&[0; 9_900]).unwrap();
            stream
        })
        .collect();
    server.until("the bodies are held", |server| server.metric("nearkin_body_bytes") == 39_600.0);
    let refused = server.post_picture("/v1/search", &[0; 1000]);
    refused.assert_error(503, "busy");
    assert_eq!(refused.header("retry-after"), Some("1"));
    // A small one still finds room.
    server.assert_well();
    drop(holders);
    server.until("they are let go", |server| server.metric("nearkin_body_bytes") == 0.0);
    server.assert_well();
}

/// The header of a PNG of this size, with a checksum that is right, and nearly nothing after it.
fn bomb(width: u32, height: u32) -> Vec<u8> {
    let mut bytes = encode(&GrayImage::new(1, 1));
    bytes[16..20].copy_from_slice(&width.to_be_bytes());
    bytes[20..24].copy_from_slice(&height.to_be_bytes());
    let crc = crc32(&bytes[12..29]);
    bytes[29..33].copy_from_slice(&crc.to_be_bytes());
    bytes
}

fn crc32(bytes: &[u8]) -> u32 {
    !bytes.iter().fold(!0u32, |crc, byte| {
        (0..8).fold(
            crc ^ u32::from(*byte),
            |crc, _| if crc & 1 == 1 { crc >> 1 ^ 0xEDB8_8320 } else { crc >> 1 },
        )
    })
}

#[test]
fn decompression_bombs_are_refused_by_their_header() {
    let server = Running::with_limits(|limits| limits.pixels = 1_000_000);
    let start = Instant::now();
    for (width, height) in [(50_000, 50_000), (u32::MAX >> 1, u32::MAX >> 1), (1, 2_000_000), (1001, 1000)] {
        for path in TAKE_PICTURES {
            let reply = server.post_picture(path, &bomb(width, height));
            assert!(reply.status == 413 || reply.status == 422, "{path} {width}x{height}: {}", reply.text());
        }
    }
    let error = server.post_picture("/v1/search", &bomb(50_000, 50_000)).assert_error(413, "too_large");
    assert_eq!((&error["width"], &error["max_pixels"]), (&50_000.into(), &1_000_000.into()));
    // A real one: four megapixels of black are a few kilobytes.
    let flat = encode(&GrayImage::new(2000, 2000));
    assert!(flat.len() < 50_000);
    for path in TAKE_PICTURES {
        server.post_picture(path, &flat).assert_error(413, "too_large");
    }
    // One bad picture of many keeps all of them out.
    let items: Vec<_> = [png("dots", 50), flat, png("dots", 51)]
        .iter()
        .enumerate()
        .map(|(i, picture)| json!({ "id": format!("new/{i}"), "image": STANDARD.encode(picture) }))
        .collect();
    server.post_json("/v1/items", &json!({ "items": items }).to_string()).assert_error(413, "too_large");
    // A GIF's screen of 65,535 × 65,535 pixels.
    let mut gif = b"GIF89a\xff\xff\xff\xff\x80\0\0\0\0\0\xff\xff\xff".to_vec();
    gif.extend_from_slice(b"\x2c\0\0\0\0\xff\xff\xff\xff\0\x02\x02\x44\x01\0\x3b");
    server.post_picture("/v1/embed", &gif).assert_error(413, "too_large");
    assert!(start.elapsed() < Duration::from_secs(20));
    server.assert_unchanged();
    server.assert_well();
}

#[test]
fn what_is_no_picture_or_a_broken_one_says_so_and_fails_nobody_else() {
    let server = plain();
    let whole = png("rings", 1);
    for path in TAKE_PICTURES {
        server.post_picture(path, b"").assert_error(422, "damaged_image");
        server.post_picture(path, b"<svg/>").assert_error(415, "not_an_image");
        server.post_picture(path, &whole[..whole.len() / 2]).assert_error(422, "damaged_image");
        server.post_picture(path, &whole[..20]).assert_error(422, "damaged_image");
    }
    server.assert_unchanged();
    thread::scope(|scope| {
        for i in 0..20 {
            let (server, whole) = (&server, &whole);
            scope.spawn(move || {
                if i % 2 == 0 {
                    server.post_picture("/v1/embed", &whole[..40]).assert_error(422, "damaged_image");
                } else {
                    assert_eq!(server.post_picture("/v1/embed", whole).status, 200);
                }
            });
        }
    });
}

#[test]
fn slow_clients_are_told_and_harm_nobody() {
    let server = Running::with_limits(|limits| {
        limits.head_time = Duration::from_secs(5);
        limits.body_time = Duration::from_secs(5);
    });
    let slow_heads: Vec<_> = (0..100)
        .map(|_| {
            let mut stream = server.connect();
            stream.write_all(b"POST /v1/search HTTP/1.1\r\nhost: localhost\r\n").unwrap();
            stream
        })
        .collect();
    let slow_bodies: Vec<_> = (0..100)
        .map(|i| {
            let mut stream = server.connect();
            let path = TAKE_JSON[i % TAKE_JSON.len()];
            stream.write_all(&head("POST", path, &[("content-type", "application/json")], 1000)).unwrap();
            stream.write_all(b"{").unwrap();
            stream
        })
        .collect();
    let start = Instant::now();
    server.assert_well();
    assert!(start.elapsed() < Duration::from_secs(4), "others waited {:?}", start.elapsed());
    slow_heads.into_iter().for_each(|stream| {
        Reply::read(stream).assert_error(408, "slow_request");
    });
    for stream in slow_bodies {
        let error = Reply::read(stream).assert_error(408, "slow_request");
        assert_eq!(error["received_bytes"], 1);
    }
    // Who has said nothing hears nothing.
    let mut silent = server.connect();
    let mut answer = Vec::new();
    silent.read_to_end(&mut answer).unwrap();
    assert!(answer.is_empty());
}

#[test]
fn a_client_that_sends_a_byte_at_a_time_has_the_same_time_as_others() {
    let server = Running::with_limits(|limits| limits.body_time = Duration::from_millis(800));
    let mut stream = server.connect();
    stream.write_all(&head("POST", "/v1/search", &[("content-type", "application/json")], 1000)).unwrap();
    let start = Instant::now();
    while stream.write_all(b" ").is_ok() && start.elapsed() < Duration::from_millis(1200) {
        thread::sleep(Duration::from_millis(50));
    }
    let mut answer = Vec::new();
    // Bytes sent after the answer may have reset the connection.
    let _ = stream.read_to_end(&mut answer);
    if !answer.is_empty() {
        Reply::parse(&answer).assert_error(408, "slow_request");
    }
    server.assert_well();
}

#[test]
fn clients_that_vanish_leave_nothing_behind() {
    let server = plain();
    for i in 0..100 {
        let mut stream = server.connect();
        let picture = png("dots", i % 10);
        stream
            .write_all(&head("POST", "/v1/search", &[("content-type", "image/png")], picture.len()))
            .unwrap();
        // Some go half way through their body, others while they are answered.
        let sent = if i % 2 == 0 { picture.len() / 2 } else { picture.len() };
        stream.write_all(&picture[..sent]).unwrap();
        drop(stream);
    }
    server.assert_well();
    server.until("nothing waits", |server| {
        ["nearkin_body_bytes", "nearkin_embed_waiting", "nearkin_search_waiting"]
            .iter()
            .all(|name| server.metric(name) == 0.0)
    });
}

#[test]
fn rows_of_clients_that_vanish_are_there_whole_or_not_at_all() {
    let server = plain();
    for i in 0..60 {
        let mut stream = server.connect();
        let rows = (0..5)
            .map(|row| json!({ "id": format!("{i}/{row}"), "image": STANDARD.encode(png("rings", i)) }));
        let body = json!({ "items": rows.collect::<Vec<_>>() }).to_string();
        let headers = [("content-type", "application/json")];
        stream.write_all(&head("POST", "/v1/items", &headers, body.len())).unwrap();
        // Some go half way through their body, others while they are answered.
        let sent = if i % 3 == 0 { body.len() / 2 } else { body.len() };
        stream.write_all(&body.as_bytes()[..sent]).unwrap();
        drop(stream);
    }
    server.until("nothing waits", |server| {
        ["nearkin_body_bytes", "nearkin_embed_waiting"].iter().all(|name| server.metric(name) == 0.0)
    });
    for i in 0..60 {
        let there =
            (0..5).filter(|row| server.get(&format!("/v1/item?id={i}%2F{row}")).status == 200).count();
        assert!(there == 0 || (there == 5 && i % 3 != 0), "{there} rows of client {i}");
    }
    server.assert_well();
}

#[test]
fn too_many_changes_at_once_are_refused_and_the_others_are_made() {
    let server = Running::with_limits(|limits| limits.queue = 1);
    let statuses: Vec<u16> = thread::scope(|scope| {
        let server = &server;
        let clients: Vec<_> = (0..16)
            .map(|i| {
                let body =
                    json!({ "items": [{ "id": format!("row {i}"), "vector": vec![i; 8] }] }).to_string();
                scope.spawn(move || server.post_json("/v1/items", &body))
            })
            .collect();
        let replies = clients.into_iter().map(|client| client.join().unwrap());
        replies
            .inspect(|reply| {
                if reply.status != 200 {
                    reply.assert_error(503, "busy");
                    assert_eq!(reply.header("retry-after"), Some("1"));
                }
            })
            .map(|reply| reply.status)
            .collect()
    });
    let made = statuses.iter().filter(|status| **status == 200).count();
    assert!(made >= 1, "{statuses:?}");
    assert_eq!(server.get("/health").json()["index"]["rows"], 30 + made);
    server.assert_well();
}

#[test]
fn nobody_changes_the_index_without_the_token_or_from_another_site() {
    let token = "correct-horse-battery";
    let server = Running::new(|options, _| options.token = Some(token.into()));
    let bearer = format!("Bearer {token}");
    let changes: [(&str, &str, &[u8]); 4] = [
        ("POST", "/v1/items", br#"{"items": [{"id": "new", "vector": [1, 2, 3, 4, 5, 6, 7, 8]}]}"#),
        ("POST", "/v1/items/delete", br#"{"ids": ["dots/0.png"]}"#),
        ("DELETE", "/v1/item?id=dots%2F0.png", b""),
        ("POST", "/v1/compact", b""),
    ];
    for (method, path, body) in changes {
        let ask = |more: &[(&str, &str)]| {
            let headers = [&[("content-type", "application/json")], more].concat();
            server.request(method, path, &headers, body)
        };
        ask(&[]).assert_error(401, "unauthorized");
        ask(&[("authorization", "Bearer correct-horse-batterz")]).assert_error(401, "unauthorized");
        ask(&[("authorization", &bearer), ("origin", "http://evil.example")])
            .assert_error(403, "other_origin");
    }
    server.assert_unchanged();
    let reply = server.request("POST", "/v1/compact", &[("authorization", &bearer)], b"");
    assert_eq!(reply.status, 200, "{}", reply.text());
}

#[test]
fn a_full_queue_refuses_at_once_and_answers_those_who_wait() {
    let server = Running::with_limits(|limits| {
        limits.queue = 1;
        limits.batch = 1;
    });
    let large = encode(&GrayImage::from_fn(3000, 3000, |x, y| image::Luma([(x * y % 251) as u8])));
    let statuses: Vec<u16> = thread::scope(|scope| {
        let clients: Vec<_> =
            (0..16).map(|_| scope.spawn(|| server.post_picture("/v1/embed", &large))).collect();
        let replies: Vec<Reply> = clients.into_iter().map(|client| client.join().unwrap()).collect();
        for reply in replies.iter().filter(|reply| reply.status == 503) {
            reply.assert_error(503, "busy");
            assert_eq!(reply.header("retry-after"), Some("1"));
        }
        replies.iter().map(|reply| reply.status).collect()
    });
    let count = |status| statuses.iter().filter(|found| **found == status).count();
    assert!(count(200) >= 2 && count(503) >= 1 && count(200) + count(503) == 16, "{statuses:?}");
    server.assert_well();
}

#[test]
fn an_answer_that_takes_too_long_is_given_up() {
    let server = Running::with_limits(|limits| limits.answer_time = Duration::from_millis(1));
    let large = encode(&GrayImage::from_fn(3000, 3000, |x, y| image::Luma([(x * y % 251) as u8])));
    server.post_picture("/v1/embed", &large).assert_error(504, "timed_out");
}

#[test]
fn pages_of_other_sites_are_refused() {
    let server = plain();
    let ask = |headers: &[(&str, &str)]| {
        let mut stream = server.connect();
        let mut text = "GET /metrics HTTP/1.1\r\nconnection: close\r\n".to_owned();
        headers.iter().for_each(|(name, value)| text += &format!("{name}: {value}\r\n"));
        stream.write_all((text + "\r\n").as_bytes()).unwrap();
        Reply::read(stream)
    };
    ask(&[("host", "evil.example")]).assert_error(403, "other_host");
    ask(&[("host", "localhost"), ("origin", "http://evil.example")]).assert_error(403, "other_origin");
    assert_eq!(ask(&[("host", "localhost"), ("origin", "http://localhost")]).status, 200);
}

#[test]
fn a_server_that_stops_answers_those_it_has_heard() {
    let server = plain();
    let large = encode(&GrayImage::from_fn(3000, 3000, |x, y| image::Luma([(x * y % 251) as u8])));
    let mut asking = server.connect();
    asking.write_all(&head("POST", "/v1/embed", &[("content-type", "image/png")], large.len())).unwrap();
    asking.write_all(&large).unwrap();
    server.until("it is being answered", |server| {
        server.metric("nearkin_body_bytes") > 0.0 || server.metric("nearkin_pictures_embedded_total") > 0.0
    });
    let mut idle = server.connect();
    idle.write_all(b"GET /health HTTP/1.1\r\nhost: localhost\r\n\r\n").unwrap();
    let mut one = [0];
    idle.read_exact(&mut one).unwrap();
    server.stopper.stop();
    assert_eq!(Reply::read(asking).status, 200);
    // Kept alive until then, closed now.
    idle.read_to_end(&mut Vec::new()).unwrap();
    server.until_refused();
}

impl Running {
    /// Asserts that no row came or went.
    #[track_caller]
    fn assert_unchanged(&self) {
        let index = self.get("/health").json()["index"].clone();
        assert_eq!((&index["rows"], &index["pending"]), (&json!(30), &json!({ "added": 0, "deleted": 0 })));
    }

    #[track_caller]
    fn until_refused(&self) {
        let start = Instant::now();
        while std::net::TcpStream::connect(self.address).is_ok() {
            assert!(start.elapsed() < Duration::from_secs(20), "it still listens");
            thread::sleep(Duration::from_millis(20));
        }
    }
}
