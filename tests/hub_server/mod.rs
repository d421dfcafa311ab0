//! A small hub on loopback: the hub itself, the other server to which it redirects for bytes, and proxies before it.

// Each test file uses its own part of this.
#![allow(dead_code)]

use std::fmt::Write as _;
use std::io::{BufRead as _, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use rcgen::{BasicConstraints, CertificateParams, IsCa, Issuer, KeyPair};
use rustls::pki_types::{PrivateKeyDer, PrivatePkcs8KeyDer};
use rustls::{ServerConfig, ServerConnection, StreamOwned};

use contract::digest::Digest;

/// A commit of the model, ...
pub const REVISION: &str = "0123456789abcdef0123456789abcdef01234567";
/// ... its file, ...
pub const FILE: &str = "model.safetensors";
/// ... and a token that nobody else may see.
pub const SECRET: &str = "hf_secretsecretsecret";

/// What somebody asked for.
#[derive(Clone, Debug, Default)]
pub struct Request {
    pub method: String,
    pub path: String,
    /// First and last byte.
    pub range: Option<(u64, u64)>,
    pub authorization: Option<String>,
    pub proxy_authorization: Option<String>,
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
    /// Between two bytes of the body.
    pub drip: Duration,
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

    pub fn drip(mut self, drip: Duration) -> Reply {
        self.drip = drip;
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

/// A file without a look at the range that was asked for.
pub fn whole(file: &[u8]) -> Reply {
    Reply { body: file.to_vec(), ..Reply::new(200) }
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
        Server::listen("http", answer, |stream, answer, log| {
            serve(stream, answer, log);
        })
    }

    /// The same by secure connections, with a certificate and its key.
    pub fn secure(
        certificate: &Certificate,
        answer: impl Fn(&Request) -> Reply + Send + Sync + 'static,
    ) -> Server {
        let key = PrivateKeyDer::Pkcs8(PrivatePkcs8KeyDer::from(certificate.key.serialize_der()));
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let config = ServerConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .expect("known versions")
            .with_no_client_auth()
            .with_single_cert(vec![certificate.own.der().clone()], key)
            .expect("a certificate and its key");
        let config = Arc::new(config);
        Server::listen("https", answer, move |stream, answer, log| {
            let connection = ServerConnection::new(Arc::clone(&config)).expect("a good config");
            let mut stream = StreamOwned::new(connection, stream);
            serve(&mut stream, answer, log);
            stream.conn.send_close_notify();
            let _ = stream.flush();
        })
    }

    fn listen(
        scheme: &str,
        answer: impl Fn(&Request) -> Reply + Send + Sync + 'static,
        on: impl Fn(TcpStream, &dyn Fn(&Request) -> Reply, &Mutex<Log>) + Send + Sync + 'static,
    ) -> Server {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
        let url = format!("{scheme}://{}", listener.local_addr().expect("bound"));
        let log = Arc::new(Mutex::new(Log::default()));
        let (shared, both) = (Arc::clone(&log), Arc::new((answer, on)));
        std::thread::spawn(move || {
            for stream in listener.incoming().map_while(Result::ok) {
                let (both, log) = (Arc::clone(&both), Arc::clone(&shared));
                std::thread::spawn(move || (both.1)(stream, &both.0, &log));
            }
        });
        Server { url, log }
    }

    /// Host and port.
    pub fn host(&self) -> &str {
        self.url.split("://").nth(1).unwrap_or_default()
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
fn serve(
    mut stream: impl Read + Write,
    answer: &dyn Fn(&Request) -> Reply,
    log: &Mutex<Log>,
) -> Option<()> {
    let mut lines = BufReader::new(&mut stream).lines();
    let first = lines.next()?.ok()?;
    let mut words = first.split(' ').map(str::to_owned);
    let mut request = Request { method: words.next()?, path: words.next()?, ..Request::default() };
    for line in lines.map_while(Result::ok).take_while(|line| !line.is_empty()) {
        let (name, value) = line.split_once(": ")?;
        match name.to_ascii_lowercase().as_str() {
            "range" => {
                let (start, last) = value.strip_prefix("bytes=")?.split_once('-')?;
                let last = if last.is_empty() { u64::MAX } else { last.parse().ok()? };
                request.range = Some((start.parse().ok()?, last));
            }
            "authorization" => request.authorization = Some(value.to_owned()),
            "proxy-authorization" => request.proxy_authorization = Some(value.to_owned()),
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
    let is_head = request.method == "HEAD";
    let cut = if is_head { 0 } else { reply.cut.unwrap_or(reply.body.len()) };
    let sent = &reply.body[..cut];
    log.lock().ok()?.sent += sent.len();
    stream.write_all(head.as_bytes()).ok()?;
    if reply.drip.is_zero() {
        stream.write_all(sent).ok()?;
    }
    for byte in sent.iter().take_while(|_| !reply.drip.is_zero()) {
        stream.write_all(std::slice::from_ref(byte)).ok()?;
        stream.flush().ok()?;
        std::thread::sleep(reply.drip);
    }
    stream.flush().ok()?;
    std::thread::sleep(reply.stall);
    Some(())
}

/// A server's certificate, its key, and the authority that gave it.
pub struct Certificate {
    own: rcgen::Certificate,
    key: KeyPair,
    /// PEM.
    pub authority: String,
}

impl Certificate {
    /// For `name`, by an authority of its own; `years` are those in which it is valid.
    pub fn new(name: &str, years: std::ops::Range<i32>) -> Certificate {
        let mut authority = CertificateParams::new(Vec::new()).expect("no names");
        authority.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        // Each has its own name: of two with one name the other's signature would be wrong, not unknown.
        static COUNT: AtomicUsize = AtomicUsize::new(0);
        let own_name = format!("a test's authority {}", COUNT.fetch_add(1, Ordering::Relaxed));
        authority.distinguished_name.push(rcgen::DnType::CommonName, own_name);
        let authority_key = KeyPair::generate().expect("a key");
        let pem = authority.self_signed(&authority_key).expect("its own certificate").pem();
        let authority = Issuer::new(authority, authority_key);
        let mut params = CertificateParams::new(vec![name.to_owned()]).expect("a name");
        params.not_before = rcgen::date_time_ymd(years.start, 1, 1);
        params.not_after = rcgen::date_time_ymd(years.end, 1, 1);
        let key = KeyPair::generate().expect("a key");
        let own = params.signed_by(&key, &authority).expect("signed");
        Certificate { own, key, authority: pem }
    }
}

/// A hub that answers as Hugging Face's does, and the server that it redirects to for the bytes of large files. What is
/// not an index is large. `org/old` is now called `org/name`; `org/gated` wants a token.
pub struct RealHub {
    pub hub: Server,
    pub bytes: Server,
}

impl RealHub {
    pub fn start(files: Vec<(&'static str, Vec<u8>)>) -> RealHub {
        let files = Arc::new(files);
        let own = Arc::clone(&files);
        let bytes = Server::start(move |request| {
            let name = request.path.split(['?', '/']).nth(2).unwrap_or_default();
            match own.iter().find(|(other, _)| *other == name) {
                Some((_, file)) if request.path.contains("signature=") => ranged(file, request),
                _ => Reply::new(403),
            }
        });
        let to = bytes.url.clone();
        let hub = Server::start(move |request| real_answer(&files, &to, request));
        RealHub { hub, bytes }
    }
}

/// A range if one is asked for, else the whole.
fn ranged(file: &[u8], request: &Request) -> Reply {
    let reply = match request.range {
        Some(_) => part_of(file, request),
        None => whole(file),
    };
    reply.header("Accept-Ranges", "bytes")
}

fn real_answer(files: &[(&'static str, Vec<u8>)], bytes: &str, request: &Request) -> Reply {
    // Asked by a proxy, the path is an address.
    let path = request
        .path
        .split_once("://")
        .map_or(&*request.path, |(_, rest)| rest.find('/').map_or("/", |slash| &rest[slash..]));
    let cached = format!("/api/resolve-cache/models/org/name/{REVISION}/");
    if let Some(name) = path.strip_prefix(&*cached) {
        let Some((_, file)) = files.iter().find(|(other, _)| *other == name) else {
            return Reply::new(404);
        };
        let etag = &Digest::of(file).to_string()[..40];
        return ranged(file, request)
            .header("ETag", format!("W/\"{etag}\""))
            .header("X-Repo-Commit", REVISION);
    }
    if let Some(rest) = path.strip_prefix("/org/old/") {
        return Reply::new(307).header("Location", format!("/org/name/{rest}"));
    }
    let at = |repo: &str| path.strip_prefix(&*format!("/{repo}/resolve/{REVISION}/"));
    let name = match (at("org/name"), at("org/gated")) {
        (Some(name), _) => name,
        (_, Some(_)) if request.authorization.is_none() => {
            return Reply::new(401)
                .header("X-Error-Code", "GatedRepo")
                .header("X-Error-Message", "Access to model org/gated is restricted");
        }
        (_, Some(name)) => name,
        _ => return Reply::new(404).header("X-Error-Code", "RepoNotFound"),
    };
    let Some((_, file)) = files.iter().find(|(other, _)| *other == name) else {
        return Reply::new(404).header("X-Error-Code", "EntryNotFound");
    };
    if name.ends_with(".json") {
        return Reply::new(307).header("Location", format!("{cached}{name}"));
    }
    Reply::new(302)
        .header("Location", format!("{bytes}/blob/{name}?signature=x"))
        .header("ETag", "\"of-the-redirect\"")
        .header("X-Repo-Commit", REVISION)
        .header("X-Linked-Etag", format!("\"{}\"", Digest::of(file)))
        .header("X-Linked-Size", file.len())
        .header("RateLimit", r#""resolvers";r=4999;t=243"#)
}

/// A proxy that opens connections, and leads all of them to one server: a name need not be known to anybody else.
pub struct Tunnel {
    /// Host and port.
    pub address: String,
    /// Who was asked for, as host and port.
    asked: Arc<Mutex<Vec<String>>>,
}

/// How a proxy is asked to open a connection.
#[derive(Clone, Copy, Debug)]
pub enum Opening {
    Connect,
    Socks4,
    Socks5,
}

impl Tunnel {
    pub fn start(opening: Opening, to: &str) -> Tunnel {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
        let address = listener.local_addr().expect("bound").to_string();
        let asked = Arc::new(Mutex::new(Vec::new()));
        let (shared, to) = (Arc::clone(&asked), to.to_owned());
        std::thread::spawn(move || {
            for client in listener.incoming().map_while(Result::ok) {
                let (asked, to) = (Arc::clone(&shared), to.clone());
                std::thread::spawn(move || open(opening, client, &to, &asked));
            }
        });
        Tunnel { address, asked }
    }

    pub fn asked(&self) -> Vec<String> {
        self.asked.lock().expect("no thread panics").clone()
    }
}

fn open(
    opening: Opening,
    mut client: TcpStream,
    to: &str,
    asked: &Mutex<Vec<String>>,
) -> std::io::Result<()> {
    let mut byte = || -> std::io::Result<u8> {
        let mut byte = [0];
        client.read_exact(&mut byte).map(|()| byte[0])
    };
    let (who, answer) = match opening {
        Opening::Connect => {
            let mut head = Vec::new();
            while !head.ends_with(b"\r\n\r\n") {
                head.push(byte()?);
            }
            let head = String::from_utf8_lossy(&head).into_owned();
            let who = head.split(' ').nth(1).unwrap_or_default().to_owned();
            (who, b"HTTP/1.1 200 Opened\r\n\r\n".to_vec())
        }
        Opening::Socks4 => {
            let (_, _) = (byte()?, byte()?);
            let port = u16::from_be_bytes([byte()?, byte()?]);
            let host = [byte()?, byte()?, byte()?, byte()?].map(|b| b.to_string()).join(".");
            while byte()? != 0 {}
            (format!("{host}:{port}"), vec![0, 90, 0, 0, 0, 0, 0, 0])
        }
        Opening::Socks5 => {
            let (_, methods) = (byte()?, byte()?);
            for _ in 0..methods {
                byte()?;
            }
            client.write_all(&[5, 0])?;
            let mut byte = || -> std::io::Result<u8> {
                let mut byte = [0];
                client.read_exact(&mut byte).map(|()| byte[0])
            };
            let (_, _, _) = (byte()?, byte()?, byte()?);
            let host = match byte()? {
                1 => [byte()?, byte()?, byte()?, byte()?].map(|b| b.to_string()).join("."),
                _ => {
                    let len = byte()?;
                    let name: std::io::Result<Vec<u8>> = (0..len).map(|_| byte()).collect();
                    String::from_utf8_lossy(&name?).into_owned()
                }
            };
            let port = u16::from_be_bytes([byte()?, byte()?]);
            (format!("{host}:{port}"), vec![5, 0, 0, 1, 0, 0, 0, 0, 0, 0])
        }
    };
    asked.lock().expect("no thread panics").push(who);
    client.write_all(&answer)?;
    let server = TcpStream::connect(to)?;
    let (mut up, mut down) = (client.try_clone()?, server.try_clone()?);
    std::thread::spawn(move || {
        let (mut from, mut to) = (&server, &mut up);
        let _ = std::io::copy(&mut from, &mut to);
        let _ = up.shutdown(std::net::Shutdown::Both);
    });
    std::io::copy(&mut client, &mut down).map(|_| ())
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
