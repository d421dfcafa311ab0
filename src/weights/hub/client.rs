//! Reads ranges of a hub's files: follows its redirects, tries again, goes on where an answer broke
//! off.
//!
//! Redirects are followed here and not by the HTTP library, because what a hub says of a file is in
//! its redirect to the server that has the bytes, and because the token is for the hub alone.

use std::io::Read as _;
use std::sync::{Mutex, OnceLock, PoisonError};
use std::time::{Duration, Instant};

use ureq::config::Config;
use ureq::http::{HeaderMap, HeaderValue, Response, Uri};
use ureq::tls::{RootCerts, TlsConfig};
use ureq::{Agent, Body, Error};

use super::answer::{again_after, content_range, etag, redirected, text};
use super::fault::{Fault, Refusal, Trouble};
use super::proxy::{Proxies, Proxy};
use super::settings::{Setting, Settings, Token};
use super::trust::Trust;
use super::{Place, State};
use contract::digest::Digest;
use contract::words::quote;
use record::tool::{NAME, VERSION};

/// Attempts in a row that bring nothing.
const ATTEMPTS_MAX: u32 = 4;
/// A hub redirects once to the bytes, and once where a model was renamed.
const REDIRECTS_MAX: usize = 5;
/// For a name's resolution, and for a connection.
const CONNECT: Duration = Duration::from_secs(10);
/// Bytes handed on at once.
const CHUNK_LEN: usize = 1 << 16;
/// Bytes that an answer must bring in each second of a window, on average: a hundredth of the slowest connection on
/// which anybody fetches weights.
const LEAST_BYTES_PER_S: f64 = 1024.0;

pub(super) struct Client {
    endpoint: Setting<String>,
    token: Option<Token>,
    /// Whether the token may go over a connection that everybody can read.
    token_in_clear: bool,
    proxies: Proxies,
    trust: Trust,
    /// Read when the first secure connection is made.
    roots: OnceLock<Result<RootCerts, Fault>>,
    /// Variables that cannot be used.
    faults: Vec<Fault>,
    /// By whom and by what scheme, and the connections kept open so.
    agents: Mutex<Vec<(Option<Proxy>, bool, Agent)>>,
    beginning: Duration,
    /// How long nothing may come.
    pub silence: Duration,
    window: Duration,
    pause: Duration,
}

/// Bytes `at..end` of a file are wanted; `at` goes on as they come.
pub(super) struct Reading<'a> {
    pub place: &'a Place,
    /// The place's file, or a shard.
    pub file: &'a str,
    pub at: u64,
    pub end: u64,
    /// The state in which the file must be; found out by the first answer.
    pub state: Option<State>,
    /// Whether the hub sends the whole file, whatever range is asked for.
    pub is_whole: bool,
}

/// Takes the bytes that come, in order.
type Sink<'a> = dyn FnMut(&[u8]) -> Result<(), Fault> + 'a;

/// An answer that has the bytes that are wanted.
struct Answer {
    response: Response<Body>,
    state: State,
    uri: Uri,
    /// Bytes of the file that come before.
    before: u64,
}

impl Client {
    pub fn new(settings: Settings) -> Client {
        Client {
            trust: settings.trust,
            roots: OnceLock::new(),
            endpoint: settings.endpoint,
            token: settings.token,
            token_in_clear: settings.token_in_clear.is_some(),
            proxies: settings.proxies,
            faults: settings.faults,
            agents: Mutex::default(),
            beginning: settings.beginning.value,
            silence: settings.silence.value,
            window: settings.window,
            pause: settings.pause,
        }
    }

    /// Reads on to the range's end, or to the file's if that comes first. `say` tells why nothing happens for a while.
    pub fn read(
        &self,
        reading: &mut Reading<'_>,
        say: fn(&str),
        sink: &mut Sink<'_>,
    ) -> Result<State, Fault> {
        if let Some(fault) = self.faults.first() {
            return Err(fault.clone());
        }
        let mut attempts = 0;
        loop {
            let before = reading.at;
            let (fault, after) = match self.attempt(reading, sink) {
                Ok(state) => return Ok(state),
                Err(Trouble::Lasting(fault)) => return Err(fault),
                Err(Trouble::Passing(fault, after)) => (fault, after),
            };
            attempts = if reading.at > before { 1 } else { attempts + 1 };
            if attempts >= ATTEMPTS_MAX {
                return Err(fault.after(attempts));
            }
            if let Some(after) = after.filter(|after| after.as_secs() > 0) {
                say(&format!("waiting {} s: {}", after.as_secs(), fault.message));
            }
            std::thread::sleep(after.unwrap_or(self.pause * 2u32.pow(attempts - 1)));
        }
    }

