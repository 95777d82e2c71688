//! What a person does with the page.

use std::io::Write;
use std::path::{Path, PathBuf};
use std::time::Instant;

use nearkin_index::{BuildOptions, Embeddings, build};
use nearkin_serve::Store;
use serde_json::{Value, json};

use crate::chromium::Chromium;
use crate::common::Running;

/// A run folder with a log of so many steps, and springs.
fn run_folder(folder: &Path, steps: usize) {
    std::fs::create_dir_all(folder).unwrap();
    let lines: String = (1..=steps).map(|step| step_line(step, 400) + "\n").collect();
    std::fs::write(folder.join("metrics.jsonl"), lines).unwrap();
    let cast = json!({ "ids": ["a", "b", "c", "d"], "labels": [0, 0, 1, 1], "classes": ["one", "two"] });
    let moment = |step: usize, x: f64| {
        json!({
            "step": step, "places": [[-x, 0.0], [x, 0.1], [0.0, x], [0.2, -x]],
            "forces": { "attraction": x, "repulsion": 1.0 - x, "within_margin": 0.5 },
            "attracting": [[0, 1, x], [2, 3, x / 2.0]], "repelling": [[0, 2, 1.0 - x]],
        })
    };
    let mut text = format!("{cast}\n");
    (0..10).for_each(|i| text += &format!("{}\n", moment(i * 40, 0.9 - 0.08 * i as f64)));
    std::fs::write(folder.join("springs.jsonl"), text).unwrap();
}

fn step_line(step: usize, steps: usize) -> String {
    let t = step as f64 / steps as f64;
    let mut line = json!({
        "event": "step", "step": step, "steps": steps, "epoch": 1 + step / 100, "loss": 1.2 * (-2.0 * t).exp(), "lr": 1e-3 * (1.0 - t),
        "active": 1.0 - 0.7 * t, "spread": 0.3 + 0.6 * t, "effective_rank": 2.0 + 20.0 * t,
        "triplets": { "easy": step, "semi-hard": 300, "hard": 400 - step.min(400), "anchors": 64 },
        "images_per_second": 800.0, "seconds_left": 100.0 * (1.0 - t),
    });
    if step.is_multiple_of(100) {
        line = json!({
            "event": "epoch", "epoch": step / 100, "epochs": 4, "step": step, "loss": 1.1 * (-2.0 * t).exp(), "active": 0.5, "kept": true,
            "seconds": 10.0, "validation": { "precision_at_1": 0.5 + 0.4 * t, "mean_average_precision_at_r": 0.3 + 0.4 * t },
        });
    }
    line.to_string()
}

fn shots() -> PathBuf {
    let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join("gallery");
    std::fs::create_dir_all(&folder).unwrap();
    folder
}

struct Session {
    browser: Chromium,
    server: Running,
    run: tempfile::TempDir,
}

impl Session {
    fn start() -> Option<Self> {
        let browser = Chromium::start()?;
        let run = tempfile::tempdir().unwrap();
        run_folder(run.path(), 150);
        let server = Running::new(|_, served| served.run = Some(run.path().to_owned()));
        let mut session = Self { browser, server, run };
        session.browser.size(1280, 860, false);
        session.browser.theme("light");
        Some(session)
    }

    fn open(&mut self, hash: &str) {
        let address = format!("http://{}/#{hash}", self.server.address);
        // A page that differs in its hash alone would not be loaded again.
        self.browser.tell("Page.navigate", json!({ "url": "about:blank" }));
        self.browser.open(&address);
    }

    #[track_caller]
    fn assert_content(self) {
        assert!(self.browser.complaints.is_empty(), "the page complained: {:?}", self.browser.complaints);
    }
}

const DRAWN: &str = "document.querySelector('#plot canvas').dataset.drawn > 0";

