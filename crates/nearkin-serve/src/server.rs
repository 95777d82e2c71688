//! Listening, connections, and the end of both.

use std::convert::Infallible;
use std::future::{Future, poll_fn};
use std::net::{SocketAddr, TcpListener};
use std::path::PathBuf;
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::time::Duration;

use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper::{Request, Response};
use hyper_util::rt::{TokioIo, TokioTimer};
use nearkin_data::Dataset;
use nearkin_train::Model;
use tokio::io::AsyncWriteExt;
use tokio::net::TcpStream;
use tokio::runtime::Runtime;
use tokio::sync::{Semaphore, mpsc, watch};
use tokio_io_timeout::TimeoutStream;

use crate::error::ServeError;
use crate::http::{Body, late};
use crate::routes::answer;
use crate::state::State;
use crate::store::Store;

/// What is served: any of these may be missing, and what needs it is then answered with the reason.
#[derive(Default)]
pub struct Served {
    /// The vectors to search.
    pub index: Option<Store>,
    /// What turns pictures into vectors; must be what made those of the index.
    pub model: Option<Model>,
    /// Where the pictures of rows are found, by id, that are no files of their own.
    pub data: Option<Dataset>,
    /// The run to watch.
    pub run: Option<PathBuf>,
}

/// How it is served.
#[derive(Debug, Clone)]
pub struct Options {
    /// Where to listen; port 0 takes any that is free.
    pub address: SocketAddr,
    /// What a client must send as `Authorization: Bearer …`; the page itself, which holds no data, needs none.
    pub token: Option<String>,
    /// Refuse whatever changes the index.
    pub read_only: bool,
    /// What a client may ask for.
    pub limits: Limits,
}

impl Options {
    /// Listens there, for anyone who can reach it, with the usual limits.
    pub fn at(address: SocketAddr) -> Self {
        Self { address, token: None, read_only: false, limits: Limits::default() }
    }
}

/// What a client may ask for, and for how long.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Limits {
    /// Bytes of a request's body.
    pub body: usize,
    /// Bytes of all bodies that are held at once.
    pub bodies: usize,
    /// Pixels (width × height) of a picture, checked before any is decoded.
    pub pixels: u64,
    /// Requests that wait for the network, or for the search, before further ones are refused.
    pub queue: usize,
    /// Pictures that go through the network at once, and queries that go through the index at once.
    pub batch: usize,
    /// Queries or items of one request.
    pub items: usize,
    /// Neighbours of one query.
    pub neighbours: usize,
    /// Connections at once; further ones wait to be accepted.
    pub connections: usize,
    /// For the head of a request, and for the pause between two requests.
    pub head_time: Duration,
    /// For a request's body.
    pub body_time: Duration,
    /// For the answer, from the body's end.
    pub answer_time: Duration,
    /// For those who are being answered when the server stops.
    pub grace: Duration,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            body: 16 << 20,
            bodies: 256 << 20,
            pixels: 32_000_000,
            queue: 256,
            batch: 64,
            items: 1000,
            neighbours: 1000,
            connections: 1024,
            head_time: Duration::from_secs(15),
            body_time: Duration::from_secs(30),
            answer_time: Duration::from_secs(30),
            grace: Duration::from_secs(10),
        }
    }
}

/// A running server. It stops when told by its [`Stopper`], or when it is dropped.
pub struct Server {
    address: SocketAddr,
    stop: Arc<watch::Sender<bool>>,
    ended: watch::Receiver<bool>,
    runtime: Runtime,
}

/// Tells a server to stop, from any thread and as often as one likes.
#[derive(Clone)]
pub struct Stopper(Arc<watch::Sender<bool>>);

impl Stopper {
    /// No new connection is accepted; requests that are being answered are answered.
    pub fn stop(&self) {
        self.0.send_replace(true);
    }
}

/// Threads that read requests and write answers; the network and the search have their own.
const THREADS: usize = 2;