    fn attempt(&self, reading: &mut Reading<'_>, sink: &mut Sink<'_>) -> Result<State, Trouble> {
        if let Some(state) = reading.state.as_ref().filter(|_| reading.at >= reading.end) {
            return Ok(state.clone());
        }
        let Answer { mut response, state, uri, mut before } = self.ask(reading)?;
        let host = host(&uri);
        match &reading.state {
            Some(known) if *known != state => return Err(Fault::changed().into()),
            Some(_) => {}
            None => reading.state = Some(state.clone()),
        }
        reading.is_whole = response.status() == 200;
        let end = reading.end.min(state.file_len);
        let asked = end.saturating_sub(reading.at);
        let mut body = response.body_mut().as_reader().take(before + asked);
        let mut buffer = vec![0; CHUNK_LEN];
        let mut got = 0;
        let (mut since, mut brought) = (Instant::now(), 0);
        while got < asked {
            let broken = |why: String| {
                let message =
                    format!("the answer of {host} broke off after {got} of {asked} bytes{why}");
                Trouble::Passing(Fault::environment(message, RUN_AGAIN), None)
            };
            let len = match body.read(&mut buffer) {
                Ok(0) => return Err(broken(String::new())),
                Ok(len) => len,
                Err(error) => return Err(broken(format!(": {error}"))),
            };
            let skipped = before.min(len as u64);
            before -= skipped;
            let bytes = &buffer[skipped as usize..len];
            sink(bytes)?;
            reading.at += bytes.len() as u64;
            got += bytes.len() as u64;
            brought += len;
            let window = since.elapsed();
            if window >= self.window {
                if (brought as f64) < LEAST_BYTES_PER_S * window.as_secs_f64() {
                    let seconds = window.as_secs_f64();
                    let message =
                        format!("{host} sends too slowly: {brought} bytes in {seconds:.0} s");
                    return Err(Fault::down(message, RUN_AGAIN).into());
                }
                (since, brought) = (Instant::now(), 0);
            }
        }
        Ok(state)
    }

    /// Who asks for an address, and by which proxy.
    fn agent(&self, uri: &Uri) -> Result<(Agent, Option<Proxy>), Fault> {
        let proxy = self.proxies.for_address(uri)?;
        let is_secure = uri.scheme_str() == Some("https");
        // The list is valid whatever happened to another thread.
        let mut agents = self.agents.lock().unwrap_or_else(PoisonError::into_inner);
        let known =
            agents.iter().find(|(other, secure, _)| (other, *secure) == (&proxy, is_secure));
        if let Some((_, _, agent)) = known {
            return Ok((agent.clone(), proxy));
        }
        let roots = match is_secure || proxy.is_some() {
            true => self.roots.get_or_init(|| self.trust.roots()).clone()?,
            false => RootCerts::WebPki,
        };
        let agent = match &proxy {
            Some(proxy) => proxy.agent(uri, |proxy| self.config(proxy, roots.clone())),
            None => Agent::new_with_config(self.config(None, roots)),
        };
        agents.push((proxy.clone(), is_secure, agent.clone()));
        Ok((agent, proxy))
    }

    fn config(&self, proxy: Option<ureq::Proxy>, roots: RootCerts) -> Config {
        Agent::config_builder()
            .proxy(proxy)
            .tls_config(TlsConfig::builder().root_certs(roots).build())
            .max_redirects(0)
            .max_redirects_will_error(false)
            .http_status_as_error(false)
            .user_agent(format!("{NAME}/{VERSION}"))
            .timeout_resolve(Some(CONNECT))
            .timeout_connect(Some(CONNECT))
            .timeout_recv_response(Some(self.beginning))
            .timeout_per_read(Some(self.silence))
            .build()
    }

