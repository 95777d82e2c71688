//! Chromium, told what to do over its debugging pipe: JSON messages that end with a zero byte, on the file descriptors 3 and 4.

use std::fs::File;
use std::io::{BufRead, BufReader, Write};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::mpsc::{Receiver, channel};
use std::thread;
use std::time::{Duration, Instant};

use serde_json::{Value, json};

const PATIENCE: Duration = Duration::from_secs(120);

/// A browser with one page.
pub struct Chromium {
    process: Child,
    to: File,
    from: Receiver<Value>,
    session: Option<String>,
    last: u64,
    /// Errors that the page has reported.
    pub complaints: Vec<String>,
    _folder: tempfile::TempDir,
}

/// Where Chromium is, if it is here.
fn find() -> Option<PathBuf> {
    let named = std::env::var_os("CHROMIUM").map(PathBuf::from);
    let folders: Vec<PathBuf> =
        std::env::var_os("PATH").map(|path| std::env::split_paths(&path).collect()).unwrap_or_default();
    let names = ["chromium", "chromium-browser", "google-chrome"];
    named.or_else(|| {
        names
            .iter()
            .flat_map(|name| folders.iter().map(move |folder| folder.join(name)))
            .find(|path| path.is_file())
    })
}

impl Chromium {
    /// Starts one, or says why not and gives `None`.
    pub fn start() -> Option<Self> {
        let Some(program) = find() else {
            eprintln!("!!! SKIPPED: no Chromium in PATH or CHROMIUM, so the page is not tested in a browser");
            return None;
        };
        let folder = tempfile::tempdir().unwrap();
        let (commands, answers) = (folder.path().join("commands"), folder.path().join("answers"));
        let made = Command::new("mkfifo").args([&commands, &answers]).status().unwrap();
        assert!(made.success(), "mkfifo failed");
        // A shell puts the pipes where Chromium wants them.
        let script = format!(
            "exec \"$0\" --headless --no-sandbox --remote-debugging-pipe --enable-unsafe-swiftshader --disable-gpu-vsync \
             --no-first-run --disable-background-networking --disable-dev-shm-usage --force-color-profile=srgb \
             --user-data-dir='{}' about:blank 3<'{}' 4>'{}'",
            folder.path().join("profile").display(),
            commands.display(),
            answers.display(),
        );
        let process = Command::new("sh")
            .arg("-c")
            .arg(script)
            .arg(program)
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        // Each of these waits for the other side, in the order in which the shell opens them.
        let to = File::options().write(true).open(&commands).unwrap();
        let answers = File::open(&answers).unwrap();
        let (send, from) = channel();
        thread::spawn(move || {
            for message in BufReader::new(answers).split(0) {
                let Ok(message) = message else { break };
                if send.send(serde_json::from_slice(&message).unwrap()).is_err() {
                    break;
                }
            }
        });
        let mut chromium =
            Self { process, to, from, session: None, last: 0, complaints: Vec::new(), _folder: folder };
        let target =
            chromium.tell("Target.createTarget", json!({ "url": "about:blank" }))["targetId"].clone();
        let attached = chromium.tell("Target.attachToTarget", json!({ "targetId": target, "flatten": true }));
        chromium.session = attached["sessionId"].as_str().map(str::to_owned);
        for domain in ["Page", "Runtime", "Log", "Network"] {
            chromium.tell(&format!("{domain}.enable"), json!({}));
        }
        Some(chromium)
    }

    /// Sends a command and waits for what it gives.
    #[track_caller]
    pub fn tell(&mut self, method: &str, parameters: Value) -> Value {
        self.last += 1;
        let mut message = json!({ "id": self.last, "method": method, "params": parameters });
        if let Some(session) = &self.session {
            message["sessionId"] = session.clone().into();
        }
        let mut bytes = serde_json::to_vec(&message).unwrap();
        bytes.push(0);
        self.to.write_all(&bytes).unwrap();
        let start = Instant::now();
        loop {
            let left = PATIENCE.saturating_sub(start.elapsed());
            let answer = self.from.recv_timeout(left).unwrap_or_else(|_| panic!("no answer to {method}"));
            self.listen(&answer);
            if answer["id"] == self.last {
                assert!(answer["error"].is_null(), "{method}: {}", answer["error"]);
                return answer["result"].clone();
            }
        }
    }