#[test]
fn a_point_is_hovered_clicked_and_its_neighbours_are_told() {
    let Some(mut session) = Session::start() else { return };
    session.open("map");
    let browser = &mut session.browser;
    browser.until(DRAWN);
    assert_eq!(browser.value("document.querySelector('#plot canvas').dataset.drawn"), "30");
    let legend = browser.value("[...document.querySelectorAll('#legend button')].map((b) => b.innerText)");
    assert_eq!(legend, json!(["dots 10", "rings 10", "stripes 10"]));
    let (x, y) = find_point(browser);
    browser.until("document.querySelector('#tip img')?.naturalWidth > 0");
    let id = browser.value("document.querySelector('#tip').dataset.id");
    browser.screenshot(&shots().join("hover.png"));
    browser.click(x, y);
    browser.until("document.querySelectorAll('#neighbours li').length === 12");
    assert_eq!(browser.value("document.querySelector('#asked dd').innerText"), id);
    // Rank, class and distance of each.
    let first = browser.value("document.querySelector('#neighbours li').innerText");
    let first = first.as_str().unwrap();
    assert!(first.starts_with("1. ") && first.contains("euclidean "), "{first}");
    browser
        .until("[...document.querySelectorAll('#neighbours img')].every((image) => image.naturalWidth > 0)");
    browser.screenshot(&shots().join("map-light.png"));
    // A neighbour is the next to be asked.
    browser.value("document.querySelector('#neighbours button').click()");
    browser.until(&format!("document.querySelector('#asked dd').innerText !== {id}"));
    session.assert_content();
}

/// Moves the mouse over the map until a point shows its tip.
fn find_point(browser: &mut Chromium) -> (f64, f64) {
    let edges = browser.value("(({ left, top, width, height }) => [left, top, width, height])(document.getElementById('plot').getBoundingClientRect())");
    let edge = |i: usize| edges[i].as_f64().unwrap();
    let start = Instant::now();
    while start.elapsed().as_secs() < 100 {
        for row in 1..24 {
            for column in 1..32 {
                let (x, y) =
                    (edge(0) + edge(2) * f64::from(column) / 32.0, edge(1) + edge(3) * f64::from(row) / 24.0);
                browser.mouse("mouseMoved", x, y);
                if browser.value("!document.getElementById('tip').hidden") == true {
                    return (x, y);
                }
            }
        }
    }
    panic!("no point was found under the mouse");
}

#[test]
fn a_dropped_picture_finds_its_kin() {
    let Some(mut session) = Session::start() else { return };
    session.open("map");
    let browser = &mut session.browser;
    browser.until(DRAWN);
    browser.value(
        "(async () => {
            const blob = await (await fetch('/v1/picture?id=rings%2F4.png')).blob();
            const transfer = new DataTransfer();
            transfer.items.add(new File([blob], 'dropped.png', { type: 'image/png' }));
            document.dispatchEvent(new DragEvent('drop', { dataTransfer: transfer, bubbles: true, cancelable: true }));
        })()",
    );
    browser.until("document.querySelectorAll('#neighbours li').length === 12");
    let first = browser.value("document.querySelector('#neighbours li').innerText");
    assert!(first.as_str().unwrap().starts_with("1. rings"), "{first}");
    browser
        .until("[...document.querySelectorAll('#neighbours img')].every((image) => image.naturalWidth > 0)");
    browser.screenshot(&shots().join("drop-light.png"));
    // What is no picture says so.
    browser.value(
        "(() => {
            const transfer = new DataTransfer();
            transfer.items.add(new File(['hello'], 'note.txt', { type: 'text/plain' }));
            document.dispatchEvent(new DragEvent('drop', { dataTransfer: transfer, bubbles: true, cancelable: true }));
        })()",
    );
    browser.until("document.querySelector('#asked .error')");
    let said = browser.value("document.querySelector('#asked .error').innerText");
    assert!(said.as_str().unwrap().contains("not an image"), "{said}");
    // The browser logs the refusal itself.
    session.browser.complaints.retain(|complaint| !complaint.contains("415"));
    session.assert_content();
}