    /// Asks for the range, and follows redirects.
    fn ask(&self, reading: &Reading<'_>) -> Result<Answer, Trouble> {
        let Reading { place, file, at, end, .. } = *reading;
        let hub = self.hub()?;
        let bearer = self.token.as_ref().map(bearer).transpose()?;
        let Place { repo, revision, .. } = place;
        let mut uri =
            parse(&format!("{}/{repo}/resolve/{revision}/{}", self.endpoint.value, encode(file)))?;
        let mut stated = Stated::default();
        for _ in 0..=REDIRECTS_MAX {
            let is_hub = origin(&uri) == origin(&hub);
            let (agent, proxy) = self.agent(&uri)?;
            let mut request = agent
                .get(&uri)
                .header("Range", format!("bytes={at}-{}", end.saturating_sub(1)))
                .header("Accept-Encoding", "identity");
            let token = bearer.as_ref().filter(|_| is_hub);
            let sent = token.filter(|_| self.may_carry_token(&uri, proxy.as_ref()));
            if let Some(bearer) = sent {
                request = request.header("Authorization", bearer.clone());
            }
            let forwards = proxy.as_ref().filter(|proxy| proxy.forwards(&uri));
            if let Some(authorization) = forwards.and_then(Proxy::authorization) {
                request = request.header("Proxy-Authorization", authorization);
            }
            let response =
                request.call().map_err(|error| self.unreachable(&uri, proxy.as_ref(), &error))?;
            let headers = response.headers();
            let status = response.status().as_u16();
            // A mirror may leave it to the hub itself to say what the file is.
            if is_hub || (300..400).contains(&status) {
                stated.note(headers, revision)?;
            }
            let state = |file_len| State {
                file_len,
                etag: stated.etag.clone(),
                file_sha256: stated.file_sha256,
            };
            match status {
                206 => {
                    let file_len = content_range(headers, at).ok_or_else(|| no_range(&uri))?;
                    let state = state(file_len);
                    return Ok(Answer { response, state, uri, before: 0 });
                }
                200 => {
                    let file_len = whole_len(&response, &stated, &uri)?;
                    if at > 0 && at >= file_len {
                        return Err(Fault::changed().into());
                    }
                    let state = state(file_len);
                    return Ok(Answer { response, state, uri, before: at });
                }
                416 if at == 0 => return Err(Fault::malformed(("empty file".into(), None)).into()),
                416 => return Err(Fault::changed().into()),
                301 | 302 | 303 | 307 | 308 => {
                    uri = redirected(&uri, text(headers, "Location")).ok_or_else(|| {
                        let message =
                            format!("{} redirects to an address that cannot be used", host(&uri));
                        Fault::environment(message, "check HF_ENDPOINT")
                    })?;
                }
                407 => {
                    let by = proxy.map_or(host(&uri), |proxy| {
                        format!("the proxy {proxy} ({})", proxy.origin)
                    });
                    let message = format!("{by} wants to know its user");
                    return Err(Fault::down(message, PROXY_USER).into());
                }
                status => {
                    let refusal = Refusal {
                        status,
                        code: text(headers, "X-Error-Code"),
                        message: text(headers, "X-Error-Message"),
                        host: &host(&uri),
                        is_hub,
                        after: again_after(headers, chrono::Utc::now()),
                        token: self
                            .token
                            .as_ref()
                            .filter(|_| token.is_some())
                            .map(|token| (token.origin.as_str(), sent.is_some())),
                    };
                    return Err(refusal.trouble(place, file, &self.endpoint.value));
                }
            }
        }
        let message = format!("{} redirects more than {REDIRECTS_MAX} times", host(&hub));
        Err(Fault::environment(message, "check HF_ENDPOINT").into())
    }

    fn hub(&self) -> Result<Uri, Fault> {
        let Setting { value, origin } = &self.endpoint;
        let hub = value.parse::<Uri>().ok().filter(|uri| {
            matches!(uri.scheme_str(), Some("http" | "https"))
                && uri.authority().is_some_and(|authority| !authority.as_str().contains('@'))
        });
        hub.ok_or_else(|| {
            // Not shown: it may hold a password.
            Fault::down(
                format!("{origin} is not a hub's address"),
                &format!("expected https://HOST in {origin}"),
            )
        })
    }

    /// Whether nobody else can read what is sent to an address: it is asked securely, or it is on this machine.
    fn may_carry_token(&self, uri: &Uri, proxy: Option<&Proxy>) -> bool {
        let is_secure = uri.scheme_str() == Some("https");
        is_secure || self.token_in_clear || (proxy.is_none() && is_loopback(uri))
    }