    fn listen(&mut self, message: &Value) {
        let what = match message["method"].as_str() {
            Some("Runtime.exceptionThrown") => &message["params"]["exceptionDetails"],
            Some("Log.entryAdded") if message["params"]["entry"]["level"] == "error" => {
                &message["params"]["entry"]
            }
            _ => return,
        };
        self.complaints.push(what.to_string());
    }

    /// The value of an expression, awaited.
    #[track_caller]
    pub fn value(&mut self, expression: &str) -> Value {
        let parameters = json!({ "expression": expression, "awaitPromise": true, "returnByValue": true });
        let found = self.tell("Runtime.evaluate", parameters);
        assert!(found["exceptionDetails"].is_null(), "{expression}: {}", found["exceptionDetails"]);
        found["result"]["value"].clone()
    }

    /// Waits until an expression is true.
    #[track_caller]
    pub fn until(&mut self, expression: &str) {
        let start = Instant::now();
        while self.value(&format!("Boolean({expression})")) != true {
            if start.elapsed() > PATIENCE {
                let page = self.value("document.body.innerText");
                panic!("waited in vain until {expression}\n{page}\n{:?}", self.complaints);
            }
            thread::sleep(Duration::from_millis(30));
        }
    }

    pub fn open(&mut self, address: &str) {
        self.tell("Page.navigate", json!({ "url": address }));
        self.until("document.documentElement?.dataset.ready !== undefined");
    }

    pub fn size(&mut self, width: u32, height: u32, phone: bool) {
        let parameters = json!({ "width": width, "height": height, "deviceScaleFactor": 1, "mobile": phone });
        self.tell("Emulation.setDeviceMetricsOverride", parameters);
        self.tell("Emulation.setTouchEmulationEnabled", json!({ "enabled": phone }));
    }

    pub fn theme(&mut self, theme: &str) {
        let features = json!([{ "name": "prefers-color-scheme", "value": theme }]);
        self.tell("Emulation.setEmulatedMedia", json!({ "features": features }));
    }

    pub fn mouse(&mut self, kind: &str, x: f64, y: f64) {
        let button = if kind == "mouseMoved" { "none" } else { "left" };
        let parameters = json!({ "type": kind, "x": x, "y": y, "button": button, "clickCount": 1 });
        self.tell("Input.dispatchMouseEvent", parameters);
    }

    pub fn click(&mut self, x: f64, y: f64) {
        self.mouse("mousePressed", x, y);
        self.mouse("mouseReleased", x, y);
    }

    /// Presses a key: `ArrowRight`, `Tab`, `n`.
    pub fn key(&mut self, key: &str) {
        let mut down = json!({ "type": "keyDown", "key": key });
        let code = match key {
            "ArrowLeft" => 37,
            "ArrowUp" => 38,
            "ArrowRight" => 39,
            "ArrowDown" => 40,
            "Tab" => 9,
            "Enter" => 13,
            _ => match key.as_bytes()[0].to_ascii_uppercase() {
                code if code.is_ascii_alphanumeric() => code.into(),
                // The codes of other characters are those of other keys: 46 is Delete.
                _ => 0,
            },
        };
        down["windowsVirtualKeyCode"] = code.into();
        if key.len() == 1 {
            down["text"] = key.into();
        }
        if key == "Enter" {
            down["text"] = "\r".into();
        }
        self.tell("Input.dispatchKeyEvent", down);
        self.tell(
            "Input.dispatchKeyEvent",
            json!({ "type": "keyUp", "key": key, "windowsVirtualKeyCode": code }),
        );
    }

    /// Saves what is seen, and the pixels as they were.
    pub fn screenshot(&mut self, path: &Path) -> image::RgbImage {
        use base64::Engine;
        let taken = self.tell("Page.captureScreenshot", json!({ "format": "png" }));
        let png = base64::engine::general_purpose::STANDARD.decode(taken["data"].as_str().unwrap()).unwrap();
        std::fs::write(path, &png).unwrap();
        image::load_from_memory(&png).unwrap().into_rgb8()
    }
}

impl Drop for Chromium {
    fn drop(&mut self) {
        // It may be gone already.
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}