#[test]
fn the_page_is_used_by_keys_alone() {
    let Some(mut session) = Session::start() else { return };
    session.open("map");
    let browser = &mut session.browser;
    browser.until(DRAWN);
    browser.value("document.getElementById('plot').focus()");
    for key in ["ArrowRight", "ArrowUp", "+", "-", "0"] {
        browser.key(key);
    }
    browser.key("n");
    browser.until("document.querySelectorAll('#neighbours li').length === 12");
    browser.value("document.getElementById('id').focus()");
    for key in ["d", "o", "t", "s", "/", "3", ".", "p", "n", "g", "Enter"] {
        browser.key(key);
    }
    browser.until("document.querySelector('#asked dd')?.innerText === 'dots/3.png'");
    browser.value("document.getElementById('tab-map').focus()");
    browser.key("ArrowRight");
    browser.until("document.getElementById('confusion').dataset.made !== undefined");
    assert_eq!(browser.value("document.activeElement.id"), "tab-confusion");
    browser.key("ArrowRight");
    browser.until("!document.getElementById('training').hidden");
    // Whatever can be pressed can be reached, and has a name.
    let nameless = browser.value(
        "[...document.querySelectorAll('button, input, select, [role=tab], [tabindex=\"0\"]')].filter((e) => !(e.innerText?.trim() || \
         e.getAttribute('aria-label') || e.labels?.length || e.title)).map((e) => e.outerHTML)",
    );
    assert_eq!(nameless, json!([]));
    session.assert_content();
}

#[test]
fn classes_that_mix_are_shown_and_lead_to_the_map() {
    let Some(mut session) = Session::start() else { return };
    session.open("confusion");
    let browser = &mut session.browser;
    browser.until("document.getElementById('confusion').dataset.made !== undefined");
    assert_eq!(browser.value("document.querySelectorAll('.matrix tbody tr').length"), 3);
    let says = browser.value("document.querySelector('#confusion p').innerText");
    assert!(says.as_str().unwrap().contains("30 rows"), "{says}");
    browser.screenshot(&shots().join("confusion-light.png"));
    if browser.value("document.querySelector('#confusion .found button') !== null") == true {
        browser.value("document.querySelector('#confusion .found button').click()");
        browser.until("!document.getElementById('map').hidden && document.querySelector('#asked dd')");
    }
    session.assert_content();
}

#[test]
fn a_run_is_watched_while_it_goes_on() {
    let Some(mut session) = Session::start() else { return };
    session.open("training");
    let browser = &mut session.browser;
    browser.until("document.getElementById('training').dataset.steps === '149'");
    assert!(browser.value("document.querySelectorAll('#training path.line').length").as_u64().unwrap() >= 7);
    let mut log =
        std::fs::File::options().append(true).open(session.run.path().join("metrics.jsonl")).unwrap();
    writeln!(log, "{}", step_line(151, 400)).unwrap();
    browser.until("document.getElementById('training').dataset.steps === '150'");
    let tiles = browser.value("document.querySelector('#training .tiles').innerText");
    assert!(
        tiles.as_str().unwrap().contains("step of 400") && tiles.as_str().unwrap().contains("151"),
        "{tiles}"
    );
    browser.screenshot(&shots().join("training-light.png"));
    session.assert_content();
}

#[test]
fn springs_are_played_and_a_runs_film_is_shown() {
    let Some(mut session) = Session::start() else { return };
    session.open("springs");
    let browser = &mut session.browser;
    browser.until("document.querySelector('#springs canvas').dataset.loss > 0");
    let loss = |browser: &mut Chromium| {
        browser.value("+document.querySelector('#springs canvas').dataset.loss").as_f64().unwrap()
    };
    let at_rest = loss(browser);
    browser.value("document.getElementById('play').click()");
    browser.until(&format!("document.querySelector('#springs canvas').dataset.loss < {}", at_rest / 2.0));
    browser.value("document.getElementById('play').click()");
    browser.screenshot(&shots().join("springs-light.png"));
    // A wider margin makes strangers push again.
    let before = loss(browser);
    browser.value("(() => { const field = document.querySelector('[name=margin]'); field.value = 3; field.dispatchEvent(new Event('input')); })()");
    browser.until(&format!("document.querySelector('#springs canvas').dataset.loss > {before}"));
    for kind in ["contrastive", "triplet", "nt-xent", "sup-con", "multi-similarity"] {
        browser.value(&format!("(() => {{ const choice = document.getElementById('loss'); choice.value = '{kind}'; choice.dispatchEvent(new Event('change')); }})()"));
        browser.until("document.querySelector('#springs [role=status]').innerText.startsWith('loss')");
        browser.value("document.getElementById('step').click()");
    }
    browser.value("(() => { const source = document.getElementById('source'); source.value = 'film'; source.dispatchEvent(new Event('change')); })()");
    browser.until("document.querySelector('#springs [role=status]').innerText.startsWith('step 0')");
    browser.value("document.getElementById('play').click()");
    browser.until("document.querySelector('#springs [role=status]').innerText.startsWith('step 360')");
    session.assert_content();
}