    /// Why there is no answer.
    fn unreachable(&self, uri: &Uri, proxy: Option<&Proxy>, error: &Error) -> Trouble {
        let host = host(uri);
        if let Some((why, hint)) = insecure(error) {
            return Fault::down(format!("no secure connection to {host}: {why}"), hint).into();
        }
        let why = match error {
            Error::Io(error) => error.to_string(),
            error => error.to_string(),
        };
        let passing = |message, hint: &str| Trouble::Passing(Fault::down(message, hint), None);
        match (error, proxy) {
            (Error::ConnectProxyFailed(why), Some(proxy)) if why.contains("407") => {
                let message =
                    format!("the proxy {proxy} ({}) wants to know its user: {why}", proxy.origin);
                Fault::down(message, PROXY_USER).into()
            }
            (Error::Protocol(_), None) => {
                passing(format!("what {host} answers is not HTTP: {why}"), "check HF_ENDPOINT")
            }
            (_, Some(proxy)) => passing(
                format!("cannot reach {host} by the proxy {proxy}: {why}"),
                &format!("correct or unset {}, or name {host} in NO_PROXY", proxy.origin),
            ),
            _ => passing(format!("cannot reach {host}: {why}"), "check the network"),
        }
    }
}

const PROXY_USER: &str = "expected http://USER:PASSWORD@HOST:PORT in the proxy's variable";

/// Why there is no secure connection, if that is why there is none, and what to do. No second attempt fares better.
fn insecure(error: &Error) -> Option<(String, &'static str)> {
    use rustls::CertificateError as Bad;
    let tls = match error {
        Error::Rustls(tls) => tls,
        // A handshake's error comes as one of reading or writing.
        Error::Io(io) => io.get_ref()?.downcast_ref::<rustls::Error>()?,
        Error::Tls(why) => return Some(((*why).to_owned(), NOT_SECURE)),
        Error::Pem(why) => return Some((why.to_string(), NOT_SECURE)),
        _ => return None,
    };
    let rustls::Error::InvalidCertificate(bad) = tls else {
        return Some((tls.to_string(), NOT_SECURE));
    };
    Some(match bad {
        Bad::UnknownIssuer => (
            "its certificate is by an authority that is not trusted here".to_owned(),
            "name the authority's certificate with SSL_CERT_FILE if it is your own network's",
        ),
        Bad::Expired | Bad::ExpiredContext { .. } => {
            ("its certificate has expired".to_owned(), "check this machine's clock")
        }
        Bad::NotValidYet | Bad::NotValidYetContext { .. } => {
            ("its certificate is not valid yet".to_owned(), "check this machine's clock")
        }
        Bad::NotValidForName | Bad::NotValidForNameContext { .. } => {
            ("its certificate is for another name".to_owned(), "check HF_ENDPOINT")
        }
        other => (rustls::Error::InvalidCertificate(other.clone()).to_string(), NOT_SECURE),
    })
}

const NOT_SECURE: &str = "set NO_PROXY if a proxy opens secure connections";

/// Length of the file in an answer that has all of it.
fn whole_len(response: &Response<Body>, stated: &Stated, uri: &Uri) -> Result<u64, Fault> {
    let headers = response.headers();
    let refused = |what: String| {
        let message = format!("{} answers {what}", host(uri));
        Err(Fault::environment(
            message,
            "check HF_ENDPOINT, download the file with Hugging Face's client",
        ))
    };
    let kind = text(headers, "Content-Type").split(';').next().unwrap_or_default().trim();
    if kind.eq_ignore_ascii_case("text/html") {
        return refused("with a web page, not with the file".to_owned());
    }
    let encoding = text(headers, "Content-Encoding");
    if !matches!(encoding, "" | "identity") {
        return refused(format!("with {} in place of the file's bytes", quote(encoding)));
    }
    match response.body().content_length().or(stated.file_len) {
        Some(len) => Ok(len),
        None => refused("without saying how long the file is".to_owned()),
    }
}

/// Whether an address is this machine's own by its form alone: a name could lead elsewhere.
fn is_loopback(uri: &Uri) -> bool {
    let host = uri.host().unwrap_or_default().trim_matches(['[', ']']);
    host.eq_ignore_ascii_case("localhost")
        || host.parse::<std::net::IpAddr>().is_ok_and(|address| address.is_loopback())
}

