//! A small hub on loopback: the hub itself, and the other server to which it redirects for bytes.

// Each test file uses its own part of this.
#![allow(dead_code)]

use std::fmt::Write as _;
use std::io::{BufRead as _, BufReader, Write as _};
use std::net::{TcpListener, TcpStream};
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use contract::digest::Digest;

/// A commit of the model, ...
pub const REVISION: &str = "0123456789abcdef0123456789abcdef01234567";
/// ... its file, ...
pub const FILE: &str = "model.safetensors";
/// ... and a token that nobody else may see.
pub const SECRET: &str = "hf_secretsecretsecret";

/// What somebody asked for.
#[derive(Clone, Debug)]
pub struct Request {
    pub path: String,
    /// First and last byte.
    pub range: Option<(u64, u64)>,
    pub authorization: Option<String>,
}

/// What to answer.
#[derive(Clone, Default)]
pub struct Reply {
    pub status: u16,
    pub headers: Vec<(&'static str, String)>,
    pub body: Vec<u8>,
    /// Only so many bytes of the body are sent.
    pub cut: Option<usize>,
    /// The connection then stays open for so long.
    pub stall: Duration,
}

impl Reply {
    pub fn new(status: u16) -> Reply {
        Reply { status, ..Reply::default() }
    }

    pub fn header(mut self, name: &'static str, value: impl ToString) -> Reply {
        self.headers.push((name, value.to_string()));
        self
    }

    pub fn cut(mut self, at: usize) -> Reply {
        self.cut = Some(at);
        self
    }

    pub fn stall(mut self, stall: Duration) -> Reply {
        self.stall = stall;
        self
    }
}

/// The range of a file that a request asks for.
pub fn part_of(file: &[u8], request: &Request) -> Reply {
    let (start, last) = request.range.expect("all requests are for ranges");
    let len = file.len() as u64;
    if start >= len {
        return Reply::new(416).header("Content-Range", format!("bytes */{len}"));
    }
    let last = last.min(len - 1);
    let mut reply = Reply::new(206).header("Content-Range", format!("bytes {start}-{last}/{len}"));
    reply.body = file[start as usize..=last as usize].to_vec();
    reply
}

/// What was asked, and how many bytes of bodies were sent.
#[derive(Default)]
pub struct Log {
    pub requests: Vec<Request>,
    pub sent: usize,
}

/// Serves until the test program ends.
pub struct Server {
    /// `http://127.0.0.1:PORT`
    pub url: String,
    log: Arc<Mutex<Log>>,
}

impl Server {
    pub fn start(answer: impl Fn(&Request) -> Reply + Send + Sync + 'static) -> Server {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
        let url = format!("http://{}", listener.local_addr().expect("bound"));
        let log = Arc::new(Mutex::new(Log::default()));
        let (answer, shared) = (Arc::new(answer), Arc::clone(&log));
        std::thread::spawn(move || {
            for stream in listener.incoming().map_while(Result::ok) {
                let (answer, log) = (Arc::clone(&answer), Arc::clone(&shared));
                std::thread::spawn(move || serve(&stream, &*answer, &log));
            }
        });
        Server { url, log }
    }

    pub fn log(&self) -> MutexGuard<'_, Log> {
        self.log.lock().expect("no server thread panics")
    }

    /// Start and end of each range asked for under a path that ends so.
    pub fn ranges(&self, path: &str) -> Vec<(u64, u64)> {
        let log = self.log();
        let asked = log.requests.iter().filter(|request| request.path.ends_with(path));
        asked.filter_map(|request| request.range).collect()
    }
}

/// One request a connection. A client that goes away is no fault.
fn serve(stream: &TcpStream, answer: &dyn Fn(&Request) -> Reply, log: &Mutex<Log>) -> Option<()> {
    let mut lines = BufReader::new(stream).lines();
    let path = lines.next()?.ok()?.split(' ').nth(1)?.to_owned();
    let mut request = Request { path, range: None, authorization: None };
    for line in lines.map_while(Result::ok).take_while(|line| !line.is_empty()) {
        let (name, value) = line.split_once(": ")?;
        match name.to_ascii_lowercase().as_str() {
            "range" => {
                let (start, last) = value.strip_prefix("bytes=")?.split_once('-')?;
                request.range = Some((start.parse().ok()?, last.parse().ok()?));
            }
            "authorization" => request.authorization = Some(value.to_owned()),
            _ => {}
        }
    }
    log.lock().ok()?.requests.push(request.clone());
    let reply = answer(&request);
    let mut head = format!("HTTP/1.1 {} Status\r\n", reply.status);
    for (name, value) in &reply.headers {
        let _ = write!(head, "{name}: {value}\r\n");
    }
    let _ = write!(head, "Content-Length: {}\r\nConnection: close\r\n\r\n", reply.body.len());
    let sent = &reply.body[..reply.cut.unwrap_or(reply.body.len())];
    log.lock().ok()?.sent += sent.len();
    let mut stream = stream;
    stream.write_all(head.as_bytes()).ok()?;
    stream.write_all(sent).ok()?;
    stream.flush().ok()?;
    std::thread::sleep(reply.stall);
    Some(())
}

/// A hub that redirects to another server for the bytes, as the real one does.
pub struct TwoServers {
    pub hub: Server,
    pub bytes: Server,
}

impl TwoServers {
    pub fn start(file: Vec<u8>) -> TwoServers {
        let digest = Digest::of(&file);
        let bytes = Server::start(move |request| part_of(&file, request));
        let to = format!("{}/blob?signature=x", bytes.url);
        let hub = Server::start(move |_| {
            Reply::new(302)
                .header("Location", &to)
                .header("X-Repo-Commit", REVISION)
                .header("X-Linked-Etag", format!("\"{digest}\""))
        });
        TwoServers { hub, bytes }
    }
}

/// An address at which nobody listens.
pub fn nobody() -> String {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
    listener.local_addr().expect("bound").to_string()
}
