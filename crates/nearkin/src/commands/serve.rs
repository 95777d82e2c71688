//! `nearkin serve`

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::time::Duration;

use nearkin_data::Dataset;
use nearkin_serve::{Limits, Options, Served, Server, Store};
use nearkin_train::Model;
use serde_json::json;

use crate::cli::OnDevice;
use crate::failure::Failure;
use crate::ui::Ui;

/// The environment variable that a token is taken from.
const TOKEN: &str = "NEARKIN_TOKEN";

#[derive(Debug, clap::Args)]
#[command(after_help = "\
The page is at the address that is printed, the description of all requests at /openapi.json.
A token, if clients must send one as 'authorization: Bearer …', is taken from the environment variable NEARKIN_TOKEN.")]
pub struct Args {
    /// An index made by `nearkin index`
    index: PathBuf,
    /// The run or model folder that made the vectors; needed to search by picture
    #[arg(long, value_name = "DIR")]
    model: Option<PathBuf>,
    /// Where pictures are found of items that are no files of their own, such as IDX images
    #[arg(long, value_name = "PATH")]
    data: Option<PathBuf>,
    #[command(flatten)]
    listen: Listen,
    /// The largest body of a request, in MiB
    #[arg(long, value_name = "MIB", default_value_t = 16, value_parser = clap::value_parser!(u16).range(1..=1024))]
    max_body: u16,
    /// The most megapixels of a picture, checked before it is decoded
    #[arg(long, value_name = "MP", default_value_t = 32, value_parser = clap::value_parser!(u16).range(1..=1000))]
    max_pixels: u16,
    /// How many requests may wait; further ones are told to come back (503)
    #[arg(long, value_name = "N", default_value_t = 256, value_parser = clap::value_parser!(u16).range(1..))]
    queue: u16,
    /// Seconds that a body may take to arrive, and an answer to be found
    #[arg(long, value_name = "SECONDS", default_value_t = 30, value_parser = clap::value_parser!(u16).range(1..))]
    timeout: u16,
    #[command(flatten)]
    device: OnDevice,
}

/// Where to listen.
#[derive(Debug, Clone, Copy, clap::Args)]
pub struct Listen {
    /// The address to listen on; 0.0.0.0 serves other machines too
    #[arg(long, value_name = "ADDRESS", default_value_t = IpAddr::V4(Ipv4Addr::LOCALHOST))]
    host: IpAddr,
    /// The port to listen on; 0 takes one that is free
    #[arg(long, value_name = "N", default_value_t = 8000)]
    port: u16,
}

impl Listen {
    pub fn options(self) -> Result<Options, Failure> {
        let token = match std::env::var(TOKEN) {
            Ok(token) => Some(token),
            Err(std::env::VarError::NotPresent) => None,
            Err(e) => return Err(Failure::misuse(format!("{TOKEN}: {e}"))),
        };
        Ok(Options { token, ..Options::at(SocketAddr::new(self.host, self.port)) })
    }
}

pub fn run(args: Args, ui: &Ui) -> Result<(), Failure> {
    let limits = Limits {
        body: usize::from(args.max_body) << 20,
        bodies: (usize::from(args.max_body) << 20).max(Limits::default().bodies),
        pixels: u64::from(args.max_pixels) * 1_000_000,
        queue: args.queue.into(),
        body_time: Duration::from_secs(args.timeout.into()),
        answer_time: Duration::from_secs(args.timeout.into()),
        ..Limits::default()
    };
    let served = Served {
        index: Some(Store::open(&args.index)?),
        model: args.model.as_deref().map(|path| open(path, &args.device)).transpose()?,
        data: args.data.as_deref().map(Dataset::open).transpose()?,
        run: args.model.filter(|folder| folder.join("metrics.jsonl").is_file()),
    };
    let options = Options { limits, ..args.listen.options()? };
    until_stopped(Server::start(served, options)?, &args.index, ui)
}

/// Opens a model to serve it.
pub fn open(path: &Path, device: &OnDevice) -> Result<Model, Failure> {
    Ok(Model::open(path, &device.open()?)?)
}

/// Says where the server is, and serves until the process is told to end.
pub fn until_stopped(server: Server, what: &Path, ui: &Ui) -> Result<(), Failure> {
    let address = server.address();
    let stopper = server.stopper();
    ctrlc::set_handler(move || stopper.stop())
        .map_err(|e| Failure::failed(format!("cannot listen for an interrupt: {e}")))?;
    ui.print_json(&json!({ "event": "serving", "address": address.to_string(), "what": what }));
    ui.print(format!("serving {} at http://{address}/", what.display()));
    if !address.ip().is_loopback() && std::env::var_os(TOKEN).is_none() {
        ui.warn(format!(
            "everyone who can reach {address} can search, add and delete: set {TOKEN} to ask for a token"
        ));
    }
    server.wait();
    ui.note("stopped");
    Ok(())
}