impl Server {
    /// Begins to serve. When this returns, clients can connect.
    ///
    /// # Errors
    /// When the address cannot be listened on, the model did not make the index or takes no pictures, or the token is too short.
    pub fn start(served: Served, options: Options) -> Result<Self, ServeError> {
        let wanted = options.address;
        let listen = move |source| ServeError::Listen { address: wanted, source };
        let listener = TcpListener::bind(wanted).map_err(listen)?;
        listener.set_nonblocking(true).map_err(listen)?;
        let address = listener.local_addr().map_err(listen)?;
        let limits = options.limits;
        let state = Arc::new(State::new(served, options, address)?);
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(THREADS)
            .thread_name("http")
            .enable_all()
            .build()
            .map_err(ServeError::Threads)?;
        let listener = {
            let _entered = runtime.enter();
            tokio::net::TcpListener::from_std(listener).map_err(listen)?
        };
        let (stop, stopped) = watch::channel(false);
        let (end, ended) = watch::channel(false);
        runtime.spawn(async move {
            accept(listener, &state, limits, stopped).await;
            end.send_replace(true);
        });
        Ok(Self { address, stop: Arc::new(stop), ended, runtime })
    }

    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// What stops it.
    pub fn stopper(&self) -> Stopper {
        Stopper(Arc::clone(&self.stop))
    }

    /// Waits until it has been stopped, and those who were being answered have their answers.
    pub fn wait(mut self) {
        // An error would mean that the task is gone, and so is what was waited for.
        let _ = self.runtime.block_on(self.ended.wait_for(|ended| *ended));
        self.runtime.shutdown_background();
    }
}

async fn accept(
    listener: tokio::net::TcpListener,
    state: &Arc<State>,
    limits: Limits,
    mut stopped: watch::Receiver<bool>,
) {
    let connections = Arc::new(Semaphore::new(limits.connections));
    // Every connection holds a sender: when the last is gone, so are they.
    let (alive, mut all_gone) = mpsc::channel::<Infallible>(1);
    loop {
        let accepted = async {
            let permit = Arc::clone(&connections).acquire_owned().await;
            (permit, listener.accept().await)
        };
        let (permit, accepted) = tokio::select! {
            accepted = accepted => accepted,
            () = told(&mut stopped) => break,
        };
        match accepted {
            Ok((stream, _)) => {
                let (state, stopped, alive) = (Arc::clone(state), stopped.clone(), alive.clone());
                tokio::spawn(async move {
                    converse(stream, state, limits, stopped).await;
                    drop((permit, alive));
                });
            }
            // Out of file descriptors, say: the connections there are will free some.
            Err(_) => tokio::time::sleep(Duration::from_millis(50)).await,
        }
    }
    drop((listener, alive));
    // Whoever has not been answered by then is not.
    let _ = tokio::time::timeout(limits.grace, all_gone.recv()).await;
}

/// Waits until the server is told to stop.
async fn told(stopped: &mut watch::Receiver<bool>) {
    // An error would mean that the server is gone: the same.
    let _ = stopped.wait_for(|stop| *stop).await;
}

type Answering = Pin<Box<dyn Future<Output = Result<Response<Body>, Infallible>> + Send>>;

/// One connection, from its first request to its last.
async fn converse(stream: TcpStream, state: Arc<State>, limits: Limits, mut stopped: watch::Receiver<bool>) {
    // Answers are written whole: nothing is gained by waiting for more to send.
    let _ = stream.set_nodelay(true);
    let mut stream = TimeoutStream::new(stream);
    // A client that does not take its answer is not waited for.
    stream.set_write_timeout(Some(limits.answer_time));
    let service = service_fn(move |request: Request<Incoming>| -> Answering {
        let state = Arc::clone(&state);
        Box::pin(async move { Ok(answer(&state, request).await) })
    });
    let mut connection = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(limits.head_time)
        .max_headers(64)
        .max_buf_size(64 << 10)
        .serve_connection(TokioIo::new(Box::pin(stream)), service);
    let ended = {
        let mut stopped = pin!(told(&mut stopped));
        let mut stopping = false;
        loop {
            tokio::select! {
                ended = poll_fn(|context| connection.poll_without_shutdown(context)) => break ended,
                () = &mut stopped, if !stopping => {
                    stopping = true;
                    Pin::new(&mut connection).graceful_shutdown();
                }
            }
        }
    };
    let parts = connection.into_parts();
    let mut stream = parts.io.into_inner();
    if let Err(error) = ended
        && error.is_timeout()
        && !parts.read_buf.is_empty()
    {
        let _ = stream.write_all(late().as_bytes()).await;
    }
    let _ = stream.shutdown().await;
}