#[test]
fn both_themes_and_a_phone_show_every_view() {
    let Some(mut session) = Session::start() else { return };
    let ready = [
        ("map", DRAWN),
        ("confusion", "document.getElementById('confusion').dataset.made !== undefined"),
        ("training", "document.getElementById('training').dataset.steps > 100"),
        ("springs", "document.querySelector('#springs canvas').dataset.loss > 0"),
    ];
    for theme in ["light", "dark"] {
        for (name, width, height, phone) in [("wide", 1280, 860, false), ("phone", 390, 844, true)] {
            for (view, ready) in ready {
                session.browser.size(width, height, phone);
                session.browser.theme(theme);
                session.open(view);
                let browser = &mut session.browser;
                browser.until(ready);
                if view == "map" {
                    browser.value("document.getElementById('id').value = 'rings/5.png'; document.getElementById('find').requestSubmit()");
                    browser.until("document.querySelectorAll('#neighbours li').length === 12");
                    browser.until("[...document.querySelectorAll('#neighbours img')].every((image) => image.naturalWidth > 0)");
                }
                if view == "springs" {
                    browser.value("document.getElementById('play').click()");
                    std::thread::sleep(std::time::Duration::from_millis(1500));
                    browser.value("document.getElementById('play').click()");
                }
                let pixels = browser.screenshot(&shots().join(format!("{view}-{theme}-{name}.png")));
                let corner = pixels.get_pixel(4, height - 4);
                assert_eq!(corner[0] > 128, theme == "light", "{view} {theme} {name}: {corner:?}");
                let overflow =
                    browser.value("document.documentElement.scrollWidth - innerWidth").as_f64().unwrap();
                assert!(overflow <= 0.0, "{view} {theme} {name} is {overflow} pixels too wide");
            }
        }
    }
    session.assert_content();
}

#[test]
fn a_hundred_thousand_points_are_drawn_and_moved() {
    let Some(mut browser) = Chromium::start() else { return };
    let folder = tempfile::tempdir().unwrap();
    let (n, dim) = (100_000, 16);
    let mut state = 1u64;
    let mut draw = || {
        state = state.wrapping_mul(6364136223846793005).wrapping_add(1442695040888963407);
        (state >> 40) as f32 / (1u64 << 24) as f32 - 0.5
    };
    let vectors = (0..n * dim).map(|i| draw() + ((i / dim) % 10 * (i % dim) % 7) as f32 * 0.3).collect();
    let table = Embeddings {
        vectors,
        dim,
        ids: (0..n).map(|i| format!("item/{i}")).collect(),
        labels: Some((0..n).map(|i| format!("class {}", i % 10)).collect()),
        ..Embeddings::default()
    };
    let path = folder.path().join("large.index");
    build(&table, &path, BuildOptions::default(), &mut |_| {}).unwrap();
    let server = Running::new(|_, served| {
        *served = nearkin_serve::Served { index: Some(Store::open(&path).unwrap()), ..Default::default() };
    });
    browser.size(1280, 860, false);
    let start = Instant::now();
    browser.open(&format!("http://{}/", server.address));
    browser.until("document.querySelector('#plot canvas').dataset.drawn === '100000'");
    let opened = start.elapsed();
    // Frames while the map is zoomed, drawn by the processor here: a graphics card does better.
    let frames: Value = browser.value(
        "(async () => {
            const plot = document.getElementById('plot');
            const start = performance.now();
            let frames = 0;
            while (performance.now() - start < 3000) {
                plot.dispatchEvent(new KeyboardEvent('keydown', { key: frames % 2 ? '+' : '-' }));
                await new Promise(requestAnimationFrame);
                frames++;
            }
            return frames / 3;
        })()",
    );
    eprintln!(
        "100,000 points: open after {opened:?}, {frames} frames a second while zooming, without a graphics card"
    );
    // A bound for a busy machine: it must move at all.
    assert!(frames.as_f64().unwrap() > 0.2, "{frames} frames a second");
    browser.screenshot(&shots().join("large.png"));
    assert!(browser.complaints.is_empty(), "{:?}", browser.complaints);
}