const RUN_AGAIN: &str = "run it again: it goes on where it stopped";

/// What the hub itself says of a file, in a redirect too.
#[derive(Default)]
struct Stated {
    etag: String,
    file_sha256: Option<Digest>,
    file_len: Option<u64>,
}

impl Stated {
    fn note(&mut self, headers: &HeaderMap, revision: &str) -> Result<(), Fault> {
        let commit = text(headers, "X-Repo-Commit");
        if !commit.is_empty() && commit != revision {
            let message = format!("the hub answers for another revision, {}", quote(commit));
            return Err(Fault::environment(message, "check HF_ENDPOINT"));
        }
        // Of a large file: its SHA-256.
        let linked = etag(text(headers, "X-Linked-Etag"));
        self.file_sha256 = linked.parse().ok().or(self.file_sha256);
        self.file_len = text(headers, "X-Linked-Size").parse().ok().or(self.file_len);
        let etag = if linked.is_empty() { etag(text(headers, "ETag")) } else { linked };
        if !etag.is_empty() {
            self.etag = etag.to_owned();
        }
        Ok(())
    }
}

fn bearer(token: &Token) -> Result<HeaderValue, Fault> {
    let visible = token.text.bytes().all(|b| b.is_ascii_graphic());
    let value = HeaderValue::try_from(format!("Bearer {}", token.text));
    match value {
        Ok(mut value) if visible => {
            value.set_sensitive(true);
            Ok(value)
        }
        _ => {
            let message = format!("the token ({}) has characters that no token has", token.origin);
            Err(Fault::unavailable(message, "copy it again"))
        }
    }
}

fn no_range(uri: &Uri) -> Fault {
    let message = format!("{} does not answer with the range that it is asked for", host(uri));
    Fault::environment(message, "check HF_ENDPOINT, download the file with Hugging Face's client")
}

/// Who is asked: only who is the same gets the token.
fn origin(uri: &Uri) -> (Option<&str>, Option<String>, Option<u16>) {
    let default = if uri.scheme_str() == Some("https") { 443 } else { 80 };
    let port = uri.port_u16().or(Some(default));
    (uri.scheme_str(), uri.host().map(str::to_ascii_lowercase), port)
}

/// For messages: an address may hold what signs it.
fn host(uri: &Uri) -> String {
    let port = uri.port_u16().map_or(String::new(), |port| format!(":{port}"));
    uri.host().unwrap_or_default().to_owned() + &port
}

fn parse(address: &str) -> Result<Uri, Fault> {
    address.parse().map_err(|_| Fault::environment("a bad address", "check HF_ENDPOINT"))
}

/// A path's text as part of an address.
fn encode(path: &str) -> String {
    let plain = |b: u8| b.is_ascii_alphanumeric() || b"-._~/".contains(&b);
    path.bytes()
        .map(|b| if plain(b) { char::from(b).to_string() } else { format!("%{b:02X}") })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_same_scheme_host_and_port_get_the_token() {
        let same = |a: &str, b: &str| origin(&a.parse().unwrap()) == origin(&b.parse().unwrap());
        assert!(same("https://hub.example/a", "https://HUB.example:443/b?c"));
        for other in [
            "http://hub.example/",
            "https://cdn.hub.example/",
            "https://hub.example:8443/",
            "https://hub.example.evil/",
            "https://hub.example@evil.example/",
        ] {
            assert!(!same("https://hub.example/a", other), "{other}");
        }
    }

    #[test]
    fn this_machine_is_known_by_its_address() {
        let is = |uri: &str| is_loopback(&uri.parse().unwrap());
        for own in
            ["http://127.0.0.1:1/", "http://localhost/", "http://[::1]:2/", "http://127.9.9.9"]
        {
            assert!(is(own), "{own}");
        }
        for other in ["http://localhost.example/", "http://10.0.0.1/", "http://127.0.0.1.example/"]
        {
            assert!(!is(other), "{other}");
        }
    }

    #[test]
    fn paths_become_parts_of_addresses() {
        assert_eq!(encode("a/b-1_2.safetensors"), "a/b-1_2.safetensors");
        assert_eq!(encode("a b?#%ä"), "a%20b%3F%23%25%C3%A4");
    }
}
