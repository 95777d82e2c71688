//! Thirty small pictures, a network that was never trained, their index, a server, and a client that speaks bytes.

use std::io::{Cursor, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::path::{Path, PathBuf};
use std::thread;
use std::time::{Duration, Instant};

use image::{GrayImage, ImageFormat, Luma};
use nearkin_data::{Dataset, Normalize};
use nearkin_index::{BuildOptions, Embeddings, Origin, build};
use nearkin_net::NetworkConfig;
use nearkin_net::encoders::EncoderConfig;
use nearkin_serve::{Limits, Options, Served, Server, Stopper, Store};
use nearkin_sweep::Metric;
use nearkin_train::{Model, NetworkCard, NetworkModel};
use serde_json::Value;

pub const CLASSES: [&str; 3] = ["dots", "rings", "stripes"];
pub const PER_CLASS: u32 = 10;
pub const DIM: usize = 8;
const SIDE: usize = 16;

/// Files that a server serves.
pub struct Fixture {
    folder: tempfile::TempDir,
}

impl Fixture {
    pub fn new() -> Self {
        let fixture = Self { folder: tempfile::tempdir().unwrap() };
        for class in CLASSES {
            std::fs::create_dir_all(fixture.data().join(class)).unwrap();
            for i in 0..PER_CLASS {
                std::fs::write(fixture.data().join(class).join(format!("{i}.png")), png(class, i)).unwrap();
            }
        }
        let network = NetworkConfig {
            encoder: EncoderConfig::SmallConv { width: 4 },
            channels: 1,
            size: SIDE,
            embedding: Some(DIM),
            projector: None,
        };
        let card = NetworkCard {
            signal: None,
            nearkin: "0.1.0".into(),
            method: "untrained".into(),
            dimension: DIM,
            metric: Metric::Euclidean,
            epoch: 0,
            data: "none".into(),
            classes: Vec::new(),
            normalize: Normalize { mean: vec![0.5], std: vec![0.25] },
            network: network.clone(),
        };
        let device = nearkin_train::device("cpu").unwrap();
        NetworkModel::save(&fixture.model_folder(), &card, &network.init(&device, 7).unwrap()).unwrap();
        let model = fixture.model();
        let inputs = model.read(&fixture.data(), &mut |_, _| {}).unwrap();
        let table = Embeddings {
            vectors: model.embed(&inputs, &mut |_, _| {}).unwrap(),
            dim: DIM,
            ids: inputs.ids(),
            labels: inputs.label_names(),
            paths: inputs.paths(),
            columns: [("size".to_owned(), (0..inputs.len()).map(|i| i.to_string()).collect())].into(),
            origin: Some(Origin {
                model: model.hash().into(),
                metric: model.metric(),
                preprocessing: model.preprocessing(),
                normalized: false,
                data: inputs.fingerprint(),
            }),
        };
        build(&table, &fixture.index(), BuildOptions::default(), &mut |_| {}).unwrap();
        fixture
    }

    pub fn path(&self) -> &Path {
        self.folder.path()
    }

    pub fn data(&self) -> PathBuf {
        self.path().join("pictures")
    }

    pub fn model_folder(&self) -> PathBuf {
        self.path().join("model")
    }

    pub fn index(&self) -> PathBuf {
        self.path().join("pictures.index")
    }

    pub fn model(&self) -> Model {
        Model::open(&self.model_folder(), &nearkin_train::device("cpu").unwrap()).unwrap()
    }

    pub fn served(&self) -> Served {
        Served {
            index: Some(Store::open(&self.index()).unwrap()),
            model: Some(self.model()),
            data: Some(Dataset::open(&self.data()).unwrap()),
            run: None,
        }
    }
}

/// A picture of a class, as a PNG.
pub fn png(class: &str, i: u32) -> Vec<u8> {
    let value = |x: u32, y: u32| match class {
        "dots" => (x % 4 + y % 4 == 0, i),
        "rings" => (((x * x + y * y) / 16).is_multiple_of(2), i + 40),
        _ => ((x / 2).is_multiple_of(2), i + 80),
    };
    encode(&GrayImage::from_fn(20, 24, |x, y| {
        let (on, shade) = value(x, y);
        Luma([if on { 250 - shade as u8 } else { shade as u8 }])
    }))
}

pub fn encode(image: &GrayImage) -> Vec<u8> {
    let mut bytes = Cursor::new(Vec::new());
    image.write_to(&mut bytes, ImageFormat::Png).unwrap();
    bytes.into_inner()
}

/// A server that stops when it is dropped, and must then stop in time.
pub struct Running {
    pub address: SocketAddr,
    pub stopper: Stopper,
    waiting: Option<thread::JoinHandle<()>>,
    _fixture: Fixture,
}

impl Running {
    pub fn new(change: impl FnOnce(&mut Options, &mut Served)) -> Self {
        Self::of(Fixture::new(), change)
    }

    /// With files that were changed before the server started.
    pub fn prepared(prepare: impl FnOnce(&Fixture)) -> Self {
        let fixture = Fixture::new();
        prepare(&fixture);
        Self::of(fixture, |_, _| {})
    }

    fn of(fixture: Fixture, change: impl FnOnce(&mut Options, &mut Served)) -> Self {
        let mut served = fixture.served();
        let mut options = Options::at(([127, 0, 0, 1], 0).into());
        change(&mut options, &mut served);
        let server = Server::start(served, options).unwrap();
        let (address, stopper) = (server.address(), server.stopper());
        let waiting = Some(thread::spawn(move || server.wait()));
        Self { address, stopper, waiting, _fixture: fixture }
    }

    pub fn with_limits(change: impl FnOnce(&mut Limits)) -> Self {
        Self::new(|options, _| change(&mut options.limits))
    }

    pub fn connect(&self) -> TcpStream {
        let stream = TcpStream::connect(self.address).unwrap();
        stream.set_read_timeout(Some(Duration::from_secs(60))).unwrap();
        stream
    }

    pub fn get(&self, path: &str) -> Reply {
        self.request("GET", path, &[], b"")
    }

    pub fn post_json(&self, path: &str, body: &str) -> Reply {
        self.request("POST", path, &[("content-type", "application/json")], body.as_bytes())
    }

    pub fn post_picture(&self, path: &str, body: &[u8]) -> Reply {
        self.request("POST", path, &[("content-type", "image/png")], body)
    }

    pub fn request(&self, method: &str, path: &str, headers: &[(&str, &str)], body: &[u8]) -> Reply {
        let mut stream = self.connect();
        stream.write_all(&head(method, path, headers, body.len())).unwrap();
        // A server that refuses early may close before it has read everything.
        let _ = stream.write_all(body);
        Reply::read(stream)
    }

    /// Asserts that a well-behaved client gets its answer.
    #[track_caller]
    pub fn assert_well(&self) {
        let reply = self.post_json("/v1/search", r#"{"queries": [{"id": "dots/0.png"}], "k": 3}"#);
        assert_eq!(reply.status, 200, "{}", reply.text());
        assert_eq!(reply.json()["results"][0]["hits"].as_array().unwrap().len(), 3);
    }

    /// The value of a metric without labels.
    pub fn metric(&self, name: &str) -> f64 {
        let text = self.get("/metrics").text();
        let line = text.lines().find(|line| line.split(' ').next() == Some(name));
        line.unwrap_or_else(|| panic!("no {name} in\n{text}")).split(' ').nth(1).unwrap().parse().unwrap()
    }

    #[track_caller]
    pub fn until(&self, what: &str, condition: impl Fn(&Self) -> bool) {
        let start = Instant::now();
        while !condition(self) {
            assert!(start.elapsed() < Duration::from_secs(20), "waited in vain until {what}");
            thread::sleep(Duration::from_millis(20));
        }
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        self.stopper.stop();
        if let Some(waiting) = self.waiting.take()
            && waiting.join().is_err()
            && !thread::panicking()
        {
            panic!("the server's thread panicked");
        }
    }
}

/// The head of a request that is the last of its connection.
pub fn head(method: &str, path: &str, headers: &[(&str, &str)], length: usize) -> Vec<u8> {
    let mut head = format!(
        "{method} {path} HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\ncontent-length: {length}\r\n"
    );
    for (name, value) in headers {
        head += &format!("{name}: {value}\r\n");
    }
    (head + "\r\n").into_bytes()
}

/// What came back.
#[derive(Debug)]
pub struct Reply {
    pub status: u16,
    pub head: String,
    pub body: Vec<u8>,
}

impl Reply {
    /// Reads until the server closes.
    #[track_caller]
    pub fn read(mut stream: TcpStream) -> Self {
        let mut bytes = Vec::new();
        stream.read_to_end(&mut bytes).unwrap();
        Self::parse(&bytes)
    }

    #[track_caller]
    pub fn parse(bytes: &[u8]) -> Self {
        let end = bytes.windows(4).position(|four| four == b"\r\n\r\n");
        let end = end.unwrap_or_else(|| panic!("no head in {:?}", String::from_utf8_lossy(bytes)));
        let head = String::from_utf8(bytes[..end].to_vec()).unwrap();
        let status = head.split(' ').nth(1).unwrap().parse().unwrap();
        Self { status, head, body: bytes[end + 4..].to_vec() }
    }

    pub fn header(&self, name: &str) -> Option<&str> {
        self.head.lines().find_map(|line| {
            line.split_once(": ")
                .filter(|(found, _)| found.eq_ignore_ascii_case(name))
                .map(|(_, value)| value)
        })
    }

    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }

    #[track_caller]
    pub fn json(&self) -> Value {
        serde_json::from_slice(&self.body).unwrap_or_else(|e| panic!("{e} in {}", self.text()))
    }

    /// Asserts a structured error.
    #[track_caller]
    pub fn assert_error(&self, status: u16, code: &str) -> Value {
        assert_eq!(self.status, status, "{}", self.text());
        let error = self.json()["error"].clone();
        assert_eq!(error["code"], code, "{error}");
        assert!(!error["message"].as_str().unwrap().is_empty());
        error
    }
}
