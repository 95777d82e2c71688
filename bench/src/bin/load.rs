//! Asks a server over and over, and says how long it took: `load ADDRESS PATH CLIENTS SECONDS BODIES`.
//!
//! Each client has a connection of its own, kept alive, and asks again as soon as it has its answer: a closed loop. The bodies are
//! JSON, one a line of the file, taken in turn. What the first second brings is thrown away. Prints one line of JSON.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::sync::Barrier;
use std::thread;
use std::time::{Duration, Instant};

use serde_json::json;

type Failure = Box<dyn std::error::Error + Send + Sync>;

const WARM_UP: Duration = Duration::from_secs(1);

struct Client {
    stream: BufReader<TcpStream>,
    line: String,
    body: Vec<u8>,
}

impl Client {
    fn connect(address: &str) -> Result<Self, Failure> {
        let stream = TcpStream::connect(address)?;
        stream.set_nodelay(true)?;
        Ok(Self { stream: BufReader::new(stream), line: String::new(), body: Vec::new() })
    }

    /// Sends a request and reads its answer's status.
    fn ask(&mut self, request: &[u8]) -> Result<u16, Failure> {
        self.stream.get_mut().write_all(request)?;
        let mut next = |line: &mut String| -> Result<(), Failure> {
            line.clear();
            match self.stream.read_line(line)? {
                0 => Err("the server closed the connection".into()),
                _ => Ok(()),
            }
        };
        next(&mut self.line)?;
        let status = self.line.split(' ').nth(1).ok_or("no status")?.parse()?;
        let mut length = 0;
        loop {
            next(&mut self.line)?;
            match self.line.trim_end().split_once(':') {
                None => break,
                Some((name, value)) if name.eq_ignore_ascii_case("content-length") => {
                    length = value.trim().parse()?;
                }
                Some(_) => {}
            }
        }
        self.body.resize(length, 0);
        self.stream.read_exact(&mut self.body)?;
        Ok(status)
    }
}

fn main() -> Result<(), Failure> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [address, path, clients, seconds, bodies] = &arguments[..] else {
        return Err("usage: load ADDRESS PATH CLIENTS SECONDS BODIES".into());
    };
    let (clients, seconds) = (clients.parse::<usize>()?, Duration::from_secs_f64(seconds.parse()?));
    let request = |body: &str| {
        let length = body.len();
        let head = format!(
            "POST {path} HTTP/1.1\r\nhost: {address}\r\ncontent-type: application/json\r\ncontent-length: {length}\r\n\r\n"
        );
        [head.as_bytes(), body.as_bytes()].concat()
    };
    let requests: Vec<Vec<u8>> = std::fs::read_to_string(bodies)?.lines().map(request).collect();
    if requests.is_empty() || clients == 0 {
        return Err("wanted a body and a client at least".into());
    }
    let begin = Barrier::new(clients);
    let run = |client: usize| -> Result<(Vec<f64>, usize), Failure> {
        let mut connection = Client::connect(address)?;
        let (mut times, mut refused) = (Vec::new(), 0);
        begin.wait();
        let start = Instant::now();
        for request in requests.iter().cycle().skip(client * 37 % requests.len()) {
            let asked = start.elapsed();
            if asked > WARM_UP + seconds {
                break;
            }
            let status = connection.ask(request)?;
            if asked > WARM_UP {
                times.push((start.elapsed() - asked).as_secs_f64() * 1e3);
                refused += usize::from(status != 200);
            }
        }
        Ok((times, refused))
    };
    let found: Vec<_> = thread::scope(|scope| {
        let threads: Vec<_> = (0..clients)
            .map(|client| {
                scope.spawn({
                    let run = &run;
                    move || run(client)
                })
            })
            .collect();
        threads.into_iter().map(|thread| thread.join().expect("a client panicked")).collect()
    });
    let (mut times, mut refused) = (Vec::new(), 0);
    for client in found {
        let (more, of_these) = client?;
        times.extend(more);
        refused += of_these;
    }
    if times.is_empty() {
        return Err("no answer came after the warm-up".into());
    }
    times.sort_by(f64::total_cmp);
    let at = |share: f64| times[((times.len() as f64 * share) as usize).min(times.len() - 1)];
    println!(
        "{}",
        json!({
            "requests": times.len(), "refused": refused, "per_second": times.len() as f64 / seconds.as_secs_f64(),
            "p50_ms": at(0.5), "p99_ms": at(0.99), "max_ms": times[times.len() - 1],
        })
    );
    Ok(())
}
